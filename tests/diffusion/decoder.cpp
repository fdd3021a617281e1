// The likelihood of 8-bit data, and dequantisation.

#include "easy_diffusion/diffusion/decoder.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/diffusion/quantization.hpp"
#include "easy_diffusion/sde/likelihood.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;
using namespace easy_diffusion::test;

namespace {

double pixel(int k) { return k / 127.5 - 1; }

}  // namespace

TEST_CASE("the bins of a pixel hold all of the probability", "[diffusion][decoder]") {
  for (const NormalCdf cdf : {NormalCdf::exact, NormalCdf::tanh_with_floor})
    for (const double mean : {-1.4, -0.3, 0.0, 0.77, 1.0})
      for (const double log_variance : {-9.0, -3.0, 0.0, 2.0}) {
        double sum = 0;
        for (int k = 0; k < 256; ++k)
          sum += std::exp(bin_likelihood(pixel(k), mean, log_variance, cdf).log_probability);
        CHECK_THAT(sum, WithinAbs(1, cdf == NormalCdf::exact ? 1e-12 : 1e-9));
      }
}

TEST_CASE("known probabilities of bins", "[diffusion][decoder]") {
  // P(0 < Z < 1) = 0.3413447460685429, P(Z > 1) = 0.15865525393145705
  const double scale = 1 / 255.0, log_variance = 2 * std::log(2 * scale);  // bins are one deviation wide
  CHECK_THAT(std::exp(bin_likelihood(pixel(100), pixel(100) - scale, log_variance).log_probability),
             WithinRel(0.3413447460685429, 1e-13));
  CHECK_THAT(std::exp(bin_likelihood(1, 1 - scale - 2 * scale, log_variance).log_probability),
             WithinRel(0.15865525393145705, 1e-13));
  CHECK_THAT(std::exp(bin_likelihood(-1, -1 + scale + 2 * scale, log_variance).log_probability),
             WithinRel(0.15865525393145705, 1e-13));
  // A tail that no double holds: log P(Z > 50) = -1254.8313611394.
  CHECK_THAT(diffusion::detail::log_normal_tail(50), WithinRel(-1254.8313611394, 1e-12));
  CHECK_THAT(diffusion::detail::log_normal_tail(-50), WithinAbs(0, 1e-300));
  CHECK_THAT(diffusion::detail::log_normal_tail(std::nextafter(5.0, 0.0)),
             WithinRel(diffusion::detail::log_normal_tail(5), 1e-14));
  CHECK_THAT(diffusion::detail::log_normal_between(50, 50.5),
             WithinRel(-1254.8313611394 + std::log1p(-std::exp(-25.134942464835)), 1e-9));
  CHECK(diffusion::detail::log_normal_between(-50.5, -50) == diffusion::detail::log_normal_between(50, 50.5));
  // Far away the exact likelihood still tells how far, the original's stops at its floor.
  const BinLikelihood far = bin_likelihood(pixel(10), 1, -10), farther = bin_likelihood(pixel(10), 1.5, -10);
  CHECK((std::isfinite(farther.log_probability) && farther.log_probability < far.log_probability));
  CHECK(far.by_mean < 0);
  const BinLikelihood floored = bin_likelihood(pixel(10), 1, -10, NormalCdf::tanh_with_floor);
  CHECK(floored.log_probability == std::log(1e-12));
  CHECK((floored.by_mean == 0 && floored.by_log_variance == 0));
}

TEST_CASE("the approximation by a tanh is one", "[diffusion][decoder]") {
  for (const int k : {0, 1, 100, 254, 255})
    for (const double offset : {-0.02, 0.0, 0.015}) {
      const double exact = bin_likelihood(pixel(k), pixel(k) + offset, -9).log_probability;
      const double tanh = bin_likelihood(pixel(k), pixel(k) + offset, -9, NormalCdf::tanh_with_floor).log_probability;
      CHECK(exact != tanh);
      CHECK_THAT(tanh, WithinAbs(exact, 5e-3));
    }
}

TEST_CASE("derivatives of the likelihood of a bin", "[diffusion][decoder]") {
  for (const NormalCdf cdf : {NormalCdf::exact, NormalCdf::tanh_with_floor})
    for (const int k : {0, 1, 128, 255})
      for (const double offset : {-0.3, -0.01, 0.0, 0.02})
        for (const double log_variance : {-8.0, -4.0, 1.0}) {
          const double x = pixel(k), mean = x + offset;
          const BinLikelihood got = bin_likelihood(x, mean, log_variance, cdf);
          if (cdf == NormalCdf::tanh_with_floor && got.log_probability < -27) continue;  // at the floor
          const auto difference = [](double h, auto&& f) {
            return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h);
          };
          const double by_mean = difference(1e-3 * std::exp(0.5 * log_variance), [&](double h) {
            return bin_likelihood(x, mean + h, log_variance, cdf).log_probability;
          });
          const double by_log_variance = difference(
              1e-3, [&](double h) { return bin_likelihood(x, mean, log_variance + h, cdf).log_probability; });
          INFO(k << " " << offset << " " << log_variance);
          // The tanh loses digits where two values close to 1 are subtracted.
          const double tolerance = cdf == NormalCdf::exact ? 1e-8 : 1e-5;
          CHECK_THAT(got.by_mean, WithinAbs(by_mean, tolerance * (1 + std::abs(by_mean))));
          CHECK_THAT(got.by_log_variance, WithinAbs(by_log_variance, tolerance * (1 + std::abs(by_log_variance))));
        }
}

TEST_CASE("dequantised data fill their bins and are refused by the decoder", "[diffusion][quantization]") {
  Tensor<float> x({256, 40});
  for (std::int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(pixel(static_cast<int>(i / 40)));
  CHECK_NOTHROW(expect_eight_bit(x));
  Tensor<float> spread = x;
  dequantize(spread, 5, 3);
  double mean = 0, square = 0;
  for (std::int64_t i = 0; i < x.size(); ++i) {
    const double u = (static_cast<double>(spread[i]) + 1) * 128 - static_cast<double>(i / 40);
    CHECK((u >= 0 && u <= 1));
    mean += u / static_cast<double>(x.size());
    square += u * u / static_cast<double>(x.size());
  }
  CHECK_THAT(mean, WithinAbs(0.5, 0.02));
  CHECK_THAT(square - mean * mean, WithinAbs(1.0 / 12, 0.005));
  CHECK_THROWS_WITH(expect_eight_bit(spread), ContainsSubstring("not dequantised"));
  CHECK_THROWS_AS(dequantize(spread, 5, 3), ValueError);
  for (const double bad : {1.01, -1.5, 0.5, std::nan("")}) CHECK_THROWS_AS(expect_eight_bit(bad), ValueError);

  // A part of the data takes the deviates that it takes in the whole; another epoch takes others.
  Tensor<float> part({100}), other = x;
  for (std::int64_t i = 0; i < 100; ++i) part[i] = x[77 + i];
  dequantize(part, 5, 3, 77);
  for (std::int64_t i = 0; i < 100; ++i) CHECK(part[i] == spread[77 + i]);
  dequantize(other, 5, 4);
  CHECK_FALSE(same_bits(other, spread));

  // A density that is even over [-1, 1] codes 8 bits.
  CHECK_THAT(sde::bits_per_dimension(10 * std::log(0.5), 10, dequantized_bits), WithinAbs(8, 1e-12));
}
