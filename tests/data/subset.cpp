#include "easy_diffusion/data/subset.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "data/pictures.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::test;
using data::ImageDataset;

namespace {

/// Pictures of one pixel that is their number.
ImageDataset numbered(std::int64_t count, std::vector<std::int64_t> labels = {}) {
  ImageDataset set{.name = "set",
                   .images = Tensor<std::uint8_t>({count, 1, 1, 1}),
                   .labels = std::move(labels),
                   .class_names = {}};
  for (std::int64_t i = 0; i < count; ++i) set.images[i] = static_cast<std::uint8_t>(i);
  set.validate();
  return set;
}

std::map<std::int64_t, std::int64_t> counted(const std::vector<std::int64_t>& labels) {
  std::map<std::int64_t, std::int64_t> counts;
  for (const std::int64_t label : labels) ++counts[label];
  return counts;
}

}  // namespace

TEST_CASE("subset: every beginning of the fair order has each class as often as it can", "[data]") {
  // Class after class, of 40, 3 and 20 pictures.
  std::vector<std::int64_t> labels(40, 0);
  labels.resize(43, 1);
  labels.resize(63, 2);
  const ImageDataset set = numbered(63, labels);
  const auto order = data::fair_order(set);
  CHECK(std::set<std::int64_t>(order.begin(), order.end()).size() == 63);
  CHECK(order == data::fair_order(set));
  std::map<std::int64_t, std::int64_t> taken;
  for (std::size_t i = 0; i < order.size(); ++i) {
    ++taken[labels[static_cast<std::size_t>(order[i])]];
    const auto most = std::max({taken[0], taken[1], taken[2]});
    CHECK(taken[0] >= std::min<std::int64_t>(40, most - 1));
    CHECK(taken[1] >= std::min<std::int64_t>(3, most - 1));
    CHECK(taken[2] >= std::min<std::int64_t>(20, most - 1));
  }
  // Within a class not the first ones.
  std::vector<std::int64_t> of_first;
  for (const std::int64_t picture : order)
    if (picture < 40) of_first.push_back(picture);
  CHECK(!std::is_sorted(of_first.begin(), of_first.end()));
  CHECK(*std::max_element(of_first.begin(), of_first.begin() + 8) > 10);
}

TEST_CASE("subset: a part has pictures and labels of the set, in its order", "[data]") {
  std::vector<std::int64_t> labels;
  for (int i = 0; i < 100; ++i) labels.push_back(i / 10);
  const ImageDataset set = numbered(100, labels);
  const ImageDataset part = data::fair_part(set, 25);
  REQUIRE(part.size() == 25);
  CHECK(std::is_sorted(part.images.begin(), part.images.end()));
  for (std::int64_t i = 0; i < 25; ++i) CHECK(part.labels[static_cast<std::size_t>(i)] == part.images[i] / 10);
  const auto counts = counted(part.labels);
  CHECK(counts.size() == 10);
  for (const auto& [label, count] : counts) CHECK((count == 2 || count == 3));
  CHECK(data::fair_part(set, 100).labels == set.labels);
  CHECK(data::fingerprint(data::fair_part(set, 100)) == data::fingerprint(set));
  CHECK_THAT(refusal<ValueError>([&] { static_cast<void>(data::fair_part(set, 101)); }), ContainsSubstring("1 to 100"));
  CHECK_THAT(refusal<ValueError>([&] { static_cast<void>(data::fair_part(set, 0)); }), ContainsSubstring("got 0"));

  const ImageDataset plain = data::fair_part(numbered(200), 20);  // without classes: not the first ones
  CHECK(plain.labels.empty());
  CHECK(plain.images[19] > 100);
}

TEST_CASE("subset: by numbers", "[data]") {
  const ImageDataset set = numbered(4, {3, 2, 1, 0});
  const std::vector<std::int64_t> numbers{2, 0, 2};
  const ImageDataset part = data::subset(set, numbers);
  CHECK(part.labels == std::vector<std::int64_t>{1, 3, 1});
  CHECK(part.images.shape() == Shape{3, 1, 1, 1});
  CHECK(part.images[1] == 0);
  CHECK_THAT(refusal<ValueError>([&] { static_cast<void>(data::subset(set, std::vector<std::int64_t>{4})); }),
             ContainsSubstring("0 to 3, got 4"));
  CHECK_THAT(refusal<ValueError>([&] { static_cast<void>(data::subset(set, std::vector<std::int64_t>{})); }),
             ContainsSubstring("got none"));
}

TEST_CASE("subset: sizes of classes, of those too that have no picture", "[data]") {
  CHECK(data::class_sizes(numbered(3)).empty());
  CHECK(data::class_sizes(numbered(4, {1, 3, 3, 1})) == std::vector<std::int64_t>{0, 2, 0, 2});
  ImageDataset named = numbered(2, {0, 0});
  named.class_names = {"a", "b"};
  CHECK(data::class_sizes(named) == std::vector<std::int64_t>{2, 0});
  CHECK_THAT(refusal<ValueError>([] { static_cast<void>(data::class_sizes(numbered(1, {1'000'000'000'000}))); }),
             ContainsSubstring("class numbers below 1048576, got 1000000000000"));
}
