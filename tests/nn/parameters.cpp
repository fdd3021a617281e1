// Names, shapes, initial values, state_dict, counting and freezing.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/nn/conv2d.hpp"
#include "easy_diffusion/nn/conv_transpose2d.hpp"
#include "easy_diffusion/nn/linear.hpp"
#include "easy_diffusion/nn/models/unet.hpp"
#include "easy_diffusion/nn/parameter.hpp"
#include "easy_diffusion/nn/state_dict.hpp"
#include "easy_diffusion/nn/visitor_ref.hpp"
#include "support/catch.hpp"
#include "support/layers.hpp"
#include "support/paths.hpp"
#include "support/tensors.hpp"

namespace {

using namespace easy_diffusion;
using namespace easy_diffusion::test;

TEST_CASE("names and shapes are those of PyTorch", "[nn][state_dict]") {
  for (const auto& [name, config] :
       {std::pair{"UNet", nn::UNetConfig::unet()}, {"UNet_res", nn::UNetConfig::unet_res()}}) {
    std::ifstream file(test_data() / (std::string(name) + ".state_dict.txt"));
    REQUIRE(file);
    std::vector<std::string> want, got;
    for (std::string line; std::getline(file, line);) want.push_back(line);
    const nn::UNet<float> model(config);
    for (const auto& [key, value] : nn::state_dict(model)) got.push_back(key + " " + value.shape().to_string());
    CHECK(got == want);  // in PyTorch's order, too
  }
}

TEST_CASE("the UNet has 1.1 million parameters", "[nn][parameter]") {
  const nn::UNet<float> model(nn::UNetConfig::unet());
  std::int64_t sum = 0;
  for (const auto& [key, value] : nn::state_dict(model)) sum += value.size();
  CHECK(nn::count_parameters(model, true) == sum);
  CHECK(nn::count_parameters(model) == sum - 128);  // the frequencies are not trained
  CHECK(sum > 1'000'000);
  CHECK(sum < 1'200'000);
}

TEST_CASE("loading a state_dict reports everything that is wrong, and then changes nothing",
          "[nn][state_dict][errors]") {
  nn::UNet<float> model(small_unet(nn::Skip::concatenate));
  randomise(model);
  std::map<std::string, Tensor<float>> before, source;
  for (auto& [name, value] : nn::state_dict(model)) {
    before[name] = value;
    source[name] = value;
    source[name].fill(7);
  }
  source.erase("conv1.weight");
  source.erase("tconv1.bias");
  source["extra.weight"] = Tensor<float>(Shape{2});
  source["module.conv2.weight"] = Tensor<float>(Shape{1});
  source["gnorm1.bias"] = Tensor<float>(Shape{5});
  source["conv3.weight"] = Tensor<float>(Shape{3, 3, 8, 8});  // the layout of this library, not PyTorch's
  std::string message;
  try {
    nn::load_state_dict(model, source);
  } catch (const FormatError& error) { message = error.what(); }
  CHECK(message ==
        "state_dict does not fit the model; missing: conv1.weight, tconv1.bias; unexpected: extra.weight, "
        "module.conv2.weight; wrong shape: gnorm1.bias (expected [4], got [5]), "
        "conv3.weight (expected [8, 8, 3, 3], got [3, 3, 8, 8])");
  for (const auto& [name, value] : nn::state_dict(model)) CHECK(same_bits(value, before.at(name)));
}

TEST_CASE("a loaded model shares no memory with its source", "[nn][state_dict]") {
  nn::Linear<float> layer(2, 3);
  std::map<std::string, Tensor<float>> source{{"weight", Tensor<float>(Shape{3, 2}, {1, 2, 3, 4, 5, 6})},
                                              {"bias", Tensor<float>(Shape{3}, {7, 8, 9})}};
  nn::load_state_dict(layer, source);
  layer.bias.value.fill(0);
  CHECK(source.at("bias")[1] == 8);
  // [out, in] there, [in, out] here.
  CHECK(same_bits(layer.weight.value, Tensor<float>(Shape{2, 3}, {1, 3, 5, 2, 4, 6})));
}

TEST_CASE("layouts go to PyTorch's and back", "[nn][state_dict]") {
  const auto x = random_tensor<float>(Shape{2, 3, 4, 5}, 1);
  for (const nn::Layout layout : {nn::Layout::convolution, nn::Layout::transposed_convolution}) {
    const auto there = nn::to_pytorch(x, layout);
    CHECK(there.shape() == Shape{5, 4, 2, 3});
    bool same = true;
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 3; ++j)
        for (int a = 0; a < 4; ++a)
          for (int b = 0; b < 5; ++b) same = same && there(b, a, i, j) == x(i, j, a, b);
    CHECK(same);
    CHECK(same_bits(nn::from_pytorch(there, layout, x.shape()), x));
  }
  CHECK_THROWS_AS(nn::from_pytorch(x, nn::Layout::convolution, x.shape()), ShapeError);
}

