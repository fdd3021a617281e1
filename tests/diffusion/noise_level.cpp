// Lists of noise levels: what they refuse, their other end, their tail.

#include "easy_diffusion/diffusion/noise_level.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>
#include <vector>

#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/diffusion/brownian_path.hpp"
#include "easy_diffusion/diffusion/gaussian_mixture.hpp"
#include "easy_diffusion/diffusion/inpainting.hpp"
#include "easy_diffusion/diffusion/inversion.hpp"
#include "easy_diffusion/diffusion/noised.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/diffusion/samplers/ddim.hpp"
#include "easy_diffusion/diffusion/samplers/flow_heun.hpp"
#include "easy_diffusion/diffusion/samplers/registry.hpp"
#include "easy_diffusion/diffusion/schedule.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "easy_diffusion/sde/noise.hpp"
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
  for (const double bad : {-0.5, -1e-300, 1.5, std::nan("")}) CHECK_THROWS_AS(levels.tail(bad), ValueError);
}

TEST_CASE("of no strength a picture stays what it is, by every sampler", "[diffusion][noise_level]") {
  using X = Tensor<float>;
  const Schedule schedule = Schedule::linear();
  const NoiseLevels none = noise_levels(schedule, 10).tail(0);
  CHECK(none.steps() == 0);
  CHECK(none.front() == schedule.level(-1));
  CHECK(none.back() == none.front());
  CHECK(none.denoises());
  CHECK(none.reversed().steps() == 0);
  CHECK(none.tail(0.5).steps() == 0);
  const X picture({2, 2, 2, 1}, -0.37F);
  const GaussianMixture data({{1, {0.3}, 0.2}});
  for_each_sampler<X>([&](std::string_view name, const auto&, const auto& make) {
    INFO(name);
    auto sampler = make(SamplerOptions{.path = schedule_path(schedule)});
    CHECK(sampler.evaluations(none) == 0);
    X x = noised(picture, none.front(), {1, streams::initial_state, 0});
    int looks = 0;
    const SampleResult result =
        sample(sampler, data, x, none, sde::BrownianNoise{1}, [&looks](const SamplerView<X>&) { ++looks; });
    CHECK(std::equal(x.begin(), x.end(), picture.begin()));
    CHECK((result.steps == 0 && result.evaluations == 0 && !result.stopped && looks == 0));
    X painted = picture;
    inpaint(sampler, data, painted, none, sde::BrownianNoise{1}, X(picture.shape(), 0.5F), X(picture.shape(), 1.0F));
    CHECK(painted[0] == 0.5F);
  });
  FlowHeun<X> flow;
  CHECK(flow.evaluations(flow_levels(4).tail(0)) == 0);
  CHECK_THROWS_AS(brownian_path(none, 1), ValueError);
}

TEST_CASE("a state without elements is refused", "[diffusion][noise_level]") {
  using X = Tensor<float>;
  const NoiseLevels levels = noise_levels(Schedule::linear(), 3);
  const GaussianMixture data({{1, {0.3}, 0.2}});
  Ddim<X> ddim;
  X nobody({0, 8, 8, 1}), blank({3, 0});
  CHECK_THROWS_WITH(sample(ddim, data, nobody, levels, NoNoise()), ContainsSubstring("at least one element"));
  CHECK_THROWS_AS(sample(ddim, data, blank, levels, NoNoise()), ShapeError);
  CHECK_THROWS_AS(inpaint(ddim, data, nobody, levels, NoNoise(), nobody, nobody), ShapeError);
  CHECK_THROWS_AS(invert(data, nobody, noise_levels(Schedule::linear(), 3, {.end = End::smallest})), ShapeError);
  std::vector<double> empty;
  Ddim<std::vector<double>> other;
  CHECK_THROWS_AS(sample(other, data, empty, levels, NoNoise()), ShapeError);
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
