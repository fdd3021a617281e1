// Losses of the discrete chain: their values by definition, and their gradients by differences.

#include "easy_diffusion/diffusion/diffusion_loss.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <string>
#include <vector>

#include "easy_diffusion/core/parallel.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"
#include "support/worst.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;
using namespace easy_diffusion::test;

namespace {

using Sample = std::array<double, 6>;

const std::vector<MeanType> mean_types = {Prediction::epsilon, Prediction::x0,       Prediction::v,
                                          Prediction::score,   Prediction::velocity, MeanType::previous_x()};

/// 8-bit data with both ends, noise, and an output that is not quite right.
struct Case {
  Sample x0{}, noise{}, output{}, v{};

  Case(const GaussianDiffusion& diffusion, std::int64_t t) {
    const std::array<double, 6> bytes = {0, 255, 3, 100, 128, 251};
    const auto deviates = random_tensor<double>({3, 6}, 7);
    Sample x_t{}, previous{};
    for (std::size_t i = 0; i < x0.size(); ++i) {
      x0[i] = bytes[i] / 127.5 - 1;
      noise[i] = deviates(0, i);
    }
    diffusion.q_sample(x0, t, noise, x_t);
    diffusion.posterior_mean(x0, x_t, t, previous);
    const NoiseLevel& level = diffusion.level(t);
    const MeanType mean = diffusion.output().mean;
    const double size = mean == MeanType(Prediction::score)                        ? 0.1 / level.sigma
                        : mean.is_previous_x() || mean == MeanType(Prediction::x0) ? 0.02
                                                                                   : 0.1;
    for (std::size_t i = 0; i < x0.size(); ++i) {
      double exact = previous[i];
      if (!mean.is_previous_x()) {
        switch (mean.prediction()) {
          case Prediction::epsilon: exact = noise[i]; break;
          case Prediction::x0: exact = x0[i]; break;
          case Prediction::v: exact = level.alpha * noise[i] - level.sigma * x0[i]; break;
          case Prediction::score: exact = -noise[i] / level.sigma; break;
          case Prediction::velocity: exact = noise[i] - x0[i]; break;
        }
      }
      output[i] = exact + size * deviates(1, i);
      v[i] = diffusion.output().variance == VarianceType::learned
                 ? diffusion.posterior_log_variance(t) + 0.5 * deviates(2, i)
                 : 0.5 * deviates(2, i);
    }
  }
};

double loss_of(const DiffusionLoss& loss, const Case& c, std::int64_t t, Sample& gradient, Sample& v_gradient) {
  if (loss.diffusion().learns_variance()) return loss(c.x0, c.noise, t, c.output, c.v, gradient, v_gradient);
  return loss(c.x0, c.noise, t, c.output, gradient);
}

/// Fourth-order differences of a loss by one of the two outputs.
Sample differences(const DiffusionLoss& loss, const Case& c, std::int64_t t, Sample Case::*which) {
  Sample result{}, ignored{}, ignored_too{};
  for (std::size_t i = 0; i < result.size(); ++i) {
    const auto at = [&](double offset) {
      Case moved = c;
      (moved.*which)[i] += offset;
      return loss_of(loss, moved, t, ignored, ignored_too);
    };
    const double h = 3e-4 * std::max(0.05, std::abs((c.*which)[i]));
    result[i] = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
  }
  return result;
}

/// NaN where there is one.
double worst_error(const Sample& got, const Sample& want) {
  double largest = 0;
  Worst worst;
  for (const double w : want) largest = std::max(largest, std::abs(w));
  for (std::size_t i = 0; i < got.size(); ++i) worst.see(std::abs(got[i] - want[i]));
  return worst.value() == 0 ? 0 : worst.value() / largest;
}

}  // namespace

