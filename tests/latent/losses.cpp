// The losses of an autoencoder: the original's values, gradients, promises, errors.

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/io/safetensors.hpp"
#include "easy_diffusion/latent/adversarial_loss.hpp"
#include "easy_diffusion/latent/autoencoder_loss.hpp"
#include "easy_diffusion/latent/patch_discriminator.hpp"
#include "easy_diffusion/latent/perceptual_distance.hpp"
#include "easy_diffusion/latent/vgg16_trunk.hpp"
#include "easy_diffusion/ops/unit_feature_distance.hpp"
#include "support/catch.hpp"
#include "support/drawn.hpp"
#include "support/gradient_check.hpp"
#include "support/layers.hpp"
#include "support/operation.hpp"
#include "support/paths.hpp"
#include "support/reference.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;

template <class T>
NamedTensors<T> read_all(const std::filesystem::path& path) {
  const auto file = io::SafetensorsFile::open(path);
  NamedTensors<T> result;
  for (const std::string& name : file.names()) {
    if (name.ends_with("num_batches_tracked"))  // whole numbers
      result[name] = Tensor<T>::copy_of(file.read<std::int64_t>(name).view());
    else
      result[name] = file.read<T>(name);
  }
  return result;
}

/// Only the entries whose names begin so, without that beginning.
template <class T>
NamedTensors<T> part(const NamedTensors<T>& all, const std::string& prefix) {
  NamedTensors<T> result;
  for (const auto& [name, value] : all)
    if (name.starts_with(prefix)) result[name.substr(prefix.size())] = value;
  return result;
}

template <class T>
Tensor<T> number(double value) {
  return Tensor<T>(Shape{}, static_cast<T>(value));
}

/// For each index of the first axis the sum over j of cos(j + 1) gradient[row, j]: how the reference keeps large gradients.
template <class T>
Tensor<double> gradient_rows(const Tensor<T>& gradient) {
  const std::int64_t rows = gradient.extent(0);
  const std::int64_t width = gradient.size() / rows;
  Tensor<double> result(Shape{rows});
  for (std::int64_t i = 0; i < gradient.size(); ++i)
    result[i / width] += std::cos(static_cast<double>(i % width + 1)) * static_cast<double>(gradient[i]);
  return result;
}

/// Everything in `want` beside `got`, by name; parameters as the reference keeps them.
template <class T>
double worst(const NamedTensors<double>& want, NamedTensors<T>& got) {
  Agreement agreement;
  std::size_t left = got.size();
  for (const auto& [name, value] : want) {
    const std::string rows = "grad_rows.";
    const std::string key = name.starts_with(rows) ? "grad." + name.substr(rows.size()) : name;
    if (!got.contains(key)) {
      FAIL_CHECK("nothing computed for " << name);
      continue;
    }
    --left;
    if (name.starts_with(rows))
      agreement.compare(name, gradient_rows(got[key]), value);
    else
      agreement.compare(name, got[key], name.starts_with("grad.") ? value : channels_last(value));
  }
  CHECK(left == 0);
  INFO(agreement);
  CHECK(agreement.count() > 0);
  return agreement.worst();
}

template <class T, class Model>
void put_gradients(NamedTensors<T>& got, const std::string& prefix, Model& model) {
  nn::for_each_trained(model, [&](const std::string& name, auto& parameter, const nn::Entry& entry) {
    got[prefix + name] = nn::to_pytorch(parameter.grad, entry.layout);
  });
}

template <class T, class Model>
void put_statistics(NamedTensors<T>& got, const std::string& prefix, Model& model) {
  nn::for_each_parameter(model, [&](const std::string& name, auto& parameter, const nn::Entry&) {
    if (name.find("running_") != std::string::npos) got[prefix + name] = parameter.value;
  });
}

template <class T>
constexpr double reference_tolerance = sizeof(T) == 4 ? 1e-3 : 1e-8;
template <class T>
constexpr const char* ending = sizeof(T) == 4 ? ".safetensors" : "_f64.safetensors";

template <class... Width>
latent::Vgg16TrunkConfig narrow(Width... widths) {
  return {.widths = {widths...}};
}

