// Addressed random numbers: known answers, any split of a fill, and what statistics say about them.

#include "easy_diffusion/core/random.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/fnv.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;
using detail::PhiloxBlock;

constexpr NoiseAddress address{42, 1, 7};

template <class T>
std::vector<T> normals(std::size_t n, const NoiseAddress& at = address, std::uint64_t first = 0) {
  std::vector<T> values(n);
  fill_normal(std::span(values), at, first);
  return values;
}

template <class T>
std::vector<T> uniforms(std::size_t n, const NoiseAddress& at = address, std::uint64_t first = 0) {
  std::vector<T> values(n);
  fill_uniform(std::span(values), at, first);
  return values;
}

TEST_CASE("Philox4x32-10 gives the known answers of Random123", "[core][random]") {
  const std::uint32_t ones = 0xffffffffU;
  CHECK(detail::philox4x32_10({0, 0, 0, 0}, 0, 0) == PhiloxBlock{0x6627e8d5U, 0xe169c58dU, 0xbc57ac4cU, 0x9b00dbd8U});
  CHECK(detail::philox4x32_10({ones, ones, ones, ones}, ones, ones) ==
        PhiloxBlock{0x408f276dU, 0x41c83b0eU, 0xa20bc7c6U, 0x6d5451fdU});
  CHECK(detail::philox4x32_10({0x243f6a88U, 0x85a308d3U, 0x13198a2eU, 0x03707344U}, 0xa4093822U, 0x299f31d0U) ==
        PhiloxBlock{0xd16cfe09U, 0x94fdccebU, 0x5001e420U, 0x24126ea1U});
}

TEST_CASE("deviates never change", "[core][random][frozen]") {
  struct Known {
    std::uint64_t i;
    float normal_float;
    double normal_double;
    float uniform_float;
    double uniform_double;
  };
  const auto check = [](const NoiseAddress& at, const std::vector<Known>& known) {
    for (const Known& k : known) {
      INFO("deviate " << k.i);
      CHECK(normal<float>(at, k.i) == k.normal_float);
      CHECK(normal<double>(at, k.i) == k.normal_double);
      CHECK(uniform<float>(at, k.i) == k.uniform_float);
      CHECK(uniform<double>(at, k.i) == k.uniform_double);
    }
  };
  check(address, {{0ULL, 0x1.89abfap-1F, -0x1.ffff7d88d244cp-5, 0x1.104344p-1F, 0x1.bd64e82910434p-1},
                  {1ULL, -0x1.a3b0ccp-1F, 0x1.0c68b3b029b61p-1, 0x1.bd64e8p-1F, 0x1.1356b213807b4p-2},
                  {2ULL, -0x1.f42876p-5F, 0x1.0cb3c60dca2e5p+0, 0x1.c03daap-1F, 0x1.31eef509cf4c2p-2},
                  {3ULL, 0x1.0633b8p-1F, -0x1.2582662701953p+0, 0x1.1356bp-2F, 0x1.bc6821fad1bbep-1},
                  {1000ULL, -0x1.e2b82ap-3F, 0x1.d92b811d8f255p+0, 0x1.f0353cp-1F, 0x1.d815c037b7f4p-6},
                  {17179869187ULL, 0x1.195acap+1F, 0x1.03ab873bb13c3p+0, 0x1.e4f7p-3F, 0x1.5ea2cf9e3ce28p-2}});
  check({0xFEDCBA9876543210ULL, 0xDEADBEEFU, 0xCAFEU},
        {{0ULL, 0x1.c8a6a8p+0F, -0x1.228b506b7577p-2, 0x1.bdf88p-7F, 0x1.2ac7d5681bdf8p-3},
         {1ULL, 0x1.29c668p+1F, 0x1.f1044f7f28857p+0, 0x1.2ac7dp-3F, 0x1.17a67d3f7060ep-2},
         {2ULL, -0x1.45a1eep-4F, 0x1.29b7042161317p-1, 0x1.b83072p-1F, 0x1.65facfd9b77dep-1},
         {3ULL, 0x1.16852ap-1F, 0x1.3a9cf1744d2afp-1, 0x1.17a67cp-2F, 0x1.08fe283b981b8p-3},
         {1000ULL, -0x1.7d23p+0F, -0x1.b1e19b8cea55p+0, 0x1.23363p-3F, 0x1.94d6b03aeacap-5},
         {17179869187ULL, -0x1.9a2616p-1F, 0x1.6eed847a3f2e1p-1, 0x1.9059c2p-1F, 0x1.95d75bc1cd05ap-2}});
}

