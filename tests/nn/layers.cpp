// Every layer: gradients in double against finite differences at every entry, and the promises about contexts.

#include "support/layers.hpp"

#include <cstdint>
#include <string>
#include <utility>

#include "easy_diffusion/nn/concat.hpp"
#include "easy_diffusion/nn/conv2d.hpp"
#include "easy_diffusion/nn/conv_transpose2d.hpp"
#include "easy_diffusion/nn/dropout.hpp"
#include "easy_diffusion/nn/embedding_add.hpp"
#include "easy_diffusion/nn/fourier_embedding.hpp"
#include "easy_diffusion/nn/group_norm.hpp"
#include "easy_diffusion/nn/group_norm_silu.hpp"
#include "easy_diffusion/nn/linear.hpp"
#include "easy_diffusion/nn/silu.hpp"
#include "support/catch.hpp"
#include "support/check_layer.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;

TEST_CASE("Conv2d has the right gradients", "[nn][gradients]") {
  check_on_pictures("3x3", nn::Conv2d<double>(3, 5), Shape{1, 5, 4, 3});
  check_on_pictures("no bias", nn::Conv2d<double>(3, 5, {.bias = false}), Shape{1, 4, 5, 3});
  check_on_pictures("stride 2, padding 1", nn::Conv2d<double>(2, 3, {.stride = 2, .padding = 1}), Shape{1, 6, 5, 2});
  check_on_pictures("5x5, stride 3, padding 2", nn::Conv2d<double>(1, 6, {.kernel = 5, .stride = 3, .padding = 2}),
                    Shape{1, 6, 7, 1});
  check_on_pictures("1x1", nn::Conv2d<double>(7, 1, {.kernel = 1}), Shape{1, 2, 3, 7});
}

TEST_CASE("ConvTranspose2d has the right gradients", "[nn][gradients]") {
  using Layer = nn::ConvTranspose2d<double>;
  check_on_pictures("3x3", Layer(3, 5), Shape{1, 3, 2, 3});
  check_on_pictures("no bias, stride 2", Layer(3, 2, {.stride = 2, .bias = false}), Shape{1, 2, 3, 3});
  check_on_pictures("stride 2, padding 1, output padding 1",
                    Layer(2, 6, {.stride = 2, .padding = 1, .output_padding = 1}), Shape{1, 3, 2, 2});
  check_on_pictures("5x5, stride 3, padding 2, output padding 2",
                    Layer(3, 1, {.kernel = 5, .stride = 3, .padding = 2, .output_padding = 2}), Shape{1, 2, 3, 3});
  check_on_pictures("kernel smaller than stride", Layer(2, 3, {.kernel = 1, .stride = 2}), Shape{1, 3, 3, 2});
}

TEST_CASE("ConvTranspose2d takes the size of its result", "[nn][conv_transpose2d]") {
  nn::ConvTranspose2d<double> layer(3, 5, {.stride = 2});
  randomise(layer);
  const auto x = random(Shape{2, 3, 4, 3}, 1);
  CHECK(layer.forward(x).shape() == Shape{2, 7, 9, 5});
  CHECK(layer.forward(x, nullptr, {8, 9}).shape() == Shape{2, 8, 9, 5});
  CHECK(layer.forward(x, nullptr, {7, 10}).shape() == Shape{2, 7, 10, 5});
  CHECK_THROWS_AS(layer.forward(x, nullptr, {9, 9}), ValueError);
  CHECK_THROWS_AS(layer.forward(x, nullptr, {6, 9}), ValueError);
}

TEST_CASE("Linear has the right gradients", "[nn][gradients]") {
  check_on_pictures("matrix", nn::Linear<double>(5, 4), Shape{1, 5});
  check_on_pictures("tokens, no bias", nn::Linear<double>(3, 7, false), Shape{1, 4, 3});
  check_on_pictures("one number", nn::Linear<double>(1, 1), Shape{1, 1});
}

