// What picture files hold beside the usual: damage, notes, odd kinds, more than is good.

#include "easy_diffusion/io/detail/picture_file.hpp"

#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/io/image.hpp"

#include "io/file_tools.hpp"
#include "io/picture_files.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::test;

namespace {

template <class T = float>
Tensor<T> decoded(const std::string& bytes, const io::ImageOptions& options = {}) {
  return io::decode_image<T>(std::as_bytes(std::span(bytes)), "a.file", options);
}

std::string refused(const std::string& bytes, const io::ImageOptions& options = {}) {
  const std::string message = refusal<FormatError>([&] { static_cast<void>(decoded(bytes, options)); });
  CHECK_THAT(message, ContainsSubstring("a.file: "));
  return message;
}

template <class T>
bool same(const Tensor<T>& a, const Tensor<T>& b) {
  return a.shape() == b.shape() && std::equal(a.begin(), a.end(), b.begin());
}

Tensor<std::uint8_t> noise(const Shape& shape, std::uint64_t seed) {
  Tensor<std::uint8_t> result(shape);
  Dice dice(seed);
  for (std::uint8_t& value : result) value = static_cast<std::uint8_t>(dice(256));
  return result;
}

/// As a photograph: neighbours are alike.
Tensor<std::uint8_t> smooth(std::int64_t height, std::int64_t width) {
  Tensor<std::uint8_t> result({height, width, 3});
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x)
      for (std::int64_t c = 0; c < 3; ++c)
        result(y, x, c) =
            static_cast<std::uint8_t>(127.5 + 127.4 * std::sin(0.2 * static_cast<double>((c + 1) * x + 2 * y)));
  return result;
}

std::string random_bytes(std::size_t count, Dice& dice) {
  std::string result;
  for (std::size_t i = 0; i < count; ++i) result += static_cast<char>(static_cast<unsigned char>(dice(256)));
  return result;
}

/// Rows of a PNG with random filters and numbers. \param bits of a pixel
std::string random_rows(std::uint32_t width, std::uint32_t height, std::uint32_t bits, Dice& dice) {
  std::string rows;
  for (std::uint32_t y = 0; y < height && width > 0; ++y)
    rows += static_cast<char>(dice(5)) + random_bytes((width * bits + 7) / 8, dice);
  return rows;
}

}  // namespace

TEST_CASE("PNG: every kind decodes to the same numbers as by stb", "[io]") {
  struct Kind {
    int type;
    std::uint32_t channels;
    std::vector<int> depths;
  };
  const std::vector<Kind> kinds = {
      {0, 1, {1, 2, 4, 8, 16}}, {2, 3, {8, 16}}, {3, 1, {1, 2, 4, 8}}, {4, 2, {8, 16}}, {6, 4, {8, 16}}};
  Dice dice(3);
  for (const Kind& kind : kinds)
    for (const int depth : kind.depths)
      for (const bool transparent : {false, true})
        for (const bool interlaced : {false, true}) {
          CAPTURE(kind.type, depth, transparent, interlaced);
          const std::uint32_t width = 13;
          const std::uint32_t height = 11;
          const std::uint32_t bits = kind.channels * static_cast<std::uint32_t>(depth);
          std::string rows;
          if (interlaced) {
            constexpr std::array<std::array<std::uint32_t, 4>, 7> passes{
                {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}}};
            for (const auto& [x, y, dx, dy] : passes)
              rows += random_rows((width - x + dx - 1) / dx, (height - y + dy - 1) / dy, bits, dice);
          } else {
            rows = random_rows(width, height, bits, dice);
          }
          std::string before;
          if (kind.type == 3) before += chunk("PLTE", random_bytes(3U << depth, dice));
          if (transparent && kind.type == 3) before += chunk("tRNS", random_bytes(std::size_t{1} << depth, dice));
          if (transparent && kind.type == 0) before += chunk("tRNS", big_endian(1, 2));
          if (transparent && kind.type == 2)
            before += chunk("tRNS", big_endian(1, 2) + big_endian(2, 2) + big_endian(3, 2));
          const std::string file = png(width, height, depth, kind.type, rows, before, "", interlaced);
          for (int channels = 0; channels <= 4; ++channels) {
            int w = 0;
            int h = 0;
            int found = 0;
            const auto* bytes = reinterpret_cast<const unsigned char*>(file.data());
            const auto size = static_cast<int>(file.size());
            Tensor<double> expected;
            const auto take = [&](auto* numbers, double white) {
              REQUIRE(numbers != nullptr);
              expected = Tensor<double>({h, w, channels == 0 ? found : channels});
              for (std::int64_t i = 0; i < expected.size(); ++i) expected[i] = numbers[i] / white;
              std::free(numbers);
            };
            if (depth == 16)
              take(io::detail::stbi_load_16_from_memory(bytes, size, &w, &h, &found, channels), 65535.0);
            else
              take(io::detail::stbi_load_from_memory(bytes, size, &w, &h, &found, channels), 255.0);
            CHECK(same(decoded<double>(file, {.channels = channels}), expected));
          }
        }
}

