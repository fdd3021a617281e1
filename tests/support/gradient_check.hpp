/// \file
/// Compares hand-written gradients with fourth-order central differences, in double, and checks what every layer
/// promises about contexts and frozen parameters.
///
/// A layer is anything with `forward(inputs..., Context*) const`, `backward(dy, const Context&)` and `visit`. Its
/// backward returns the gradient of the first input, or a struct of two tensors: those of the first two inputs.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <ostream>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "easy_diffusion/core/allocator.hpp"
#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "support/tensors.hpp"

namespace easy_diffusion::test {

inline constexpr double gradient_tolerance = 1e-7;
inline constexpr double step_between_kinks = 0x1p-19;

/// Which derivatives are measured.
enum class Entries {
  every,   ///< of every element: layers
  sampled  ///< of 20 elements and along one random direction in each tensor: models
};

struct GradientReport {
  double worst = 0;   ///< NaN counts as the worst of all
  std::string where;  ///< the tensor that has it

  /// Written so that NaN does not pass.
  [[nodiscard]] bool passed(double tolerance = gradient_tolerance) const { return worst <= tolerance; }

  void take(const std::string& name, double error) {
    if (std::isnan(worst) || error < worst) return;
    worst = error;  // a NaN comes here too
    where = name;
  }
  friend std::ostream& operator<<(std::ostream& out, const GradientReport& report) {
    return out << "worst relative gradient error " << report.worst << " in " << report.where;
  }
};

inline std::vector<Tensor<double>> list_of(Tensor<double> gradient) {
  std::vector<Tensor<double>> list;
  list.push_back(std::move(gradient));
  return list;
}
template <class Gradients>
requires(!std::is_same_v<Gradients, Tensor<double>>) std::vector<Tensor<double>> list_of(Gradients gradients) {
  auto& [first, second] = gradients;
  auto list = list_of(std::move(first));
  list.push_back(std::move(second));
  return list;
}

template <std::size_t N>
using Inputs = std::array<Tensor<double>, N>;

template <class Layer, std::size_t N>
Tensor<double> run_forward(const Layer& layer, const Inputs<N>& inputs, typename Layer::Context* ctx) {
  return [&]<std::size_t... i>(std::index_sequence<i...>) { return layer.forward(inputs[i]..., ctx); }
  (std::make_index_sequence<N>());
}

/// One tensor whose gradient is checked.
struct Checked {
  std::string name;
  Tensor<double>* value;
  Tensor<double> gradient;
};

/// `forward` is called with the values as they stand in `tensors`; the scalar is sum(w * output).
/// The error of a tensor is max |analytic - numeric| / (max |numeric| + 0.1 median of those maxima over the tensors).
/// \param step of the differences: 2^-10 leaves the least roundoff; functions with kinks (rectifiers, absolute values) need a
///             step that is unlikely to meet one, `step_between_kinks`
inline GradientReport compare_with_differences(std::vector<Checked>& tensors, const Tensor<double>& w,
                                               const std::function<Tensor<double>()>& forward, Entries entries,
                                               double step = 0x1p-10) {
  // Differences are taken of the outputs, element by element, before they are summed: less roundoff.
  const auto slope = [&](const std::function<void(double)>& move, double h) {
    std::array<Tensor<double>, 4> y;
    const std::array<double, 4> at{h, -h, 2 * h, -2 * h};
    for (std::size_t i = 0; i < 4; ++i) {
      move(at[i]);
      y[i] = forward();
    }
    move(0);
    double sum = 0;
    for (std::int64_t i = 0; i < w.size(); ++i) sum += w[i] * (8 * (y[0][i] - y[1][i]) - (y[2][i] - y[3][i]));
    return sum / (12 * h);
  };

  std::vector<double> maxima, errors;
  for (std::size_t k = 0; k < tensors.size(); ++k) {
    Tensor<double>& value = *tensors[k].value;
    const Tensor<double>& gradient = tensors[k].gradient;
    double largest_numeric = 0;
    double error = 0;
    const auto take = [&](double analytic, double numeric) {
      if (std::isnan(error)) return;  // once NaN, always NaN
      const double difference = std::abs(analytic - numeric);
      if (!(difference <= error)) error = difference;
      largest_numeric = std::max(largest_numeric, std::abs(numeric));
    };
    if (!(gradient.shape() == value.shape()) || gradient.empty()) {
      return {std::nan(""), tensors[k].name + " (its gradient has another shape)"};
    }
    const auto step_of = [step](double x) { return step * std::max(1.0, std::abs(x)); };
    const auto element = [&](std::int64_t i) {
      const double x = value[i];
      take(gradient[i], slope([&](double h) { value[i] = x + h; }, step_of(x)));
    };
    if (entries == Entries::every || value.size() <= 20) {
      for (std::int64_t i = 0; i < value.size(); ++i) element(i);
    } else {
      for (std::uint64_t i = 0; i < 20; ++i)
        element(static_cast<std::int64_t>(uniform_integer(static_cast<std::uint64_t>(value.size()),
                                                          {7, streams::user + 1, static_cast<std::uint32_t>(k)}, i)));
    }
    if (entries == Entries::sampled) {
      Tensor<double> direction = random_tensor<double>(value.shape(), 1000 + static_cast<std::uint32_t>(k));
      double length = 0;
      for (const double d : direction) length += d * d;
      for (double& d : direction) d /= std::sqrt(length);
      double analytic = 0;
      for (std::int64_t i = 0; i < value.size(); ++i) analytic += direction[i] * gradient[i];
      const Tensor<double> before = value;
      take(analytic, slope(
                         [&](double h) {
                           for (std::int64_t i = 0; i < value.size(); ++i) value[i] = before[i] + h * direction[i];
                         },
                         step));
    }
    if (std::isnan(error)) return {error, tensors[k].name};
    maxima.push_back(largest_numeric);
    errors.push_back(error);
  }
  if (maxima.empty()) return {std::nan(""), "nothing to check"};
  std::vector<double> sorted = maxima;
  std::sort(sorted.begin(), sorted.end());
  const std::size_t half = sorted.size() / 2;
  const double median = sorted.size() % 2 ? sorted[half] : 0.5 * (sorted[half - 1] + sorted[half]);
  GradientReport report;
  for (std::size_t k = 0; k < tensors.size(); ++k) report.take(tensors[k].name, errors[k] / (maxima[k] + 0.1 * median));
  return report;
}

/// Gradients of the inputs and of every trained parameter.
template <class Layer, std::size_t N>
GradientReport check_gradients(Layer& layer, Inputs<N> inputs, Entries entries = Entries::every,
                               double step = 0x1p-10) {
  typename Layer::Context ctx;
  const Tensor<double> w = random_tensor<double>(run_forward(layer, inputs, &ctx).shape(), 99);
  nn::zero_gradients(layer);
  auto input_gradients = list_of(layer.backward(w, ctx));
  std::vector<Checked> tensors;
  for (std::size_t i = 0; i < input_gradients.size(); ++i)
    tensors.push_back({"input " + std::to_string(i), &inputs[i], std::move(input_gradients[i])});
  nn::for_each_trained(layer, [&](const std::string& name, auto& parameter, const nn::Entry&) {
    tensors.push_back({name, &parameter.value, parameter.grad});
  });
  const Layer& fixed = layer;
  return compare_with_differences(
      tensors, w,
      [&] {
        typename Layer::Context fresh;  // as in training, with the same noise each time
        return run_forward(fixed, inputs, &fresh);
      },
      entries, step);
}

/// Copies of all gradients, in the order of the visit; empty where frozen.
template <class Layer>
std::vector<Tensor<double>> gradients_of(Layer& layer) {
  std::vector<Tensor<double>> result;
  nn::for_each_parameter(
      layer, [&](const std::string&, auto& parameter, const nn::Entry&) { result.push_back(parameter.grad); });
  return result;
}

/// Bytes of the tensors that a copy of `thing` has, as the allocator counts them.
template <class Thing>
std::uint64_t bytes_of_copy(const Thing& thing) {
  const std::uint64_t before = allocator_stats().bytes_in_use;
  [[maybe_unused]] const Thing copy = thing;
  return allocator_stats().bytes_in_use - before;
}

/// Whether `visit` reaches every tensor of a layer or model, each once; members that hold nothing do not count. What is
/// carried for PyTorch's sake alone may have several names there.
template <class Layer>
bool visits_everything(const Layer& layer) {
  std::uint64_t visited = 0;
  std::set<const void*> unused;
  nn::for_each_parameter(layer, [&](const std::string&, const auto& parameter, const nn::Entry& entry) {
    if (entry.kind != nn::Kind::unused || unused.insert(&parameter).second) visited += bytes_of_copy(parameter);
  });
  return visited == bytes_of_copy(layer);
}

/// Everything that a layer breaks of what the house plan promises; empty when all is well. `a` and `b` are two
/// different inputs, of shapes that may differ.
template <class Layer, std::size_t N>
std::vector<std::string> broken_promises(Layer& layer, const Inputs<N>& a, const Inputs<N>& b) {
  using Context = typename Layer::Context;
  std::vector<std::string> broken;
  const auto expect = [&](bool holds, const std::string& what) {
    if (!holds) broken.push_back(what);
  };
  const auto all_close = [](const auto& x, const auto& y, double factor) {
    bool close = x.size() == y.size();
    for (std::size_t i = 0; close && i < x.size(); ++i) {
      close = x[i].shape() == y[i].shape() && x[i].empty() == y[i].empty();
      const double scale = largest(y[i]) * factor;
      for (std::int64_t j = 0; close && j < x[i].size(); ++j)
        close = std::abs(x[i][j] - factor * y[i][j]) <= 1e-12 * scale;
    }
    return close;
  };
  const auto all_same = [](const auto& x, const auto& y) {
    bool same = x.size() == y.size();
    for (std::size_t i = 0; same && i < x.size(); ++i) same = same_bits(x[i], y[i]);
    return same;
  };

  // One input alone, then the other alone.
  Context ctx_a, ctx_b;
  const Tensor<double> y_a = run_forward(layer, a, &ctx_a);
  expect(same_bits(y_a, run_forward(layer, a, nullptr)), "a null context gives another output");
  expect(same_bits(y_a, run_forward(layer, a, &ctx_a)), "a context used again gives another output");
  const Tensor<double> w_a = random_tensor<double>(y_a.shape(), 5);
  nn::zero_gradients(layer);
  const auto dx_a = list_of(layer.backward(w_a, ctx_a));
  const auto once = gradients_of(layer);
  const auto dx_again = list_of(layer.backward(w_a, ctx_a));
  expect(all_same(dx_a, dx_again), "backward twice gives another input gradient");
  expect(all_close(gradients_of(layer), once, 2), "backward twice does not double the parameter gradients");

  const Tensor<double> y_b = run_forward(layer, b, &ctx_b);
  const Tensor<double> w_b = random_tensor<double>(y_b.shape(), 6);
  nn::zero_gradients(layer);
  const auto dx_b = list_of(layer.backward(w_b, ctx_b));
  auto both = gradients_of(layer);
  for (std::size_t i = 0; i < both.size(); ++i)
    for (std::int64_t j = 0; j < both[i].size(); ++j) both[i][j] += once[i][j];

  // What is returned is the caller's, who changes it in place: neither the context nor what was given notices.
  Context kept;
  Inputs<N> given = a;
  const auto change = [](Tensor<double>& tensor) {
    for (double& v : tensor) v = 3 * v + 1e3;
  };
  for (Context* ctx : {&kept, static_cast<Context*>(nullptr)}) {
    Tensor<double> y = run_forward(layer, given, ctx);
    change(y);
    expect(all_same(given, a), "a changed result changes an input");
    expect(same_bits(run_forward(layer, a, nullptr), y_a), "a changed result changes the layer");
  }
  const Tensor<double> w = w_a;
  for (int pass = 0; pass < 2; ++pass) {
    nn::zero_gradients(layer);
    auto dx = list_of(layer.backward(w, kept));
    expect(all_same(dx, dx_a), "a changed result, or a changed input gradient, changes the input gradient");
    expect(all_same(gradients_of(layer), once), "a changed result, or a changed input gradient, changes a parameter's");
    for (std::size_t i = 0; i < dx.size(); ++i) {
      change(dx[i]);
      for (std::size_t j = i + 1; j < dx.size(); ++j)
        expect(same_bits(dx[j], dx_a[j]), "a changed input gradient changes another");
    }
    expect(same_bits(w, w_a), "a changed input gradient changes the output gradient that was given");
    expect(all_same(gradients_of(layer), once), "a changed input gradient changes a parameter's");
  }
  expect(all_same(given, a), "backward, or a changed input gradient, changes an input");

  // A context that no forward pass has filled.
  try {
    const Context none;
    expect(all_same(list_of(layer.backward(w_a, none)), dx_a), "a context of no forward pass gives a wrong gradient");
  } catch (const Error&) {}

  expect(visits_everything(layer), "visit leaves something out, or comes to something twice");

  // Two contexts at once, the later one backward first.
  Context first, second;
  static_cast<void>(run_forward(layer, a, &first));
  static_cast<void>(run_forward(layer, b, &second));
  nn::zero_gradients(layer);
  const auto dx_second = list_of(layer.backward(w_b, second));
  const auto dx_first = list_of(layer.backward(w_a, first));
  expect(all_same(dx_first, dx_a) && all_same(dx_second, dx_b), "interleaved contexts give other input gradients");
  expect(all_close(gradients_of(layer), both, 1), "interleaved contexts give other parameter gradients");

  // Frozen, one parameter at a time and all together: nothing appears there, and nothing changes elsewhere.
  std::size_t entries = 0;
  nn::for_each_trained(layer, [&](const std::string&, auto&, const nn::Entry&) { ++entries; });
  for (std::size_t frozen = 0; frozen <= entries; ++frozen) {
    std::size_t index = 0;
    std::vector<bool> is_frozen;
    nn::for_each_parameter(layer, [&](const std::string&, auto& parameter, const nn::Entry& entry) {
      if (entry.kind == nn::Kind::parameter) {
        if (index == frozen || frozen == entries) parameter.freeze();
        ++index;
      }
      is_frozen.push_back(parameter.frozen());
    });
    nn::zero_gradients(layer);
    expect(all_same(list_of(layer.backward(w_a, ctx_a)), dx_a), "a frozen parameter changes the input gradient");
    auto expected = once;
    for (std::size_t i = 0; i < expected.size(); ++i)
      if (is_frozen[i]) expected[i] = Tensor<double>();
    expect(all_same(gradients_of(layer), expected), "a frozen parameter is touched, or changes another's gradient");
    nn::set_trainable(layer, true);
  }

  if constexpr (requires { ctx_a.input_gradient; }) {
    ctx_b = Context();
    ctx_b.input_gradient = false;
    expect(same_bits(run_forward(layer, a, &ctx_b), y_a), "leaving out the input gradient changes the output");
    nn::zero_gradients(layer);
    expect(list_of(layer.backward(w_a, ctx_b))[0].empty(), "the input gradient is not left out");
    expect(all_same(gradients_of(layer), once), "leaving out the input gradient changes a parameter gradient");
  }
  return broken;
}

}  // namespace easy_diffusion::test