TEST_CASE("GroupNorm has the right gradients", "[nn][gradients]") {
  check_on_pictures("two groups", nn::GroupNorm<double>(2, 6), Shape{1, 3, 2, 6});
  check_on_pictures("one group", nn::GroupNorm<double>(1, 3), Shape{1, 2, 2, 3});
  check_on_pictures("a channel a group", nn::GroupNorm<double>(5, 5, 1e-2), Shape{1, 3, 3, 5});
  check_on_pictures("tokens", nn::GroupNorm<double>(3, 6), Shape{1, 4, 6});
}

/// GroupNormSiLU with the embedding, as a layer of two inputs.
struct EmbeddedNorm : nn::GroupNormSiLU<double> {
  using Base = nn::GroupNormSiLU<double>;
  using Base::Base;
  using Context = Base::EmbeddedContext;
};

TEST_CASE("GroupNormSiLU has the right gradients with and without an embedding", "[nn][gradients]") {
  check_on_pictures("two groups", nn::GroupNormSiLU<double>(2, 6), Shape{1, 3, 2, 6});
  check_on_pictures("a channel a group", nn::GroupNormSiLU<double>(5, 5, 1e-2), Shape{1, 3, 3, 5});
  check_on_pictures("several blocks", nn::GroupNormSiLU<double>(3, 12), Shape{1, 5, 7, 12});
  check_on_pictures("tokens", nn::GroupNormSiLU<double>(3, 6), Shape{1, 4, 6});
  check_layer("embedding", EmbeddedNorm(2, 6), Inputs<2>{random(Shape{2, 3, 2, 6}, 1), random(Shape{2, 6}, 2)},
              Inputs<2>{random(Shape{1, 2, 5, 6}, 3), random(Shape{1, 6}, 4)});
  check_layer("embedding, several blocks", EmbeddedNorm(1, 9),
              Inputs<2>{random(Shape{2, 5, 8, 9}, 1), random(Shape{2, 9}, 2)},
              Inputs<2>{random(Shape{1, 2, 5, 9}, 3), random(Shape{1, 9}, 4)});
}

TEST_CASE("GroupNormSiLU writes into a tensor that is handed over, and into no other", "[nn]") {
  nn::GroupNormSiLU<double> layer(2, 6);
  randomise(layer);
  const auto x = random(Shape{2, 3, 2, 6}, 1), dy = random(x.shape(), 2);
  Tensor<double> kept = x, given = x;
  const auto shared = given.shared();
  const auto y = layer.forward(kept);
  CHECK(same_bits(kept, x));
  CHECK(same_bits(layer.forward(std::move(given)), y));
  CHECK(same_bits(*shared, x));
  const double* const memory = kept.data();
  const auto in_place = layer.forward(std::move(kept));
  CHECK(in_place.data() == memory);
  CHECK(same_bits(in_place, y));

  nn::GroupNormSiLU<double>::Context ctx;
  given = x;
  CHECK(same_bits(layer.forward(std::move(given), &ctx), y));
  CHECK(same_bits(*ctx.x, x));
  Tensor<double> gradient = dy;
  const auto dx = layer.backward(gradient, ctx);
  CHECK(same_bits(gradient, dy));
  const double* const place = gradient.data();
  const auto dx_in_place = layer.backward(std::move(gradient), ctx);
  CHECK(dx_in_place.data() == place);
  CHECK(same_bits(dx_in_place, dx));
}

TEST_CASE("SiLU, Concat, EmbeddingAdd and FourierEmbedding have the right gradients", "[nn][gradients]") {
  check_on_pictures("SiLU", nn::SiLU<double>(), Shape{1, 3, 2, 5});
  check_layer("Concat", nn::Concat<double>(), Inputs<2>{random(Shape{2, 2, 3, 3}, 1), random(Shape{2, 2, 3, 4}, 2)},
              Inputs<2>{random(Shape{1, 2, 3, 5}, 3), random(Shape{1, 2, 3, 1}, 4)});
  check_layer("EmbeddingAdd", nn::EmbeddingAdd<double>(),
              Inputs<2>{random(Shape{3, 2, 3, 4}, 1), random(Shape{3, 4}, 2)},
              Inputs<2>{random(Shape{1, 3, 3, 4}, 3), random(Shape{1, 4}, 4)});
  check_layer("FourierEmbedding", nn::FourierEmbedding<double>(6, 1), Inputs<1>{random(Shape{4}, 1)},
              Inputs<1>{random(Shape{2}, 2)});
}

