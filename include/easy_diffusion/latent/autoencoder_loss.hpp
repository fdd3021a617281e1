/// \file
/// What an autoencoder is trained by: pixels, perception, a divergence, and a discriminator that it has to deceive.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/latent/adversarial_loss.hpp"
#include "easy_diffusion/latent/diagonal_gaussian.hpp"
#include "easy_diffusion/latent/patch_discriminator.hpp"
#include "easy_diffusion/nn/accumulate.hpp"
#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/nn/parameter.hpp"

namespace easy_diffusion::latent {

/// Over what the loss is added up. The two differ by one factor, the number of elements of a picture, which Adam does
/// not see: the weights keep their meaning, and in means it does not depend on the picture's size.
enum class LossReduction {
  means,  ///< of the elements of the pictures
  sums    ///< over the elements of each picture, averaged over the batch: the original's
};

struct AutoencoderLossConfig {
  double perceptual_weight = 1;
  double kl_weight = 1e-6;
  double logvar = 0;                     ///< logarithm of the reconstruction's scale, to begin with
  std::int64_t discriminator_start = 0;  ///< step from which on the discriminator takes part
  DiscriminatorLossKind discriminator_loss = DiscriminatorLossKind::hinge;
  AdaptiveWeight adaptive{};
  LossReduction reduction = LossReduction::means;
  /// Tell the discriminator's weight and the generator's loss before it takes part too, at the cost of its passes; they
  /// act on nothing.
  bool watch_discriminator = false;
};

/// Of one turn of the autoencoder: what a log shows, and the gradients.
template <class T>
struct AutoencoderTurn {
  double total = 0;
  double logvar = 0;
  double kl = 0;          ///< divergence, unweighted
  double nll = 0;         ///< rec / exp(logvar) + logvar
  double rec = 0;         ///< mean of |x - r| + perceptual_weight times the perceptual distance
  double perceptual = 0;  ///< mean over the batch of the perceptual distance
  double weight = 0;      ///< of the generator's loss; 0 before the discriminator takes part
  double factor = 0;      ///< 1 where the discriminator takes part
  double generator = 0;   ///< -mean of the logits of r

  Tensor<T> dr;        ///< of the reconstruction
  Tensor<T> dmoments;  ///< of the posterior's moments
};

/// Of one turn of the discriminator.
struct DiscriminatorTurn {
  double loss = 0;
  double logits_real = 0;  ///< means
  double logits_fake = 0;
};

/// The original's `LPIPSWithDiscriminator` \cite esser_2020_vqgan \cite rombach_2021_latent:
/// (|x - r| + perceptual_weight d(x, r)) / exp(logvar) + logvar, + kl_weight KL, + weight (-mean D(r)). The networks
/// that judge are handed to each turn; only `logvar` lives here, as a parameter that an optimiser can be given.
template <class T>
class AutoencoderLoss {
 public:
  using value_type = T;

  explicit AutoencoderLoss(const AutoencoderLossConfig& config = {}) : config_(config), logvar_(Shape{}) {
    logvar_.value.fill(static_cast<T>(config.logvar));
  }

  [[nodiscard]] const AutoencoderLossConfig& config() const noexcept { return config_; }
  [[nodiscard]] bool discriminates(std::int64_t step) const noexcept { return step >= config_.discriminator_start; }

  /// The autoencoder's turn. Adds to the gradient of logvar, and to nothing of the networks that judge.
  /// \param x,r           pictures and their reconstructions, [N, H, W, C]
  /// \param posterior     of the latent pictures
  /// \param perceptual    a `PerceptualDistance`, or null where nothing perceives
  /// \param discriminator judges by the batch's statistics; `ctx` receives its pass: `commit` it to move the running
  ///                      ones
  /// \param last_gradient last_gradient(dr): gradient of the decoder's last weight, for the adaptive weight; called
  ///                      twice, for one forward pass
  /// \throw ShapeError where shapes do not fit
  template <class Perceptual, class LastGradient>
  AutoencoderTurn<T> autoencoder_turn(const Tensor<T>& x, const Tensor<T>& r, const DiagonalGaussian<T>& posterior,
                                      std::int64_t step, Perceptual* perceptual, PatchDiscriminator<T>& discriminator,
                                      typename PatchDiscriminator<T>::Context& ctx, LastGradient&& last_gradient) {
    expect_shape("AutoencoderLoss", x.shape(), r.shape());
    const std::int64_t batch = x.extent(0);
    if (x.size() < 1) throw ShapeError("AutoencoderLoss: expected at least one pixel, got " + x.shape().to_string());
    const double elements = static_cast<double>(x.size() / batch);
    const double share = (config_.reduction == LossReduction::sums ? 1.0 : 1.0 / elements) / static_cast<double>(batch);
    AutoencoderTurn<T> turn;
    turn.logvar = static_cast<double>(logvar_.value[0]);
    const double precision = std::exp(-turn.logvar);

    double sum = 0;
    turn.dr = Tensor<T>::uninitialized(x.shape());
    const T pixel = static_cast<T>(share * precision);
    for (std::int64_t i = 0; i < x.size(); ++i) {
      const T away = r[i] - x[i];
      sum += std::abs(static_cast<double>(away));
      turn.dr[i] = away > 0 ? pixel : (away < 0 ? -pixel : away * T(0));  // NaN stays one
    }
    if (perceptual != nullptr && config_.perceptual_weight != 0) {
      typename Perceptual::Context seen;
      const Tensor<T> distance = perceptual->forward(r, x, &seen);
      double distances = 0;
      for (const T d : distance) distances += static_cast<double>(d);
      turn.perceptual = distances / static_cast<double>(batch);
      sum += config_.perceptual_weight * elements * distances;  // the distance is added to every element
      const Tensor<T> ddistance(distance.shape(),
                                static_cast<T>(share * precision * config_.perceptual_weight * elements));
      nn::accumulate(turn.dr, perceptual->backward(ddistance, seen));
    }
    const double count = static_cast<double>(x.size());
    turn.rec = sum / count;
    turn.nll = share * (sum * precision + turn.logvar * count);
    if (!logvar_.frozen()) logvar_.grad[0] += static_cast<T>(share * (count - sum * precision));

    for (const T d : posterior.kl()) turn.kl += static_cast<double>(d);
    turn.kl *= share;
    turn.dmoments = posterior.kl_backward(static_cast<T>(share * config_.kl_weight));

    turn.total = turn.nll + config_.kl_weight * turn.kl;
    turn.factor = discriminates(step) ? 1 : 0;
    if (discriminates(step) || config_.watch_discriminator)
      judge(turn, r, discriminator, ctx, std::forward<LastGradient>(last_gradient));
    return turn;
  }