TEST_CASE("gradients of every loss are those of its value", "[diffusion][loss]") {
  const auto schedule = Schedule::linear(30, 1e-3, 0.3);
  int checked = 0;
  for (const std::vector<std::int64_t>& timesteps : {std::vector<std::int64_t>{0, 1, 2, 3, 4}, {2, 9, 10, 20, 29}})
    for (const MeanType mean : mean_types)
      for (std::size_t variance = 0; variance < variance_type_names.size(); ++variance)
        for (std::size_t type = 0; type < loss_names.size(); ++type)
          for (const auto& [gamma, cdf] : {std::pair{0.0, NormalCdf::exact}, {5.0, NormalCdf::tanh_with_floor}}) {
            const GaussianDiffusion diffusion(schedule, timesteps, {mean, static_cast<VarianceType>(variance)});
            LossOptions options{.type = static_cast<LossType>(type), .cdf = cdf};
            if (gamma > 0) options.min_snr_gamma = gamma;
            if (options.type == LossType::hybrid && !diffusion.learns_variance()) continue;
            const DiffusionLoss loss(diffusion, options);
            for (std::int64_t t = 0; t < diffusion.steps(); ++t) {
              INFO(mean.name() << ", " << variance_type_names[variance] << ", " << loss_names[type] << ", t " << t
                               << ", timesteps to " << timesteps.back() << ", gamma " << gamma);
              const Case c(diffusion, t);
              Sample gradient{}, v_gradient{};
              CHECK(std::isfinite(loss_of(loss, c, t, gradient, v_gradient)));
              // Beside a squared error the bound's gradient stops at the mean: what is left is that of the squared error.
              const bool bound_alone = options.type == LossType::kl || options.type == LossType::rescaled_kl;
              LossOptions squared = options;
              squared.type = LossType::mse;
              const DiffusionLoss mean_loss =
                  bound_alone ? loss
                              : DiffusionLoss(GaussianDiffusion(schedule, timesteps, {mean, VarianceType::fixed_small}),
                                              squared);
              CHECK(worst_error(gradient, differences(mean_loss, c, t, &Case::output)) <= 1e-7);
              if (diffusion.learns_variance())
                CHECK(worst_error(v_gradient, differences(loss, c, t, &Case::v)) <= 1e-7);
              ++checked;
            }
          }
  CHECK(checked == 2 * 6 * (4 * 4 + 2) * 2 * 5);
}

TEST_CASE("losses are what their names say", "[diffusion][loss]") {
  const auto schedule = Schedule::linear(30, 1e-3, 0.3);
  const GaussianDiffusion diffusion(schedule, {Prediction::epsilon, VarianceType::learned_range});
  const auto value = [&](LossOptions options, std::int64_t t) {
    const Case c(diffusion, t);
    Sample gradient{}, v_gradient{};
    return loss_of(DiffusionLoss(diffusion, options), c, t, gradient, v_gradient);
  };
  for (const std::int64_t t : {0, 1, 17, 29}) {
    const Case c(diffusion, t);
    double squared = 0, kl = 0;
    Sample x_t{}, posterior{};
    ReverseStep<Sample> step{};
    diffusion.q_sample(c.x0, t, c.noise, x_t);
    diffusion.posterior_mean(c.x0, x_t, t, posterior);
    diffusion.p_mean_variance(x_t, t, c.output, c.v, false, step);
    for (std::size_t i = 0; i < c.x0.size(); ++i) {
      squared += (c.output[i] - c.noise[i]) * (c.output[i] - c.noise[i]) / 6;
      const double difference = posterior[i] - step.mean[i], before = diffusion.posterior_log_variance(t);
      kl += (t == 0 ? -bin_likelihood(c.x0[i], step.mean[i], step.log_variance[i]).log_probability
                    : 0.5 * (step.log_variance[i] - before - 1 + std::exp(before - step.log_variance[i]) +
                             difference * difference / std::exp(step.log_variance[i]))) /
            6 / std::numbers::ln2;
    }
    CHECK_THAT(value({.type = LossType::kl}, t), WithinRel(kl, 1e-9));
    CHECK_THAT(value({.type = LossType::rescaled_kl}, t), WithinRel(30 * kl, 1e-9));
    CHECK_THAT(value({.type = LossType::mse}, t), WithinRel(squared + kl, 1e-9));
    CHECK_THAT(value({.type = LossType::rescaled_mse}, t), WithinRel(squared + 0.03 * kl, 1e-9));
    CHECK_THAT(value({.type = LossType::hybrid, .bound_weight = 0.01}, t), WithinRel(squared + 0.3 * kl, 1e-9));
  }
}