TEMPLATE_TEST_CASE("LPIPS agrees with the original", "[latent][golden][reference]", float, double) {
  using T = TestType;
  const auto folder = shared_data("reference/second_half/lpips_vgg");
  if (!folder) return;
  latent::Lpips<T> lpips(latent::Vgg16Trunk<T>(narrow(8, 16, 32, 64, 64)));
  nn::load_state_dict(lpips, read_all<T>(*folder / "weights.safetensors"));
  const auto inputs = read_all<T>(*folder / "inputs.safetensors");
  const Tensor<T> x = channels_last(inputs.at("x")), target = channels_last(inputs.at("target"));
  const Tensor<T> w(Shape{2}, {inputs.at("grad_output")[0], inputs.at("grad_output")[1]});
  NamedTensors<T> got;
  typename latent::Lpips<T>::Context ctx;
  std::vector<Tensor<T>> stages;
  const Shape four{2, 1, 1, 1};
  got["output"] = lpips.forward(x, target, &ctx, &stages).reshaped(four);
  for (std::size_t s = 0; s < stages.size(); ++s)
    got["stage" + std::to_string(s)] = std::move(stages[s]).reshaped(four);
  got["grad_input.x"] = lpips.backward(w, ctx);
  static_cast<void>(lpips.forward(target, x, &ctx));  // it is symmetric
  got["grad_input.target"] = lpips.backward(w, ctx);
  CHECK(worst(read_all<double>(*folder / ("outputs" + std::string(ending<T>))), got) <= reference_tolerance<T>);
}

TEMPLATE_TEST_CASE("the discriminator agrees with the original", "[latent][golden][reference]", float, double) {
  using T = TestType;
  for (const bool training : {false, true}) {
    const auto folder = shared_data(training ? "reference/second_half/patchgan_training" : "reference/second_half/patchgan");
    if (!folder) return;
    latent::PatchDiscriminator<T> model({.channels = 16});
    nn::load_state_dict(model, read_all<T>(*folder / "weights.safetensors"));
    const auto inputs = read_all<T>(*folder / "inputs.safetensors");
    typename latent::PatchDiscriminator<T>::Context ctx;
    ctx.mode.training = training;
    NamedTensors<T> got;
    got["output"] = model.forward(channels_last(inputs.at("x")), &ctx);
    got["grad_input.x"] = model.backward(channels_last(inputs.at("grad_output")), ctx);
    put_gradients(got, "grad.", model);
    if (training) {
      model.commit(ctx);
      put_statistics(got, "after.", model);
    }
    CHECK(worst(read_all<double>(*folder / ("outputs" + std::string(ending<T>))), got) <= reference_tolerance<T>);
  }
}

TEMPLATE_TEST_CASE("adversarial losses agree with the original", "[latent][golden][reference]", float, double) {
  using T = TestType;
  const auto folder = shared_data("reference/second_half/gan_losses");
  if (!folder) return;
  const auto inputs = read_all<T>(*folder / "inputs.safetensors");
  const Tensor<T> real = channels_last(inputs.at("logits_real")), fake = channels_last(inputs.at("logits_fake"));
  NamedTensors<T> got;
  for (const auto& [name, kind] : {std::pair{"hinge", latent::DiscriminatorLossKind::hinge},
                                   std::pair{"vanilla", latent::DiscriminatorLossKind::vanilla}}) {
    auto loss = latent::discriminator_loss(kind, real, fake);
    got[name] = number<T>(loss.value);
    got[std::string(name) + ".grad_real"] = std::move(loss.dreal);
    got[std::string(name) + ".grad_fake"] = std::move(loss.dfake);
  }
  auto loss = latent::generator_loss(fake);
  got["generator"] = number<T>(loss.value);
  got["generator.grad_fake"] = std::move(loss.dfake);
  CHECK(worst(read_all<double>(*folder / ("outputs" + std::string(ending<T>))), got) <= reference_tolerance<T>);
}

TEMPLATE_TEST_CASE("the adaptive weight agrees with the original", "[latent][golden][reference]", float, double) {
  using T = TestType;
  const auto folder = shared_data("reference/second_half/adaptive_weight");
  if (!folder) return;
  const auto inputs = read_all<T>(*folder / "inputs.safetensors");
  const auto want = read_all<double>(*folder / ("outputs" + std::string(ending<T>)));
  CHECK(want.size() == 5);
  NamedTensors<T> got;
  for (const auto& [name, value] : want)
    got[name] = number<T>(latent::AdaptiveWeight()(inputs.at(name + ".nll"), inputs.at(name + ".g")));
  CHECK(worst(want, got) <= reference_tolerance<T>);
}

