/// \file
/// One Brownian path that can be asked for any interval, in any order: the virtual Brownian tree.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/grid.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

/// Where a tree begins and ends, how fine it is, and whose path it is.
struct BrownianTreeConfig {
  std::uint64_t seed = 0;
  double start = 0, end = 1;  ///< time runs from `start` to `end`, which may be the smaller one
  int depth = 24;             ///< times are rounded to multiples of the span / 2^depth; 1 to 31
  std::uint64_t first_element = 0;
  std::uint32_t stream = streams::brownian_tree;
  std::uint32_t space_time_stream = streams::brownian_tree_space_time;
};

/// A Brownian path on [start, end], as a noise source: the increment dW and the space-time integral dZ of a step depend on
/// its two times alone, whoever asks and in which order, and steps that follow each other add up. Nothing is stored: a
/// query bisects the span, and every bisection has noise with an address of its own
/// \cite li_2020_scalable \cite foster_2020_optimal. A dyadic interval costs its level, any other at most twice the depth.
/// Step indices are not looked at. It keeps work states: not for several threads.
template <State B>
class BrownianTree {
 public:
  /// \throw ValueError for times that are not finite or equal, or a depth outside [1, 31]
  explicit BrownianTree(const BrownianTreeConfig& config) : config_(config) {
    if (!std::isfinite(config.start) || !std::isfinite(config.end) || config.start == config.end)
      throw ValueError("Brownian tree: expected two finite times that differ, got " + detail::shown(config.start) +
                       " and " + detail::shown(config.end));
    if (config.depth < 1 || config.depth > 31)
      throw ValueError("Brownian tree: depth: expected 1 to 31, got " + std::to_string(config.depth));
  }

  [[nodiscard]] const BrownianTreeConfig& config() const noexcept { return config_; }

  /// \throw ValueError for a step outside [start, end], or one that is shorter than the span / 2^depth
  void increment(const Step& step, B& dw) {
    query(step, dw);
    dw = total_.w;
  }

  /// dZ too.
  void increment(const Step& step, B& dw, B& dz) {
    query(step, dw);
    dw = total_.w;
    // H is the mean of W - W(start) over the interval less dW / 2; the sign of dZ is that of dt.
    const double dt = step.dt < 0 ? -total_length_ : total_length_;
    dz = total_.h;
    update_elements(
        [dt](auto& z, const auto& w) {
          using T = std::remove_reference_t<decltype(z)>;
          z = static_cast<T>(dt) * (static_cast<T>(0.5) * w + z);
        },
        dz, dw);
  }

  /// dW over the root of its interval's length as the tree rounds it: of variance 1 however short the step is.
  /// \throw as `increment`
  void standard_increment(const Step& step, B& z) {
    query(step, z);
    z = total_.w;
    update_elements(
        [factor = 1 / std::sqrt(total_length_)](auto& e) { e *= static_cast<std::remove_reference_t<decltype(e)>>(factor); },
        z);
  }

  /// W(t) - W(start): the path itself. 0 at the start.
  /// \throw ValueError for a time outside [start, end]
  void value(double t, B& w) {
    if (position(t) == 0) {
      fill(w, 0);
    } else {
      increment({0, config_.start, t - config_.start}, w);
    }
  }

 private:
  struct Node {
    B w{}, h{};  ///< increment and space-time Levy area, which are independent
  };

  [[nodiscard]] std::uint64_t position(double t) const {
    const double share = (t - config_.start) / (config_.end - config_.start);
    const double units = std::ldexp(share, config_.depth);
    const double rounded = std::nearbyint(units);
    // Times of a grid differ from what they stand for by rounding: a little beyond the ends is at the ends.
    if (!(rounded >= 0 && rounded <= std::ldexp(1.0, config_.depth)))
      throw ValueError("Brownian tree: expected a time from " + detail::shown(config_.start) + " to " +
                       detail::shown(config_.end) + ", got " + detail::shown(t));
    return static_cast<std::uint64_t>(rounded);
  }

  void query(const Step& step, const B& shape) {
    const std::uint64_t from = position(step.t);
    const std::uint64_t to = position(step.t + step.dt);
    if (from >= to)
      throw ValueError("Brownian tree: expected a step of at least span / 2^depth from start towards end, got dt = " +
                       detail::shown(step.dt) + " at t = " + detail::shown(step.t));
    for (Node* const node : {&node_, &right_, &total_}) {
      make_room(node->w, shape);
      make_room(node->h, shape);
    }
    make_room(first_, shape);
    make_room(second_, shape);
    const double span = std::abs(config_.end - config_.start);
    draw(0, std::sqrt(span), std::sqrt(span / 12));
    node_.w = first_;
    node_.h = second_;
    total_length_ = 0;

    // Down to where the interval is a node, or lies on both sides of one's middle.
    std::uint64_t number = 1, low = 0, size = std::uint64_t{1} << config_.depth;
    double length = span;
    while (true) {
      if (from == low && to == low + size) {
        total_ = node_;
        total_length_ = length;
        return;
      }
      const std::uint64_t middle = low + size / 2;
      if (from < middle && to > middle) break;
      const bool go_right = from >= middle;
      bisect(number, length, go_right, nullptr);
      number = 2 * number + (go_right ? 1 : 0);
      low = go_right ? middle : low;
      size /= 2;
      length *= 0.5;
    }
    bisect(number, length, false, &right_);
    const std::uint64_t middle = low + size / 2;
    suffix(2 * number, low, size / 2, 0.5 * length, from);
    node_ = right_;
    prefix(2 * number + 1, middle, size / 2, 0.5 * length, to);
  }

