/// \file
/// The element types of array files (safetensors, npy), and reading them into the types that this library
/// uses.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>

#include "easy_diffusion/core/error.hpp"

namespace easy_diffusion::io {

static_assert(std::endian::native == std::endian::little, "array files are little-endian and read as they lie");

/// By the names of the safetensors format. The eight-bit floats and complex numbers can be listed, not read.
enum class ElementType : std::uint8_t {
  boolean,
  u8,
  i8,
  f8_e4m3,
  f8_e5m2,
  f8_e8m0,
  u16,
  i16,
  f16,
  bf16,
  u32,
  i32,
  f32,
  u64,
  i64,
  f64,
  c64
};

namespace detail {

struct ElementTypeRow {
  ElementType type;
  std::string_view name;
  std::size_t bytes;
};

inline constexpr ElementTypeRow element_types[] = {
    {ElementType::boolean, "BOOL", 1},    {ElementType::u8, "U8", 1},           {ElementType::i8, "I8", 1},
    {ElementType::f8_e4m3, "F8_E4M3", 1}, {ElementType::f8_e5m2, "F8_E5M2", 1}, {ElementType::f8_e8m0, "F8_E8M0", 1},
    {ElementType::u16, "U16", 2},         {ElementType::i16, "I16", 2},         {ElementType::f16, "F16", 2},
    {ElementType::bf16, "BF16", 2},       {ElementType::u32, "U32", 4},         {ElementType::i32, "I32", 4},
    {ElementType::f32, "F32", 4},         {ElementType::u64, "U64", 8},         {ElementType::i64, "I64", 8},
    {ElementType::f64, "F64", 8},         {ElementType::c64, "C64", 8}};

}  // namespace detail

/// `F32`
[[nodiscard]] constexpr std::string_view to_string(ElementType type) {
  return detail::element_types[static_cast<std::size_t>(type)].name;
}

/// Bytes of one element.
[[nodiscard]] constexpr std::size_t byte_size(ElementType type) {
  return detail::element_types[static_cast<std::size_t>(type)].bytes;
}

namespace detail {

/// Bits of the nearest number (ties to even) with so many bits of exponent and fraction; too large becomes infinite.
template <int exponent_bits, int fraction_bits>
std::uint16_t small_float_bits(double value) noexcept {
  constexpr int smallest_exponent = 2 - (1 << (exponent_bits - 1));  // of the normal numbers
  constexpr std::uint32_t infinity = ((1U << exponent_bits) - 1U) << fraction_bits;
  const std::uint32_t sign = std::signbit(value) ? 0x8000U : 0U;
  if (std::isnan(value)) return static_cast<std::uint16_t>(sign | infinity | (1U << (fraction_bits - 1)));
  if (std::isinf(value)) return static_cast<std::uint16_t>(sign | infinity);
  const double magnitude = std::abs(value);
  if (magnitude == 0) return static_cast<std::uint16_t>(sign);
  const int exponent = std::max(std::ilogb(magnitude), smallest_exponent);
  if (exponent > -smallest_exponent + 1) return static_cast<std::uint16_t>(sign | infinity);
  // Whole steps of the last bit. Exponent and fraction lie side by side, so that a carry does what it should.
  const auto steps = static_cast<std::uint32_t>(std::nearbyint(std::ldexp(magnitude, fraction_bits - exponent)));
  const auto above = static_cast<std::uint32_t>(exponent - smallest_exponent);
  return static_cast<std::uint16_t>(sign | ((above << fraction_bits) + steps));
}

}  // namespace detail

/// IEEE binary16, as it lies in a file: 11 significant bits up to 65504. `Tensor<Float16>::copy_of(x)` is what
/// `write_safetensors` takes to write F16; reading gives float or double.
struct Float16 {
  std::uint16_t bits = 0;
  Float16() = default;
  explicit Float16(double value) noexcept : bits(detail::small_float_bits<5, 10>(value)) {}
  explicit operator float() const noexcept {
    const std::uint32_t sign = (bits & 0x8000U) << 16;
    const std::uint32_t exponent = (bits >> 10) & 0x1FU;
    const std::uint32_t fraction = bits & 0x3FFU;
    if (exponent == 0) {  // zero and subnormal: fraction * 2^-24, exact in float
      const float magnitude = static_cast<float>(fraction) * 0x1p-24F;
      return sign != 0 ? -magnitude : magnitude;
    }
    const std::uint32_t wide = exponent == 31 ? 255U : exponent + 112U;
    return std::bit_cast<float>(sign | (wide << 23) | (fraction << 13));
  }
  explicit operator double() const noexcept { return static_cast<double>(static_cast<float>(*this)); }
};

/// The upper half of an IEEE binary32: 8 significant bits, the range of float. Written and read as `Float16` is.
struct BFloat16 {
  std::uint16_t bits = 0;
  BFloat16() = default;
  explicit BFloat16(double value) noexcept : bits(detail::small_float_bits<8, 7>(value)) {}
  explicit operator float() const noexcept { return std::bit_cast<float>(std::uint32_t{bits} << 16); }
  explicit operator double() const noexcept { return static_cast<double>(static_cast<float>(*this)); }
};

/// The type that a C++ number is stored as.
template <class T>
inline constexpr ElementType element_type_of = [] {
  constexpr bool small_float = std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>;
  static_assert(std::is_floating_point_v<T> || small_float || (std::is_integral_v<T> && !std::is_same_v<T, bool>));
  if constexpr (small_float) {
    return std::is_same_v<T, Float16> ? ElementType::f16 : ElementType::bf16;
  } else if constexpr (std::is_floating_point_v<T>) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8);
    return sizeof(T) == 4 ? ElementType::f32 : ElementType::f64;
  } else {
    constexpr bool is_signed = std::is_signed_v<T>;
    switch (sizeof(T)) {
      case 1: return is_signed ? ElementType::i8 : ElementType::u8;
      case 2: return is_signed ? ElementType::i16 : ElementType::u16;
      case 4: return is_signed ? ElementType::i32 : ElementType::u32;
      default: return is_signed ? ElementType::i64 : ElementType::u64;
    }
  }
}();

