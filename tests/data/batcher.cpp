#include "easy_diffusion/data/batcher.hpp"

#include <algorithm>
#include <cstdint>
#include <set>
#include <vector>

#include "easy_diffusion/data/augmentation.hpp"
#include "io/file_tools.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::test;
using data::Batcher;
using data::ImageDataset;
using data::PixelRange;

namespace {

/// Picture n is 1 x 3 and holds n, n + 1, n + 2; its label is n mod 4.
ImageDataset counting_set(std::int64_t count) {
  ImageDataset set;
  set.name = "counting";
  set.images = Tensor<std::uint8_t>({count, 1, 3, 1});
  for (std::int64_t n = 0; n < count; ++n) {
    for (std::int64_t x = 0; x < 3; ++x) set.images(n, 0, x, 0) = static_cast<std::uint8_t>(n + x);
    set.labels.push_back(n % 4);
  }
  return set;
}

std::vector<std::uint32_t> copy(std::span<const std::uint32_t> span) { return {span.begin(), span.end()}; }

}  // namespace

TEST_CASE("batcher: each epoch has every picture once, in another order", "[data]") {
  const ImageDataset set = counting_set(10);
  Batcher batcher(set, {.batch_size = 4, .seed = 3});
  CHECK(batcher.batches_per_epoch() == 3);
  CHECK(batcher.size_of(0) == 4);
  CHECK(batcher.size_of(2) == 2);
  std::vector<std::vector<std::uint32_t>> orders;
  for (std::int64_t epoch = 0; epoch < 3; ++epoch) {
    std::vector<std::uint32_t> order;
    for (std::int64_t batch = 0; batch < 3; ++batch)
      for (const std::uint32_t index : batcher.indices({epoch, batch})) order.push_back(index);
    CHECK(order.size() == 10);
    CHECK(std::set<std::uint32_t>(order.begin(), order.end()).size() == 10);
    CHECK(order == random_permutation(10, {3, streams::data_order, static_cast<std::uint32_t>(epoch)}));
    orders.push_back(order);
  }
  CHECK(orders[0] != orders[1]);
  CHECK(orders[1] != orders[2]);
}

TEST_CASE("batcher: a batch does not depend on what was asked before", "[data]") {
  const ImageDataset set = counting_set(100);
  Batcher through(set, {.batch_size = 7, .seed = 5});
  for (std::int64_t step = 0; step < 40; ++step) {
    const auto expected = copy(through.indices(through.at(step)));
    Batcher fresh(set, {.batch_size = 7, .seed = 5});
    CHECK(copy(fresh.indices(fresh.at(step))) == expected);
  }
  CHECK(through.at(0) == data::BatchPosition{0, 0});
  CHECK(through.at(15) == data::BatchPosition{1, 0});
  CHECK(through.at(16) == data::BatchPosition{1, 1});
}

TEST_CASE("batcher: pictures and labels", "[data]") {
  const ImageDataset set = counting_set(10);
  Batcher batcher(set, {.batch_size = 4, .seed = 3});
  Tensor<float> images;
  std::vector<std::int64_t> labels;
  for (std::int64_t step = 0; step < 5; ++step) {
    batcher.fill(step, images, &labels);
    const auto chosen = batcher.indices(batcher.at(step));
    REQUIRE(images.shape() == Shape{static_cast<std::int64_t>(chosen.size()), 1, 3, 1});
    REQUIRE(labels.size() == chosen.size());
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      CHECK(labels[i] == chosen[i] % 4);
      for (std::int64_t x = 0; x < 3; ++x)
        CHECK(images(i, 0, x, 0) == static_cast<float>(chosen[i] + static_cast<std::uint32_t>(x)) / 255.0F);
    }
  }
}

TEST_CASE("batcher: in order, and without the short batch", "[data]") {
  const ImageDataset set = counting_set(10);
  Batcher batcher(set, {.batch_size = 4, .shuffle = false, .drop_last = true});
  CHECK(batcher.batches_per_epoch() == 2);
  CHECK(copy(batcher.indices({0, 1})) == std::vector<std::uint32_t>{4, 5, 6, 7});
  CHECK(copy(batcher.indices({7, 0})) == std::vector<std::uint32_t>{0, 1, 2, 3});
}

