#pragma once

// What the tiled convolutions share: the result is computed in panels, a few vectors of its columns at a time.

#include "kernels/cpu/pack.h"
#include "kernels/cpu/tile_conv.h"

#if AGON_TILES

namespace agon::cpu {

/// Calls panel(first vector, vectors) for panels of nearly the same width, at most kTileVectors.
template <class PanelBody>
void each_panel(Columns columns, PanelBody panel) {
  const int64_t vectors = columns.end - columns.begin, panels = (vectors + kTileVectors - 1) / kTileVectors;
  for (int64_t p = 0; p < panels; ++p) {
    const int64_t begin = columns.begin + vectors * p / panels, end = columns.begin + vectors * (p + 1) / panels;
    panel(begin, end - begin);
  }
}

/// Calls tile.operator()<N>() for a panel of N = `vectors` vectors.
template <int N = kTileVectors, class Tile>
void with_width(int64_t vectors, const Tile& tile) {
  if (N == 1 || vectors == N)
    tile.template operator()<N>();
  else if constexpr (N > 1)
    with_width<N - 1>(vectors, tile);
}

/// The lanes of a panel's last vector that are columns of the result.
inline Lanes last_lanes(int64_t columns, int64_t begin, int64_t vectors) {
  return lanes(columns - (begin + vectors - 1) * kVector);
}

/// The image with the border that the windows reach into.
inline Padding padded_x(const ConvShape& s) {
  return {s.batch, s.height, s.width, s.in_channels, s.pad, s.pad, s.height + 2 * s.pad, s.width + 2 * s.pad};
}

/// The weight gradient of a few images, written to w or added to what it holds already.
template <class T>
void tile_weight_grad(const ConvShape& shape, Columns columns, const float* x, float* w, const float* y,
                      bool accumulate);

}  // namespace agon::cpu

#endif