TEST_CASE("PNG: every flipped bit is found", "[io]") {
  const std::string good = png(3, 2, 8, 0, std::string("\0abc\0def", 8), chunk("tEXt", std::string("Title\0x", 7)),
                               chunk("eXIf", exif(1, true)));
  CHECK(decoded(good).size() == 6);
  int loaded = 0;
  for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    try {
      static_cast<void>(decoded(bad));
      ++loaded;
    } catch (const FormatError&) {}
  }
  CHECK(loaded == 0);

  // The checksum of the pixels, in a chunk whose own is right; pixels that are missing and that are too many.
  std::string packed(100, '\0');
  uLongf size = packed.size();
  REQUIRE(compress(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>("\0abc\0def"), 8) ==
          Z_OK);
  packed.resize(size);
  const std::string start = good.substr(0, 33);
  CHECK(decoded(start + chunk("IDAT", packed) + chunk("IEND", "")).size() == 6);
  packed.back() = static_cast<char>(packed.back() ^ 1);
  CHECK_THAT(refused(start + chunk("IDAT", packed) + chunk("IEND", "")),
             ContainsSubstring("the PNG picture is damaged"));
  CHECK_THAT(refused(png(3, 2, 8, 0, std::string("\0abc\0de", 7))), ContainsSubstring("the PNG picture is damaged"));
  CHECK(decoded(good + "something behind it").size() == 6);
}

TEST_CASE("JPEG: what stands behind the picture is ignored, what is missing is not made up", "[io]") {
  const Tensor<std::uint8_t> pixels = smooth(40, 56);
  const std::string good = jpeg(pixels);
  const Tensor<std::uint8_t> expected = decoded<std::uint8_t>(good);
  REQUIRE(expected.shape() == pixels.shape());
  double error = 0;
  for (std::int64_t i = 0; i < pixels.size(); ++i) error += std::abs(expected[i] - pixels[i]);
  CHECK(error / static_cast<double>(pixels.size()) < 12);
  // Cameras put a second picture there, or a film; the mark of a scan with no end is in it.
  for (const std::string& behind :
       {std::string(1000, '\0'), std::string("\xFF\xDA\0\x0C", 4), good.substr(0, 300), good})
    CHECK(same(decoded<std::uint8_t>(good + behind), expected));
  CHECK(same(decoded<std::uint8_t>(jpeg(pixels, true)), expected));  // progressive

  for (const std::string& file : {good, jpeg(pixels, true)})
    for (std::size_t size = 3; size < file.size(); size += 7)
      CHECK_THAT(refused(file.substr(0, size)), ContainsSubstring("JPEG picture ends early"));
  // The middle is gone; the end stands.
  CHECK_THAT(refused(good.substr(0, good.size() - 300) + good.substr(good.size() - 2)), ContainsSubstring("damaged"));
  const std::size_t size = good.find("\xFF\xC0") + 5;
  const std::string two = good.substr(0, size) + std::string("\xFF\xFF\xFF\xFF", 4) + good.substr(size + 4);
  CHECK_THAT(refused(two), ContainsSubstring("a.file: "));
}

