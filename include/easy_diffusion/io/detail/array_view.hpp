/// \file
/// One parameter type for what may be a tensor or a view.
#pragma once

#include <type_traits>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/core/view.hpp"

namespace easy_diffusion::io::detail {

template <class T>
TensorView<const T> read_only(const Tensor<T>& tensor) {
  return tensor.view();
}
template <class T>
TensorView<const std::remove_const_t<T>> read_only(TensorView<T> view) {
  return view;
}

/// A tensor or a view.
template <class A>
concept Array = requires(const A& array) {
  read_only(array);
};

}  // namespace easy_diffusion::io::detail