TEST_CASE("min-SNR weights count one error of x0 alike for every prediction", "[diffusion][loss]") {
  const auto schedule = Schedule::linear(100);
  const double gamma = 2;
  for (const MeanType mean : mean_types) {
    const DiffusionLoss loss(GaussianDiffusion(schedule, {mean}), {.min_snr_gamma = gamma});
    for (const std::int64_t t : {0, 3, 50, 99}) {
      INFO(mean.name() << " at " << t);
      const NoiseLevel level = schedule.level(t);
      const double snr = level.alpha * level.alpha / (level.sigma * level.sigma);
      const Case c(loss.diffusion(), t);
      Sample gradient{}, x_t{};
      ReverseStep<Sample> step{};
      loss.diffusion().q_sample(c.x0, t, c.noise, x_t);
      loss.diffusion().p_mean_variance(x_t, t, c.output, false, step);
      double error = 0;
      for (std::size_t i = 0; i < c.x0.size(); ++i) error += (step.x0[i] - c.x0[i]) * (step.x0[i] - c.x0[i]) / 6;
      CHECK_THAT(loss(c.x0, c.noise, t, c.output, gradient), WithinRel(std::min(snr, gamma) * error, 1e-9));
    }
  }
  // The figures of the paper at an SNR above gamma: gamma / SNR on epsilon, gamma / (SNR + 1) on v, gamma on x0.
  const NoiseLevel level = schedule.level(0);
  const double snr = level.alpha * level.alpha / (level.sigma * level.sigma);
  const auto weight = [&](const Schedule& s, Prediction p, std::int64_t t) {
    return DiffusionLoss(GaussianDiffusion(s, {p}), {.min_snr_gamma = gamma}).squared_weight(t);
  };
  CHECK_THAT(weight(schedule, Prediction::epsilon, 0), WithinRel(gamma / snr, 1e-12));
  CHECK_THAT(weight(schedule, Prediction::v, 0), WithinRel(gamma / (snr + 1), 1e-9));
  CHECK_THAT(weight(schedule, Prediction::x0, 0), WithinRel(gamma, 1e-9));
  // At pure noise: finite, too.
  const auto ended = schedule.with_zero_terminal_snr();
  CHECK(weight(ended, Prediction::epsilon, 99) == 1);
  CHECK(weight(ended, Prediction::v, 99) == 0);
  CHECK(weight(ended, Prediction::x0, 99) == 0);
}

TEST_CASE("a batch's losses are its samples'", "[diffusion][loss]") {
  const GaussianDiffusion diffusion(Schedule::linear(30, 1e-3, 0.3), {Prediction::v, VarianceType::learned_range});
  const DiffusionLoss loss(diffusion, {.type = LossType::hybrid});
  const std::vector<std::int64_t> t = {0, 29, 7};
  const std::vector<double> weights = {0.5, 2, 1};
  // [3, 2, 3]: two pixels of three channels; an output has the three of the mean, then those of the variance.
  Tensor<double> x0({3, 2, 3}), noise({3, 2, 3}), output({3, 2, 6}), gradient;
  std::vector<double> want;
  std::vector<Sample> want_gradient(3), want_v_gradient(3);
  for (std::int64_t n = 0; n < 3; ++n) {
    const Case c(diffusion, t[static_cast<std::size_t>(n)]);
    for (std::int64_t i = 0; i < 6; ++i) {
      const auto which = static_cast<std::size_t>(i);
      x0[n * 6 + i] = c.x0[which];
      noise[n * 6 + i] = c.noise[which];
      output(n, i / 3, i % 3) = c.output[which];
      output(n, i / 3, 3 + i % 3) = c.v[which];
    }
    const auto k = static_cast<std::size_t>(n);
    want.push_back(loss(c.x0, c.noise, t[k], c.output, c.v, want_gradient[k], want_v_gradient[k]));
  }
  const auto got = loss(x0, noise, t, output, gradient, weights);
  REQUIRE(gradient.shape() == output.shape());
  for (std::size_t n = 0; n < 3; ++n) {
    CHECK_THAT(got[n], WithinRel(want[n], 1e-14));
    for (std::size_t i = 0; i < 6; ++i) {
      CHECK_THAT(gradient(n, i / 3, i % 3), WithinRel(weights[n] * want_gradient[n][i], 1e-13));
      CHECK_THAT(gradient(n, i / 3, 3 + i % 3), WithinRel(weights[n] * want_v_gradient[n][i], 1e-13));
    }
  }
  // The step of a batch is its samples', too.
  const auto x_t = diffusion.q_sample(x0, t, noise);
  const auto step = diffusion.p_mean_variance(x_t, t, output, true);
  for (std::size_t n = 0; n < 3; ++n) {
    const Case c(diffusion, t[n]);
    Sample state{};
    ReverseStep<Sample> one{};
    diffusion.q_sample(c.x0, t[n], c.noise, state);
    diffusion.p_mean_variance(state, t[n], c.output, c.v, true, one);
    for (std::size_t i = 0; i < 6; ++i) {
      const auto at = static_cast<std::int64_t>(n * 6 + i);
      CHECK_THAT(x_t[at], WithinAbs(state[i], 1e-15));
      CHECK_THAT(step.mean[at], WithinAbs(one.mean[i], 1e-14));
      CHECK_THAT(step.log_variance[at], WithinRel(one.log_variance[i], 1e-14));
      CHECK_THAT(step.x0[at], WithinAbs(one.x0[i], 1e-14));
    }
  }
  // Float takes the same way.
  Tensor<float> gradient_float;
  const auto as_float = [](const Tensor<double>& x) { return Tensor<float>::copy_of(x.view()); };
  const auto got_float = loss(as_float(x0), as_float(noise), t, as_float(output), gradient_float, weights);
  for (std::size_t n = 0; n < 3; ++n) CHECK_THAT(got_float[n], WithinRel(want[n], 1e-4));
  CHECK(relative_error(gradient_float, gradient) <= 1e-4);
}

