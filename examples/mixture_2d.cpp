/// A mixture in the plane, sampled by every stepper with the exact score: stochastic ones along the reverse-time
/// equation, the others along the probability flow. A picture of each shows the samples over the density, with the
/// field that moves them; a table says how far the samples are from the mixture.

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/io/atomic_file.hpp"
#include "easy_diffusion/sde/sde.hpp"
#include "support/options.hpp"
#include "support/plot.hpp"

namespace ed = easy_diffusion;
namespace ex = easy_diffusion::examples;
namespace sde = easy_diffusion::sde;

namespace {

using Point = std::array<double, 2>;
constexpr double deviation = 0.22;  // of every component
constexpr int components = 5;
constexpr double reach = 2.6;  // of the pictures

Point centre(int k) {
  const double angle = 6.283185307179586 * k / components + 0.3;
  return {1.6 * std::cos(angle), 1.6 * std::sin(angle)};
}

/// The exact score of the mixture under the variance-preserving process.
struct Score {
  sde::VariancePreserving<> process{};

  /// Weights of the components at x, their common variance, and the log density.
  struct Parts {
    std::array<double, components> share{};
    double alpha = 1, variance = 1, log_density = 0;
  };
  [[nodiscard]] Parts parts(const Point& x, double t) const {
    Parts p;
    const double s = process.marginal_std(t);
    p.alpha = process.mean_factor(t);
    p.variance = p.alpha * p.alpha * deviation * deviation + s * s;
    double most = -1e300, sum = 0;
    for (int k = 0; k < components; ++k) {
      const Point m = centre(k);
      const double dx = x[0] - p.alpha * m[0], dy = x[1] - p.alpha * m[1];
      auto& e = p.share[static_cast<std::size_t>(k)];
      e = -0.5 * (dx * dx + dy * dy) / p.variance;
      most = e > most ? e : most;
    }
    for (double& e : p.share) sum += e = std::exp(e - most);
    for (double& e : p.share) e /= sum;
    p.log_density = most + std::log(sum / (components * 6.283185307179586 * p.variance));
    return p;
  }
  void operator()(const Point& x, double t, Point& out) const {
    const Parts p = parts(x, t);
    out = {-x[0] / p.variance, -x[1] / p.variance};
    for (int k = 0; k < components; ++k)
      for (std::size_t i = 0; i < 2; ++i)
        out[i] += p.share[static_cast<std::size_t>(k)] * p.alpha * centre(k)[i] / p.variance;
  }
};

struct Result {
  std::string name;
  int evaluations = 0;
  std::vector<Point> samples;
};

/// Root mean square distance of the components' shares from equal ones, and the mean deviation within components.
std::array<double, 2> quality(const std::vector<Point>& samples) {
  std::array<double, components> count{};
  double squares = 0;
  for (const Point& x : samples) {
    double nearest = 1e300;
    int best = 0;
    for (int k = 0; k < components; ++k) {
      const Point m = centre(k);
      const double d = (x[0] - m[0]) * (x[0] - m[0]) + (x[1] - m[1]) * (x[1] - m[1]);
      if (d < nearest) nearest = d, best = k;
    }
    count[static_cast<std::size_t>(best)] += 1;
    squares += nearest;
  }
  const auto n = static_cast<double>(samples.size());
  double uneven = 0;
  for (const double c : count) uneven += (c / n - 1.0 / components) * (c / n - 1.0 / components) / components;
  return {std::sqrt(uneven), std::sqrt(squares / (2 * n))};
}

/// Samples as crosses (short lines), the field as arrows without heads that thin out where it is weak.
void draw(const Result& result, const sde::ProbabilityFlow<sde::VariancePreserving<>, Score>& flow, double field_time,
          const std::filesystem::path& png) {
  const Score score;
  ex::DensityPlot plot;
  plot.axes = {.title = result.name + ": samples, density and flow",
               .x_label = "x",
               .y_label = "y",
               .width = 860,
               .height = 780};
  plot.columns = plot.rows = 161;
  plot.x_first = plot.y_first = -reach;
  plot.x_last = plot.y_last = reach;
  plot.value_label = "probability density";
  for (std::size_t c = 0; c < plot.columns; ++c)
    for (std::size_t r = 0; r < plot.rows; ++r) {
      const auto at = [](std::size_t i) { return reach * (static_cast<double>(i) / 80 - 1); };
      plot.values.push_back(std::exp(score.parts({at(c), at(r)}, 0).log_density));
    }
  plot.full_scale = 1;
  // Lines of one curve are parted by a point that is no number.
  const double gap = std::nan("");
  ex::Curve arrows{.label = "field", .x = {}, .y = {}, .colour = "#64748b", .width = 1.1};
  for (double x = -2.4; x < 2.5; x += 0.3)
    for (double y = -2.4; y < 2.5; y += 0.3) {
      Point f{};
      flow.drift({x, y}, field_time, f);
      // Time falls while samples form: they move against the drift.
      const double length = std::sqrt(f[0] * f[0] + f[1] * f[1]);
      const double scale = -0.26 / (length + 1.5);
      const Point tip{x + scale * f[0], y + scale * f[1]};
      const Point along{tip[0] - x, tip[1] - y};
      for (const Point& p :
           {Point{x, y}, tip, Point{tip[0] - 0.3 * along[0] + 0.15 * along[1], tip[1] - 0.3 * along[1] - 0.15 * along[0]},
            tip, Point{tip[0] - 0.3 * along[0] - 0.15 * along[1], tip[1] - 0.3 * along[1] + 0.15 * along[0]}}) {
        arrows.x.push_back(p[0]);
        arrows.y.push_back(p[1]);
      }
      arrows.x.push_back(gap);
      arrows.y.push_back(gap);
    }
  ex::Curve dots{.label = "samples", .x = {}, .y = {}, .colour = "#ea580c", .width = 1.6};
  const std::size_t shown = result.samples.size() < 1500 ? result.samples.size() : 1500;
  for (std::size_t i = 0; i < shown; ++i) {
    const Point& p = result.samples[i];
    if (!(std::abs(p[0]) < reach && std::abs(p[1]) < reach)) continue;
    for (const Point& q : {Point{p[0] - 0.012, p[1]}, Point{p[0] + 0.012, p[1]}, Point{gap, gap},
                           Point{p[0], p[1] - 0.012}, Point{p[0], p[1] + 0.012}, Point{gap, gap}}) {
      dots.x.push_back(q[0]);
      dots.y.push_back(q[1]);
    }
  }
  plot.curves = {std::move(arrows), std::move(dots)};
  draw_png(plot, png);
}

void program(ex::CommandLine& line) {
  std::int64_t samples = 4000, steps = 100;
  line.describe("Samples a mixture in the plane by every stepper, with the exact score, and draws each result.");
  line.add<std::int64_t>("--samples", samples, "number of samples", 10, 10'000'000);
  line.add<std::int64_t>("--steps", steps, "number of steps", 1, 100'000);
  line.parse();
  if (line.smoke) {
    if (!line.given("--samples")) samples = 300;
    if (!line.given("--steps")) steps = 20;
  }

  const Score score;
  const auto flow = sde::probability_flow(score.process, score);
  const auto reverse = sde::reverse(score.process, score);
  const auto grid = sde::TimeGrid::quadratic(1, 1e-3, steps);
  std::vector<Point> start(static_cast<std::size_t>(samples));
  for (std::size_t i = 0; i < start.size(); ++i)
    sde::draw_normal(start[i], score.process.prior_std(), {line.seed, ed::streams::initial_state, 0}, 2 * i);

  std::vector<Result> results;
  const auto stochastic = [&]<class Stepper>(const char* name, const Stepper& stepper) {
    Result r{name, Stepper::traits.drift_evaluations, start};
    sde::integrate_paths(stepper, reverse, std::span<Point>(r.samples), grid, sde::BrownianNoise{.seed = line.seed},
                         {.mean_of_last_step = true});
    results.push_back(std::move(r));
  };
  const auto ordinary = [&]<class Stepper>(const char* name, const Stepper& stepper) {
    Result r{name, Stepper::traits.evaluations, start};
    Stepper own = stepper;
    for (Point& x : r.samples) sde::integrate(own, flow, x, grid);
    results.push_back(std::move(r));
  };
  stochastic("Euler-Maruyama", sde::EulerMaruyama<Point>{});
  stochastic("Platen, weak order 2", sde::PlatenWeak2<Point>{});
  stochastic("Heun (Stratonovich)", sde::StratonovichHeun<Point>{});
  stochastic("midpoint (Stratonovich)", sde::StratonovichMidpoint<Point>{});
  stochastic("reversible Heun", sde::ReversibleHeun<Point>{});
  stochastic("SRA1", sde::Sra1<Point>{});
  stochastic("SRA3", sde::Sra3<Point>{});
  stochastic("SRI1W1", sde::Sri1W1<Point>{});
  ordinary("Euler", sde::Euler<Point>{});
  ordinary("Heun", sde::Heun<Point>{});
  ordinary("Runge-Kutta 4", sde::RungeKutta4<Point>{});
  ordinary("Dormand-Prince 5", sde::DormandPrince5<Point>{});
  ordinary("Adams-Bashforth 2", sde::AdamsBashforth<Point, 2>{});
  ordinary("exponential Heun", sde::ExponentialHeun<Point>{});

  std::printf("%lld samples, %lld steps, seed %llu; a component's deviation is %g\n\n", static_cast<long long>(samples),
              static_cast<long long>(steps), static_cast<unsigned long long>(line.seed), deviation);
  std::printf("%-26s %18s %14s %14s\n", "stepper", "evaluations/step", "uneven shares", "deviation");
  std::string csv = "stepper,x,y\n";
  for (const Result& r : results) {
    const auto q = quality(r.samples);
    std::printf("%-26s %18d %14.4f %14.4f\n", r.name.c_str(), r.evaluations, q[0], q[1]);
    for (const Point& p : r.samples)
      csv += r.name.substr(0, r.name.find(',')) + "," + ex::detail::number(p[0]) + "," + ex::detail::number(p[1]) + "\n";
  }
  std::fflush(stdout);
  ed::io::write_file(line.out / "mixture_2d.csv", csv);
  for (const Result& r : results) {
    std::string file = "mixture_2d_";
    for (const char c : r.name.substr(0, r.name.find(',')))
      if (c != '(' && c != ')') file += c == ' ' ? '_' : c;
    draw(r, flow, 0.25, line.out / (file + ".png"));
  }
  std::printf("\nwrote mixture_2d.csv and one picture a stepper to %s\n", ex::printable(line.out).c_str());
}

}  // namespace

int main(int argc, char** argv) { return ex::run_main(argc, argv, program); }
