// Filling in the unknown part of a picture.

#include "easy_diffusion/diffusion/inpainting.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/diffusion/gaussian_mixture.hpp"
#include "easy_diffusion/diffusion/level_path.hpp"
#include "easy_diffusion/diffusion/samplers/ddim.hpp"
#include "easy_diffusion/diffusion/samplers/flow_heun.hpp"
#include "easy_diffusion/diffusion/samplers/registry.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;
using namespace easy_diffusion::test;

namespace {

/// The two coordinates know of one another.
const GaussianMixture diagonal({{1, {-1, -1}, 0.5}, {1, {1, 1}, 0.5}});
constexpr double first_coordinate = 0.4;

/// P(second coordinate <= y | the first one).
double conditional_distribution(double y) {
  double sum = 0, total = 0;
  for (const MixtureComponent& c : diagonal.components()) {
    const double r = (first_coordinate - c.mean[0]) / c.deviation;
    const double weight = c.weight * std::exp(-0.5 * r * r);
    sum += weight * 0.5 * std::erfc((c.mean[1] - y) / (c.deviation * std::sqrt(2.0)));
    total += weight;
  }
  return sum / total;
}

/// Largest distance between the distribution of the second coordinates and the exact one.
double distance(const Tensor<double>& x) {
  std::vector<double> y;
  for (std::int64_t n = 0; n < x.extent(0); ++n) y.push_back(x[2 * n + 1]);
  std::sort(y.begin(), y.end());
  double worst = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    const double p = conditional_distribution(y[i]);
    const auto n = static_cast<double>(y.size());
    worst = std::max({worst, p - static_cast<double>(i) / n, static_cast<double>(i + 1) / n - p});
  }
  return worst;
}

template <class T>
struct Problem {
  explicit Problem(std::int64_t count, const NoiseLevel& level, std::int64_t first = 0)
      : x(Shape{count, 2}), known(Shape{count, 2}), mask(Shape{count, 2}) {
    sde::draw_normal(x, std::hypot(level.alpha, level.sigma), {7, streams::initial_state, 0},
                     2 * static_cast<std::uint64_t>(first));
    for (std::int64_t n = 0; n < count; ++n) {
      known[2 * n] = static_cast<T>(first_coordinate);
      known[2 * n + 1] = std::numeric_limits<T>::quiet_NaN();  // unknown: nobody looks
      mask[2 * n] = 1;
    }
  }
  Tensor<T> x, known, mask;
};

/// The first `count` coordinates.
template <class T>
bool known_is_exact(const Tensor<T>& x) {
  for (std::int64_t n = 0; n < x.extent(0); ++n)
    if (!(x[2 * n] == static_cast<T>(first_coordinate)) || !std::isfinite(x[2 * n + 1])) return false;
  return true;
}

/// Notes the addresses it is asked for.
struct NotedNoise {
  std::vector<std::int64_t> indices;

  template <class S>
  void increment(const sde::Step& step, S& dw) {
    indices.push_back(step.index);
    sde::BrownianNoise{1}.increment(step, dw);
  }
};

/// A sampler that looks back one step: counts its starts, and refuses a step without the one before.
template <class S>
struct TwoStep {
  using state_type = S;
  static constexpr SamplerTraits traits{.order = 1, .history = 1};
  Ddim<S> inner;
  int starts = 0;
  std::int64_t next = -1;

  [[nodiscard]] std::int64_t evaluations(const NoiseLevels& levels) const { return levels.steps(); }
  [[nodiscard]] const S& predicted_x0() const { return inner.predicted_x0(); }
  void start(const NoiseLevels& levels) {
    inner.start(levels);
    ++starts;
    next = -1;
  }
  template <class D, class Noise>
  void step(const D& denoiser, S& x, const NoiseLevels& levels, std::int64_t i, Noise& noise) {
    if (next != -1 && next != i) throw ValueError("history of another step");
    inner.step(denoiser, x, levels, i, noise);
    next = i + 1;
  }
};

}  // namespace

