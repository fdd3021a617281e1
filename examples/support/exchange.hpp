/// \file
/// What run_model runs: networks, and what an autoencoder is trained and judged by, on tensors from a file.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/io/safetensors.hpp"
#include "easy_diffusion/latent/autoencoder_kl.hpp"
#include "easy_diffusion/latent/patch_discriminator.hpp"
#include "easy_diffusion/latent/perceptual_distance.hpp"
#include "easy_diffusion/latent/vgg16_trunk.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/state_dict.hpp"
#include "easy_diffusion/zoo/architectures.hpp"
#include "easy_diffusion/zoo/keywords.hpp"
#include "easy_diffusion/zoo/weights.hpp"

namespace easy_diffusion::examples {

template <class T>
using NamedResults = std::vector<nn::NamedTensor<T>>;

/// Gradients of everything that is trained, in full.
template <class T, class Model>
void put_gradients(NamedResults<T>& results, Model& model) {
  nn::for_each_trained(model, [&](const std::string& name, const auto& parameter, const nn::Entry& entry) {
    results.push_back({"grad." + name, nn::to_pytorch(parameter.grad, entry.layout)});
  });
}

/// Running statistics as they stand after the pass.
template <class T, class Model>
void put_statistics(NamedResults<T>& results, Model& model) {
  nn::for_each_parameter(model, [&](const std::string& name, const auto& parameter, const nn::Entry& entry) {
    if (entry.kind == nn::Kind::buffer && !name.ends_with("num_batches_tracked"))
      results.push_back({"after." + name, nn::to_pytorch(parameter.value, entry.layout)});
  });
}

/// \throw FormatError naming what of the inputs is missing and what is not known
inline void expect_inputs(const io::SafetensorsFile& file, const std::vector<std::string>& needed,
                          const std::vector<std::string>& possible) {
  std::string problems, known;
  const auto add = [&](const std::string& what) { problems += (problems.empty() ? ": " : ", ") + what; };
  const auto among = [](const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  for (const std::string& name : needed)
    if (!file.contains(name)) add(name + " is missing");
  for (const std::string& name : file.names())
    if (!among(needed, name) && !among(possible, name)) add("'" + name + "' is not known");
  for (const auto* names : {&needed, &possible})
    for (const std::string& name : *names) known += (known.empty() ? "" : ", ") + name;
  if (!problems.empty()) throw FormatError(file.path() + problems + " (expected " + known + ")");
}

/// What a run of one of these parts is given.
struct ExchangeFiles {
  io::SafetensorsFile weights, inputs;
  bool grad = false;

  template <class T>
  [[nodiscard]] Tensor<T> picture(const std::string& name) const {
    return zoo::channels_last(inputs.read<T>(name, io::Finite::required));
  }
};

/// LPIPS. Inputs x, target [N, 3, H, W], grad_output [N, 1, 1, 1]; outputs output, stage0 to stage4, grad_input.x and
/// grad_input.target.
template <class T>
NamedResults<T> run_lpips(const nlohmann::json& settings, const ExchangeFiles& files) {
  zoo::Keywords keywords("lpips_vgg", settings);
  const latent::Vgg16TrunkConfig usual;
  const auto widths = keywords.wholes("widths", {usual.widths.begin(), usual.widths.end()});
  for (const char* key : {"architecture", "full_widths"}) keywords.unused(key);
  keywords.finish();
  latent::Vgg16TrunkConfig config;
  if (widths.size() != config.widths.size())
    throw FormatError("lpips_vgg: \"widths\": expected five numbers, got " + std::to_string(widths.size()));
  std::copy(widths.begin(), widths.end(), config.widths.begin());
  latent::Lpips<T> lpips{latent::Vgg16Trunk<T>(config)};
  zoo::load_weights(lpips, files.weights);
  expect_inputs(files.inputs, files.grad ? std::vector<std::string>{"x", "target", "grad_output"} : std::vector<std::string>{"x", "target"},
                {"grad_output"});

  const Tensor<T> x = files.picture<T>("x"), target = files.picture<T>("target");
  const auto four = [](Tensor<T> values) {
    const std::int64_t n = values.size();
    return std::move(values).reshaped({n, 1, 1, 1});
  };
  NamedResults<T> results;
  typename latent::Lpips<T>::Context ctx;
  std::vector<Tensor<T>> stages;
  results.push_back({"output", four(lpips.forward(x, target, &ctx, &stages))});
  for (std::size_t s = 0; s < stages.size(); ++s)
    results.push_back({"stage" + std::to_string(s), four(std::move(stages[s]))});
  if (!files.grad) return results;
  auto grad_output = files.inputs.read<T>("grad_output", io::Finite::required);
  expect_shape("grad_output", Shape{x.extent(0), 1, 1, 1}, grad_output.shape());
  const Tensor<T> weight = std::move(grad_output).reshaped({x.extent(0)});
  results.push_back({"grad_input.x", zoo::channels_first(lpips.backward(weight, ctx))});
  static_cast<void>(lpips.forward(target, x, &ctx));  // the distance is symmetric
  results.push_back({"grad_input.target", zoo::channels_first(lpips.backward(weight, ctx))});
  return results;
}

/// The discriminator. Inputs x [N, C, H, W], grad_output; outputs output, the gradients and, with "mode": "training", after.*.
template <class T>
NamedResults<T> run_patchgan(const nlohmann::json& settings, const ExchangeFiles& files) {
  zoo::Keywords keywords("patchgan", settings);
  keywords.unused("architecture");
  latent::PatchDiscriminatorConfig config;
  config.picture_channels = keywords.whole("in_channels", config.picture_channels);
  config.channels = keywords.whole("ndf", config.channels);
  config.layers = keywords.whole("n_layers", config.layers, 16);
  const bool training = keywords.text("mode", "evaluation", {"evaluation", "training"}) == "training";
  keywords.finish();
  latent::PatchDiscriminator<T> model(config);
  zoo::load_weights(model, files.weights);
  expect_inputs(files.inputs, files.grad ? std::vector<std::string>{"x", "grad_output"} : std::vector<std::string>{"x"}, {"grad_output"});

  typename latent::PatchDiscriminator<T>::Context ctx;
  ctx.mode.training = training;
  NamedResults<T> results;
  results.push_back({"output", zoo::channels_first(model.forward(files.picture<T>("x"), &ctx))});
  if (files.grad) {
    results.push_back({"grad_input.x", zoo::channels_first(model.backward(files.picture<T>("grad_output"), ctx))});
    put_gradients(results, model);
  }
  if (training) {
    model.commit(ctx);
    put_statistics(results, model);
  }
  return results;
}

/// A model whose names all begin with something more.
template <class Model>
struct Prefixed {
  using value_type = typename Model::value_type;
  Model& model;
  const char* prefix;

  template <class Self, class V>
  static void visit(Self& self, V&& v, const nn::Name& before) {
    Model::visit(self.model, v, before + self.prefix);
  }
};

/// Stable Diffusion's autoencoder, by the names of its single file. Inputs x [N, 3, H, W], grad_output, and noise, the
/// deviates of the latent picture: without them it is the mean. Outputs output, moments, latent, kl [N], mode_decoded, gradients.
template <class T>
NamedResults<T> run_ldm_autoencoder(nlohmann::json settings, const ExchangeFiles& files) {
  zoo::Keywords keywords("ldm_autoencoder_kl", settings);
  keywords.number("scale_factor", 1, 1e-9, 1e9);  // of the diffusion in its latents
  settings.erase("scale_factor");
  settings["architecture"] = "AutoEncoderKL";
  settings["halving"] = "corner";
  latent::AutoEncoderKL<T> model(std::get<latent::AutoEncoderKLConfig>(zoo::read_settings(settings)));
  constexpr const char* whole_file = "first_stage_model.";
  Prefixed<latent::AutoEncoderKL<T>> named{
      model, files.weights.contains(std::string(whole_file) + "encoder.conv_in.weight") ? whole_file : ""};
  zoo::load_weights(named, files.weights);
  expect_inputs(files.inputs, files.grad ? std::vector<std::string>{"x", "grad_output"} : std::vector<std::string>{"x"},
                {"noise", "grad_output"});

  typename latent::AutoEncoderKL<T>::Context ctx;
  const latent::DiagonalGaussian<T> posterior = model.encode(files.picture<T>("x"), &ctx);
  const Tensor<T> noise = files.inputs.contains("noise") ? files.picture<T>("noise") : Tensor<T>(posterior.shape());
  const Tensor<T> z = posterior.sample(noise);
  NamedResults<T> results;
  results.push_back({"output", zoo::channels_first(model.decode(z, &ctx))});
  results.push_back({"moments", zoo::channels_first(posterior.moments())});
  results.push_back({"latent", zoo::channels_first(z)});
  results.push_back({"kl", posterior.kl()});
  results.push_back({"mode_decoded", zoo::channels_first(model.decode(posterior.mode()))});
  if (!files.grad) return results;
  const Tensor<T> dz = model.decode_backward(files.picture<T>("grad_output"), ctx);
  results.push_back(
      {"grad_input.x", zoo::channels_first(model.encode_backward(posterior.sample_backward(dz, noise), ctx))});
  put_gradients(results, named);
  return results;
}

/// The parts that are no networks of the zoo, by their "architecture".
template <class T>
[[nodiscard]] const auto& exchange_parts() {
  using Run = NamedResults<T> (*)(const nlohmann::json&, const ExchangeFiles&);
  static const std::map<std::string, Run, std::less<>> parts = {
      {"lpips_vgg", [](const nlohmann::json& s, const ExchangeFiles& f) { return run_lpips<T>(s, f); }},
      {"patchgan", [](const nlohmann::json& s, const ExchangeFiles& f) { return run_patchgan<T>(s, f); }},
      {"ldm_autoencoder_kl", [](const nlohmann::json& s, const ExchangeFiles& f) { return run_ldm_autoencoder<T>(s, f); }}};
  return parts;
}

}  // namespace easy_diffusion::examples
