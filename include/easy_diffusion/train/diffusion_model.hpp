/// \file
/// A network that was trained for diffusion, as samplers want it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include <nlohmann/json.hpp>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/diffusion/denoiser.hpp"
#include "easy_diffusion/diffusion/edm.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/parameterization.hpp"
#include "easy_diffusion/nn/condition.hpp"
#include "easy_diffusion/nn/condition_embedding.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/train/checkpoint.hpp"
#include "easy_diffusion/train/diffusion_settings.hpp"
#include "easy_diffusion/zoo/architectures.hpp"
#include "easy_diffusion/zoo/model.hpp"

namespace easy_diffusion::train {

/// The prediction of a network, told a condition: `network(x, time, out)`, what `diffusion::make_denoiser` takes.
/// \tparam Network `forward(x, t, condition)`, as `zoo::Model` has it
template <class Network>
class DiffusionNetwork {
 public:
  using T = typename Network::value_type;

  /// \param network   outlives this
  /// \param condition of each sample of the batches to come; empty: none has one
  DiffusionNetwork(const Network& network, const DiffusionSettings& settings, nn::Condition<T> condition = {})
      : network_(&network),
        condition_(std::move(condition)),
        time_scale_(settings.time_scale),
        learns_variance_(settings.learns_variance()) {}

  /// \param x [N, H, W, C] \param[out] out the shape of x
  /// \throw as the network's own; ShapeError where its output is no prediction of x
  void operator()(const Tensor<T>& x, double time, Tensor<T>& out) const {
    Tensor<T> output = forward(x, time);
    if (!learns_variance_)
      out = std::move(output);
    else
      take_channels(output, 0, x.shape(), out);
  }

  /// The same for some of the samples that the condition is for: `x` holds these. \throw ValueError where it is not for them
  void operator()(const Tensor<T>& x, double time, Tensor<T>& out, const diffusion::SampleRange& samples) const {
    DiffusionNetwork(network_, condition_.part(samples.first, samples.count), time_scale_, learns_variance_)(x, time, out);
  }

  /// The same, and what the network says of the variance, see `diffusion::VarianceType`. \param[out] v the shape of x
  /// \throw ValueError where it has learned none, and as above
  void operator()(const Tensor<T>& x, double time, Tensor<T>& out, Tensor<T>& v) const {
    if (!learns_variance_) throw ValueError("diffusion network: expected one that learned the variance");
    const Tensor<T> output = forward(x, time);
    take_channels(output, 0, x.shape(), out);
    take_channels(output, x.shape().back(), x.shape(), v);
  }

 private:
  DiffusionNetwork(const Network* network, nn::Condition<T> condition, double time_scale, bool learns_variance)
      : network_(network), condition_(std::move(condition)), time_scale_(time_scale), learns_variance_(learns_variance) {}

  [[nodiscard]] Tensor<T> forward(const Tensor<T>& x, double time) const {
    expect_rank("diffusion network", 4, "[N, H, W, C]", x.shape());
    const Tensor<T> t(Shape{x.extent(0)}, static_cast<T>(time_scale_ * time));
    Tensor<T> output = network_->forward(x, t, condition_);
    const std::int64_t channels = x.shape().back() * (learns_variance_ ? 2 : 1);
    expect_shape("diffusion network: output", Shape{x.extent(0), x.extent(1), x.extent(2), channels}, output.shape());
    return output;
  }

  /// As many channels as `shape` has, from `first` on.
  static void take_channels(const Tensor<T>& output, std::int64_t first, const Shape& shape, Tensor<T>& out) {
    const std::int64_t channels = shape.back();
    out.resize(shape);
    for (std::int64_t pixel = 0; pixel < out.size() / channels; ++pixel)
      std::copy_n(output.data() + 2 * pixel * channels + first, channels, out.data() + pixel * channels);
  }

  const Network* network_;
  nn::Condition<T> condition_;
  double time_scale_;
  bool learns_variance_;
};

/// A network as a denoiser, by whichever method it was trained.
/// \tparam Network `forward(x, t, condition)`, as `zoo::Model` has it
template <class Network>
class DiffusionDenoiser {
 public:
  using T = typename Network::value_type;

  /// \param network   outlives this
  /// \param condition of each sample of the batches to come; empty: none has one
  DiffusionDenoiser(const Network& network, const DiffusionSettings& settings, nn::Condition<T> condition = {})
      : denoiser_(make(DiffusionNetwork<Network>(network, settings, std::move(condition)), settings)) {}

