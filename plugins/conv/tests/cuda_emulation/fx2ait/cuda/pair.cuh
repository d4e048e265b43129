// The core's header of this name, on emulated CUDA.
#pragma once

#include <limits>

#include "fx2ait/cuda/math.cuh"
#include "fx2ait/cuda/mma.cuh"
#include "fx2ait/cuda/vector.cuh"

namespace fx2ait {

template <typename T>
struct Pair {
  struct word {
    T first, second;
  };
  static word of(float first, float second) { return {from_float<T>(first), from_float<T>(second)}; }
  static word lowest() {
    const float least = -std::numeric_limits<float>::infinity();
    return of(least, least);
  }
  static word maximum(word a, word b) {
    return of(fx::maximum(to_float(a.first), to_float(b.first)), fx::maximum(to_float(a.second), to_float(b.second)));
  }
};

}  // namespace fx2ait
