/// \file
/// Keyword arguments in JSON, read by name and type: each with a default, none left over.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/io/json.hpp"

namespace easy_diffusion::zoo {

/// The arguments with which something is made. Each function reads one and gives its default where it is left out;
/// `finish()` then refuses every key that nobody asked for.
class Keywords {
 public:
  /// \param who  begins every error message, such as "UNet"
  /// \param json has to outlive this
  /// \throw FormatError unless it is an object
  Keywords(std::string who, const nlohmann::json& json) : who_(std::move(who)), json_(&json) {
    if (!json.is_object())
      throw FormatError(who_ + ": expected an object of keyword arguments, got " + io::shown(json));
  }

  [[nodiscard]] const std::string& who() const noexcept { return who_; }

  static constexpr std::int64_t largest = 1 << 24;
  static constexpr std::size_t longest = 64;  ///< list

  /// Whole numbers from 1 to `most`. \throw FormatError naming the key for anything else; so do the functions below
  std::int64_t whole(const std::string& key, std::int64_t otherwise, std::int64_t most = largest) {
    const nlohmann::json* value = find(key);
    return value == nullptr ? otherwise : to_whole(key, *value, most);
  }

  /// The same, or null: nothing.
  std::optional<std::int64_t> whole_or_null(const std::string& key, std::optional<std::int64_t> otherwise) {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return otherwise;
    if (value->is_null()) return std::nullopt;
    return to_whole(key, *value, largest);
  }

  std::vector<std::int64_t> wholes(const std::string& key, std::vector<std::int64_t> otherwise) {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_array() || value->size() > longest)
      refuse(key, "a list of at most " + std::to_string(longest) + " whole numbers", *value);
    std::vector<std::int64_t> result;
    for (const auto& item : *value) result.push_back(to_whole(key, item, largest));
    return result;
  }

  /// A number from `low` to `high`.
  double number(const std::string& key, double otherwise, double low, double high) {
    const nlohmann::json* value = find(key);
    return value == nullptr ? otherwise : to_number(key, *value, low, high);
  }

  /// The same, or null: nothing.
  std::optional<double> number_or_null(const std::string& key, std::optional<double> otherwise, double low,
                                       double high) {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return otherwise;
    if (value->is_null()) return std::nullopt;
    return to_number(key, *value, low, high);
  }

  bool flag(const std::string& key, bool otherwise) {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_boolean()) refuse(key, "true or false", *value);
    return value->get<bool>();
  }

  std::string text(const std::string& key, std::string otherwise, const std::vector<std::string>& allowed) {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_string() || std::find(allowed.begin(), allowed.end(), value->get<std::string>()) == allowed.end())
      refuse(key, listed(allowed), *value);
    return value->get<std::string>();
  }

  /// An argument of which there is only one value that this library can take.
  template <class Value>
  void only(const std::string& key, const Value& allowed, const std::string& why) {
    const nlohmann::json* value = find(key);
    if (value != nullptr && *value != nlohmann::json(allowed))
      throw FormatError(who_ + ": \"" + key + "\": expected " + nlohmann::json(allowed).dump() + " (" + why +
                        "), got " + io::shown(*value));
  }

  /// An argument that the original takes and never uses; anything goes.
  void unused(const std::string& key) { static_cast<void>(find(key)); }

  /// An object of further keyword arguments; its own `finish` is the caller's.
  Keywords object(const std::string& key) {
    static const nlohmann::json none = nlohmann::json::object();
    const nlohmann::json* value = find(key);
    return {who_ + ": " + key, value == nullptr ? none : *value};
  }

  /// \throw FormatError naming every key that was not asked for, and those that were
  void finish() const {
    std::vector<std::string> unknown;
    for (const auto& [key, value] : json_->items())
      if (std::find(asked_.begin(), asked_.end(), key) == asked_.end()) unknown.push_back(key);
    if (!unknown.empty())
      throw FormatError(who_ + ": unknown " + (unknown.size() == 1 ? "key " : "keys ") + listed(unknown) +
                        "; known are " + listed(asked_));
  }

 private:
  /// At most twenty of them: a file may have any number.
  static std::string listed(const std::vector<std::string>& names) {
    constexpr std::size_t most = 20;
    std::string text;
    for (std::size_t i = 0; i < names.size() && i < most; ++i) text += (i == 0 ? "" : ", ") + io::shown(names[i]);
    return names.size() > most ? text + " and " + std::to_string(names.size() - most) + " more" : text;
  }
  [[noreturn]] void refuse(const std::string& key, const std::string& expected, const nlohmann::json& got) const {
    throw FormatError(who_ + ": \"" + key + "\": expected " + expected + ", got " + io::shown(got));
  }

  const nlohmann::json* find(const std::string& key) {
    if (std::find(asked_.begin(), asked_.end(), key) == asked_.end()) asked_.push_back(key);
    const auto found = json_->find(key);
    return found == json_->end() ? nullptr : &*found;
  }
  std::int64_t to_whole(const std::string& key, const nlohmann::json& value, std::int64_t most) const {
    if (!value.is_number_integer() || value.get<std::int64_t>() < 1 || value.get<std::int64_t>() > most)
      refuse(key, "a whole number from 1 to " + std::to_string(most), value);
    return value.get<std::int64_t>();
  }
  double to_number(const std::string& key, const nlohmann::json& value, double low, double high) const {
    if (!value.is_number() || !(value.get<double>() >= low && value.get<double>() <= high))
      refuse(key, "a number from " + nlohmann::json(low).dump() + " to " + nlohmann::json(high).dump(), value);
    return value.get<double>();
  }

  std::string who_;
  const nlohmann::json* json_;
  std::vector<std::string> asked_;
};

}  // namespace easy_diffusion::zoo
