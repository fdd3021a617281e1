/// \file
/// Numbers as text and back. Always with a decimal point and no signs of grouping: what a file holds must not depend on
/// the locale of the program that writes or reads it, as printf, strtod, std::to_string and streams do.
#pragma once

#include <array>
#include <charconv>
#include <cmath>
#include <concepts>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

namespace easy_diffusion {

namespace detail {

template <class... Format>
std::string number_chars(double value, Format... format) {
  std::array<char, 400> text;  // the longest: 309 digits before the point, and what is asked for behind it
  const auto written = std::to_chars(text.data(), text.data() + text.size(), value, format...);
  return written.ec == std::errc{} ? std::string(text.data(), written.ptr) : std::string("?");
}

}  // namespace detail

/// So many significant digits, as printf's "%.<digits>g" in the C locale: 0.25, 1e-09, inf, nan. \param digits 1 to 40;
/// 17 give a double back to the last bit
[[nodiscard]] inline std::string number_text(double value, int digits = 6) {
  return detail::number_chars(value, std::chars_format::general, digits);
}

/// So many decimals, as printf's "%.<decimals>f" in the C locale: 0.250. \param decimals 0 to 40
[[nodiscard]] inline std::string fixed_text(double value, int decimals) {
  return detail::number_chars(value, std::chars_format::fixed, decimals);
}

/// Every bit, as printf's "%a" in the C locale: 0x1.8p+3.
[[nodiscard]] inline std::string hexadecimal_text(double value) {
  const std::string text = detail::number_chars(value, std::chars_format::hex);
  if (!std::isfinite(value)) return text;
  return text.starts_with('-') ? "-0x" + text.substr(1) : "0x" + text;
}

/// A whole text that is one number of that type: decimal, and for floating-point types also as `hexadecimal_text` writes
/// them. Nothing for anything else: white space, a plus sign, a comma, out of range.
template <class T>
requires(std::integral<T> || std::floating_point<T>)
    [[nodiscard]] std::optional<T> parse_number(std::string_view text) {
  T value{};
  std::from_chars_result read{};
  const char* const last = text.data() + text.size();
  if constexpr (std::floating_point<T>) {
    const bool negative = text.starts_with('-');
    if (text.substr(negative ? 1 : 0).starts_with("0x")) {
      text.remove_prefix(negative ? 3 : 2);
      if (text.starts_with('-')) return std::nullopt;
      read = std::from_chars(text.data(), last, value, std::chars_format::hex);
      if (negative) value = -value;
    } else {
      read = std::from_chars(text.data(), last, value);
    }
  } else {
    read = std::from_chars(text.data(), last, value);
  }
  if (text.empty() || read.ec != std::errc{} || read.ptr != last) return std::nullopt;
  return value;
}

}  // namespace easy_diffusion
