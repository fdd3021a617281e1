// What optimisers and averages keep belongs to a parameter's name and shape, and counts that parameter's own updates.

#include "easy_diffusion/nn/parameter_states.hpp"

#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/nn/ema.hpp"
#include "easy_diffusion/nn/linear.hpp"
#include "easy_diffusion/nn/optim/adam.hpp"
#include "easy_diffusion/nn/optim/adam_then_sgd.hpp"
#include "easy_diffusion/nn/optim/sgd.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;

/// Parameters by name, in an order of one's own.
struct Named {
  using value_type = double;
  std::vector<std::pair<std::string, nn::Parameter<double>>> entries;

  void add(const std::string& name, const Shape& shape) {
    entries.emplace_back(name, nn::Parameter<double>(shape));
    const auto number = static_cast<std::uint32_t>(name[0]);
    entries.back().second.value = random_tensor<double>(shape, number);
    entries.back().second.grad = random_tensor<double>(shape, number + 1000);
  }
  nn::Parameter<double>& operator[](const std::string& name) {
    for (auto& [known, parameter] : entries)
      if (known == name) return parameter;
    throw ValueError(name);
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const nn::Name& prefix) {
    for (auto& [name, parameter] : self.entries) v(prefix + name, parameter, nn::Entry{});
  }
};

Named three() {
  Named model;
  model.add("a", Shape{3});
  model.add("b", Shape{2, 2});
  model.add("c", Shape{1});
  return model;
}

/// Each model in turn must be refused with those words, and no value of it may change.
template <class Use>
void check_refusals(const std::string& who, Use use) {
  INFO(who);
  const auto refused = [&](Named model, const auto& words) {
    const Named before = model;
    CHECK_THROWS_AS(use(model), ValueError);
    CHECK_THROWS_WITH(use(model), ContainsSubstring(who + ": expected the model it began with; ") && words);
    for (std::size_t i = 0; i < model.entries.size(); ++i)
      CHECK(same_bits(model.entries[i].second.value, before.entries[i].second.value));
  };
  Named grown = three();
  grown.add("d", Shape{4000});
  refused(grown, ContainsSubstring("unexpected: d"));
  Named shrunk = three();
  shrunk.entries.pop_back();
  refused(shrunk, ContainsSubstring("missing: c"));
  Named wider = three();
  wider["b"] = nn::Parameter<double>(Shape{2, 3000});
  refused(wider, ContainsSubstring("wrong shape: b (expected [2, 2], got [2, 3000])"));
  Named turned = three();
  turned["a"] = nn::Parameter<double>(Shape{3, 1});
  refused(turned, ContainsSubstring("wrong shape: a (expected [3], got [3, 1])"));
  Named renamed = three();
  renamed.entries[1].first = "x";
  refused(renamed, ContainsSubstring("missing: b; unexpected: x"));
  Named twice = three();
  twice.entries[2].first = "a";
  refused(twice, ContainsSubstring("missing: c; unexpected: a"));
  Named short_gradient = three();
  short_gradient["b"].grad = Tensor<double>(Shape{1});
  refused(short_gradient, ContainsSubstring("wrong shape: b"));
}

TEST_CASE("optimisers and averages refuse another model than the one they began with", "[nn][optim]") {
  const auto check_optimiser = [](const std::string& who, auto optimiser) {
    Named model = three();
    optimiser.step(model, 0.1);
    check_refusals(who, [&](Named& other) { optimiser.step(other, 0.1); });
    check_refusals(who, [&](Named& other) {
      optimiser.visit_state(other, [](const std::string&, Tensor<double>& state, nn::Layout) { state.fill(0); });
    });
    CHECK(optimiser.steps() == 1);
    optimiser.step(model, 0.1);
  };
  check_optimiser("Adam", nn::Adam<double>());
  check_optimiser("SGD", nn::Sgd<double>({.momentum = 0.9}));
  nn::AdamThenSgd<double> switched({}, 1);
  Named model = three();
  switched.step(model, 0.1);
  check_refusals("Adam", [&](Named& other) { switched.step(other, 0.1); });  // the step is one of SGD, its first

  nn::Ema<double> ema(model, 0.9);
  check_refusals("EMA", [&](Named& other) { ema.update(other); });
  check_refusals("EMA", [&](Named& other) { ema.copy_to(other); });
  check_refusals("EMA", [&](Named& other) {
    ema.visit_state(other, [](const std::string&, Tensor<double>& state, nn::Layout) { state.fill(0); });
  });
  CHECK(ema.updates() == 0);
}

