/// \file
/// Weights of whole models in safetensors files, and pictures in the layout of such files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/io/safetensors.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/state_dict.hpp"

namespace easy_diffusion::zoo {

namespace detail {

/// The one entry that PyTorch keeps as a whole number: how many batches a BatchNorm has seen.
inline bool is_counter(std::string_view name) { return name.ends_with("num_batches_tracked"); }

}  // namespace detail

[[nodiscard]] inline bool is_integer(io::ElementType type) {
  using enum io::ElementType;
  return type == u8 || type == i8 || type == u16 || type == i16 || type == u32 || type == i32 || type == u64 ||
         type == i64;
}

/// Sets a model from a file named and laid out as PyTorch's state_dict; float types are converted. All or nothing.
/// \throw FormatError naming the file and every missing, unexpected and misshapen tensor; or a tensor of another type,
///        or with NaN or infinity
template <class M>
void load_weights(M& model, const io::SafetensorsFile& file) {
  using T = typename M::value_type;
  std::set<std::string> wanted;
  nn::for_each_parameter(
      model, [&](const std::string& name, const nn::Parameter<T>&, const nn::Entry&) { wanted.insert(name); });
  std::map<std::string, Tensor<T>> tensors;
  for (const std::string& name : file.names()) {
    if (!wanted.contains(name)) {
      tensors[name] = Tensor<T>();  // is named as one too many, whatever it holds
    } else if (detail::is_counter(name) && is_integer(file.dtype(name))) {
      const auto counter = file.read<std::int64_t>(name);
      tensors[name] = Tensor<T>::copy_of(counter.view());
    } else {
      tensors[name] = file.read<T>(name, io::Finite::required);
    }
  }
  try {
    nn::load_state_dict(model, tensors);
  } catch (const FormatError& error) { throw FormatError(file.path() + ": " + error.what()); }
}

/// Writes a model's weights as PyTorch's `load_state_dict(strict=True)` takes them. \throw IoError
template <class M>
void save_weights(const std::filesystem::path& path, const M& model, const io::Metadata& metadata = {}) {
  const auto tensors = nn::state_dict(model);
  std::vector<Tensor<std::int64_t>> counters;
  counters.reserve(tensors.size());  // entries point into it
  std::vector<io::SafetensorsEntry> entries;
  for (const auto& [name, value] : tensors) {
    if (detail::is_counter(name)) {
      counters.push_back(Tensor<std::int64_t>::copy_of(value.view()));
      entries.emplace_back(name, counters.back());
    } else {
      entries.emplace_back(name, value);
    }
  }
  io::write_safetensors(path, entries, metadata);
}

/// [N, C, H, W], as PyTorch has pictures, to [N, H, W, C]. \throw ShapeError for another rank
template <class T>
[[nodiscard]] Tensor<T> channels_last(const Tensor<T>& x) {
  expect_rank("pictures", 4, "[N, C, H, W]", x.shape());
  const std::int64_t channels = x.extent(1);
  const std::int64_t pixels = x.extent(2) * x.extent(3);
  Tensor<T> y = Tensor<T>::uninitialized(Shape{x.extent(0), x.extent(2), x.extent(3), channels});
  for (std::int64_t n = 0; n < x.extent(0); ++n)
    for (std::int64_t c = 0; c < channels; ++c)
      for (std::int64_t i = 0; i < pixels; ++i)
        y[(n * pixels + i) * channels + c] = x[(n * channels + c) * pixels + i];
  return y;
}

/// [N, H, W, C] to [N, C, H, W]. \throw ShapeError for another rank
template <class T>
[[nodiscard]] Tensor<T> channels_first(const Tensor<T>& x) {
  expect_rank("pictures", 4, "[N, H, W, C]", x.shape());
  const std::int64_t channels = x.extent(3);
  const std::int64_t pixels = x.extent(1) * x.extent(2);
  Tensor<T> y = Tensor<T>::uninitialized(Shape{x.extent(0), channels, x.extent(1), x.extent(2)});
  for (std::int64_t n = 0; n < x.extent(0); ++n)
    for (std::int64_t i = 0; i < pixels; ++i)
      for (std::int64_t c = 0; c < channels; ++c)
        y[(n * channels + c) * pixels + i] = x[(n * pixels + i) * channels + c];
  return y;
}

}  // namespace easy_diffusion::zoo
