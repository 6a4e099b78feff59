#pragma once

// What the tiled convolutions share: the result is computed in panels, a few vectors of its columns at a time.

#include "kernels/cpu/pack.h"
#include "kernels/cpu/tile_conv.h"

#if AGON_TILES

namespace agon::cpu {

/// Calls part(begin, end) for parts of 0 .. count - 1 of nearly the same size, at most `most`.
template <class Part>
void each_part(int64_t count, int64_t most, const Part& part) {
  const int64_t parts = (count + most - 1) / most;
  for (int64_t p = 0; p < parts; ++p) part(count * p / parts, count * (p + 1) / parts);
}

/// Calls panel(first vector, vectors) for panels of nearly the same width, at most kTileVectors.
template <class PanelBody>
void each_panel(Columns columns, PanelBody panel) {
  each_part(columns.end - columns.begin, kTileVectors,
            [&](int64_t begin, int64_t end) { panel(columns.begin + begin, end - begin); });
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