TEST_CASE("hashes of a million deviates never change", "[core][random][frozen]") {
  const auto hash = [](const auto& values) { return fnv1a(std::span(values.data(), values.size())); };
  CHECK(hash(normals<float>(1000003, address, 5)) == 0x4779583c1cdc1b10ULL);
  CHECK(hash(normals<double>(1000003, address, 5)) == 0x9481c4ab8d0fb287ULL);
  CHECK(hash(uniforms<float>(1000003, address, 5)) == 0x00b8b1657f12f325ULL);
  CHECK(hash(uniforms<double>(1000003, address, 5)) == 0xb507d5f5a5e48b23ULL);
}

TEST_CASE("deviates are what the documentation says, computed another way", "[core][random]") {
  const NoiseAddress at{0x0123456789abcdefULL, 17, 3};
  const auto block = [&](std::uint64_t b) {
    return detail::philox4x32_10(
        {static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(b >> 32), at.step, at.stream},
        static_cast<std::uint32_t>(at.seed), static_cast<std::uint32_t>(at.seed >> 32));
  };
  const auto two_pi = 2 * std::numbers::pi;
  for (const std::uint64_t b : {0ULL, 1ULL, 77ULL, 0xffffffffULL, 0x100000000ULL, 0x123456789aULL}) {
    INFO("block " << b);
    const auto w = block(b);
    for (std::uint64_t lane = 0; lane < 4; ++lane) {
      CHECK(uniform<float>(at, 4 * b + lane) == std::ldexp(static_cast<float>(w[lane] >> 8), -24));
      // Box-Muller with the C library.
      const double u = (std::floor(double(w[lane / 2 * 2]) / 2) + 0.5) / 0x1p31;
      const double angle = two_pi * double(w[lane / 2 * 2 + 1]) / 0x1p32;
      const double r = std::sqrt(-2 * std::log(u));
      const double want = r * (lane % 2 ? std::sin(angle) : std::cos(angle));
      CHECK(std::abs(double(normal<float>(at, 4 * b + lane)) - want) <= 1e-6);
    }
    const std::uint64_t first = (std::uint64_t{w[1]} << 32) | w[0], second = (std::uint64_t{w[3]} << 32) | w[2];
    CHECK(uniform<double>(at, 2 * b) == std::ldexp(double(first >> 11), -53));
    CHECK(uniform<double>(at, 2 * b + 1) == std::ldexp(double(second >> 11), -53));
    const double r = std::sqrt(-2 * std::log((double(first >> 1) + 0.5) / 0x1p63));
    const double angle = two_pi * (double(second) / 0x1p64);
    CHECK(std::abs(normal<double>(at, 2 * b) - r * std::cos(angle)) <= 1e-14);
    CHECK(std::abs(normal<double>(at, 2 * b + 1) - r * std::sin(angle)) <= 1e-14);
  }
}

TEST_CASE("the explicit fused multiply-add is rounded once", "[core][random]") {
  // Against the C library, which is exact, over numbers chosen to cancel and to fall between two floats.
  const auto words = uniforms<double>(3000);
  for (std::size_t i = 0; i + 2 < words.size(); i += 3) {
    const auto a = static_cast<float>(words[i] - 0.5), b = static_cast<float>(words[i + 1] * 3);
    for (const float c :
         {static_cast<float>(words[i + 2]), -a * b, 1.0F, std::nextafter(-a * b, 2.0F), 1e-8F * a, 0.0F}) {
      if (detail::fused(a, b, c) != std::fma(a, b, c)) FAIL_CHECK(a << " * " << b << " + " << c);
    }
  }
}

TEMPLATE_TEST_CASE("any split of a fill gives the same bits", "[core][random][bits]", float, double) {
  using T = TestType;
  constexpr std::size_t n = 700;
  const auto whole = normals<T>(n + 20), whole_uniform = uniforms<T>(n + 20);
  for (std::size_t i = 0; i < n; i += 13) {
    CHECK(normal<T>(address, i) == whole[i]);
    CHECK(uniform<T>(address, i) == whole_uniform[i]);
  }
  for (std::uint64_t offset = 0; offset < 10; ++offset)
    for (const std::size_t length :
         {0UL, 1UL, 2UL, 3UL, 5UL, 7UL, 15UL, 16UL, 17UL, 63UL, 127UL, 128UL, 129UL, 257UL, 555UL, 700UL}) {
      const auto part = normals<T>(length, address, offset), part_uniform = uniforms<T>(length, address, offset);
      const auto at = static_cast<std::ptrdiff_t>(offset);
      if (!std::equal(part.begin(), part.end(), whole.begin() + at) ||
          !std::equal(part_uniform.begin(), part_uniform.end(), whole_uniform.begin() + at))
        FAIL_CHECK("offset " << offset << ", length " << length);
    }
  // In pieces of odd lengths, one after another.
  for (const std::size_t piece : {1UL, 3UL, 7UL, 61UL, 131UL}) {
    std::vector<T> joined(n);
    for (std::size_t first = 0; first < n; first += piece)
      fill_normal(std::span(joined).subspan(first, std::min(piece, n - first)), address, first);
    CHECK(std::equal(joined.begin(), joined.end(), whole.begin()));
  }
  // Across the 32-bit edge of the block number.
  const std::uint64_t edge = (16 / sizeof(T)) * (std::uint64_t{1} << 32) - 50;
  const auto across = normals<T>(100, address, edge);
  for (std::size_t i = 0; i < 100; i += 7) CHECK(across[i] == normal<T>(address, edge + i));
  CHECK(across[60] != whole[10]);
}

