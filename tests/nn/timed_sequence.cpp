// One step of a large U-Net: the noise of its dropouts, contexts that are used again, contexts of nothing or of another.

#include "easy_diffusion/nn/blocks/timed_sequence.hpp"

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "easy_diffusion/nn/models/res_unet.hpp"
#include "easy_diffusion/nn/relu.hpp"
#include "support/catch.hpp"
#include "support/layers.hpp"
#include "support/res_unets.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;
using Sequence = nn::TimedSequence<double>;
using Block = nn::ResBlock2<double>;

Sequence::Layer block() { return Block({.in = 2, .out = 2, .embed_dim = 3, .dropout = 0.5, .groups = 1}); }

Sequence sequence_of(std::vector<Sequence::Layer> layers) {
  Sequence result(std::move(layers));
  randomise(result);
  return result;
}

const Sequence::Signals signals{random_tensor<double>(Shape{2, 3}, 5), {}};

Tensor<double> picture(std::int64_t channels, std::uint32_t number) {
  return random_tensor<double>(Shape{2, 2, 3, channels}, number);
}

TEST_CASE("no two dropouts of a model draw the same noise, however many layers a step has", "[nn][dropout]") {
  const Sequence sequence = sequence_of(std::vector<Sequence::Layer>(20, block()));
  std::set<std::uint32_t> numbers;
  for (std::uint32_t step = 0; step < 5; ++step) {
    Sequence::Context ctx;
    ctx.number = step;
    ctx.mode.training = true;
    static_cast<void>(sequence.forward(picture(2, 1), {}, signals, &ctx));
    for (std::size_t i = 0; i < 20; ++i) {
      const std::uint32_t number = std::get<Block::Context>(ctx.layers[i]).dropout.layer;
      CHECK(numbers.insert(number).second);
      CHECK(number < 1U << 24);
      if (i < 8) CHECK(number == 8 * step + i);  // as it always was
    }
  }
  Sequence::Context ctx;
  ctx.number = 8192;
  CHECK_THROWS_AS(sequence.forward(picture(2, 1), {}, signals, &ctx), ValueError);

  nn::Dropout<double> dropout(0.5);
  nn::Dropout<double>::Context beyond;
  beyond.mode.training = true;
  beyond.layer = 1U << 24;
  CHECK_THROWS_WITH(dropout.forward(picture(2, 1), &beyond),
                    "Dropout: expected a layer number below 2^24, got 16777216");
}

TEST_CASE("a context that had a skip serves a pass without one, and the other way round", "[nn]") {
  Sequence sequence = sequence_of({nn::Conv2d<double>(5, 4, {.padding = 1})});
  for (const bool checkpoint : {false, true}) {
    const auto pass = [&](Sequence::Context& ctx, bool with_skip) {
      ctx.checkpoint = checkpoint;
      const Tensor<double> y = with_skip ? sequence.forward(picture(2, 1), picture(3, 2), signals, &ctx)
                                         : sequence.forward(picture(5, 3), {}, signals, &ctx);
      nn::zero_gradients(sequence);
      return sequence.backward(y, ctx);
    };
    Sequence::Context used;
    for (const bool with_skip : {true, false, true}) {
      Sequence::Context fresh;
      const auto again = pass(used, with_skip), once = pass(fresh, with_skip);
      CHECK(same_bits(again.dx, once.dx));
      CHECK(same_bits(again.dskip, once.dskip));
      CHECK(again.dskip.empty() != with_skip);
      CHECK(again.dx.extent(3) == (with_skip ? 2 : 5));
    }
  }
}

TEST_CASE("a step without layers gives a tensor of its own", "[nn]") {
  Sequence nothing;
  const Tensor<double> x = picture(2, 1);
  Sequence::Context ctx;
  Tensor<double> y = nothing.forward(x, {}, signals, &ctx);
  y.fill(7);
  CHECK(same_bits(x, picture(2, 1)));
  auto gradients = nothing.backward(x, ctx);
  gradients.dx.fill(7);
  CHECK(same_bits(x, picture(2, 1)));
}

TEST_CASE("a context of no forward pass, or of another model's, is refused", "[nn][errors]") {
  Sequence convolution = sequence_of({nn::Conv2d<double>(2, 2, {.padding = 1})});
  Sequence blocks = sequence_of({block()});
  Sequence two = sequence_of({block(), block()});
  const Tensor<double> x = picture(2, 1);
  Sequence::Context none, of_convolution, of_two;
  static_cast<void>(convolution.forward(x, {}, signals, &of_convolution));
  static_cast<void>(two.forward(x, {}, signals, &of_two));
  const std::string words = "expected the context of a forward pass of this layer";
  CHECK_THROWS_WITH(blocks.backward(x, none), ContainsSubstring("TimedSequence: backward: " + words));
  CHECK_THROWS_AS(blocks.backward(x, of_convolution), ValueError);
  CHECK_THROWS_AS(blocks.backward(x, of_two), ValueError);
  CHECK_THROWS_AS(two.backward(x, of_convolution), ValueError);

  nn::ResUNetConfig config = small_res_unet();
  SequenceResUNet small(config);
  config.blocks = 2;
  SequenceResUNet large(config);
  randomise(small);
  const auto pictures = random_tensor<double>(Shape{1, 4, 4, config.picture_channels}, 1);
  SequenceResUNet::Context ctx;
  const auto y = small.forward(pictures, {}, &ctx);
  CHECK_THROWS_WITH(large.backward(y, ctx), ContainsSubstring("ResUNet: backward: " + words));
  CHECK_THROWS_WITH(large.backward(y, SequenceResUNet::Context()), ContainsSubstring("ResUNet: backward: " + words));

  // A single number is the shape of an empty tensor, too.
  nn::ReLU<double> relu;
  CHECK_THROWS_WITH(relu.backward(Tensor<double>(Shape{}), {}), ContainsSubstring("ReLU: backward: " + words));
}

}  // namespace
