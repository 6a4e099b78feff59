// Convolutions: which code computes a shape, and how a single network's is shared between threads.
#include "kernels/cpu/dnnl_conv.h"
#include "kernels/cpu/im2col.h"
#include "kernels/cpu/operations.h"
#include "kernels/error.h"

namespace agon::cpu {
namespace {

using Direction = ops::Convolution::Direction;

ConvShape shape_of(const ops::Convolution& op) {
  return {op.direction, op.batch,        op.height, op.width,  op.in_channels, op.out_height,
          op.out_width, op.out_channels, op.kernel, op.stride, op.pad,         op.precision};
}

void check(const ConvShape& s) {
  const auto mapped = [&](int64_t size) { return (size + 2 * s.pad - s.kernel) / s.stride + 1; };
  if (mapped(s.height) != s.out_height || mapped(s.width) != s.out_width)
    fail(Fault::kRun,
         "a {0} x {1} image gives a {2} x {3} map with kernel {4}, stride {5}, pad {6}; expected {7} x {8}", s.height,
         s.width, mapped(s.height), mapped(s.width), s.kernel, s.stride, s.pad, s.out_height, s.out_width);
}

/// A number of samples that one piece takes through the forward pass or the input gradient, or of output channels
/// of the weight gradient.
struct Cut {
  int64_t size, step;
  int64_t chunks() const { return (size + step - 1) / step; }
  int64_t begin(int64_t chunk) const { return chunk * step; }
  int64_t length(int64_t chunk) const { return std::min(step, size - begin(chunk)); }
};

Cut cut(const ConvShape& s, bool split) {
  const int64_t size = s.direction == Direction::kWeightGrad ? s.out_channels : s.batch;
  if (!split) return {size, size};
  constexpr int64_t kMostChunks = 4;
  const int64_t step = (size + kMostChunks - 1) / kMostChunks;
  if (s.direction != Direction::kWeightGrad) return {size, step};
  return {size, std::min(size, (step + 15) / 16 * 16)};  // whole vectors of channels
}

void convolve(const ConvShape& s, const DnnlConv* plan, float* x, float* w, float* y) {
  if (plan)
    plan->run(x, w, y);
  else
    im2col_convolution(s, x, w, y);
}

/// The weight gradient of output channels [begin, begin + s.out_channels) out of `channels`.
void convolve_slice(const ConvShape& s, const DnnlConv* plan, int64_t channels, int64_t begin, float* x, float* w,
                    float* y) {
  const int64_t pixels = s.batch * s.out_height * s.out_width, taps = s.kernel * s.kernel * s.in_channels;
  float* const y_slice = scratch(kScratchE, s.y_count());
  float* const w_slice = scratch(kScratchF, s.w_count());
  for (int64_t i = 0; i < pixels; ++i)
    std::copy_n(y + i * channels + begin, s.out_channels, y_slice + i * s.out_channels);
  convolve(s, plan, x, w_slice, y_slice);
  for (int64_t i = 0; i < taps; ++i)
    std::copy_n(w_slice + i * s.out_channels, s.out_channels, w + i * channels + begin);
}

}  // namespace

void enqueue(Stream& stream, const ops::Convolution& op) {
  const ConvShape whole = shape_of(op);
  check(whole);
  const Cut pieces = cut(whole, op.split);
  const auto part = [&](int64_t chunk) {
    ConvShape s = whole;
    (s.direction == Direction::kWeightGrad ? s.out_channels : s.batch) = pieces.length(chunk);
    return s;
  };
  // All pieces but the last have the same shape.
  const ConvShape first = part(0), last = part(pieces.chunks() - 1);
  const auto first_plan = DnnlConv::get(first), last_plan = DnnlConv::get(last);

  stream.add({op.replicas, pieces.chunks(), false, [=](int64_t r, int64_t chunk) {
                const bool is_last = chunk == pieces.chunks() - 1;
                const ConvShape& s = is_last ? last : first;
                const DnnlConv* plan = (is_last ? last_plan : first_plan).get();
                float *const x = op.x.at(r), *const w = op.w.at(r), *const y = op.y.at(r);
                const int64_t begin = pieces.begin(chunk);
                if (s.direction != Direction::kWeightGrad)
                  convolve(s, plan, x + begin * (whole.x_count() / whole.batch), w,
                           y + begin * (whole.y_count() / whole.batch));
                else if (pieces.chunks() == 1)
                  convolve(s, plan, x, w, y);
                else
                  convolve_slice(s, plan, whole.out_channels, begin, x, w, y);
              }});
}

}  // namespace agon::cpu
