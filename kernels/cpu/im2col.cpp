// Convolution as a matrix product: for shapes that have no code of their own, and for images of few channels.
#include "kernels/cpu/im2col.h"

#include <algorithm>

#include "kernels/cpu/bfloat.h"
#include "kernels/error.h"

namespace agon::cpu {
namespace {

/// Calls visit(patch row, offset within it, x offset) for each run of Cin elements of one sample's patches;
/// x offset is -1 where the patch hangs over the edge.
template <class Visit>
void each_tap(const ConvShape& s, Visit visit) {
  const int64_t cols = s.kernel * s.kernel * s.in_channels;
  for (int64_t i = 0; i < s.out_height; ++i)
    for (int64_t j = 0; j < s.out_width; ++j)
      for (int64_t kh = 0; kh < s.kernel; ++kh)
        for (int64_t kw = 0; kw < s.kernel; ++kw) {
          const int64_t h = i * s.stride - s.pad + kh, w = j * s.stride - s.pad + kw;
          const bool inside = h >= 0 && h < s.height && w >= 0 && w < s.width;
          visit((i * s.out_width + j) * cols + (kh * s.kernel + kw) * s.in_channels,
                inside ? (h * s.width + w) * s.in_channels : -1);
        }
}

void unfold(const ConvShape& s, const float* x, float* patches) {
  each_tap(s, [&](int64_t to, int64_t from) {
    if (from < 0)
      std::fill_n(patches + to, s.in_channels, 0.f);
    else
      std::copy_n(x + from, s.in_channels, patches + to);
  });
}

/// The transpose of unfold: each pixel receives the sum over the patches that it is part of.
void fold(const ConvShape& s, const float* patches, float* x) {
  std::fill_n(x, s.height * s.width * s.in_channels, 0.f);
  each_tap(s, [&](int64_t from, int64_t to) {
    if (to < 0) return;
    for (int64_t c = 0; c < s.in_channels; ++c) x[to + c] += patches[from + c];
  });
}

/// c [m, n] = op(a) op(b) (+ c), op(a) [m, k], op(b) [k, n].
void multiply(char transpose_a, char transpose_b, int64_t m, int64_t n, int64_t k, const float* a, const float* b,
              float* c, float beta = 0.f) {
  const dnnl_status_t status = dnnl_sgemm(transpose_a, transpose_b, m, n, k, 1.f, a, transpose_a == 'T' ? m : k, b,
                                          transpose_b == 'T' ? k : n, beta, c, n);
  if (status != dnnl_success)
    fail(Fault::kRun, "oneDNN could not multiply a {} x {} matrix by a {} x {} matrix", m, k, k, n);
}

float* operand(const ConvShape& s, int slot, float* from, int64_t count) {
  if (s.precision == Precision::kFp32) return from;
  float* const to = scratch(slot, count);
  round_to_bfloat16(from, to, count);
  return to;
}

}  // namespace

void im2col_convolution(const ConvShape& s, float* x, float* w, float* y) {
  using Direction = ops::Convolution::Direction;
  const int64_t cols = s.kernel * s.kernel * s.in_channels, pixels = s.out_height * s.out_width;
  const int64_t x_size = s.height * s.width * s.in_channels, y_size = pixels * s.out_channels;
  // As many samples at a time as keep the patches within a core's cache.
  constexpr int64_t kPatchFloats = 1 << 17;
  const int64_t most = std::clamp(kPatchFloats / (pixels * cols), int64_t{1}, s.batch);
  float* const patches = scratch(kScratchD, most * pixels * cols);
  if (s.direction != Direction::kInputGrad) x = operand(s, kScratchA, x, s.x_count());
  if (s.direction != Direction::kWeightGrad) w = operand(s, kScratchB, w, s.w_count());
  if (s.direction != Direction::kForward) y = operand(s, kScratchC, y, s.y_count());

  for (int64_t begin = 0; begin < s.batch; begin += most) {
    const int64_t samples = std::min(most, s.batch - begin), rows = samples * pixels;
    float *const xs = x + begin * x_size, *const ys = y + begin * y_size;
    if (s.direction == Direction::kInputGrad) {
      multiply('N', 'T', rows, cols, s.out_channels, ys, w, patches);
      for (int64_t b = 0; b < samples; ++b) fold(s, patches + b * pixels * cols, xs + b * x_size);
      continue;
    }
    for (int64_t b = 0; b < samples; ++b) unfold(s, xs + b * x_size, patches + b * pixels * cols);
    if (s.direction == Direction::kForward)
      multiply('N', 'N', rows, s.out_channels, cols, patches, w, ys);
    else
      multiply('T', 'N', cols, s.out_channels, rows, patches, ys, w, begin == 0 ? 0.f : 1.f);
  }
}

}  // namespace agon::cpu