double bound_of(const Tensor<float>& x) { return largest(x); }

double deviation_of(const Tensor<float>& x) {
  double sum = 0;
  for (const float v : x) sum += double(v) * double(v);
  return std::sqrt(sum / double(x.size()));
}

TEST_CASE("initial values are PyTorch's", "[nn][parameter][initial]") {
  nn::UNet<float> model(nn::UNetConfig::unet());
  nn::initialize(model, 5);
  // Uniform in +-1/sqrt(fan_in). PyTorch's fan_in: inputs of a linear layer, inputs times kernel of a convolution, and
  // outputs times kernel of a transposed one, whose weight is [in, out, KH, KW]. A bias has its weight's.
  const std::map<std::string, double> fans{
      {"time_embed.1.weight", 256}, {"time_embed.1.bias", 256}, {"conv1.weight", 9},     {"conv2.weight", 32 * 9},
      {"conv4.weight", 128 * 9},    {"dense1.dense.bias", 256}, {"tconv4.weight", 1152}, {"tconv3.weight", 64 * 9},
      {"tconv2.weight", 32 * 9},    {"tconv1.weight", 9},       {"tconv1.bias", 9}};
  std::size_t seen = 0;
  nn::for_each_parameter(model, [&](const std::string& name, const nn::Parameter<float>& p, const nn::Entry& entry) {
    INFO(name);
    const Tensor<float>& v = p.value;
    if (const auto fan = fans.find(name); fan != fans.end()) {
      ++seen;
      const double bound = 1 / std::sqrt(fan->second);
      CHECK(bound_of(v) <= bound);
      if (v.size() >= 256) {
        const double n = double(v.size());
        CHECK(bound_of(v) >= bound * (1 - 20 / n));  // the largest of n comes that close, but for odds of e^-20
        CHECK(std::abs(deviation_of(v) - bound / std::sqrt(3)) <= 5 * bound * 0.26 / std::sqrt(n));
        double mean = 0;
        for (const float x : v) mean += double(x) / n;
        CHECK(std::abs(mean) <= 5 * bound / std::sqrt(3 * n));
      }
    }
    if (name == "time_embed.0.W") {
      CHECK(entry.kind == nn::Kind::frozen);
      CHECK(p.frozen());
      CHECK(std::abs(deviation_of(v) - 30) <= 5 * 30 / std::sqrt(2 * 128.0));
      CHECK(bound_of(v) <= 30 * 6.7);
    }
    if (name.find("gnorm") != std::string::npos) {
      const bool is_one = name.ends_with("weight");
      CHECK(std::all_of(v.begin(), v.end(), [&](float x) { return x == (is_one ? 1.0F : 0.0F); }));
    }
  });
  CHECK(seen == fans.size());
}

