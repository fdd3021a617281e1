#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <Eigen/Core>

#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/sde/sde.hpp"
#include "support/catch.hpp"

#include "support/allocation_count.hpp"

namespace sde = easy_diffusion::sde;
using easy_diffusion::Tensor;
using easy_diffusion::ValueError;

namespace {

/// dx = -x dt + (1 + x/4) dW
struct Relaxing {
  static constexpr sde::NoiseType noise_type = sde::NoiseType::diagonal;
  template <sde::State S>
  void drift(const S& x, double, S& out) const {
    sde::update_elements([](const auto& e, auto& f) { f = -e; }, x, out);
  }
  template <sde::State S>
  void diffusion(const S& x, double, S& out) const {
    using T = sde::scalar_t<S>;
    sde::update_elements([](const auto& e, auto& g) { g = T(1) + T(0.25) * e; }, x, out);
  }
};

/// One Brownian motion moves all elements: dx = x dW.
struct Common {
  static constexpr sde::NoiseType noise_type = sde::NoiseType::scalar;
  static constexpr bool zero_drift = true;
  template <sde::State S>
  void diffusion(const S& x, double, S& out) const {
    out = x;
  }
};

struct LinearScore {
  template <sde::State S>
  void operator()(const S& x, double, S& out) const {
    sde::update_elements([](const auto& e, auto& s) { s = -e; }, x, out);
  }
};

struct ThreadSetting {
  int before = easy_diffusion::num_threads();
  ~ThreadSetting() { easy_diffusion::set_num_threads(before); }
};

}  // namespace

