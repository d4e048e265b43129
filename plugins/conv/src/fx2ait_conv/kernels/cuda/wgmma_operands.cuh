// Operands of an epilogue that are laid out as the result (a residual, say), fetched ahead: their tiles
// pass through the ring behind a tile's last step, so that they are in shared memory when it is finished.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "fx2ait/cuda/mbarrier.cuh"
#include "fx2ait/cuda/tensor_map.h"
#include "fx2ait/cuda/tma.cuh"
#include "fx2ait_conv/wgmma_epilogue.cuh"
#include "fx2ait_conv/wgmma_ring.cuh"

namespace fx2ait_conv {

/// One tensor map for each fetched operand.
template <int Count>
struct OperandMaps {
  CUtensorMap maps[Count];
};
template <>
struct OperandMaps<0> {};

/// The operands to fetch: members of the epilogue that point to elements of two bytes. Either all
/// operands that are laid out as the result are listed, or none.
template <auto... Members>
struct FetchedOperands {
  static constexpr int kCount = sizeof...(Members);

  /// Maps whose boxes are one span of channels of all pixels of a tile.
  template <class Epilogue>
  static OperandMaps<kCount> maps(const Epilogue& epilogue, int pixels, int channels, int tile_pixels) {
    return {{fx2ait::encode_matrix_map(epilogue.*Members, pixels, channels, tile_pixels, kSpan)...}};
  }

  /// The epilogue, reading those operands at `place` and every `apart` bytes after it.
  template <class Epilogue>
  static __device__ __forceinline__ Epilogue moved(Epilogue epilogue, const char* place, int apart) {
    ((epilogue.*Members = point(epilogue.*Members, place), place += apart), ...);
    return epilogue;
  }

 private:
  template <class Element>
  static __device__ __forceinline__ const Element* point(const Element*, const char* place) {
    return reinterpret_cast<const Element*>(place);
  }
};
template <>
struct FetchedOperands<> {
  static constexpr int kCount = 0;

  template <class Epilogue>
  static OperandMaps<0> maps(const Epilogue&, int, int, int) {
    return {};
  }
};

/// How the operands of a tile are spread over stages of the ring: each stage holds the same spans of
/// all operands, one operand behind the other.
template <class Tile, int Operands>
struct OperandSteps {
  static constexpr int kSpanBytes = Tile::kPixels * kSpan * 2;
  static constexpr int kTileSpans = Tile::kChannels / kSpan;
  static constexpr int kFitting = Tile::kStageBytes / kSpanBytes / (Operands > 0 ? Operands : 1);
  static constexpr int kSpans = kFitting < kTileSpans ? kFitting : kTileSpans;  // per stage
  static constexpr int kApart = kSpans * kSpanBytes;                           // between operands
  static constexpr int kSteps = Operands > 0 ? (kTileSpans + kSpans - 1) / kSpans : 0;

  static_assert(kSpans > 0, "a stage holds at least one span of every operand");

  /// Lets the copy engine fill a stage; run by one thread.
  static __device__ void load(
      const OperandMaps<Operands>& operands, int step, const Work<Tile>& work, uint32_t stage, uint32_t barrier) {
    const int first = step * kSpans, spans = min(kSpans, kTileSpans - first);
    fx2ait::mbarrier_arrive_expecting(barrier, Operands * spans * kSpanBytes);
    for (int i = 0; i < Operands; ++i) {
      for (int span = 0; span < spans; ++span) {
        fx2ait::tma_load_2d(
            stage + static_cast<uint32_t>(i * kApart + span * kSpanBytes), operands.maps[i], barrier,
            work.channel + (first + span) * kSpan, work.pixel);
      }
    }
  }
};

/// Finishes a warpgroup's rows of a tile with operands from the ring, whose first stage is `position`.
///
/// Each stage is emptied into registers at once, so that the ring does not wait for the epilogue.
template <class Tile, class Fetched, class Result, class Epilogue>
__device__ __forceinline__ void finish_fetched(
    const float (&sums)[Tile::kRows][Tile::kColumns / 2], int first_row,
    const DirectOperands<Epilogue, Result>& direct, const Ring<Tile>& ring, RingPosition<Tile::kStages> position) {
  using Steps = OperandSteps<Tile, Fetched::kCount>;
  constexpr int kRows = Tile::kRows;
  const ThreadPlace place(first_row);
  const auto row_of = [&](int r, int half) { return place.row + r * 64 + half * 8; };
#pragma unroll
  for (int step = 0; step < Steps::kSteps; ++step) {
    constexpr int kSpans = Steps::kSpans;
    const int first_span = step * kSpans;
    uint4 packets[kRows][2][kSpans][Fetched::kCount];
    ring.wait_full(position);
    const char* stage = static_cast<const char*>(__cvta_shared_to_generic(ring.stage(position)));
#pragma unroll
    for (int v = 0; v < kRows * 2 * kSpans * Fetched::kCount; ++v) {
      const int operand = v % Fetched::kCount, span = v / Fetched::kCount % kSpans;
      const int half = v / Fetched::kCount / kSpans % 2, r = v / Fetched::kCount / kSpans / 2;
      if (first_span + span >= Steps::kTileSpans) continue;
      const int row = span * Tile::kPixels + row_of(r, half);
      packets[r][half][span][operand] =
          *reinterpret_cast<const uint4*>(stage + operand * Steps::kApart + (row * kSpan + place.column) * 2);
    }
    fx2ait::copy_engine_fence();
    __syncwarp();
    ring.release(position.stage);
    position.advance();
#pragma unroll
    for (int v = 0; v < kRows * 2 * kSpans; ++v) {
      const int span = v % kSpans, half = v / kSpans % 2, r = v / kSpans / 2;
      if (first_span + span >= Steps::kTileSpans) continue;
      const int column = (first_span + span) * kSpan + place.column, channel = direct.first_channel + column;
      const char* packet = reinterpret_cast<const char*>(packets[r][half][span]);
      const auto loaded = Fetched::moved(direct.epilogue, packet, sizeof(uint4))
                              .template load<8>(0, channel < direct.range.channels ? channel : 0);
      float values[8];
      gather_span(values, sums[r], first_span + span, half);
      direct.finish(values, loaded, row_of(r, half), column);
    }
  }
}

}  // namespace fx2ait_conv
