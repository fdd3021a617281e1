/// \file
/// From a condition to the tokens that cross-attention attends to.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/condition.hpp"
#include "easy_diffusion/nn/embedding.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/linear.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/nn/parameter.hpp"

namespace easy_diffusion::nn {

/// Which condition a model takes.
enum class ConditionKind { none, classes, sequence };

struct ConditionConfig {
  ConditionKind kind = ConditionKind::none;
  std::int64_t inputs = 0;  ///< number of classes, or width of the sequence's embeddings
  std::int64_t width = 0;   ///< of the tokens
};

/// One row of a table for a class number, a linear map of each embedding of a sequence, and one token of zeros or a
/// sequence of zeros for a sample that has no condition.
template <class T>
class ConditionEmbedding {
 public:
  using value_type = T;

  struct Context {
    bool input_gradient = true;  ///< false: backward returns an empty tensor and saves the work
    typename Embedding<T>::Context classes;
    typename Linear<T>::Context sequence;
    bool given = false;                 ///< set by forward: there was a condition
    std::vector<std::uint8_t> is_null;  ///< [N], not 0: this sample had none
  };

  ConditionEmbedding() = default;
  /// \throw ValueError for fewer than one class, or widths below one
  explicit ConditionEmbedding(const ConditionConfig& config) : config_(config) {
    if (config.kind == ConditionKind::none) return;
    if (config.inputs < 1 || config.width < 1)
      throw ValueError(
          "condition: expected at least one class or embedding width and tokens of at least one number, got " +
          std::to_string(config.inputs) + " and " + std::to_string(config.width));
    if (config.kind == ConditionKind::classes) table_ = Embedding<T>(config.inputs, config.width);
    if (config.kind == ConditionKind::sequence) linear_ = Linear<T>(config.inputs, config.width);
  }

  [[nodiscard]] const ConditionConfig& config() const noexcept { return config_; }

  /// \param condition empty: no sample has one
  /// \param batch     number of samples
  /// \return [batch, L, width], L = 1 for classes; empty where the model takes no condition
  /// \throw ValueError for a condition of another kind than the model takes, or a class number out of range
  /// \throw ShapeError where shapes do not fit
  Tensor<T> forward(const Condition<T>& condition, std::int64_t batch, Context* ctx = nullptr) const {
    check(condition, batch);
    if (ctx != nullptr) {
      ctx->given = !condition.empty();
      ctx->is_null.clear();
      for (std::int64_t n = 0; ctx->given && n < batch; ++n) ctx->is_null.push_back(condition.is_null(n));
    }
    if (config_.kind == ConditionKind::none) return {};
    if (condition.empty()) return Tensor<T>(Shape{batch, 1, config_.width});
    Tensor<T> tokens;
    if (config_.kind == ConditionKind::classes) {
      Tensor<std::int64_t> numbers = Tensor<std::int64_t>::uninitialized(Shape{batch});
      std::transform(condition.classes.begin(), condition.classes.end(), numbers.begin(),
                     [](std::int64_t number) { return std::max<std::int64_t>(number, 0); });
      tokens = table_.forward(numbers, ctx ? &ctx->classes : nullptr).reshaped(Shape{batch, 1, config_.width});
    } else {
      if (ctx != nullptr) ctx->sequence.input_gradient = ctx->input_gradient;
      tokens = linear_.forward(condition.sequence, ctx ? &ctx->sequence : nullptr);
    }
    clear_null(tokens, [&](std::int64_t n) { return condition.is_null(n); });
    return tokens;
  }

  /// \param dtokens the shape of the result; empty where nobody listened
  /// \return the sequence's gradient, [N, L, D]; empty for classes and where no sample has a condition
  Tensor<T> backward(const Tensor<T>& dtokens, const Context& ctx) {
    if (!ctx.given || dtokens.empty()) return {};
    expect_context("condition", static_cast<std::int64_t>(ctx.is_null.size()) == dtokens.extent(0));
    Tensor<T> known = dtokens;
    clear_null(known, [&](std::int64_t n) { return ctx.is_null[static_cast<std::size_t>(n)] != 0; });
    if (config_.kind == ConditionKind::sequence) return linear_.backward(known, ctx.sequence);
    table_.backward(std::move(known).reshaped(Shape{dtokens.extent(0), config_.width}), ctx.classes);
    return {};
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const Name& prefix) {
    if (self.config_.kind == ConditionKind::classes) Embedding<T>::visit(self.table_, v, prefix);
    if (self.config_.kind == ConditionKind::sequence) Linear<T>::visit(self.linear_, v, prefix);
  }

 private:
  void check(const Condition<T>& condition, std::int64_t batch) const {
    condition.check("condition", batch);
    if (!condition.classes.empty() && config_.kind != ConditionKind::classes)
      throw ValueError(std::string("condition: the model takes ") +
                       (config_.kind == ConditionKind::none ? "none" : "embedding sequences") + ", got class numbers");
    if (!condition.sequence.empty()) {
      if (config_.kind != ConditionKind::sequence)
        throw ValueError(std::string("condition: the model takes ") +
                         (config_.kind == ConditionKind::none ? "none" : "class numbers") +
                         ", got an embedding sequence");
      const Shape& given = condition.sequence.shape();
      expect_shape("condition", Shape{given[0], given[1], config_.inputs}, given);
      if (given[1] < 1) throw ShapeError("condition: the embedding sequence is empty: " + given.to_string());
    }
    for (const std::int64_t number : condition.classes)
      if (number >= config_.inputs)
        throw ValueError("condition: expected class numbers from 0 to " + std::to_string(config_.inputs - 1) +
                         ", or a negative one for no condition, got " + std::to_string(number));
  }

  template <class IsNull>
  static void clear_null(Tensor<T>& tokens, IsNull&& is_null) {
    const std::int64_t size = tokens.extent(1) * tokens.extent(2);
    for (std::int64_t n = 0; n < tokens.extent(0); ++n)
      if (is_null(n)) std::fill_n(tokens.data() + n * size, size, T(0));
  }

  ConditionConfig config_;
  Embedding<T> table_;
  Linear<T> linear_;
};

}  // namespace easy_diffusion::nn
