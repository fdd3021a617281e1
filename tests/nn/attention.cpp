// LayerNorm, GELU, attention and the blocks made of it: PyTorch's values, gradients, names, promises.

#include "easy_diffusion/nn/attention.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/io/safetensors.hpp"
#include "easy_diffusion/nn/blocks/attn_block.hpp"
#include "easy_diffusion/nn/blocks/linear_attention.hpp"
#include "easy_diffusion/nn/blocks/spatial_transformer.hpp"
#include "easy_diffusion/nn/blocks/transformer_block.hpp"
#include "easy_diffusion/nn/gelu.hpp"
#include "easy_diffusion/nn/layer_norm.hpp"
#include "support/catch.hpp"
#include "support/check_layer.hpp"
#include "support/golden_layers.hpp"
#include "support/paths.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;

/// A layer without its context: the tokens attend to each other.
template <class Layer>
struct Alone : Layer {
  using T = typename Layer::value_type;
  using Layer::Layer;

  Tensor<T> forward(const Tensor<T>& x, typename Layer::Context* ctx = nullptr) const {
    return Layer::forward(x, {}, ctx);
  }
  Tensor<T> backward(const Tensor<T>& dy, const typename Layer::Context& ctx) {
    auto gradients = Layer::backward(dy, ctx);
    CHECK(gradients.dcontext.empty());
    return std::move(gradients.dx);
  }
};

nn::AttentionConfig attention(std::int64_t channels, std::int64_t context, std::int64_t heads, std::int64_t width) {
  return width > 0 ? nn::AttentionConfig::separate(channels, context, heads, width)
                   : nn::AttentionConfig::shared(channels, context, heads);
}

TEMPLATE_TEST_CASE("attention and its blocks agree with PyTorch", "[nn][golden][attention]", float, double) {
  using T = TestType;
  using Case = GoldenCase<T>;
  const auto file = io::SafetensorsFile::open(test_data() / "attention.safetensors");
  const std::array<std::string, 1> x{"x"};
  const std::array<std::string, 2> both{"x", "context"};
  compare_all<T>(file, "layer_norm", 3, x, [](const Case& c) { return nn::LayerNorm<T>(c["channels"]); });
  compare_all<T>(file, "gelu", 2, x,
                 [](const Case& c) { return nn::GELU<T>(c["tanh"] != 0 ? ops::Gelu::tanh : ops::Gelu::exact); });
  compare_all<T>(file, "self_attention", 4, x, [](const Case& c) {
    return Alone<nn::MultiHeadAttention<T>>(attention(c["channels"], 0, c["heads"], c["width"]));
  });
  compare_all<T>(file, "cross_attention", 4, both, [](const Case& c) {
    return nn::MultiHeadAttention<T>(attention(c["channels"], c["context"], c["heads"], c["width"]));
  });
  compare_all<T>(file, "transformer_block", 2, both, [](const Case& c) {
    return nn::TransformerBlock<T>({c["channels"], c["context"], c["heads"], c["width"]});
  });
  compare_all<T>(file, "transformer_without_context", 2, x, [](const Case& c) {
    return Alone<nn::TransformerBlock<T>>(nn::TransformerConfig{c["channels"], 0, c["heads"], c["width"]});
  });
  compare_all<T>(file, "spatial_transformer", 4, both, [](const Case& c) {
    return nn::SpatialTransformer<T>({c["channels"], c["context"], c["heads"], c["width"]});
  });
  compare_all<T>(file, "attn_block", 2, x, [](const Case& c) { return nn::AttnBlock<T>(c["channels"], c["groups"]); });
  compare_all<T>(file, "linear_attention", 2, x,
                 [](const Case& c) { return nn::LinearAttention<T>(c["channels"], c["heads"], c["width"]); });
}

TEST_CASE("LayerNorm and GELU have the right gradients", "[nn][gradients]") {
  check_on_pictures("LayerNorm of tokens", nn::LayerNorm<double>(5), Shape{1, 3, 5});
  check_on_pictures("LayerNorm of rows", nn::LayerNorm<double>(17, 1e-2), Shape{1, 17});
  check_on_pictures("GELU", nn::GELU<double>(), Shape{1, 3, 2, 5});
  check_on_pictures("GELU by tanh", nn::GELU<double>(ops::Gelu::tanh), Shape{1, 3, 2, 5});
}

