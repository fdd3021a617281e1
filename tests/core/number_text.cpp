// Numbers as text: as printf writes them in the C locale, whatever the locale is.

#include "easy_diffusion/core/number_text.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/comma_locale.hpp"
#include "support/skip.hpp"

using namespace easy_diffusion;

namespace {

std::string printed(const char* format, double value, int digits = 0) {
  char text[512];
  if (std::string(format) == "%a")
    std::snprintf(text, sizeof text, "%a", value);
  else
    std::snprintf(text, sizeof text, format[3] == 'g' ? "%.*g" : "%.*f", digits, value);
  return text;
}

/// Numbers of every size, and what is none.
std::vector<double> numbers() {
  using limits = std::numeric_limits<double>;
  std::vector<double> result{0.0,
                             -0.0,
                             1.0,
                             0.1,
                             -2.5,
                             1e-9,
                             123456789,
                             limits::max(),
                             limits::min(),
                             limits::denorm_min(),
                             1e-310,
                             limits::infinity(),
                             -limits::infinity(),
                             limits::quiet_NaN()};
  std::uint64_t bits = 1;
  for (int i = 0; i < 5000; ++i) {
    bits = bits * 6364136223846793005U + 1442695040888963407U;
    result.push_back(std::bit_cast<double>(bits));
    result.push_back(static_cast<double>(bits >> 40) * 0x1p-12);
  }
  return result;
}

bool same(double a, double b) {
  return (std::isnan(a) && std::isnan(b)) || std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}

}  // namespace

TEST_CASE("numbers are written as printf does in the C locale, and come back", "[core][locale]") {
  int wrong = 0;
  for (const double value : numbers()) {
    for (const int digits : {1, 6, 9, 17}) wrong += number_text(value, digits) != printed("%.*g", value, digits);
    for (const int decimals : {0, 3}) wrong += fixed_text(value, decimals) != printed("%.*f", value, decimals);
    wrong += hexadecimal_text(value) != printed("%a", value);
    for (const std::string& text : {number_text(value, 17), hexadecimal_text(value)}) {
      const auto back = parse_number<double>(text);
      wrong += !back || !same(*back, value);
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("a decimal comma of the locale is not seen", "[core][locale]") {
  const test::CommaLocale comma;
  if (comma.in_force())
    CHECK(printed("%.*g", 0.5, 6) == "0,5");  // so that this test is one
  else
    test::skip("the comma: this C library takes no locale from a folder");
  CHECK(number_text(0.5) == "0.5");
  CHECK(number_text(1234567.5, 9) == "1234567.5");
  CHECK(fixed_text(-1234.5, 2) == "-1234.50");
  CHECK(hexadecimal_text(1.5) == "0x1.8p+0");
  CHECK(parse_number<double>("0.5") == 0.5);
  CHECK(parse_number<float>("0x1.8p+1") == 3.0F);
  CHECK_FALSE(parse_number<double>("0,5"));
}

TEST_CASE("what is no number is none", "[core]") {
  for (const char* text : {"", "-", "0x", "-0x", "0x-1", "+1", " 1", "1 ", "1,5", "1e999", "0x1p99999", "--1", "one"})
    CHECK_FALSE(parse_number<double>(text));
  for (const char* text : {"", "-", "1.0", "1e3", "0x1", " 1", "9223372036854775808"})
    CHECK_FALSE(parse_number<std::int64_t>(text));
  CHECK(parse_number<std::int64_t>("-9223372036854775808") == std::numeric_limits<std::int64_t>::min());
  CHECK(parse_number<double>("-0x1.8p+3") == -12.0);
}
