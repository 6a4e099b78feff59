// Convolutions as implicit matrix products.
#include "kernels/cuda/implicit_convolution.h"

#include <bit>

#include "kernels/cuda/tile_product.cuh"

namespace agon::cuda {
namespace {

/// A pixel of the map side: its sample, and the corner of its window on the image side.
struct MapPixel {
  int64_t sample;
  int32_t top, left;
};

/// An element of a window: its row, column and channel.
struct Tap {
  int32_t row, col, channel;
};

/// What every direction knows about its shape.
struct Geometry {
  ops::Convolution op;
  Divisor in_channels, out_channels, kernel, stride, out_height, out_width;

  explicit Geometry(const ops::Convolution& op)
      : op(op),
        in_channels(op.in_channels),
        out_channels(op.out_channels),
        kernel(op.kernel),
        stride(op.stride),
        out_height(op.out_height),
        out_width(op.out_width) {}

  AGON_DEVICE_INLINE MapPixel map_pixel(int64_t index) const {
    auto pixel = static_cast<uint32_t>(index);
    const auto col = static_cast<int32_t>(out_width.take(pixel)), row = static_cast<int32_t>(out_height.take(pixel));
    const auto step = static_cast<int32_t>(op.stride), pad = static_cast<int32_t>(op.pad);
    return {static_cast<int64_t>(pixel), row * step - pad, col * step - pad};
  }
  AGON_DEVICE_INLINE Tap tap(int64_t index) const {
    auto element = static_cast<uint32_t>(index);
    const uint32_t channel = in_channels.take(element), col = kernel.take(element);
    return {static_cast<int32_t>(element), static_cast<int32_t>(col), static_cast<int32_t>(channel)};
  }
  /// The image under an element of a window; 0 in the padding.
  AGON_DEVICE_INLINE float patch(const float* x, const MapPixel& p, const Tap& t) const {
    const int32_t h = p.top + t.row, w = p.left + t.col;
    if (h < 0 || h >= op.height || w < 0 || w >= op.width) return 0.f;
    return x[((p.sample * op.height + h) * op.width + w) * op.in_channels + t.channel];
  }
};

/// y [B H' W', Cout] = patches [B H' W', K K Cin] w [K K Cin, Cout].
struct Forward {
  Geometry g;
  struct Matrix {
    static constexpr bool kRowsOfADense = false, kColsOfBDense = true;
    const Geometry& g;
    int64_t r;
    AGON_DEVICE_INLINE int64_t rows() const { return g.op.batch * g.op.out_height * g.op.out_width; }
    AGON_DEVICE_INLINE int64_t cols() const { return g.op.out_channels; }
    AGON_DEVICE_INLINE int64_t depth() const { return g.op.kernel * g.op.kernel * g.op.in_channels; }
    AGON_DEVICE_INLINE MapPixel a_line(int64_t i) const { return g.map_pixel(i); }
    AGON_DEVICE_INLINE Tap a_depth(int64_t k) const { return g.tap(k); }
    AGON_DEVICE_INLINE float a(const MapPixel& p, const Tap& t) const { return g.patch(g.op.x.at(r), p, t); }
    AGON_DEVICE_INLINE int64_t b_line(int64_t j) const { return j; }
    AGON_DEVICE_INLINE int64_t b_depth(int64_t k) const { return k * g.op.out_channels; }
    AGON_DEVICE_INLINE float b(int64_t line, int64_t depth) const { return g.op.w.at(r)[depth + line]; }
    AGON_DEVICE_INLINE void store(int64_t i, int64_t j, float value) const {
      g.op.y.at(r)[i * g.op.out_channels + j] = value;
    }
  };
  AGON_DEVICE_INLINE Matrix at(int64_t z) const { return {g, z}; }
};

/// w [K K Cin, Cout] = patches^T [K K Cin, B H' W'] y [B H' W', Cout].
struct WeightGrad {
  Geometry g;
  struct Matrix {
    static constexpr bool kRowsOfADense = true, kColsOfBDense = true;
    const Geometry& g;
    int64_t r;
    AGON_DEVICE_INLINE int64_t rows() const { return g.op.kernel * g.op.kernel * g.op.in_channels; }
    AGON_DEVICE_INLINE int64_t cols() const { return g.op.out_channels; }
    AGON_DEVICE_INLINE int64_t depth() const { return g.op.batch * g.op.out_height * g.op.out_width; }
    AGON_DEVICE_INLINE Tap a_line(int64_t i) const { return g.tap(i); }
    AGON_DEVICE_INLINE MapPixel a_depth(int64_t k) const { return g.map_pixel(k); }
    AGON_DEVICE_INLINE float a(const Tap& t, const MapPixel& p) const { return g.patch(g.op.x.at(r), p, t); }
    AGON_DEVICE_INLINE int64_t b_line(int64_t j) const { return j; }
    AGON_DEVICE_INLINE int64_t b_depth(int64_t k) const { return k * g.op.out_channels; }
    AGON_DEVICE_INLINE float b(int64_t line, int64_t depth) const { return g.op.y.at(r)[depth + line]; }
    AGON_DEVICE_INLINE void store(int64_t i, int64_t j, float value) const {
      g.op.w.at(r)[i * g.op.out_channels + j] = value;
    }
  };
  AGON_DEVICE_INLINE Matrix at(int64_t z) const { return {g, z}; }
};

/// x = y * w^T, phase by phase: the stride x stride pixels of an image that lie alike in the grid of windows see
/// different taps, each of them every stride-th one of the kernel, and no products with 0 in between. A matrix is one
/// phase of one replica: x [pixels of the phase, Cin] = y [pixels of the phase, taps Cout] w^T [taps Cout, Cin].
struct InputGrad {
  Geometry g;
  Divisor phases;  // stride * stride