TEST_CASE("a state that was given another shape is not used", "[nn][optim]") {
  nn::Adam<double> adam;
  Named model = three();
  adam.visit_state(model, [](const std::string& name, Tensor<double>& state, nn::Layout) {
    if (name == "v.b") state = Tensor<double>(Shape{1});
  });
  CHECK_THROWS_WITH(adam.step(model, 0.1), ContainsSubstring("wrong shape: b"));
}

TEST_CASE("two entries of one name are refused", "[nn][optim]") {
  Named model = three();
  model.entries[2].first = "a";
  CHECK_THROWS_WITH(nn::Adam<double>().step(model, 0.1), "Adam: two entries of the model are called \"a\"");
  CHECK_THROWS_AS(nn::Ema<double>(model, 0.9), ValueError);
}

TEST_CASE("a state belongs to a name, whatever the order of the visit", "[nn][optim]") {
  const auto after = [](auto optimiser, bool reorder) {
    Named model = three();
    nn::Ema<double> ema(model, 0.9);
    for (int step = 0; step < 4; ++step) {
      if (reorder && step > 0) std::swap(model.entries[0], model.entries[static_cast<std::size_t>(1 + step % 2)]);
      optimiser.step(model, 0.1);
      ema.update(model);
    }
    std::map<std::string, Tensor<double>> values;
    for (auto& [name, parameter] : model.entries) values[name] = parameter.value;
    ema.copy_to(model);
    for (auto& [name, parameter] : model.entries) values["ema." + name] = parameter.value;
    return values;
  };
  const auto check = [&](const auto& optimiser) {
    const auto kept = after(optimiser, false), turned = after(optimiser, true);
    for (const auto& [name, value] : kept) CHECK(same_bits(turned.at(name), value));
  };
  check(nn::Adam<double>());
  check(nn::Sgd<double>({.momentum = 0.9}));
}

TEST_CASE("a parameter thawed after 2000 steps moves as one that is new", "[nn][optim]") {
  const auto moved = [](std::int64_t frozen_steps, int steps) {
    Named model = three();
    nn::Adam<double> adam;
    const Tensor<double> before = model["b"].value;
    model["b"].freeze();
    for (std::int64_t i = 0; i < frozen_steps; ++i) adam.step(model, 1e-3);
    model["b"].unfreeze();
    model["b"].grad = random_tensor<double>(Shape{2, 2}, 7);
    for (int i = 0; i < steps; ++i) adam.step(model, 1e-3);
    CHECK(adam.steps() == frozen_steps + steps);
    adam.visit_updates(model, [&](const std::string& name, const std::int64_t& updates) {
      CHECK(updates == (name == "b" ? steps : frozen_steps + steps));
    });
    double distance = 0;
    for (std::int64_t i = 0; i < before.size(); ++i)
      distance = std::max(distance, std::abs(model["b"].value[i] - before[i]));
    return distance;
  };
  CHECK(std::abs(moved(2000, 1) / 1e-3 - 1) <= 1e-6);  // Adam's first step is the rate, whatever the gradient
  CHECK(moved(2000, 30) == moved(0, 30));
}

TEST_CASE("steps set by hand are those of each parameter, until something else is said", "[nn][optim]") {
  const auto counts = [](nn::Adam<double>& adam, Named& model) {
    std::map<std::string, std::int64_t> result;
    adam.visit_updates(model, [&](const std::string& name, const std::int64_t& updates) { result[name] = updates; });
    return result;
  };
  Named model = three();
  nn::Adam<double> early, late;
  early.set_steps(5);
  CHECK(counts(early, model) == std::map<std::string, std::int64_t>{{"a", 5}, {"b", 5}, {"c", 5}});
  late.step(model, 0.1);
  late.set_steps(7);
  CHECK(counts(late, model) == std::map<std::string, std::int64_t>{{"a", 7}, {"b", 7}, {"c", 7}});
}

}  // namespace
