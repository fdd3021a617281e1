// JSON from outside: a limit on its depth, and short printing of what is refused.

#include "easy_diffusion/io/json.hpp"

#include <string>

#include "io/file_tools.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::test;
using nlohmann::json;

namespace {

std::string nested(int depth) {
  return std::string(static_cast<std::size_t>(depth), '[') + std::string(static_cast<std::size_t>(depth), ']');
}

std::string refused(const std::string& text) {
  return refusal<FormatError>([&] { static_cast<void>(io::parse_json(text, "a.json")); });
}

}  // namespace

TEST_CASE("JSON: read, or refused with the place", "[io]") {
  CHECK(io::parse_json(R"({"a": [1, 2.5, "b"]})", "a.json") == json{{"a", {1, 2.5, "b"}}});
  CHECK(io::parse_json("\xEF\xBB\xBF{}", "a.json").is_object());
  CHECK(refused("{") == "a.json: expected JSON, got a text that is not JSON at byte 2");
  CHECK_THAT(refused(""), ContainsSubstring("at byte 1"));
  CHECK_THAT(refused("[1] x"), ContainsSubstring("at byte 5"));
  CHECK_THAT(refused("[\"\xFF\"]"), ContainsSubstring("not JSON"));
  CHECK_THAT(refused("[1e999]"), ContainsSubstring("a number out of range"));
}

TEST_CASE("JSON: depth has a limit, brackets in texts have none", "[io]") {
  CHECK(io::parse_json(nested(io::json_max_depth), "a.json").is_array());
  CHECK_THAT(refused(nested(io::json_max_depth + 1)), ContainsSubstring("nests deeper than 64 levels"));
  CHECK_THAT(refused(nested(200'000)), ContainsSubstring("nests deeper"));
  CHECK_THAT(refused(std::string(200'000, '{')), ContainsSubstring("nests deeper"));
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  CHECK_THAT(refused(objects), ContainsSubstring("nests deeper"));
  CHECK(io::parse_json("[\"" + std::string(1000, '[') + "\\\"" + std::string(1000, '{') + "\"]", "a.json").size() == 1);
  std::string wide = "[";
  for (int i = 0; i < 1000; ++i) wide += "[{}],";
  CHECK(io::parse_json(wide + "0]", "a.json").size() == 1001);
}

TEST_CASE("JSON: what is shown of a value is short, on one line, and obeyed by no terminal", "[io]") {
  CHECK(io::shown({{"a", {1, 2.5, true, nullptr}}, {"b", "c"}}) == R"({"a":[1,2.5,true,null],"b":"c"})");
  CHECK(io::shown("text") == "\"text\"");
  json deep;
  for (int i = 0; i < 200'000; ++i) {
    json outer = json::array();
    outer.push_back(std::move(deep));
    deep = std::move(outer);
  }
  CHECK(io::shown(deep) == std::string(100, '[') + "...");
  CHECK(io::shown(json(std::string(50'000'000, 'a'))) == "\"" + std::string(99, 'a') + "...");
  CHECK(io::shown(json(std::vector<int>(1000, 7)), 10) == "[7,7,7,7,7...");
  CHECK(io::shown({{std::string(1000, 'k'), 1}}).size() == 103);
  CHECK(io::shown("a\nb\x1b[31m\x7f\xC2\x9B") == R"("a\nb\u001b[31m\u007f\u009b")");
  CHECK(io::shown("\xFF") == "\"\xEF\xBF\xBD\"");
  // Not cut within a character.
  const std::string cut = io::shown(json(std::string(98, 'a') + "\xE7\x8C\xAB and more"));
  CHECK(cut == "\"" + std::string(98, 'a') + "...");
}
