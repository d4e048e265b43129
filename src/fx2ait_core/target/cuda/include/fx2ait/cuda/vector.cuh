// Vectors of V neighbouring elements in memory, seen as float32 in registers.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

namespace fx2ait {

/// The value as float32; exact for __half, __nv_bfloat16, float and small integers.
template <typename T>
__host__ __device__ __forceinline__ float to_float(T value) {
  if constexpr (std::is_same_v<T, __half>) {
    return __half2float(value);
  } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __bfloat162float(value);
  } else {
    return static_cast<float>(value);
  }
}

/// `value` rounded to T: to nearest even for floating types, toward zero for integers;
/// bool is `value != 0`.
template <typename T>
__host__ __device__ __forceinline__ T from_float(float value) {
  if constexpr (std::is_same_v<T, __half>) {
    return __float2half_rn(value);
  } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __float2bfloat16_rn(value);
  } else if constexpr (std::is_same_v<T, bool>) {
    return value != 0.0f;
  } else {
    return static_cast<T>(value);
  }
}

namespace detail {

template <int Bytes>
struct Word;
template <>
struct Word<1> {
  using type = unsigned char;
};
template <>
struct Word<2> {
  using type = unsigned short;
};
template <>
struct Word<4> {
  using type = unsigned int;
};
template <>
struct Word<8> {
  using type = uint2;
};
template <>
struct Word<16> {
  using type = uint4;
};

/// Bytes of the widest access (at most 16) that divides a vector of `bytes` bytes.
constexpr int access_bytes(int bytes) {
  int width = 16;
  while (bytes % width != 0) width /= 2;
  return width;
}

/// V elements of T in registers, moved in the widest words that fit.
template <typename T, int V>
struct alignas(access_bytes(V * static_cast<int>(sizeof(T)))) Packet {
  static constexpr int width = access_bytes(V * static_cast<int>(sizeof(T)));
  static constexpr int words = V * static_cast<int>(sizeof(T)) / width;
  using word = typename Word<width>::type;

  T elements[V];

  __device__ __forceinline__ void load(const T* source) {
#pragma unroll
    for (int i = 0; i < words; ++i) {
      reinterpret_cast<word*>(elements)[i] = reinterpret_cast<const word*>(source)[i];
    }
  }

  __device__ __forceinline__ void store(T* destination) const {
#pragma unroll
    for (int i = 0; i < words; ++i) {
      reinterpret_cast<word*>(destination)[i] = reinterpret_cast<const word*>(elements)[i];
    }
  }
};

}  // namespace detail

/// V neighbours as they lie in memory, seen as float32 when they are used: until then they take no
/// more registers than their type needs, and nothing waits for them. Alignment as for load_vector.
template <typename T, int V>
struct Packed {
  __device__ __forceinline__ void load(const T* source) { packet.load(source); }
  __device__ __forceinline__ float operator[](int i) const { return to_float(packet.elements[i]); }

  detail::Packet<T, V> packet;
};

/// Reads V neighbours as float32. `source` must be aligned to the largest power of two, at most
/// 16, that divides V * sizeof(T) bytes.
template <int V, typename T>
__device__ __forceinline__ void load_vector(float (&values)[V], const T* source) {
  if constexpr (V == 1) {
    values[0] = to_float(*source);
  } else {
    detail::Packet<T, V> packet;
    packet.load(source);
    if constexpr (std::is_same_v<T, __half> && V % 2 == 0) {
#pragma unroll
      for (int i = 0; i < V; i += 2) {
        const float2 pair = __half22float2(__half2(packet.elements[i], packet.elements[i + 1]));
        values[i] = pair.x;
        values[i + 1] = pair.y;
      }
    } else {
#pragma unroll
      for (int i = 0; i < V; ++i) values[i] = to_float(packet.elements[i]);
    }
  }
}

/// Rounds V float32 values to T and writes them to neighbouring elements; the alignment is that
/// of load_vector.
template <int V, typename T>
__device__ __forceinline__ void store_vector(T* destination, const float (&values)[V]) {
  if constexpr (V == 1) {
    *destination = from_float<T>(values[0]);
  } else {
    detail::Packet<T, V> packet;
    if constexpr (std::is_same_v<T, __half> && V % 2 == 0) {
#pragma unroll
      for (int i = 0; i < V; i += 2) {
        const __half2 pair = __floats2half2_rn(values[i], values[i + 1]);
        packet.elements[i] = __low2half(pair);
        packet.elements[i + 1] = __high2half(pair);
      }
    } else if constexpr (std::is_same_v<T, __nv_bfloat16> && V % 2 == 0) {
#pragma unroll
      for (int i = 0; i < V; i += 2) {
        const __nv_bfloat162 pair = __floats2bfloat162_rn(values[i], values[i + 1]);
        packet.elements[i] = __low2bfloat16(pair);
        packet.elements[i + 1] = __high2bfloat16(pair);
      }
    } else {
#pragma unroll
      for (int i = 0; i < V; ++i) packet.elements[i] = from_float<T>(values[i]);
    }
    packet.store(destination);
  }
}

}  // namespace fx2ait