TEST_CASE("ConvStage has the right gradients both ways", "[nn][gradients]") {
  check_layer("down", Stage<nn::Conv2d<double>>({3, 6, {.stride = 2, .bias = false}}, 4, 6, 3),
              Inputs<2>{random(Shape{2, 6, 5, 3}, 1), random(Shape{2, 4}, 2)},
              Inputs<2>{random(Shape{1, 5, 5, 3}, 3), random(Shape{1, 4}, 4)});
  Stage<nn::ConvTranspose2d<double>> up({3, 6, {.stride = 2, .bias = false}}, 4, 6, 2);
  up.h = 6, up.w = 7;
  check_layer("up", up, Inputs<2>{random(Shape{2, 2, 3, 3}, 1), random(Shape{2, 4}, 2)},
              Inputs<2>{random(Shape{1, 2, 3, 3}, 3), random(Shape{1, 4}, 4)});
}

TEST_CASE("EmbeddingAdd leaves an input that is kept as it was", "[nn]") {
  const auto x = random(Shape{2, 2, 2, 3}, 1), before = x;
  Tensor<double> kept = x;
  static_cast<void>(nn::EmbeddingAdd<double>().forward(kept, random(Shape{2, 3}, 2)));
  CHECK(same_bits(kept, before));
}

TEST_CASE("memory that is handed over serves as a result only where nobody shares it", "[nn]") {
  const auto x = random(Shape{2, 2, 2, 3}, 1), e = random(Shape{2, 3}, 2);
  const auto check = [&](auto&& pass) {
    Tensor<double> given = x;
    const double* const memory = given.data();
    CHECK(pass(std::move(given)).data() == memory);
    given = x;
    const auto shared = given.shared();
    Tensor<double> result = pass(std::move(given));
    result.fill(7);
    CHECK(same_bits(*shared, x));
  };
  nn::EmbeddingAdd<double> add;
  nn::Dropout<double> dropout(0.5);
  check([&](Tensor<double>&& t) { return add.forward(std::move(t), e); });
  check([&](Tensor<double>&& t) { return add.backward(std::move(t), {}).dx; });
  check([&](Tensor<double>&& t) { return dropout.forward(std::move(t)); });
  check([&](Tensor<double>&& t) { return dropout.backward(std::move(t), {}); });
}

TEST_CASE("layers say what does not fit", "[nn][errors]") {
  CHECK_THROWS_WITH(nn::GroupNorm<float>(4, 6), "GroupNorm: 4 groups do not divide 6 channels");
  CHECK_THROWS_WITH(nn::FourierEmbedding<float>(7), "FourierEmbedding: expected an even width above 0, got 7");
  CHECK_THROWS_WITH(nn::Concat<float>().forward(Tensor<float>(Shape{2, 3}), Tensor<float>(Shape{3, 3})),
                    ContainsSubstring("expected [2], got [3]"));
  CHECK_THROWS_WITH(nn::Linear<float>(3, 4).forward(Tensor<float>(Shape{2, 5})),
                    "linear: weight [3, 4] expects [..., 3], got [2, 5]");
  CHECK_THROWS_AS(nn::Conv2d<float>(3, 4).forward(Tensor<float>(Shape{2, 5})), ShapeError);
  CHECK_THROWS_AS(nn::FourierEmbedding<float>(4).forward(Tensor<float>(Shape{2, 5})), ShapeError);
}

}  // namespace
