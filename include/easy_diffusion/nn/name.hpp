/// \file
/// The name of a parameter while a model is visited.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

#include "easy_diffusion/core/error.hpp"

namespace easy_diffusion::nn {

/// Text of at most `longest` characters, held in place: optimisers and averages visit a model in each step, and a visit
/// asks for no memory. Becomes a `std::string` wherever one is wanted.
class Name {
 public:
  static constexpr std::size_t longest = 255;

  Name() noexcept {}  // the characters stay as they are
  /// \throw ValueError for a longer text
  Name(std::string_view text) { append(text); }
  Name(const std::string& text) : Name(std::string_view(text)) {}
  Name(const char* text) : Name(std::string_view(text)) {}
  Name(const Name& other) noexcept : size_(other.size_) { std::copy_n(other.text_, size_, text_); }
  Name& operator=(const Name& other) noexcept {
    size_ = other.size_;
    std::copy_n(other.text_, size_, text_);
    return *this;
  }
  ~Name() = default;

  operator std::string_view() const noexcept { return {text_, size_}; }
  operator std::string() const { return {text_, size_}; }

  /// \throw ValueError where the two together are too long
  friend Name operator+(const Name& name, std::string_view more) {
    Name joined(name);
    joined.append(more);
    return joined;
  }

 private:
  void append(std::string_view more) {
    if (more.size() > longest - size_)
      throw ValueError("name: expected at most " + std::to_string(longest) + " characters, got " +
                       std::string(text_, size_).append(more));
    std::copy_n(more.data(), more.size(), text_ + size_);
    size_ += more.size();
  }

  char text_[longest];
  std::size_t size_ = 0;
};

}  // namespace easy_diffusion::nn