struct Moments {
  double mean = 0, variance = 0, skewness = 0, kurtosis = 0;
};

template <class T>
Moments moments(const std::vector<T>& x) {
  const double n = double(x.size());
  Moments m;
  for (const T v : x) m.mean += double(v) / n;
  for (const T v : x) {
    const double d = double(v) - m.mean;
    m.variance += d * d / n;
    m.skewness += d * d * d / n;
    m.kurtosis += d * d * d * d / n;
  }
  return m;
}

/// Largest distance between the sample's distribution and the one with that `cdf`, times sqrt(n). Above 2.0 with
/// probability 7e-4.
template <class T, class Cdf>
double kolmogorov(std::vector<T> x, Cdf&& cdf) {
  std::sort(x.begin(), x.end());
  const double n = double(x.size());
  double distance = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double p = cdf(double(x[i]));
    distance = std::max({distance, std::abs(double(i + 1) / n - p), std::abs(p - double(i) / n)});
  }
  return distance * std::sqrt(n);
}

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

template <class T>
double correlation(const std::vector<T>& x, const std::vector<T>& y, std::size_t lag = 0) {
  double sum = 0;
  for (std::size_t i = 0; i + lag < x.size(); ++i) sum += double(x[i]) * double(y[i + lag]);
  return sum / std::sqrt(double(x.size()));  // standard normal where independent
}

TEMPLATE_TEST_CASE("normal deviates are normal", "[core][random][statistics]", float, double) {
  using T = TestType;
  constexpr std::size_t n = 300000;
  const double root_n = std::sqrt(double(n));
  const auto x = normals<T>(n);
  // Five standard errors: the deviates are fixed, so these either hold for ever or do not.
  const Moments m = moments(x);
  CHECK(std::abs(m.mean) <= 5 / root_n);
  CHECK(std::abs(m.variance - 1) <= 5 * std::sqrt(2) / root_n);
  CHECK(std::abs(m.skewness) <= 5 * std::sqrt(15) / root_n);
  CHECK(std::abs(m.kurtosis - 3) <= 5 * std::sqrt(96) / root_n);
  CHECK(kolmogorov(x, normal_cdf) <= 2.0);
  for (const std::size_t lag : {1UL, 2UL, 3UL, 4UL, 5UL, 8UL, 128UL, 129UL, 784UL}) {
    INFO("lag " << lag);
    CHECK(std::abs(correlation(x, x, lag)) <= 5);
  }
  // The squares of a Box-Muller pair share a radius: they must not be correlated all the same.
  std::vector<T> squares(n);
  std::transform(x.begin(), x.end(), squares.begin(), [](T v) { return (v * v - T(1)) / T(std::numbers::sqrt2); });
  for (const std::size_t lag : {1UL, 2UL, 3UL, 4UL}) CHECK(std::abs(correlation(squares, squares, lag)) <= 5);
  // Tails: 4.5 sigma is passed by 6.8e-6 of them.
  const auto beyond = std::count_if(x.begin(), x.end(), [](T v) { return std::abs(v) > T(3); });
  CHECK(std::abs(double(beyond) / double(n) - 0.0026998) <= 5 * std::sqrt(0.0027 / double(n)));
  CHECK(*std::max_element(x.begin(), x.end()) > T(4));
  CHECK(*std::max_element(x.begin(), x.end()) < T(7));

  for (const NoiseAddress& other : {NoiseAddress{43, 1, 7}, NoiseAddress{42, 2, 7}, NoiseAddress{42, 1, 8},
                                    NoiseAddress{42 + (1ULL << 32), 1, 7}, NoiseAddress{42, 7, 1}}) {
    INFO("seed " << other.seed << ", stream " << other.stream << ", step " << other.step);
    const auto y = normals<T>(n, other);
    CHECK(std::abs(correlation(x, y)) <= 5);
    CHECK(std::abs(correlation(x, y, 1)) <= 5);
  }
}

