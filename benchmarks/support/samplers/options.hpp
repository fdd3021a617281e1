/// \file
/// Options of the comparison of samplers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/data/fashion_mnist.hpp"
#include "support/options.hpp"  // of the examples
#include "support/samplers/contenders.hpp"

namespace easy_diffusion::bench {

/// What the command line says.
struct SamplerBenchmarkOptions {
  std::string samplers = "all";
  std::string evaluations;
  std::string spacing = "suited";
  std::int64_t samples = 8192;
  std::string checkpoint, classifier;
  std::string data = easy_diffusion::data::fashion_mnist_folder().string();
  std::int64_t pictures = 500;
  std::int64_t accuracy_pictures = 4000;
  std::int64_t accuracy_steps = 600;
  bool all_pictures = false;
  bool report = false;
  bool overwrite = false;
  std::string markdown;

  void add_to(examples::CommandLine& line) {
    line.add("--samplers", samplers, "all, or names with commas between");
    line.add("--evaluations", evaluations, "numbers with commas between; empty: 4,6,8,10,20,50,100,250,1000");
    line.add("--spacing", spacing,
             "of the steps: suited (to each sampler), or one for all, such as trailing or log_snr");
    line.add<std::int64_t>("--samples", samples, "of a mixture, for each number", 128, 10'000'000);
    line.add("--checkpoint", checkpoint, "file that train_ddpm has left, of pictures with classes: measure on it too");
    line.add("--classifier", classifier, "file that train_classifier has left, which judges the pictures");
    line.add("--data", data, "pictures that both were trained on, and their test set");
    line.add<std::int64_t>("--pictures", pictures, "of the model, for each Frechet distance", 130, 60'000);
    line.add<std::int64_t>("--accuracy-pictures", accuracy_pictures,
                           "of the model, for a classifier to be trained on; 0: none is trained", 0, 60'000);
    line.add<std::int64_t>("--accuracy-steps", accuracy_steps, "of that training, with batches of 64", 1, 1'000'000);
    line.add(
        "--all-pictures", all_pictures,
        "paint pictures with every sampler at all evaluations, instead of beyond 100 with the well-known ones only");
    line.add("--report", report, "measure nothing, only draw and write what has been measured");
    line.add("--overwrite", overwrite, "start anew although --out has numbers");
    line.add("--markdown", markdown, "document whose blocks <!-- bench_samplers SET METRIC --> get their tables");
  }
};

/// \throw ValueError
[[nodiscard]] inline std::vector<std::int64_t> read_targets(const std::string& text) {
  if (text.empty()) return {standard_targets.begin(), standard_targets.end()};
  std::vector<std::int64_t> result;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    std::int64_t number = 0;
    if (!examples::detail::read_number(text.substr(at, comma - at), number) || number < 1 || number > 1'000'000)
      throw ValueError("--evaluations: expected numbers from 1 to 1000000 with commas between, got '" + text + "'");
    result.push_back(number);
    at = comma + 1;
  }
  return result;
}

}  // namespace easy_diffusion::bench
