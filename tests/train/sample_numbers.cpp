// A network's denoiser, asked for some samples of a batch, tells each its own class.

#include <cstdint>
#include <utility>
#include <vector>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/diffusion/denoiser.hpp"
#include "easy_diffusion/diffusion/guidance.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/diffusion/samplers/runge_kutta45.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "easy_diffusion/nn/condition.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/train/diffusion_model.hpp"
#include "easy_diffusion/train/diffusion_settings.hpp"
#include "easy_diffusion/zoo/model.hpp"
#include "easy_diffusion/zoo/score_model.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::test;
namespace df = easy_diffusion::diffusion;

namespace {

nn::Condition<float> classes(std::vector<std::int64_t> numbers) {
  nn::Condition<float> condition;
  condition.classes = std::move(numbers);
  return condition;
}

}  // namespace

TEST_CASE("RK45 paints each picture of a batch with its own class", "[train][diffusion][sample_numbers]") {
  for (const train::DiffusionMethod method : {train::DiffusionMethod::ddpm, train::DiffusionMethod::edm}) {
    train::DiffusionSettings settings;
    settings.method = method;
    settings.height = settings.width = 9;
    auto model_settings = zoo::timed_model_settings("unet_transformer", settings.channels, 3, std::nullopt);
    model_settings["channels"] = {32, 32};
    model_settings["embed_dim"] = 8;
    model_settings["text_dim"] = 8;
    zoo::Model<float> network(model_settings);
    nn::initialize(network, 1);
    const std::vector<std::int64_t> told{2, -1, 0};
    const df::NoiseLevels levels = df::karras_levels(4, 0.5, 1, 7, df::End::smallest);
    const auto start = random_tensor<float>(settings.pictures(3), 1, 4);
    const auto paint = [&](const std::vector<std::int64_t>& which, Tensor<float> x) {
      df::RungeKutta45<Tensor<float>> sampler(df::exploding_path(), {.tolerances = {1e-1, 1e-1}});
      const auto denoiser = df::guided(train::DiffusionDenoiser(network, settings, classes(which)),
                                       train::DiffusionDenoiser(network, settings), 1.5);
      df::sample(sampler, denoiser, x, levels, df::NoNoise());
      return x;
    };
    const auto all = paint(told, start);
    for (std::int64_t n = 0; n < 3; ++n)
      CHECK(same_bits(Tensor<float>::copy_of(all.view().slice(n, 1)),
                      paint({told[static_cast<std::size_t>(n)]}, Tensor<float>::copy_of(start.view().slice(n, 1)))));
    // A condition of another number of samples is refused.
    const train::DiffusionDenoiser denoiser(network, settings, classes({2, 1}));
    Tensor<float> x0(start.shape());
    CHECK_THROWS_AS(denoiser(start, levels[0], x0), ShapeError);
    CHECK_THROWS_AS(denoiser(start, levels[0], x0, df::SampleRange{1, 2}), ValueError);
  }
}

TEST_CASE("a condition is cut to some of its samples", "[train][sample_numbers]") {
  CHECK(classes({2, -1, 0, 1}).part(1, 2).classes == std::vector<std::int64_t>{-1, 0});
  CHECK(nn::Condition<float>().part(5, 1).empty());
  nn::Condition<float> words;
  words.sequence = random_tensor<float>({3, 2, 4}, 1);
  words.sequence_null = {0, 1, 0};
  const auto part = words.part(1, 2);
  CHECK(same_bits(part.sequence, Tensor<float>::copy_of(words.sequence.view().slice(1, 2))));
  CHECK(part.sequence_null == std::vector<std::uint8_t>{1, 0});
  CHECK_THROWS_AS(words.part(2, 2), ValueError);
  CHECK_THROWS_AS(words.part(-1, 1), ValueError);
  CHECK_THROWS_AS(words.part(0, 0), ValueError);
}
