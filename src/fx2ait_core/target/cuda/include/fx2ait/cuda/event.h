#pragma once

#include <cuda_runtime.h>

#include "fx2ait/cuda/check.h"

namespace fx2ait::cuda {

/// An event that orders or times work.
class Event {
 public:
  explicit Event(unsigned flags) { FX2AIT_CUDA_CHECK(cudaEventCreateWithFlags(&event_, flags)); }
  Event(Event&& other) noexcept : event_(other.event_) { other.event_ = nullptr; }
  Event& operator=(Event&&) = delete;
  ~Event() {
    if (event_ != nullptr) cudaEventDestroy(event_);
  }
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace fx2ait::cuda
