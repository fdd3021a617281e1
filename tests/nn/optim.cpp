// Optimisers, schedules, clipping and averaging, against PyTorch's traces.

#include <cmath>
#include <cstdint>
#include <map>
#include <sstream>
#include <string>

#include "easy_diffusion/io/safetensors.hpp"
#include "easy_diffusion/nn/ema.hpp"
#include "easy_diffusion/nn/linear.hpp"
#include "easy_diffusion/nn/optim/adam.hpp"
#include "easy_diffusion/nn/optim/clip.hpp"
#include "easy_diffusion/nn/optim/learning_rate.hpp"
#include "easy_diffusion/nn/optim/sgd.hpp"
#include "support/catch.hpp"
#include "support/paths.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;

/// A few tensors and nothing else. The second one is laid out as a weight.
template <class T>
struct Pair {
  using value_type = T;
  nn::Parameter<T> a, b;

  template <class Self, class V>
  static void visit(Self& self, V&& v, const std::string& prefix) {
    v(prefix + "a", self.a, nn::Entry{nn::Kind::parameter, nn::Layout::plain, {}});
    if (!self.b.value.empty()) v(prefix + "b", self.b, nn::Entry{nn::Kind::parameter, nn::Layout::linear, {}});
  }
};

struct Golden {
  io::SafetensorsFile file = io::SafetensorsFile::open(test_data() / "optim.safetensors");

  [[nodiscard]] std::map<std::string, double> settings(const std::string& name) const {
    std::map<std::string, double> result;
    std::istringstream text(file.metadata(name));
    for (std::string item; text >> item;) {
      const auto at = item.find('=');
      result[item.substr(0, at)] = std::stod(item.substr(at + 1));
    }
    return result;
  }

  /// Five steps with the gradients of the file; after each, the values are compared with PyTorch's.
  template <class T, class Optimiser>
  void follow(const std::string& name, Optimiser optimiser, double rate) const {
    Pair<T> model;
    model.a = nn::Parameter<T>(file.shape("start"));
    model.a.value = file.read<T>("start");
    const auto gradients = file.read<T>("gradients");
    const auto trace = file.read<double>("trace." + name);
    const std::int64_t n = model.a.value.size();
    for (std::int64_t step = 0; step < gradients.extent(0); ++step) {
      model.a.grad = Tensor<T>::copy_of(gradients.view().slice(step, 1).reshaped(Shape{n}));
      optimiser.step(model, rate);
      const auto want = Tensor<double>::copy_of(trace.view().slice(step, 1).reshaped(Shape{n}));
      INFO(name << ", step " << step);
      CHECK(relative_error(model.a.value, want) <= (sizeof(T) == 4 ? 1e-6 : 1e-14));
    }
    CHECK(optimiser.steps() == gradients.extent(0));
  }
};

TEMPLATE_TEST_CASE("optimisers follow PyTorch's", "[nn][optim][golden]", float, double) {
  using T = TestType;
  const Golden golden;
  for (const std::string name : {"adam", "adam_decay", "adamw"}) {
    auto s = golden.settings(name);
    nn::AdamConfig config;
    if (s.contains("beta1")) config.beta1 = s["beta1"], config.beta2 = s["beta2"], config.epsilon = s["eps"];
    config.weight_decay = s["weight_decay"];
    config.decoupled = name == "adamw";
    config.decay_plain = true;
    golden.follow<T>(name, nn::Adam<T>(config), s["lr"]);
  }
  for (const std::string name : {"sgd", "sgd_momentum", "sgd_nesterov"}) {
    auto s = golden.settings(name);
    nn::SgdConfig config;
    config.momentum = s["momentum"];
    config.weight_decay = s["weight_decay"];
    config.nesterov = s["nesterov"] != 0;
    config.decay_plain = true;
    golden.follow<T>(name, nn::Sgd<T>(config), s["lr"]);
  }
}

TEST_CASE("weight decay spares biases and gains unless told otherwise", "[nn][optim]") {
  const auto after = [](auto optimiser) {
    Pair<double> model{nn::Parameter<double>(Shape{2}), nn::Parameter<double>(Shape{1, 2})};
    model.a.value.fill(1);
    model.b.value.fill(1);
    optimiser.step(model, 0.1);
    return std::pair{model.a.value[0], model.b.value[0]};
  };
  CHECK(after(nn::Adam<double>(nn::AdamConfig::adamw(0.5))) == std::pair{1.0, 1 - 0.1 * 0.5});
  CHECK(after(nn::Sgd<double>({.weight_decay = 0.5})) == std::pair{1.0, 1 - 0.1 * 0.5});
  const auto [a, b] = after(nn::Adam<double>({.weight_decay = 0.5}));
  CHECK(a == 1.0);
  CHECK(b < 1.0);
}