/// The original's loss on a decoder that is one convolution.
template <class T>
struct OneConvolution {
  nn::Conv2d<T> conv{16, 3, {.padding = 1}};
  typename nn::Conv2d<T>::Context ctx;

  Tensor<T> last_gradient(const Tensor<T>& dr) {
    nn::Conv2d<T> alone = conv;
    alone.weight.grad = Tensor<T>(conv.weight.value.shape());
    auto kept = ctx;
    kept.input_gradient = false;
    alone.backward(dr, kept);
    return alone.weight.grad;
  }
};

TEMPLATE_TEST_CASE("the whole loss agrees with the original", "[latent][golden][reference]", float, double) {
  using T = TestType;
  const auto folder = shared_data("reference/second_half/latent_loss");
  if (!folder) return;
  const auto weights = read_all<T>(*folder / "weights.safetensors");
  const auto inputs = read_all<T>(*folder / "inputs.safetensors");
  const Tensor<T> x = channels_last(inputs.at("x"));
  const latent::DiagonalGaussian<T> posterior(channels_last(inputs.at("moments")));
  for (const bool after : {false, true}) {
    const std::int64_t step = after ? 50001 : 50000;
    latent::Lpips<T> lpips(latent::Vgg16Trunk<T>(narrow(8, 16, 16, 24, 24)));
    nn::load_state_dict(lpips, part(weights, "perceptual_loss."));
    latent::PatchDiscriminator<T> discriminator({.channels = 8});
    nn::load_state_dict(discriminator, part(weights, "discriminator."));
    OneConvolution<T> decoder;
    nn::load_state_dict(decoder.conv, part(weights, "conv_out."));
    latent::AutoencoderLoss<T> loss(
        {.discriminator_start = 50001, .reduction = latent::LossReduction::sums, .watch_discriminator = true});
    const Tensor<T> r = decoder.conv.forward(channels_last(inputs.at("h")), &decoder.ctx);
    const std::string when = std::string(after ? "after" : "before") + ending<T>;
    {
      NamedTensors<T> got;
      typename latent::PatchDiscriminator<T>::Context judged;
      auto turn = loss.autoencoder_turn(x, r, posterior, step, &lpips, discriminator, judged,
                                        [&](const Tensor<T>& dr) { return decoder.last_gradient(dr); });
      nn::for_each_trained(discriminator, [](const nn::Name&, auto& parameter, const nn::Entry&) {
        for (const T g : parameter.grad) CHECK(g == 0);  // the generator's turn leaves nothing there
      });
      got["loss"] = got["log.total_loss"] = number<T>(turn.total);
      got["log.logvar"] = number<T>(turn.logvar);
      got["log.kl_loss"] = number<T>(turn.kl);
      got["log.nll_loss"] = number<T>(turn.nll);
      got["log.rec_loss"] = number<T>(turn.rec);
      got["log.d_weight"] = number<T>(turn.weight);
      got["log.disc_factor"] = number<T>(turn.factor);
      got["log.g_loss"] = number<T>(turn.generator);
      got["grad_input.h"] = decoder.conv.backward(turn.dr, decoder.ctx);
      got["grad_input.moments"] = std::move(turn.dmoments);
      put_gradients(got, "grad.", loss);
      put_gradients(got, "grad.conv_out.", decoder.conv);
      discriminator.commit(judged);
      put_statistics(got, "after.discriminator.", discriminator);
      CHECK(worst(read_all<double>(*folder / ("outputs_generator_" + when)), got) <= reference_tolerance<T>);
    }
    nn::load_state_dict(discriminator, part(weights, "discriminator."));
    {
      NamedTensors<T> got;
      const auto turn = loss.discriminator_turn(x, r, step, discriminator);
      got["loss"] = got["log.disc_loss"] = number<T>(turn.loss);
      got["log.logits_real"] = number<T>(turn.logits_real);
      got["log.logits_fake"] = number<T>(turn.logits_fake);
      put_gradients(got, "grad.discriminator.", discriminator);
      put_statistics(got, "after.discriminator.", discriminator);
      CHECK(worst(read_all<double>(*folder / ("outputs_discriminator_" + when)), got) <= reference_tolerance<T>);
    }
  }
}