TEST_CASE("pictures: turned upright as EXIF says, or left as they are", "[io]") {
  using Picture = Tensor<std::uint8_t>;
  const auto rebuilt = [](const Picture& in, bool turned, auto&& place) {
    Picture out({in.extent(turned ? 1 : 0), in.extent(turned ? 0 : 1), in.extent(2)});
    for (std::int64_t y = 0; y < out.extent(0); ++y)
      for (std::int64_t x = 0; x < out.extent(1); ++x)
        for (std::int64_t c = 0; c < out.extent(2); ++c) {
          const auto [from_y, from_x] = place(y, x);
          out(y, x, c) = in(from_y, from_x, c);
        }
    return out;
  };
  const auto mirrored = [&](const Picture& in) {
    return rebuilt(in, false, [&](std::int64_t y, std::int64_t x) { return std::pair(y, in.extent(1) - 1 - x); });
  };
  const auto quarter = [&](const Picture& in) {  // clockwise
    return rebuilt(in, true, [&](std::int64_t y, std::int64_t x) { return std::pair(in.extent(0) - 1 - x, y); });
  };
  const Picture stored = noise({3, 5, 3}, 5);
  const auto half = [&](const Picture& in) { return quarter(quarter(in)); };
  // As EXIF's table says where the first row and the first column of the stored picture belong.
  const std::vector<Picture> upright = {stored,
                                        mirrored(stored),
                                        half(stored),
                                        mirrored(half(stored)),
                                        mirrored(quarter(stored)),
                                        quarter(stored),
                                        half(mirrored(quarter(stored))),
                                        half(quarter(stored))};
  std::string rows;
  for (std::int64_t y = 0; y < 3; ++y)
    rows += std::string(1, '\0') + std::string(reinterpret_cast<const char*>(stored.data()) + y * 15, 15);
  const Picture photograph = smooth(24, 40);
  const Picture plain = decoded<std::uint8_t>(jpeg(photograph));
  for (int orientation = 1; orientation <= 8; ++orientation)
    for (const bool big : {false, true}) {
      CAPTURE(orientation, big);
      const std::string note = exif(orientation, big);
      for (const auto& [before, after] : {std::pair(chunk("eXIf", note), std::string()), {"", chunk("eXIf", note)}}) {
        const std::string file = png(5, 3, 8, 2, rows, before, after);
        CHECK(same(decoded<std::uint8_t>(file), upright[static_cast<std::size_t>(orientation - 1)]));
        CHECK(same(decoded<std::uint8_t>(file, {.upright = false}), stored));
      }
      const std::string file = jpeg(photograph, false, exif_segment(note));
      CHECK(same(decoded<std::uint8_t>(file, {.upright = false}), plain));
      if (orientation == 6) CHECK(same(decoded<std::uint8_t>(file), quarter(plain)));
      if (orientation == 8) CHECK(same(decoded<std::uint8_t>(file), half(quarter(plain))));
    }
  // What cannot be read is no reason to refuse the picture.
  for (const std::string& note : {exif(9, true), exif(0, false), std::string("II*"), exif(6, true).substr(0, 20),
                                  "II*" + std::string(1, '\0') + std::string(4, '\xFF')})
    CHECK(same(decoded<std::uint8_t>(jpeg(photograph, false, exif_segment(note))), plain));
}

