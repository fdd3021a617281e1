/// \file
/// The small family of exceptions that public entry points throw.
/// A message says what, where, what was expected and what came; it fits on one line.
#pragma once

#include <stdexcept>
#include <string>

#include "easy_diffusion/core/detail/strict_math.hpp"

namespace easy_diffusion {

/// Base of everything this library throws on purpose.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A tensor has another shape than the operation needs.
class ShapeError : public Error {
 public:
  using Error::Error;
};

/// An argument or option is out of its range.
class ValueError : public Error {
 public:
  using Error::Error;
};

/// A file's content is not what its format promises.
class FormatError : public Error {
 public:
  using Error::Error;
};

/// The operating system refused to open, read, write or rename.
class IoError : public Error {
 public:
  using Error::Error;
};

}  // namespace easy_diffusion
