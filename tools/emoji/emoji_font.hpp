/// \file
/// A font of colour bitmaps, such as Noto Color Emoji.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include <ft2build.h>
#include FT_FREETYPE_H

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"

#include "emoji/emoji_list.hpp"

namespace easy_diffusion::emoji {

class EmojiFont {
 public:
  /// \throw IoError where there is no such file \throw FormatError where it is no font of colour bitmaps
  explicit EmojiFont(const std::filesystem::path& path) : path_(path.string()) {
    expect_file(path, "fonts-noto-color-emoji");
    if (FT_Init_FreeType(&library_) != 0) throw Error("FreeType does not start");
    try {
      if (FT_New_Face(library_, path.c_str(), 0, &face_) != 0) throw FormatError(path_ + ": expected a font");
      if (!FT_HAS_COLOR(face_) || face_->num_fixed_sizes < 1)
        throw FormatError(path_ + ": expected a font of colour bitmaps, got one without");
      const FT_Bitmap_Size* sizes = face_->available_sizes;
      const auto* largest = std::max_element(sizes, sizes + face_->num_fixed_sizes,
                                             [](const auto& a, const auto& b) { return a.y_ppem < b.y_ppem; });
      if (FT_Select_Size(face_, static_cast<FT_Int>(largest - sizes)) != 0)
        throw FormatError(path_ + ": its largest size cannot be chosen");
    } catch (...) {
      FT_Done_FreeType(library_);
      throw;
    }
  }
  EmojiFont(const EmojiFont&) = delete;
  EmojiFont& operator=(const EmojiFont&) = delete;
  ~EmojiFont() { FT_Done_FreeType(library_); }  // and the font with it

  /// The picture of a character on white, or nothing where the font has none.
  /// \return [height, width, 3], 0 to 1 \throw FormatError where it is not a colour bitmap
  [[nodiscard]] std::optional<Tensor<float>> picture(std::uint32_t code) {
    const FT_UInt glyph = FT_Get_Char_Index(face_, code);
    if (glyph == 0) return {};
    const FT_Bitmap& bitmap = face_->glyph->bitmap;
    if (FT_Load_Glyph(face_, glyph, FT_LOAD_COLOR | FT_LOAD_RENDER) != 0 || bitmap.pixel_mode != FT_PIXEL_MODE_BGRA ||
        bitmap.rows == 0 || bitmap.width == 0)
      throw FormatError(path_ + ": character " + std::to_string(code) + ": expected a colour bitmap");
    auto result = Tensor<float>::uninitialized({bitmap.rows, bitmap.width, 3});
    float* out = result.data();
    for (unsigned y = 0; y < bitmap.rows; ++y) {
      const unsigned char* in = bitmap.buffer + static_cast<std::ptrdiff_t>(y) * bitmap.pitch;
      for (unsigned x = 0; x < bitmap.width; ++x, in += 4)  // blue, green, red, each times the coverage that follows
        for (const int channel : {2, 1, 0}) *out++ = static_cast<float>(std::min(255, in[channel] + 255 - in[3])) / 255;
    }
    return result;
  }

 private:
  std::string path_;
  FT_Library library_ = nullptr;
  FT_Face face_ = nullptr;
};

}  // namespace easy_diffusion::emoji
