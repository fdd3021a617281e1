/// \file
/// What the sampling programs share: grids with a row a class, the film of a run, the files that they leave.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/io/gif.hpp"
#include "easy_diffusion/io/grid.hpp"
#include "easy_diffusion/io/image.hpp"
#include "easy_diffusion/io/npy.hpp"

namespace easy_diffusion::examples {

inline void copy_rows(const Tensor<float>& from, TensorView<float> to) {
  std::copy_n(from.data(), to.size(), to.data());
}

/// Which class each of a run's pictures is to have: picture after picture goes round those that are asked for.
struct ClassRound {
  std::vector<std::int64_t> classes;  ///< none: the model is told none
  std::int64_t first = 0;             ///< number of the run's first picture

  [[nodiscard]] std::int64_t count() const noexcept { return static_cast<std::int64_t>(classes.size()); }
  /// \pre there are classes
  [[nodiscard]] std::int64_t operator()(std::int64_t sample) const {
    return classes[static_cast<std::size_t>((first + sample) % count())];
  }
  /// Of samples `begin` to `begin + samples - 1`; none where there are no classes.
  [[nodiscard]] std::vector<std::int64_t> of(std::int64_t begin, std::int64_t samples) const {
    std::vector<std::int64_t> result;
    for (std::int64_t i = begin; !classes.empty() && i < begin + samples; ++i) result.push_back((*this)(i));
    return result;
  }
};

/// Pictures as one: about a square, or, where they go round `classes` classes, a row for each.
/// \param pictures [N, H, W, C] in [0, 1] \return [height, width, C]
inline Tensor<float> sample_grid(const Tensor<float>& pictures, std::int64_t classes, std::int64_t scale) {
  const std::int64_t count = pictures.extent(0);
  if (classes == 0) {
    const auto side = static_cast<std::int64_t>(std::ceil(std::sqrt(static_cast<double>(count))));
    return io::make_grid(pictures, {.columns = side, .padding = 2, .scale = scale});
  }
  // A run that begins amid the classes keeps its rows: the first row is that of the first picture.
  const std::int64_t columns = (count + classes - 1) / classes;
  const std::int64_t elements = pictures.size() / count;
  Tensor<float> ordered(pictures.shape().with_front(classes * columns), 1.0F);
  for (std::int64_t i = 0; i < count; ++i)
    std::copy_n(pictures.data() + i * elements, elements,
                ordered.data() + (i % classes * columns + i / classes) * elements);
  return io::make_grid(ordered, {.columns = columns, .padding = 2, .scale = scale});
}

/// Frames of a run, spread evenly over its steps, of what fits into a grid.
class Film {
 public:
  /// \param frames at most; 0: none \param steps of the run \param pictures [N, H, W, C]
  /// \param classes that the pictures go round; 0: none
  Film(std::int64_t frames, std::int64_t steps, const Shape& pictures, std::int64_t classes)
      : steps_(steps), classes_(classes), shown_(std::min<std::int64_t>(pictures[0], classes > 0 ? 8 * classes : 64)) {
    if (frames > 0)
      frames_.assign(static_cast<std::size_t>(std::min(frames, steps)), Tensor<float>(pictures.with_front(shown_)));
  }

  /// To be called at the beginning of each batch. \param begin number of its first picture
  void begin_batch(std::int64_t begin) noexcept {
    begin_ = begin;
    next_ = 0;
  }

  /// \param make the pictures of the batch, [B, H, W, C] in [0, 1], called where a frame is due
  template <class Make>
  void record(std::int64_t step, Make&& make) {
    const double part = static_cast<double>(step) / static_cast<double>(steps_);
    // Frame k of F is the first state at or after the share k / (F - 1) of the steps.
    while (next_ < frames_.size() && static_cast<double>(next_) <= part * static_cast<double>(frames_.size() - 1) + 1e-9) {
      if (begin_ < shown_) {
        const Tensor<float> pictures = make();
        const std::int64_t rows = std::min(pictures.extent(0), shown_ - begin_);
        copy_rows(pictures, frames_[next_].view().slice(begin_, rows));
      }
      ++next_;
    }
  }

  /// Writes the animation; nothing where there are no frames.
  void save(const std::filesystem::path& path) const {
    if (frames_.empty()) return;
    const Shape s = sample_grid(frames_[0], classes_, 2).shape();
    auto animation = Tensor<float>::uninitialized({static_cast<std::int64_t>(frames_.size()), s[0], s[1], s[2]});
    for (std::size_t k = 0; k < frames_.size(); ++k)
      copy_rows(sample_grid(frames_[k], classes_, 2), animation.view().slice(static_cast<std::int64_t>(k), 1));
    io::save_gif(path, animation, {.delay = 6, .hold = 200});
  }

 private:
  std::int64_t steps_, classes_, shown_;
  std::vector<Tensor<float>> frames_;
  std::int64_t begin_ = 0;
  std::size_t next_ = 0;
};

/// samples.npy, samples.png and, where classes are told, labels.npy.
/// \param who begins the message \throw ValueError where the pictures are not finite
inline void save_samples(const std::filesystem::path& folder, const std::string& who, const Tensor<float>& pictures,
                         const ClassRound& classes) {
  for (const float v : pictures)
    if (!std::isfinite(v)) throw ValueError(who + ": the model's samples are not finite numbers");
  const std::int64_t samples = pictures.extent(0);
  io::write_npy(folder / "samples.npy", pictures);
  if (classes.count() > 0) {
    Tensor<std::int64_t> labels = Tensor<std::int64_t>::uninitialized(Shape{samples});
    for (std::int64_t i = 0; i < samples; ++i) labels[i] = classes(i);
    io::write_npy(folder / "labels.npy", labels);
  }
  io::save_png(folder / "samples.png", sample_grid(pictures, classes.count(), samples <= 256 ? 2 : 1));
}

}  // namespace easy_diffusion::examples
