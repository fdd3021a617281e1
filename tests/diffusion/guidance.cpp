#include "easy_diffusion/diffusion/guidance.hpp"

#include <cstdint>

#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::test;

namespace {

/// A score that is 2 x + t, and 5 more than that with the condition.
struct Affine {
  using value_type = double;
  mutable int calls = 0;

  [[nodiscard]] Tensor<double> forward(const Tensor<double>& x, const Tensor<double>& t, double condition = 0) const {
    ++calls;
    Tensor<double> y = x;
    for (std::int64_t i = 0; i < y.size(); ++i) y[i] = 2 * x[i] + t[i / (x.size() / x.extent(0))] + condition;
    return y;
  }
};

}  // namespace

TEST_CASE("guidance goes from the score without the condition through the one with it", "[diffusion][guidance]") {
  const Affine model;
  const auto x = random_tensor<double>({2, 3}, 1);
  const Tensor<double> t({2}, {0.25, 0.5});
  for (const auto& [scale, calls] : {std::pair{0.0, 1}, {1.0, 1}, {2.5, 2}, {0.5, 2}}) {
    const diffusion::Guided guided(model, 5.0, scale);
    model.calls = 0;
    const auto y = guided.forward(x, t);
    CHECK(model.calls == calls);
    CHECK(guided.evaluations() == calls);
    for (std::int64_t i = 0; i < x.size(); ++i)
      CHECK_THAT(y[i], WithinAbs(2 * x[i] + t[i / 3] + scale * 5, 1e-12));
  }
}
