// Pooling, resampling, rectifiers, batch normalisation, embedding and dropout layers: PyTorch's values, gradients against
// finite differences, and the promises about contexts and modes.

#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/io/safetensors.hpp"
#include "easy_diffusion/nn/batch_norm2d.hpp"
#include "easy_diffusion/nn/dropout.hpp"
#include "easy_diffusion/nn/embedding.hpp"
#include "easy_diffusion/nn/leaky_relu.hpp"
#include "easy_diffusion/nn/pooling.hpp"
#include "easy_diffusion/nn/relu.hpp"
#include "easy_diffusion/nn/resample.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "support/gradient_check.hpp"
#include "support/layers.hpp"
#include "support/operation.hpp"
#include "support/paths.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;
using ops::Pool2dOptions;
using ops::Resampling;

/// A layer that trains: its context says so whenever forward is called.
template <class Layer>
struct InTraining : Layer {
  using Layer::Layer;
  using T = typename Layer::value_type;

  Tensor<T> forward(const Tensor<T>& x, typename Layer::Context* ctx = nullptr) const {
    if (ctx != nullptr) ctx->mode = {true, {5, streams::dropout, 2}};
    return Layer::forward(x, ctx);
  }
};

/// A resampling that knows the size of its result.
template <class T>
struct ToSize : nn::Resample2d<T> {
  std::int64_t h, w;

  ToSize(Resampling mode, std::int64_t rows, std::int64_t columns) : nn::Resample2d<T>(mode), h(rows), w(columns) {}
  Tensor<T> forward(const Tensor<T>& x, typename nn::Resample2d<T>::Context* ctx = nullptr) const {
    return nn::Resample2d<T>::forward(x, ctx, {h, w});
  }
};

/// Variances are above zero, whatever `randomise` did.
template <class T>
void make_variances_positive(nn::BatchNorm2d<T>& layer) {
  for (T& v : layer.running_var.value) v = v * v + T(0.5);
}

template <class T, class Layer>
void compare(const GoldenCase<T>& golden, const std::string& name, Layer layer) {
  typename Layer::Context ctx;
  Agreement result;
  result.compare("y", layer.forward(golden("x"), &ctx), golden.want("y"));
  result.compare("grad.x", layer.backward(golden("w"), ctx), golden.want("grad.x"));
  golden.compare_gradients(result, layer);
  INFO(name << ": " << result);
  CHECK(result.worst() <= (sizeof(T) == 4 ? 1e-5 : 1e-12));
}

TEMPLATE_TEST_CASE("pooling, resampling and rectifiers agree with PyTorch", "[nn][golden]", float, double) {
  using T = TestType;
  const auto file = io::SafetensorsFile::open(test_data() / "sampling.safetensors");
  const auto options = [](const GoldenCase<T>& c) -> Pool2dOptions {
    if (c["adaptive"] != 0) return Pool2dOptions::adaptive(c["h"], c["w"]);
    return {.kernel = c["kernel"], .stride = c["stride"], .padding = c["padding"], .ceil_mode = c["ceil"] != 0};
  };
  const auto each = [&](const std::string& kind, std::size_t count, auto&& make) {
    const auto names = cases_of(file, kind);
    CHECK(names.size() == count);
    for (const std::string& name : names) {
      const GoldenCase<T> golden(file, name);
      compare(golden, name, make(golden));
    }
  };
  each("avg_pool", 6, [&](const auto& c) { return nn::AvgPool2d<T>(options(c)); });
  each("max_pool", 7, [&](const auto& c) { return nn::MaxPool2d<T>(options(c)); });
  each("resample", 12, [](const auto& c) {
    const std::array modes{Resampling::nearest, Resampling::bilinear, Resampling::bilinear_corners};
    return ToSize<T>(modes.at(static_cast<std::size_t>(c["mode"])), c["h"], c["w"]);
  });
  each("relu", 1, [](const auto&) { return nn::ReLU<T>(); });
  each("leaky_relu", 1, [](const auto&) { return nn::LeakyReLU<T>(); });
}