TEMPLATE_TEST_CASE("uniform deviates are uniform in [0, 1)", "[core][random][statistics]", float, double) {
  using T = TestType;
  constexpr std::size_t n = 300000;
  const auto x = uniforms<T>(n);
  CHECK(*std::min_element(x.begin(), x.end()) >= T(0));
  CHECK(*std::max_element(x.begin(), x.end()) < T(1));
  const Moments m = moments(x);
  CHECK(std::abs(m.mean - 0.5) <= 5 * std::sqrt(1.0 / 12 / double(n)));
  CHECK(std::abs(m.variance - 1.0 / 12) <= 5 * std::sqrt(1.0 / 180 / double(n)));
  CHECK(kolmogorov(x, [](double v) { return v; }) <= 2.0);
  CHECK(detail::uniform_from(std::uint32_t{0xffffffffU}) == 1 - 0x1p-24F);
  CHECK(detail::uniform_from(~std::uint64_t{0}) == 1 - 0x1p-53);
  CHECK(detail::uniform_from(std::uint64_t{0}) == 0.0);
}

TEST_CASE("the extreme random words give finite deviates", "[core][random]") {
  const std::uint32_t edges[] = {0, 1, 0x7fffffffU, 0x80000000U, 0xffffffffU, 0x20000000U, 0x1fffffffU, 0xe0000000U};
  for (const std::uint32_t a : edges)
    for (const std::uint32_t b : edges) {
      const auto f = detail::box_muller<float>(a, b);
      const auto d = detail::box_muller<double>(std::uint64_t{a} << 32 | b, std::uint64_t{b} << 32 | a);
      for (const double v : {double(f.first), double(f.second)}) CHECK(std::abs(v) <= 6.7);
      for (const double v : {d.first, d.second}) CHECK(std::abs(v) <= 9.5);
    }
}

TEST_CASE("uniform_integer stays in its range and is even", "[core][random]") {
  for (const std::uint64_t bound : {1ULL, 2ULL, 3ULL, 10ULL, 1000ULL, 0xffffffffULL, 0x100000001ULL, ~0ULL})
    for (std::uint64_t i = 0; i < 200; ++i)
      if (!(uniform_integer(bound, address, i) < bound)) FAIL_CHECK(i << " of " << bound);
  std::array<int, 10> counts{};
  for (std::uint64_t i = 0; i < 20000; ++i) ++counts[static_cast<std::size_t>(uniform_integer(10, address, i))];
  double chi_square = 0;
  for (const int count : counts) chi_square += (count - 2000.0) * (count - 2000.0) / 2000.0;
  CHECK(chi_square <= 27.9);  // nine degrees of freedom, one in a thousand
  const std::array<std::uint64_t, 6> frozen{869, 268, 298, 867, 19, 418};
  for (std::uint64_t i = 0; i < frozen.size(); ++i)
    CHECK(uniform_integer(1000, address, i) == frozen[static_cast<std::size_t>(i)]);
  CHECK_THROWS_WITH(uniform_integer(0, address, 0), "uniform_integer: expected a bound above 0, got 0");
}

TEST_CASE("random_permutation permutes", "[core][random]") {
  for (const std::uint32_t n : {0U, 1U, 2U, 3U, 10U, 1000U}) {
    auto order = random_permutation(n, address);
    CHECK(order.size() == n);
    CHECK(order == random_permutation(n, address));
    if (n == 1000) CHECK(order != random_permutation(n, {42, 1, 8}));
    std::sort(order.begin(), order.end());
    for (std::uint32_t i = 0; i < n; ++i)
      if (order[i] != i) FAIL_CHECK(i << " is not there once");
  }
  CHECK(random_permutation(10, address) == std::vector<std::uint32_t>{6, 9, 4, 7, 2, 0, 1, 8, 5, 3});
  // Every one of the six orders of three equally often.
  std::array<int, 27> counts{};
  for (std::uint32_t step = 0; step < 6000; ++step) {
    const auto p = random_permutation(3, {1, 4, step});
    ++counts[p[0] * 9 + p[1] * 3 + p[2]];
  }
  double chi_square = 0;
  int orders = 0;
  for (const int count : counts)
    if (count > 0) chi_square += (count - 1000.0) * (count - 1000.0) / 1000.0, ++orders;
  CHECK(orders == 6);
  CHECK(chi_square <= 20.5);  // five degrees of freedom, one in a thousand
}

}  // namespace
