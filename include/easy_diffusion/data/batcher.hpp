/// \file
/// Batches of a data set, each a pure function of (seed, epoch, number of the batch): a resumed training goes on with
/// the batch it would have had.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/data/augmentation.hpp"
#include "easy_diffusion/data/image_dataset.hpp"

namespace easy_diffusion::data {

/// What the bytes 0 to 255 become.
enum class PixelRange {
  zero_to_one,       ///< b / 255
  minus_one_to_one,  ///< b / 127.5 - 1
};

struct BatcherOptions {
  std::int64_t batch_size = 128;
  std::uint64_t seed = 0;
  bool shuffle = true;
  bool drop_last = false;  ///< leave out the short batch at the end of an epoch
  bool mirror = false;     ///< mirror half of the pictures, others in each epoch
  std::int64_t shift = 0;  ///< move each picture by up to that many pixels each way, anew in each epoch
  PixelRange range = PixelRange::zero_to_one;
};

/// Where a training step stands.
struct BatchPosition {
  std::int64_t epoch = 0;
  std::int64_t batch = 0;  ///< within the epoch
  friend bool operator==(const BatchPosition&, const BatchPosition&) = default;
};

/// Serves batches of a data set that it does not own. It keeps the order of the epoch last asked for: one thread uses
/// one batcher.
class Batcher {
 public:
  /// \throw FormatError for an empty or malformed data set
  /// \throw ValueError unless batch_size >= 1, and at most the size of the set where short batches are dropped, and
  ///        0 <= shift < height and width
  explicit Batcher(const ImageDataset& dataset, const BatcherOptions& options = {})
      : dataset_(&dataset), options_(options) {
    dataset.validate();
    if (dataset.size() > static_cast<std::int64_t>(UINT32_MAX))
      throw ValueError("batcher: expected fewer than 2^32 pictures, got " + std::to_string(dataset.size()));
    if (options.batch_size < 1)
      throw ValueError("batcher: batch size: expected at least 1, got " + std::to_string(options.batch_size));
    if (options.shift < 0 || options.shift >= std::min(dataset.height(), dataset.width()))
      throw ValueError("batcher: shift: expected 0 to " +
                       std::to_string(std::min(dataset.height(), dataset.width()) - 1) + ", got " +
                       std::to_string(options.shift));
    if (batches_per_epoch() == 0)
      throw ValueError("batcher: batch size: expected at most the " + std::to_string(dataset.size()) +
                       " pictures there are, got " + std::to_string(options.batch_size));
  }
  Batcher(ImageDataset&& temporary, const BatcherOptions& options = {}) = delete;

  [[nodiscard]] const ImageDataset& dataset() const noexcept { return *dataset_; }
  [[nodiscard]] const BatcherOptions& options() const noexcept { return options_; }

  [[nodiscard]] std::int64_t batches_per_epoch() const noexcept {
    return options_.drop_last ? dataset_->size() / options_.batch_size : (dataset_->size() - 1) / options_.batch_size + 1;
  }

  /// Pictures in batch number `batch` of any epoch.
  [[nodiscard]] std::int64_t size_of(std::int64_t batch) const noexcept {
    return std::min(options_.batch_size, dataset_->size() - batch * options_.batch_size);
  }

  /// The batch of training step `step`, counted from 0 over all epochs.
  [[nodiscard]] BatchPosition at(std::int64_t step) const noexcept {
    return {step / batches_per_epoch(), step % batches_per_epoch()};
  }

  /// Numbers of the pictures in a batch; valid until another epoch is asked for.
  /// \throw ValueError unless 0 <= epoch < 2^32 and 0 <= batch < batches_per_epoch()
  [[nodiscard]] std::span<const std::uint32_t> indices(BatchPosition position) {
    if (position.epoch < 0 || position.epoch > static_cast<std::int64_t>(UINT32_MAX))
      throw ValueError("batcher: epoch: expected 0 to 2^32 - 1, got " + std::to_string(position.epoch));
    if (position.batch < 0 || position.batch >= batches_per_epoch())
      throw ValueError("batcher: batch: expected 0 to " + std::to_string(batches_per_epoch() - 1) + ", got " +
                       std::to_string(position.batch));
    // Without shuffling the order of every epoch is that of the first.
    const std::int64_t wanted = options_.shuffle ? position.epoch : 0;
    if (order_epoch_ != wanted) {
      const auto count = static_cast<std::uint32_t>(dataset_->size());
      if (options_.shuffle) {
        order_ = random_permutation(count, {options_.seed, streams::data_order, static_cast<std::uint32_t>(wanted)});
      } else {
        order_.resize(count);
        for (std::uint32_t i = 0; i < count; ++i) order_[i] = i;
      }
      order_epoch_ = wanted;
    }
    return std::span<const std::uint32_t>(order_).subspan(
        static_cast<std::size_t>(position.batch * options_.batch_size),
        static_cast<std::size_t>(size_of(position.batch)));
  }

  /// Fills a batch.
  /// \param[out] images [B, H, W, C], made that shape; B is smaller in a short last batch
  /// \param[out] labels [B], where given
  /// \throw ValueError as `indices` does, or for labels that the set does not have
  template <class T>
  void fill(BatchPosition position, Tensor<T>& images, std::vector<std::int64_t>* labels = nullptr) {
    static_assert(std::is_floating_point_v<T>);
    const std::span<const std::uint32_t> chosen = indices(position);
    if (labels != nullptr && dataset_->labels.empty())
      throw ValueError("batcher: " + dataset_->name + " has no labels");
    const Shape& shape = dataset_->images.shape();
    const std::int64_t pixels = shape[1] * shape[2] * shape[3];
    images.resize(shape.with_front(static_cast<std::int64_t>(chosen.size())));
    const bool symmetric = options_.range == PixelRange::minus_one_to_one;
    parallel_for(0, static_cast<std::int64_t>(chosen.size()), 16, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) {
        const std::int64_t index = chosen[static_cast<std::size_t>(i)];
        const std::uint8_t* from = dataset_->images.data() + index * pixels;
        T* to = images.data() + i * pixels;
        // One rounding each, so that 0 and 255 meet the ends of the range exactly.
        for (std::int64_t j = 0; j < pixels; ++j) {
          const int byte = from[j];
          to[j] = symmetric ? static_cast<T>(2 * byte - 255) / T{255} : static_cast<T>(byte) / T{255};
        }
        const auto epoch = static_cast<std::uint32_t>(position.epoch);
        if (options_.mirror && is_mirrored(options_.seed, epoch, index)) mirror(to, shape[1], shape[2], shape[3]);
        if (options_.shift > 0)
          move_picture(to, shape[1], shape[2], shape[3], shift_of(options_.seed, epoch, index, options_.shift));
      }
    });
    if (labels == nullptr) return;
    labels->clear();
    for (const std::uint32_t index : chosen) labels->push_back(dataset_->labels[index]);
  }

  /// The same for a training step counted from 0 over all epochs.
  template <class T>
  void fill(std::int64_t step, Tensor<T>& images, std::vector<std::int64_t>* labels = nullptr) {
    fill(at(step), images, labels);
  }

 private:
  const ImageDataset* dataset_;
  BatcherOptions options_;
  std::vector<std::uint32_t> order_;
  std::int64_t order_epoch_ = -1;
};

}  // namespace easy_diffusion::data