TEST_CASE("resampling brings the new part to what the known part allows", "[diffusion][inpainting]") {
  const NoiseLevels levels = noise_levels(Schedule::linear(), 40);
  constexpr std::int64_t count = 2000;
  const auto run = [&](std::int64_t resampling, std::int64_t jump) {
    Problem<double> p(count, levels.front());
    Ddim<Tensor<double>> ddpm(1);
    const SampleResult result = inpaint(ddpm, diagonal, p.x, levels, sde::BrownianNoise{4}, p.known, p.mask,
                                        {.resampling = resampling, .jump = jump, .seed = 5});
    CHECK(result.steps == resampling * levels.steps());
    CHECK(result.evaluations == result.steps);
    CHECK(known_is_exact(p.x));
    return distance(p.x);
  };
  const double once = run(1, 1), some = run(4, 1), many = run(16, 1), pieces = run(16, 4);
  CAPTURE(once, some, many, pieces);
  CHECK(some < 0.5 * once);
  CHECK(many < some);
  CHECK(pieces < many);
}

TEST_CASE("known parts are exact to the bit, wherever the levels end", "[diffusion][inpainting]") {
  using S = Tensor<float>;
  const auto schedule = Schedule::linear();
  const auto check = [](auto sampler, const NoiseLevels& levels) {
    Problem<float> p(20, levels.front());
    p.known[0] = -0.0F;
    inpaint(sampler, diagonal, p.x, levels, sde::BrownianNoise{4}, p.known, p.mask, {.resampling = 2, .seed = 5});
    CHECK(std::signbit(p.x[0]));
    p.x[0] = static_cast<float>(first_coordinate);
    CHECK(known_is_exact(p.x));
  };
  for (const End end : {End::clean, End::smallest}) {
    check(Ddim<S>(), noise_levels(schedule, 12, {.end = end}));
    check(Ddim<S>(1), noise_levels(schedule, 12, {.end = end}));
    check(Ddim<S>(0.5), karras_levels(20, 0.02, 12, 7, end));
  }
  check(Ddim<S>(), noise_levels(schedule, 12).tail(0.5));
  check(Ddim<S>(1), noise_levels(schedule.with_zero_terminal_snr(), 12));
  check(FlowHeun<S>(), flow_levels(12));
}

TEST_CASE("every sampler inpaints, and forgets what it has to redo", "[diffusion][inpainting]") {
  using S = Tensor<double>;
  const NoiseLevels levels = noise_levels(Schedule::linear(), 12);
  const SamplerOptions options{.path = schedule_path(Schedule::linear())};
  for (const std::string& name : sampler_names()) {
    INFO(name);
    const auto run = [&](std::int64_t resampling) {
      AnySampler<S> sampler = make_sampler<S>(name, options);
      Problem<double> p(300, levels.front());
      inpaint(sampler, diagonal, p.x, levels, sde::BrownianNoise{4}, p.known, p.mask,
              {.resampling = resampling, .jump = 3, .seed = 5});
      CHECK(known_is_exact(p.x));
      return distance(p.x);
    };
    CHECK(run(6) < run(1));
  }
}

