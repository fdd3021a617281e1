#include "easy_diffusion/io/text.hpp"

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "support/catch.hpp"
#include "support/hostile.hpp"

using namespace easy_diffusion;
using namespace std::string_literals;

namespace {

std::vector<std::string> all_texts() {
  std::vector<std::string> texts = test::hostile_texts("pwned");
  for (std::string& text : test::mixed_hostile_texts("pwned", 20'000)) texts.push_back(std::move(text));
  for (int byte = 0; byte < 256; ++byte) texts.emplace_back(1, static_cast<char>(byte));
  return texts;
}

/// Nothing that a terminal obeys: no control character of ASCII or of ISO 8859, no end of a line, no other direction.
bool moves_no_cursor(std::string_view text) {
  if (!io::detail::is_utf8(text)) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 || byte == 0x7F) return false;
    if (byte == 0xC2 && static_cast<unsigned char>(text[i + 1]) < 0xA0) return false;  // C1
    for (const std::string_view turn : {"\u061C", "\u200E", "\u200F", "\u2028", "\u2029", "\u202A", "\u202B", "\u202C",
                                        "\u202D", "\u202E", "\u2066", "\u2067", "\u2068", "\u2069"})
      if (text.substr(i).starts_with(turn)) return false;
  }
  return true;
}

/// The records of a file as RFC 4180 has them; nothing where it is of another form.
std::optional<std::vector<std::vector<std::string>>> read_csv(std::string_view text) {
  std::vector<std::vector<std::string>> records(1);
  std::string field;
  for (std::size_t i = 0; i < text.size();) {
    field.clear();
    if (text[i] == '"') {
      for (++i;; ++i) {
        if (i == text.size()) return std::nullopt;
        if (text[i] == '"' && (++i == text.size() || text[i] != '"')) break;
        field += text[i];
      }
    } else {
      for (; i < text.size() && text[i] != ',' && text[i] != '\n'; ++i) {
        if (text[i] == '"' || text[i] == '\r') return std::nullopt;
        field += text[i];
      }
    }
    if (i == text.size() || (text[i] != ',' && text[i] != '\n')) return std::nullopt;
    records.back().push_back(field);
    if (text[i++] == '\n') {
      records.emplace_back();
    } else if (i == text.size() || text[i] == '\n') {
      return std::nullopt;  // an empty last field: the test writes none
    }
  }
  records.pop_back();
  return records;
}

}  // namespace

TEST_CASE("printable text moves no cursor, whatever it was", "[io][text]") {
  std::size_t wrong = 0;
  for (const std::string& text : all_texts()) {
    const std::string shown = io::printable(text);
    wrong += !moves_no_cursor(shown) || io::printable(shown) != shown;
  }
  CHECK(wrong == 0);
  CHECK(io::printable("Grüße, 葡萄 🍇 C:\\x") == "Grüße, 葡萄 🍇 C:\\x");
  CHECK(io::printable("a\nb\tc\rd\0e"s) == "a\\nb\\tc\\rd\\u0000e");
  CHECK(io::printable("\x1b[2J\x7f") == "\\u001b[2J\\u007f");
  CHECK(io::printable("\u009b0m") == "\\u009b0m");
  CHECK(io::printable("a\xff\xc3") == "a\\xff\\xc3");
  CHECK(io::printable("\u202Egpj") == "\\u202egpj");
  CHECK(io::printable(std::filesystem::path("a\nb")) == "a\\nb");
}

TEST_CASE("a text is shortened between characters", "[io][text]") {
  CHECK(io::shortened("", 3).empty());
  CHECK(io::shortened("abc", 3) == "abc");
  CHECK(io::shortened("abcd", 3) == "ab…");
  CHECK(io::shortened("葡萄🍇", 3) == "葡萄🍇");
  CHECK(io::shortened("葡萄🍇🍇", 3) == "葡萄…");
  CHECK(io::shortened("ab", 1) == "…");
}

TEST_CASE("a field of comma-separated values is read back as it was", "[io][text]") {
  std::vector<std::string> texts = all_texts();
  std::string file;
  for (const std::string& text : texts) file += "row," + io::csv_field(text) + ",end\n";
  const auto records = read_csv(file);
  REQUIRE(records.has_value());
  REQUIRE(records->size() == texts.size());
  std::size_t wrong = 0, formulas = 0;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::vector<std::string>& record = (*records)[i];
    if (record.size() != 3 || record[0] != "row" || record[2] != "end") {
      ++wrong;
      continue;
    }
    std::string text = record[1];
    formulas += !text.empty() && std::string_view("=+-@").find(text[0]) != std::string_view::npos;
    if (text.starts_with('\'')) text.erase(0, 1);
    wrong += text != io::printable(texts[i]) || !moves_no_cursor(record[1]);
  }
  CHECK(wrong == 0);
  CHECK(formulas == 0);
  CHECK(io::csv_field("T-shirt/top") == "T-shirt/top");
  CHECK(io::csv_field("Food, \"Drink\"") == "\"Food, \"\"Drink\"\"\"");
  CHECK(io::csv_field("=1+1") == "'=1+1");
  CHECK(io::csv_field("'=1") == "''=1");
}