TEMPLATE_TEST_CASE("batch normalisation agrees with PyTorch in training and evaluation", "[nn][golden]", float,
                   double) {
  using T = TestType;
  const auto file = io::SafetensorsFile::open(test_data() / "sampling.safetensors");
  for (const std::string& name : cases_of(file, "batch_norm")) {
    const GoldenCase<T> golden(file, name);
    nn::BatchNorm2d<T> layer(golden["channels"]);
    nn::load_state_dict(layer, golden.parameters());
    if (golden["training"] == 0) {
      compare(golden, name, layer);
    } else {
      InTraining<nn::BatchNorm2d<T>> training(golden["channels"]);
      nn::load_state_dict(training, golden.parameters());
      compare(golden, name, training);
    }
    typename nn::BatchNorm2d<T>::Context ctx;
    ctx.mode.training = golden["training"] != 0;
    static_cast<void>(layer.forward(golden("x"), &ctx));
    CHECK(largest_difference(layer.running_mean.value, golden.want("param.running_mean")) == 0);  // not yet
    layer.commit(ctx);
    Agreement after;
    after.compare("running_mean", layer.running_mean.value, golden.want("after.running_mean"));
    after.compare("running_var", layer.running_var.value, golden.want("after.running_var"));
    after.compare("tracked", layer.num_batches_tracked.value, golden.want("after.num_batches_tracked"));
    INFO(name << ": " << after);
    CHECK(after.worst() <= (sizeof(T) == 4 ? 1e-6 : 1e-14));
  }
}

TEMPLATE_TEST_CASE("embedding agrees with PyTorch", "[nn][golden]", float, double) {
  using T = TestType;
  const auto file = io::SafetensorsFile::open(test_data() / "sampling.safetensors");
  const GoldenCase<T> golden(file, "embedding_0");
  nn::Embedding<T> layer(golden["count"], golden["width"]);
  nn::load_state_dict(layer, golden.parameters());
  const Tensor<std::int64_t> numbers(Shape{2, 2},
                                     {golden["number0"], golden["number1"], golden["number2"], golden["number3"]});
  typename nn::Embedding<T>::Context ctx;
  Agreement result;
  result.compare("y", layer.forward(numbers, &ctx), golden.want("y"));
  layer.backward(golden("w"), ctx);
  golden.compare_gradients(result, layer);
  INFO(result);
  CHECK(result.count() == 2);
  CHECK(result.worst() <= (sizeof(T) == 4 ? 1e-6 : 1e-14));

  layer.weight.freeze();
  layer.backward(golden("w"), ctx);
  CHECK(layer.weight.frozen());
  CHECK_THROWS_WITH(layer.forward(Tensor<std::int64_t>(Shape{1}, {5})),
                    "embedding: expected numbers from 0 to 4, got 5 at place 0");
}

/// Away from the kink of rectifiers, and no two alike: differences meet no corner.
Tensor<double> away_from_kinks(const Shape& shape, std::uint32_t number) {
  const auto order = random_permutation(static_cast<std::uint32_t>(shape.numel()), {1, streams::user, number});
  Tensor<double> x = random_tensor<double>(shape, number);
  for (std::int64_t i = 0; i < x.size(); ++i)
    x[i] = std::copysign(0.05 * (1 + order[static_cast<std::size_t>(i)]), x[i]);
  return x;
}

template <class Layer>
void check_gradient(const std::string& name, Layer layer, const Shape& sample) {
  const Inputs<1> a{away_from_kinks(sample.with_front(2), 1)}, b{away_from_kinks(sample.with_front(3), 2)};
  const GradientReport report = check_gradients(layer, a);
  INFO(name << ": " << report);
  CHECK(report.passed());
  for (const std::string& promise : broken_promises(layer, a, b)) FAIL_CHECK(name << ": " << promise);
}

TEST_CASE("pooling, resampling and rectifiers have the right gradients", "[nn][gradients]") {
  const Shape sample{1, 5, 6, 3};
  check_gradient("average", nn::AvgPool2d<double>({.kernel = 2}), sample);
  check_gradient("average, overlapping", nn::AvgPool2d<double>({.kernel = 3, .stride = 2, .ceil_mode = true}), sample);
  check_gradient("adaptive average", nn::AvgPool2d<double>(Pool2dOptions::adaptive(3, 4)), sample);
  check_gradient("adaptive average, larger", nn::AvgPool2d<double>(Pool2dOptions::adaptive(7, 9)), sample);
  check_gradient("maximum", nn::MaxPool2d<double>({.kernel = 3, .stride = 2, .padding = 1}), sample);
  check_gradient("adaptive maximum", nn::MaxPool2d<double>(Pool2dOptions::adaptive(3, 4)), sample);
  check_gradient("twice", nn::Resample2d<double>(), sample);
  for (const Resampling mode : {Resampling::nearest, Resampling::bilinear, Resampling::bilinear_corners}) {
    check_gradient("larger", ToSize<double>(mode, 9, 8), sample);
    check_gradient("smaller", ToSize<double>(mode, 2, 1), sample);
  }
  check_gradient("ReLU", nn::ReLU<double>(), sample);
  check_gradient("LeakyReLU", nn::LeakyReLU<double>(0.2), sample);
}

