// The copies that fill a stage of conv2d_wgmma's ring: pixels of one filter tap by im2col, and filters.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "fx2ait/cuda/mbarrier.cuh"
#include "fx2ait/cuda/tensor_map.h"
#include "fx2ait/cuda/tma.cuh"
#include "fx2ait_conv/wgmma_ring.cuh"

namespace fx2ait_conv {

/// Where the pixels and the filters of each term are.
template <int Terms>
struct SourceMaps {
  CUtensorMap images[Terms], filters[Terms];
};

/// Walks over the steps of one tile and issues their copies; run by one thread.
template <class Tile, int Terms>
struct StepLoader {
  const SourceMaps<Terms>& maps;
  const ConvGeometry<Terms>& g;
  int filter_part, pixel_part;                  // first row of what this block brings of a tile
  int out_channel, image, out_row, out_column;  // where that begins
  int step, term, row, column;                  // the next step, and where its term's first window begins
  int channel_block, tap_row, tap_column;

  __device__ void begin(const Work<Tile>& work) {
    using Cluster = typename Tile::Cluster;
    const int tile = static_cast<int>(blockIdx.x) / Tile::kSplits;
    filter_part = Cluster::pixel_place(tile) * Tile::kFilterPart;
    pixel_part = Cluster::channel_place(tile) * Tile::kPixelPart;
    out_channel = work.channel + filter_part;
    step = work.step;
    // Behind the last pixel, any will do.
    const int pixel = Tile::kShares && work.pixel + pixel_part >= g.pixels ? 0 : work.pixel + pixel_part;
    image = pixel / g.out_plane;
    const int place = pixel - image * g.out_plane;
    out_row = place / g.out_width;
    out_column = place - out_row * g.out_width;
    enter(term_of(step));
  }

  /// The filters of a step; they are constants.
  __device__ void load_filters(uint32_t stage, uint32_t barrier, int which) const {
    const int source = term_of(which);
    const int block = which - g.terms[source].first_step;
    const uint32_t place = stage + Tile::kPixelBytes + static_cast<uint32_t>(filter_part * Tile::kRowBytes);
    fx2ait::mbarrier_arrive_expecting(barrier, Tile::kStageBytes);
    if constexpr (Tile::Cluster::kFilterSharers > 1) {
      fx2ait::tma_multicast_3d(
          place, maps.filters[source], barrier, 0, out_channel, block, Tile::Cluster::same_filters());
    } else {
      fx2ait::tma_load_3d(place, maps.filters[source], barrier, 0, out_channel, block);
    }
  }

  /// The pixels of the next step.
  __device__ void load_pixels(uint32_t stage, uint32_t barrier) {
    const ConvTerm& t = g.terms[term];
    const uint32_t place = stage + static_cast<uint32_t>(pixel_part * Tile::kRowBytes);
    const int channel = channel_block * fx2ait::kTensorMapRow;
    const int from_column = tap_column * t.dilation_width, from_row = tap_row * t.dilation_height;
    if constexpr (Tile::Cluster::kPixelSharers > 1) {
      fx2ait::tma_multicast_im2col(
          place, maps.images[term], barrier, channel, column, row, image, from_column, from_row,
          Tile::Cluster::same_pixels());
    } else {
      fx2ait::tma_load_im2col(
          place, maps.images[term], barrier, channel, column, row, image, from_column, from_row);
    }
    ++step;
    if (++channel_block == t.channel_blocks) {
      channel_block = 0;
      if (++tap_column == t.kernel_width) {
        tap_column = 0;
        ++tap_row;
      }
    }
    if (Terms > 1 && term + 1 < Terms && step == g.terms[term + 1].first_step) enter(term + 1);
  }

 private:
  __device__ int term_of(int which) const {
    int found = 0;
    for (int i = 1; i < Terms; ++i) found += which >= g.terms[i].first_step;
    return found;
  }

  __device__ void enter(int which) {
    const ConvTerm& t = g.terms[which];
    term = which;
    row = out_row * t.stride_height - t.padding_top;
    column = out_column * t.stride_width - t.padding_left;
    const int tap = (step - t.first_step) / t.channel_blocks;
    channel_block = step - t.first_step - tap * t.channel_blocks;
    tap_row = tap / t.kernel_width;
    tap_column = tap - tap_row * t.kernel_width;
  }
};

}  // namespace fx2ait_conv
