// Convolutions over unfolded patches (im2col).
#include "kernels/cuda/unfolded_convolution.h"

#include <cuda_bf16.h>

#include "kernels/cuda/blas.h"
#include "kernels/cuda/launch.cuh"

namespace agon::cuda {
namespace {

using Direction = ops::Convolution::Direction;

AGON_DEVICE_INLINE void put(float* to, float value) { *to = value; }
__device__ void put(__nv_bfloat16* to, float value) { *to = __float2bfloat16_rn(value); }

int64_t map_pixels(const ops::Convolution& op) { return op.batch * op.out_height * op.out_width; }
int64_t taps(const ops::Convolution& op) { return op.kernel * op.kernel * op.in_channels; }

/// patches [R][B H' W', K K Cin] of x: one thread for each element.
template <class T>
struct Unfold {
  ops::Convolution op;
  Divisor in_channels, kernel, out_width, out_height;
  T* patches;
  int64_t size;  // per replica

  __device__ void operator()(int64_t r, uint32_t e) const {
    uint32_t n = e;
    const int64_t channel = in_channels.take(n), kw = kernel.take(n), kh = kernel.take(n);
    const int64_t col = out_width.take(n), row = out_height.take(n), sample = n;
    const int64_t h = row * op.stride - op.pad + kh, w = col * op.stride - op.pad + kw;
    const bool inside = h >= 0 && h < op.height && w >= 0 && w < op.width;
    const float value = inside ? op.x.at(r)[((sample * op.height + h) * op.width + w) * op.in_channels + channel] : 0.f;
    put(patches + r * size + e, value);
  }
};

/// x = the sums of patches: one thread for each element of the image, which looks at all windows that hold it, in
/// order.
struct Fold {
  ops::Convolution op;
  Divisor in_channels, width, height;
  const float* patches;
  int64_t size;  // per replica

  __device__ void operator()(int64_t r, uint32_t e) const {
    uint32_t n = e;
    const int64_t channel = in_channels.take(n), w = width.take(n), h = height.take(n), sample = n;
    const float* from = patches + r * size + channel;
    float sum = 0.f;
    for (int64_t kh = 0; kh < op.kernel; ++kh) {
      const int64_t down = h + op.pad - kh, row = down / op.stride;
      if (down < 0 || down % op.stride != 0 || row >= op.out_height) continue;
      for (int64_t kw = 0; kw < op.kernel; ++kw) {
        const int64_t across = w + op.pad - kw, col = across / op.stride;
        if (across < 0 || across % op.stride != 0 || col >= op.out_width) continue;
        const int64_t pixel = (sample * op.out_height + row) * op.out_width + col;
        sum += from[((pixel * op.kernel + kh) * op.kernel + kw) * op.in_channels];
      }
    }
    op.x.at(r)[e] = sum;
  }
};

template <class T>
void unfold(Context& context, const ops::Convolution& op, void* patches) {
  const int64_t size = map_pixels(op) * taps(op);
  start_each_index(context, op.replicas, size,
                   Unfold<T>{op, Divisor(op.in_channels), Divisor(op.kernel), Divisor(op.out_width),
                             Divisor(op.out_height), static_cast<T*>(patches), size});
}

int64_t aligned(int64_t bytes) { return ceil_div(bytes, 256) * 256; }
int64_t weight_count(const ops::Convolution& op) { return taps(op) * op.out_channels; }
int64_t map_count(const ops::Convolution& op) { return map_pixels(op) * op.out_channels; }

}  // namespace

int64_t unfolded_bytes(const ops::Convolution& op) {
  const bool rounded = op.precision == Precision::kBf16;
  const int64_t patch = op.direction == Direction::kInputGrad || !rounded ? 4 : 2;
  return op.replicas * map_pixels(op) * taps(op) * patch +
         (rounded ? op.replicas * (map_count(op) + weight_count(op)) * 2 : 0) + 3 * 256;
}

void convolve_unfolded(Context& context, const ops::Convolution& op) {
  const int64_t pixels = map_pixels(op), size = pixels * taps(op);
  const bool rounded = op.precision == Precision::kBf16;
  char* const space = static_cast<char*>(context.scratch(static_cast<size_t>(unfolded_bytes(op))));
  char* const first = space + aligned(op.replicas * size * (rounded && op.direction != Direction::kInputGrad ? 2 : 4));
  char* const second = first + aligned(op.replicas * map_count(op) * 2);
  /// An operand for cuBLAS: as it is, or rounded into work space.
  struct Array {
    const void* data;
    int64_t stride;
  };
  const auto array = [&](const ConstFloats& block, int64_t count, char* place) -> Array {
    if (!rounded) return {block.data, block.stride};
    to_bfloat16(context, op.replicas, count, block, place);
    return {place, count};
  };
  if (op.direction != Direction::kInputGrad) {
    if (rounded)
      unfold<__nv_bfloat16>(context, op, space);
    else
      unfold<float>(context, op, space);
  }
  switch (op.direction) {
    case Direction::kForward: {
      const Array w = array(op.w, weight_count(op), second);
      return multiply(context, {op.replicas, pixels, op.out_channels, taps(op), false, false, space, w.data, size,
                                w.stride, op.y, false, op.precision});
    }
    case Direction::kWeightGrad: {
      const Array y = array(op.y, map_count(op), first);
      return multiply(context, {op.replicas, taps(op), op.out_channels, pixels, true, false, space, y.data, size,
                                y.stride, op.w, false, op.precision});
    }
    case Direction::kInputGrad: {
      const Array y = array(op.y, map_count(op), first), w = array(op.w, weight_count(op), second);
      auto* patches = reinterpret_cast<float*>(space);
      multiply(context, {op.replicas,
                         pixels,
                         taps(op),
                         op.out_channels,
                         false,
                         true,
                         y.data,
                         w.data,
                         y.stride,
                         w.stride,
                         {patches, size},
                         false,
                         op.precision});
      return start_each_index(context, op.replicas, op.batch * op.height * op.width * op.in_channels,
                              Fold{op, Divisor(op.in_channels), Divisor(op.width), Divisor(op.height), patches, size});
    }
  }
}

}  // namespace agon::cuda
