/// \file
/// Keeps a weight in the layouts that kernels want it in, for as long as it does not change.
#pragma once

#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "easy_diffusion/core/tensor.hpp"

namespace easy_diffusion::ops {

/// A layer that runs many times with one weight (sampling) hands its store to the operations: a layout that one of them makes
/// is then found again by the next call. Nothing here notices a weight that has changed: `clear` says so. Several threads may
/// ask at the same time.
template <class T>
class WeightStore {
 public:
  /// The tensor of that key, made by `make()` where it is not there yet. \return a second owner of it
  template <class Make>
  SharedTensor<T> get(std::uint64_t key, Make&& make) {
    const std::lock_guard lock(mutex_);
    for (const auto& [known, tensor] : layouts_)
      if (known == key) return tensor;
    layouts_.emplace_back(key, make());
    return layouts_.back().second;
  }

  void clear() {
    const std::lock_guard lock(mutex_);
    layouts_.clear();
  }

 private:
  std::mutex mutex_;
  std::vector<std::pair<std::uint64_t, SharedTensor<T>>> layouts_;
};

/// What `make()` returns, kept where there is a store.
template <class T, class Make>
SharedTensor<T> stored_layout(WeightStore<T>* store, std::uint64_t key, Make&& make) {
  return store != nullptr ? store->get(key, make) : make();
}
}  // namespace easy_diffusion::ops
