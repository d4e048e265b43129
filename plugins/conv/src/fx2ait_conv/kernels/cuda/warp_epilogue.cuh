// Moves a warp's tensor-core accumulators through shared memory, so that each lane finishes
// neighbouring channels of one pixel: full-width loads of epilogue operands and stores of results.
#pragma once

#include <cstdint>

#include "fx2ait/cuda/vector.cuh"

namespace fx2ait_conv {

/// Floats from one row of a staging slab to the next; the padding spreads rows over the banks.
template <int Columns>
constexpr int staging_pitch = Columns + 4;

/// Floats that one warp needs to stage 16 rows of `Columns` channels.
template <int Columns>
constexpr int staging_floats = 16 * staging_pitch<Columns>;

/// Finishes 16 pixels x `Columns` channels held by one warp as Columns / 8 mma accumulators.
///
/// `pixel(row)` gives the linear index of the result's pixel of row 0..15, or -1 to skip the row.
/// The tile's first channel is `first_channel` of `group_channels` channels in this group, which
/// begins at channel `group_offset` of `channels`; V divides group_channels. `staging` is private
/// to the warp.
template <int V, int Columns, class Result, class Epilogue, class Pixel>
__device__ __forceinline__ void finish_rows(const float (&accumulators)[Columns / 8][4], float* staging,
                                            Result* result, const Epilogue& epilogue, const Pixel& pixel,
                                            int first_channel, int group_channels, int group_offset,
                                            int channels) {
  constexpr int pitch = staging_pitch<Columns>;
  constexpr int vectors = 16 * Columns / V;
  constexpr int passes = vectors / 32;
  constexpr int batch = passes < 2 ? passes : 2;
  static_assert(vectors % 32 == 0 && passes % batch == 0);
  const int lane = static_cast<int>(threadIdx.x) % 32;

#pragma unroll 1
  for (int first = 0; first < passes; first += batch) {
    typename Epilogue::template Operands<V> operands[batch];
    int64_t offsets[batch];
    int places[batch];
    int absolute[batch];
#pragma unroll
    for (int i = 0; i < batch; ++i) {
      const int vector = (first + i) * 32 + lane;
      const int row = vector / (Columns / V);
      const int column = vector % (Columns / V) * V;
      const int64_t index = pixel(row);
      const bool kept = index >= 0 && first_channel + column < group_channels;
      places[i] = row * pitch + column;
      absolute[i] = group_offset + first_channel + column;
      offsets[i] = kept ? index * channels + absolute[i] : -1;
      if (kept) operands[i] = epilogue.template load<V>(offsets[i], absolute[i]);
    }
    if (first == 0) {
      __syncwarp();  // the slab's previous readers are done
      float* place = staging + lane / 4 * pitch + lane % 4 * 2;
#pragma unroll
      for (int n = 0; n < Columns / 8; ++n) {
        const float(&d)[4] = accumulators[n];
        *reinterpret_cast<float2*>(place + n * 8) = make_float2(d[0], d[1]);
        *reinterpret_cast<float2*>(place + n * 8 + 8 * pitch) = make_float2(d[2], d[3]);
      }
      __syncwarp();
    }
#pragma unroll
    for (int i = 0; i < batch; ++i) {
      if (offsets[i] < 0) continue;
      float values[V];
      fx2ait::load_vector<V>(values, staging + places[i]);
      epilogue.apply(values, operands[i]);
      fx2ait::store_vector<V>(result + offsets[i], values);
    }
  }
}

}  // namespace fx2ait_conv
