/// \file
/// A caching allocator: blocks of 64-byte aligned memory that are kept and handed out again, so that
/// a training or sampling loop asks the operating system for nothing after its first step.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace easy_diffusion {

/// What the cache has done so far; `system_allocations` stands still in a loop that does not allocate.
struct AllocatorStats {
  std::uint64_t system_allocations = 0;  ///< blocks asked of the operating system
  std::uint64_t cache_hits = 0;          ///< blocks handed out again
  std::uint64_t bytes_in_use = 0;        ///< bytes held by living tensors (rounded to block sizes)
  std::uint64_t bytes_peak = 0;          ///< largest `bytes_in_use` so far
  std::uint64_t bytes_cached = 0;        ///< bytes waiting to be handed out again
};

namespace detail {

inline constexpr std::size_t alignment = 64;

/// Thread-safe; the process has one. Block sizes are powers of two cut in eight steps, so a block is at
/// most 1/8 larger than what was asked for.
class CachingAllocator {
 public:
  /// False under the address sanitizer, which must see every free.
#if defined(__SANITIZE_ADDRESS__)
  static constexpr bool keeps_blocks = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
  static constexpr bool keeps_blocks = false;
#else
  static constexpr bool keeps_blocks = true;
#endif
#else
  static constexpr bool keeps_blocks = true;
#endif

  static CachingAllocator& instance() {
    // Never destroyed: tensors with static storage may be freed after everything else.
    static CachingAllocator* allocator = new CachingAllocator;
    return *allocator;
  }

  CachingAllocator() {
#if defined(__unix__) || defined(__APPLE__)
    // A process that forks holds the lock meanwhile: its child has only the thread that forked, and would wait for ever
    // for a lock that another thread held.
    pthread_atfork([] { instance().mutex_.lock(); }, [] { instance().mutex_.unlock(); },
                   [] { instance().mutex_.unlock(); });
#endif
  }

  void* allocate(std::size_t bytes) {
    const std::size_t index = size_class(bytes);
    const std::size_t size = class_bytes(index);
    {
      const std::lock_guard lock(mutex_);
      stats_.bytes_in_use += size;
      if (stats_.bytes_in_use > stats_.bytes_peak) stats_.bytes_peak = stats_.bytes_in_use;
      auto& blocks = free_[index];
      if (!blocks.empty()) {
        void* block = blocks.back();
        blocks.pop_back();
        ++stats_.cache_hits;
        stats_.bytes_cached -= size;
        return block;
      }
      ++stats_.system_allocations;
      // Room for every block of this class, so that giving one back never allocates.
      ++live_[index];
      blocks.reserve(live_[index]);
    }
    try {
      return ::operator new(size, std::align_val_t(alignment));
    } catch (...) {
      const std::lock_guard lock(mutex_);
      stats_.bytes_in_use -= size;
      --stats_.system_allocations;
      --live_[index];
      throw;
    }
  }

  void deallocate(void* block, std::size_t bytes) noexcept {
    const std::size_t index = size_class(bytes);
    const std::size_t size = class_bytes(index);
    const std::lock_guard lock(mutex_);
    stats_.bytes_in_use -= size;
    if (keeps_blocks) {
      free_[index].push_back(block);
      stats_.bytes_cached += size;
    } else {
      --live_[index];
      ::operator delete(block, std::align_val_t(alignment));
    }
  }

  void release() noexcept {
    const std::lock_guard lock(mutex_);
    for (std::size_t index = 0; index < free_.size(); ++index) {
      for (void* block : free_[index]) ::operator delete(block, std::align_val_t(alignment));
      live_[index] -= free_[index].size();
      free_[index].clear();
    }
    stats_.bytes_cached = 0;
  }

  [[nodiscard]] AllocatorStats stats() const {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

  void reset_peak() {
    const std::lock_guard lock(mutex_);
    stats_.bytes_peak = stats_.bytes_in_use;
  }

 private:
  static constexpr std::size_t min_log2 = 6;

  static std::size_t size_class(std::size_t bytes) noexcept {
    if (bytes <= (std::size_t{1} << min_log2)) return 0;
    const auto log2 = static_cast<std::size_t>(std::bit_width(bytes - 1)) - 1;  // 2^log2 < bytes <= 2^(log2+1)
    const std::size_t step = (std::size_t{1} << log2) / 8;
    const std::size_t eighth = (bytes - (std::size_t{1} << log2) + step - 1) / step;  // 1..8
    return 1 + (log2 - min_log2) * 8 + (eighth - 1);
  }

  static std::size_t class_bytes(std::size_t index) noexcept {
    if (index == 0) return std::size_t{1} << min_log2;
    const std::size_t log2 = min_log2 + (index - 1) / 8;
    const std::size_t eighth = (index - 1) % 8 + 1;
    return (std::size_t{1} << log2) + eighth * ((std::size_t{1} << log2) / 8);
  }

  mutable std::mutex mutex_;
  AllocatorStats stats_;
  std::array<std::vector<void*>, 1 + (64 - min_log2) * 8> free_;
  std::array<std::size_t, 1 + (64 - min_log2) * 8> live_{};
};

}  // namespace detail

/// The cache as the allocator of a standard container.
template <class T>
struct CachedMemory {
  using value_type = T;

  CachedMemory() = default;
  template <class U>
  CachedMemory(const CachedMemory<U>&) noexcept {}

  [[nodiscard]] T* allocate(std::size_t n) {
    return static_cast<T*>(detail::CachingAllocator::instance().allocate(n * sizeof(T)));
  }
  void deallocate(T* memory, std::size_t n) noexcept {
    detail::CachingAllocator::instance().deallocate(memory, n * sizeof(T));
  }
  friend bool operator==(const CachedMemory&, const CachedMemory&) noexcept { return true; }
};

/// Counters of the process-wide cache.
[[nodiscard]] inline AllocatorStats allocator_stats() { return detail::CachingAllocator::instance().stats(); }

/// Sets `bytes_peak` to `bytes_in_use`, to measure one part of a program.
inline void reset_allocator_peak() { detail::CachingAllocator::instance().reset_peak(); }

/// Gives every cached block back to the operating system.
inline void release_cached_memory() noexcept { detail::CachingAllocator::instance().release(); }

}  // namespace easy_diffusion