TEST_CASE("MultiHeadAttention has the right gradients", "[nn][gradients][attention]") {
  using Layer = nn::MultiHeadAttention<double>;
  const auto across = [](const std::string& name, const Layer& layer, const Shape& x, const Shape& context) {
    check_layer(name, layer, Inputs<2>{random(x.with_front(2), 1), random(context.with_front(2), 2)},
                Inputs<2>{random(x.with_front(1), 3), random(context.with_front(1), 4)});
  };
  check_on_pictures("itself, one head", Alone<Layer>(attention(5, 0, 1, 0)), Shape{1, 4, 5});
  check_on_pictures("itself, three heads", Alone<Layer>(attention(6, 0, 3, 0)), Shape{1, 3, 6});
  check_on_pictures("itself, one token", Alone<Layer>(attention(4, 0, 2, 0)), Shape{1, 1, 4});
  check_on_pictures("itself, width apart", Alone<Layer>(attention(5, 0, 2, 3)), Shape{1, 3, 5});
  across("context", Layer(attention(4, 3, 2, 0)), Shape{1, 3, 4}, Shape{1, 5, 3});
  across("context, width apart", Layer(attention(3, 4, 2, 2)), Shape{1, 4, 3}, Shape{1, 2, 4});
  across("context of one token", Layer(attention(4, 3, 1, 0)), Shape{1, 3, 4}, Shape{1, 1, 3});
  nn::AttentionConfig wide_values = attention(4, 3, 2, 0);
  wide_values.key_width = 2;
  wide_values.value_width = 6;
  across("values wider than keys", Layer(wide_values), Shape{1, 3, 4}, Shape{1, 2, 3});
}

TEST_CASE("transformer blocks have the right gradients", "[nn][gradients][attention]") {
  using Block = nn::TransformerBlock<double>;
  for (const std::int64_t width : {0, 3}) {
    check_on_pictures("without context", Alone<Block>(nn::TransformerConfig{4, 0, 2, width}), Shape{1, 3, 4});
    for (const std::int64_t keys : {1, 2})
      check_layer("with context", Block({4, 3, 2, width}),
                  Inputs<2>{random(Shape{2, 3, 4}, 1), random({2, keys, 3}, 2)},
                  Inputs<2>{random(Shape{1, 2, 4}, 3), random(Shape{1, 3 - keys, 3}, 4)});
  }
  check_layer("picture", nn::SpatialTransformer<double>({6, 3, 2}),
              Inputs<2>{random(Shape{2, 2, 2, 6}, 1), random(Shape{2, 2, 3}, 2)},
              Inputs<2>{random(Shape{1, 3, 1, 6}, 3), random(Shape{1, 1, 3}, 4)});
}

TEST_CASE("AttnBlock and LinearAttention have the right gradients", "[nn][gradients][attention]") {
  check_on_pictures("AttnBlock", nn::AttnBlock<double>(6, 2), Shape{1, 3, 2, 6});
  check_on_pictures("LinearAttention", nn::LinearAttention<double>(4, 2, 3), Shape{1, 3, 2, 4});
}

TEST_CASE("attention leaves out the gradients that nobody asks for", "[nn][attention]") {
  nn::MultiHeadAttention<double> layer(attention(4, 3, 2, 0));
  randomise(layer);
  for (const std::int64_t keys : {1, 5}) {
    const auto x = random(Shape{2, 3, 4}, 1), context = random(Shape{2, keys, 3}, 2), dy = random(x.shape(), 3);
    nn::MultiHeadAttention<double>::Context all, some;
    static_cast<void>(layer.forward(x, context, &all));
    some.context_gradient = false;
    static_cast<void>(layer.forward(x, context, &some));
    const auto want = layer.backward(dy, all), got = layer.backward(dy, some);
    CHECK(same_bits(got.dx, want.dx));
    CHECK(got.dcontext.empty());
    some.input_gradient = false;
    some.context_gradient = true;
    static_cast<void>(layer.forward(x, context, &some));
    const auto other = layer.backward(dy, some);
    CHECK(other.dx.empty());
    CHECK(same_bits(other.dcontext, want.dcontext));
  }
  // One token to attend to: whatever the query, so its gradients are zero, not nearly zero.
  const auto x = random(Shape{2, 3, 4}, 1), context = random(Shape{2, 1, 3}, 2);
  nn::MultiHeadAttention<double>::Context ctx;
  nn::zero_gradients(layer);
  static_cast<void>(layer.forward(x, context, &ctx));
  const auto gradients = layer.backward(random(x.shape(), 3), ctx);
  CHECK(largest(gradients.dx) == 0);
  CHECK(largest(layer.query.weight.grad) == 0);
  CHECK(largest(layer.key.weight.grad) == 0);
  CHECK(largest(layer.value.weight.grad) > 0);

  nn::TransformerBlock<double> block({4, 3, 2});
  randomise(block);
  nn::TransformerBlock<double>::Context in_block;
  in_block.context_gradient = false;
  for (const std::int64_t keys : {1, 5}) {
    static_cast<void>(block.forward(x, random(Shape{2, keys, 3}, 2), &in_block));
    CHECK(block.backward(random(x.shape(), 3), in_block).dcontext.empty());
  }
}

