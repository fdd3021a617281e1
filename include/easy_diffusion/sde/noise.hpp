/// \file
/// Sources of Brownian increments whose bits depend on an address only: on no thread, batch or order of asking.
#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/sde/concepts.hpp"
#include "easy_diffusion/sde/state.hpp"

namespace easy_diffusion::sde {

namespace detail {

/// Deviates of one type, asked for in rising order of their number, made a few at a time.
template <class T>
class NormalReader {
 public:
  T operator()(const NoiseAddress& address, std::uint64_t i) {
    if (i < begin_ || i >= end_) {
      begin_ = i - i % count;
      end_ = begin_ + count;
      fill_normal(std::span<T>(buffer_, count), address, begin_);
    }
    return buffer_[i - begin_];
  }

 private:
  static constexpr std::uint64_t count = 16;
  T buffer_[count];
  std::uint64_t begin_ = 0;
  std::uint64_t end_ = 0;
};

template <class T>
void fill_scaled(T* out, std::int64_t first, std::int64_t last, T scale, const NoiseAddress& address,
                 std::uint64_t first_element) {
  // Short enough that a piece is still in the first cache when it is scaled.
  constexpr std::int64_t piece = 2048;
  for (std::int64_t i = first; i < last; i += piece) {
    const std::int64_t n = piece < last - i ? piece : last - i;
    fill_normal(std::span<T>(out + i, static_cast<std::size_t>(n)), address,
                first_element + static_cast<std::uint64_t>(i));
    for (std::int64_t j = i; j < i + n; ++j) out[j] *= scale;
  }
}

}  // namespace detail

/// x_i = standard_deviation * deviate number `first_element + i` of that address, for the elements in their order:
/// a starting state. Float elements take float deviates, double ones double deviates.
template <State S>
void draw_normal(S& x, double standard_deviation, const NoiseAddress& address, std::uint64_t first_element = 0) {
  if constexpr (std::floating_point<S>) {
    x = static_cast<S>(standard_deviation) * normal<S>(address, first_element);
  } else if constexpr (detail::Contiguous<S>) {
    using T = scalar_t<S>;
    T* const data = x.data();
    const auto n = static_cast<std::int64_t>(x.size());
    const T scale = static_cast<T>(standard_deviation);
    if (n > detail::parallel_grain) {
      parallel_for(0, n, detail::parallel_grain, [&](std::int64_t first, std::int64_t last) {
        detail::fill_scaled(data, first, last, scale, address, first_element);
      });
    } else {
      detail::fill_scaled(data, 0, n, scale, address, first_element);
    }
  } else {
    detail::NormalReader<float> floats;
    detail::NormalReader<double> doubles;
    std::uint64_t i = first_element;
    for_each_element(
        [&](auto& e) {
          using T = std::remove_reference_t<decltype(e)>;
          if constexpr (std::is_same_v<T, float>) {
            e = static_cast<T>(standard_deviation) * floats(address, i++);
          } else {
            e = static_cast<T>(standard_deviation * doubles(address, i++));
          }
        },
        x);
  }
}

/// Whether the noise of a source belongs to times, as that of a path does: steps that overlap then share noise, and steps in
/// one interval get the same again, whatever their indices. False: it belongs to indices, and steps of different ones are
/// independent, wherever they lie. A source says which by a member of this name; one that does not is taken to follow time.
template <class Noise>
[[nodiscard]] constexpr bool follows_time(const Noise& noise) {
  if constexpr (requires {
                  { noise.follows_time() } -> std::convertible_to<bool>;
                }) {
    return noise.follows_time();
  } else {
    return true;
  }
}

/// z = dW / sqrt(abs(dt)) of a step, standard normal: what samplers ask for, who weight it themselves. A source may offer it
/// as a member, with bits of its own: that of `BrownianNoise` does not depend on dt.
template <class Noise, State S>
void standard_increment(Noise& noise, const Step& step, S& z) {
  if constexpr (requires { noise.standard_increment(step, z); }) {
    noise.standard_increment(step, z);
  } else {
    noise.increment(step, z);
    update_elements(
        [factor = 1 / std::sqrt(std::abs(step.dt))](auto& e) { e *= static_cast<std::remove_reference_t<decltype(e)>>(factor); },
        z);
  }
}

/// Independent Brownian motions, one for every element: increment number (step, element) is a pure function of the
/// seed. Where a batch is split, each part sets `first_element` to the number of elements before it
/// (sample * elements a sample) and gets the increments that the whole batch would give it.
/// Step indices must be below 2^32.
struct BrownianNoise {
  std::uint64_t seed = 0;
  std::uint64_t first_element = 0;
  std::uint32_t stream = streams::brownian;
  std::uint32_t space_time_stream = streams::space_time;  ///< of the second deviate, for dZ

  [[nodiscard]] static constexpr bool follows_time() noexcept { return false; }

  /// The deviate of that index, the bits of an increment with dt = 1.
  template <State S>
  void standard_increment(const Step& step, S& z) const {
    draw_normal(z, 1, address(stream, step), first_element);
  }

