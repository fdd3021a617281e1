// Lists of noise levels: what they refuse, their other end, their tail.

#include "easy_diffusion/diffusion/noise_level.hpp"

#include <cmath>
#include <limits>

#include "support/catch.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;

TEST_CASE("noise levels refuse what no sampler can walk", "[diffusion][noise_level]") {
  const NoiseLevel noise{3, 0, 1}, high{2, 0.6, 0.8}, low{1, 0.8, 0.6}, clean{-1, 1, 0};
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  CHECK_NOTHROW(NoiseLevels({noise, high, low, clean}));
  CHECK_NOTHROW(NoiseLevels({clean, low, high, noise}));
  CHECK_NOTHROW(NoiseLevels({noise, clean}));
  CHECK_THROWS_WITH(NoiseLevels({}), ContainsSubstring("at least two, got 0"));
  CHECK_THROWS_AS(NoiseLevels({high}), ValueError);
  CHECK_THROWS_WITH(NoiseLevels({high, high}), ContainsSubstring("place 1"));
  CHECK_THROWS_WITH(NoiseLevels({noise, low, high}), ContainsSubstring("place 2"));
  CHECK_THROWS_AS(NoiseLevels({high, low, low, clean}), ValueError);
  CHECK_THROWS_AS(NoiseLevels({noise, noise, low}), ValueError);
  CHECK_THROWS_AS(NoiseLevels({low, clean, clean}), ValueError);
  CHECK_THROWS_AS(NoiseLevels({high, clean, low}), ValueError);
  for (const NoiseLevel& bad : {NoiseLevel{nan, 0.8, 0.6},
                                {1, nan, 0.6},
                                {1, 0.8, nan},
                                {1, -0.8, 0.6},
                                {1, 0.8, -0.6},
                                {1, infinity, 0.6},
                                {1, 0.8, infinity},
                                {infinity, 0.8, 0.6},
                                {1, 0, 0}})
    CHECK_THROWS_WITH(NoiseLevels({high, bad}), ContainsSubstring("place 1"));
}

TEST_CASE("noise levels from the other end, and their tail", "[diffusion][noise_level]") {
  const NoiseLevels levels({{4, 0, 1}, {3, 0.3, 0.9}, {2, 0.6, 0.8}, {1, 0.8, 0.6}, {-1, 1, 0}});
  CHECK(levels.steps() == 4);
  CHECK(levels.denoises());
  const NoiseLevels reversed = levels.reversed();
  CHECK_FALSE(reversed.denoises());
  for (int i = 0; i <= 4; ++i) CHECK(reversed[i] == levels[4 - i]);
  CHECK(levels.tail(1).all() == levels.all());
  CHECK(levels.tail(0.5).steps() == 2);
  CHECK(levels.tail(0.5).front() == levels[2]);
  CHECK(levels.tail(1e-9).steps() == 1);
  CHECK(levels.tail(1e-9).back() == levels.back());
  for (const double bad : {0.0, -0.5, 1.5, std::nan("")}) CHECK_THROWS_AS(levels.tail(bad), ValueError);
}

TEST_CASE("measures of a noise level", "[diffusion][noise_level]") {
  const double infinity = std::numeric_limits<double>::infinity();
  const NoiseLevel noise{3, 0, 1}, high{2, 0.6, 0.8}, clean{-1, 1, 0};
  CHECK(noise.noise_to_signal() == infinity);
  CHECK(noise.lambda() == -infinity);
  CHECK(clean.noise_to_signal() == 0);
  CHECK(clean.lambda() == infinity);
  CHECK_THAT(high.noise_to_signal(), WithinRel(4.0 / 3, 1e-15));
  CHECK_THAT(high.lambda(), WithinRel(std::log(0.75), 1e-14));
  CHECK((noise.is_pure_noise() && clean.is_clean() && !high.is_clean() && !high.is_pure_noise()));
}