latent::Lpips<double> small_lpips() {
  latent::Lpips<double> lpips(latent::Vgg16Trunk<double>(narrow(2, 3, 3, 4, 4)));
  std::uint32_t number = 0;
  nn::for_each_parameter(lpips, [&](const std::string& name, auto& parameter, const nn::Entry&) {
    if (name.find("scaling") != std::string::npos) return;
    parameter.value = random_tensor<double>(parameter.value.shape(), 100 + number++, 0.5);
    if (name.starts_with("lin"))
      for (double& w : parameter.value) w = std::abs(w);
  });
  return lpips;
}

TEST_CASE("LPIPS has the right gradients, and none where nothing is seen", "[latent][gradients]") {
  latent::Lpips<double> lpips = small_lpips();
  auto x = random_tensor<double>(Shape{2, 16, 17, 3}, 1);
  const auto target = random_tensor<double>(x.shape(), 2);
  latent::Lpips<double>::Context ctx;
  const auto w = random_tensor<double>(lpips.forward(x, target, &ctx).shape(), 3);
  std::vector<Checked> tensors{{"x", &x, lpips.backward(w, ctx)}};
  const auto report =
      compare_with_differences(tensors, w, [&] { return lpips.forward(x, target); }, Entries::sampled, step_between_kinks);
  INFO(report);
  CHECK(report.passed());

  const auto same = lpips.forward(x, x);
  for (const double d : same) CHECK(d == 0);
  const auto there = lpips.forward(x, target), back = lpips.forward(target, x);
  for (std::int64_t n = 0; n < there.size(); ++n) {
    CHECK(there[n] > 0);
    CHECK(std::abs(there[n] - back[n]) <= 1e-12 * there[n]);
  }

  // No activation survives: the distance is 0 or ends at the target's own length, the gradient 0 and not NaN.
  nn::for_each_parameter(lpips, [](const std::string& name, auto& parameter, const nn::Entry&) {
    if (name.ends_with(".bias")) parameter.value.fill(-1e6);
  });
  static_cast<void>(lpips.forward(x, target, &ctx));
  for (const double g : lpips.backward(w, ctx)) CHECK(g == 0);
}

TEST_CASE("the distance of unit features has the right gradients with weights and without", "[latent][gradients]") {
  for (const std::int64_t channels : {1, 3, 17})
    for (const bool weighted : {false, true}) {
      auto f = random_tensor<double>(Shape{2, 3, 2, channels}, 1);
      const auto g = random_tensor<double>(f.shape(), 2);
      Tensor<double> weight;
      if (weighted) weight = random_tensor<double>(Shape{channels}, 3);
      const auto w = random_tensor<double>(Shape{2}, 4);
      const auto distance = [&] {
        Tensor<double> d(Shape{2});
        ops::unit_feature_distance_forward<double>(std::as_const(f).view(), g.view(), std::as_const(weight).view(),
                                                   d.view());
        return d;
      };
      // By the formula, one pixel after another.
      Tensor<double> naive(Shape{2});
      for (std::int64_t n = 0; n < 2; ++n)
        for (std::int64_t p = 0; p < 6; ++p) {
          double ff = 0, gg = 0;
          const double* a = f.data() + (n * 6 + p) * channels;
          const double* b = g.data() + (n * 6 + p) * channels;
          for (std::int64_t c = 0; c < channels; ++c) {
            ff += a[c] * a[c];
            gg += b[c] * b[c];
          }
          for (std::int64_t c = 0; c < channels; ++c) {
            const double away = a[c] / (std::sqrt(ff) + 1e-10) - b[c] / (std::sqrt(gg) + 1e-10);
            naive[n] += (weighted ? weight[c] : 1) * away * away / 6;
          }
        }
      CHECK(largest_difference(distance(), naive) <= 1e-13);
      Tensor<double> df(f.shape());
      ops::unit_feature_distance_backward<double>(std::as_const(f).view(), g.view(), std::as_const(weight).view(),
                                                  w.view(), df.view());
      if (channels == 1) continue;  // a single feature of length one does not move
      std::vector<Checked> tensors{{"f", &f, std::move(df)}};
      const auto report = compare_with_differences(tensors, w, distance, Entries::every);
      INFO(channels << " channels: " << report);
      CHECK(report.passed());
    }
}

