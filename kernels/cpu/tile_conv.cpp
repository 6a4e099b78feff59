// Convolutions by register tiles, after their operands have been packed for them.
#include "kernels/cpu/tile_conv.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "kernels/cpu/amx.h"
#include "kernels/cpu/panels.h"
#include "kernels/cpu/stream.h"

namespace agon::cpu {

bool has_tiles() {
#if AGON_TILES
  return true;
#else
  return false;
#endif
}

Columns all_columns(const ConvShape& s) {
  const bool input_grad = s.direction == ops::Convolution::Direction::kInputGrad;
  return {0, ((input_grad ? s.in_channels : s.out_channels) + 15) / 16};
}

#if AGON_TILES
namespace {

using Direction = ops::Convolution::Direction;

/// Where the positions (b, i, j) of a grid lie in memory, in elements.
struct Strides {
  int64_t image, row, column;
  int64_t at(int64_t b, int64_t i, int64_t j) const { return b * image + i * row + j * column; }
};

/// Windows [begin, end) along one axis of an image that all meet it with their taps [low, high): with their other taps
/// they hang over its edge.
struct Span {
  int64_t begin, end, low, high;
};

/// Window i of `count` lies on the pixels first + i * step + tap, tap < taps, of an axis of `size` pixels.
std::vector<Span> spans(int64_t count, int64_t first, int64_t step, int64_t taps, int64_t size) {
  std::vector<Span> list;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = first + i * step;
    const int64_t low = std::clamp<int64_t>(-at, 0, taps), high = std::clamp(size - at, low, taps);
    if (!list.empty() && list.back().low == low && list.back().high == high)
      list.back().end = i + 1;
    else
      list.push_back({i, i + 1, low, high});
  }
  return list;
}

/// target(b, i, j) [columns] = the sum over a window of the source, [rows, taps, depth], times weights
/// [rows, taps, depth, columns]; for a grid of windows. What hangs over the edge is left out of the sum.
struct WindowProduct {
  int64_t batch;
  std::vector<Span> down, across;  // windows
  Strides from;                    // their first elements in the source
  int64_t rows, row_stride, taps, depth;
  int64_t columns;
  Strides to;
};

/// Taps [low, low + rows) of the windows of two spans times their weights, a panel [rows, panel_row] that begins with
/// tap (low, 0).
template <class T, int M, int N>
void sweep(const WindowProduct& p, const Span& down, const Span& across, int64_t low, int64_t rows, const T* source,
           const float* panel, int64_t panel_row, float* target, bool accumulate, Lanes last) {
  const int64_t words = words_for<T>((across.high - across.low) * p.depth);
  source += low * p.row_stride + across.low * p.depth;
  panel += words_for<T>(across.low * p.depth) * N * kVector;
  const T* window[M];
  float* result[M];
  int64_t b = 0, i = down.begin, j = across.begin;
  int64_t left = p.batch * (down.end - down.begin) * (across.end - across.begin);
  while (left > 0) {
    for (int m = 0; m < M; ++m) {
      window[m] = source + p.from.at(b, i, j);
      result[m] = target + p.to.at(b, i, j);
      if (--left <= 0) continue;  // the last tile is filled up with the last window
      if (++j < across.end) continue;
      j = across.begin;
      if (++i < down.end) continue;
      i = down.begin, ++b;
    }
    window_tile<T, M, N>(window, rows, p.row_stride, words, panel, panel_row, result, accumulate, last);
  }
}

/// Rows [low, low + rows) of all windows times their weights, a panel [rows, words, columns] with words as the matrix
/// registers take them. The windows of a block are brought together first, as these want rows at equal distances.
template <class T>
void sweep_by_matrix(const WindowProduct& p, int64_t low, int64_t rows, int64_t words, const T* source,
                     const float* panel, int64_t vectors, float* target, bool accumulate, Lanes last) {
  const int64_t used = words_for<T>(p.taps * p.depth), steps = rows * words / kAmxSide;
  const int64_t pitch = steps * kAmxSide + (steps % 2 == 0 ? kAmxSide : 0);  // odd in lines: all sets of the cache
  float* const windows = scratch(kScratchE, kAmxBlock * pitch);
  alignas(64) float sums[kAmxBlock * kAmxBlock];
  const int64_t down = p.down.front().end, across = p.across.front().end, count = p.batch * down * across;
  int64_t b = 0, i = 0, j = 0;
  for (int64_t begin = 0; begin < count; begin += kAmxBlock) {
    const int64_t some = std::min(kAmxBlock, count - begin);
    float* result[kAmxBlock];
    for (int64_t m = 0; m < some; ++m) {
      const T* const window = source + p.from.at(b, i, j) + low * p.row_stride;
      result[m] = target + p.to.at(b, i, j);
      if (++j == across) j = 0, ++i;
      if (i == down) i = 0, ++b;
      float* to = windows + m * pitch;
      for (int64_t u = 0; u < rows; ++u)
        for (int64_t d = 0; d < words; d += kAmxSide, to += kAmxSide)
          store(to, load(lanes(used - d), reinterpret_cast<const float*>(window + u * p.row_stride) + d));
    }
    for (int64_t v = 0; v < vectors; v += 2) {
      const int n = v + 1 < vectors ? 2 : 1;
      amx_multiply(some > kAmxSide ? 2 : 1, n, {windows, pitch, kAmxSide},
                   {panel + v * kVector, vectors * kVector, kAmxSide * vectors * kVector}, steps, sums);
      for (int64_t m = 0; m < some; ++m)
        for (int64_t e = 0; e < n; ++e) {
          float* const to = result[m] + (v + e) * kVector;
          const Lanes in = v + e + 1 < vectors ? lanes(kVector) : last;
          const Vector sum = load(sums + m * kAmxBlock + e * kVector);
          store(to, in, accumulate ? plus(load(in, to), sum) : sum);
        }
    }
  }
}

/// Whether products of T go through the matrix registers.
template <class T>
bool by_matrix() {
  return kPerWord<T> == 2 && has_amx();
}

/// pack(u, begin, vectors, to) packs the weights of window row u for a panel of columns.
template <class T, class Pack>
void multiply(const WindowProduct& p, Columns columns, const T* source, float* target, Pack pack) {
  // As many window rows at a time as keep their weights in the second-level cache.
  each_panel(columns, [&](int64_t begin, int64_t vectors) {
    const int64_t used = words_for<T>(p.taps * p.depth), width = vectors * kVector;
    const int64_t words = by_matrix<T>() ? amx_words(used) : used;
    const int64_t row_floats = words * width;
    const int64_t most = std::max<int64_t>(1, kCacheFloats / std::max<int64_t>(1, row_floats));
    float* const panel = scratch(kScratchA, std::min(most, p.rows) * row_floats + kVector);
    for (int64_t u = 0; u == 0 || u < p.rows; u += most) {
      const int64_t end = std::min(u + most, p.rows);
      for (int64_t v = u; v < end; ++v) {
        float* const row = panel + (v - u) * row_floats;
        pack(v, begin, vectors, row);
        std::fill(row + used * width, row + row_floats, 0.f);
      }
      if (by_matrix<T>()) {
        sweep_by_matrix(p, u, end - u, words, source, panel, vectors, target + begin * kVector, u > 0,
                        last_lanes(p.columns, begin, vectors));
        continue;
      }
      for (const Span& down : p.down)
        for (const Span& across : p.across) {
          const int64_t low = std::max(u, down.low), rows = std::min(end, down.high) - low;
          // Windows without any tap in the image are zero, which the first turn writes.
          if (rows <= 0 && (u > 0 || down.low < down.high)) continue;
          with_width(vectors, [&]<int N>() {
            sweep<T, std::min(12, kTileSums / N), N>(
                p, down, across, low, std::max<int64_t>(0, rows), source, panel + (low - u) * row_floats, row_floats,
                target + begin * kVector, low > down.low, last_lanes(p.columns, begin, vectors));
          });
        }
    }
  });
}

/// The windows along an axis, all of them in one span where sums over `depth` elements a tap are too short to gain by
/// leaving out some, would have to leave out half a word, or cost next to nothing.
template <class T>
std::vector<Span> spans_of(int64_t depth, int64_t count, int64_t first, int64_t step, int64_t taps, int64_t size) {
  constexpr int64_t kLeastDepth = 16;
  if (depth < kLeastDepth || depth % kPerWord<T> != 0 || by_matrix<T>()) return {{0, count, 0, taps}};
  return spans(count, first, step, taps, size);
}

/// The source image with the border that the windows reach into; the image itself where nothing has to change.
template <class T>
const T* padded(const Padding& padding, const float* from) {
  if constexpr (kPerWord<T> == 1)
    if (padding.none()) return from;
  T* const to = reinterpret_cast<T*>(scratch(kScratchB, words_for<T>(padding.count()) + 1));
  pad(padding, from, to);
  return to;
}

template <class T>
void forward(const ConvShape& s, Columns columns, const float* x, const float* w, float* y) {
  const Padding padding = padded_x(s);
  const int64_t line = padding.padded_width * s.in_channels, row = s.kernel * s.in_channels;
  const WindowProduct product{
      s.batch,
      spans_of<T>(s.in_channels, s.out_height, -s.pad, s.stride, s.kernel, s.height),
      spans_of<T>(s.in_channels, s.out_width, -s.pad, s.stride, s.kernel, s.width),
      {padding.padded_height * line, s.stride * line, s.stride * s.in_channels},
      s.kernel,
      line,
      s.kernel,
      s.in_channels,
      s.out_channels,
      {s.out_height * s.out_width * s.out_channels, s.out_width * s.out_channels, s.out_channels}};
  multiply<T>(product, columns, padded<T>(padding, x), y, [&](int64_t u, int64_t begin, int64_t vectors, float* to) {
    pack_panel<T>(w + u * row * s.out_channels, row, s.out_channels, s.out_channels, begin * kVector, vectors, to);
  });
}

/// One axis of the input gradient. Pixels i * target_step + origin .. + block of x depend on the window of `length`
/// pixels of y that begins at i * step + first, through the taps k = tap(e, u) that lie within the kernel.
struct Axis {
  int64_t origin, block, target_step, count, step, first, length, kernel, stride, pad;

