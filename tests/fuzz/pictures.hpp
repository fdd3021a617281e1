/// \file
/// What the targets of pictures share.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include "easy_diffusion/io/image.hpp"

#include "support.hpp"

namespace easy_diffusion::fuzz {

/// Decodes, as the file has its channels and in grey; every number must be one from 0 to 1.
inline void read_picture(std::string_view bytes) {
  const auto span = std::as_bytes(std::span(bytes));
  for (const int channels : {0, 1})
    read_or_refuse([&] {
      const auto picture = io::detail::decode_picture(span, channels, "picture");
      require(picture.shape.rank() == 3 && picture.shape.numel() > 0, "a picture without pixels");
      double sum = 0;
      for (std::int64_t i = 0; i < picture.shape.numel(); ++i) {
        const double value = picture.get<double>(i);
        require(value >= 0 && value <= 1, "a number of a picture is out of range");
        sum += value;
      }
      require(std::isfinite(sum), "a picture is not finite");
    });
}

/// The input behind the first bytes of the format, so that every run reaches its decoder; and as it is where it has them.
inline void read_picture_after(std::string_view start, const std::uint8_t* data, std::size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (!bytes.starts_with(start)) bytes = std::string(start) + bytes;
  read_picture(bytes);
}

}  // namespace easy_diffusion::fuzz