TEST_CASE("the discriminator has the right gradients and keeps its promises", "[latent][gradients]") {
  latent::PatchDiscriminator<double> model({.picture_channels = 2, .channels = 2, .layers = 2});
  draw_state(model);
  const Inputs<1> a{random_tensor<double>(Shape{2, 16, 18, 2}, 1)}, b{random_tensor<double>(Shape{1, 16, 16, 2}, 2)};
  const auto report = check_gradients(model, a, Entries::sampled, step_between_kinks);
  INFO(report);
  CHECK(report.passed());
  for (const std::string& promise : broken_promises(model, a, b)) FAIL_CHECK(promise);
}

TEST_CASE("a discriminator begins as pix2pix begins it", "[latent]") {
  latent::PatchDiscriminator<double> model({.channels = 32});
  nn::initialize(model, 0);
  nn::for_each_parameter(model, [&](const std::string& name, const auto& parameter, const nn::Entry& entry) {
    if (entry.kind == nn::Kind::buffer) return;
    double sum = 0, squares = 0;
    for (const double v : parameter.value) {
      sum += v;
      squares += v * v;
    }
    const double n = static_cast<double>(parameter.value.size());
    const double mean = sum / n, deviation = std::sqrt(squares / n - mean * mean);
    INFO(name << " mean " << mean << " deviation " << deviation);
    const bool gain = entry.layout == nn::Layout::plain && name.ends_with(".weight");
    if (entry.layout == nn::Layout::convolution || gain) {
      CHECK(std::abs(mean - (gain ? 1 : 0)) <= 4 * 0.02 / std::sqrt(n));
      CHECK(std::abs(deviation - 0.02) <= 4 * 0.02 / std::sqrt(2 * n));
    }
    if (name == "main.3.bias") CHECK((mean == 0 && deviation == 0));
    if (name == "main.0.bias") CHECK(deviation > 0.05);
  });
}

/// The whole loss as a function of the reconstruction, the weight of the discriminator held.
TEST_CASE("the whole loss has the right gradients, in means and in sums", "[latent][gradients]") {
  latent::Lpips<double> lpips = small_lpips();
  latent::PatchDiscriminator<double> discriminator({.channels = 2, .layers = 1});
  draw_state(discriminator);
  const auto x = random_tensor<double>(Shape{2, 16, 16, 3}, 1);
  auto r = random_tensor<double>(x.shape(), 2);
  auto moments = random_tensor<double>(Shape{2, 4, 4, 4}, 3);
  for (const auto reduction : {latent::LossReduction::means, latent::LossReduction::sums}) {
    latent::AutoencoderLoss<double> loss({.kl_weight = 0.1, .logvar = 0.3, .reduction = reduction});
    // Gradients of equal length give the same weight at every point.
    const auto fixed = [](const Tensor<double>&) { return Tensor<double>(Shape{4}, 1.0); };
    const auto turn = [&] {
      latent::PatchDiscriminator<double>::Context ctx;
      return loss.autoencoder_turn(x, r, latent::DiagonalGaussian<double>(moments), 0, &lpips, discriminator, ctx, fixed);
    };
    nn::zero_gradients(loss);
    auto result = turn();
    CHECK(result.weight > 0.4);
    Tensor<double> dlogvar;
    Tensor<double>* logvar = nullptr;
    nn::for_each_parameter(loss, [&](const std::string& name, auto& parameter, const nn::Entry&) {
      CHECK(name == "logvar");
      dlogvar = parameter.grad;
      logvar = &parameter.value;
    });
    REQUIRE(logvar != nullptr);
    std::vector<Checked> tensors{{"r", &r, std::move(result.dr)},
                                 {"moments", &moments, std::move(result.dmoments)},
                                 {"logvar", logvar, dlogvar}};
    const auto report = compare_with_differences(
        tensors, Tensor<double>(Shape{1}, 1.0), [&] { return Tensor<double>(Shape{1}, turn().total); },
        Entries::sampled, step_between_kinks);
    INFO(report);
    CHECK(report.passed());
  }
}

