/// \file
/// Keeps a weight in the layouts that kernels want it in, for as long as it does not change.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "easy_diffusion/core/tensor.hpp"

namespace easy_diffusion::ops {

/// What a kernel makes of a weight before it multiplies.
enum class WeightLayout : std::uint8_t { panels, dot, winograd_2, winograd_4, strided_2, strided_4, strided_5 };

/// Everything but the weight's elements that a layout depends on: two products have a layout in common only where all of it
/// is the same.
struct WeightKey {
  const void* kernels;  ///< the unit's kernels: others have other lanes (`detail::isa_mark`)
  const void* weight;   ///< the first element
  WeightLayout layout;
  bool flipped;                         ///< taps count backwards
  std::array<std::int64_t, 3> extents;  ///< taps, channels and columns of the product
  std::array<std::int64_t, 3> strides;  ///< of each in the weight: which of its axes is summed over

  friend bool operator==(const WeightKey&, const WeightKey&) = default;
};

/// A layer that runs many times with one weight (sampling) hands its store to the operations: a layout that one of them makes
/// is then found again by the next call. Nothing here notices a weight that has changed: `clear` says so. Several threads may
/// ask at the same time, and none waits for another: a layout that two of them make at once is kept once.
template <class T>
class WeightStore {
 public:
  WeightStore() = default;
  WeightStore(const WeightStore&) = delete;
  WeightStore& operator=(const WeightStore&) = delete;
  ~WeightStore() { clear(); }

  /// The tensor of that key, made by `make()` where it is not there yet. \return a second owner of it
  template <class Make>
  SharedTensor<T> get(const WeightKey& key, Make&& make) {
    // A list that only grows, without a lock: a process that forks leaves none locked in its child.
    Entry* first = first_.load(std::memory_order_acquire);
    if (Entry* found = find(first, key)) return found->tensor;
    std::unique_ptr<Entry> fresh(new Entry{key, make(), nullptr});
    do {
      if (Entry* found = find(first, key)) return found->tensor;
      fresh->next = first;
    } while (!first_.compare_exchange_weak(first, fresh.get(), std::memory_order_acq_rel, std::memory_order_acquire));
    return fresh.release()->tensor;
  }

  /// Forgets all. \pre nobody asks meanwhile, as nobody may while a weight changes
  void clear() noexcept {
    for (Entry* entry = first_.exchange(nullptr, std::memory_order_acq_rel); entry != nullptr;)
      delete std::exchange(entry, entry->next);
  }

 private:
  struct Entry {
    WeightKey key;
    SharedTensor<T> tensor;
    Entry* next;
  };

  static Entry* find(Entry* entry, const WeightKey& key) noexcept {
    while (entry != nullptr && !(entry->key == key)) entry = entry->next;
    return entry;
  }

  std::atomic<Entry*> first_{nullptr};
};

}  // namespace easy_diffusion::ops
