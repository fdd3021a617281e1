/// \file
/// At most 256 colours for a picture: its own where they are that few, else by median cut.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace easy_diffusion::io::detail {

using Colour = std::array<std::uint8_t, 3>;

/// A picture by numbers: `palette[index[i]]` is the colour of pixel i.
struct IndexedPicture {
  std::vector<Colour> palette;
  std::vector<std::uint8_t> index;
};

/// Median cut \cite heckbert_1982_colour_quantization: the box of colours with the widest spread, weighted by
/// its pixels, is cut in two halves of pixels until there are 256 boxes; each is shown by its mean. \param
/// pixels [pixels, 3]
inline IndexedPicture to_palette(std::span<const std::uint8_t> pixels) {
  struct Counted {
    Colour colour;
    std::uint64_t count;
  };
  const std::size_t count = pixels.size() / 3;
  std::vector<std::pair<std::uint32_t, std::size_t>> keys(count);  // colour, pixel
  for (std::size_t i = 0; i < count; ++i)
    keys[i] = {(std::uint32_t{pixels[3 * i]} << 16) | (std::uint32_t{pixels[3 * i + 1]} << 8) | pixels[3 * i + 2], i};
  std::sort(keys.begin(), keys.end());
  std::vector<Counted> colours;
  std::vector<std::size_t> colour_of(count);  // pixel -> colour
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t key = keys[i].first;
    if (i == 0 || key != keys[i - 1].first)
      colours.push_back(
          {{static_cast<std::uint8_t>(key >> 16), static_cast<std::uint8_t>(key >> 8), static_cast<std::uint8_t>(key)},
           0});
    ++colours.back().count;
    colour_of[keys[i].second] = colours.size() - 1;
  }

  struct Box {
    std::size_t first, last;
    std::uint64_t pixels;
    std::size_t axis;
    std::uint64_t spread;
  };
  std::vector<std::size_t> order(colours.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto make_box = [&](std::size_t first, std::size_t last) {
    Box box{first, last, 0, 0, 0};
    Colour low{255, 255, 255};
    Colour high{0, 0, 0};
    for (std::size_t i = first; i < last; ++i) {
      const Counted& each = colours[order[i]];
      box.pixels += each.count;
      for (std::size_t axis = 0; axis < 3; ++axis) {
        low[axis] = std::min(low[axis], each.colour[axis]);
        high[axis] = std::max(high[axis], each.colour[axis]);
      }
    }
    for (std::size_t axis = 0; axis < 3; ++axis) {
      const auto width = static_cast<std::uint64_t>(high[axis] - low[axis]);
      if (width > box.spread) {
        box.spread = width;
        box.axis = axis;
      }
    }
    return box;
  };
  std::vector<Box> boxes;
  if (colours.size() <= 256) {
    for (std::size_t i = 0; i < colours.size(); ++i) boxes.push_back(make_box(i, i + 1));
  } else {
    boxes.push_back(make_box(0, colours.size()));
    while (boxes.size() < 256) {
      const auto widest = std::max_element(boxes.begin(), boxes.end(), [](const Box& a, const Box& b) {
        return a.spread * a.pixels < b.spread * b.pixels;
      });
      const Box box = *widest;
      const auto begin = order.begin();
      std::sort(begin + static_cast<std::ptrdiff_t>(box.first), begin + static_cast<std::ptrdiff_t>(box.last),
                [&](std::size_t a, std::size_t b) {
                  const std::uint8_t x = colours[a].colour[box.axis];
                  const std::uint8_t y = colours[b].colour[box.axis];
                  return x != y ? x < y : a < b;  // one order, whatever the sorting does
                });
      std::size_t cut = box.first + 1;
      std::uint64_t before = colours[order[box.first]].count;
      while (cut + 1 < box.last && 2 * before < box.pixels) before += colours[order[cut++]].count;
      *widest = make_box(box.first, cut);
      boxes.push_back(make_box(cut, box.last));
    }
  }

  IndexedPicture result;
  std::vector<std::uint8_t> box_of(colours.size());
  for (const Box& box : boxes) {
    std::array<std::uint64_t, 3> sum{};
    for (std::size_t i = box.first; i < box.last; ++i) {
      const Counted& each = colours[order[i]];
      box_of[order[i]] = static_cast<std::uint8_t>(result.palette.size());
      for (std::size_t axis = 0; axis < 3; ++axis) sum[axis] += each.count * each.colour[axis];
    }
    Colour mean{};
    for (std::size_t axis = 0; axis < 3; ++axis)
      mean[axis] = static_cast<std::uint8_t>((sum[axis] + box.pixels / 2) / box.pixels);
    result.palette.push_back(mean);
  }
  result.index.resize(count);
  for (std::size_t i = 0; i < count; ++i) result.index[i] = box_of[colour_of[i]];
  return result;
}

}  // namespace easy_diffusion::io::detail
