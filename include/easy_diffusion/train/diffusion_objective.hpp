/// \file
/// The objective of a diffusion model whose method is chosen at run time.
#pragma once

#include <cstdint>
#include <utility>
#include <variant>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/train/denoising_diffusion.hpp"
#include "easy_diffusion/train/edm_objective.hpp"
#include "easy_diffusion/train/flow_objective.hpp"

namespace easy_diffusion::train {

/// One of the objectives of `DiffusionMethod`, so that a trainer is compiled once for all of them.
class DiffusionObjective {
 public:
  using Any = std::variant<DenoisingDiffusion, EdmObjective, FlowObjective>;

  explicit DiffusionObjective(Any objective) : objective_(std::move(objective)) {}

  /// One batch, as the objective has it.
  template <class Model, class... Told>
  double accumulate(Model& model, const Tensor<typename Model::value_type>& pictures, std::uint64_t seed,
                    std::uint32_t step, typename Model::Context& ctx, const Told&... told) {
    return std::visit(
        [&](auto& objective) { return objective.accumulate(model, pictures, seed, step, ctx, told...); }, objective_);
  }

  /// Calls f(name, tensor) for the objective's state, where it has one.
  template <class F>
  void visit_state(F&& f) {
    std::visit(
        [&](auto& objective) {
          if constexpr (requires { objective.visit_state(f); }) objective.visit_state(f);
        },
        objective_);
  }

 private:
  Any objective_;
};

}  // namespace easy_diffusion::train