TEST_CASE("a transformer has the same bits for any batch split", "[nn][attention][bits]") {
  nn::SpatialTransformer<float> layer({32, 24, 2});
  randomise(layer);
  const auto x = random_tensor<float>(Shape{5, 4, 5, 32}, 1);
  for (const std::int64_t keys : {1, 7}) {
    const auto context = random_tensor<float>(Shape{5, keys, 24}, 2);
    const auto whole = layer.forward(x, context);
    for (std::int64_t n = 0; n < 5; ++n) {
      const auto one = layer.forward(Tensor<float>::copy_of(x.view().slice(n, 1)),
                                     Tensor<float>::copy_of(context.view().slice(n, 1)));
      CHECK(same_bits(one, Tensor<float>::copy_of(std::as_const(whole).view().slice(n, 1))));
    }
  }
}

TEST_CASE("transformers carry the original's names", "[nn][attention][names]") {
  const auto names_of = [](const auto& layer) {
    std::vector<std::string> names;
    nn::for_each_parameter(layer,
                           [&](const std::string& name, const auto&, const nn::Entry&) { names.push_back(name); });
    return names;
  };
  CHECK(names_of(nn::SpatialTransformer<float>({8, 4, 2})) ==
        std::vector<std::string>{"transformer.attn_self.query.weight", "transformer.attn_self.cancat.weight",
                                 "transformer.attn_self.key.weight", "transformer.attn_self.value.weight",
                                 "transformer.attn_cross.query.weight", "transformer.attn_cross.cancat.weight",
                                 "transformer.attn_cross.key.weight", "transformer.attn_cross.value.weight",
                                 "transformer.norm1.weight", "transformer.norm1.bias", "transformer.norm2.weight",
                                 "transformer.norm2.bias", "transformer.norm3.weight", "transformer.norm3.bias",
                                 "transformer.ffn.0.weight", "transformer.ffn.0.bias", "transformer.ffn.2.weight",
                                 "transformer.ffn.2.bias"});
  CHECK(names_of(nn::MultiHeadAttention<float>(attention(8, 4, 2, 3))) ==
        std::vector<std::string>{"to_q.weight", "to_out.0.weight", "to_out.0.bias", "to_k.weight", "to_v.weight"});
}

TEST_CASE("attention says what does not fit", "[nn][attention][errors]") {
  CHECK_THROWS_WITH(nn::MultiHeadAttention<float>(attention(6, 4, 4, 0)),
                    "MultiHeadAttention: 4 heads do not divide widths of 6 and 6");
  const nn::MultiHeadAttention<float> layer(attention(6, 4, 2, 0));
  const Tensor<float> x(Shape{2, 3, 6}), context(Shape{2, 5, 4});
  CHECK_THROWS_WITH(
      layer.forward(x, {}),
      "MultiHeadAttention: expected tokens [N, L, 6] that attend to [N, M, 4], got [2, 3, 6] and [2, 3, 6]");
  CHECK_THROWS_AS(layer.forward(x, Tensor<float>(Shape{1, 5, 4})), ShapeError);
  CHECK_THROWS_AS(layer.forward(x, Tensor<float>(Shape{2, 0, 4})), ShapeError);
  CHECK_THROWS_AS(layer.forward(context, context), ShapeError);
  CHECK_THROWS_WITH(layer.forward(Tensor<float>(Shape{2, 6}), context),
                    "MultiHeadAttention tokens: expected [N, L, C], got [2, 6]");
  CHECK_THROWS_AS(nn::SpatialTransformer<float>({6, 4, 2}).forward(x, context), ShapeError);
  CHECK_THROWS_AS(nn::AttnBlock<float>(6, 4), ShapeError);
  CHECK_THROWS_AS(nn::LinearAttention<float>(6, 0), ValueError);
  // A context that a layer has no use for is ignored, as the original ignores it.
  CHECK_NOTHROW(nn::MultiHeadAttention<float>(attention(6, 0, 2, 0)).forward(x, context));
}

}  // namespace