TEST_CASE("losses have the same bits for any number of threads", "[diffusion][loss][threads]") {
  const GaussianDiffusion diffusion(Schedule::linear(10), {Prediction::epsilon});
  const DiffusionLoss loss(diffusion, {.min_snr_gamma = 5.0});
  const auto x0 = random_tensor<float>({9, 40, 40, 3}, 1), noise = random_tensor<float>({9, 40, 40, 3}, 2),
             output = random_tensor<float>({9, 40, 40, 3}, 3);
  const std::vector<std::int64_t> t = {0, 1, 2, 3, 4, 5, 6, 7, 9};
  const auto run = [&](int threads, Tensor<float>& gradient, Tensor<float>& x_t) {
    const Threads scope(threads);
    x_t = diffusion.q_sample(x0, t, noise);
    return loss(x0, noise, t, output, gradient);
  };
  Tensor<float> one, three, x_one, x_three;
  CHECK(run(1, one, x_one) == run(3, three, x_three));
  CHECK(same_bits(one, three));
  CHECK(same_bits(x_one, x_three));
}

TEST_CASE("losses refuse what they cannot be of", "[diffusion][loss]") {
  const auto schedule = Schedule::linear(10);
  CHECK_THROWS_AS(DiffusionLoss(GaussianDiffusion(schedule), {.type = LossType::hybrid}), ValueError);
  CHECK_THROWS_AS(DiffusionLoss(GaussianDiffusion(schedule), {.min_snr_gamma = 0.0}), ValueError);
  CHECK_THROWS_AS(DiffusionLoss(GaussianDiffusion(schedule), {.bound_weight = 0}), ValueError);
  CHECK_THROWS_WITH(loss_by_name("l1"), ContainsSubstring("rescaled_kl") && ContainsSubstring("'l1'"));
  CHECK(loss_by_name("hybrid") == LossType::hybrid);

  const DiffusionLoss squared{GaussianDiffusion(schedule)}, kl(GaussianDiffusion(schedule), {.type = LossType::kl});
  double gradient = 0;
  CHECK(squared(0.3, 0.1, 9, 0.0, gradient) == Approx(0.01));
  CHECK_THROWS_WITH(kl(0.3, 0.1, 9, 0.0, gradient), ContainsSubstring("8-bit"));  // dequantised
  CHECK_THROWS_AS(kl(1.0 + 2 / 255.0, 0.1, 9, 0.0, gradient), ValueError);
  CHECK_THROWS_AS(squared(0.3, 0.1, 10, 0.0, gradient), ValueError);
  CHECK_THROWS_AS(squared(0.3, 0.1, -1, 0.0, gradient), ValueError);
  double v_gradient = 0;
  CHECK_THROWS_AS(squared(0.3, 0.1, 1, 0.0, 0.0, gradient, v_gradient), ValueError);

  const Tensor<float> x({2, 3}), wrong({2, 4});
  Tensor<float> out;
  const std::vector<std::int64_t> t = {0, 1}, few = {0}, outside = {0, 10};
  CHECK_THROWS_AS(squared(x, x, few, x, out), ShapeError);
  CHECK_THROWS_AS(squared(x, wrong, t, x, out), ShapeError);
  CHECK_THROWS_AS(squared(x, x, t, wrong, out), ShapeError);
  CHECK_THROWS_AS(squared(x, x, outside, x, out), ValueError);
  CHECK_THROWS_AS(squared(x, x, t, x, out, std::vector<double>{1}), ShapeError);

  // At pure noise epsilon is learned as it is, but has no bound.
  const auto ended = schedule.with_zero_terminal_snr();
  const DiffusionLoss bound_at_noise(GaussianDiffusion(ended), {.type = LossType::kl});
  CHECK(DiffusionLoss(GaussianDiffusion(ended))(1.0, 0.1, 9, 0.0, gradient) == Approx(0.01));
  CHECK_THROWS_AS(bound_at_noise(1.0, 0.1, 9, 0.0, gradient), ValueError);
}
