// Scalar mathematics without branches, so that loops over it vectorize.
//
// Accurate to about 1e-6 relative; infinities, NaN, signed zeros and denormals give what C gives.
#pragma once

#include <cstdint>
#include <cstring>

#include "fx2ait/cpu/vector.h"

namespace fx {
namespace detail {

using fx2ait::bits_to_float;
using fx2ait::float_to_bits;

inline constexpr uint32_t kSignBit = 0x80000000u;

/// condition ? a : b, without a branch.
inline float select(bool condition, float a, float b) {
  const uint32_t mask = 0u - static_cast<uint32_t>(condition);
  return bits_to_float((float_to_bits(a) & mask) | (float_to_bits(b) & ~mask));
}

inline double bits_to_double(uint64_t bits) {
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline uint64_t double_to_bits(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline double select(bool condition, double a, double b) {
  const uint64_t mask = 0u - static_cast<uint64_t>(condition);
  return bits_to_double((double_to_bits(a) & mask) | (double_to_bits(b) & ~mask));
}

inline float copy_sign(float magnitude, float sign) {
  return bits_to_float((float_to_bits(magnitude) & ~kSignBit) | (float_to_bits(sign) & kSignBit));
}

inline constexpr float kInfinity = __builtin_inff();
inline constexpr float kNaN = __builtin_nanf("");

}  // namespace detail

inline float abs(float x) { return detail::bits_to_float(detail::float_to_bits(x) & ~detail::kSignBit); }

inline float sqrt(float x) { return __builtin_sqrtf(x); }

/// The larger of both, NaN if either is NaN.
inline float maximum(float a, float b) {
  const float larger = b > a ? b : a;
  return b != b ? b : larger;
}

/// The smaller of both, NaN if either is NaN.
inline float minimum(float a, float b) {
  const float smaller = b < a ? b : a;
  return b != b ? b : smaller;
}

inline float exp(float x) {
  constexpr float kRound = 0x1.8p23f;  // adding it leaves the nearest integer in the low bits
  x = detail::select(x > 89.0f, 89.0f, x);
  x = detail::select(x < -104.0f, -104.0f, x);
  const float shifted = x * 1.44269504f + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  // 2^n in two factors: the product may be a denormal or overflow.
  const uint32_t exponent = detail::float_to_bits(shifted) - detail::float_to_bits(kRound);
  const int32_t half = static_cast<int32_t>(exponent) >> 1;
  const int32_t rest = static_cast<int32_t>(exponent) - half;
  const float scale0 = detail::bits_to_float(static_cast<uint32_t>(half + 127) << 23);
  const float scale1 = detail::bits_to_float(static_cast<uint32_t>(rest + 127) << 23);
  return p * scale0 * scale1;
}

inline float log(float x) {
  const bool denormal = x < 0x1p-126f;
  const float scaled = x * detail::select(denormal, 0x1p25f, 1.0f);
  // Mantissa in [sqrt(1/2), sqrt(2)), so that log(1 + f) needs few terms.
  const uint32_t bits = detail::float_to_bits(scaled) + (0x3f800000u - 0x3f3504f3u);
  const float k = static_cast<float>(static_cast<int32_t>(bits >> 23) - 127) -
                  detail::select(denormal, 25.0f, 0.0f);
  const float f = detail::bits_to_float((bits & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
  const float s = f / (2.0f + f);
  const float z = s * s;
  const float w = z * z;
  const float r = z * (0.66666662693f + w * 0.28498786688f) + w * (0.40000972152f + w * 0.24279078841f);
  const float half_square = 0.5f * f * f;
  const float result = s * (half_square + r) + k * 9.0580006145e-6f - half_square + f + k * 6.9313812256e-1f;
  const float special = detail::select(x == 0.0f, -detail::kInfinity, detail::select(x < 0.0f, detail::kNaN, x));
  const bool regular = (x > 0.0f) & (x < detail::kInfinity);
  return detail::select(regular, result, special);
}

inline float log1p(float x) {
  const float u = 1.0f + x;
  const float lost = detail::select(x > 1.0f, 1.0f - (u - x), x - (u - 1.0f));
  const bool regular = (u > 0.0f) & (u < detail::kInfinity);
  const float result = log(u) + detail::select(regular, lost / u, 0.0f);
  return detail::select(x == 0.0f, x, result);
}

inline float tanh(float x) {
  const float magnitude = abs(x);
  const float z = x * x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const float near_zero = p * z * x + x;
  const float far = 1.0f - 2.0f / (exp(2.0f * magnitude) + 1.0f);
  return detail::copy_sign(detail::select(magnitude < 0.625f, near_zero, far), x);
}

inline float erf(float x) {
  const float magnitude = abs(x);
  const float t = detail::select(magnitude > 4.0f, 4.0f, magnitude);
  const float s = t * t;
  // 1 - exp(polynomial) away from zero.
  float far = (-1.72853470e-5f * t + 3.83197126e-4f) * s + (-3.88396438e-3f * t + 2.42546219e-2f);
  far = far * t - 1.06777877e-1f;
  far = far * t - 6.34846687e-1f;
  far = far * t - 1.28717512e-1f;
  far = far * t - t;
  far = 1.0f - exp(far);
  float p = -5.96761703e-4f;
  p = p * s + 4.99119423e-3f;
  p = p * s - 2.67681349e-2f;
  p = p * s + 1.12819925e-1f;
  p = p * s - 3.76125336e-1f;
  p = p * s + 1.28379166e-1f;
  const float near_zero = p * x + x;
  return detail::select(t > 0.927734375f, detail::copy_sign(far, x), near_zero);
}

inline float sigmoid(float x) {
  const float small = exp(-abs(x));  // at most 1: no overflow on either side
  return detail::select(x < 0.0f, small, 1.0f) / (1.0f + small);
}

/// C's powf, its special cases included. In double precision inside: the error of the logarithm
/// is multiplied by up to 150.
inline float pow(float x, float y) {
  const double magnitude = abs(x);
  const float y_magnitude = abs(y);

  // log2 |x| = k + log2(m), m in [sqrt(1/2), sqrt(2)).
  constexpr uint64_t kOne = 0x3ff0000000000000u;
  constexpr uint64_t kSqrtHalf = 0x3fe6a09e667f3bcdu;
  const uint64_t bits = detail::double_to_bits(magnitude) + (kOne - kSqrtHalf);
  const double k = static_cast<double>(static_cast<int32_t>(bits >> 52) - 1023);
  const double m = detail::bits_to_double((bits & 0x000fffffffffffffu) + kSqrtHalf);
  const double s = (m - 1.0) / (m + 1.0);
  const double z = s * s;
  double series = 1.0 / 15.0;
  series = series * z + 1.0 / 13.0;
  series = series * z + 1.0 / 11.0;
  series = series * z + 1.0 / 9.0;
  series = series * z + 1.0 / 7.0;
  series = series * z + 1.0 / 5.0;
  series = series * z + 1.0 / 3.0;
  series = series * z + 1.0;
  double log2 = k + s * series * 2.8853900817779268;
  log2 = detail::select(magnitude == 0.0, -__builtin_inf(), log2);
  log2 = detail::select(magnitude < __builtin_inf(), log2, magnitude);  // infinity and NaN

  double t = log2 * static_cast<double>(y);
  t = detail::select((magnitude == 1.0) & (y_magnitude == detail::kInfinity), 0.0, t);
  t = detail::select(t > 200.0, 200.0, t);
  t = detail::select(t < -200.0, -200.0, t);

  constexpr double kRound = 0x1.8p52;
  const double shifted = t + kRound;
  const double r = (t - (shifted - kRound)) * 0.69314718055994531;
  double p = 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  const uint64_t exponent = detail::double_to_bits(shifted) - detail::double_to_bits(kRound);
  float result = static_cast<float>(p * detail::bits_to_double((exponent + 1023u) << 52));

  // Below 2^23, |y| + 2^23 rounds to an integer whose parity is the lowest bit.
  const float rounded = y_magnitude + 0x1p23f;
  const bool large = y_magnitude >= 0x1p23f;
  const bool integer = large | ((rounded - 0x1p23f) == y_magnitude);
  const uint32_t parity = detail::float_to_bits(detail::select(large, y_magnitude, rounded)) << 31;
  const float odd = detail::bits_to_float(parity & detail::float_to_bits(x));  // -0.0f where the sign stays
  const float sign = detail::select(integer & (y_magnitude < 0x1p24f), odd, 0.0f);
  result = detail::bits_to_float(detail::float_to_bits(result) | detail::float_to_bits(sign));
  const bool undefined = (x < 0.0f) & (x > -detail::kInfinity) & !integer & (y == y);
  result = detail::select(undefined, detail::kNaN, result);
  return detail::select((x == 1.0f) | (y == 0.0f), 1.0f, result);
}

}  // namespace fx
