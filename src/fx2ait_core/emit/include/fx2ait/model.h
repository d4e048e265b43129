#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "fx2ait/call.h"
#include "fx2ait/container.h"

namespace fx2ait {

/// A sequence of launches for sizes up to `sizes` (one per symbol).
template <class Device>
struct Bucket {
  const int64_t* sizes;
  LaunchNames launches;
  void (*run)(const Call<Device>& call);
};

/// The generated model: all that a container needs to know of it.
template <class Device>
struct Model {
  const char* name;
  const char* arch;
  Interface interface;
  std::vector<ConstantEntry> constants;
  std::vector<Bucket<Device>> buckets;
  std::size_t constant_bytes;
  std::size_t arena_bytes;
  std::size_t workspace_bytes;  // at the start of the arena, zeroed for the kernels
  const unsigned char* weights;  // tensor data of weights.safetensors, inside this library
};

}  // namespace fx2ait
