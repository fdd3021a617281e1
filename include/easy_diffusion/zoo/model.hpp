/// \file
/// One type for every network of the zoo, so that a program can run, train, save and load whichever a file names.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/latent/autoencoder_kl.hpp"
#include "easy_diffusion/latent/simple_autoencoder.hpp"
#include "easy_diffusion/nn/condition.hpp"
#include "easy_diffusion/nn/expect_context.hpp"
#include "easy_diffusion/nn/mode.hpp"
#include "easy_diffusion/nn/models/res_unet.hpp"
#include "easy_diffusion/nn/models/unet.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/visitor_ref.hpp"
#include "easy_diffusion/zoo/architectures.hpp"

namespace easy_diffusion::zoo {

/// One of the networks, behind the interface they have in common. What a network does not take (an autoencoder the time,
/// an unconditional U-Net the condition) must be left empty. Copies are of the whole network.
template <class T>
class Model {
 public:
  using value_type = T;
  using Network = std::variant<nn::UNet<T>, nn::ResUNet<T>, latent::SimpleAutoEncoder<T>, latent::AutoEncoderKL<T>>;

  /// Of a training or gradient pass; may be used again, for this model or another.
  struct Context {
    bool input_gradient = true;  ///< false: backward leaves the gradients of x and of the condition empty
    nn::Mode mode;               ///< whether dropout is on and BatchNorm goes by the batch, and where noise lives
    std::variant<typename nn::UNet<T>::Context, typename nn::ResUNet<T>::Context,
                 typename latent::SimpleAutoEncoder<T>::Context, typename latent::AutoEncoderKL<T>::Context>
        network;
  };

  struct Gradients {
    Tensor<T> dx;          ///< [N, H, W, C]
    Tensor<T> dcondition;  ///< [N, L, D], where the condition was a sequence
  };

  /// Parameters have the values with which each layer begins; call `nn::initialize` or load them.
  /// \throw ValueError, ShapeError for settings out of range
  explicit Model(const NetworkConfig& config);
  /// \param settings the architecture and its keyword arguments \throw FormatError as `read_settings`
  explicit Model(const nlohmann::json& settings);

  /// \param x         [N, H, W, C]
  /// \param t         [N], or empty for a network that takes no time
  /// \param condition see `nn::Condition`
  /// \return [N, H, W, C]
  /// \throw ShapeError, ValueError as the network's own
  Tensor<T> forward(const Tensor<T>& x, const Tensor<T>& t, const nn::Condition<T>& condition,
                    Context* ctx = nullptr) const;
  Tensor<T> forward(const Tensor<T>& x, const Tensor<T>& t, Context* ctx = nullptr) const {
    return forward(x, t, nn::Condition<T>(), ctx);
  }

  /// Adds the gradients of parameters. \param dy [N, H, W, C]
  /// \throw ShapeError unless it has the result's shape, ValueError for a context of no forward pass or of another network
  Gradients backward(const Tensor<T>& dy, const Context& ctx);

  /// Takes a training pass's batch statistics into the running ones, where the network has any.
  void commit(const Context& ctx);

  template <class Self, class V>
  static void visit(Self& self, V&& v, const nn::Name& prefix) {
    using Parameter = std::conditional_t<std::is_const_v<Self>, const nn::Parameter<T>, nn::Parameter<T>>;
    self.visit_parameters(nn::VisitorRef<Parameter>(v), prefix);
  }

  /// The network itself, for what is not common to all.
  [[nodiscard]] Network& network() noexcept { return network_; }
  [[nodiscard]] const Network& network() const noexcept { return network_; }

 private:
  // Every network's visit is instantiated with these two visitors alone, whatever visits the model.
  void visit_parameters(nn::VisitorRef<nn::Parameter<T>> v, const nn::Name& prefix);
  void visit_parameters(nn::VisitorRef<const nn::Parameter<T>> v, const nn::Name& prefix) const;