  /// dW = sqrt(abs(dt)) * deviate
  /// \throw ValueError for a step index outside [0, 2^32)
  template <State S>
  void increment(const Step& step, S& dw) const {
    draw_normal(dw, std::sqrt(std::abs(step.dt)), address(stream, step), first_element);
  }

  /// Elements `first` to `first + dw.size() - 1` of that dW, the same bits, for a stepper that adds it piece by piece.
  template <std::floating_point T>
  void increment(const Step& step, std::span<T> dw, std::int64_t first) const {
    detail::fill_scaled(dw.data(), 0, static_cast<std::int64_t>(dw.size()),
                        static_cast<T>(std::sqrt(std::abs(step.dt))), address(stream, step),
                        first_element + static_cast<std::uint64_t>(first));
  }

  /// dW as above, the same bits, and dZ = dt/2 (dW + sqrt(abs(dt)/3) * second deviate).
  template <State S>
  void increment(const Step& step, S& dw, S& dz) const {
    increment(step, dw);
    draw_normal(dz, std::sqrt(std::abs(step.dt) / 3), address(space_time_stream, step), first_element);
    update_elements(
        [half = 0.5 * step.dt](auto& z, const auto& w) {
          z = static_cast<std::remove_reference_t<decltype(z)>>(half) * (w + z);
        },
        dz, dw);
  }

 private:
  [[nodiscard]] NoiseAddress address(std::uint32_t which, const Step& step) const {
    if (step.index < 0 || step.index > 0xFFFFFFFF)
      throw ValueError("Brownian noise: expected a step index in [0, 2^32), got " + std::to_string(step.index));
    return {seed, which, static_cast<std::uint32_t>(step.index)};
  }
};

/// A source that gives any piece of an increment to contiguous elements of T.
template <class Noise, class T>
concept PiecewiseNoise = requires(const Noise& noise, const Step& step, std::span<T> dw, std::int64_t first) {
  noise.increment(step, dw, first);
};

/// f(x_i, others_i..., dw_i) for every element. Where states are contiguous and the noise comes in pieces, an increment
/// goes from its making to its use through the first-level cache and is never stored; the bits are the same.
/// \param work takes dW otherwise
template <class F, State S, class Noise, class... Others>
void update_with_noise(F&& f, const Step& step, Noise& noise, S& work, S& x, const Others&... others) {
  if constexpr (detail::Contiguous<S> && !detail::is_std_array<S> && PiecewiseNoise<Noise, scalar_t<S>>) {
    (detail::expect_same_extents(x, others), ...);
    const auto over = [&](auto* to, const auto*... from) {
      return [&f, &step, &noise, to, from...](std::int64_t first, std::int64_t last) {
        constexpr std::int64_t piece = 1024;
        scalar_t<S> dw[piece];
        for (std::int64_t i = first; i < last; i += piece) {
          const std::int64_t n = piece < last - i ? piece : last - i;
          noise.increment(step, std::span<scalar_t<S>>(dw, static_cast<std::size_t>(n)), i);
          detail::loop(f, 0, n, to + i, (from + i)..., static_cast<const scalar_t<S>*>(dw));
        }
      };
    };
    const auto move = over(x.data(), others.data()...);
    const auto n = static_cast<std::int64_t>(x.size());
    if (n > detail::parallel_grain)
      parallel_for(0, n, detail::parallel_grain, move);
    else
      move(0, n);
  } else {
    make_room(work, x);
    noise.increment(step, work);
    update_elements(f, x, others..., std::as_const(work));
  }
}

/// The increments of another noise with the sign changed: the partner of an antithetic pair, whose mean has less variance
/// where the result is nearly linear in the noise \cite hammersley_1956_antithetic. `Antithetic<Noise&>` shares
/// the noise of its partner in place of a copy.
template <class Noise>
class Antithetic {
 public:
  explicit Antithetic(Noise noise) : noise_(std::forward<Noise>(noise)) {}

  [[nodiscard]] bool follows_time() const { return sde::follows_time(noise_); }

  template <State S>
  void standard_increment(const Step& step, S& z) {
    sde::standard_increment(noise_, step, z);
    negate(z);
  }
  template <State S>
  void increment(const Step& step, S& dw) {
    noise_.increment(step, dw);
    negate(dw);
  }
  template <State S>
  void increment(const Step& step, S& dw, S& dz) {
    noise_.increment(step, dw, dz);
    negate(dw);
    negate(dz);
  }

 private:
  template <State S>
  static void negate(S& x) {
    update_elements([](auto& e) { e = -e; }, x);
  }

  Noise noise_;
};

/// All increments are zero. A step with it is the step's mean, wherever the noise enters linearly.
struct NoNoise {
  template <State S>
  void increment(const Step&, S& dw) const {
    fill(dw, 0);
  }
  template <State S>
  void increment(const Step&, S& dw, S& dz) const {
    fill(dw, 0);
    fill(dz, 0);
  }
};

/// Steppers leave out what is multiplied by zero.
template <class Noise>
inline constexpr bool is_no_noise = std::is_same_v<std::remove_cvref_t<Noise>, NoNoise>;

}  // namespace easy_diffusion::sde
