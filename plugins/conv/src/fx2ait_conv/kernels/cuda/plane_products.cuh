// The matrix products of plane_conv: windows from planes of rows, by way of registers, to the tensor cores.
#pragma once

#include <cstdint>
#include <utility>

#include "fx2ait/cuda/mma.cuh"
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

/// A lane's place in the planes: that of its first window in the ring's first row.
template <class Shape, class Tile>
struct PlaneLane {
  uint32_t first;     // address in shared memory
  uint32_t masks[2];  // of what a window covers of its first chunk and of its last

  /// `offset`: elements from a plane's beginning to column 0's window.
  __device__ __forceinline__ PlaneLane(const unsigned char* ring, int offset) {
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    first = fx2ait::shared_address(ring + 2 * (offset + (warp * 16 + lane / 4) * Shape::stride_w + lane % 4 * 2));
    const auto covered = [&](int chunk) {
      const int tap = chunk * 8 + lane % 4 * 2 - Tile::shift;
      return (0 <= tap && tap < Shape::kernel_w ? 0xffffu : 0u) |
             (0 <= tap + 1 && tap + 1 < Shape::kernel_w ? 0xffff0000u : 0u);
    };
    masks[0] = covered(0);
    masks[1] = covered(Tile::chunks - 1);
  }

  /// This lane's elements of `Unit` in the row at `row` bytes of the ring, of its windows g and g + 8.
  template <int Unit>
  __device__ __forceinline__ void read(uint32_t& near, uint32_t& far, int row) const {
    const uint32_t at = first + static_cast<uint32_t>(row + Unit / Tile::chunks * Tile::plane_bytes) +
                        Unit % Tile::chunks * 16;
    near = pair(at);
    far = pair(at + 16 * Shape::stride_w);
  }

  /// Clears what the window does not cover of them, since zeros of the weight must meet no infinity.
  template <int Unit>
  __device__ __forceinline__ void mask(uint32_t& near, uint32_t& far) const {
    constexpr int chunk = Unit % Tile::chunks;
    constexpr bool whole = (chunk > 0 || Tile::shift == 0) && chunk * 8 + 8 <= Shape::kernel_w + Tile::shift;
    if constexpr (!whole) {
      near &= masks[chunk == 0 ? 0 : 1];
      far &= masks[chunk == 0 ? 0 : 1];
    }
  }

 private:
  static __device__ __forceinline__ uint32_t pair(uint32_t at) {
    if constexpr (Tile::even) return fx2ait::load_shared_32(at);
    return fx2ait::load_shared_16(at) | fx2ait::load_shared_16(at + 2) << 16;
  }
};

/// Quads are read and multiplied in groups, so many at once. Registers hold so many groups, of which some
/// are read ahead, while those before them are multiplied.
constexpr int plane_group = 1, plane_groups_held = 4, plane_groups_ahead = 2;
using PlaneQuads = uint32_t[plane_groups_held][plane_group][4];

/// Starts reading quad Number, if there is one.
template <class Shape, class Tile, int First, int Number>
__device__ __forceinline__ void read_quad(uint32_t (&a)[4], const int (&ring)[Tile::parts],
                                          const PlaneLane<Shape, Tile>& lane) {
  using Plan = PlanePlan<Shape, Tile, First>;
  if constexpr (Number < Plan::count) {
    constexpr PlaneQuad quad = Plan::quad(Number);
    const auto row = [&](int number) { return ring[number / Tile::fresh] + number % Tile::fresh * Tile::row_bytes; };
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

/// Makes quad Number, which has been read, what is multiplied.
template <class Shape, class Tile, int First, int Number>
__device__ __forceinline__ void mask_quad(uint32_t (&a)[4], const PlaneLane<Shape, Tile>& lane) {
  using Plan = PlanePlan<Shape, Tile, First>;
  if constexpr (Number < Plan::count) {
    constexpr PlaneQuad quad = Plan::quad(Number);
    lane.template mask<quad.unit>(a[0], a[1]);
    if constexpr (quad.pair != PlanePair::zeros) {
      lane.template mask<quad.pair == PlanePair::next ? quad.unit + 1 : quad.unit>(a[2], a[3]);
    }
  }
}

/// Starts the products of quad Number for row `y` of the band.
template <class Shape, class Tile, class Element, int First, int Number>
__device__ __forceinline__ void multiply_quad(float (&sums)[Tile::channels / 2], const uint32_t (&a)[4],
                                              uint64_t weights, int y) {
  using Plan = PlanePlan<Shape, Tile, First>;
  if constexpr (Number < Plan::count) {
    constexpr PlaneQuad quad = Plan::quad(Number);
#pragma unroll
    for (int r = 0; r < Shape::kernel_h; ++r) {
      if (!Plan::meets(quad, y, r)) continue;
      fx2ait::Wgmma<Element, Tile::channels>::multiply_add(
          sums, a, weights + static_cast<uint32_t>(Plan::step(quad, r) * Tile::weight_step_bytes / 16),
          !Plan::begins(quad, r));
    }
  }
}

/// Starts the products of rows First.. of a band: of the quads of groups Group and following, after those
/// of the groups ahead of them have been read. The last go on when this returns.
template <class Shape, class Tile, class Element, int First, int Group, int... Q>
__device__ __forceinline__ void multiply_groups(float (&sums)[Tile::band_rows - First][Tile::channels / 2],
                                                PlaneQuads& quads, const int (&ring)[Tile::parts],
                                                const PlaneLane<Shape, Tile>& lane, uint64_t weights,
                                                std::integer_sequence<int, Q...> each) {
  constexpr int first = Group * plane_group, count = PlanePlan<Shape, Tile, First>::count;
  constexpr int ahead = Group + plane_groups_ahead;
  if constexpr (first < count) {
    if constexpr (ahead * plane_group < count) {
      if constexpr (Group >= 0 && ahead >= plane_groups_held) {  // until what was there has been multiplied
        fx2ait::wgmma_wait<plane_groups_held - plane_groups_ahead - 1>();
        fx2ait::wgmma_keep(quads[ahead % plane_groups_held]);
      }
      (read_quad<Shape, Tile, First, ahead * plane_group + Q>(quads[ahead % plane_groups_held][Q], ring, lane), ...);
    }
    if constexpr (Group >= 0) {
      auto& group = quads[Group % plane_groups_held];
      (mask_quad<Shape, Tile, First, first + Q>(group[Q], lane), ...);
      fx2ait::wgmma_fence();
#pragma unroll
      for (int y = First; y < Tile::band_rows; ++y) {
        (multiply_quad<Shape, Tile, Element, First, first + Q>(sums[y - First], group[Q], weights, y), ...);
      }
      fx2ait::wgmma_commit();
    }
    multiply_groups<Shape, Tile, Element, First, Group + 1>(sums, quads, ring, lane, weights, each);
  }
}

}  // namespace fx2ait_conv
