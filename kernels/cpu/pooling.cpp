// Pooling and upsampling of channels-last images; the inner loops run over channels.
#include "kernels/cpu/operations.h"
#include "kernels/cpu/rows.h"
#include "kernels/formulas.h"

namespace agon::cpu {
namespace {

/// Queues body(replica, image) over all images; with `split`, each image is a piece that threads can share.
template <class Body>
void each_image(Stream& stream, int64_t replicas, int64_t batch, bool split, Body body) {
  const int64_t step = split ? 1 : batch;
  stream.add({replicas, batch / std::max<int64_t>(step, 1), false, [=](int64_t r, int64_t chunk) {
                for (int64_t b = chunk * step; b < (chunk + 1) * step; ++b) body(r, b);
              }});
}

/// Calls body(output element, window) for each output pixel of an image, where window(visit) calls visit(input
/// element) for each pixel inside the image that the window covers, row by row.
template <class Op, class Body>
void each_window(const Op& op, Body body) {
  for (int64_t i = 0; i < op.out_height; ++i)
    for (int64_t j = 0; j < op.out_width; ++j) {
      const int64_t top = i * op.stride - op.pad, left = j * op.stride - op.pad;
      body((i * op.out_width + j) * op.channels, [=](auto visit) {
        for (int64_t u = std::max<int64_t>(top, 0); u < std::min(top + op.kernel, op.height); ++u)
          for (int64_t v = std::max<int64_t>(left, 0); v < std::min(left + op.kernel, op.width); ++v)
            visit((u * op.width + v) * op.channels);
      });
    }
}

template <class Window>
float window_size(Window window) {
  float pixels = 0.f;
  window([&](int64_t) { pixels += 1.f; });
  return pixels;
}

}  // namespace

void enqueue(Stream& stream, const ops::Pool& op) {
  each_image(stream, op.replicas, op.batch, op.split, [op](int64_t r, int64_t b) {
    const float* x = op.x.at(r) + b * op.height * op.width * op.channels;
    float* y = op.y.at(r) + b * op.out_height * op.out_width * op.channels;
    const int64_t channels = op.channels;
    each_window(op, [&](int64_t out, auto window) {
      float* __restrict to = y + out;
      if (op.kind == ops::Pool::Kind::kMax) {
        std::fill_n(to, channels, -std::numeric_limits<float>::infinity());
        window([&](int64_t in) {
          const float* __restrict from = x + in;  // a NaN wins, so that it is seen
          for (int64_t c = 0; c < channels; ++c) to[c] = from[c] <= to[c] ? to[c] : from[c];
        });
      } else {
        std::fill_n(to, channels, 0.f);
        window([&](int64_t in) {
          const float* __restrict from = x + in;
          for (int64_t c = 0; c < channels; ++c) to[c] += from[c];
        });
        const float pixels = window_size(window);
        for (int64_t c = 0; c < channels; ++c) to[c] /= pixels;
      }
    });
  });
}

void enqueue(Stream& stream, const ops::PoolGrad& op) {
  each_image(stream, op.replicas, op.batch, op.split, [op](int64_t r, int64_t b) {
    const int64_t channels = op.channels, in_size = op.height * op.width * channels;
    const int64_t out_size = op.out_height * op.out_width * channels;
    const float *x = op.x.at(r) + b * in_size, *y = op.y.at(r) + b * out_size, *dy = op.dy.at(r) + b * out_size;
    float *dx = op.dx.at(r) + b * in_size, *open = scratch(kParameterSlot, channels);
    std::fill_n(dx, in_size, 0.f);
    each_window(op, [&](int64_t out, auto window) {
      float* __restrict rest = open;  // what is still to be passed on
      if (op.kind == ops::Pool::Kind::kMax) {
        const float* __restrict largest = y + out;
        std::copy_n(dy + out, channels, rest);
        window([&](int64_t in) {
          const float* __restrict from = x + in;
          float* __restrict to = dx + in;
          for (int64_t c = 0; c < channels; ++c) {
            const bool hit = from[c] == largest[c];
            to[c] += hit ? rest[c] : 0.f;
            rest[c] = hit ? 0.f : rest[c];
          }
        });
      } else {
        const float pixels = window_size(window);
        for (int64_t c = 0; c < channels; ++c) rest[c] = dy[out + c] / pixels;
        window([&](int64_t in) {
          float* __restrict to = dx + in;
          for (int64_t c = 0; c < channels; ++c) to[c] += rest[c];
        });
      }
    });
  });
}

void enqueue(Stream& stream, const ops::Upsample& op) {
  each_image(stream, op.replicas, op.batch, op.split, [op](int64_t r, int64_t b) {
    const int64_t f = op.factor, size = op.height * op.width * op.channels, out_width = op.width * f;
    const float* x = op.x.at(r) + b * size;
    float* y = op.y.at(r) + b * size * f * f;
    for (int64_t i = 0; i < op.height * f; ++i)
      for (int64_t j = 0; j < out_width; ++j)
        std::copy_n(x + (i / f * op.width + j / f) * op.channels, op.channels, y + (i * out_width + j) * op.channels);
  });
}

void enqueue(Stream& stream, const ops::UpsampleGrad& op) {
  each_image(stream, op.replicas, op.batch, op.split, [op](int64_t r, int64_t b) {
    const int64_t f = op.factor, size = op.height * op.width * op.channels, out_width = op.width * f;
    const float* dy = op.dy.at(r) + b * size * f * f;
    float* dx = op.dx.at(r) + b * size;
    std::fill_n(dx, size, 0.f);
    for (int64_t i = 0; i < op.height * f; ++i)
      for (int64_t j = 0; j < out_width; ++j) {
        const float* __restrict from = dy + (i * out_width + j) * op.channels;
        float* __restrict to = dx + (i / f * op.width + j / f) * op.channels;
        for (int64_t c = 0; c < op.channels; ++c) to[c] += from[c];
      }
  });
}

}  // namespace agon::cpu