  Network network_;
};

// What follows stands outside of the class: a member function that is inline would be compiled wherever it is used, and every
// network with it, although the compiled library has them.

namespace detail {

template <class T>
nn::UNet<T> build(const nn::UNetConfig& config) {
  return nn::UNet<T>(config);
}
template <class T>
nn::ResUNet<T> build(const nn::ResUNetConfig& config) {
  return nn::ResUNet<T>(config);
}
template <class T>
latent::SimpleAutoEncoder<T> build(const latent::SimpleAutoEncoderConfig& config) {
  return latent::SimpleAutoEncoder<T>(config);
}
template <class T>
latent::AutoEncoderKL<T> build(const latent::AutoEncoderKLConfig& config) {
  return latent::AutoEncoderKL<T>(config);
}

/// The network's own context, with what the model's says.
template <class N, class Context>
typename N::Context& prepared(Context& ctx) {
  auto* kept = std::get_if<typename N::Context>(&ctx.network);
  if (kept == nullptr) kept = &ctx.network.template emplace<typename N::Context>();
  kept->input_gradient = ctx.input_gradient;
  if constexpr (requires { kept->condition_gradient; }) kept->condition_gradient = ctx.input_gradient;
  if constexpr (requires { kept->mode; }) kept->mode = ctx.mode;
  return *kept;
}

template <class N, class Context>
const typename N::Context& kept_of(const Context& ctx) {
  const auto* kept = std::get_if<typename N::Context>(&ctx.network);
  nn::expect_context("model", kept != nullptr);
  return *kept;
}

}  // namespace detail

template <class T>
Model<T>::Model(const NetworkConfig& config)
    : network_(std::visit([](const auto& settings) { return Network(detail::build<T>(settings)); }, config)) {}

template <class T>
Model<T>::Model(const nlohmann::json& settings) : Model(read_settings(settings)) {}

template <class T>
Tensor<T> Model<T>::forward(const Tensor<T>& x, const Tensor<T>& t, const nn::Condition<T>& condition,
                            Context* ctx) const {
  return std::visit(
      [&]<class N>(const N& network) {
        typename N::Context* kept = nullptr;
        if (ctx != nullptr) kept = &detail::prepared<N>(*ctx);
        if constexpr (requires { network.forward(x, t, condition, kept); }) {
          return network.forward(x, t, condition, kept);
        } else {
          if (!t.empty() || !condition.empty()) throw ValueError("an autoencoder takes neither times nor a condition");
          return network.forward(x, kept);
        }
      },
      network_);
}

template <class T>
typename Model<T>::Gradients Model<T>::backward(const Tensor<T>& dy, const Context& ctx) {
  return std::visit(
      [&]<class N>(N& network) -> Gradients {
        const auto& kept = detail::kept_of<N>(ctx);
        if constexpr (std::is_same_v<N, nn::UNet<T>> || std::is_same_v<N, nn::ResUNet<T>>) {
          Gradients gradients;
          gradients.dx = network.backward(dy, kept, &gradients.dcondition);
          return gradients;
        } else {
          return {network.backward(dy, kept), Tensor<T>()};
        }
      },
      network_);
}

template <class T>
void Model<T>::commit(const Context& ctx) {
  std::visit(
      [&]<class N>(N& network) {
        if constexpr (requires(const typename N::Context& kept) { network.commit(kept); })
          network.commit(detail::kept_of<N>(ctx));
      },
      network_);
}

template <class T>
void Model<T>::visit_parameters(nn::VisitorRef<nn::Parameter<T>> v, const nn::Name& prefix) {
  std::visit([&]<class N>(N& network) { N::visit(network, v, prefix); }, network_);
}

template <class T>
void Model<T>::visit_parameters(nn::VisitorRef<const nn::Parameter<T>> v, const nn::Name& prefix) const {
  std::visit([&]<class N>(const N& network) { N::visit(network, v, prefix); }, network_);
}

#if defined(EASY_DIFFUSION_EXTERN_TEMPLATES)
extern template class Model<float>;
extern template class Model<double>;
#endif

}  // namespace easy_diffusion::zoo