TEST_CASE("a uniform grid ends exactly at its end", "[sde][grid]") {
  for (const std::int64_t n : {1, 3, 7, 10, 250, 1000, 999'983}) {
    const auto grid = sde::TimeGrid::uniform(1, 1e-3, n);
    CHECK(grid.steps() == n);
    CHECK(grid.time(0) == 1.0);
    CHECK(grid.time(n) == 1e-3);
    CHECK(grid.step(n - 1).dt < 0);
    CHECK(grid.step(0).index == 0);
    if (n > 1) CHECK(grid.time(n - 1) > grid.time(n));
    const sde::Step last = grid.step(n - 1);
    CHECK_THAT(last.t + last.dt, WithinAbs(1e-3, 4e-16));
  }
  CHECK(sde::TimeGrid::uniform(0, 10, 100).step(17).dt == 0.1);
}

TEST_CASE("a grid from times", "[sde][grid]") {
  const auto grid = sde::TimeGrid::from_times({1, 0.5, 0.125, 0});
  CHECK(grid.steps() == 3);
  CHECK(grid.start() == 1);
  CHECK(grid.end() == 0);
  CHECK(grid.step(1).t == 0.5);
  CHECK(grid.step(1).dt == -0.375);
}

TEST_CASE("bad grids are refused with a reason", "[sde][grid]") {
  using sde::TimeGrid;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH(TimeGrid::uniform(0, 1, 0), ContainsSubstring("steps") && ContainsSubstring("got 0"));
  CHECK_THROWS_AS(TimeGrid::uniform(0, 1, -3), ValueError);
  CHECK_THROWS_WITH(TimeGrid::uniform(1, 1, 5), ContainsSubstring("dt is zero"));
  CHECK_THROWS_AS(TimeGrid::uniform(0, nan, 5), ValueError);
  CHECK_THROWS_AS(TimeGrid::uniform(0, std::numeric_limits<double>::infinity(), 5), ValueError);
  CHECK_THROWS_WITH(TimeGrid::uniform(1, 1 + 1e-15, 1000), ContainsSubstring("dt is zero"));
  CHECK_THROWS_AS(TimeGrid::from_times({}), ValueError);
  CHECK_THROWS_AS(TimeGrid::from_times({1}), ValueError);
  CHECK_THROWS_WITH(TimeGrid::from_times({0, 1, 1, 2}),
                    ContainsSubstring("dt is zero") && ContainsSubstring("1 and 2"));
  CHECK_THROWS_WITH(TimeGrid::from_times({0, 1, 2, 1.5}),
                    ContainsSubstring("not monotone") && ContainsSubstring("time 3"));
  CHECK_THROWS_WITH(TimeGrid::from_times({2, 1, 1.5}), ContainsSubstring("not monotone"));
  CHECK_THROWS_AS(TimeGrid::from_times({0, nan, 2}), ValueError);
}

TEST_CASE("observers see the start and every step, and may stop", "[sde][integrate]") {
  const auto grid = sde::TimeGrid::uniform(0, 1, 10);
  const sde::BrownianNoise noise{.seed = 4};
  std::array<double, 2> x{};
  sde::RecordEvery<std::array<double, 2>> all(1), thirds(3);
  sde::StatisticsEvery statistics(5);
  std::vector<std::int64_t> reported;
  const auto result =
      sde::integrate(sde::EulerMaruyama<std::array<double, 2>>{}, sde::BrownianMotion(), x, grid, noise, all, thirds,
                     statistics, sde::progress_every(4, [&](std::int64_t step, double) { reported.push_back(step); }));
  CHECK(result.steps == 10);
  CHECK(result.t == 1.0);
  CHECK_FALSE(result.stopped);
  REQUIRE(all.states().size() == 11);
  CHECK(all.states().back() == x);
  CHECK(all.times()[3] == grid.time(3));
  REQUIRE(thirds.states().size() == 4);
  CHECK(thirds.states()[2] == all.states()[6]);
  CHECK(reported == std::vector<std::int64_t>{0, 4, 8});
  REQUIRE(statistics.rows().size() == 3);
  CHECK_THAT(statistics.rows()[2].moments.mean, WithinAbs((x[0] + x[1]) / 2, 1e-15));
  CHECK_THAT(statistics.rows()[2].moments.variance(), WithinAbs((x[0] - x[1]) * (x[0] - x[1]) / 2, 1e-15));

  std::array<double, 2> y{};
  sde::RecordEvery<std::array<double, 2>> until(1);
  const auto stopped =
      sde::integrate(sde::EulerMaruyama<std::array<double, 2>>{}, sde::BrownianMotion(), y, grid, noise,
                     sde::stop_when([](std::int64_t step, double, const auto&) { return step == 6; }), until);
  CHECK(stopped.stopped);
  CHECK(stopped.steps == 6);
  CHECK(stopped.t == grid.time(6));
  CHECK(until.states().size() == 7);
  CHECK(y == all.states()[6]);
  CHECK_THROWS_AS(sde::StatisticsEvery(0), ValueError);
}

TEST_CASE("the mean of the last step is the step without its noise", "[sde][integrate]") {
  const auto grid = sde::TimeGrid::uniform(1, 0.1, 5);
  const auto system = sde::reverse(sde::VarianceExploding(3), LinearScore{});
  const sde::BrownianNoise noise{.seed = 4};
  sde::RecordEvery<double> path(1);
  double x = 2;
  sde::integrate(sde::EulerMaruyama<double>{}, system, x, grid, noise, path);
  double y = 2;
  sde::integrate(sde::EulerMaruyama<double>{}, system, y, grid, noise, {.mean_of_last_step = true});
  const sde::Step last = grid.step(4);
  const double g = sde::VarianceExploding(3).diffusion(last.t);
  const double before = path.states()[4];
  CHECK_THAT(y, WithinRel(before + g * g * before * last.dt, 1e-14));
  double dw = 0;
  noise.increment(last, dw);
  CHECK_THAT(x - y, WithinRel(g * dw, 1e-12));
}

TEST_CASE("scalar noise moves all elements by one Brownian motion", "[sde][integrate]") {
  std::vector<double> x{1, 2, -3};
  sde::integrate(sde::EulerMaruyama<std::vector<double>>{}, Common{}, x, sde::TimeGrid::uniform(0, 1, 20),
                 sde::BrownianNoise{.seed = 8});
  CHECK(x[0] != 1.0);
  CHECK_THAT(x[1], WithinRel(2 * x[0], 1e-13));
  CHECK_THAT(x[2], WithinRel(-3 * x[0], 1e-13));
}

TEST_CASE("an ensemble has the same bits for any number of threads and any split", "[sde][integrate]") {
  const ThreadSetting setting;
  const std::int64_t n = 120'001;
  const auto grid = sde::TimeGrid::uniform(0, 1, 6);
  const auto run = [&](std::int64_t first, std::int64_t count, auto& statistics) {
    Tensor<float> x({count}, 1.0F);
    sde::integrate(sde::EulerMaruyama<Tensor<float>>{}, Relaxing{}, x, grid,
                   sde::BrownianNoise{.seed = 2, .first_element = static_cast<std::uint64_t>(first)}, statistics);
    return x;
  };
  easy_diffusion::set_num_threads(1);
  sde::StatisticsEvery one(2), two(2), rest(2);
  const Tensor<float> whole = run(0, n, one);
  easy_diffusion::set_num_threads(2);
  const Tensor<float> again = run(0, n, two);
  CHECK(std::equal(whole.begin(), whole.end(), again.begin()));
  REQUIRE(one.rows().size() == two.rows().size());
  for (std::size_t i = 0; i < one.rows().size(); ++i) {
    CHECK(one.rows()[i].moments.mean == two.rows()[i].moments.mean);
    CHECK(one.rows()[i].moments.squares == two.rows()[i].moments.squares);
  }
  for (const std::int64_t cut : {1, 17, 60'000}) {
    const Tensor<float> head = run(0, cut, rest);
    const Tensor<float> tail = run(cut, n - cut, rest);
    CHECK(std::equal(head.begin(), head.end(), whole.begin()));
    CHECK(std::equal(tail.begin(), tail.end(), whole.begin() + cut));
  }
}

TEST_CASE("statistics agree with sums in long double", "[sde][observers]") {
  Tensor<float> x({50'021});
  sde::draw_normal(x, 2.0, {1, 0, 0});
  for (float& e : x) e += 1000.0F;  // a mean far above the spread loses digits in a careless sum of squares
  long double sum = 0;
  for (const float e : x) sum += static_cast<long double>(e);
  const long double mean = sum / x.size();
  long double squares = 0;
  for (const float e : x) squares += (static_cast<long double>(e) - mean) * (static_cast<long double>(e) - mean);
  const sde::Moments moments = sde::MomentsOf{}(x);
  CHECK(moments.count == x.size());
  CHECK_THAT(moments.mean, WithinRel(static_cast<double>(mean), 1e-13));
  CHECK_THAT(moments.squares, WithinRel(static_cast<double>(squares), 1e-10));
}

namespace {

template <class S>
std::uint64_t allocations_of_a_run(S x) {
  sde::fill(x, 0.5);
  sde::EulerMaruyama<S> stepper;
  const auto reverse = sde::reverse(sde::VarianceExploding(3), LinearScore{});
  const sde::BrownianNoise noise{.seed = 1};
  const auto short_grid = sde::TimeGrid::uniform(1, 0.5, 1);
  const auto grid = sde::TimeGrid::uniform(1, 0.1, 50);
  sde::MomentsOf moments;
  moments(x);
  const auto observer = [&moments](std::int64_t, double, const S& state) { (void)moments(state); };
  sde::integrate(stepper, reverse, x, short_grid, noise, observer);
  sde::integrate(stepper, Relaxing{}, x, short_grid, noise, observer);
  const std::uint64_t before = easy_diffusion::tests::allocations();
  sde::integrate(stepper, reverse, x, grid, noise, {.mean_of_last_step = true}, observer);
  sde::integrate(stepper, Relaxing{}, x, grid, noise, observer);
  return easy_diffusion::tests::allocations() - before;
}

}  // namespace

TEST_CASE("nothing is allocated after the first step", "[sde][integrate]") {
  const std::uint64_t before = easy_diffusion::tests::allocations();
  ::operator delete(::operator new(100));  // called by name: compilers may leave a new-expression out
  REQUIRE(easy_diffusion::tests::allocations() > before);  // the count counts
  CHECK(allocations_of_a_run(0.0) == 0);
  CHECK(allocations_of_a_run(std::array<double, 8>{}) == 0);
  CHECK(allocations_of_a_run(std::vector<double>(1000)) == 0);
  CHECK(allocations_of_a_run(Eigen::ArrayXf(Eigen::ArrayXf::Zero(1000))) == 0);
  CHECK(allocations_of_a_run(Tensor<float>({1000})) == 0);
  CHECK(allocations_of_a_run(Tensor<float>({100'000})) == 0);
}
