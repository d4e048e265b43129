// The core's header of this name, on emulated CUDA. Copies happen later, in any order.
#pragma once

#include <cuda.h>

#include "fx2ait/cuda/mbarrier.cuh"

namespace fx2ait {

inline void tma_prefetch_map(const CUtensorMap&) {}

inline bool elect_thread() {
  __syncwarp();
  return threadIdx.x % 32 == 0;
}

namespace detail {
inline uint32_t swizzled(uint32_t address, CUtensorMapSwizzle swizzle) {
  return address ^ (address >> 7 & ((1u << swizzle) - 1)) << 4;
}

/// A copy that is under way.
struct TensorCopy {
  uint32_t destination, barrier;
  CUtensorMap map;
  int from[5], offsets[2];

  void perform() const {
    if (emulation::blocks[(destination >> 24) - 1].running == 0) emulation::fail("a copy to a block that has gone");
    if (map.pixels > 0) {
      copy_windows();
    } else {
      copy_box();
    }
    Barrier& done = barrier_at(barrier);
    done.bytes -= bytes();
    done.settle();
  }

  /// Fails where a thread of the block that it goes to may still read what will be overwritten: a barrier alone does not
  /// hold the copy engine back from reads that are not waited for.
  void check_views() const {
    const int64_t begin = destination & 0xffffff, block = (destination >> 24) - 1;
    for (int i = 0; i < emulation::thread_count; ++i) {
      for (const size_t view : emulation::fibers[block * emulation::thread_count + i].views) {
        const int64_t place = static_cast<int64_t>(view);
        if (begin <= place && place < begin + bytes()) emulation::fail("a tensor copy over reads without a fence");
      }
    }
  }

 private:
  int row_bytes() const { return 2 * map.box[0]; }

  int rows() const {
    if (map.pixels > 0) return map.pixels;
    int count = 1;
    for (int i = 1; i < map.rank; ++i) count *= map.box[i];
    return count;
  }

  int64_t bytes() const { return static_cast<int64_t>(rows()) * row_bytes(); }

  void copy_box() const {
    for (int row = 0; row < rows(); ++row) {
      int64_t place[5];
      for (int i = 1, rest = row; i < map.rank; rest /= map.box[i], ++i) place[i] = from[i] + rest % map.box[i];
      copy_row(row, place);
    }
  }

  /// Walks through the bounding box of the first pixels of windows.
  void copy_windows() const {
    int64_t at[4] = {0, from[1], from[2], from[3]};
    for (int row = 0; row < map.pixels; ++row) {
      const int64_t place[4] = {0, at[1] + offsets[0], at[2] + offsets[1], at[3]};
      copy_row(row, place);
      at[1] += map.steps[1];
      for (int i = 1; i <= 2 && at[i] >= map.sizes[i] + map.upper[i - 1]; ++i) {
        at[i] = map.lower[i - 1];
        at[i + 1] += map.steps[i + 1];
      }
    }
  }

  /// `place` is that of the row's elements in the dimensions from 1 on.
  void copy_row(int row, const int64_t* place) const {
    const unsigned char* source = map.data;
    bool inside = true;
    for (int i = 1; i < map.rank; ++i) {
      inside = inside && place[i] >= 0 && place[i] < map.sizes[i];
      source += place[i] * map.strides[i];
    }
    for (int byte = 0; byte < row_bytes(); ++byte) {
      const int64_t at = from[0] + byte / 2;
      const bool there = inside && at >= 0 && at < map.sizes[0];
      const uint32_t to = swizzled(destination + static_cast<uint32_t>(row * row_bytes() + byte), map.swizzle);
      *shared_at(to, 1) = there ? source[2 * at + byte % 2] : 0;
    }
  }
};

/// To the blocks of the cluster whose bits are set in `blocks`, where it arrives independently; without
/// any to this block.
inline void load_tensor(
    uint32_t destination, const CUtensorMap& map, uint32_t barrier, std::vector<int> from, int column = 0, int row = 0,
    unsigned blocks = 0) {
  if (destination % 128 != 0) emulation::fail("a misaligned tensor copy");
  if (static_cast<int>(from.size()) != map.rank) emulation::fail("a tensor copy of another rank than its map");
  if (blocks >> emulation::block_count != 0) emulation::fail("a tensor copy to blocks that the cluster lacks");
  if (blocks == 0) blocks = 1u << emulation::rank();
  for (uint32_t rank = 0; blocks >> rank != 0; ++rank) {
    if ((blocks >> rank & 1) == 0) continue;
    TensorCopy copy{cluster_address(destination, rank), cluster_address(barrier, rank), map, {}, {column, row}};
    std::copy(from.begin(), from.end(), copy.from);
    barrier_at(copy.barrier);  // fails where there is none yet
    copy.check_views();
    emulation::happenings.push_back([copy] { copy.perform(); });
  }
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

inline void tma_load_im2col(
    uint32_t destination, const CUtensorMap& map, uint32_t barrier, int channel, int column, int row, int image,
    int tap_column, int tap_row) {
  detail::load_tensor(destination, map, barrier, {channel, column, row, image}, tap_column, tap_row);
}

inline void tma_multicast_3d(
    uint32_t destination, const CUtensorMap& map, uint32_t barrier, int x, int y, int z, uint16_t blocks) {
  detail::load_tensor(destination, map, barrier, {x, y, z}, 0, 0, blocks);
}
inline void tma_multicast_im2col(
    uint32_t destination, const CUtensorMap& map, uint32_t barrier, int channel, int column, int row, int image,
    int tap_column, int tap_row, uint16_t blocks) {
  detail::load_tensor(destination, map, barrier, {channel, column, row, image}, tap_column, tap_row, blocks);
}

}  // namespace fx2ait