  Axis(const ConvShape& s, int64_t size, int64_t origin, int64_t block, int64_t target_step)
      : origin(origin), block(block), target_step(target_step), kernel(s.kernel), stride(s.stride), pad(s.pad) {
    const auto floor_div = [](int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); };
    count = std::max<int64_t>(0, (size - origin + target_step - 1) / target_step);
    step = target_step / stride;
    first = floor_div(origin + pad - kernel, stride) + 1;
    length = std::max<int64_t>(0, floor_div(origin + block - 1 + pad, stride) - first + 1);
  }
  /// The kernel position that links pixel e of the block with pixel u of the window; may lie outside of the kernel.
  int64_t tap(int64_t e, int64_t u) const { return origin + e + pad - stride * (first + u); }
  int64_t end() const { return (count - 1) * step + first + length; }  ///< of the last window
};

/// How the input gradient's pixels are grouped into windows that share a product.
struct Blocks {
  int64_t height = 1, width = 1;
  bool single() const { return height * width == 1; }
};

/// Each of the stride^2 classes of pixels sees its own taps: a product each, with as many columns as x has channels.
/// With few channels most lanes would idle; a block of pixels in one product fills them, at the price of zero weights.
Blocks choose_blocks(const ConvShape& s) {
  const auto filled = [](int64_t columns) {
    return double(columns) / double((columns + kVector - 1) / kVector * kVector);
  };
  Blocks best;
  double best_share = 1.3 * filled(s.in_channels);
  for (int64_t height : {1, 2, 4})
    for (int64_t width : {1, 2, 4}) {
      const Blocks blocks{height * s.stride, width * s.stride};
      const int64_t columns = blocks.height * blocks.width * s.in_channels;
      if (columns > kTileVectors * kVector || s.in_channels >= kVector) continue;
      const Axis h(s, s.height, 0, blocks.height, blocks.height), w(s, s.width, 0, blocks.width, blocks.width);
      const double taps = double(s.kernel * s.kernel) / double(s.stride * s.stride);
      const double share = filled(columns) * taps / double(h.length * w.length);
      if (share > best_share) best = blocks, best_share = share;
    }
  return best;
}

