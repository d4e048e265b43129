#pragma once

#include <cstddef>
#include <cstdint>

#include "fx2ait/external_tensor.h"

namespace fx2ait {

/// What one run gives to the model's launches: where tensors are, the sizes, and where work is enqueued.
template <class Device>
class Call {
 public:
  using Context = typename Device::Context;
  using Probe = typename Device::Probe;

  Call(Context context, const int64_t* sizes, std::byte* constants, std::byte* arena, const ExternalTensor* inputs,
       void* const* outputs, int& current, Probe* probe, int only = -1)
      : context_(context),
        sizes_(sizes),
        constants_(constants),
        arena_(arena),
        inputs_(inputs),
        outputs_(outputs),
        current_(current),
        probe_(probe),
        only_(only) {}

  /// Says which launch comes next, so that a failure names it and a profile can time it. False: it is to be
  /// passed over, since another one is timed by itself.
  bool begin(int launch) const {
    if (only_ >= 0 && only_ != launch) return false;
    current_ = launch;
    if (probe_ != nullptr) probe_->mark(context_);
    return true;
  }

  Context context() const { return context_; }
  int64_t size(int symbol) const { return sizes_[symbol]; }

  /// The constant at a byte offset.
  template <class T>
  const T* constant(int64_t offset) const {
    return reinterpret_cast<const T*>(constants_ + offset);
  }

  /// Activation or workspace memory at a byte offset.
  template <class T>
  T* arena(int64_t offset) const {
    return reinterpret_cast<T*>(arena_ + offset);
  }

  /// An input in whatever dtype and strides the caller has.
  const ExternalTensor& input(int index) const { return inputs_[index]; }

  /// An input that was checked to have the port's dtype and layout.
  template <class T>
  const T* exact_input(int index) const {
    return static_cast<const T*>(inputs_[index].data);
  }

  template <class T>
  T* output(int index) const {
    return static_cast<T*>(outputs_[index]);
  }

 private:
  Context context_;
  const int64_t* sizes_;
  std::byte* constants_;
  std::byte* arena_;
  const ExternalTensor* inputs_;
  void* const* outputs_;
  int& current_;
  Probe* probe_;
  int only_;
};

}  // namespace fx2ait
