// The transforms of Winograd's minimal filtering F(M x M, 3 x 3): a convolution tile of M x M
// results takes (M + 2)^2 products per pair of channels instead of 9 M^2.
#pragma once

namespace fx2ait_conv {

/// One-dimensional transforms on values that add and multiply like floats; `M` results per tile.
template <int M>
struct Winograd;

/// Interpolation points 0, 1, -1, infinity.
template <>
struct Winograd<2> {
  static constexpr int kTile = 4;

  template <class V>
  static inline void input(V (&t)[4], const V (&d)[4]) {
    t[0] = d[0] - d[2];
    t[1] = d[1] + d[2];
    t[2] = d[2] - d[1];
    t[3] = d[1] - d[3];
  }

  template <class V>
  static inline void result(V (&y)[2], const V (&m)[4]) {
    y[0] = m[0] + m[1] + m[2];
    y[1] = m[1] - m[2] - m[3];
  }
};

/// Interpolation points 0, 1, -1, 2, -2, infinity.
template <>
struct Winograd<4> {
  static constexpr int kTile = 6;

  template <class V>
  static inline void input(V (&t)[6], const V (&d)[6]) {
    const V a = d[4] - 4.0f * d[2];
    const V b = d[3] - 4.0f * d[1];
    const V c = d[4] - d[2];
    const V e = 2.0f * (d[3] - d[1]);
    t[0] = 4.0f * d[0] - 5.0f * d[2] + d[4];
    t[1] = a + b;
    t[2] = a - b;
    t[3] = c + e;
    t[4] = c - e;
    t[5] = 4.0f * d[1] - 5.0f * d[3] + d[5];
  }

  template <class V>
  static inline void result(V (&y)[4], const V (&m)[6]) {
    const V a = m[1] + m[2];
    const V b = m[1] - m[2];
    const V c = m[3] + m[4];
    const V e = m[3] - m[4];
    y[0] = m[0] + a + c;
    y[1] = b + 2.0f * e;
    y[2] = a + 4.0f * c;
    y[3] = b + 8.0f * e + m[5];
  }
};

}  // namespace fx2ait_conv
