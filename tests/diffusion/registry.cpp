// Samplers by name: each makes a finite picture with the evaluations that it declares; other names and options that a sampler
// does not take are refused.

#include "easy_diffusion/diffusion/samplers/registry.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "easy_diffusion/core/random.hpp"
#include "easy_diffusion/diffusion/gaussian_mixture.hpp"
#include "easy_diffusion/diffusion/sampler.hpp"
#include "easy_diffusion/diffusion/schedule.hpp"
#include "easy_diffusion/diffusion/spacing.hpp"
#include "easy_diffusion/sde/noise.hpp"
#include "support/catch.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::diffusion;

using S = Tensor<double>;

TEST_CASE("every sampler is found by its name and makes a picture", "[diffusion][registry]") {
  const Schedule schedule = Schedule::linear(100, 1e-3, 0.2);
  const NoiseLevels levels = noise_levels(schedule, 10);
  const GaussianMixture mixture({{1, {0.3}, 0.05}});
  const std::vector<std::string> names = sampler_names();
  CHECK(names.size() > 20);
  for (const std::string& name : names) {
    CHECK(std::count(names.begin(), names.end(), name) == 1);
    INFO(name);
    SamplerOptions options;
    options.path = schedule_path(schedule);
    AnySampler<S> sampler = make_sampler<S>(name, options);
    S x({1, 256});
    sde::draw_normal(x, 1, {1, streams::initial_state, 0});
    const SampleResult result = sample(sampler, mixture, x, levels, sde::BrownianNoise{1});
    const std::int64_t declared = sampler.evaluations(levels);
    CHECK((sampler.traits().adaptive ? result.evaluations >= declared : result.evaluations == declared));
    // The data is N(0.3, 0.05^2). In ten steps a sampler may leave a spread of three times that; a mean of 256 is further
    // than 0.1 from 0.3 in one of 10^25 then. A single number has no such bound.
    double mean = 0;
    for (const double e : x) mean += e / static_cast<double>(x.size());
    CHECK_THAT(mean, WithinAbs(0.3, 0.1));
  }
}

TEST_CASE("unknown samplers and options that one does not take are refused", "[diffusion][registry]") {
  CHECK_THROWS_WITH(make_sampler<S>("dimm"),
                    ContainsSubstring("expected one of ddim, euler, ") && ContainsSubstring("got 'dimm'"));
  SamplerOptions with_eta;
  with_eta.eta = 0.5;
  CHECK_NOTHROW(make_sampler<S>("ddim", with_eta));
  CHECK_THROWS_WITH(make_sampler<S>("dpmpp_2m", with_eta), ContainsSubstring("dpmpp_2m: takes no eta"));
  with_eta.eta = 2;
  CHECK_THROWS_AS(make_sampler<S>("ddim", with_eta), ValueError);
  SamplerOptions with_churn;
  with_churn.churn = 1;
  CHECK_THROWS_WITH(make_sampler<S>("heun", with_churn), ContainsSubstring("takes no churn"));
  CHECK_THROWS_AS(make_sampler<S>("pndm"), ValueError);  // no path
}