  /// Adds the part [from, low + size] of the node at hand to the total, from right to left.
  void suffix(std::uint64_t number, std::uint64_t low, std::uint64_t size, double length, std::uint64_t from) {
    while (from > low) {
      const std::uint64_t middle = low + size / 2;
      if (from >= middle) {
        bisect(number, length, true, nullptr);
        number = 2 * number + 1;
        low = middle;
      } else {
        bisect(number, length, false, &other_);
        prepend(other_, 0.5 * length);
        number = 2 * number;
      }
      size /= 2;
      length *= 0.5;
    }
    prepend(node_, length);
  }

  /// Adds the part [low, to] of the node at hand to the total, from left to right.
  void prefix(std::uint64_t number, std::uint64_t low, std::uint64_t size, double length, std::uint64_t to) {
    while (to < low + size) {
      const std::uint64_t middle = low + size / 2;
      if (to <= middle) {
        bisect(number, length, false, nullptr);
        number = 2 * number;
      } else {
        bisect(number, length, true, &other_);
        append(other_, 0.5 * length);
        number = 2 * number + 1;
        low = middle;
      }
      size /= 2;
      length *= 0.5;
    }
    append(node_, length);
  }

  /// Splits the node at hand, which becomes its right or left half; the other half goes to `other` where it is asked for.
  void bisect(std::uint64_t number, double length, bool go_right, Node* other) {
    const double root = std::sqrt(length);
    draw(number, 0.25 * root, root * 0.14433756729740644);  // sqrt(3) / 12
    if (other != nullptr) {
      make_room(other->w, node_.w);
      make_room(other->h, node_.h);
      half(go_right ? -1 : 1, node_, other->w, other->h);
    }
    half(go_right ? 1 : -1, node_, node_.w, node_.h);
  }

  /// The left half (side -1) or the right one (side 1):
  /// W = W/2 -+ (3/2 H + x), H = H/4 - x/2 -+ y, with x and y of variance length/16 and length/48
  /// \cite foster_2020_optimal.
  void half(double side, const Node& from, B& w, B& h) const {
    update_elements(
        [side](auto& w_out, auto& h_out, const auto& w_in, const auto& h_in, const auto& x, const auto& y) {
          using T = std::remove_reference_t<decltype(w_out)>;
          const T s = static_cast<T>(side);
          const T old_h = h_in;
          const T lean = static_cast<T>(1.5) * old_h + x;
          w_out = static_cast<T>(0.5) * w_in - s * lean;
          h_out = (static_cast<T>(0.25) * old_h - static_cast<T>(0.5) * x) - s * y;
        },
        w, h, from.w, from.h, first_, second_);
  }

  /// total = node, then total
  void prepend(const Node& node, double length) { join(node, length, total_, total_length_); }
  /// total = total, then node
  void append(const Node& node, double length) { join(total_, total_length_, node, length); }

  /// The interval that is `a` and then `b`: H (a + b) = a (H_a - W_b / 2) + b (H_b + W_a / 2).
  void join(const Node& a, double a_length, const Node& b, double b_length) {
    if (total_length_ == 0) {
      total_ = a_length > 0 ? a : b;
      total_length_ = a_length + b_length;
      return;
    }
    const double length = a_length + b_length;
    update_elements(
        [pa = a_length / length, pb = b_length / length](auto& w, auto& h, const auto& wa, const auto& ha,
                                                         const auto& wb, const auto& hb) {
          using T = std::remove_reference_t<decltype(w)>;
          const T left = ha - static_cast<T>(0.5) * wb;
          const T right = hb + static_cast<T>(0.5) * wa;
          const T scaled = static_cast<T>(pa) * left;
          const T sum = wa + wb;
          h = static_cast<T>(pb) * right + scaled;
          w = sum;
        },
        total_.w, total_.h, a.w, a.h, b.w, b.h);
    total_length_ = length;
  }

  void draw(std::uint64_t number, double first, double second) {
    const auto step = static_cast<std::uint32_t>(number);
    draw_normal(first_, first, {config_.seed, config_.stream, step}, config_.first_element);
    draw_normal(second_, second, {config_.seed, config_.space_time_stream, step}, config_.first_element);
  }

  BrownianTreeConfig config_;
  Node node_, right_, other_, total_;
  double total_length_ = 0;
  B first_{}, second_{};
};

}  // namespace easy_diffusion::sde
