// The gradient checker itself: it must turn down what is wrong.

#include "support/gradient_check.hpp"

#include <cmath>
#include <string>
#include <vector>

#include "easy_diffusion/nn/linear.hpp"
#include "easy_diffusion/nn/sigmoid.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;

enum class Fault {
  none,
  sign,
  factor,
  small_factor,
  off_by_one,
  nan,
  zero,
  overwrites,
  keeps_no_context,
  thaws,
  believes_any_context,
  unvisited,
  visited_twice
};

/// A linear layer that may be wrong on purpose.
template <Fault fault>
struct Faulty : nn::Linear<double> {
  using Base = nn::Linear<double>;
  using Base::Base;

  Tensor<double> backward(const Tensor<double>& dy, const Context& ctx) {
    if constexpr (fault == Fault::overwrites) {
      if (!weight.grad.empty()) weight.grad.fill(0);
    }
    if constexpr (fault == Fault::thaws) weight.unfreeze();
    if (fault == Fault::believes_any_context && ctx.x.empty())
      return Tensor<double>(Shape{dy.extent(0), weight.value.extent(0)});
    Tensor<double> dx = keeps_last() ? Base::backward(dy, last_) : Base::backward(dy, ctx);
    if constexpr (fault == Fault::sign)
      for (double& v : dx) v = -v;
    if constexpr (fault == Fault::factor)
      for (double& v : bias.grad) v *= 0.5;
    if constexpr (fault == Fault::small_factor)
      for (double& v : weight.grad) v *= 1 + 1e-6;
    if constexpr (fault == Fault::off_by_one) {
      const Tensor<double> before = weight.grad;
      for (std::int64_t i = 0; i < before.size(); ++i) weight.grad[i] = before[(i + 1) % before.size()];
    }
    if constexpr (fault == Fault::nan) {
      if (!weight.grad.empty()) weight.grad[3] = std::nan("");
    }
    if constexpr (fault == Fault::zero) bias.grad.fill(0);
    return dx;
  }
  Tensor<double> forward(const Tensor<double>& x, Context* ctx = nullptr) const {
    if (keeps_last()) last_.x = x.shared();
    return Base::forward(x, ctx);
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const nn::Name& prefix) {
    Base::visit(self, v, prefix);
    if constexpr (fault == Fault::visited_twice) v(prefix + "again", self.bias, nn::Entry{});
  }

 private:
  static constexpr bool keeps_last() { return fault == Fault::keeps_no_context; }
  mutable Context last_;
  nn::Parameter<double> extra_ = fault == Fault::unvisited ? nn::Parameter<double>(Shape{1}) : nn::Parameter<double>();
};

/// The sigmoid of old, whose context keeps the result that the caller is given.
struct SharesResult {
  using value_type = double;
  struct Context {
    SharedTensor<double> y;
  };

  Tensor<double> forward(const Tensor<double>& x, Context* ctx = nullptr) const {
    Tensor<double> y = nn::Sigmoid<double>().forward(x);
    if (ctx != nullptr) ctx->y = y.shared();
    return y;
  }
  Tensor<double> backward(const Tensor<double>& dy, const Context& ctx) {
    nn::Sigmoid<double>::Context kept;
    kept.y = *ctx.y;
    return nn::Sigmoid<double>().backward(dy, kept);
  }
  template <class Self, class V>
  static void visit(Self&, V&&, const nn::Name&) {}
};

template <Fault fault>
GradientReport report(Entries entries) {
  Faulty<fault> layer(5, 4);
  nn::initialize(layer, 1);
  return check_gradients(layer, Inputs<1>{random_tensor<double>(Shape{3, 5}, 1)}, entries);
}

template <class Layer>
std::vector<std::string> broken_by(Layer layer) {
  nn::initialize(layer, 1);
  return broken_promises(layer, Inputs<1>{random_tensor<double>(Shape{3, 5}, 1)},
                         Inputs<1>{random_tensor<double>(Shape{3, 5}, 2)});
}

template <Fault fault>
bool keeps_its_promises() {
  return broken_by(Faulty<fault>(5, 4)).empty();
}

std::string first_of(const std::vector<std::string>& broken) { return broken.empty() ? "" : broken[0]; }

TEST_CASE("the gradient check turns down wrong gradients", "[nn][gradient_check]") {
  for (const Entries entries : {Entries::every, Entries::sampled}) {
    CHECK(report<Fault::none>(entries).passed());
    CHECK_FALSE(report<Fault::sign>(entries).passed());
    CHECK_FALSE(report<Fault::factor>(entries).passed());
    CHECK_FALSE(report<Fault::small_factor>(entries).passed());
    CHECK_FALSE(report<Fault::off_by_one>(entries).passed());
    CHECK_FALSE(report<Fault::nan>(entries).passed());
    CHECK_FALSE(report<Fault::zero>(entries).passed());
  }
  CHECK(report<Fault::sign>(Entries::every).where == "input 0");
  CHECK(report<Fault::factor>(Entries::every).where == "bias");
  CHECK(report<Fault::nan>(Entries::every).where == "weight");
  CHECK(std::isnan(report<Fault::nan>(Entries::every).worst));
}

TEST_CASE("the check of a layer's promises turns down a layer that breaks them", "[nn][gradient_check]") {
  CHECK(keeps_its_promises<Fault::none>());
  CHECK_FALSE(keeps_its_promises<Fault::overwrites>());
  CHECK_FALSE(keeps_its_promises<Fault::keeps_no_context>());
  CHECK_FALSE(keeps_its_promises<Fault::thaws>());
  CHECK_FALSE(keeps_its_promises<Fault::nan>());
  CHECK(broken_by(Faulty<Fault::believes_any_context>(5, 4)) ==
        std::vector<std::string>{"a context of no forward pass gives a wrong gradient"});
  CHECK(broken_by(Faulty<Fault::unvisited>(5, 4)) ==
        std::vector<std::string>{"visit leaves something out, or comes to something twice"});
  CHECK_FALSE(visits_everything(Faulty<Fault::visited_twice>(5, 4)));
  CHECK_THAT(first_of(broken_by(SharesResult())), ContainsSubstring("a changed result"));
  CHECK(broken_by(nn::Sigmoid<double>()).empty());
}

TEST_CASE("a NaN anywhere is the worst error", "[nn][gradient_check]") {
  GradientReport r;
  r.take("a", 1e-9);
  r.take("b", std::nan(""));
  r.take("c", 1.0);
  CHECK(r.where == "b");
  CHECK_FALSE(r.passed());
  // A forward pass that gives NaN makes the numeric derivative NaN.
  Faulty<Fault::none> layer(2, 2);
  nn::initialize(layer, 1);
  layer.weight.value[0] = std::nan("");
  CHECK_FALSE(check_gradients(layer, Inputs<1>{random_tensor<double>(Shape{1, 2}, 1)}).passed());
}

}  // namespace
