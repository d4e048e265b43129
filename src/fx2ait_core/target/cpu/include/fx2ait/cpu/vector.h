// Vectors on the CPU: short float arrays that loops vectorize over, and one register of floats.
#pragma once

#include <cstdint>
#include <cstring>

namespace fx2ait {

// ---- 16-bit floats: storage only, computed on as float ----------------------------------------

struct Half {
  uint16_t bits;
};

struct BFloat16 {
  uint16_t bits;
};

inline float bits_to_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline uint32_t float_to_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

template <class T>
inline float to_float(T value) {
  return static_cast<float>(value);
}

/// Exact, with denormals, infinities and NaN; without branches, so that loops vectorize.
template <>
inline float to_float(Half value) {
  const uint32_t magnitude = value.bits & 0x7fffu;
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  // A float with the half's bits is too small by 2^112 in its exponent; the product also makes
  // normal numbers of the half's denormals.
  const float scaled = bits_to_float(magnitude << 13) * 0x1p112f;
  const uint32_t finite = float_to_bits(scaled);
  const uint32_t infinite_or_nan = magnitude >= 0x7c00u ? 0x7f800000u : 0u;
  return bits_to_float(sign | finite | infinite_or_nan);
}

template <>
inline float to_float(BFloat16 value) {
  return bits_to_float(static_cast<uint32_t>(value.bits) << 16);
}

template <class T>
inline T from_float(float value) {
  return static_cast<T>(value);
}

/// Rounds to nearest even; beyond the largest half it gives infinity.
template <>
inline Half from_float(float value) {
  const uint32_t bits = float_to_bits(value);
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t sign = (bits >> 16) & 0x8000u;
  // Below 2^-14 the addition of 0.5 aligns the mantissa to the half's denormals and rounds.
  const uint32_t denormal = float_to_bits(bits_to_float(magnitude) + 0.5f) - 0x3f000000u;
  const uint32_t normal = (magnitude - 0x38000000u + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13;
  uint32_t half = magnitude < 0x38800000u ? denormal : normal;
  half = magnitude >= 0x477ff000u ? 0x7c00u : half;
  half = magnitude > 0x7f800000u ? 0x7e00u : half;
  return Half{static_cast<uint16_t>(sign | half)};
}

/// Rounds to nearest even.
template <>
inline BFloat16 from_float(float value) {
  const uint32_t bits = float_to_bits(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const uint32_t nan = (bits >> 16) | 0x40u;
  return BFloat16{static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded)};
}

/// PyTorch's conversion to bool: everything but zero is true.
template <>
inline bool from_float(float value) {
  return value != 0.0f;
}

// ---- V neighbouring elements as floats --------------------------------------------------------

/// x[i] = data[i] for V elements of any element type; `data` needs no more than its natural alignment.
template <int V, class T>
inline void load_vector(float (&x)[V], const T* data) {
#pragma GCC ivdep
  for (int i = 0; i < V; ++i) x[i] = to_float(data[i]);
}

/// V neighbouring elements, read at once and used as floats.
template <class T, int V>
struct Packed {
  void load(const T* data) { load_vector<V>(elements, data); }
  float operator[](int i) const { return elements[i]; }

  float elements[V];
};

/// data[i] = x[i], rounded to the element type.
template <int V, class T>
inline void store_vector(T* data, const float (&x)[V]) {
#pragma GCC ivdep
  for (int i = 0; i < V; ++i) data[i] = from_float<T>(x[i]);
}

// ---- one register of floats -------------------------------------------------------------------

#if defined(__AVX512F__)
inline constexpr int kSimdWidth = 16;
#elif defined(__AVX__)
inline constexpr int kSimdWidth = 8;
#else
inline constexpr int kSimdWidth = 4;
#endif

/// kSimdWidth floats; the arithmetic operators work on all of them, a * b + c becomes one fused
/// multiply-add where the machine has it.
using Simd = float __attribute__((vector_size(kSimdWidth * sizeof(float))));

/// kSimdWidth floats in memory, aligned to a float only.
using UnalignedSimd =
    float __attribute__((vector_size(kSimdWidth * sizeof(float)), aligned(alignof(float)), may_alias));

inline Simd simd_load(const float* data) { return *reinterpret_cast<const UnalignedSimd*>(data); }

inline void simd_store(float* data, Simd value) { *reinterpret_cast<UnalignedSimd*>(data) = value; }

inline Simd simd_broadcast(float value) { return value - Simd{}; }

/// The first `count` (0 to kSimdWidth) floats at `data`, the others zero; reads nothing beyond.
inline Simd simd_load_partial(const float* data, int64_t count) {
  float lanes[kSimdWidth] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = data[i];
  return simd_load(lanes);
}

/// Writes the first `count` (0 to kSimdWidth) lanes and nothing beyond.
inline void simd_store_partial(float* data, Simd value, int64_t count) {
  float lanes[kSimdWidth];
  simd_store(lanes, value);
  for (int64_t i = 0; i < count; ++i) data[i] = lanes[i];
}

inline float simd_sum(Simd value) {
  float lanes[kSimdWidth];
  simd_store(lanes, value);
  float sum = 0.0f;
  for (int i = 0; i < kSimdWidth; ++i) sum += lanes[i];
  return sum;
}

}  // namespace fx2ait
