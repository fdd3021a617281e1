#pragma once

/// \file
/// Picture files made byte by byte, so that each may be odd or damaged in its own way.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <jpeglib.h>
#include <zlib.h>

#include "easy_diffusion/core/tensor.hpp"

#include "io/file_tools.hpp"

namespace easy_diffusion::test {

inline std::string chunk(const std::string& name, const std::string& data) {
  const std::string body = name + data;
  const auto sum = crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()));
  return big_endian(data.size(), 4) + body + big_endian(sum, 4);
}

/// A PNG whose rows are given with their filter bytes.
/// \param before chunks before the pixels \param after chunks behind them
inline std::string png(std::uint32_t width, std::uint32_t height, int depth, int colour_type, const std::string& rows,
                       const std::string& before = "", const std::string& after = "", bool interlaced = false) {
  std::string packed(compressBound(static_cast<uLong>(rows.size())), '\0');
  uLongf size = static_cast<uLongf>(packed.size());
  REQUIRE(compress(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(rows.data()),
                   static_cast<uLong>(rows.size())) == Z_OK);
  packed.resize(size);
  const std::string kind{static_cast<char>(depth), static_cast<char>(colour_type), 0, 0, static_cast<char>(interlaced)};
  return "\x89PNG\r\n\x1a\n" + chunk("IHDR", big_endian(width, 4) + big_endian(height, 4) + kind) + before +
         chunk("IDAT", packed) + after + chunk("IEND", "");
}

/// 8 x 8, one colour, CMYK with Adobe's marker: red 200, green 100, blue 50.
inline std::string cmyk_jpeg() {
  const std::string hex =
      "ffd8ffee000e41646f626500640000000002ffdb0043000d"
      "090a0b0a080d0b0a0b0e0e0d0f13201513121213271c1e17"
      "202e2931302e292d2c333a4a3e333646372c2d405741464c"
      "4e525352323e5a615a50604a51524fffdb0043010e0e0e13"
      "1113261515264f352d354f4f4f4f4f4f4f4f4f4f4f4f4f4f"
      "4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f"
      "4f4f4f4f4f4f4f4f4f4f4f4fffc000140800080008040122"
      "00021101031101042200ffc4001600010101000000000000"
      "00000000000000000506ffc4001410010000000000000000"
      "0000000000000000ffc40015010101000000000000000000"
      "00000000000506ffc4001411010000000000000000000000"
      "0000000000ffda000e040100021103110400003f009801e4"
      "c35803ffd9";
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

/// A JPEG of [H, W, 3]. \param before segments in front of the others
inline std::string jpeg(const Tensor<std::uint8_t>& pixels, bool progressive = false, const std::string& before = "") {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &memory, &size);
  info.image_height = static_cast<JDIMENSION>(pixels.extent(0));
  info.image_width = static_cast<JDIMENSION>(pixels.extent(1));
  info.input_components = 3;
  info.in_color_space = JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 90, TRUE);
  if (progressive) jpeg_simple_progression(&info);
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < info.image_height) {
    auto* row = const_cast<unsigned char*>(pixels.data() + std::int64_t{info.next_scanline} * pixels.extent(1) * 3);
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  const std::string bytes(reinterpret_cast<const char*>(memory), size);
  jpeg_destroy_compress(&info);
  std::free(memory);
  return bytes.substr(0, 2) + before + bytes.substr(2);
}

/// The block that notes a picture's orientation, from its byte order on.
inline std::string exif(int orientation, bool big) {
  const auto number = [&](std::uint64_t value, int bytes) {
    return big ? big_endian(value, bytes) : little_endian(value, bytes);
  };
  const auto entry = [&](std::uint64_t tag, std::uint64_t value) {
    return number(tag, 2) + number(3, 2) + number(1, 4) + number(value, 2) + number(0, 2);
  };
  return (big ? "MM" : "II") + number(42, 2) + number(8, 4) + number(2, 2) + entry(0x0100, 7) +
         entry(0x0112, static_cast<std::uint64_t>(orientation)) + number(0, 4);
}
/// As a segment of a JPEG.
inline std::string exif_segment(const std::string& block) {
  const std::string body = std::string("Exif\0\0", 6) + block;
  return "\xFF\xE1" + big_endian(body.size() + 2, 2) + body;
}

/// A BMP of 24 bits a pixel, all of one colour.
inline std::string bmp(std::uint32_t width, std::uint32_t height, std::uint32_t compression = 0) {
  const std::uint32_t row = (3 * width + 3) / 4 * 4;
  std::string pixels;
  for (std::uint32_t y = 0; y < height; ++y) {
    for (std::uint32_t x = 0; x < width; ++x) pixels += "\x32\x64\xC8";
    pixels += std::string(row - 3 * width, '\0');
  }
  return "BM" + little_endian(54 + pixels.size(), 4) + little_endian(0, 4) + little_endian(54, 4) +
         little_endian(40, 4) + little_endian(width, 4) + little_endian(height, 4) + little_endian(1, 2) +
         little_endian(24, 2) + little_endian(compression, 4) + little_endian(pixels.size(), 4) +
         std::string(16, '\0') + pixels;
}

/// A GIF of 2 x 2 pixels: black, white, white, black. \param codes the pixels as LZW codes
inline std::string gif(const std::string& codes = "\x44\x02\x05") {
  const std::string screen = little_endian(2, 2) + little_endian(2, 2) + std::string("\x80\0\0", 3);
  const std::string colours("\0\0\0\xFF\xFF\xFF", 6);
  const std::string frame =
      "," + little_endian(0, 4) + little_endian(2, 2) + little_endian(2, 2) + std::string(1, '\0');
  return "GIF89a" + screen + colours + frame + "\x02" + big_endian(codes.size(), 1) + codes + std::string(1, '\0') +
         ";";
}

}  // namespace easy_diffusion::test
