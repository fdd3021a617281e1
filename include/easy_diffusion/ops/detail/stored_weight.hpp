/// \file
/// A weight as kernels take it: where its elements lie, and where its layouts are kept.
#pragma once

#include <cstdint>

#include "easy_diffusion/core/detail/isa.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/ops/weight_store.hpp"

namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail {

/// Where element (tap, channel, column) of B lies: `tap * tap_stride + channel * channel_stride + column *
/// column_stride`.
struct PanelStrides {
  std::int64_t tap, channel, column;
};

/// A weight, and the store that keeps its layouts, where there is one.
template <class T>
struct StoredWeight {
  const T* data;
  WeightStore<T>* store = nullptr;

  StoredWeight(const T* weight, WeightStore<T>* layouts = nullptr) : data(weight), store(layouts) {}

  /// What `make()` returns for a product of that many taps, channels and columns, kept where there is a store.
  template <class Make>
  [[nodiscard]] SharedTensor<T> laid_out(WeightLayout layout, std::int64_t taps, std::int64_t channels,
                                         std::int64_t columns, PanelStrides strides, bool flipped, Make&& make) const {
    if (store == nullptr) return make();
    return store->get({.kernels = &easy_diffusion::detail::isa_mark,
                       .weight = data,
                       .layout = layout,
                       .flipped = flipped,
                       .extents = {taps, channels, columns},
                       .strides = {strides.tap, strides.channel, strides.column}},
                      make);
  }
};

}  // namespace easy_diffusion::ops::inline EASY_DIFFUSION_ISA::detail
