#include "easy_diffusion/data/framing.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "data/pictures.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::test;
using data::framed;
using data::Framing;

namespace {

bool same(const Tensor<std::uint8_t>& a, const Tensor<std::uint8_t>& b) {
  return a.shape() == b.shape() && std::equal(a.begin(), a.end(), b.begin());
}

std::string refused(const Tensor<float>& picture, const data::PictureOptions& options) {
  return refusal<ValueError>([&] { static_cast<void>(framed(picture, options)); });
}

}  // namespace

TEST_CASE("framing: a picture that fits already keeps its bytes", "[data]") {
  const auto colour = speckled({8, 8, 3}, 1);
  for (const Framing framing : {Framing::crop, Framing::fit, Framing::stretch})
    CHECK(same(framed(as_numbers(colour), {.size = 8, .framing = framing}), colour));
  const auto grey = speckled({8, 8, 1}, 2);
  CHECK(same(framed(as_numbers(grey), {.size = 8, .channels = 1}), grey));
  const auto spread = framed(as_numbers(grey), {.size = 8});
  REQUIRE(spread.shape() == Shape{8, 8, 3});
  for (std::int64_t i = 0; i < spread.size(); ++i) CHECK(spread[i] == grey[i / 3]);
}

TEST_CASE("framing: cropped to the middle, tall and wide", "[data]") {
  const auto wide = speckled({4, 9, 3}, 3);
  const auto cut = framed(as_numbers(wide), {.size = 4});
  for (std::int64_t y = 0; y < 4; ++y)
    for (std::int64_t x = 0; x < 4; ++x)
      for (std::int64_t c = 0; c < 3; ++c) CHECK(cut(y, x, c) == wide(y, x + 2, c));
  const auto tall = speckled({8, 4, 3}, 4);
  const auto low = framed(as_numbers(tall), {.size = 4});
  for (std::int64_t y = 0; y < 4; ++y)
    for (std::int64_t x = 0; x < 4; ++x)
      for (std::int64_t c = 0; c < 3; ++c) CHECK(low(y, x, c) == tall(y + 2, x, c));
}

TEST_CASE("framing: fit leaves white beside the picture, stretch none", "[data]") {
  const auto dark = as_numbers(plain(4, 8, 1, 10));
  const auto fit = framed(dark, {.size = 8, .channels = 1, .framing = Framing::fit});
  for (std::int64_t y = 0; y < 8; ++y)
    for (std::int64_t x = 0; x < 8; ++x) CHECK(fit(y, x, 0) == (y >= 2 && y < 6 ? 10 : 255));
  const auto upright = framed(as_numbers(plain(40, 15, 1, 10)), {.size = 16, .channels = 1, .framing = Framing::fit});
  for (std::int64_t y = 0; y < 16; ++y)
    for (std::int64_t x = 0; x < 16; ++x) CHECK(upright(y, x, 0) == (x >= 5 && x < 11 ? 10 : 255));
  const auto thin = framed(as_numbers(plain(1, 64, 1, 0)), {.size = 16, .channels = 1, .framing = Framing::fit});
  CHECK(std::count(thin.begin(), thin.end(), std::uint8_t{0}) == 16);  // a line remains
  const auto stretched = framed(dark, {.size = 8, .channels = 1, .framing = Framing::stretch});
  CHECK(std::all_of(stretched.begin(), stretched.end(), [](int value) { return value == 10; }));
}

TEST_CASE("framing: shrinking averages, and keeps up and left", "[data]") {
  // Black and white in stripes of a pixel: whoever takes single pixels gets black or white.
  Tensor<float> stripes({64, 64, 1});
  for (std::int64_t y = 0; y < 64; ++y)
    for (std::int64_t x = 0; x < 64; ++x) stripes(y, x, 0) = static_cast<float>((x + y) % 2);
  const auto mean = framed(stripes, {.size = 16, .channels = 1});
  for (std::int64_t y = 1; y < 15; ++y)
    for (std::int64_t x = 1; x < 15; ++x) CHECK(std::abs(mean(y, x, 0) - 128) <= 3);

  Tensor<float> corner({64, 64, 1});
  for (std::int64_t y = 0; y < 16; ++y)
    for (std::int64_t x = 0; x < 32; ++x) corner(y, x, 0) = 1;
  const auto small = framed(corner, {.size = 8, .channels = 1});
  for (std::int64_t y = 0; y < 8; ++y)
    for (std::int64_t x = 0; x < 8; ++x) {
      if (y < 1 && x < 3) CHECK(small(y, x, 0) > 200);
      if (y > 2 || x > 4) CHECK(small(y, x, 0) < 10);
    }
}

