/// \file
/// Reads trajectories and bounds of the discrete chain: the project's own golden values, and those of the original that may
/// lie beside a checkout. Both have the same tensors, the former with a prefix.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/diffusion/denoiser.hpp"
#include "easy_diffusion/diffusion/noise_level.hpp"
#include "easy_diffusion/diffusion/schedule.hpp"
#include "easy_diffusion/io/safetensors.hpp"

namespace easy_diffusion::test {

/// Tensors of a file whose names begin with a prefix.
class Reference {
 public:
  explicit Reference(const std::filesystem::path& path, std::string prefix = "")
      : file_(io::SafetensorsFile::open(path)), prefix_(std::move(prefix)) {}

  [[nodiscard]] Tensor<double> read(const std::string& name) const { return file_.read<double>(prefix_ + name); }
  [[nodiscard]] bool contains(const std::string& name) const { return file_.contains(prefix_ + name); }

  /// Whole numbers, also where they are stored as floating-point ones.
  [[nodiscard]] std::vector<std::int64_t> whole(const std::string& name) const {
    std::vector<std::int64_t> result;
    if (file_.dtype(prefix_ + name) == io::ElementType::f64) {
      for (const double value : read(name)) result.push_back(static_cast<std::int64_t>(value));
    } else {
      for (const std::int64_t value : file_.read<std::int64_t>(prefix_ + name)) result.push_back(value);
    }
    return result;
  }

  /// Part i of a tensor [parts, ...].
  [[nodiscard]] Tensor<double> part(const std::string& name, std::int64_t i) const {
    const Tensor<double> all = read(name);
    Shape shape;
    for (std::size_t axis = 1; axis < all.shape().rank(); ++axis) shape.push_back(all.extent(axis));
    Tensor<double> result(shape);
    for (std::int64_t k = 0; k < result.size(); ++k) result[k] = all[i * result.size() + k];
    return result;
  }

 private:
  io::SafetensorsFile file_;
  std::string prefix_;
};

/// The levels of a run along rising timesteps.
inline diffusion::NoiseLevels levels_along(const diffusion::Schedule& schedule,
                                           const std::vector<std::int64_t>& timesteps) {
  std::vector<diffusion::NoiseLevel> levels;
  for (auto t = timesteps.rbegin(); t != timesteps.rend(); ++t) levels.push_back(schedule.level(*t));
  levels.push_back(schedule.level(-1));
  return diffusion::NoiseLevels(std::move(levels));
}

/// The model of the reference trajectories: eps(x, t) = 0.7 tanh(x) + 0.1 cos(t / 150).
inline auto reference_denoiser() {
  return diffusion::make_denoiser(
      [](const auto& x, double time, auto& out) {
        sde::for_each_element(
            [time](auto& e, const auto& state) {
              using T = std::remove_reference_t<decltype(e)>;
              e = static_cast<T>(0.7 * std::tanh(static_cast<double>(state)) + 0.1 * std::cos(time / 150));
            },
            out, x);
      },
      diffusion::Prediction::epsilon);
}

}  // namespace easy_diffusion::test
