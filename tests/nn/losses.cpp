#include <cmath>
#include <cstdint>
#include <vector>

#include "easy_diffusion/nn/losses/cross_entropy.hpp"
#include "support/catch.hpp"

using namespace easy_diffusion;

TEST_CASE("cross-entropy: value, gradient and labels out of range") {
  const Tensor<double> logits(Shape{2, 3}, {1.0, 2.0, 3.0, 0.0, 0.0, 1000.0});
  const std::vector<std::int64_t> labels{0, 2};
  const auto loss = nn::cross_entropy(logits, labels);
  const double z = std::exp(1.0) + std::exp(2.0) + std::exp(3.0);
  CHECK(loss.value == Approx(0.5 * (std::log(z) - 1.0)).epsilon(1e-14));
  CHECK(loss.gradient[0] == Approx(0.5 * (std::exp(1.0) / z - 1)).epsilon(1e-14));
  CHECK(loss.gradient[2] == Approx(0.5 * std::exp(3.0) / z).epsilon(1e-14));
  CHECK(std::abs(loss.gradient[5]) < 1e-300);
  CHECK_THROWS_AS(nn::cross_entropy(logits, std::vector<std::int64_t>{0, 3}), ValueError);
  CHECK_THROWS_AS(nn::cross_entropy(logits, std::vector<std::int64_t>{0, -1}), ValueError);
  CHECK_THROWS_AS(nn::cross_entropy(logits, std::vector<std::int64_t>{0}), ShapeError);
  CHECK_THROWS_AS(nn::cross_entropy(Tensor<double>(Shape{0, 3}), std::vector<std::int64_t>{}), ShapeError);
}