TEST_CASE("batch normalisation has the right gradients in training and evaluation", "[nn][gradients]") {
  nn::BatchNorm2d<double> layer(5);
  randomise(layer);
  make_variances_positive(layer);
  check_gradient("evaluation", layer, Shape{1, 2, 3, 5});

  InTraining<nn::BatchNorm2d<double>> training(5);
  randomise(training);
  const GradientReport report = check_gradients(training, Inputs<1>{random_tensor<double>(Shape{2, 3, 2, 5}, 1)});
  INFO("training: " << report);
  CHECK(report.passed());
}

TEST_CASE("dropout has the right gradients, and is off without a context and in evaluation",
          "[nn][gradients][dropout]") {
  check_gradient("evaluation", nn::Dropout<double>(0.3), Shape{1, 4, 5});
  InTraining<nn::Dropout<double>> training(0.3);
  const Inputs<1> x{random_tensor<double>(Shape{3, 4, 5}, 1)};
  const GradientReport report = check_gradients(training, x);
  INFO("training: " << report);
  CHECK(report.passed());

  nn::Dropout<double> layer(0.3);
  nn::Dropout<double>::Context ctx;
  CHECK(same_bits(layer.forward(x[0]), x[0]));
  CHECK(same_bits(layer.forward(x[0], &ctx), x[0]));
  ctx.mode.training = true;
  const auto y = layer.forward(x[0], &ctx);
  CHECK_FALSE(same_bits(y, x[0]));
  CHECK(same_bits(layer.forward(x[0], &ctx), y));  // a pure function of the address
  nn::Dropout<double>::Context other = ctx;
  other.layer = 1;
  CHECK_FALSE(same_bits(layer.forward(x[0], &other), y));
  other = ctx;
  other.mode.noise.step = 1;
  CHECK_FALSE(same_bits(layer.forward(x[0], &other), y));
  CHECK_THROWS_WITH(nn::Dropout<double>(-0.1), "Dropout: expected 0 <= p <= 1, got -0.1");
}

TEST_CASE("batch normalisation keeps its buffers from the optimiser and commits only what trained", "[nn]") {
  nn::BatchNorm2d<float> layer(3);
  std::vector<std::string> trained, all;
  nn::for_each_trained(layer, [&](const std::string& name, auto&, const nn::Entry&) { trained.push_back(name); });
  nn::for_each_parameter(layer, [&](const std::string& name, auto&, const nn::Entry&) { all.push_back(name); });
  CHECK(trained == std::vector<std::string>{"weight", "bias"});
  CHECK(all == std::vector<std::string>{"weight", "bias", "running_mean", "running_var", "num_batches_tracked"});
  nn::set_trainable(layer, true);
  CHECK(layer.running_mean.frozen());
  nn::initialize(layer, 3);
  CHECK(layer.running_var.value[1] == 1);

  nn::BatchNorm2d<float>::Context ctx;
  const auto x = random_tensor<float>(Shape{2, 3, 3, 3}, 1);
  static_cast<void>(layer.forward(x, &ctx));
  layer.commit(ctx);
  CHECK(layer.num_batches_tracked.value[0] == 0);
  ctx.mode.training = true;
  static_cast<void>(layer.forward(x, &ctx));
  layer.commit(ctx);
  CHECK(layer.num_batches_tracked.value[0] == 1);
  CHECK_THROWS_WITH(layer.forward(Tensor<float>(Shape{1, 1, 1, 3}), &ctx),
                    "BatchNorm2d: training needs more than one value a channel, got [1, 1, 1, 3]");
  CHECK_THROWS_AS(layer.forward(Tensor<float>(Shape{1, 2, 2, 4}), &ctx), ShapeError);
}

}  // namespace