  /// The discriminator's turn: real and fake pictures go through it one after the other, each by its own statistics,
  /// which the running ones take in. Adds to its gradients.
  /// \param x,r pictures and reconstructions, [N, H, W, C]
  /// \return its loss, 0 before it takes part
  /// \throw ShapeError where pictures do not fit the discriminator
  DiscriminatorTurn discriminator_turn(const Tensor<T>& x, const Tensor<T>& r, std::int64_t step,
                                       PatchDiscriminator<T>& discriminator) {
    typename PatchDiscriminator<T>::Context of_real, of_fake;
    const auto look = [&](const Tensor<T>& pictures, auto& ctx) {
      ctx.mode.training = true;
      ctx.input_gradient = false;
      Tensor<T> logits = discriminator.forward(pictures, &ctx);
      discriminator.commit(ctx);
      return logits;
    };
    const Tensor<T> real = look(x, of_real);
    const Tensor<T> fake = look(r, of_fake);
    DiscriminatorTurn turn;
    turn.logits_real = mean(real);
    turn.logits_fake = mean(fake);
    if (!discriminates(step)) return turn;
    const DiscriminatorLoss<T> loss = discriminator_loss(config_.discriminator_loss, real, fake);
    turn.loss = loss.value;
    discriminator.backward(loss.dreal, of_real);
    discriminator.backward(loss.dfake, of_fake);
    return turn;
  }

  template <class Self, class V>
  static void visit(Self& self, V&& v, const nn::Name& prefix) {
    v(prefix + "logvar", self.logvar_,
      nn::Entry{nn::Kind::parameter, nn::Layout::plain, nn::Initial::constant(self.config_.logvar)});
  }

 private:
  /// Lends a model without its gradients: a pass backward then reaches its input alone.
  template <class Model>
  class WithoutGradients {
   public:
    explicit WithoutGradients(Model& model) : model_(model) {
      nn::for_each_parameter(model_, [&](const nn::Name&, auto& parameter, const nn::Entry&) {
        kept_.push_back(std::exchange(parameter.grad, Tensor<T>()));
      });
    }
    ~WithoutGradients() {
      std::size_t i = 0;
      nn::for_each_parameter(model_, [&](const nn::Name&, auto& parameter, const nn::Entry&) {
        parameter.grad = std::move(kept_[i++]);
      });
    }
    WithoutGradients(const WithoutGradients&) = delete;
    WithoutGradients& operator=(const WithoutGradients&) = delete;

   private:
    Model& model_;
    std::vector<Tensor<T>> kept_;
  };

  static double mean(const Tensor<T>& logits) {
    double sum = 0;
    for (const T v : logits) sum += static_cast<double>(v);
    return sum / static_cast<double>(logits.size());
  }

  /// The generator's loss and its weight; where the discriminator takes part, both join the turn's total and gradient.
  template <class LastGradient>
  void judge(AutoencoderTurn<T>& turn, const Tensor<T>& r, PatchDiscriminator<T>& discriminator,
             typename PatchDiscriminator<T>::Context& ctx, LastGradient&& last_gradient) {
    ctx.mode.training = true;
    ctx.input_gradient = true;
    const GeneratorLoss<T> loss = generator_loss(discriminator.forward(r, &ctx));
    turn.generator = loss.value;
    Tensor<T> dr;
    {
      const WithoutGradients<PatchDiscriminator<T>> lent(discriminator);
      dr = discriminator.backward(loss.dfake, ctx);
    }
    turn.weight = config_.adaptive(last_gradient(std::as_const(turn.dr)), last_gradient(std::as_const(dr)));
    if (turn.factor == 0) return;
    turn.total += turn.weight * loss.value;
    const T weight = static_cast<T>(turn.weight);
    for (std::int64_t i = 0; i < dr.size(); ++i) turn.dr[i] += weight * dr[i];
  }

  AutoencoderLossConfig config_;
  nn::Parameter<T> logvar_;  ///< one number
};

}  // namespace easy_diffusion::latent