std::vector<Axis> axes(const ConvShape& s, int64_t size, int64_t block) {
  if (block > 1) return {Axis(s, size, 0, block, block)};
  std::vector<Axis> classes;
  for (int64_t origin = 0; origin < std::min(s.stride, size); ++origin)
    classes.emplace_back(s, size, origin, 1, s.stride);
  return classes;
}

/// Weights of window row u of the input gradient: [cols, Cout] rows, (block pixel, Cin) columns.
template <class T>
void pack_transposed(const ConvShape& s, const Axis& h, const Axis& v, const float* w, int64_t u, int64_t begin,
                     int64_t vectors, float* to) {
  const int64_t width = vectors * kVector, rows = v.length * s.out_channels, first = begin * kVector;
  const int64_t columns = h.block * v.block * s.in_channels;
  // With an odd number of channels, words of two reach from one pixel into the next.
  const bool straddle = s.out_channels % kPerWord<T> != 0;
  float* const plain = straddle ? scratch(kScratchD, rows * width) : to;
  const int64_t step = straddle ? s.out_channels : words_for<T>(s.out_channels);
  if (columns > s.in_channels || columns < first + width) std::fill_n(plain, v.length * step * width, 0.f);
  for (int64_t pixel = 0; pixel < h.block * v.block; ++pixel) {
    const int64_t kh = h.tap(pixel / v.block, u);
    const int64_t low = std::max(first, pixel * s.in_channels),
                  high = std::min(first + width, (pixel + 1) * s.in_channels);
    if (low >= high || kh < 0 || kh >= s.kernel) continue;
    for (int64_t c = 0; c < v.length; ++c) {
      const int64_t kw = v.tap(pixel % v.block, c);
      if (kw < 0 || kw >= s.kernel) continue;
      const int64_t channel = low - pixel * s.in_channels;
      const auto turn = straddle ? transpose<float> : transpose<T>;
      turn(w + ((kh * s.kernel + kw) * s.in_channels + channel) * s.out_channels, high - low, s.out_channels,
           s.out_channels, plain + c * step * width + low - first, width);
    }
  }
  if (straddle) pack_panel<T>(plain, rows, width, width, 0, vectors, to);
}