TEST_CASE("PNM: every kind, every maximum", "[io]") {
  const auto numbers = [](const std::string& bytes) {
    const auto x = decoded<double>(bytes);
    return std::vector<double>(x.begin(), x.end());
  };
  CHECK(numbers("P2 3 1 100\n0 50 100") == std::vector<double>{0, 0.5, 1});
  CHECK(numbers("P2\n# a comment\n2 # another\n2\n15\n0 15\n# and one\n3 5\n") ==
        std::vector<double>{0, 1, 0.2, 1 / 3.0});
  CHECK(numbers("P5 3 1 100\n" + std::string("\0\x32\x64", 3)) == std::vector<double>{0, 0.5, 1});
  CHECK(numbers("P5 2 1 1000\n" + std::string("\x01\xF4\x03\xE8", 4)) == std::vector<double>{0.5, 1});
  CHECK(numbers("P5 2 1 65535\n" + std::string("\x12\x34\xFF\xFF", 4)) == std::vector<double>{0x1234 / 65535.0, 1});
  CHECK(numbers("P3 1 2 4\n0 1 2\n3 4 0") == std::vector<double>{0, 0.25, 0.5, 0.75, 1, 0});
  CHECK(numbers("P6 1 1 4\n" + std::string("\0\1\2", 3)) == std::vector<double>{0, 0.25, 0.5});
  CHECK(numbers("P6 1 1 1023\r" + std::string("\0\0\1\xFF\3\xFF", 6)) == std::vector<double>{0, 511 / 1023.0, 1});
  CHECK(numbers("P1 3 2\n010\n1 0 1") == std::vector<double>{1, 0, 1, 0, 1, 0});
  CHECK(numbers("P4 10 2\n" + std::string("\xA0\x40\x00\x80", 4)) ==
        std::vector<double>{0, 1, 0, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1});
  CHECK(numbers("P5 1 1 255\n\x10 and the next picture") == std::vector<double>{16 / 255.0});
  CHECK(decoded("P6 1 1 4\n" + std::string("\0\1\2", 3)).shape() == Shape{1, 1, 3});
  CHECK(decoded<std::uint8_t>("P5 3 1 100\n" + std::string("\0\x32\x64", 3))[1] == 128);

  CHECK_THAT(refused("P2 2 1 100\n0 101"), ContainsSubstring("expected 0 to 100"));
  CHECK_THAT(refused("P5 2 1 100\n" + std::string("\x10\x65", 2)),
             ContainsSubstring("expected numbers up to 100, got 101"));
  CHECK_THAT(refused("P5 2 1 65536\n....."), ContainsSubstring("maximum: expected 1 to 65535"));
  CHECK_THAT(refused("P5 2 1 0\n....."), ContainsSubstring("maximum"));
  CHECK_THAT(refused("P5 0 1 255\n....."), ContainsSubstring("width"));
  CHECK_THAT(refused("P2 1 1 255\n-5"), ContainsSubstring("expected 0 to 255"));
  CHECK_THAT(refused("P1 2 1\n0 2"), ContainsSubstring("expected 0 or 1"));
  CHECK_THAT(refused("P5 20000 20000 255\n."), ContainsSubstring("ends early"));
  CHECK_THAT(refused("P6 99999999999999999999 1 255\n."), ContainsSubstring("width"));
  for (const std::string file : {"P2 3 1 100\n0 50 99", "P3 1 1 9\n1 2 3", "P1 3 1\n0 1 1"})
    for (std::size_t size = 3; size + 1 < file.size(); ++size)
      CHECK_THAT(refused(file.substr(0, size)), ContainsSubstring("PNM"));
  CHECK_THAT(refused("P7\nWIDTH 1\n"), ContainsSubstring("got a PAM picture"));
}

TEST_CASE("BMP: its size is that of its rows, whatever it says", "[io]") {
  const std::string good = bmp(3, 2);
  const Tensor<std::uint8_t> expected = decoded<std::uint8_t>(good);
  REQUIRE(expected.shape() == Shape{2, 3, 3});
  CHECK(expected[0] == 200);
  CHECK(expected[1] == 100);
  CHECK(expected[2] == 50);
  for (const std::uint64_t stated : {0ULL, 10ULL, 70ULL, 1000ULL, 0xFFFFFFFFULL})
    CHECK(same(decoded<std::uint8_t>(good.substr(0, 2) + little_endian(stated, 4) + good.substr(6)), expected));
  CHECK(same(decoded<std::uint8_t>(good + "behind it"), expected));
  CHECK(same(decoded<std::uint8_t>(good.substr(0, good.size() - 3)), expected));  // what fills the last row up
  for (std::size_t size = 18; size < good.size() - 3; ++size)
    CHECK_THAT(refused(good.substr(0, size)), ContainsSubstring("the BMP picture ends early"));
  CHECK_THAT(refused(bmp(3, 2, 1)), ContainsSubstring("expected a BMP picture that is not compressed"));
}

TEST_CASE("GIF: bytes behind its end, and frames that end early", "[io]") {
  const Tensor<std::uint8_t> expected = decoded<std::uint8_t>(gif());
  REQUIRE(expected.shape() == Shape{2, 2, 4});
  for (const auto& [pixel, grey] : {std::pair(0, 0), {1, 255}, {2, 255}, {3, 0}}) {
    CHECK(expected[4 * pixel] == grey);
    CHECK(expected[4 * pixel + 3] == 255);
  }
  for (const std::string behind : {"x", "\n", "no picture at all", "GIF89a"})
    CHECK(same(decoded<std::uint8_t>(gif() + behind), expected));
  const std::string good = gif();
  for (std::size_t size = 6; size < good.size(); ++size)
    CHECK_THAT(refused(good.substr(0, size)), ContainsSubstring("the GIF picture ends early"));
  CHECK_THAT(refused(gif("\x44\x0A")), ContainsSubstring("the GIF picture is damaged"));  // two pixels of four
  CHECK_THAT(refused(good.substr(0, 19) + ";"), ContainsSubstring("it has no frame"));
}