TEST_CASE("batcher: the ends of the range are exact", "[data]") {
  ImageDataset set;
  set.images = Tensor<std::uint8_t>({1, 1, 3, 1}, {0, 255, 51});
  Tensor<float> x;
  Batcher(set, {.range = PixelRange::minus_one_to_one}).fill(0, x);
  CHECK(x[0] == -1.0F);
  CHECK(x[1] == 1.0F);
  CHECK(x[2] == Approx(-0.6));
  Tensor<double> y;
  Batcher(set).fill(0, y);
  CHECK(y[0] == 0.0);
  CHECK(y[1] == 1.0);
  CHECK(y[2] == 0.2);
}

TEST_CASE("batcher: mirrored pictures are addressed by picture and epoch", "[data]") {
  const ImageDataset set = counting_set(200);
  Batcher mirrored(set, {.batch_size = 200, .seed = 9, .shuffle = false, .mirror = true});
  Batcher shuffled(set, {.batch_size = 13, .seed = 9, .mirror = true});
  Tensor<float> x;
  Tensor<float> y;
  std::int64_t changed_between_epochs = 0;
  std::vector<bool> before(200);
  for (std::int64_t epoch = 0; epoch < 2; ++epoch) {
    mirrored.fill(data::BatchPosition{epoch, 0}, x);
    std::int64_t count = 0;
    for (std::int64_t n = 0; n < 200; ++n) {
      const bool is_mirrored = x(n, 0, 0, 0) > x(n, 0, 2, 0);
      CHECK(is_mirrored == data::is_mirrored(9, static_cast<std::uint32_t>(epoch), n));
      count += is_mirrored ? 1 : 0;
      if (epoch == 1 && is_mirrored != before[static_cast<std::size_t>(n)]) ++changed_between_epochs;
      before[static_cast<std::size_t>(n)] = is_mirrored;
    }
    CHECK(count > 70);
    CHECK(count < 130);
    for (std::int64_t batch = 0; batch < shuffled.batches_per_epoch(); ++batch) {
      shuffled.fill(data::BatchPosition{epoch, batch}, y);
      const auto chosen = shuffled.indices({epoch, batch});
      for (std::size_t i = 0; i < chosen.size(); ++i)
        for (std::int64_t p = 0; p < 3; ++p) CHECK(y(i, 0, p, 0) == x(chosen[i], 0, p, 0));
    }
  }
  CHECK(changed_between_epochs > 50);
}

TEST_CASE("mirror: swaps left and right and keeps channels", "[data]") {
  std::vector<int> x = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  data::mirror(x.data(), 2, 3, 2);
  CHECK(x == std::vector<int>{5, 6, 3, 4, 1, 2, 11, 12, 9, 10, 7, 8});
  data::mirror(x.data(), 3, 4, 1);
  CHECK(x == std::vector<int>{4, 3, 6, 5, 12, 11, 2, 1, 8, 7, 10, 9});
}

TEST_CASE("move_picture: pixel by pixel, in every direction", "[data]") {
  constexpr std::int64_t height = 3, width = 4, channels = 2;
  std::vector<int> before(height * width * channels);
  for (std::size_t i = 0; i < before.size(); ++i) before[i] = static_cast<int>(i);
  for (std::int64_t down = -2; down <= 2; ++down)
    for (std::int64_t right = -3; right <= 3; ++right) {
      std::vector<int> moved = before;
      data::move_picture(moved.data(), height, width, channels, {down, right});
      for (std::int64_t y = 0; y < height; ++y)
        for (std::int64_t x = 0; x < width; ++x)
          for (std::int64_t c = 0; c < channels; ++c) {
            const std::int64_t from_y = std::min(std::max(y - down, std::int64_t{0}), height - 1);
            const std::int64_t from_x = std::min(std::max(x - right, std::int64_t{0}), width - 1);
            CHECK(moved[static_cast<std::size_t>((y * width + x) * channels + c)] ==
                  before[static_cast<std::size_t>((from_y * width + from_x) * channels + c)]);
          }
    }
}

