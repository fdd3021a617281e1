/// \file
/// One of several kinds of layer, and the context that belongs to it.
#pragma once

#include <variant>

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

  /// Gives back what a context holds, and leaves its kind.
  static void clear(Context& kept) {
    std::visit([](auto& held) { held = {}; }, kept);
  }
};

}  // namespace easy_diffusion::nn
