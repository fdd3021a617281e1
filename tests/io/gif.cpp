#include "easy_diffusion/io/gif.hpp"

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <gif_lib.h>

#include "io/file_tools.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::test;

namespace {

struct ReadGif {
  Tensor<std::uint8_t> frames;  // [F, H, W, 3]
  std::vector<int> delays;
  bool loops = false;
};

ReadGif read_gif(const std::filesystem::path& path) {
  int error = 0;
  const auto close = [](GifFileType* gif) { DGifCloseFile(gif, nullptr); };
  const std::unique_ptr<GifFileType, decltype(close)> gif(DGifOpenFileName(path.c_str(), &error), close);
  REQUIRE(gif != nullptr);
  REQUIRE(DGifSlurp(gif.get()) == GIF_OK);
  CHECK(slurp(path).substr(0, 6) == "GIF89a");
  ReadGif result;
  result.frames = Tensor<std::uint8_t>({gif->ImageCount, gif->SHeight, gif->SWidth, 3});
  std::int64_t at = 0;
  for (int i = 0; i < gif->ImageCount; ++i) {
    const SavedImage& image = gif->SavedImages[i];
    CHECK(image.ImageDesc.Width == gif->SWidth);
    CHECK(image.ImageDesc.Height == gif->SHeight);
    const ColorMapObject* map = image.ImageDesc.ColorMap != nullptr ? image.ImageDesc.ColorMap : gif->SColorMap;
    REQUIRE(map != nullptr);
    for (int p = 0; p < gif->SWidth * gif->SHeight; ++p) {
      const GifColorType& colour = map->Colors[image.RasterBits[p]];
      result.frames[at++] = colour.Red;
      result.frames[at++] = colour.Green;
      result.frames[at++] = colour.Blue;
    }
    GraphicsControlBlock control{};
    REQUIRE(DGifSavedExtensionToGCB(gif.get(), i, &control) == GIF_OK);
    result.delays.push_back(control.DelayTime);
    for (int e = 0; e < image.ExtensionBlockCount; ++e) {
      const ExtensionBlock& block = image.ExtensionBlocks[e];
      if (block.Function == APPLICATION_EXT_FUNC_CODE && block.ByteCount == 11)
        result.loops = std::string(reinterpret_cast<const char*>(block.Bytes), 11) == "NETSCAPE2.0";
    }
  }
  return result;
}

}  // namespace

TEST_CASE("GIF: grey frames come back exactly", "[io]") {
  const auto path = scratch_folder("gif_grey") / "a.gif";
  Tensor<float> frames({3, 16, 17, 1});
  for (std::int64_t i = 0; i < frames.size(); ++i) frames[i] = static_cast<float>((i * 7) % 256) / 255.0F;
  io::save_gif(path, frames, {.delay = 4, .hold = 200});
  const ReadGif gif = read_gif(path);
  REQUIRE(gif.frames.shape() == Shape{3, 16, 17, 3});
  CHECK(gif.delays == std::vector<int>{4, 4, 200});
  CHECK(gif.loops);
  for (std::int64_t i = 0; i < frames.size(); ++i)
    for (std::int64_t c = 0; c < 3; ++c) REQUIRE(gif.frames[3 * i + c] == (i * 7) % 256);
}

TEST_CASE("GIF: frames of few colours come back exactly, many colours nearly", "[io]") {
  const auto path = scratch_folder("gif_colour") / "a.gif";
  Tensor<std::uint8_t> frames({2, 40, 50, 3});
  Dice dice(17);
  const std::int64_t frame = 40 * 50 * 3;
  for (std::int64_t i = 0; i < frame; ++i) frames[i] = static_cast<std::uint8_t>(36 * dice(6));  // 216 colours
  for (std::int64_t i = 0; i < frame; ++i) frames[frame + i] = static_cast<std::uint8_t>(dice(256));
  io::save_gif(path, frames, {.loop = false});
  const ReadGif gif = read_gif(path);
  REQUIRE(gif.frames.shape() == frames.shape());
  CHECK(gif.delays == std::vector<int>{5, 5});
  CHECK_FALSE(gif.loops);
  CHECK(std::equal(frames.begin(), frames.begin() + frame, gif.frames.begin()));
  double error = 0;
  for (std::int64_t i = frame; i < frames.size(); ++i) error += std::abs(frames[i] - gif.frames[i]);
  // 256 boxes of a cube of 256^3 are about 40 wide: a mean distance of 10 in each channel.
  CHECK(error / static_cast<double>(frame) < 13);
}

TEST_CASE("GIF: a smooth picture keeps its colours", "[io]") {
  const auto path = scratch_folder("gif_smooth") / "a.gif";
  Tensor<double> frames({1, 64, 64, 3});
  for (std::int64_t y = 0; y < 64; ++y)
    for (std::int64_t x = 0; x < 64; ++x) {
      frames(0, y, x, 0) = static_cast<double>(y) / 63;
      frames(0, y, x, 1) = static_cast<double>(x) / 63;
      frames(0, y, x, 2) = 0.5;
    }
  io::save_gif(path, frames);
  const ReadGif gif = read_gif(path);
  const auto bytes = io::to_bytes(frames);
  int worst = 0;
  for (std::int64_t i = 0; i < bytes.size(); ++i) worst = std::max(worst, std::abs(bytes[i] - gif.frames[i]));
  CHECK(worst <= 16);
}

TEST_CASE("GIF: one pixel, one frame", "[io]") {
  const auto path = scratch_folder("gif_small") / "a.gif";
  io::save_gif(path, Tensor<float>({1, 1, 1, 3}, 1.0F));
  const ReadGif gif = read_gif(path);
  CHECK(gif.frames.shape() == Shape{1, 1, 1, 3});
  CHECK(gif.frames[0] == 255);
}

TEST_CASE("GIF: refusals leave the old file", "[io]") {
  const auto folder = scratch_folder("gif_bad");
  const auto path = spill(folder / "a.gif", "old");
  const Tensor<float> frames({2, 3, 3, 1});
  CHECK_THAT(refusal<ValueError>([&] { io::save_gif(path, frames, {.delay = -1}); }),
             ContainsSubstring("delay: expected 0 to 65535"));
  CHECK_THAT(refusal<ValueError>([&] { io::save_gif(path, frames, {.hold = 65536}); }), ContainsSubstring("hold"));
  CHECK_THAT(refusal<ShapeError>([&] {
               io::save_gif(path, Tensor<float>({2, 3, 3, 4}));
             }),
             ContainsSubstring("got [2, 3, 3, 4]"));
  CHECK_THAT(refusal<ShapeError>([&] {
               io::save_gif(path, Tensor<float>({0, 3, 3, 1}));
             }),
             ContainsSubstring("at least one frame"));
  CHECK_THAT(refusal<ShapeError>([&] {
               io::save_gif(path, Tensor<float>({1, 1, 65536, 1}));
             }),
             ContainsSubstring("65535"));
  CHECK_THAT(refusal<ValueError>([&] {
               io::save_gif(path, Tensor<float>({1, 3, 3, 1}, std::nanf("")));
             }),
             ContainsSubstring("nan"));
  CHECK(slurp(path) == "old");
  CHECK(listing(folder) == std::vector<std::string>{"a.gif"});
  CHECK_THAT(refusal<IoError>([&] { io::save_gif(folder / "none" / "a.gif", frames); }),
             ContainsSubstring("No such file"));
}
