/// \file
/// Reads the golden values of tests/golden and of the reference material: a layer's configuration, inputs, parameters
/// and PyTorch's results for them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <map>
#include <ostream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/io/safetensors.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/state_dict.hpp"
#include "support/tensors.hpp"

namespace easy_diffusion::test {

/// [N, C, H, W] to [N, H, W, C]; other ranks stay as they are.
template <class T>
Tensor<T> channels_last(const Tensor<T>& x) {
  const Shape& s = x.shape();
  if (s.rank() != 4) return x;
  auto y = Tensor<T>::uninitialized(Shape{s[0], s[2], s[3], s[1]});
  for (std::int64_t n = 0; n < s[0]; ++n)
    for (std::int64_t c = 0; c < s[1]; ++c)
      for (std::int64_t h = 0; h < s[2]; ++h)
        for (std::int64_t w = 0; w < s[3]; ++w) y(n, h, w, c) = x(n, c, h, w);
  return y;
}

/// Named results beside named wishes. The error of a tensor is max |got - want| / (max |want| + 0.1 median), the median
/// being that of the maxima of all gradients.
class Agreement {
 public:
  template <class A, class B>
  void compare(const std::string& name, const Tensor<A>& got, const Tensor<B>& want) {
    rows_.push_back({name, largest_difference(got, want), largest(want), name.starts_with("grad")});
  }

  /// NaN is worse than any number. Nothing compared is NaN.
  [[nodiscard]] double worst() const { return find().second; }
  [[nodiscard]] std::size_t count() const { return rows_.size(); }
  friend std::ostream& operator<<(std::ostream& out, const Agreement& agreement) {
    const auto [name, error] = agreement.find();
    return out << "worst relative error " << error << " in " << name << " of " << agreement.count() << " tensors";
  }

 private:
  struct Row {
    std::string name;
    double difference, largest;
    bool gradient;
  };

  [[nodiscard]] std::pair<std::string, double> find() const {
    if (rows_.empty()) return {"nothing", std::nan("")};
    std::vector<double> maxima;
    for (const Row& row : rows_)
      if (row.gradient) maxima.push_back(row.largest);
    std::sort(maxima.begin(), maxima.end());
    const std::size_t half = maxima.size() / 2;
    double median = 0;
    if (!maxima.empty()) median = maxima.size() % 2 ? maxima[half] : 0.5 * (maxima[half - 1] + maxima[half]);
    std::pair<std::string, double> worst{"", -1};
    for (const Row& row : rows_) {
      const double error = row.difference == 0 ? 0 : row.difference / (row.largest + 0.1 * median);
      if (std::isnan(error)) return {row.name, error};
      if (error > worst.second) worst = {row.name, error};
    }
    return worst;
  }

  std::vector<Row> rows_;
};

/// Everything of one case of a golden file, converted to T.
template <class T>
class GoldenCase {
 public:
  GoldenCase(const io::SafetensorsFile& file, const std::string& name) : file_(&file), name_(name) {
    std::istringstream text(file.metadata(name));
    for (std::string item; text >> item;) {
      const auto at = item.find('=');
      config_[item.substr(0, at)] = std::stod(item.substr(at + 1));
    }
  }

  [[nodiscard]] std::int64_t operator[](const std::string& key) const {
    return static_cast<std::int64_t>(config_.at(key));
  }
  /// The settings letter0, letter1, ...
  [[nodiscard]] std::vector<std::int64_t> list(const std::string& letter) const {
    std::vector<std::int64_t> values;
    for (int i = 0; has_setting(letter + std::to_string(i)); ++i)
      values.push_back((*this)[letter + std::to_string(i)]);
    return values;
  }
  [[nodiscard]] bool has_setting(const std::string& key) const { return config_.contains(key); }
  [[nodiscard]] bool has(const std::string& tensor) const { return file_->contains(name_ + "/" + tensor); }

  /// Pictures become channels last.
  [[nodiscard]] Tensor<T> operator()(const std::string& tensor) const {
    return channels_last(file_->read<T>(name_ + "/" + tensor, io::Finite::required));
  }
  /// What PyTorch got, in double.
  [[nodiscard]] Tensor<double> want(const std::string& tensor) const {
    return channels_last(file_->read<double>(name_ + "/" + tensor, io::Finite::required));
  }

  /// The state_dict, in PyTorch's layouts.
  [[nodiscard]] std::map<std::string, Tensor<T>> parameters() const {
    std::map<std::string, Tensor<T>> result;
    const std::string prefix = name_ + "/param.";
    for (const std::string& full : file_->names())
      if (full.starts_with(prefix)) result[full.substr(prefix.size())] = file_->read<T>(full, io::Finite::required);
    return result;
  }

  /// Every trained parameter's gradient against PyTorch's.
  template <class Model>
  void compare_gradients(Agreement& agreement, Model& model) const {
    nn::for_each_trained(model, [&](const std::string& name, auto& parameter, const nn::Entry& entry) {
      agreement.compare("grad." + name, nn::to_pytorch(parameter.grad, entry.layout),
                        file_->read<double>(name_ + "/grad." + name, io::Finite::required));
    });
  }

 private:
  const io::SafetensorsFile* file_;
  std::string name_;
  std::map<std::string, double> config_;
};

/// The cases of a golden file whose names begin so.
inline std::vector<std::string> cases_of(const io::SafetensorsFile& file, const std::string& prefix) {
  std::vector<std::string> names;
  for (const auto& [name, text] : file.metadata())
    if (name.starts_with(prefix)) names.push_back(name);
  return names;
}

}  // namespace easy_diffusion::test
