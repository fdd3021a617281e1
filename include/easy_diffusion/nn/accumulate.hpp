/// \file
/// The sum of gradients that come back from several places.
#pragma once

#include <utility>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/ops/add.hpp"

namespace easy_diffusion::nn {

/// sum += term. An empty sum becomes the term; an empty term adds nothing.
/// \throw ShapeError unless the shapes are equal
template <class T>
void accumulate(Tensor<T>& sum, Tensor<T> term) {
  if (term.empty()) return;
  if (sum.empty())
    sum = std::move(term);
  else
    ops::add_to(sum.view(), std::as_const(term).view());
}
/// A term that somebody else has too is copied where it becomes the sum.
template <class T>
void accumulate(Tensor<T>& sum, SharedTensor<T> term) {
  if (term.empty()) return;
  if (sum.empty())
    sum = std::move(term).owned();
  else
    ops::add_to(sum.view(), term.view());
}

}  // namespace easy_diffusion::nn