TEST_CASE("batcher: shifted pictures are addressed by picture and epoch", "[data]") {
  ImageDataset set;
  set.name = "dots";  // a white pixel in the middle
  set.images = Tensor<std::uint8_t>({300, 5, 5, 1});
  for (std::int64_t n = 0; n < 300; ++n) set.images(n, 2, 2, 0) = 255;
  Batcher in_order(set, {.batch_size = 300, .seed = 4, .shuffle = false, .mirror = true, .shift = 1});
  Batcher shuffled(set, {.batch_size = 17, .seed = 4, .mirror = true, .shift = 1});
  Tensor<float> x;
  Tensor<float> y;
  std::vector<std::int64_t> counts(9);
  std::vector<std::int64_t> before(300, -1);
  std::int64_t unchanged = 0;
  for (std::int64_t epoch = 0; epoch < 2; ++epoch) {
    in_order.fill(data::BatchPosition{epoch, 0}, x);
    for (std::int64_t n = 0; n < 300; ++n) {
      const data::Shift shift = data::shift_of(4, static_cast<std::uint32_t>(epoch), n, 1);
      CHECK(x(n, 2 + shift.down, 2 + shift.right, 0) == 1.0F);
      const std::int64_t place = 3 * (shift.down + 1) + shift.right + 1;
      ++counts[static_cast<std::size_t>(place)];
      unchanged += place == before[static_cast<std::size_t>(n)] ? 1 : 0;
      before[static_cast<std::size_t>(n)] = place;
    }
    for (std::int64_t batch = 0; batch < shuffled.batches_per_epoch(); ++batch) {
      shuffled.fill(data::BatchPosition{epoch, batch}, y);
      const auto chosen = shuffled.indices({epoch, batch});
      for (std::size_t i = 0; i < chosen.size(); ++i)
        for (std::int64_t p = 0; p < 25; ++p)
          CHECK(y[static_cast<std::int64_t>(i) * 25 + p] == x[std::int64_t{chosen[i]} * 25 + p]);
    }
  }
  for (const std::int64_t count : counts) {  // 66.7 expected, 7.7 their standard deviation
    CHECK(count > 30);
    CHECK(count < 105);
  }
  CHECK(unchanged < 70);  // 33.3 expected
}

TEST_CASE("batcher: refusals", "[data]") {
  const ImageDataset set = counting_set(10);
  CHECK_THAT(refusal<ValueError>([&] { Batcher(set, {.batch_size = 0}); }),
             ContainsSubstring("batch size: expected at least 1, got 0"));
  CHECK_THAT(refusal<ValueError>([&] { Batcher(set, {.batch_size = 11, .drop_last = true}); }),
             ContainsSubstring("expected at most the 10 pictures there are, got 11"));
  CHECK_THAT(refusal<ValueError>([&] { Batcher(set, {.shift = 1}); }),
             ContainsSubstring("shift: expected 0 to 0, got 1"));
  CHECK_THAT(refusal<ValueError>([&] { Batcher(set, {.shift = -1}); }), ContainsSubstring("got -1"));
  Batcher batcher(set, {.batch_size = 4});
  CHECK_THAT(refusal<ValueError>([&] {
               static_cast<void>(batcher.indices({0, 3}));
             }),
             ContainsSubstring("batch: expected 0 to 2, got 3"));
  CHECK_THAT(refusal<ValueError>([&] { static_cast<void>(batcher.indices({-1, 0})); }), ContainsSubstring("epoch"));
  CHECK_THAT(refusal<ValueError>([&] {
               static_cast<void>(batcher.indices({std::int64_t{1} << 32, 0}));
             }),
             ContainsSubstring("epoch"));
  const ImageDataset none;
  CHECK_THAT(refusal<FormatError>([&] { Batcher b(none); }), ContainsSubstring("expected pictures [N, H, W, C]"));
  ImageDataset unlabelled = counting_set(3);
  unlabelled.labels.clear();
  Tensor<float> images;
  std::vector<std::int64_t> labels;
  CHECK_THAT(refusal<ValueError>([&] { Batcher(unlabelled).fill(0, images, &labels); }),
             ContainsSubstring("counting has no labels"));
}