TEST_CASE("an optimiser continues from its saved state to the last bit", "[nn][optim][resume]") {
  const auto run = [](auto make, int first, int last, auto&& saved, bool restore) {
    Pair<float> model{nn::Parameter<float>(Shape{5}), nn::Parameter<float>(Shape{3, 4})};
    model.a.value = random_tensor<float>(Shape{5}, 1);
    model.b.value = random_tensor<float>(Shape{3, 4}, 2);
    auto optimiser = make();
    if (restore) {
      model.a.value = saved.at("a");
      model.b.value = saved.at("b");
      optimiser.visit_state(model, [&](const std::string& name, Tensor<float>& t, nn::Layout) { t = saved.at(name); });
      optimiser.set_steps(first);
    }
    for (int step = first; step < last; ++step) {
      model.a.grad = random_tensor<float>(Shape{5}, static_cast<std::uint32_t>(10 + step));
      model.b.grad = random_tensor<float>(Shape{3, 4}, static_cast<std::uint32_t>(50 + step));
      optimiser.step(model, 0.01);
    }
    std::map<std::string, Tensor<float>> state{{"a", model.a.value}, {"b", model.b.value}};
    optimiser.visit_state(model, [&](const std::string& name, Tensor<float>& t, nn::Layout) { state[name] = t; });
    return state;
  };
  const auto check = [&](auto make, std::size_t tensors) {
    const std::map<std::string, Tensor<float>> nothing;
    const auto whole = run(make, 0, 6, nothing, false);
    const auto resumed = run(make, 3, 6, run(make, 0, 3, nothing, false), true);
    CHECK(whole.size() == tensors);
    for (const auto& [name, value] : whole) {
      INFO(name);
      CHECK(same_bits(resumed.at(name), value));
    }
  };
  check([] { return nn::Adam<float>(nn::AdamConfig::adamw()); }, 6);
  check([] { return nn::Sgd<float>({.momentum = 0.9}); }, 4);
}

TEST_CASE("frozen parameters do not move", "[nn][optim]") {
  Pair<double> model{nn::Parameter<double>(Shape{2}), nn::Parameter<double>(Shape{1, 2})};
  model.a.value.fill(1);
  model.b.value.fill(1);
  model.a.freeze();
  model.b.grad.fill(1);
  nn::Adam<double> adam(nn::AdamConfig{.weight_decay = 0.1, .decay_plain = true});
  adam.step(model, 0.1);
  CHECK(model.a.value[0] == 1);
  CHECK(model.b.value[0] < 1);
}

TEST_CASE("learning rates follow PyTorch's schedules", "[nn][optim][golden]") {
  const Golden golden;
  const auto compare = [&](const std::string& name, const nn::LearningRate& rate) {
    const auto want = golden.file.read<double>("rates." + name);
    for (std::int64_t step = 0; step < want.size(); ++step) {
      INFO(name << ", step " << step);
      CHECK(std::abs(rate.at(step) - want[step]) <= 1e-13 * want[step]);
    }
  };
  auto s = golden.settings("rates.exponential");
  compare("exponential", nn::LearningRate::exponential(s["lr"], s["gamma"], 1));
  s = golden.settings("rates.cosine");
  const auto cosine = nn::LearningRate::cosine(s["lr"], static_cast<std::int64_t>(s["T_max"]), s["eta_min"]);
  compare("cosine", cosine);
  CHECK(cosine.at(1000) == Approx(s["eta_min"]));  // it stays there

  const auto epochs = nn::LearningRate::exponential(1, 0.5, 10);
  CHECK(epochs.at(0) == 1);
  CHECK(epochs.at(9) == 1);
  CHECK(epochs.at(10) == 0.5);
  CHECK(epochs.at(29) == 0.25);
  const auto warm = nn::LearningRate::constant(0.8).with_warmup(4);
  CHECK(warm.at(0) == Approx(0.2));
  CHECK(warm.at(2) == Approx(0.6));
  CHECK(warm.at(3) == 0.8);
  CHECK(warm.at(100) == 0.8);
  CHECK_THROWS_AS(nn::LearningRate::exponential(1, 0.5, 0), ValueError);
  CHECK_THROWS_AS(nn::LearningRate::cosine(1, 0), ValueError);
}

TEST_CASE("gradients are clipped as in PyTorch", "[nn][optim][golden]") {
  const Golden golden;
  for (const std::string name : {"clip_above", "clip_below"}) {
    INFO(name);
    Pair<double> model;
    model.a = nn::Parameter<double>(golden.file.shape(name + "/a"));
    model.b = nn::Parameter<double>(golden.file.shape(name + "/b"));
    model.a.grad = golden.file.read<double>(name + "/a");
    model.b.grad = golden.file.read<double>(name + "/b");
    const double norm = golden.file.read<double>(name + "/norm")[0];
    CHECK(std::abs(nn::gradient_norm(model) - norm) <= 1e-14 * norm);
    const double before = nn::clip_gradient_norm(model, golden.settings(name).at("max_norm"));
    CHECK(std::abs(before - norm) <= 1e-14 * norm);
    CHECK(relative_error(model.a.grad, golden.file.read<double>(name + "/clipped.a")) <= 1e-14);
    CHECK(relative_error(model.b.grad, golden.file.read<double>(name + "/clipped.b")) <= 1e-14);
  }
  // Over several pieces: the same for any number of threads.
  Pair<float> large;
  large.a = nn::Parameter<float>(Shape{100003});
  large.a.grad = random_tensor<float>(Shape{100003}, 1);
  const Threads one(1);
  const double alone = nn::gradient_norm(large);
  set_num_threads(3);
  CHECK(nn::gradient_norm(large) == alone);
  CHECK(std::abs(alone / std::sqrt(100003.0) - 1) < 0.02);
}

