// The core's header of this name, on emulated CUDA: the same functions, by the layouts that the
// PTX manual gives. Asynchronous copies arrive at once or when they are waited for.
#pragma once

#include <type_traits>

#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "fx2ait/cuda/vector.cuh"

namespace fx2ait {

/// The address that names the same place for every block of the cluster: the bits from 24 on count the
/// blocks from 1 on.
inline uint32_t cluster_address(uint32_t address, uint32_t rank) { return (address & 0xffffff) | (rank + 1) << 24; }
inline uint32_t cluster_address(uint32_t address) {
  return address >> 24 != 0 ? address : cluster_address(address, static_cast<uint32_t>(emulation::rank()));
}

inline unsigned char* shared_at(uint32_t address, uint32_t alignment) {
  if (address % alignment != 0) emulation::fail("a misaligned access to shared memory");
  const uint32_t everywhere = cluster_address(address);
  return emulation::blocks[(everywhere >> 24) - 1].shared + (everywhere & 0xffffff);
}

/// Of dynamic or, to name barriers, of static shared memory, which all blocks have at the same place.
inline uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(static_cast<const unsigned char*>(pointer) - fx2ait_conv::shared) & 0xffffff;
}

inline uint32_t load_shared_32(uint32_t address) {
  uint32_t word;
  std::memcpy(&word, shared_at(address, 4), 4);
  return word;
}

inline uint32_t load_shared_16(uint32_t address) {
  uint16_t word;
  std::memcpy(&word, shared_at(address, 2), 2);
  return word;
}

namespace detail {
inline void copy(const emulation::Copy& copy) {
  if (copy.valid) {
    std::memcpy(copy.target, copy.source, copy.bytes);
  } else {
    std::memset(copy.target, 0, copy.bytes);
  }
}
template <int Bytes>
void copy_async(uint32_t shared, const void* global, bool valid) {
  if (reinterpret_cast<uintptr_t>(global) % Bytes != 0) emulation::fail("a misaligned asynchronous copy");
  const emulation::Copy started{shared_at(shared, Bytes), global, Bytes, valid};
  if (std::rand() % 2 != 0) {
    copy(started);
  } else {
    emulation::fibers[emulation::current].groups.back().push_back(started);
  }
}
}  // namespace detail

inline void copy_async_16(uint32_t shared, const void* global, bool valid) {
  detail::copy_async<16>(shared, global, valid);
}
inline void copy_async_8(uint32_t shared, const void* global, bool valid) {
  detail::copy_async<8>(shared, global, valid);
}

inline void copy_async_commit() { emulation::fibers[emulation::current].groups.emplace_back(); }

template <int Pending>
void copy_async_wait() {
  auto& groups = emulation::fibers[emulation::current].groups;
  while (groups.size() > Pending + 1) {
    for (const emulation::Copy& copy : groups.front()) detail::copy(copy);
    groups.erase(groups.begin());
  }
}

inline void load_matrix_x4(uint32_t (&registers)[4], uint32_t shared) {
  const int lane = emulation::current % 32;
  emulation::Warp& mine = emulation::warps[emulation::current / 32];
  mine.address[lane] = shared;
  mine.loaded[lane] = registers;
  emulation::together([](emulation::Warp& warp) {
    for (int l = 0; l < 32; ++l) {
      for (int matrix = 0; matrix < 4; ++matrix) {
        const unsigned char* row = shared_at(warp.address[matrix * 8 + l / 4], 16);
        std::memcpy(warp.loaded[l] + matrix, row + l % 4 * 4, 4);
      }
    }
  });
}

namespace detail {
template <typename T>
float half_of(uint32_t word, int half) {
  const auto bits = static_cast<uint16_t>(word >> (16 * half));
  T value;
  std::memcpy(&value, &bits, 2);
  if constexpr (std::is_same_v<T, __half>) {
    return __half2float(value);
  } else {
    return __bfloat162float(value);
  }
}
}  // namespace detail

template <typename T>
void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const int lane = emulation::current % 32;
  emulation::Warp& mine = emulation::warps[emulation::current / 32];
  mine.a[lane] = a;
  mine.b[lane][0] = b0;
  mine.b[lane][1] = b1;
  mine.d[lane] = d;
  emulation::together([](emulation::Warp& warp) {
    float left[16][16], right[16][8];
    for (int k = 0; k < 16; ++k) {
      const int place = k % 8 / 2;
      for (int row = 0; row < 16; ++row) {
        left[row][k] = detail::half_of<T>(warp.a[row % 8 * 4 + place][row / 8 + k / 8 * 2], k % 2);
      }
      for (int column = 0; column < 8; ++column) {
        right[k][column] = detail::half_of<T>(warp.b[column * 4 + place][k / 8], k % 2);
      }
    }
    for (int l = 0; l < 32; ++l) {
      for (int i = 0; i < 4; ++i) {
        float sum = warp.d[l][i];
        for (int k = 0; k < 16; ++k) sum += left[l / 4 + i / 2 * 8][k] * right[k][l % 4 * 2 + i % 2];
        warp.d[l][i] = sum;
      }
    }
  });
}

template <typename T>
uint32_t pack_pair(float low, float high) {
  const T elements[2] = {from_float<T>(low), from_float<T>(high)};
  uint32_t word;
  std::memcpy(&word, elements, 4);
  return word;
}

}  // namespace fx2ait