namespace detail {

/// Files do not align their elements.
template <class Source, class T>
void convert_from(const std::byte* bytes, std::int64_t count, T* out) {
  if constexpr (std::is_same_v<Source, T>) {
    if (count > 0) std::memcpy(out, bytes, static_cast<std::size_t>(count) * sizeof(T));
  } else {
    for (std::int64_t i = 0; i < count; ++i) {
      Source value;
      std::memcpy(&value, bytes + static_cast<std::size_t>(i) * sizeof(Source), sizeof(Source));
      out[i] = static_cast<T>(value);
    }
  }
}

template <class Source, class T>
bool convert_integers(const std::byte* bytes, std::int64_t count, T* out) {
  using From = std::numeric_limits<Source>;
  using To = std::numeric_limits<T>;
  constexpr bool fits = (To::is_signed || !From::is_signed) && From::digits <= To::digits;
  if constexpr (fits) convert_from<Source>(bytes, count, out);
  return fits;
}

/// Floating-point files are read as floating point (rounded to T), integer files as integers that hold every
/// value of the file's type. False, and nothing is done, for every other pair.
template <class T>
[[nodiscard]] bool convert_elements(ElementType from, const std::byte* bytes, std::int64_t count, T* out) {
  if constexpr (std::is_floating_point_v<T>) {
    switch (from) {
      case ElementType::f16: convert_from<Float16>(bytes, count, out); return true;
      case ElementType::bf16: convert_from<BFloat16>(bytes, count, out); return true;
      case ElementType::f32: convert_from<float>(bytes, count, out); return true;
      case ElementType::f64: convert_from<double>(bytes, count, out); return true;
      default: return false;
    }
  } else {
    switch (from) {
      case ElementType::boolean:
      case ElementType::u8: return convert_integers<std::uint8_t>(bytes, count, out);
      case ElementType::i8: return convert_integers<std::int8_t>(bytes, count, out);
      case ElementType::u16: return convert_integers<std::uint16_t>(bytes, count, out);
      case ElementType::i16: return convert_integers<std::int16_t>(bytes, count, out);
      case ElementType::u32: return convert_integers<std::uint32_t>(bytes, count, out);
      case ElementType::i32: return convert_integers<std::int32_t>(bytes, count, out);
      case ElementType::u64: return convert_integers<std::uint64_t>(bytes, count, out);
      case ElementType::i64: return convert_integers<std::int64_t>(bytes, count, out);
      default: return false;
    }
  }
}

/// `convert_elements`, with its refusal in words; `where` names file and tensor.
/// \throw FormatError "<where>: expected a floating-point type, got I64"
template <class T>
void convert_or_throw(const std::string& where, ElementType from, const std::byte* bytes, std::int64_t count, T* out) {
  if (!convert_elements(from, bytes, count, out))
    throw FormatError(where + ": expected " +
                      (std::is_floating_point_v<T>
                           ? std::string("a floating-point type")
                           : "an integer type that fits into " + std::string(to_string(element_type_of<T>))) +
                      ", got " + std::string(to_string(from)));
}

/// \throw FormatError naming `where`, the first element that is NaN or infinite, and what it is
template <class T>
void require_finite_elements(const std::string& where, const T* values, std::int64_t count) {
  if constexpr (std::is_floating_point_v<T>) {
    for (std::int64_t i = 0; i < count; ++i)
      if (!std::isfinite(values[i]))
        throw FormatError(where + ": expected finite numbers, got " +
                          (std::isnan(values[i]) ? "nan" : (values[i] > 0 ? "inf" : "-inf")) + " at element " +
                          std::to_string(i));
  }
}

}  // namespace detail
}  // namespace easy_diffusion::io
