/// \file
/// Animated GIF (version 89a): https://www.w3.org/Graphics/GIF/spec-gif89a.txt.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gif_lib.h>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/shape.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/core/view.hpp"
#include "easy_diffusion/io/atomic_file.hpp"
#include "easy_diffusion/io/detail/array_view.hpp"
#include "easy_diffusion/io/detail/palette.hpp"
#include "easy_diffusion/io/image.hpp"

namespace easy_diffusion::io {

/// How `save_gif` plays. Delays in hundredths of a second, 0 to 65535; browsers play 0 and 1 as 10.
struct GifOptions {
  int delay = 5;     ///< of each frame
  int hold = -1;     ///< of the last frame; -1: as the others
  bool loop = true;  ///< for ever, or once
};

namespace detail {

/// giflib's writer, writing into an atomic file. A C library stands between the two: what the file throws is
/// kept and thrown again on this side.
class GifEncoder {
 public:
  explicit GifEncoder(const std::filesystem::path& path) : name_(path.string()), out_(path) {
    int error = 0;
    gif_ = EGifOpen(this, &GifEncoder::append, &error);
    if (gif_ == nullptr) throw IoError(name_ + ": cannot start the GIF encoder");
    EGifSetGifVersion(gif_, true);
  }
  GifEncoder(const GifEncoder&) = delete;
  GifEncoder& operator=(const GifEncoder&) = delete;
  ~GifEncoder() {
    int error = 0;
    if (gif_ != nullptr) EGifCloseFile(gif_, &error);
  }

  void start(int width, int height, const ColorMapObject* palette, bool loop) {
    check(EGifPutScreenDesc(gif_, width, height, 8, 0, palette));
    if (!loop) return;
    static constexpr std::array<GifByteType, 3> for_ever{1, 0, 0};
    check(EGifPutExtensionLeader(gif_, APPLICATION_EXT_FUNC_CODE));
    check(EGifPutExtensionBlock(gif_, 11, "NETSCAPE2.0"));
    check(EGifPutExtensionBlock(gif_, static_cast<int>(for_ever.size()), for_ever.data()));
    check(EGifPutExtensionTrailer(gif_));
  }

  void frame(std::span<std::uint8_t> index, int width, int height, const ColorMapObject* palette, int delay) {
    GraphicsControlBlock control{};
    control.DisposalMode = DISPOSE_DO_NOT;
    control.DelayTime = delay;
    control.TransparentColor = NO_TRANSPARENT_COLOR;
    std::array<GifByteType, 4> bytes{};
    EGifGCBToExtension(&control, bytes.data());
    check(EGifPutExtension(gif_, GRAPHICS_EXT_FUNC_CODE, static_cast<int>(bytes.size()), bytes.data()));
    check(EGifPutImageDesc(gif_, 0, 0, width, height, false, palette));
    check(EGifPutLine(gif_, index.data(), width * height));
  }

  void finish() {
    int error = 0;
    const int status = EGifCloseFile(gif_, &error);
    gif_ = nullptr;
    check(status);
    flush();
    out_.commit();
  }

 private:
  static int append(GifFileType* gif, const GifByteType* bytes, int count) {
    auto& self = *static_cast<GifEncoder*>(gif->UserData);
    try {
      const auto* first = reinterpret_cast<const std::byte*>(bytes);
      self.buffer_.insert(self.buffer_.end(), first, first + count);  // giflib writes a few bytes at a time
      if (self.buffer_.size() >= (std::size_t{1} << 16)) self.flush();
      return count;
    } catch (...) {
      if (!self.error_) self.error_ = std::current_exception();
      return 0;
    }
  }
  void flush() {
    out_.write(buffer_);
    buffer_.clear();
  }
  void check(int status) {
    if (error_) std::rethrow_exception(error_);
    if (status != GIF_OK) throw IoError(name_ + ": cannot write: the GIF encoder failed");
  }

  std::string name_;
  AtomicFile out_;
  std::vector<std::byte> buffer_;
  std::exception_ptr error_;
  GifFileType* gif_ = nullptr;
};

struct FreeColorMap {
  void operator()(ColorMapObject* map) const noexcept { GifFreeMapObject(map); }
};
using ColorMap = std::unique_ptr<ColorMapObject, FreeColorMap>;

/// giflib wants a power of two; what is left over is black.
inline ColorMap make_color_map(std::span<const Colour> palette) {
  int size = 2;
  while (size < static_cast<int>(palette.size())) size *= 2;
  ColorMap map(GifMakeMapObject(size, nullptr));
  if (map == nullptr) throw Error("GIF: no memory for a palette");
  std::fill_n(map->Colors, size, GifColorType{0, 0, 0});
  for (std::size_t i = 0; i < palette.size(); ++i) map->Colors[i] = {palette[i][0], palette[i][1], palette[i][2]};
  return map;
}

}  // namespace detail

/// Writes frames as an animation, atomically (see `AtomicFile`). Grey frames keep all their 256 values; each
/// colour frame has a palette of its own, exact up to 256 colours and by median cut above. \param frames [F,
/// H, W, C], F >= 1, C = 1 or 3, H and W up to 65535; bytes, or numbers in [0, 1], clamped and rounded \throw
/// ShapeError for another shape \throw ValueError for NaN or a delay out of range \throw IoError naming the
/// file and the reason
template <detail::Array A>
void save_gif(const std::filesystem::path& path, const A& frames, const GifOptions& options = {}) {
  const auto view = detail::read_only(frames);
  const Shape& shape = view.shape();
  expect_rank("GIF", 4, "[F, H, W, C]", shape);
  if (view.size() == 0 || shape[1] > 65535 || shape[2] > 65535 || (shape[3] != 1 && shape[3] != 3) ||
      shape[1] * shape[2] > (std::int64_t{1} << 30))
    throw ShapeError("GIF: expected [F, H, W, C] with at least one frame, sides up to 65535 and 1 or 3 channels, got " +
                     shape.to_string());
  if (options.delay < 0 || options.delay > 65535)
    throw ValueError("GIF: delay: expected 0 to 65535 hundredths of a second, got " + std::to_string(options.delay));
  if (options.hold < -1 || options.hold > 65535)
    throw ValueError("GIF: hold: expected -1 to 65535 hundredths of a second, got " + std::to_string(options.hold));

  const auto height = static_cast<int>(shape[1]);
  const auto width = static_cast<int>(shape[2]);
  const bool grey = shape[3] == 1;
  detail::ColorMap greys;
  if (grey) {
    std::vector<detail::Colour> levels(256);
    for (std::size_t i = 0; i < levels.size(); ++i) levels[i].fill(static_cast<std::uint8_t>(i));
    greys = detail::make_color_map(levels);
  }
  detail::GifEncoder encoder(path);
  encoder.start(width, height, greys.get(), options.loop);
  for (std::int64_t n = 0; n < shape[0]; ++n) {
    Tensor<std::uint8_t> pixels = to_bytes(view.slice(n, 1));
    const int delay = n + 1 == shape[0] && options.hold >= 0 ? options.hold : options.delay;
    if (grey) {
      encoder.frame(pixels.span(), width, height, nullptr, delay);
    } else {
      detail::IndexedPicture picture = detail::to_palette(pixels.span());
      const detail::ColorMap palette = detail::make_color_map(picture.palette);
      encoder.frame(picture.index, width, height, palette.get(), delay);
    }
  }
  encoder.finish();
}

}  // namespace easy_diffusion::io