TEST_CASE("means are the sums by the elements of a picture", "[latent]") {
  const auto x = random_tensor<double>(Shape{2, 16, 16, 3}, 1), r = random_tensor<double>(x.shape(), 2);
  const latent::DiagonalGaussian<double> posterior(random_tensor<double>(Shape{2, 4, 4, 4}, 3));
  latent::Lpips<double> lpips = small_lpips();
  latent::PatchDiscriminator<double> discriminator({.channels = 2, .layers = 1});
  const auto turn = [&](latent::LossReduction reduction) {
    latent::AutoencoderLoss<double> loss({.discriminator_start = 1, .reduction = reduction});
    latent::PatchDiscriminator<double>::Context ctx;
    return loss.autoencoder_turn(x, r, posterior, 0, &lpips, discriminator, ctx, [](const Tensor<double>& dr) {
      FAIL_CHECK("the weight is not asked for before the discriminator takes part");
      return dr;
    });
  };
  const auto sums = turn(latent::LossReduction::sums), means = turn(latent::LossReduction::means);
  CHECK(std::abs(sums.total - 768 * means.total) <= 1e-10 * std::abs(sums.total));
  CHECK(std::abs(sums.kl - 768 * means.kl) <= 1e-10 * std::abs(sums.kl));
  CHECK(sums.rec == means.rec);
  CHECK(means.weight == 0);
  CHECK(means.generator == 0);
}

TEST_CASE("the discriminator's own scale cancels in the adaptive weight", "[latent]") {
  const auto nll = random_tensor<double>(Shape{3, 3, 4, 2}, 1), g = random_tensor<double>(nll.shape(), 2);
  auto louder = g;
  for (double& v : louder) v *= 1000;
  const latent::AdaptiveWeight weight{.floor = 0};
  CHECK(std::abs(weight(nll, g) - 1000 * weight(nll, louder)) <= 1e-12 * weight(nll, g));
}

TEST_CASE("losses of autoencoders say what does not fit", "[latent][errors]") {
  const latent::Lpips<float> lpips(latent::Vgg16Trunk<float>(narrow(2, 2, 2, 2, 2)));
  CHECK_THROWS_WITH(lpips.forward(Tensor<float>(Shape{1, 15, 16, 3}), Tensor<float>(Shape{1, 15, 16, 3})),
                    "Vgg16Trunk: expected pictures of 3 channels and sides of at least 16, got [1, 15, 16, 3]");
  CHECK_THROWS_AS(lpips.forward(Tensor<float>(Shape{1, 16, 16, 1}), Tensor<float>(Shape{1, 16, 16, 1})), ShapeError);
  CHECK_THROWS_AS(lpips.forward(Tensor<float>(Shape{1, 16, 16, 3}), Tensor<float>(Shape{2, 16, 16, 3})), ShapeError);
  latent::Lpips<float> again = lpips;
  CHECK_THROWS_AS(again.backward(Tensor<float>(Shape{1}), {}), ShapeError);
  CHECK_THROWS_AS(latent::Vgg16Trunk<float>(narrow(2, 2, 0, 2, 2)), ValueError);
  CHECK_THROWS_AS(latent::PatchDiscriminator<float>({.layers = 0}), ValueError);
  latent::PatchDiscriminator<float> discriminator({.channels = 2});
  CHECK_THROWS_AS(discriminator.forward(Tensor<float>(Shape{1, 8, 8, 3})), ShapeError);
  CHECK_THROWS_AS(discriminator.forward(Tensor<float>(Shape{1, 32, 32, 1})), ShapeError);
  CHECK_THROWS_AS(discriminator.backward(Tensor<float>(Shape{1, 2, 2, 1}), {}), ShapeError);
  CHECK_THROWS_AS(latent::generator_loss(Tensor<float>(Shape{0, 2, 2, 1})), ShapeError);
  CHECK_THROWS_AS(latent::AdaptiveWeight()(Tensor<float>(Shape{2}), Tensor<float>(Shape{3})), ShapeError);
}

}  // namespace
