// The core's header of this name, on emulated CUDA. Products are formed in the order in which they were
// started, at any time until they are waited for, from what shared memory holds then.
#pragma once

#include <deque>
#include <functional>

#include "fx2ait/cuda/mma.cuh"

namespace fx2ait {

template <int RowBytes>
uint64_t wgmma_rows(uint32_t address, int group_bytes) {
  constexpr uint64_t swizzle = RowBytes == 128 ? 1 : RowBytes == 64 ? 2 : 3;
  return address >> 4 | uint64_t{1} << 16 | static_cast<uint64_t>(group_bytes >> 4) << 32 | swizzle << 62;
}
inline uint64_t wgmma_descriptor(uint32_t address) { return wgmma_rows<128>(address, 1024); }
inline uint64_t wgmma_plain_descriptor(uint32_t address, uint32_t lead, uint32_t stride) {
  return address >> 4 | static_cast<uint64_t>(lead >> 4) << 16 | static_cast<uint64_t>(stride >> 4) << 32;
}
inline void fence_shared_for_wgmma() {}
inline void wgmma_fence() {}
template <int Count>
void wgmma_pin(float (&)[Count]) {}
template <int Count>
void wgmma_keep(const uint32_t (&)[Count][4]) {}
template <int>
void release_registers() {}
template <int>
void claim_registers() {}

namespace detail {
/// Products of a warpgroup that are under way, each in the group that a commit has closed or will close.
struct Products {
  std::deque<std::pair<int, std::function<void()>>> started;
  int group = 0, arrived = 0;
  unsigned generation = 0;
  float* accumulators[128];
  const uint32_t* windows[128];

  void form_one() {
    started.front().second();
    started.pop_front();
  }
  template <class Work>
  void together(const Work& work) {
    emulation::meet(arrived, generation, 128, work);
  }
};
constexpr int most_groups = emulation::most_blocks * 8;
inline Products products[most_groups];
inline Products& products_here() { return products[emulation::rank() * 8 + threadIdx.x / 128]; }

inline bool form_something() {
  const int count = most_groups, first = std::rand() % count;
  for (int i = 0; i < count; ++i) {
    Products& at = products[(first + i) % count];
    if (at.started.empty()) continue;
    at.form_one();
    return true;
  }
  return false;
}
inline const bool forms = (emulation::engines.push_back(form_something), true);

/// The rows of 16 elements that a descriptor describes: without swizzle, where the 8 elements after the
/// first 8 lie one lead away, or in a swizzle by bits of the address.
template <typename Element, int Rows>
void described(uint64_t descriptor, float (&rows)[Rows][16], uint32_t rank) {
  const auto field = [&](int from) { return static_cast<uint32_t>(descriptor >> from & 0x3fff) * 16; };
  const auto mode = static_cast<uint32_t>(descriptor >> 62);
  const uint32_t row_bytes = mode == 0 ? 16 : 256u >> mode;
  for (int row = 0; row < Rows; ++row) {
    for (int k = 0; k < 16; ++k) {
      uint32_t address = field(0) + row / 8 * field(32) + row % 8 * row_bytes;
      address += mode == 0 ? k / 8 * field(16) + k % 8 * 2 : k * 2;
      if (mode != 0) address ^= (address >> 7 & (row_bytes / 16 - 1)) << 4;
      uint16_t bits;
      std::memcpy(&bits, shared_at(cluster_address(address, rank), 2), 2);
      rows[row][k] = half_of<Element>(bits, 0);
    }
  }
}
}  // namespace detail

template <typename Element, int N>
struct Wgmma {
  static void multiply_add(float (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate) {
    const auto rank = static_cast<uint32_t>(emulation::rank());
    start(d, nullptr, b, accumulate, [=](const auto&, float (&left)[64][16]) { detail::described<Element>(a, left, rank); });
  }
  /// What registers hold is read when products are formed, too.
  static void multiply_add(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
    start(d, a, b, accumulate, [](const std::vector<const uint32_t*>& registers, float (&left)[64][16]) {
      for (int row = 0; row < 64; ++row) {
        for (int k = 0; k < 16; ++k) {
          const uint32_t* held = registers[row / 16 * 32 + row % 8 * 4 + k % 8 / 2];
          left[row][k] = detail::half_of<Element>(held[row % 16 / 8 + k / 8 * 2], k % 2);
        }
      }
    });
  }

 private:
  template <class Left>
  static void start(float (&d)[N / 2], const uint32_t* a, uint64_t b, bool accumulate, const Left& read_left) {
    detail::Products& here = detail::products_here();
    here.accumulators[threadIdx.x % 128] = d;
    here.windows[threadIdx.x % 128] = a;
    const auto rank = static_cast<uint32_t>(emulation::rank());
    here.together([&] {
      const std::vector<float*> sums(here.accumulators, here.accumulators + 128);
      const std::vector<const uint32_t*> registers(here.windows, here.windows + 128);
      here.started.emplace_back(here.group, [=] {
        float left[64][16], right[N][16];
        read_left(registers, left);
        detail::described<Element>(b, right, rank);
        for (int t = 0; t < 128; ++t) {
          for (int i = 0; i < N / 2; ++i) {
            const int row = t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + t % 4 * 2 + i % 2;
            float sum = accumulate ? sums[t][i] : 0.0f;
            for (int k = 0; k < 16; ++k) sum += left[row][k] * right[column][k];
            sums[t][i] = sum;
          }
        }
      });
    });
  }
};

inline void wgmma_commit() {
  detail::Products& here = detail::products_here();
  here.together([&] { ++here.group; });
}

/// Waits for all but the latest groups; whether others are finished too is left to chance.
template <int Pending>
void wgmma_wait() {
  for (int rounds = std::rand() % 256 == 0 ? 300 : 0; rounds > 0; --rounds) emulation::yield();
  detail::Products& here = detail::products_here();
  here.together([&] {
    while (!here.started.empty() && here.started.front().first < here.group - Pending) here.form_one();
  });
}

}  // namespace fx2ait
