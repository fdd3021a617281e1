// Training and sampling ask for no memory after their first steps: neither the system nor `operator new`.

#include <cstdint>

#include "easy_diffusion/core/allocator.hpp"
#include "easy_diffusion/core/parallel.hpp"
#include "easy_diffusion/diffusion/samplers/euler_maruyama.hpp"
#include "easy_diffusion/nn/models/unet.hpp"
#include "support/allocation_count.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

#include "train/support.hpp"

namespace {

using namespace easy_diffusion;

struct Counts {
  std::uint64_t by_new = tests::allocations();
  std::uint64_t by_cache = allocator_stats().system_allocations;
};

}  // namespace

TEST_CASE("a training step asks for no memory after the first epoch") {
  for (const nn::Skip skip : {nn::Skip::concatenate, nn::Skip::add}) {
    const test::Threads two(2);
    test::SmallRun run(1, skip);
    run.steps(7);  // whole batches and the short one at the end
    const Counts before;
    run.steps(2);
    const Counts after;
    INFO((skip == nn::Skip::add ? "UNet_res" : "UNet"));
    if (!test::watched) CHECK(after.by_cache == before.by_cache);
    if (!test::watched) CHECK(after.by_new == before.by_new);
  }
}

TEST_CASE("a sampling step asks for no memory after the first") {
  const test::Threads two(2);
  for (const nn::Skip skip : {nn::Skip::concatenate, nn::Skip::add}) {
    nn::UNet<float> model(test::small_unet(skip));
    nn::initialize(model, 1);
    Counts before, after;
    const auto observe = [&](std::int64_t step, double, const Tensor<float>&) {
      if (step == 2) before = Counts();
      if (step == 9) after = Counts();
    };
    static_cast<void>(diffusion::sample_score_model(model, sde::VarianceExploding(25), Shape{3, 17, 17, 1}, 0,
                                                    {.seed = 1, .steps = 10}, observe));
    INFO((skip == nn::Skip::add ? "UNet_res" : "UNet"));
    if (!test::watched) CHECK(after.by_cache == before.by_cache);
    if (!test::watched) CHECK(after.by_new == before.by_new);
  }
}

TEST_CASE("a count of allocations that sees none is no count") {
  const Counts before;
  const nn::Parameter<float> parameter(Shape{12345});
  CHECK(Counts().by_new > before.by_new);
}