TEST_CASE("framing: coverage is laid on white", "[data]") {
  const Tensor<float> half({1, 2, 4}, {1.0F, 0.0F, 0.2F, 0.5F, 0.3F, 0.9F, 0.1F, 0.0F});
  const auto colour = framed(half, {.size = 1, .framing = Framing::crop});
  CHECK(colour[0] == 255);
  CHECK(colour[1] == 128);
  CHECK(colour[2] == 153);  // 0.5 * 0.2 + 0.5
  const Tensor<float> grey({1, 1, 2}, {0.2F, 0.25F});
  CHECK(framed(grey, {.size = 1})[2] == 204);
  // What lies under no coverage is not seen, not even beside an edge.
  Tensor<float> sprite({16, 16, 4});
  for (std::int64_t y = 0; y < 16; ++y)
    for (std::int64_t x = 0; x < 16; ++x) {
      sprite(y, x, x < 8 ? 0 : 2) = 1;  // red on the left, blue on the right
      sprite(y, x, 3) = x < 8 ? 0.0F : 1.0F;
    }
  const auto shrunk = framed(sprite, {.size = 5});
  for (std::int64_t y = 0; y < 5; ++y)
    for (std::int64_t x = 0; x < 5; ++x) {
      CHECK(shrunk(y, x, 0) == shrunk(y, x, 1));
      CHECK(shrunk(y, x, 2) == 255);
    }
}

TEST_CASE("framing: grey is the weighted sum of the colours", "[data]") {
  const auto grey_of = [](float red, float green, float blue) {
    return int{framed(Tensor<float>({1, 1, 3}, {red, green, blue}), {.size = 1, .channels = 1})[0]};
  };
  CHECK(grey_of(1, 0, 0) == 76);
  CHECK(grey_of(0, 1, 0) == 150);
  CHECK(grey_of(0, 0, 1) == 29);
  CHECK(grey_of(1, 1, 1) == 255);
  CHECK(grey_of(0, 0, 0) == 0);
}

TEST_CASE("framing: refusals", "[data]") {
  const Tensor<float> picture({8, 8, 3});
  CHECK_THAT(refused(picture, {.size = 0}), ContainsSubstring("size: expected 1 to 4096, got 0"));
  CHECK_THAT(refused(picture, {.size = 4097}), ContainsSubstring("got 4097"));
  CHECK_THAT(refused(picture, {.channels = 2}), ContainsSubstring("channels: expected 1 (grey) or 3"));
  CHECK_THAT(refused(picture, {.max_enlargement = std::numeric_limits<double>::quiet_NaN()}),
             ContainsSubstring("enlargement"));
  CHECK_THAT(refused(picture, {.size = 17}), ContainsSubstring("grows by at most 2 to become 17 x 17, got 8 x 8"));
  CHECK(framed(picture, {.size = 16}).shape() == Shape{16, 16, 3});
  CHECK(framed(picture, {.size = 17, .max_enlargement = 3}).shape() == Shape{17, 17, 3});
  CHECK_THAT(refused(Tensor<float>({1, 1, 3}), {.size = 32}), ContainsSubstring("got 1 x 1"));
  CHECK_THAT(refused(Tensor<float>({100, 2, 3}), {.size = 32}), ContainsSubstring("got 100 x 2"));
  CHECK(framed(Tensor<float>({100, 2, 3}), {.size = 32, .framing = Framing::fit}).shape() == Shape{32, 32, 3});
  CHECK_THAT(refused(Tensor<float>({1, 65537, 1}), {.size = 1}), ContainsSubstring("at most 65536 x 65536"));
  CHECK_THAT(refusal<ShapeError>([] {
               static_cast<void>(framed(Tensor<float>({4, 4}), {}));
             }),
             ContainsSubstring("[4, 4]"));
  CHECK_THAT(refusal<ShapeError>([] {
               static_cast<void>(framed(Tensor<float>({4, 0, 3}), {}));
             }),
             ContainsSubstring("at least one pixel"));
}
