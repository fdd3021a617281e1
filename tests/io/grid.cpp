#include "easy_diffusion/io/grid.hpp"

#include "io/file_tools.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::test;

TEST_CASE("grid: pictures lie row by row", "[io]") {
  Tensor<float> batch({5, 2, 3, 2});
  for (std::int64_t i = 0; i < batch.size(); ++i) batch[i] = static_cast<float>(i) / 100.0F;
  const std::int64_t padding = 1;
  const std::int64_t scale = 2;
  const auto grid = io::make_grid(batch, {.columns = 3, .padding = padding, .background = 0.75, .scale = scale});
  REQUIRE(grid.shape() == Shape{2 * (4 + 1) + 1, 3 * (6 + 1) + 1, 2});
  Tensor<float> seen(grid.shape(), 0.75F);
  for (std::int64_t n = 0; n < 5; ++n)
    for (std::int64_t y = 0; y < 4; ++y)
      for (std::int64_t x = 0; x < 6; ++x)
        for (std::int64_t c = 0; c < 2; ++c) seen(1 + n / 3 * 5 + y, 1 + n % 3 * 7 + x, c) = batch(n, y / 2, x / 2, c);
  CHECK(std::equal(seen.begin(), seen.end(), grid.begin()));
}

TEST_CASE("grid: columns", "[io]") {
  const auto columns = [](std::int64_t count, std::int64_t wish) {
    return io::make_grid(Tensor<std::uint8_t>({count, 1, 1, 1}), {.columns = wish, .padding = 0}).extent(1);
  };
  CHECK(columns(64, 0) == 8);
  CHECK(columns(1, 0) == 1);
  CHECK(columns(5, 0) == 3);
  CHECK(columns(5, 10) == 5);
  const auto bytes = io::make_grid(Tensor<std::uint8_t>({1, 1, 1}), {.padding = 1});
  CHECK(bytes.shape() == Shape{3, 3, 1});
  CHECK(bytes[0] == 255);
  CHECK(bytes[4] == 0);
}

TEST_CASE("grid: refusals", "[io]") {
  const Tensor<float> batch({2, 3, 3, 1});
  const auto refused = [&](const io::GridOptions& options) {
    return refusal<ValueError>([&] { static_cast<void>(io::make_grid(batch, options)); });
  };
  CHECK_THAT(refused({.columns = -1}), ContainsSubstring("columns: expected 0 to 65536, got -1"));
  CHECK_THAT(refused({.padding = -1}), ContainsSubstring("padding"));
  CHECK_THAT(refused({.background = 1.5}), ContainsSubstring("background"));
  CHECK_THAT(refused({.scale = 0}), ContainsSubstring("scale: expected 1 to 4096, got 0"));
  CHECK_THAT(refusal<ShapeError>([] {
               static_cast<void>(io::make_grid(Tensor<float>({0, 3, 3, 1})));
             }),
             ContainsSubstring("at least one picture"));
  CHECK_THAT(refusal<ShapeError>([] {
               static_cast<void>(io::make_grid(Tensor<float>({3, 3})));
             }),
             ContainsSubstring("[N, H, W, C]"));
}

TEST_CASE("grid: as a file", "[io]") {
  const auto path = scratch_folder("grid") / "a.png";
  io::save_grid(path, Tensor<float>({4, 3, 5, 3}, 0.2F));
  const auto x = io::load_image<std::uint8_t>(path);
  CHECK(x.shape() == Shape{2 * 5 + 2, 2 * 7 + 2, 3});
  CHECK(x(0, 0, 0) == 255);
  CHECK(x(2, 2, 0) == 51);
}
