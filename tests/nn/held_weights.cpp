// Held weights give the bits of weights that are not held, and are never seen stale.

#include <cstdint>
#include <utility>

#include "easy_diffusion/nn/conv2d.hpp"
#include "easy_diffusion/nn/conv_transpose2d.hpp"
#include "easy_diffusion/nn/ema.hpp"
#include "easy_diffusion/nn/linear.hpp"
#include "easy_diffusion/nn/optim/adam.hpp"
#include "easy_diffusion/nn/optim/sgd.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/state_dict.hpp"
#include "support/catch.hpp"
#include "support/operation.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;

template <class Layer>
void holds(Layer layer, const Shape& shape) {
  using T = typename Layer::value_type;
  nn::initialize(layer, 3);
  const auto x = random_tensor<T>(shape, 1);
  const auto plain = layer.forward(x);
  nn::hold_weights(layer);
  CHECK(same_bits(layer.forward(x), plain));
  CHECK(same_bits(layer.forward(x), plain));
  // Another batch, and so perhaps another way to read the weight.
  const auto one = Tensor<T>::copy_of(x.view().slice(0, 1));
  CHECK(same_bits(layer.forward(one), Tensor<T>::copy_of(plain.view().slice(0, 1))));

  const Layer copy = layer;
  CHECK(copy.weight.store() == nullptr);
  CHECK(same_bits(copy.forward(x), plain));

  const auto fresh = [&] { return Layer(layer).forward(x); };  // copies are not held
  const auto changes = [&](auto&& change) {
    nn::hold_weights(layer);
    const auto before = layer.forward(x);
    change();
    const auto after = layer.forward(x);
    CHECK_FALSE(same_bits(after, before));
    CHECK(same_bits(after, fresh()));
  };
  changes([&] { nn::initialize(layer, 4); });
  nn::for_each_trained(layer, [](const auto&, auto& parameter, const auto&) { parameter.grad.fill(T(1)); });
  changes([&] { nn::Adam<T>().step(layer, 0.01); });
  changes([&] { nn::Sgd<T>().step(layer, 0.01); });
  const nn::Ema<T> ema(copy, 0.9);
  changes([&] { ema.copy_to(layer); });
  std::map<std::string, Tensor<T>> entries;
  nn::initialize(layer, 5);
  for (auto& [name, value] : nn::state_dict(layer)) entries[name] = value;
  nn::initialize(layer, 6);
  changes([&] { nn::load_state_dict(layer, entries); });
}

TEMPLATE_TEST_CASE("held weights have the bits of others and follow every change", "[nn][held]", float, double) {
  using T = TestType;
  holds(nn::Linear<T>(20, 48), Shape{130, 20});
  holds(nn::Conv2d<T>(5, 9, {.kernel = 3, .stride = 1, .padding = 1}), Shape{3, 9, 9, 5});
  holds(nn::Conv2d<T>(32, 2, {.kernel = 3, .stride = 1, .padding = 1}), Shape{3, 9, 9, 32});
  holds(nn::Conv2d<T>(32, 32, {.kernel = 3, .stride = 1, .padding = 1}), Shape{2, 12, 12, 32});
  holds(nn::Conv2d<T>(32, 32, {.kernel = 3, .stride = 1, .padding = 1}), Shape{2, 8, 8, 32});
  holds(nn::Conv2d<T>(32, 32, {.kernel = 3, .stride = 2, .padding = 0}), Shape{2, 11, 11, 32});
  holds(nn::ConvTranspose2d<T>(32, 48, {.kernel = 3, .stride = 2}), Shape{2, 12, 12, 32});
  holds(nn::ConvTranspose2d<T>(32, 32, {.kernel = 3, .stride = 2}), Shape{2, 2, 2, 32});
}

TEST_CASE("one held layer serves pictures of several sizes", "[nn][held]") {
  nn::Conv2d<float> layer(32, 32, {.kernel = 3, .stride = 1, .padding = 1});
  nn::initialize(layer, 3);
  const nn::Conv2d<float> plain = layer;
  nn::hold_weights(layer);
  for (const std::int64_t size : {3, 5, 8, 12, 16, 8, 3}) {
    const auto x = random_tensor<float>(Shape{2, size, size, 32}, 1);
    CHECK(same_bits(layer.forward(x), plain.forward(x)));
  }
}

}  // namespace
