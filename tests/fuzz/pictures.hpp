/// \file
/// What the targets of pictures share.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "easy_diffusion/io/image.hpp"
#include "support.hpp"

namespace easy_diffusion::fuzz {

/// Decodes, as the file has its channels and in grey, within a few MiB; every number must be one from 0 to 1.
inline void read_picture(std::string_view text) {
  const std::string exact(text);  // a block of its own, whose ends a sanitizer knows
  for (const int channels : {0, 1})
    read_or_refuse([&] {
      const Tensor<float> picture =
          io::decode_image<float>(std::as_bytes(std::span(exact)), "picture",
                                  {.channels = channels, .upright = channels == 1, .max_bytes = std::int64_t{1} << 22});
      require(picture.shape().rank() == 3 && picture.size() > 0, "a picture without pixels");
      for (const float value : picture) require(value >= 0 && value <= 1, "a number of a picture is out of range");
    });
}

/// The input behind the first bytes of the format, so that every run reaches its decoder; and as it is where it has them.
inline void read_picture_after(std::string_view start, const std::uint8_t* data, std::size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (!bytes.starts_with(start)) bytes = std::string(start) + bytes;
  read_picture(bytes);
}

}  // namespace easy_diffusion::fuzz
