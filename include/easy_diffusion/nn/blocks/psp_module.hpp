/// \file
/// Pyramid pooling: a picture beside its own averages over coarser and coarser grids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/conv2d.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/leaky_relu.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/nn/pooling.hpp"
#include "easy_diffusion/nn/relu.hpp"
#include "easy_diffusion/nn/resample.hpp"
#include "easy_diffusion/ops/add.hpp"
#include "easy_diffusion/ops/channels.hpp"

namespace easy_diffusion::nn {

/// For each size s of the pyramid: averages over an s x s grid, 1x1 convolution, leaky ReLU, and back to the picture's
/// size (bilinear, corners fixed). All of them beside the picture go through a 3x3 convolution and ReLU
/// \cite zhao_2016_pspnet.
template <class T>
class PSPModule {
 public:
  using value_type = T;

  struct Context {
    struct Branch {
      typename AvgPool2d<T>::Context pool;
      typename Conv2d<T>::Context conv;
      typename LeakyReLU<T>::Context act;
      typename Resample2d<T>::Context resample;
    };
    std::vector<Branch> branches;
    typename Conv2d<T>::Context out;
    typename ReLU<T>::Context act;
  };

  PSPModule() = default;
  /// \param channels   of the picture and of the result
  /// \param width      channels of one branch
  /// \param pool_sizes rows and columns of each grid
  /// \throw ValueError for a grid below 1x1
  PSPModule(std::int64_t channels, std::int64_t width, const std::vector<std::int64_t>& pool_sizes)
      : channels_(channels),
        width_(width),
        out_(channels + static_cast<std::int64_t>(pool_sizes.size()) * width, channels, {.padding = 1}) {
    for (const std::int64_t size : pool_sizes) {
      if (size < 1) throw ValueError("PSPModule: expected grids of at least 1x1, got " + std::to_string(size));
      branches_.push_back(
          {AvgPool2d<T>(ops::Pool2dOptions::adaptive(size, size)), Conv2d<T>(channels, width, {.kernel = 1})});
    }
  }

  /// \param x [N, H, W, C] \return the same shape
  /// \throw ShapeError where x does not fit
  Tensor<T> forward(const Tensor<T>& x, Context* ctx = nullptr) const {
    expect_rank("PSPModule", 4, "[N, H, W, C]", x.shape());
    expect_shape("PSPModule", Shape{x.extent(0), x.extent(1), x.extent(2), channels_}, x.shape());
    if (ctx != nullptr) ctx->branches.resize(branches_.size());
    Tensor<T> joined = Tensor<T>::uninitialized(
        Shape{x.extent(0), x.extent(1), x.extent(2), channels_ + std::int64_t(branches_.size()) * width_});
    ops::place_channels(x.view(), 0, joined.view());
    for (std::size_t i = 0; i < branches_.size(); ++i) {
      auto* branch = ctx ? &ctx->branches[i] : nullptr;
      Tensor<T> h = branches_[i].pool.forward(x, branch ? &branch->pool : nullptr);
      h = branches_[i].conv.forward(h, branch ? &branch->conv : nullptr);
      h = LeakyReLU<T>().forward(h, branch ? &branch->act : nullptr);
      h = resample().forward(h, branch ? &branch->resample : nullptr, {x.extent(1), x.extent(2)});
      ops::place_channels(std::as_const(h).view(), first_channel(i), joined.view());
    }
    const Tensor<T> h = out_.forward(joined, ctx ? &ctx->out : nullptr);
    return ReLU<T>().forward(h, ctx ? &ctx->act : nullptr);
  }

  /// \param dy the shape of x \return dx, the same shape
  Tensor<T> backward(const Tensor<T>& dy, const Context& ctx) {
    expect_context("PSPModule", ctx.branches.size() == branches_.size());
    const Tensor<T> djoined = out_.backward(ReLU<T>().backward(dy, ctx.act), ctx.out);
    Tensor<T> dx = Tensor<T>::uninitialized(dy.shape());
    ops::take_channels(djoined.view(), 0, dx.view());
    for (std::size_t i = 0; i < branches_.size(); ++i) {
      const auto& branch = ctx.branches[i];
      Tensor<T> dh = Tensor<T>::uninitialized(Shape{dy.extent(0), dy.extent(1), dy.extent(2), width_});
      ops::take_channels(djoined.view(), first_channel(i), dh.view());
      dh = LeakyReLU<T>().backward(resample().backward(dh, branch.resample), branch.act);
      dh = branches_[i].pool.backward(branches_[i].conv.backward(dh, branch.conv), branch.pool);
      ops::add_to(dx.view(), std::as_const(dh).view());
    }
    return dx;
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const Name& prefix) {
    for (std::size_t i = 0; i < self.branches_.size(); ++i)
      Conv2d<T>::visit(self.branches_[i].conv, v, prefix + "modlist." + std::to_string(i) + ".1.");
    Conv2d<T>::visit(self.out_, v, prefix + "out.");
  }

 private:
  struct Branch {
    AvgPool2d<T> pool;
    Conv2d<T> conv;
  };

  static Resample2d<T> resample() { return Resample2d<T>(ops::Resampling::bilinear_corners); }
  [[nodiscard]] std::int64_t first_channel(std::size_t branch) const {
    return channels_ + static_cast<std::int64_t>(branch) * width_;
  }

  std::int64_t channels_ = 0;
  std::int64_t width_ = 0;
  std::vector<Branch> branches_;
  Conv2d<T> out_;
};

}  // namespace easy_diffusion::nn
