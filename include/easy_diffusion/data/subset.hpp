/// \file
/// A part of a set's pictures in which each class has its share.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/data/image_dataset.hpp"

namespace easy_diffusion::data {

/// Numbers of all pictures of a set in an order of which every beginning is a fair sample: the classes take turns for as long
/// as they have pictures, and the pictures of a class, or of a set without classes, come at random. The same for each call.
/// \throw ValueError for 2^32 pictures or more
[[nodiscard]] inline std::vector<std::int64_t> fair_order(const ImageDataset& set) {
  if (set.size() > static_cast<std::int64_t>(UINT32_MAX))
    throw ValueError(set.name + ": expected fewer than 2^32 pictures, got " + std::to_string(set.size()));
  const auto shuffled = random_permutation(static_cast<std::uint32_t>(set.size()), {0, streams::data_choice, 0});
  // The round in which a picture's class comes to it.
  std::vector<std::pair<std::int64_t, std::int64_t>> rounds;
  std::map<std::int64_t, std::int64_t> taken;
  for (const std::uint32_t picture : shuffled)
    rounds.emplace_back(set.labels.empty() ? 0 : taken[set.labels[picture]]++, static_cast<std::int64_t>(picture));
  std::stable_sort(rounds.begin(), rounds.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::int64_t> order;
  for (const auto& [round, picture] : rounds) order.push_back(picture);
  return order;
}

/// The pictures of these numbers, with their labels, in this order; the names of the classes stay.
/// \throw ValueError for a number that the set does not have, or for none
[[nodiscard]] inline ImageDataset subset(const ImageDataset& set, std::span<const std::int64_t> numbers) {
  if (numbers.empty()) throw ValueError(set.name + ": expected at least one picture to take, got none");
  const Shape shape = set.images.shape().with_front(static_cast<std::int64_t>(numbers.size()));
  ImageDataset result{.name = set.name,
                      .images = Tensor<std::uint8_t>::uninitialized(shape),
                      .labels = {},
                      .class_names = set.class_names,
                      .left_out = set.left_out};
  const std::int64_t bytes = set.images.size() / set.size();
  std::uint8_t* to = result.images.data();
  for (const std::int64_t number : numbers) {
    if (number < 0 || number >= set.size())
      throw ValueError(set.name + ": expected numbers from 0 to " + std::to_string(set.size() - 1) + ", got " +
                       std::to_string(number));
    to = std::copy_n(set.images.data() + number * bytes, bytes, to);
    if (!set.labels.empty()) result.labels.push_back(set.labels[static_cast<std::size_t>(number)]);
  }
  return result;
}

/// So many pictures, the first of `fair_order`, in the order of the set. \throw ValueError unless 1 <= count <= set.size()
[[nodiscard]] inline ImageDataset fair_part(const ImageDataset& set, std::int64_t count) {
  if (count < 1 || count > set.size())
    throw ValueError(set.name + ": expected to take 1 to " + std::to_string(set.size()) + " pictures, got " +
                     std::to_string(count));
  std::vector<std::int64_t> numbers = fair_order(set);
  numbers.resize(static_cast<std::size_t>(count));
  std::sort(numbers.begin(), numbers.end());
  return subset(set, numbers);
}

/// How many pictures each class has, from 0 to the last that the set names or that occurs; nothing where there are no labels.
/// \throw ValueError for a class number of `most_classes` or more
[[nodiscard]] inline std::vector<std::int64_t> class_sizes(const ImageDataset& set) {
  constexpr std::int64_t most_classes = 1 << 20;
  std::vector<std::int64_t> sizes;
  if (set.labels.empty()) return sizes;
  const std::int64_t largest = *std::max_element(set.labels.begin(), set.labels.end());
  if (largest >= most_classes)
    throw ValueError(set.name + ": expected class numbers below " + std::to_string(most_classes) + ", got " +
                     std::to_string(largest));
  sizes.resize(std::max(set.class_names.size(), static_cast<std::size_t>(largest) + 1));
  for (const std::int64_t label : set.labels) ++sizes[static_cast<std::size_t>(label)];
  return sizes;
}

}  // namespace easy_diffusion::data
