#include "easy_diffusion/io/image.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include "io/file_tools.hpp"
#include "io/picture_files.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::test;

namespace {

std::string refused(const std::string& bytes) {
  const auto path = spill(scratch_folder("image_bad") / "bad.png", bytes);
  const std::string message = refusal<FormatError>([&] { static_cast<void>(io::load_image(path)); });
  CHECK_THAT(message, ContainsSubstring(path.string()));
  return message;
}

}  // namespace

TEST_CASE("pictures: bytes are clamped and rounded to the nearest", "[io]") {
  constexpr float inf = std::numeric_limits<float>::infinity();
  const Tensor<float> x({8}, {-1.0F, 0.0F, 0.5F, 1.0F, 2.0F, 0.4F / 255.0F, 0.6F / 255.0F, inf});
  const auto bytes = io::to_bytes(x);
  const std::vector<int> expected = {0, 0, 128, 255, 255, 0, 1, 255};
  for (std::int64_t i = 0; i < x.size(); ++i) CHECK(bytes[i] == expected[static_cast<std::size_t>(i)]);
  for (int value = 0; value < 256; ++value) {
    CHECK(io::to_bytes(Tensor<float>({1}, static_cast<float>(value) / 255.0F))[0] == value);
    CHECK(io::to_bytes(Tensor<double>({1}, value / 255.0))[0] == value);
  }
  CHECK_THAT(refusal<ValueError>([] { static_cast<void>(io::to_bytes(Tensor<float>({2}, std::nanf("")))); }),
             ContainsSubstring("picture [2]: expected numbers in [0, 1], got nan at element 0"));
}

TEST_CASE("pictures: PNG files of every number of channels come back", "[io]") {
  const auto folder = scratch_folder("image_png");
  for (const std::int64_t channels : {1, 2, 3, 4}) {
    Tensor<std::uint8_t> x({5, 7, channels});
    Dice dice(11);
    for (std::uint8_t& value : x) value = static_cast<std::uint8_t>(dice(256));
    const auto path = folder / ("a" + std::to_string(channels) + ".png");
    io::save_png(path, x);
    const auto y = io::load_image<std::uint8_t>(path);
    CHECK(y.shape() == x.shape());
    CHECK(std::equal(x.begin(), x.end(), y.begin()));
    const auto z = io::load_image<double>(path);
    for (std::int64_t i = 0; i < x.size(); ++i) CHECK(z[i] == x[i] / 255.0);
  }
  CHECK(io::load_image(folder / "a1.png", 3).shape() == Shape{5, 7, 3});
  CHECK(io::load_image(folder / "a3.png", 1).shape() == Shape{5, 7, 1});
  const Tensor<double> one({1, 1, 1, 1}, 0.5);
  io::save_png(folder / "one.png", one);
  CHECK(io::load_image<double>(folder / "one.png")[0] == 128 / 255.0);
  CHECK(io::load_image(folder / "one.png").shape() == Shape{1, 1, 1});
  CHECK_THAT(refusal<ValueError>([&] { static_cast<void>(io::load_image(folder / "one.png", 5)); }),
             ContainsSubstring("channels: expected 1 to 4"));
}

TEST_CASE("pictures: what is not written", "[io]") {
  const auto folder = scratch_folder("image_write");
  const auto path = spill(folder / "a.png", "old");
  const auto refused_shape = [&](const Shape& shape) {
    return refusal<ShapeError>([&] { io::save_png(path, Tensor<float>(shape)); });
  };
  CHECK_THAT(refused_shape({2, 4, 4, 1}), ContainsSubstring("[2, 4, 4, 1]; save_grid takes several"));
  CHECK_THAT(refused_shape({4, 4}), ContainsSubstring("expected [H, W, C], got [4, 4]"));
  CHECK_THAT(refused_shape({4, 4, 5}), ContainsSubstring("1 to 4 channels"));
  CHECK_THAT(refused_shape({4, 0, 3}), ContainsSubstring("at least one pixel"));
  CHECK_THAT(refusal<ValueError>([&] {
               io::save_png(path, Tensor<float>({2, 2, 1}, std::nanf("")));
             }),
             ContainsSubstring("nan"));
  CHECK(slurp(path) == "old");
  CHECK(listing(folder) == std::vector<std::string>{"a.png"});
}

TEST_CASE("pictures: 16 bits, palettes, CMYK, one pixel", "[io]") {
  const auto folder = scratch_folder("image_kinds");
  const auto deep = spill(folder / "deep.png", png(2, 1, 16, 0, std::string("\0\x12\x34\xFF\xFF", 5)));
  CHECK(io::load_image<double>(deep)[0] == 0x1234 / 65535.0);
  CHECK(io::load_image<double>(deep)[1] == 1.0);
  CHECK(io::load_image<std::uint8_t>(deep)[0] == 0x12);
  CHECK(io::load_image(deep).shape() == Shape{1, 2, 1});
  CHECK(io::load_image(deep, 3).shape() == Shape{1, 2, 3});

  const auto bits = spill(folder / "bits.png", png(3, 1, 1, 0, std::string("\0\xA0", 2)));
  CHECK(io::load_image(bits)[0] == 1.0F);
  CHECK(io::load_image(bits)[1] == 0.0F);

  const auto pixel = io::load_image(spill(folder / "pixel.png", png(1, 1, 8, 2, std::string("\0\xFF\x80\0", 4))));
  CHECK(pixel.shape() == Shape{1, 1, 3});
  CHECK(pixel[1] == 128.0F / 255.0F);

  const auto cmyk = io::load_image<std::uint8_t>(spill(folder / "cmyk.jpg", cmyk_jpeg()));
  REQUIRE(cmyk.shape() == Shape{8, 8, 3});
  CHECK(std::abs(cmyk[0] - 200) <= 6);
  CHECK(std::abs(cmyk[1] - 100) <= 6);
  CHECK(std::abs(cmyk[2] - 50) <= 6);

  const auto grey = io::load_image(spill(folder / "a.pgm", "P5 2 1 255\n\x10\x20"));
  CHECK(grey.shape() == Shape{1, 2, 1});
  CHECK(grey[1] == 32.0F / 255.0F);
}

