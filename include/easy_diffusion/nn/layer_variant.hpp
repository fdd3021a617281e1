/// \file
/// One of several kinds of layer, and the context that belongs to it.
#pragma once

#include <variant>

#include "easy_diffusion/nn/expect_context.hpp"

namespace easy_diffusion::nn {

/// A model that strings layers together by configuration holds `Layer`s and, for each, a `Context`.
template <class... Layers>
struct LayerVariant {
  using Layer = std::variant<Layers...>;
  using Context = std::variant<typename Layers::Context...>;

  /// The context of a layer of that kind, made where `kept` held another kind's. Null for null.
  template <class L>
  static typename L::Context* context_of(Context* kept) {
    if (kept == nullptr) return nullptr;
    if (auto* held = std::get_if<typename L::Context>(kept)) return held;
    return &kept->template emplace<typename L::Context>();
  }

  /// What a layer of that kind left there. \throw ValueError where another kind's is
  template <class L>
  static const typename L::Context& kept_of(const char* who, const Context& kept) {
    const auto* held = std::get_if<typename L::Context>(&kept);
    expect_context(who, held != nullptr);
    return *held;
  }

  /// Gives back what a context holds, and leaves its kind.
  static void clear(Context& kept) {
    std::visit([](auto& held) { held = {}; }, kept);
  }
};

}  // namespace easy_diffusion::nn
