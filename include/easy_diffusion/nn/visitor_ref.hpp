/// \file
/// Any visitor of parameters behind one type: what is visited by it is compiled once.
#pragma once

#include <memory>
#include <type_traits>

#include "easy_diffusion/nn/name.hpp"
#include "easy_diffusion/nn/parameter.hpp"

namespace easy_diffusion::nn {

/// A visitor that belongs to somebody else, who keeps it alive.
/// \tparam P `Parameter<T>` or, of a model that is only read, `const Parameter<T>`
template <class P>
class VisitorRef {
 public:
  template <class V>
  explicit VisitorRef(V& visitor)
      : visitor_(const_cast<void*>(static_cast<const void*>(std::addressof(visitor)))),
        call_([](void* v, const Name& name, P& parameter, const Entry& entry) {
          (*static_cast<V*>(v))(name, parameter, entry);
        }) {}

  void operator()(const Name& name, P& parameter, const Entry& entry) const { call_(visitor_, name, parameter, entry); }

 private:
  void* visitor_;
  void (*call_)(void*, const Name&, P&, const Entry&);
};

}  // namespace easy_diffusion::nn
