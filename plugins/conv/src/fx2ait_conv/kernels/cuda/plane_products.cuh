// The matrix products of plane_conv: windows from planes of rows, by way of registers, to the tensor cores.
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

#include "fx2ait/cuda/mma.cuh"
#include "fx2ait/cuda/vector.cuh"
#include "fx2ait/cuda/wgmma.cuh"

namespace fx2ait_conv {

/// What stands beside a unit in a step of k: the next unit, the same one a kernel row below, or zeros.
enum class PlanePair { next, below, zeros };

/// The windows of 64 columns over two units: `unit` in the input's row `row` of a band, and its pair.
struct PlaneQuad {
  int row, unit;
  PlanePair pair;
};

/// Which windows rows First.. of a band read, in the order in which they are read: row by row, so that
/// every row of the convolution that covers them multiplies them at once.
template <class Shape, class Tile, int First>
struct PlanePlan {
  /// Whether row `y` of the band multiplies `quad` with row `r` of the kernel.
  static constexpr __host__ __device__ bool meets(PlaneQuad quad, int y, int r) {
    if (y * Shape::stride_h + r * Shape::dilation_h != quad.row) return false;
    return quad.pair == PlanePair::next || (r % 2 == 0 && (r + 1 < Shape::kernel_h) == (quad.pair == PlanePair::below));
  }
  static constexpr __host__ __device__ int step(PlaneQuad quad, int r) {
    return quad.pair == PlanePair::next ? r * Tile::side_steps + quad.unit / 2
                                        : Shape::kernel_h * Tile::side_steps + r / 2;
  }
  /// Whether a row's sums begin with the product of `quad` and row `r` of the kernel.
  static constexpr __host__ __device__ bool begins(PlaneQuad quad, int r) {
    return r == 0 && (quad.pair == PlanePair::next ? quad.unit == 0 : Tile::side_steps == 0);
  }

  static constexpr int per_row = Tile::side_steps + Tile::units % 2 * 2;  // more than some rows have
  static constexpr __host__ __device__ PlaneQuad place(int index) {
    const int slot = index % per_row;
    if (slot < Tile::side_steps) return {index / per_row, slot * 2, PlanePair::next};
    return {index / per_row, Tile::units - 1, slot == Tile::side_steps ? PlanePair::below : PlanePair::zeros};
  }
  static constexpr __host__ __device__ bool used(PlaneQuad quad) {
    for (int y = First; y < Tile::band_rows; ++y) {
      for (int r = 0; r < Shape::kernel_h; ++r) {
        if (meets(quad, y, r)) return true;
      }
    }
    return false;
  }
  static constexpr __host__ __device__ int count_quads() {
    int found = 0;
    for (int index = 0; index < Tile::needed * per_row; ++index) found += used(place(index));
    return found;
  }
  static constexpr int count = count_quads();
  static constexpr __host__ __device__ PlaneQuad quad(int number) {
    int index = 0;
    for (;; ++index) {
      if (used(place(index)) && number-- == 0) return place(index);
    }
  }
};

/// A lane's place in the planes: that of its first window in the first row of the ring.
template <class Shape, class Tile, class Source, class Element>
struct PlaneLane {
  const unsigned char* first;
  uint32_t masks[2];  // of a window's first and last chunk

  /// `offset`: elements from a plane's beginning to column 0's window.
  __device__ __forceinline__ PlaneLane(const unsigned char* ring, int offset) {
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    const int element = offset + (warp * 16 + lane / 4) * Shape::stride_w + lane % 4 * 2;
    first = ring + element * int{sizeof(Source)};
    const auto covered = [&](int chunk) {
      const int tap = chunk * 8 + lane % 4 * 2 - Tile::shift;
      return (0 <= tap && tap < Shape::kernel_w ? 0xffffu : 0u) |
             (0 <= tap + 1 && tap + 1 < Shape::kernel_w ? 0xffff0000u : 0u);
    };
    masks[0] = covered(0);
    masks[1] = covered(Tile::chunks - 1);
  }

