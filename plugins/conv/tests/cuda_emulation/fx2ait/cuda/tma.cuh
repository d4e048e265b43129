// The core's header of this name, on emulated CUDA. Copies happen later, in any order.
#pragma once

#include <cuda.h>

#include "fx2ait/cuda/mbarrier.cuh"

namespace fx2ait {

inline void tma_prefetch_map(const CUtensorMap&) {}

namespace detail {
struct TensorCopy {
  uint32_t destination, barrier;
  CUtensorMap map;
  int from[5];

  void perform() const {
    const int bytes = 2 * map.box[0];
    int rows = 1;
    for (int i = 1; i < map.rank; ++i) rows *= map.box[i];
    for (int row = 0; row < rows; ++row) {
      const unsigned char* source = map.data;
      bool inside = true;
      for (int i = 1, rest = row; i < map.rank; rest /= map.box[i], ++i) {
        const int64_t at = from[i] + rest % map.box[i];
        inside = inside && at >= 0 && at < map.sizes[i];
        source += at * map.strides[i];
      }
      for (int byte = 0; byte < bytes; ++byte) {
        const int64_t at = from[0] + byte / 2;
        const bool there = inside && at >= 0 && at < map.sizes[0];
        *shared_at(swizzled(destination + row * bytes + byte, map.swizzle), 1) =
            there ? source[2 * at + byte % 2] : 0;
      }
    }
    Barrier& done = barrier_at(barrier);
    done.bytes -= static_cast<int64_t>(rows) * bytes;
    done.settle();
  }

  static uint32_t swizzled(uint32_t address, CUtensorMapSwizzle swizzle) {
    return address ^ (address >> 7 & ((1u << swizzle) - 1)) << 4;
  }
};
inline std::vector<TensorCopy> tensor_copies;

inline bool copy_something() {
  if (tensor_copies.empty()) return false;
  const size_t place = std::rand() % tensor_copies.size();
  const TensorCopy copy = tensor_copies[place];
  tensor_copies.erase(tensor_copies.begin() + static_cast<std::ptrdiff_t>(place));
  copy.perform();
  return true;
}
inline const bool copies = (emulation::engines.push_back(copy_something), true);

inline void load_tensor(uint32_t destination, const CUtensorMap& map, uint32_t barrier, std::vector<int> from) {
  if (destination % 128 != 0) emulation::fail("a misaligned tensor copy");
  TensorCopy copy{destination, barrier, map, {}};
  if (static_cast<int>(from.size()) != map.rank) emulation::fail("a tensor copy of another rank than its map");
  std::copy(from.begin(), from.end(), copy.from);
  tensor_copies.push_back(copy);
  hesitate();
}
}  // namespace detail

inline void tma_load_2d(uint32_t destination, const CUtensorMap& map, uint32_t barrier, int x, int y) {
  detail::load_tensor(destination, map, barrier, {x, y});
}
inline void tma_load_3d(uint32_t destination, const CUtensorMap& map, uint32_t barrier, int x, int y, int z) {
  detail::load_tensor(destination, map, barrier, {x, y, z});
}
inline void tma_load_4d(uint32_t destination, const CUtensorMap& map, uint32_t barrier, int x, int y, int z, int w) {
  detail::load_tensor(destination, map, barrier, {x, y, z, w});
}

}  // namespace fx2ait
