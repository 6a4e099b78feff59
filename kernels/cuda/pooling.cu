// Pooling and upsampling of channels-last images. A thread makes one element: gradients are gathered from all windows
// that hold an element, in the order of the windows, so that nothing is added to memory twice.
#include <limits>

#include "kernels/cuda/launch.cuh"

namespace agon::cuda {
namespace {

/// Where an element of an image side lies: channel, column, row, sample.
struct Place {
  int64_t c, w, h, b;
};
struct Sides {
  Divisor channels, width, height;
  AGON_DEVICE_INLINE Place place(uint32_t element) const {
    const int64_t c = channels.take(element), w = width.take(element), h = height.take(element);
    return {c, w, h, element};
  }
};

AGON_DEVICE_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
AGON_DEVICE_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/// The part of a window that lies inside the image.
struct Window {
  int64_t top, bottom, left, right;
  template <class Op>
  AGON_DEVICE_INLINE Window(const Op& op, int64_t i, int64_t j)
      : top(most(i * op.stride - op.pad, 0)),
        bottom(least(i * op.stride - op.pad + op.kernel, op.height)),
        left(most(j * op.stride - op.pad, 0)),
        right(least(j * op.stride - op.pad + op.kernel, op.width)) {}
  AGON_DEVICE_INLINE float size() const { return static_cast<float>((bottom - top) * (right - left)); }
};

struct Pool {
  ops::Pool op;
  Sides out;
  AGON_DEVICE_INLINE void operator()(int64_t r, uint32_t e) const {
    const Place p = out.place(e);
    const Window window(op, p.h, p.w);
    const float* x = op.x.at(r) + p.b * op.height * op.width * op.channels + p.c;
    const bool maximum = op.kind == ops::Pool::Kind::kMax;
    float result = maximum ? -std::numeric_limits<float>::infinity() : 0.f;
    for (int64_t u = window.top; u < window.bottom; ++u)
      for (int64_t v = window.left; v < window.right; ++v) {
        const float value = x[(u * op.width + v) * op.channels];
        if (maximum)
          result = value <= result ? result : value;  // a NaN wins, so that it is seen
        else
          result += value;
      }
    op.y.at(r)[e] = maximum ? result : result / window.size();
  }
};

struct PoolGrad {
  ops::PoolGrad op;
  Sides in;

  AGON_DEVICE_INLINE void operator()(int64_t r, uint32_t e) const {
    const Place p = in.place(e);
    // The windows that hold row h are those with i * stride - pad <= h < i * stride - pad + kernel.
    const int64_t top = first(p.h), bottom = least((p.h + op.pad) / op.stride + 1, op.out_height);
    const int64_t left = first(p.w), right = least((p.w + op.pad) / op.stride + 1, op.out_width);
    float sum = 0.f;
    for (int64_t i = top; i < bottom; ++i)
      for (int64_t j = left; j < right; ++j) sum += share(r, p, i, j);
    op.dx.at(r)[e] = sum;
  }
  AGON_DEVICE_INLINE int64_t first(int64_t h) const {
    return most((h + op.pad - op.kernel + op.stride) / op.stride, 0);
  }
  /// What of dy at window (i, j) belongs to the element at p.
  AGON_DEVICE_INLINE float share(int64_t r, const Place& p, int64_t i, int64_t j) const {
    const Window window(op, i, j);
    const int64_t out = ((p.b * op.out_height + i) * op.out_width + j) * op.channels + p.c;
    const float dy = op.dy.at(r)[out];
    if (op.kind == ops::Pool::Kind::kAverage) return dy / window.size();
    const float* x = op.x.at(r) + p.b * op.height * op.width * op.channels + p.c;
    const float largest = op.y.at(r)[out];
    if (x[(p.h * op.width + p.w) * op.channels] != largest) return 0.f;
    for (int64_t u = window.top; u <= p.h; ++u)  // the first that attains it gets it
      for (int64_t v = window.left; v < (u == p.h ? p.w : window.right); ++v)
        if (x[(u * op.width + v) * op.channels] == largest) return 0.f;
    return dy;
  }
};

struct Upsample {
  ops::Upsample op;
  Sides out;
  Divisor factor;
  AGON_DEVICE_INLINE void operator()(int64_t r, uint32_t e) const {
    const Place p = out.place(e);
    const int64_t h = factor.quotient(static_cast<uint32_t>(p.h)), w = factor.quotient(static_cast<uint32_t>(p.w));
    op.y.at(r)[e] = op.x.at(r)[((p.b * op.height + h) * op.width + w) * op.channels + p.c];
  }
};

struct UpsampleGrad {
  ops::UpsampleGrad op;
  Sides in;
  AGON_DEVICE_INLINE void operator()(int64_t r, uint32_t e) const {
    const Place p = in.place(e);
    const int64_t f = op.factor, width = op.width * f;
    const float* dy = op.dy.at(r) + ((p.b * op.height + p.h) * f * width + p.w * f) * op.channels + p.c;
    float sum = 0.f;
    for (int64_t u = 0; u < f; ++u)
      for (int64_t v = 0; v < f; ++v) sum += dy[(u * width + v) * op.channels];
    op.dx.at(r)[e] = sum;
  }
};

Sides sides(int64_t height, int64_t width, int64_t channels) {
  return {Divisor(channels), Divisor(width), Divisor(height)};
}

}  // namespace

void launch(Context& context, const ops::Pool& op) {
  start_each_index(context, op.replicas, op.batch * op.out_height * op.out_width * op.channels,
                   Pool{op, sides(op.out_height, op.out_width, op.channels)});
}

void launch(Context& context, const ops::PoolGrad& op) {
  start_each_index(context, op.replicas, op.batch * op.height * op.width * op.channels,
                   PoolGrad{op, sides(op.height, op.width, op.channels)});
}

void launch(Context& context, const ops::Upsample& op) {
  const int64_t height = op.height * op.factor, width = op.width * op.factor;
  start_each_index(context, op.replicas, op.batch * height * width * op.channels,
                   Upsample{op, sides(height, width, op.channels), Divisor(op.factor)});
}

void launch(Context& context, const ops::UpsampleGrad& op) {
  start_each_index(context, op.replicas, op.batch * op.height * op.width * op.channels,
                   UpsampleGrad{op, sides(op.height, op.width, op.channels)});
}

}  // namespace agon::cuda