  /// This lane's elements of `Unit` in the row at `row` bytes of the ring, of its windows g and g + 8.
  /// What the window does not cover is zeros, since zeros of the weight must meet no infinity.
  template <int Unit>
  __device__ __forceinline__ void read(uint32_t& near, uint32_t& far, int row) const {
    constexpr int channel = Unit / Tile::chunks, chunk = Unit % Tile::chunks;
    const unsigned char* at =
        first + row + (channel * Tile::template plane_bytes<Source> + chunk * 8 * int{sizeof(Source)});
    near = pair(at);
    far = pair(at + 8 * Shape::stride_w * int{sizeof(Source)});
    if constexpr (chunk == 0 ? Tile::shift > 0 || Tile::chunks * 8 > Shape::kernel_w && Tile::chunks == 1
                             : chunk == Tile::chunks - 1 && Tile::chunks * 8 > Shape::kernel_w + Tile::shift) {
      near &= masks[chunk == 0 ? 0 : 1];
      far &= masks[chunk == 0 ? 0 : 1];
    }
  }

 private:
  struct alignas(Tile::even ? 2 * sizeof(Source) : sizeof(Source)) Two {
    Source elements[2];
  };

  static __device__ __forceinline__ uint32_t pair(const unsigned char* at) {
    const Two two = *reinterpret_cast<const Two*>(at);
    if constexpr (std::is_same_v<Source, Element> && Tile::even) {
      return *reinterpret_cast<const uint32_t*>(two.elements);
    } else {
      return fx2ait::pack_pair<Element>(fx2ait::to_float(two.elements[0]), fx2ait::to_float(two.elements[1]));
    }
  }
};

constexpr int plane_quads_at_once = 4;  // in registers; as many are read while these are multiplied

/// Reads quad Number, if there is one.
template <class Shape, class Tile, int First, int Number, class Lane>
__device__ __forceinline__ void read_quad(uint32_t (&a)[4], const int (&ring)[Tile::parts], const Lane& lane,
                                          int row_bytes) {
  using Plan = PlanePlan<Shape, Tile, First>;
  if constexpr (Number < Plan::count) {
    constexpr PlaneQuad quad = Plan::quad(Number);
    const auto row = [&](int number) { return ring[number / Tile::fresh] + number % Tile::fresh * row_bytes; };
    lane.template read<quad.unit>(a[0], a[1], row(quad.row));
    if constexpr (quad.pair == PlanePair::next) {
      lane.template read<quad.unit + 1>(a[2], a[3], row(quad.row));
    } else if constexpr (quad.pair == PlanePair::below) {
      lane.template read<quad.unit>(a[2], a[3], row(quad.row + Shape::dilation_h));
    } else {
      a[2] = a[3] = 0;
    }
  }
}

/// Starts the products of quad Number, if there is one.
template <class Shape, class Tile, class Element, int First, int Number>
__device__ __forceinline__ void multiply_quad(float (&sums)[Tile::band_rows - First][Tile::channels / 2],
                                              const uint32_t (&a)[4], uint64_t weights) {
  using Plan = PlanePlan<Shape, Tile, First>;
  if constexpr (Number < Plan::count) {
    constexpr PlaneQuad quad = Plan::quad(Number);
#pragma unroll
    for (int y = First; y < Tile::band_rows; ++y) {
#pragma unroll
      for (int r = 0; r < Shape::kernel_h; ++r) {
        if (!Plan::meets(quad, y, r)) continue;
        fx2ait::Wgmma<Element, Tile::channels>::multiply_add(
            sums[y - First], a, weights + static_cast<uint32_t>(Plan::step(quad, r) * Tile::weight_step_bytes / 16),
            !Plan::begins(quad, r));
      }
    }
  }
}

/// Starts the products of groups of quads, Group and following; of the last two they go on when this returns.
template <class Shape, class Tile, class Element, int First, int Group, class Lane, int... Q>
__device__ __forceinline__ void multiply_groups(float (&sums)[Tile::band_rows - First][Tile::channels / 2],
                                                uint32_t (&quads)[2][plane_quads_at_once][4],
                                                const int (&ring)[Tile::parts], const Lane& lane, int row_bytes,
                                                uint64_t weights, std::integer_sequence<int, Q...> each) {
  constexpr int first = Group * plane_quads_at_once;
  if constexpr (first < PlanePlan<Shape, Tile, First>::count) {
    auto& a = quads[Group % 2];
    if constexpr (Group >= 2) {
      fx2ait::wgmma_wait<1>();
      fx2ait::wgmma_keep(a);
    }
    (read_quad<Shape, Tile, First, first + Q>(a[Q], ring, lane, row_bytes), ...);
    fx2ait::wgmma_fence();
    (multiply_quad<Shape, Tile, Element, First, first + Q>(sums, a[Q], weights), ...);
    fx2ait::wgmma_commit();
    multiply_groups<Shape, Tile, Element, First, Group + 1>(sums, quads, ring, lane, row_bytes, weights, each);
  }
}

}  // namespace fx2ait_conv