  /// Of a phase, in one direction: pixels first, first + stride, ... of the image, taps tap, tap + stride, ... of the
  /// kernel. Pixel number i and tap number t meet at map position i + shift - t.
  struct Axis {
    int32_t first, pixels, tap, taps, shift;
  };
  AGON_DEVICE_INLINE Axis axis(int64_t phase, int64_t size) const {
    const auto s = static_cast<int32_t>(g.op.stride), pad = static_cast<int32_t>(g.op.pad);
    const auto p = static_cast<int32_t>(phase), k = static_cast<int32_t>(g.op.kernel), n = static_cast<int32_t>(size);
    Axis a;
    a.first = p;
    a.pixels = p < n ? (n - p + s - 1) / s : 0;
    a.tap = (p + pad) % s;
    a.taps = a.tap < k ? (k - a.tap + s - 1) / s : 0;
    a.shift = (p + pad - a.tap) / s;
    return a;
  }

  struct Pixel {
    int64_t sample;
    int32_t i, j;
  };
  struct Matrix {
    static constexpr bool kRowsOfADense = false, kColsOfBDense = false;
    const Geometry& g;
    int64_t r;
    Axis down, across;

    AGON_DEVICE_INLINE int64_t rows() const { return g.op.batch * down.pixels * across.pixels; }
    AGON_DEVICE_INLINE int64_t cols() const { return g.op.in_channels; }
    AGON_DEVICE_INLINE int64_t depth() const { return int64_t{down.taps} * across.taps * g.op.out_channels; }
    AGON_DEVICE_INLINE Pixel a_line(int64_t index) const {
      const auto n = static_cast<uint32_t>(index), width = static_cast<uint32_t>(across.pixels);
      const uint32_t row = n / width, height = static_cast<uint32_t>(down.pixels);
      return {row / height, static_cast<int32_t>(row % height), static_cast<int32_t>(n % width)};
    }
    AGON_DEVICE_INLINE Tap a_depth(int64_t k) const {  // numbers of the phase's taps
      auto n = static_cast<uint32_t>(k);
      const uint32_t channel = g.out_channels.take(n), width = static_cast<uint32_t>(across.taps);
      return {static_cast<int32_t>(n / width), static_cast<int32_t>(n % width), static_cast<int32_t>(channel)};
    }
    AGON_DEVICE_INLINE float a(const Pixel& p, const Tap& t) const {
      const int32_t row = p.i + down.shift - t.row, col = p.j + across.shift - t.col;
      if (row < 0 || row >= g.op.out_height || col < 0 || col >= g.op.out_width) return 0.f;
      return g.op.y.at(r)[((p.sample * g.op.out_height + row) * g.op.out_width + col) * g.op.out_channels + t.channel];
    }
    AGON_DEVICE_INLINE int64_t b_line(int64_t j) const { return j; }
    AGON_DEVICE_INLINE Tap b_depth(int64_t k) const { return a_depth(k); }
    AGON_DEVICE_INLINE float b(int64_t channel, const Tap& t) const {
      const int64_t row = down.tap + t.row * g.op.stride, col = across.tap + t.col * g.op.stride;
      return g.op.w.at(r)[((row * g.op.kernel + col) * g.op.in_channels + channel) * g.op.out_channels + t.channel];
    }
    AGON_DEVICE_INLINE void store(int64_t index, int64_t channel, float value) const {
      const Pixel p = a_line(index);
      const int64_t h = down.first + p.i * g.op.stride, w = across.first + p.j * g.op.stride;
      g.op.x.at(r)[((p.sample * g.op.height + h) * g.op.width + w) * g.op.in_channels + channel] = value;
    }
  };
  AGON_DEVICE_INLINE Matrix at(int64_t z) const {
    const auto n = static_cast<uint32_t>(z);
    const uint32_t phase = phases.remainder(n);
    return {g, phases.quotient(n), axis(g.stride.quotient(phase), g.op.height),
            axis(g.stride.remainder(phase), g.op.width)};
  }
};

}  // namespace

void convolve_implicitly(Context& context, const ops::Convolution& op) {
  using Direction = ops::Convolution::Direction;
  const int64_t pixels = op.batch * op.out_height * op.out_width, taps = op.kernel * op.kernel * op.in_channels;
  const bool round = op.precision == Precision::kBf16;
  check_count(pixels * op.out_channels);
  check_count(op.batch * op.height * op.width * op.in_channels);
  const Geometry geometry(op);
  switch (op.direction) {
    case Direction::kForward:
      return run_tiles(context, {op.replicas, pixels, op.out_channels, taps}, round, Forward{geometry});
    case Direction::kWeightGrad:
      return run_tiles(context, {op.replicas, taps, op.out_channels, pixels}, round, WeightGrad{geometry});
    case Direction::kInputGrad: {
      const int64_t s = op.stride, per_axis = ceil_div(op.kernel, s);
      const ProductSize largest{op.replicas * s * s, op.batch * ceil_div(op.height, s) * ceil_div(op.width, s),
                                op.in_channels, per_axis * per_axis * op.out_channels};
      return run_tiles(context, largest, round, InputGrad{geometry, Divisor(s * s)});
    }
  }
}

}  // namespace agon::cuda