TEST_CASE("pictures: what is no picture is refused in one line", "[io]") {
  CHECK_THAT(refused(""), ContainsSubstring("got an empty file"));
  CHECK_THAT(
      refused("hello"),
      ContainsSubstring(
          "expected a picture (PNG, JPEG, BMP, GIF, PBM, PGM or PPM), got a text"));
  CHECK_THAT(refused(std::string("\0\0\x02\0\0\0\0\0\0\0\0\0\1\0\1\0\x18\0", 18)),
             ContainsSubstring("starts with 00 00 02"));
  const std::string good = png(3, 2, 8, 0, std::string("\0abc\0def", 8));
  for (std::size_t size = 8; size < good.size(); ++size)
    CHECK_THAT(refused(good.substr(0, size)), ContainsSubstring("the PNG picture ends early"));
  CHECK_THAT(refused(png(3, 2, 8, 0, std::string("\0abc", 4))), ContainsSubstring("damaged"));
  CHECK_THAT(refused(png(0, 2, 8, 0, "")), ContainsSubstring("damaged"));
  CHECK_THAT(refused(png(200'000, 200'000, 8, 0, "")), ContainsSubstring("bad.png: "));
  CHECK_THAT(refused(png(20'000, 20'000, 8, 0, "")),
             ContainsSubstring("expected a picture that takes at most 1024 MiB of memory") &&
                 ContainsSubstring("got 20000 x 20000 pixels"));
  const std::string jpeg = cmyk_jpeg();
  for (const std::size_t size : {std::size_t{3}, std::size_t{100}, jpeg.size() - 8, jpeg.size() - 1})
    CHECK_THAT(refused(jpeg.substr(0, size)), ContainsSubstring("the JPEG picture ends early"));
  CHECK_THAT(refused("BM" + little_endian(1000, 4) + std::string(40, '\0')), ContainsSubstring("starts with 42 4d"));
  CHECK_THAT(refused("P5 20 10 255\n\x10"), ContainsSubstring("the PNM picture ends early"));
  CHECK_THAT(refused(std::string("GIF89a\1\0\1\0\0\0\0", 13)), ContainsSubstring("the GIF picture ends early"));
  CHECK_THAT(refused("P5 x"), ContainsSubstring("bad.png: "));

  const auto folder = scratch_folder("image_open");
  CHECK_THAT(refusal<IoError>([&] { static_cast<void>(io::load_image(folder / "none.png")); }),
             ContainsSubstring((folder / "none.png").string() + ": cannot open: No such file"));
  CHECK_THAT(refusal<IoError>([&] { static_cast<void>(io::load_image(folder)); }), ContainsSubstring("got a folder"));
}

TEST_CASE("pictures: a mutated PNG is read or refused", "[io][fuzz]") {
  const auto folder = scratch_folder("image_fuzz");
  const std::string good = png(3, 2, 8, 0, std::string("\0abc\0def", 8));
  Dice dice(13);
  for (int round = 0; round < 3000; ++round) {
    try {
      static_cast<void>(io::load_image(spill(folder / "bad.png", mutated(good, dice))));
    } catch (const Error&) {}
  }
}

TEST_CASE("pictures: resizing", "[io]") {
  for (const std::int64_t channels : {1, 2, 3, 4}) {
    Tensor<float> flat({6, 9, channels});
    for (std::int64_t i = 0; i < flat.size(); ++i) flat[i] = 0.25F * static_cast<float>(i % channels);
    const auto bigger = io::resize_image(flat, 13, 20);
    CHECK(bigger.shape() == Shape{13, 20, channels});
    for (std::int64_t i = 0; i < bigger.size(); ++i)
      CHECK(bigger[i] == Approx(0.25 * static_cast<double>(i % channels)).margin(1e-6));
    CHECK(io::resize_image(flat, 1, 1).shape() == Shape{1, 1, channels});
  }
  // A ramp stays a ramp inside, and nothing leaves the range of the values.
  Tensor<double> ramp({1, 16, 1});
  for (std::int64_t x = 0; x < 16; ++x) ramp[x] = static_cast<double>(x) / 15.0;
  const auto wide = io::resize_image(ramp, 1, 32);
  for (std::int64_t x = 6; x < 26; ++x)
    CHECK(wide[x] == Approx((static_cast<double>(x) - 0.5) / 2.0 / 15.0).margin(1e-5));
  const auto edge = io::resize_image(Tensor<float>({1, 4, 1}, {0.0F, 0.0F, 1.0F, 1.0F}), 1, 16);
  for (const float value : edge) CHECK((value >= 0.0F && value <= 1.0F));
  CHECK_THAT(refusal<ValueError>([&] { static_cast<void>(io::resize_image(ramp, 0, 3)); }),
             ContainsSubstring("got 0 and 3"));
  CHECK_THAT(refusal<ShapeError>([&] {
               static_cast<void>(io::resize_image(Tensor<float>({3, 3}), 2, 2));
             }),
             ContainsSubstring("[H, W, C]"));
}