  /// \throw as the network; ValueError at a level where its answer says nothing of the picture
  void operator()(const Tensor<T>& x, const diffusion::NoiseLevel& level, Tensor<T>& x0) const {
    std::visit([&](const auto& denoiser) { denoiser(x, level, x0); }, denoiser_);
  }

  /// The same for some of the samples that the condition is for: `x` holds these. \throw ValueError where it is not for them
  void operator()(const Tensor<T>& x, const diffusion::NoiseLevel& level, Tensor<T>& x0,
                  const diffusion::SampleRange& samples) const {
    std::visit([&](const auto& denoiser) { denoiser(x, level, x0, samples); }, denoiser_);
  }

  /// The same, and what the network says of the variance, see `diffusion::VarianceType`.
  /// \throw ValueError where it has learned none, and as above
  void operator()(const Tensor<T>& x, const diffusion::NoiseLevel& level, Tensor<T>& x0, Tensor<T>& v) const {
    std::visit(
        [&](const auto& denoiser) {
          if constexpr (std::is_same_v<decltype(denoiser), const Predicting&>)
            denoiser(x, level, x0, v);
          else
            throw ValueError("diffusion network: expected one that learned the variance");
        },
        denoiser_);
  }

 private:
  using Predicting = diffusion::ModelDenoiser<DiffusionNetwork<Network>>;
  using Preconditioned = diffusion::EdmDenoiser<DiffusionNetwork<Network>>;
  using Either = std::variant<Predicting, Preconditioned>;

  static Either make(DiffusionNetwork<Network> network, const DiffusionSettings& settings) {
    if (settings.method == DiffusionMethod::edm)
      return Preconditioned(std::move(network), diffusion::Edm({.data_deviation = settings.data_deviation}));
    return Predicting(std::move(network), settings.method == DiffusionMethod::flow ? diffusion::Prediction::velocity
                                                                                   : settings.prediction);
  }

  Either denoiser_;
};

/// The model of a checkpoint, with the weights held ready for many passes.
template <class T>
class DiffusionModel {
 public:
  using Denoiser = DiffusionDenoiser<zoo::Model<T>>;

  /// \param averaged the averaged weights; false: the last ones
  /// \throw FormatError naming the file where it holds no diffusion model or its weights do not fit
  explicit DiffusionModel(const Checkpoint& checkpoint, bool averaged = true)
      : settings_(read(checkpoint)), network_(checkpoint.model_settings()) {
    checkpoint.load_weights(network_, averaged);
    nn::hold_weights(network_);
    const auto condition = zoo::condition_of(zoo::read_settings(checkpoint.model_settings()));
    if (condition.kind == nn::ConditionKind::classes) classes_ = condition.inputs;
  }

  [[nodiscard]] const DiffusionSettings& settings() const noexcept { return settings_; }
  [[nodiscard]] const zoo::Model<T>& network() const noexcept { return network_; }
  /// Classes that it can be told; 0: it is told nothing.
  [[nodiscard]] std::int64_t classes() const noexcept { return classes_; }

  /// What the network puts out for a batch in which each sample has its own timestep: what
  /// `diffusion::BoundEstimate` asks for. Of the method ddpm.
  /// \param x [N, H, W, C] \param timesteps [N] \return [N, H, W, C], with a learned variance [N, H, W, 2 C]
  /// \throw as the network
  [[nodiscard]] Tensor<T> output(const Tensor<T>& x, Tensor<T> timesteps, const nn::Condition<T>& condition = {}) const {
    for (T& time : timesteps) time *= static_cast<T>(settings_.time_scale);
    return network_.forward(x, timesteps, condition);
  }

  /// \param condition of each sample of the batches to come; empty: none has one. The model outlives the denoiser.
  [[nodiscard]] Denoiser denoiser(nn::Condition<T> condition = {}) const {
    return {network_, settings_, std::move(condition)};
  }

 private:
  static DiffusionSettings read(const Checkpoint& checkpoint) {
    try {
      // The network's own settings are refused with the file's name here, too.
      const auto network = zoo::read_settings(checkpoint.model_settings());
      DiffusionSettings settings = diffusion_settings_of(checkpoint.model_settings());
      if (zoo::picture_channels(network) != settings.channels)
        throw FormatError("expected a network of " + std::to_string(settings.channels) + " channels, got " +
                          std::to_string(zoo::picture_channels(network)));
      return settings;
    } catch (const Error& error) { throw FormatError(checkpoint.path() + ": " + error.what()); }
  }

  DiffusionSettings settings_;
  zoo::Model<T> network_;
  std::int64_t classes_ = 0;
};

}  // namespace easy_diffusion::train
