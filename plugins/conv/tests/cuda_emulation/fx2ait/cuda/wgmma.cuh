// The core's header of this name, on emulated CUDA, for blocks of one warpgroup and descriptors without
// swizzle. Products are formed when they are started or when they are waited for, at random.
#pragma once

#include <functional>

#include "fx2ait/cuda/mma.cuh"

namespace fx2ait {

inline uint64_t wgmma_plain_descriptor(uint32_t address, uint32_t lead, uint32_t stride) {
  return address >> 4 | static_cast<uint64_t>(lead >> 4) << 16 | static_cast<uint64_t>(stride >> 4) << 32;
}
inline void fence_shared_for_wgmma() {}
inline void wgmma_fence() {}
inline void wgmma_commit() {}
template <int Count>
void wgmma_pin(float (&)[Count]) {}

namespace detail {
inline std::vector<std::function<void()>> products;
inline int arrived;
inline unsigned generation;
inline float* accumulators[128];

/// Element k of row `row` of what a descriptor without swizzle describes.
template <typename Element>
float described(uint64_t descriptor, int row, int k) {
  const auto field = [&](int from) { return static_cast<uint32_t>(descriptor >> from & 0x3fff) * 16; };
  const uint32_t address = field(0) + row / 8 * field(32) + row % 8 * 16 + k / 8 * field(16) + k % 8 * 2;
  Element value;
  std::memcpy(&value, shared_at(address, 2), 2);
  return half_of<Element>(*reinterpret_cast<const uint16_t*>(&value), 0);
}

inline void form() {
  for (const auto& product : products) product();
  products.clear();
}
}  // namespace detail

template <typename Element, int N>
struct Wgmma {
  static void multiply_add(float (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate) {
    detail::accumulators[emulation::current] = d;
    emulation::meet(detail::arrived, detail::generation, 128, [=] {
      std::vector<float*> mine(detail::accumulators, detail::accumulators + 128);
      detail::products.push_back([=] {
        for (int t = 0; t < 128; ++t) {
          for (int i = 0; i < N / 2; ++i) {
            const int row = t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + t % 4 * 2 + i % 2;
            float sum = accumulate ? mine[t][i] : 0.0f;
            for (int k = 0; k < 16; ++k) {
              sum += detail::described<Element>(a, row, k) * detail::described<Element>(b, column, k);
            }
            mine[t][i] = sum;
          }
        }
      });
      if (std::rand() % 2 != 0) detail::form();
    });
  }
};

template <int Pending>
void wgmma_wait() {
  static_assert(Pending == 0);
  emulation::meet(detail::arrived, detail::generation, 128, detail::form);
}

}  // namespace fx2ait
