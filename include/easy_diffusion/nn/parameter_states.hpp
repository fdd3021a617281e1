/// \file
/// What an optimiser or an average keeps beside each parameter of a model, bound to the parameter's name and shape.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/shape.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/nn/parameter.hpp"

namespace easy_diffusion::nn {

/// Whether a state that is one tensor can serve that value.
template <class T>
[[nodiscard]] bool has_shape_of(const Tensor<T>& state, const Tensor<T>& value) noexcept {
  return state.shape() == value.shape() && state.size() >= value.size();
}

/// Which entries of a model have a state.
enum class Stateful { trained_kind, every };  ///< those of kind `parameter`, frozen or not; all of them

/// One `State` for each entry of the model that was bound. Whoever uses them shows the model again, and a model that grew,
/// shrank or has another shape by then is refused as a whole, before anything of it is touched. The order of the visit
/// may change: a state belongs to a name.
/// \tparam State with `has_shape_of(state, value)` found by argument lookup, as for `Tensor`
template <class State>
class ParameterStates {
 public:
  /// \param owner "Adam" and the like, for messages; lives as long as the program
  ParameterStates(const char* owner, Stateful which) : owner_(owner), which_(which) {}

  [[nodiscard]] bool bound() const noexcept { return bound_; }

  /// Begins with `make(parameter)` for each entry. \throw ValueError where two entries have one name
  template <class Model, class Make>
  void bind(Model& model, Make&& make) {
    std::vector<Record> records;
    std::map<std::string_view, int> known;
    visit(model, [&](const Name& name, auto& parameter, const Entry&) {
      records.push_back({std::string(name), parameter.value.shape(), make(parameter)});
    });
    for (const Record& record : records)
      if (++known[record.name] > 1)
        throw ValueError(std::string(owner_) + ": two entries of the model are called \"" + record.name + "\"");
    records_ = std::move(records);
    bound_ = true;
  }

  /// Calls f(name, parameter, state, entry) for each entry.
  /// \throw ValueError that lists what is missing, new, or of another shape; then f is not called at all
  template <class Model, class F>
  void for_each(Model& model, F&& f) {
    run(*this, model, f);
  }
  template <class Model, class F>
  void for_each(Model& model, F&& f) const {
    run(*this, model, f);
  }

  /// \throw ValueError as `for_each`
  template <class Model>
  void check(Model& model) const {
    std::size_t index = 0;
    bool same = true;
    visit(model, [&](const Name& name, auto& parameter, const Entry&) {
      same = same && index < records_.size() && records_[index].name == std::string_view(name) &&
             fits(records_[index], parameter);
      ++index;
    });
    if (!same || index != records_.size()) explain(model);
  }

  /// Calls f(state) for each of them, as they are.
  template <class F>
  void for_each_state(F&& f) {
    for (Record& record : records_) f(record.state);
  }

 private:
  struct Record {
    std::string name;
    Shape shape;
    State state;
  };

  template <class Model, class F>
  void visit(Model& model, F&& f) const {
    for_each_parameter(model, [&](const Name& name, auto& parameter, const Entry& entry) {
      if (which_ == Stateful::every || entry.kind == Kind::parameter) f(name, parameter, entry);
    });
  }

  template <class Self, class Model, class F>
  static void run(Self& self, Model& model, F& f) {
    self.check(model);
    std::size_t index = 0;
    self.visit(model, [&](const Name& name, auto& parameter, const Entry& entry) {
      f(name, parameter, self.records_[self.place(name, index++)].state, entry);
    });
  }

  template <class Parameter>
  static bool fits(const Record& record, const Parameter& parameter) {
    return record.shape == parameter.value.shape() && has_shape_of(record.state, parameter.value) &&
           (parameter.grad.empty() || parameter.grad.shape() == record.shape);
  }

  /// Of the record with that name, which is mostly the one at `likely`.
  [[nodiscard]] std::size_t place(std::string_view name, std::size_t likely) const {
    if (records_[likely].name == name) return likely;
    std::size_t found = 0;
    while (records_[found].name != name) ++found;  // `check` has seen it
    return found;
  }

  /// Returns where names and shapes are the same in another order.
  template <class Model>
  void explain(Model& model) const {
    std::map<std::string_view, const Record*> left;
    for (const Record& record : records_) left[record.name] = &record;
    std::string missing, unexpected, misshapen;
    const auto append = [](std::string& list, const std::string& text) { list += (list.empty() ? "" : ", ") + text; };
    visit(model, [&](const Name& name, auto& parameter, const Entry&) {
      const auto found = left.find(std::string_view(name));
      if (found == left.end()) return append(unexpected, name);
      const bool value_differs = !(found->second->shape == parameter.value.shape());
      if (!fits(*found->second, parameter))
        append(misshapen,
               std::string(name) + " (expected " + found->second->shape.to_string() + ", got " +
                   (value_differs ? parameter.value.shape().to_string() : "a gradient or state of another shape") +
                   ")");
      left.erase(found);
    });
    for (const auto& [name, record] : left) append(missing, std::string(name));
    std::string problems;
    if (!missing.empty()) problems += "; missing: " + missing;
    if (!unexpected.empty()) problems += "; unexpected: " + unexpected;
    if (!misshapen.empty()) problems += "; wrong shape: " + misshapen;
    if (!problems.empty()) throw ValueError(std::string(owner_) + ": expected the model it began with" + problems);
  }

  const char* owner_;
  Stateful which_;
  bool bound_ = false;
  std::vector<Record> records_;
};

}  // namespace easy_diffusion::nn