TEST_CASE("a seed decides the initial values to the last bit", "[nn][parameter][initial][bits]") {
  nn::UNet<float> a(small_unet(nn::Skip::add)), b(small_unet(nn::Skip::add)), c(small_unet(nn::Skip::add));
  nn::initialize(a, 5);
  {
    const Threads one(1);
    nn::initialize(b, 5);
  }
  nn::initialize(c, 6);
  const auto of_a = nn::state_dict(a), of_b = nn::state_dict(b), of_c = nn::state_dict(c);
  std::size_t differing = 0;
  for (std::size_t i = 0; i < of_a.size(); ++i) {
    CHECK(same_bits(of_a[i].value, of_b[i].value));
    differing += same_bits(of_a[i].value, of_c[i].value) ? 0U : 1U;
  }
  CHECK(differing == of_a.size() - 14);  // all but the gains and biases of the seven GroupNorms
  // Two entries of one shape get other numbers.
  CHECK_FALSE(same_bits(of_a[4].value, of_a[5].value));
}

TEST_CASE("freezing, unfreezing and zeroing reach what is trained", "[nn][parameter]") {
  nn::UNet<float> model(small_unet(nn::Skip::add));
  std::size_t entries = 0;
  nn::for_each_trained(model, [&](const std::string& name, auto& p, const nn::Entry& entry) {
    CHECK(entry.kind == nn::Kind::parameter);
    CHECK(name != "time_embed.0.W");
    p.grad.fill(3);
    ++entries;
  });
  CHECK(entries == 39);
  nn::zero_gradients(model);
  nn::for_each_trained(model, [](const std::string&, auto& p, const nn::Entry&) { CHECK(largest(p.grad) == 0); });
  const std::int64_t count = nn::count_parameters(model);
  nn::set_trainable(model, false);
  nn::for_each_trained(model, [](const std::string& name, auto&, const nn::Entry&) { FAIL_CHECK(name); });
  CHECK(nn::count_parameters(model) == count);
  nn::set_trainable(model, true);
  std::size_t again = 0;
  nn::for_each_trained(model, [&](const std::string&, auto&, const nn::Entry&) { ++again; });
  CHECK(again == entries);
}

}  // namespace

TEST_CASE("a visitor behind a reference meets the same as the visitor itself", "[nn][parameters]") {
  nn::Linear<double> layer(3, 2);
  std::vector<std::string> direct, referred;
  nn::for_each_parameter(std::as_const(layer), [&](const std::string& name, const auto& parameter, const nn::Entry& entry) {
    direct.push_back(name + parameter.value.shape().to_string() + std::to_string(static_cast<int>(entry.layout)));
  });
  const auto note = [&](const std::string& name, const auto& parameter, nn::Entry entry) {
    referred.push_back(name + parameter.value.shape().to_string() + std::to_string(static_cast<int>(entry.layout)));
  };
  nn::Linear<double>::visit(std::as_const(layer), nn::VisitorRef<const nn::Parameter<double>>(note), nn::Name());
  CHECK(direct.size() == 2);
  CHECK(referred == direct);
  auto change = [n = 0](const nn::Name&, auto& parameter, const nn::Entry&) mutable { parameter.value[0] = ++n; };
  nn::Linear<double>::visit(layer, nn::VisitorRef<nn::Parameter<double>>(change), nn::Name());
  CHECK(layer.weight.value[0] == 1);
  CHECK(layer.bias.value[0] == 2);
}

TEST_CASE("a name is built in place and says when it is too long", "[nn][parameters]") {
  const nn::Name prefix = nn::Name("down.") + std::to_string(3) + ".";
  const std::string name = prefix + "weight";
  CHECK(name == "down.3.weight");
  CHECK(std::string(prefix) == "down.3.");
  const nn::Name full(std::string(nn::Name::longest, 'x'));
  CHECK(std::string(full + "").size() == nn::Name::longest);
  CHECK_THROWS_AS(full + "y", ValueError);
}
