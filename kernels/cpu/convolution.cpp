// Convolutions: which code computes a shape, and how a single network's is shared between threads.
#include "kernels/cpu/dnnl_conv.h"
#include "kernels/cpu/im2col.h"
#include "kernels/cpu/operations.h"
#include "kernels/cpu/tile_conv.h"
#include "kernels/inputs.h"

namespace agon::cpu {
namespace {

using Direction = ops::Convolution::Direction;

/// How a single network's convolution is cut into pieces: by samples, or by columns of the result (output channels,
/// for the input gradient input channels). It follows from the shape alone.
struct Cut {
  bool by_columns = false;
  int64_t size = 0, step = 1;  // samples, or vectors of columns
  int64_t chunks() const { return (size + step - 1) / step; }
  int64_t begin(int64_t chunk) const { return chunk * step; }
  int64_t end(int64_t chunk) const { return std::min(size, begin(chunk) + step); }
};

Cut cut(const ConvShape& s, bool split) {
  const int64_t vectors = all_columns(s).end;
  const bool weight_grad = s.direction == Direction::kWeightGrad;
  // Pieces of samples would each pack all weights, pieces of columns each read the whole image.
  const bool by_columns = weight_grad || (has_tiles() && vectors >= 4 && s.w_count() > s.x_count() + s.y_count());
  const int64_t size = by_columns ? vectors : s.batch;
  if (!split) return {by_columns, size, size};
  constexpr int64_t kMostChunks = 8;
  if (by_columns) {
    const int64_t narrowest = size >= 4 ? 2 : 1;  // narrow pieces are slower ones
    return {true, size, std::max(narrowest, (size + kMostChunks - 1) / kMostChunks)};
  }
  int64_t chunks = kMostChunks;
  while (chunks > 2 && size % chunks != 0) chunks /= 2;
  return {false, size, (size + chunks - 1) / chunks};
}

/// One shape's convolution, by the code that suits it.
struct Plan {
  ConvShape shape;
  std::shared_ptr<const DnnlConv> dnnl;  // where there are no tiles

  explicit Plan(const ConvShape& s) : shape(s), dnnl(has_tiles() ? nullptr : DnnlConv::get(s)) {}
  void run(Columns columns, float* x, float* w, float* y) const {
    if (has_tiles())
      tile_convolution(shape, columns, x, w, y);
    else if (dnnl)
      dnnl->run(x, w, y);
    else
      im2col_convolution(shape, x, w, y);
  }
};

/// The weight gradient of output channels [begin, begin + plan.shape.out_channels) out of `channels`, without tiles.
void run_slice(const Plan& plan, int64_t channels, int64_t begin, float* x, float* w, float* y) {
  const ConvShape& s = plan.shape;
  const int64_t pixels = s.batch * s.out_height * s.out_width, taps = s.kernel * s.kernel * s.in_channels;
  float* const y_slice = scratch(kScratchE, s.y_count());
  float* const w_slice = scratch(kScratchF, s.w_count());
  for (int64_t i = 0; i < pixels; ++i)
    std::copy_n(y + i * channels + begin, s.out_channels, y_slice + i * s.out_channels);
  plan.run(all_columns(s), x, w_slice, y_slice);
  for (int64_t i = 0; i < taps; ++i)
    std::copy_n(w_slice + i * s.out_channels, s.out_channels, w + i * channels + begin);
}

}  // namespace

void enqueue(Stream& stream, const ops::Convolution& op) {
  const ConvShape whole = ConvShape::of(op);
  check_map_size(op);
  const Cut pieces = cut(whole, op.split);
  const bool tiles = has_tiles(), whole_shape = tiles && pieces.by_columns;
  const auto part = [&](int64_t chunk) {
    ConvShape s = whole;
    if (!pieces.by_columns)
      s.batch = pieces.end(chunk) - pieces.begin(chunk);
    else if (!tiles)
      s.out_channels = std::min(s.out_channels, pieces.end(chunk) * 16) - pieces.begin(chunk) * 16;
    return s;
  };
  // All pieces but the last have the same shape.
  const Plan first(part(0)), last(part(pieces.chunks() - 1));

  stream.add({op.replicas, pieces.chunks(), false, [=](int64_t r, int64_t chunk) {
                const Plan& plan = chunk == pieces.chunks() - 1 ? last : first;
                float *const x = op.x.at(r), *const w = op.w.at(r), *const y = op.y.at(r);
                const int64_t begin = pieces.begin(chunk);
                if (whole_shape)
                  plan.run({begin, pieces.end(chunk)}, x, w, y);
                else if (!pieces.by_columns)
                  plan.run(all_columns(plan.shape), x + begin * (whole.x_count() / whole.batch), w,
                           y + begin * (whole.y_count() / whole.batch));
                else if (pieces.chunks() == 1)
                  plan.run(all_columns(plan.shape), x, w, y);
                else
                  run_slice(plan, whole.out_channels, begin * 16, x, w, y);
              }});
}

}  // namespace agon::cpu
