#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <Eigen/Core>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/sde/sde.hpp"
#include "support/catch.hpp"

namespace sde = easy_diffusion::sde;
using easy_diffusion::Tensor;
using easy_diffusion::TensorView;

namespace particles {

struct Particle {
  double q = 0, p = 0;
};

template <class F, class P, class... Q>
requires(std::is_same_v<std::remove_const_t<P>, Particle>) void for_each_element(F&& f, P& x, Q&... others) {
  f(x.q, others.q...);
  f(x.p, others.p...);
}

}  // namespace particles

namespace {

static_assert(sde::State<float> && sde::State<double>);
static_assert(sde::State<std::array<double, 3>> && sde::State<std::array<std::array<float, 2>, 3>>);
static_assert(sde::State<std::vector<float>> && sde::State<std::array<std::vector<double>, 2>>);
static_assert(sde::State<Eigen::ArrayXd> && sde::State<Eigen::Matrix3f> && sde::State<Eigen::ArrayXXf>);
static_assert(sde::State<Tensor<float>> && sde::State<particles::Particle>);
static_assert(!sde::State<int> && !sde::State<std::array<int, 2>> && !sde::State<std::string>);
static_assert(!sde::State<Tensor<std::int32_t>> && !sde::State<std::vector<int>>);
// A copy of a view shares its elements: a work state made from it would overwrite the state.
static_assert(!sde::State<TensorView<float>> && !sde::State<std::span<double>>);
static_assert(std::is_same_v<sde::scalar_t<Tensor<float>>, float>);
static_assert(std::is_same_v<sde::scalar_t<std::array<std::array<float, 2>, 3>>, float>);
static_assert(std::is_same_v<sde::scalar_t<Eigen::Matrix3f>, float>);
static_assert(std::is_same_v<sde::scalar_t<particles::Particle>, double>);

template <class S>
std::vector<double> elements(const S& x) {
  std::vector<double> result;
  sde::for_each_element([&result](const auto& e) { result.push_back(static_cast<double>(e)); }, x);
  return result;
}

/// The numbers of one run of a process with drift and with additive or diagonal noise.
struct Additive {
  static constexpr sde::NoiseType noise_type = sde::NoiseType::additive;
  template <sde::State S>
  void drift(const S& x, double t, S& out) const {
    sde::for_each_element([t](const auto& e, auto& f) { f = -e * e * e + t; }, x, out);
  }
  double diffusion(double t) const { return 0.5 + t; }
};

struct Diagonal {
  static constexpr sde::NoiseType noise_type = sde::NoiseType::diagonal;
  template <sde::State S>
  void drift(const S& x, double, S& out) const {
    sde::for_each_element([](const auto& e, auto& f) { f = -e; }, x, out);
  }
  template <sde::State S>
  void diffusion(const S& x, double t, S& out) const {
    sde::for_each_element([t](const auto& e, auto& g) { g = 0.25 * e + t; }, x, out);
  }
};

template <class System, class S>
std::vector<double> run(const System& system, S x) {
  double value = 0.25;
  sde::for_each_element([&value](auto& e) { e = value, value += 0.125; }, x);
  sde::integrate(sde::EulerMaruyama<S>{}, system, x, sde::TimeGrid::uniform(0, 1, 37), sde::BrownianNoise{.seed = 9});
  return elements(x);
}

template <class System>
void same_numbers(const System& system) {
  const std::vector<double> expected = run(system, std::vector<double>(6));
  REQUIRE(expected.size() == 6);
  CHECK(expected[0] != expected[1]);
  CHECK(run(system, std::array<double, 6>{}) == expected);
  CHECK(run(system, std::array<std::array<double, 2>, 3>{}) == expected);
  CHECK(run(system, std::array<std::vector<double>, 2>{std::vector<double>(3), std::vector<double>(3)}) == expected);
  CHECK(run(system, Eigen::ArrayXd(6)) == expected);
  CHECK(run(system, Eigen::Array<double, 2, 3>()) == expected);
  CHECK(run(system, Eigen::VectorXd(6)) == expected);
  CHECK(run(system, Tensor<double>({2, 3})) == expected);
  CHECK(run(system, particles::Particle{}) == std::vector<double>(expected.begin(), expected.begin() + 2));
  CHECK(run(system, 0.0) == std::vector<double>(expected.begin(), expected.begin() + 1));
}

}  // namespace

TEST_CASE("one run on a number, arrays, Eigen arrays, tensors and a struct gives the same numbers", "[sde]") {
  same_numbers(Additive{});
  same_numbers(Diagonal{});
}

TEST_CASE("elements are reached in order, several states in step", "[sde][state]") {
  std::array<std::array<double, 2>, 2> x{{{1, 2}, {3, 4}}};
  const auto y = x;
  sde::for_each_element([](double& a, const double& b) { a = 10 * a + b; }, x, y);
  CHECK(elements(x) == std::vector<double>{11, 22, 33, 44});
  CHECK(sde::element_count(x) == 4);
  CHECK(sde::element_count(particles::Particle{}) == 2);
  CHECK(sde::element_count(Tensor<float>({3, 5})) == 15);
}

TEST_CASE("states of different extents are refused", "[sde][state]") {
  const auto add = [](auto& a, const auto& b) { a += b; };
  Tensor<float> a({2, 3});
  const Tensor<float> b({3, 2});
  CHECK_THROWS_AS(sde::for_each_element(add, a, b), easy_diffusion::ShapeError);
  std::vector<double> v(4);
  const std::vector<double> w(5);
  CHECK_THROWS_AS(sde::for_each_element(add, v, w), easy_diffusion::ShapeError);
  std::vector<double> large(100'000);
  const std::vector<double> larger(100'001);
  CHECK_THROWS_AS(sde::update_elements(add, large, larger), easy_diffusion::ShapeError);
}

TEST_CASE("a work state takes the extents of another", "[sde][state]") {
  Tensor<float> work;
  sde::make_room(work, Tensor<float>({2, 3}));
  CHECK(work.shape() == easy_diffusion::Shape{2, 3});
  sde::make_room(work, Tensor<float>({3, 2}));
  CHECK(work.shape() == easy_diffusion::Shape{3, 2});
  Eigen::ArrayXXd matrix;
  sde::make_room(matrix, Eigen::ArrayXXd(4, 5));
  CHECK(matrix.cols() == 5);
  const Tensor<float> x({2}, {1, 2});
  Tensor<float> like = sde::make_like(x);
  like[0] = 7;
  CHECK(x[0] == 1);
}