TEST_CASE("the moving average warms up", "[nn][ema]") {
  Pair<double> model{nn::Parameter<double>(Shape{1}), nn::Parameter<double>(Shape{1, 1})};
  model.a.value[0] = 1;
  nn::Ema<double> ema(model, 0.999);
  const auto average = [&] {
    double value = 0;
    ema.visit_state(model, [&](const std::string& name, Tensor<double>& t, nn::Layout) {
      if (name == "ema.a") value = t[0];
    });
    return value;
  };
  CHECK(average() == 1);
  CHECK(ema.next_decay() == 0.1);
  model.a.value[0] = 11;
  ema.update(model);
  CHECK(average() == Approx(0.1 * 1 + 0.9 * 11).epsilon(1e-14));
  CHECK(ema.next_decay() == 2.0 / 11);
  const double first = average();
  model.a.value[0] = -3;
  ema.update(model);
  CHECK(average() == Approx(2.0 / 11 * first - 3 * 9.0 / 11).epsilon(1e-14));
  CHECK(ema.updates() == 2);
  // A resumed average goes on where it was, and a long one has the decay asked for.
  nn::Ema<double> resumed(model, 0.999);
  resumed.set_updates(2);
  resumed.visit_state(model, [&](const std::string& name, Tensor<double>& t, nn::Layout) {
    if (name == "ema.a") t[0] = average();
  });
  ema.update(model);
  resumed.update(model);
  Pair<double> from_ema = model, from_resumed = model;
  ema.copy_to(from_ema);
  resumed.copy_to(from_resumed);
  CHECK(same_bits(from_ema.a.value, from_resumed.a.value));
  CHECK_FALSE(same_bits(from_ema.a.value, model.a.value));
  ema.set_updates(1'000'000);
  CHECK(ema.next_decay() == 0.999);
  CHECK_THROWS_AS(nn::Ema<double>(model, 1.0), ValueError);
  CHECK_THROWS_AS(nn::Ema<double>(model, -0.1), ValueError);
  CHECK_THROWS_AS(nn::Ema<double>(model, std::nan("")), ValueError);
}

}  // namespace

TEST_CASE("a parameter may be frozen and unfrozen between steps, and keeps its state") {
  nn::Linear<double> model(30, 2);
  nn::initialize(model, 1);
  const auto check = [&](auto optimizer, const auto& config) {
    model.weight.freeze();
    const Tensor<double> frozen = model.weight.value;
    model.bias.grad.fill(1);
    optimizer.step(model, 0.1);
    CHECK(test::same_bits(model.weight.value, frozen));
    model.weight.unfreeze();
    model.weight.grad.fill(1);
    optimizer.step(model, 0.1);
    CHECK_FALSE(test::same_bits(model.weight.value, frozen));
    int states = 0;
    optimizer.visit_state(model, [&](const std::string& name, const Tensor<double>& state, nn::Layout) {
      ++states;
      CHECK(state.size() == (name.ends_with("weight") ? 60 : 2));
    });
    CHECK(states % 2 == 0);

    // Frozen when it is saved, unfrozen after the resume: the state is that of the run that was not cut.
    model.weight.freeze();
    std::map<std::string, Tensor<double>> saved;
    optimizer.visit_state(model, [&](const std::string& name, const Tensor<double>& state, nn::Layout) {
      saved[name] = state;
    });
    auto resumed = decltype(optimizer)(config);
    resumed.visit_state(model, [&](const std::string& name, Tensor<double>& state, nn::Layout) { state = saved.at(name); });
    resumed.set_steps(optimizer.steps());
    if constexpr (requires { optimizer.visit_updates(model, [](const nn::Name&, std::int64_t&) {}); }) {
      std::map<std::string, std::int64_t> updates;
      optimizer.visit_updates(model, [&](const std::string& name, std::int64_t count) { updates[name] = count; });
      CHECK(updates.at("weight") == 1);
      CHECK(updates.at("bias") == 2);
      resumed.visit_updates(model, [&](const std::string& name, std::int64_t& count) { count = updates.at(name); });
    }
    model.weight.unfreeze();
    model.weight.grad.fill(0.5);
    nn::Linear<double> other = model;
    optimizer.step(model, 0.1);
    resumed.step(other, 0.1);
    CHECK(test::same_bits(other.weight.value, model.weight.value));
  };
  check(nn::Adam<double>(), nn::AdamConfig{});
  const nn::SgdConfig momentum{.momentum = 0.9};
  check(nn::Sgd<double>(momentum), momentum);
}