TEST_CASE("no noise is used twice, and a sampler forgets what it has to redo", "[diffusion][inpainting]") {
  using S = Tensor<double>;
  const NoiseLevels levels = noise_levels(Schedule::linear(), 10);
  for (const auto& [resampling, jump] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {3, 1}, {3, 4}, {2, 99}}) {
    Problem<double> p(2, levels.front());
    Ddim<S> ddpm(1);
    NotedNoise noise;
    inpaint(ddpm, diagonal, p.x, levels, noise, p.known, p.mask, {.resampling = resampling, .jump = jump});
    // The last step draws none.
    CHECK(noise.indices.size() == static_cast<std::size_t>(9 * resampling));
    CHECK(std::set<std::int64_t>(noise.indices.begin(), noise.indices.end()).size() == noise.indices.size());

    TwoStep<S> two_step;
    std::vector<std::int64_t> seen;
    const auto observer = [&, all = resampling * levels.steps()](const SamplerView<S>& view) {
      CHECK(view.steps == all);
      seen.push_back(view.step);
    };
    const SampleResult result = inpaint(two_step, diagonal, p.x, levels, NoNoise(), p.known, p.mask,
                                        {.resampling = resampling, .jump = jump}, observer);
    const std::int64_t pieces = (levels.steps() + jump - 1) / jump;
    CHECK(two_step.starts == 1 + pieces * (resampling - 1));
    CHECK(result.steps == resampling * levels.steps());
    CHECK(static_cast<std::int64_t>(seen.size()) == result.steps);
    CHECK(seen.back() == result.steps);
    CHECK_FALSE(result.stopped);
  }
  // Once along the way asks a sampler's noise for what `sample` asks it.
  Problem<double> p(2, levels.front());
  Ddim<S> ddpm(1);
  NotedNoise plain, inpainting;
  auto x = p.x;
  sample(ddpm, diagonal, x, levels, plain);
  inpaint(ddpm, diagonal, p.x, levels, inpainting, p.known, p.mask);
  CHECK(plain.indices == inpainting.indices);
}

TEST_CASE("inpainted bits do not depend on batches or threads", "[diffusion][inpainting]") {
  using S = Tensor<float>;
  const NoiseLevels levels = noise_levels(Schedule::linear(), 6);
  constexpr std::int64_t count = 8500;  // more than a piece of a parallel loop
  const auto run = [&](std::int64_t first, std::int64_t n) {
    Problem<float> p(n, levels.front(), first);
    const auto before = static_cast<std::uint64_t>(2 * first);
    Ddim<S> ddpm(1);
    inpaint(ddpm, diagonal, p.x, levels, sde::BrownianNoise{4, before}, p.known, p.mask,
            {.resampling = 2, .jump = 2, .seed = 5, .first_element = before});
    return p.x;
  };
  const auto all = run(0, count);
  {
    const Threads three(3);
    CHECK(same_bits(run(0, count), all));
  }
  for (const auto& [first, n] : {std::pair<std::int64_t, std::int64_t>{0, 1}, {1, 3}, {4, 2000}, {8499, 1}})
    CHECK(same_bits(run(first, n), S::copy_of(all.view().slice(first, n))));
}

TEST_CASE("inpainting stops where an observer says so and refuses what does not fit", "[diffusion][inpainting]") {
  using S = Tensor<double>;
  const NoiseLevels levels = noise_levels(Schedule::linear(), 10);
  Problem<double> p(3, levels.front());
  Ddim<S> ddim;
  const auto third = [](const SamplerView<S>& view) { return view.step == 3 ? sde::Flow::stop : sde::Flow::go_on; };
  const SampleResult result =
      inpaint(ddim, diagonal, p.x, levels, NoNoise(), p.known, p.mask, {.resampling = 4, .jump = 2}, third);
  CHECK(result.stopped);
  CHECK(result.steps == 3);
  CHECK(result.evaluations == 3);

  const auto run = [&](const S& known, const S& mask, const InpaintingOptions& options, const NoiseLevels& along) {
    inpaint(ddim, diagonal, p.x, along, NoNoise(), known, mask, options);
  };
  CHECK_THROWS_AS(run(p.known, S({3, 2}, 0.5), {}, levels), ValueError);
  CHECK_THROWS_AS(run(p.known, S({3, 2}, std::nan("")), {}, levels), ValueError);
  CHECK_THROWS_AS(run(p.known, S({3, 3}), {}, levels), ShapeError);
  CHECK_THROWS_AS(run(S({2, 2}), p.mask, {}, levels), ShapeError);
  CHECK_THROWS_AS(run(p.known, p.mask, {.resampling = 0}, levels), ValueError);
  CHECK_THROWS_AS(run(p.known, p.mask, {.jump = 0}, levels), ValueError);
  CHECK_THROWS_AS(run(p.known, p.mask, {}, karras_levels(20, 0.1, 5, 7, End::smallest).reversed()), ValueError);
}
