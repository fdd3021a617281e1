/// \file
/// Texts as somebody writes them who wants more than to be read: for every place where outside text goes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace easy_diffusion::test {

/// \param victim a file that a text makes where it is obeyed
inline std::vector<std::string> hostile_texts(const std::string& victim) {
  using namespace std::string_literals;
  const std::string touch = "touch " + victim;
  std::vector<std::string> texts = {
      // gnuplot
      "x\nsystem \"" + touch + "\"\n",
      "x'\nsystem '" + touch + "'\n#",
      "x\"; system(\"" + touch + "\"); \"",
      "`" + touch + "`",
      "\"`" + touch + "`\"",
      "'.system('" + touch + "').'",
      "x\r!" + touch + "\r\n",
      "EOD\nsystem \"" + touch + "\"\n$x << EOD",
      "EOD",
      "x\\\nEOD\n!" + touch,
      "@system $texts[1] ${x} $0 %s %n %d %99999d %%",
      "{/Bold x}^{_y} &{z} ~a{.8-} \\n \\101",
      "#",
      // a shell
      "$(" + touch + ")",
      "; " + touch + "; #",
      "'; " + touch + "; '",
      "| " + touch,
      "-rf",
      "--help",
      // a spreadsheet, a CSV file
      "=cmd|'/C calc'!A0",
      "+1+1",
      "-1",
      "@SUM(1)",
      "'=1",
      "a,b",
      "a\"b",
      "\"",
      "\"\"",
      ",",
      " x ",
      "a,\"b\"\r\nc",
      // HTML, Markdown
      "<script>alert(1)</script>",
      "\"><img src=x onerror=alert(1)>",
      "</pre>&amp;&lt;",
      "{{command_train}}",
      "|a|`b`|[c](d)",
      // a terminal
      "\x1b]0;title\x07\x1b[2J\x1b[31m",
      "\u009b31m\u009d0;x\u009c",
      "a\bb\x7f\x0e\x0f\v\f",
      "right\rwrong",
      "\u202egpj.exe\u2066\u2028",
      // bytes
      "a\0b"s,
      "\0"s,
      "\xff\xfe",
      "\xc3",
      "\xc0\xaf",
      "\xed\xa0\x80",
      "\xf5\x80\x80\x80",
      "Grüße, 葡萄 🍇 👩‍👩‍👧",
      "",
      " ",
      "\n",
      std::string(10'000, 'x'),
      std::string(300, '\n') + touch,
      std::string(4000, '%'),
  };
  std::string grapes;
  for (int i = 0; i < 3000; ++i) grapes += "🍇";
  texts.push_back(grapes);
  return texts;
}

/// The same cut into pieces and put together anew, with bytes of all kinds between.
inline std::vector<std::string> mixed_hostile_texts(const std::string& victim, std::size_t count) {
  const std::vector<std::string> texts = hostile_texts(victim);
  std::uint64_t state = 0x9E3779B97F4A7C15U;
  const auto draw = [&state](std::size_t below) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    return static_cast<std::size_t>(state >> 33U) % below;
  };
  std::vector<std::string> result;
  for (std::size_t i = 0; i < count; ++i) {
    std::string text;
    for (std::size_t piece = 0, pieces = 1 + draw(4); piece < pieces; ++piece) {
      const std::string& from = texts[draw(texts.size())];
      const std::size_t begin = draw(from.size() + 1);
      text += from.substr(begin, draw(60));
      if (draw(2) == 0) text += static_cast<char>(draw(256));
    }
    result.push_back(text);
  }
  return result;
}

}  // namespace easy_diffusion::test