TEST_CASE("pictures: memory is bounded in bytes, before it is taken", "[io]") {
  const auto limit = [](const std::string& file, std::int64_t bytes) {
    CHECK_NOTHROW(decoded(file, {.max_bytes = bytes}));
    CHECK_THAT(refused(file, {.max_bytes = bytes - 1}), ContainsSubstring("MiB of memory (max_bytes), got"));
  };
  // A byte for each number and four for each of the result, and what the decoder needs.
  const auto pixels = noise({20, 30, 3}, 8);
  std::string rows;
  for (std::int64_t y = 0; y < 20; ++y) rows += std::string(91, '\0');
  limit(png(30, 20, 8, 2, rows), 20 * 30 * 3 * 5);
  limit(jpeg(pixels), 20 * 30 * 3 * 5);
  limit(jpeg(pixels, true), 20 * 30 * 3 * 5 + (3 * 4 + 2 * 2 * 2) * 128);
  limit("P5 10 10 1000\n" + std::string(200, '\0'), 10 * 10 * 6);
  limit(bmp(3, 2), 3 * 2 * 4 * 5);
  limit(gif(), 2 * 2 * 4 * 5 + 2 * 2 * 5);
  CHECK(decoded<std::uint8_t>(png(30, 20, 8, 2, rows), {.max_bytes = 20 * 30 * 3 * 2}).size() == 1800);

  const std::string huge = "expected a picture that takes at most 1024 MiB of memory";
  CHECK_THAT(refused(png(12'000, 12'000, 8, 2, "")), ContainsSubstring(huge));
  CHECK_THAT(refused(png(16'000'000, 16'000'000, 16, 6, "")), ContainsSubstring(huge));
  CHECK_THAT(refused(std::string("GIF89a\xFF\xFF\xFF\xFF\0\0\0;", 14)), ContainsSubstring(huge));
  CHECK_THAT(refused(bmp(3, 2).replace(18, 8, little_endian(0x7FFFFFFF, 4) + little_endian(0x80000000, 4))),
             ContainsSubstring("pixels"));
  CHECK_THAT(refusal<ValueError>([&] { static_cast<void>(decoded(gif(), {.max_bytes = 0})); }),
             ContainsSubstring("max_bytes"));
}

TEST_CASE("pictures: what stands in a picture's place is named", "[io]") {
  const auto named = [](const std::string& bytes, const std::string& what) {
    CHECK_THAT(refused(bytes), ContainsSubstring("got " + what));
  };
  named(std::string("RIFF\x10\0\0\0WEBPVP8 ", 16), "a WebP picture");
  named(std::string("II*\0\x08\0\0\0", 8), "a TIFF picture");
  named(std::string("\0\0\0\x1C"
                    "ftypavif",
                    12),
        "an AVIF picture");
  named("<!DOCTYPE html><html>", "a page of HTML");
  named("version https://git-lfs.github.com/spec/v1\n", "a pointer of git LFS");
  named("%PDF-1.7\n", "a PDF document");
  named("PK\x03\x04zipped", "a zip archive");
}

TEST_CASE("pictures: mutated files are read or refused", "[io][fuzz]") {
  Dice dice(29);
  const auto pixels = smooth(16, 16);
  const std::vector<std::string> good = {jpeg(pixels),
                                         jpeg(pixels, true, exif_segment(exif(6, true))),
                                         cmyk_jpeg(),
                                         bmp(3, 2),
                                         gif(),
                                         "P2 3 1 100\n0 50 100",
                                         "P4 10 2\n" + std::string("\xA0\x40\x00\x80", 4),
                                         "P6 1 1 1023\n" + std::string("\0\0\1\xFF\3\xFF", 6)};
  for (const std::string& file : good)
    for (int round = 0; round < 500; ++round) {
      try {
        static_cast<void>(decoded(mutated(file, dice), {.max_bytes = 1 << 24}));
      } catch (const FormatError&) {}
    }
}
