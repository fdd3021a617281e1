// The one translation unit that talks to libpng, libjpeg and giflib to read pictures. The first two report an error by a
// jump: between its start and its end nothing may live that has a destructor, so each jump stays within one small
// function here, and the state lies outside of it.

#include <algorithm>
#include <bit>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gif_lib.h>
#include <png.h>
// clang-format off
#include <jpeglib.h>
#include <jerror.h>  // asks what the header before it says
// clang-format on

#include "easy_diffusion/io/detail/decoded_picture.hpp"

namespace easy_diffusion::io::detail {

namespace {

// --- PNG -----------------------------------------------------------------------------------------------------

struct PngReader {
  explicit PngReader(std::span<const std::byte> bytes) : rest(bytes) {}
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;
  ~PngReader() { png_destroy_read_struct(&png, &info, nullptr); }

  png_structp png = nullptr;
  png_infop info = nullptr;
  std::span<const std::byte> rest;
  bool early = false;
  int passes = 1;
  char message[256] = {};
  std::jmp_buf escape;
};

[[noreturn]] void png_failed(png_structp png, png_const_charp message) {
  auto& reader = *static_cast<PngReader*>(png_get_error_ptr(png));
  std::snprintf(reader.message, sizeof reader.message, "%s", message);
  std::longjmp(reader.escape, 1);
}

void png_warned(png_structp png, png_const_charp message) {
  // libpng only warns of a wrong checksum of the pixels, as of whatever does not keep it from going on.
  if (std::strstr(message, "incorrect data check") != nullptr) png_failed(png, message);
}

void png_read_bytes(png_structp png, png_bytep to, std::size_t count) {
  auto& reader = *static_cast<PngReader*>(png_get_io_ptr(png));
  if (count > reader.rest.size()) {
    reader.early = true;
    png_error(png, "it ends early");
  }
  std::memcpy(to, reader.rest.data(), count);
  reader.rest = reader.rest.subspan(count);
}

bool start_png(PngReader& reader) {
  if (setjmp(reader.escape) != 0) return false;
  reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, png_failed, png_warned);
  if (reader.png == nullptr) return false;
  reader.info = png_create_info_struct(reader.png);
  if (reader.info == nullptr) return false;
  png_set_read_fn(reader.png, &reader, png_read_bytes);
  // A damaged chunk is an error even where the picture does without it. Of those, only the orientation is used, and
  // what is not used is not unpacked.
  png_set_crc_action(reader.png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
  png_set_keep_unknown_chunks(reader.png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  png_set_keep_unknown_chunks(reader.png, PNG_HANDLE_CHUNK_AS_DEFAULT, reinterpret_cast<png_const_bytep>("eXIf"), 1);
  png_set_user_limits(reader.png, 1U << 24U, 1U << 24U);
  png_read_info(reader.png, reader.info);
  png_set_expand(reader.png);
  if (std::endian::native == std::endian::little) png_set_swap(reader.png);
  reader.passes = png_set_interlace_handling(reader.png);
  png_read_update_info(reader.png, reader.info);
  return true;
}

bool read_png(PngReader& reader, unsigned char* pixels, std::size_t row, png_uint_32 height) {
  if (setjmp(reader.escape) != 0) return false;
  for (int pass = 0; pass < reader.passes; ++pass)
    for (png_uint_32 y = 0; y < height; ++y) png_read_row(reader.png, pixels + y * row, nullptr);
  png_read_end(reader.png, reader.info);
  return true;
}

// --- JPEG ----------------------------------------------------------------------------------------------------

struct JpegReader {
  JpegReader() = default;
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;
  ~JpegReader() { jpeg_destroy_decompress(&info); }

  jpeg_decompress_struct info{};
  jpeg_error_mgr errors{};
  jpeg_progress_mgr progress{};
  bool early = false;
  char message[JMSG_LENGTH_MAX] = {};
  std::jmp_buf escape;
};

JpegReader& reader_of(j_common_ptr info) { return *static_cast<JpegReader*>(info->client_data); }

[[noreturn]] void jpeg_failed(j_common_ptr info) {
  JpegReader& reader = reader_of(info);
  info->err->format_message(info, reader.message);
  std::longjmp(reader.escape, 1);
}

void jpeg_told(j_common_ptr info, int level) {
  if (level >= 0) return;
  switch (info->err->msg_code) {
    case JWRN_JPEG_EOF: reader_of(info).early = true; [[fallthrough]];
    case JWRN_HIT_MARKER:  // what is missing would be filled with grey
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC: jpeg_failed(info);
    default: return;  // bytes between the parts, odd versions: the picture is whole
  }
}

void jpeg_goes_on(j_common_ptr info) {
  // A few bytes make a scan of a picture of any size.
  constexpr int most_scans = 500;
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= most_scans) return;
  JpegReader& reader = reader_of(info);
  std::snprintf(reader.message, sizeof reader.message, "it has more than %d scans", most_scans);
  std::longjmp(reader.escape, 1);
}

bool start_jpeg(JpegReader& reader, std::span<const std::byte> bytes) {
  reader.info.err = jpeg_std_error(&reader.errors);
  reader.errors.error_exit = jpeg_failed;
  reader.errors.emit_message = jpeg_told;
  reader.info.client_data = &reader;
  if (setjmp(reader.escape) != 0) return false;
  jpeg_create_decompress(&reader.info);
  reader.progress.progress_monitor = jpeg_goes_on;
  reader.info.progress = &reader.progress;
  jpeg_save_markers(&reader.info, JPEG_APP0 + 1, 0xFFFF);
  jpeg_mem_src(&reader.info, reinterpret_cast<const unsigned char*>(bytes.data()),
               static_cast<unsigned long>(bytes.size()));
  jpeg_read_header(&reader.info, TRUE);
  const J_COLOR_SPACE found = reader.info.jpeg_color_space;
  reader.info.out_color_space = found == JCS_GRAYSCALE                   ? JCS_GRAYSCALE
                                : found == JCS_CMYK || found == JCS_YCCK ? JCS_CMYK
                                                                         : JCS_RGB;
  return true;
}

bool read_jpeg(JpegReader& reader, unsigned char* pixels, std::size_t row) {
  if (setjmp(reader.escape) != 0) return false;
  jpeg_start_decompress(&reader.info);
  while (reader.info.output_scanline < reader.info.output_height) {
    JSAMPROW to = pixels + reader.info.output_scanline * row;
    jpeg_read_scanlines(&reader.info, &to, 1);
  }
  jpeg_finish_decompress(&reader.info);
  return true;
}

/// Four inks to three colours, in place. Adobe's programs store what is left of the paper's white.
void from_cmyk(unsigned char* pixels, std::size_t count, bool inverted) {
  for (std::size_t i = 0; i < count; ++i) {
    unsigned light[4];
    for (std::size_t c = 0; c < 4; ++c) light[c] = inverted ? pixels[4 * i + c] : 255U - pixels[4 * i + c];
    for (std::size_t c = 0; c < 3; ++c)
      pixels[3 * i + c] = static_cast<unsigned char>((light[c] * light[3] + 127) / 255);
  }
}

// --- GIF -----------------------------------------------------------------------------------------------------

struct GifSource {
  std::span<const std::byte> rest;
  bool early = false;
};

int gif_bytes(GifFileType* gif, GifByteType* to, int count) {
  auto& source = *static_cast<GifSource*>(gif->UserData);
  const std::size_t size = std::min(source.rest.size(), static_cast<std::size_t>(count));
  if (size < static_cast<std::size_t>(count)) source.early = true;
  if (size > 0) std::memcpy(to, source.rest.data(), size);
  source.rest = source.rest.subspan(size);
  return static_cast<int>(size);
}

/// Every row of the frame that comes next.
int read_gif_frame(GifFileType* gif) {
  std::vector<GifPixelType> row(static_cast<std::size_t>(gif->Image.Width));
  for (int y = 0; y < gif->Image.Height; ++y)
    if (DGifGetLine(gif, row.data(), gif->Image.Width) != GIF_OK) return GIF_ERROR;
  return GIF_OK;
}

}  // namespace

DecodedPicture decode_png(std::span<const std::byte> bytes, const PictureRequest& request) {
  PngReader reader(bytes);
  const auto refuse = [&] {
    if (reader.early) throw_early_end(request.file, "PNG");
    throw_damaged(request.file, "PNG", reader.message[0] != '\0' ? reader.message : "libpng does not start");
  };
  if (!start_png(reader)) refuse();
  DecodedPicture result;
  result.width = png_get_image_width(reader.png, reader.info);
  result.height = png_get_image_height(reader.png, reader.info);
  result.channels = png_get_channels(reader.png, reader.info);
  const bool wide = png_get_bit_depth(reader.png, reader.info) == 16;
  if (wide) result.maximum = 65535;
  request.ask(result.width, result.height, result.channels, wide ? 2 : 1);
  const std::size_t row = png_get_rowbytes(reader.png, reader.info);
  result.allocate(static_cast<std::int64_t>(row) * result.height, request.file);
  if (!read_png(reader, static_cast<unsigned char*>(result.pixels.get()), row, static_cast<png_uint_32>(result.height)))
    refuse();
  png_uint_32 size = 0;
  png_bytep exif = nullptr;
  if (png_get_eXIf_1(reader.png, reader.info, &size, &exif) != 0 && exif != nullptr)
    result.orientation = exif_orientation(std::as_bytes(std::span(exif, size)));
  return result;
}

DecodedPicture decode_jpeg(std::span<const std::byte> bytes, const PictureRequest& request) {
  JpegReader reader;
  const auto refuse = [&] {
    if (reader.early) throw_early_end(request.file, "JPEG");
    throw_damaged(request.file, "JPEG", reader.message);
  };
  if (!start_jpeg(reader, bytes)) refuse();
  const jpeg_decompress_struct& info = reader.info;
  DecodedPicture result;
  result.width = info.image_width;
  result.height = info.image_height;
  result.channels = info.out_color_space == JCS_GRAYSCALE ? 1 : 3;
  const int decoded = info.out_color_space == JCS_CMYK ? 4 : result.channels;
  std::int64_t coefficients = 0;  // all of them are kept where they come in several scans
  if (jpeg_has_multiple_scans(&reader.info))
    for (int i = 0; i < info.num_components; ++i)
      coefficients += std::int64_t{info.comp_info[i].width_in_blocks} * info.comp_info[i].height_in_blocks *
                      std::int64_t{sizeof(JBLOCK)};
  request.ask(result.width, result.height, decoded, 1, coefficients);
  const std::size_t row = static_cast<std::size_t>(result.width) * static_cast<std::size_t>(decoded);
  result.allocate(static_cast<std::int64_t>(row) * result.height, request.file);
  // Markers go when the picture is finished.
  for (jpeg_saved_marker_ptr marker = info.marker_list; marker != nullptr; marker = marker->next) {
    constexpr std::size_t name = 6;
    if (marker->data_length < name || std::memcmp(marker->data, "Exif\0", name) != 0) continue;
    result.orientation = exif_orientation(std::as_bytes(std::span(marker->data, marker->data_length)).subspan(name));
    break;
  }
  auto* pixels = static_cast<unsigned char*>(result.pixels.get());
  if (!read_jpeg(reader, pixels, row)) refuse();
  if (decoded == 4) from_cmyk(pixels, row / 4 * static_cast<std::size_t>(result.height), info.saw_Adobe_marker != 0);
  return result;
}

void check_gif(std::span<const std::byte> bytes, const std::string& file) {
  GifSource source{.rest = bytes};
  int error = 0;
  const auto close = [](GifFileType* gif) { DGifCloseFile(gif, nullptr); };
  const std::unique_ptr<GifFileType, decltype(close)> gif(DGifOpen(&source, gif_bytes, &error), close);
  const auto check = [&](int status) {
    if (status == GIF_OK) return;
    if (gif != nullptr) error = gif->Error;
    if (source.early) throw_early_end(file, "GIF");
    const char* reason = GifErrorString(error);
    throw_damaged(file, "GIF", reason != nullptr ? reason : "no reason given");
  };
  if (gif == nullptr) check(GIF_ERROR);
  for (int frames = 0;;) {
    GifRecordType kind = UNDEFINED_RECORD_TYPE;
    const int status = DGifGetRecordType(gif.get(), &kind);
    // What stands between whole frames and is none has no part in the picture.
    if (frames > 0 && status != GIF_OK && gif->Error == D_GIF_ERR_WRONG_RECORD) return;
    check(status);
    if (kind == TERMINATE_RECORD_TYPE) {
      if (frames == 0) throw_damaged(file, "GIF", "it has no frame");
      return;
    }
    int code = 0;
    GifByteType* block = nullptr;
    if (kind == EXTENSION_RECORD_TYPE) {
      check(DGifGetExtension(gif.get(), &code, &block));
      while (block != nullptr) check(DGifGetExtensionNext(gif.get(), &block));
    } else {
      check(DGifGetImageDesc(gif.get()));
      if (frames++ == 0) {
        // Its size is no more than that of the whole, which the caller found acceptable.
        if (gif->Image.Left + gif->Image.Width > gif->SWidth || gif->Image.Top + gif->Image.Height > gif->SHeight)
          throw_damaged(file, "GIF", "the first frame is larger than the picture");
        check(read_gif_frame(gif.get()));
      } else {
        check(DGifGetCode(gif.get(), &code, &block));
        while (block != nullptr) check(DGifGetCodeNext(gif.get(), &block));
      }
    }
  }
}

}  // namespace easy_diffusion::io::detail