/// Moves products [batch, h.count, w.count, block, Cin] to their pixels of x, leaving out those beyond the edge.
void scatter_blocks(const ConvShape& s, const Axis& h, const Axis& w, const float* products, float* x) {
  for (int64_t b = 0; b < s.batch; ++b)
    for (int64_t i = 0; i < h.count; ++i)
      for (int64_t j = 0; j < w.count; ++j)
        for (int64_t e = 0; e < h.block; ++e, products += w.block * s.in_channels) {
          const int64_t row = i * h.block + e, column = j * w.block;
          if (row < s.height)
            std::copy_n(products, std::min(w.block, s.width - column) * s.in_channels,
                        x + ((b * s.height + row) * s.width + column) * s.in_channels);
        }
}

template <class T>
void input_grad(const ConvShape& s, Columns columns, float* x, const float* w, const float* y) {
  const Blocks blocks = choose_blocks(s);
  const std::vector<Axis> down = axes(s, s.height, blocks.height), across = axes(s, s.width, blocks.width);
  Padding padding{s.batch, s.out_height, s.out_width, s.out_channels};
  int64_t bottom = s.out_height, right = s.out_width;
  for (const Axis& h : down) padding.top = std::max(padding.top, -h.first), bottom = std::max(bottom, h.end());
  for (const Axis& v : across) padding.left = std::max(padding.left, -v.first), right = std::max(right, v.end());
  padding.padded_height = padding.top + bottom, padding.padded_width = padding.left + right;

  const T* const source = padded<T>(padding, y);
  const int64_t line = padding.padded_width * s.out_channels;
  const int64_t all = blocks.height * blocks.width * s.in_channels;
  if (!blocks.single()) columns = {0, (all + kVector - 1) / kVector};
  for (const Axis& h : down)
    for (const Axis& v : across) {
      WindowProduct product{s.batch,
                            spans_of<T>(s.out_channels, h.count, h.first, h.step, h.length, s.out_height),
                            spans_of<T>(s.out_channels, v.count, v.first, v.step, v.length, s.out_width),
                            {padding.padded_height * line, h.step * line, v.step * s.out_channels},
                            h.length,
                            line,
                            v.length,
                            s.out_channels,
                            all,
                            {h.count * v.count * all, v.count * all, all}};
      const T* const first = source + (h.first + padding.top) * line + (v.first + padding.left) * s.out_channels;
      const auto pack = [&](int64_t u, int64_t begin, int64_t vectors, float* to) {
        pack_transposed<T>(s, h, v, w, u, begin, vectors, to);
      };
      if (blocks.single()) {
        const int64_t row = s.width * s.in_channels;
        product.to = {s.height * row, s.stride * row, s.stride * s.in_channels};
        multiply<T>(product, columns, first, x + h.origin * row + v.origin * s.in_channels, pack);
      } else {
        float* const products = scratch(kScratchC, s.batch * h.count * v.count * all);
        multiply<T>(product, columns, first, products, pack);
        scatter_blocks(s, h, v, products, x);
      }
    }
}

/// Some images of a shape: its batch, x and y from image `begin` on.
ConvShape images_of(ConvShape s, int64_t begin, int64_t most, float*& x, float*& y) {
  x += begin * (s.x_count() / s.batch);
  y += begin * (s.y_count() / s.batch);
  s.batch = std::min(most, s.batch - begin);
  return s;
}

template <class T>
void convolve(const ConvShape& s, Columns columns, float* x, float* w, float* y) {
  // As many images at a time as keep a panel of y in the second-level cache, and the work space of the others small.
  constexpr int64_t kImageFloats = 1 << 21;
  const bool weight_grad = s.direction == Direction::kWeightGrad;
  const int64_t width = std::min<int64_t>(kTileVectors, columns.end - columns.begin) * kVector;
  const int64_t most = weight_grad ? kCacheFloats / 2 * kPerWord<T> / (s.out_height * s.out_width * width)
                                   : kImageFloats * s.batch / (s.x_count() + s.y_count());
  const int64_t step = std::max(kPerWord<T>, most / kPerWord<T> * kPerWord<T>);
  for (int64_t begin = 0; begin < s.batch; begin += step) {
    float *some_x = x, *some_y = y;
    const ConvShape some = images_of(s, begin, step, some_x, some_y);
    if (weight_grad)
      tile_weight_grad<T>(some, columns, some_x, w, some_y, begin > 0);
    else if (s.direction == Direction::kForward)
      forward<T>(some, columns, some_x, w, some_y);
    else
      input_grad<T>(some, columns, some_x, w, some_y);
  }
}

}  // namespace

void tile_convolution(const ConvShape& s, Columns columns, float* x, float* w, float* y) {
  // From vectors of 16 columns to those of this processor, as far as there are columns.
  const int64_t count = s.direction == Direction::kInputGrad ? s.in_channels : s.out_channels;
  columns.begin *= 16 / kVector;
  columns.end = std::min(columns.end * (16 / kVector), (count + kVector - 1) / kVector);
  if (s.precision == Precision::kFp32) return convolve<float>(s, columns, x, w, y);
#if defined(__AVX512BF16__)
  if (multiplies_bf16()) {
    std::optional<AmxTiles> tiles;
    if (has_amx()) tiles.emplace();
    return convolve<Bfloat16>(s, columns, x, w, y);
  }
#endif
  const auto rounded = [&](Direction output, MatrixScratch slot, float* from, int64_t floats) {
    if (s.direction == output) return from;
    float* const to = scratch(slot, floats);
    round_to_bfloat16(from, to, floats);
    return to;
  };
  convolve<float>(s, columns, rounded(Direction::kInputGrad, kScratchE, x, s.x_count()),
                  rounded(Direction::kWeightGrad, kScratchF, w, s.w_count()),
                  rounded(Direction::kForward, kScratchG, y, s.y_count()));
}

#else
void tile_convolution(const ConvShape&, Columns, float*, float*, float*) {}
#endif

}  // namespace agon::cpu
