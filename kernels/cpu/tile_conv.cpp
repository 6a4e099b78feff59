// Convolutions by register tiles, after their operands have been packed for them.
#include "kernels/cpu/tile_conv.h"

#include <algorithm>
#include <dnnl.hpp>
#include <vector>

#include "kernels/cpu/pack.h"
#include "kernels/cpu/stream.h"

namespace agon::cpu {

bool has_tiles([[maybe_unused]] Precision precision) {
#if AGON_TILES
#if defined(__AVX512BF16__)
  static const bool has_amx = dnnl::get_effective_cpu_isa() >= dnnl::cpu_isa::avx512_core_amx;
  if (precision == Precision::kBf16) return !has_amx;
#endif
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

/// target(b, i, j) [columns] = the sum over a window of the source, `rows` runs of `depth` elements, times weights
/// [rows, depth, columns]; for a grid of windows.
struct WindowProduct {
  int64_t batch, height, width;  // windows
  Strides from;                  // their first elements in the source
  int64_t rows, row_stride, depth;
  int64_t columns;
  Strides to;
  int64_t size() const { return batch * height * width; }
};

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
Lanes last_lanes(int64_t columns, int64_t begin, int64_t vectors) {
  return lanes(columns - (begin + vectors - 1) * kVector);
}

/// Some rows of all windows times a panel of weights [rows, words, kVector N].
template <class T, int M, int N>
void sweep(const WindowProduct& p, const T* source, int64_t rows, const float* panel, float* target, bool accumulate,
           Lanes last) {
  const T* window[M];
  float* result[M];
  int64_t b = 0, i = 0, j = 0, left = p.size();
  while (left > 0) {
    for (int m = 0; m < M; ++m) {
      window[m] = source + p.from.at(b, i, j);
      result[m] = target + p.to.at(b, i, j);
      if (--left <= 0) continue;  // the last tile is filled up with the last window
      if (++j < p.width) continue;
      j = 0;
      if (++i < p.height) continue;
      i = 0, ++b;
    }
    window_tile<T, M, N>(window, rows, p.row_stride, words_for<T>(p.depth), panel, result, accumulate, last);
  }
}

/// pack(u, begin, vectors, to) packs the weights of window row u for a panel of columns.
template <class T, class Pack>
void multiply(const WindowProduct& p, Columns columns, const T* source, float* target, Pack pack) {
  // As many window rows at a time as keep their weights in the second-level cache.
  each_panel(columns, [&](int64_t begin, int64_t vectors) {
    const int64_t row_floats = words_for<T>(p.depth) * vectors * kVector;
    const int64_t most = std::max<int64_t>(1, kCacheFloats / std::max<int64_t>(1, row_floats));
    float* const panel = scratch(kScratchA, std::min(most, p.rows) * row_floats + kVector);
    for (int64_t u = 0; u == 0 || u < p.rows; u += most) {
      const int64_t rows = std::min(most, p.rows - u);
      for (int64_t v = 0; v < rows; ++v) pack(u + v, begin, vectors, panel + v * row_floats);
      const auto run = [&](auto sweep) {
        sweep(p, source + u * p.row_stride, rows, panel, target + begin * kVector, u > 0,
              last_lanes(p.columns, begin, vectors));
      };
      with_width(vectors, [&]<int N>() { run(sweep<T, std::min(12, kTileSums / N), N>); });
    }
  });
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

Padding padded_x(const ConvShape& s) {
  return {s.batch, s.height, s.width, s.in_channels, s.pad, s.pad, s.height + 2 * s.pad, s.width + 2 * s.pad};
}

template <class T>
void forward(const ConvShape& s, Columns columns, const float* x, const float* w, float* y) {
  const Padding padding = padded_x(s);
  const int64_t line = padding.padded_width * s.in_channels, depth = s.kernel * s.in_channels;
  const WindowProduct product{
      s.batch,
      s.out_height,
      s.out_width,
      {padding.padded_height * line, s.stride * line, s.stride * s.in_channels},
      s.kernel,
      line,
      depth,
      s.out_channels,
      {s.out_height * s.out_width * s.out_channels, s.out_width * s.out_channels, s.out_channels}};
  multiply<T>(product, columns, padded<T>(padding, x), y, [&](int64_t u, int64_t begin, int64_t vectors, float* to) {
    pack_panel<T>(w + u * depth * s.out_channels, depth, s.out_channels, s.out_channels, begin * kVector, vectors, to);
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
                            h.count,
                            v.count,
                            {padding.padded_height * line, h.step * line, v.step * s.out_channels},
                            h.length,
                            line,
                            v.length * s.out_channels,
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
        float* const products = scratch(kScratchC, product.size() * all);
        multiply<T>(product, columns, first, products, pack);
        scatter_blocks(s, h, v, products, x);
      }
    }
}

/// Rows m .. end-1 of a [rows, kVector N] block of the weight gradient, in tiles of M, then of fewer.
template <class T, int M, int N, class Tile>
void outer_rows(int64_t m, int64_t end, const Tile& tile) {
  for (; m + M <= end; m += M) tile.template operator()<T, M, N>(m);
  if constexpr (M > 1) outer_rows<T, M / 2, N>(m, end, tile);
}

/// A panel of y's columns as rows of words [images, H', W', kVector * vectors], two images woven into one in bf16.
template <class T>
void pack_map(const ConvShape& s, const float* y, int64_t first, int64_t width, float* to) {
  const int64_t pixels = s.out_height * s.out_width, count = std::min(width, s.out_channels - first);
  for (int64_t b = 0; b < s.batch; b += kPerWord<T>) {
    const float* const even = y + b * pixels * s.out_channels + first;
    const float* const odd = b + 1 < s.batch ? even + pixels * s.out_channels : nullptr;
    for (int64_t i = 0; i < pixels; ++i, to += width)
      interleave<T>(even + i * s.out_channels, odd ? odd + i * s.out_channels : nullptr, to, count, width);
  }
}

/// The weight gradient of a few images, added to what w holds already.
template <class T>
void weight_grad_block(const ConvShape& s, Columns columns, const float* x, float* w, const float* y, bool accumulate) {
  Padding padding = padded_x(s);
  // A power of two between pixels would make them compete for a few lines of the first-level cache.
  if (s.in_channels % 64 == 0) padding.pitch += 16;
  const int64_t line = padding.line(), pixels = s.out_height * s.out_width, images = words_for<T>(s.batch);
  const float* source = x;
  if (kPerWord<T> == 2 || !padding.none()) {
    float* const to = scratch(kScratchB, images * padding.padded_height * line);
    pad_pairs<T>(padding, x, to);
    source = to;
  }
  std::vector<int64_t> windows;  // where in the source the window of each pixel of y begins
  for (int64_t b = 0; b < images; ++b)
    for (int64_t i = 0; i < s.out_height; ++i)
      for (int64_t j = 0; j < s.out_width; ++j)
        windows.push_back((b * padding.padded_height + i * s.stride) * line + j * s.stride * padding.pitch);
  const int64_t count = images * pixels;

  // Rows of w that follow each other in the source: of one pixel, or of the kernel's whole row without gaps.
  const bool gaps = padding.pitch != s.in_channels;
  const int64_t runs = s.kernel * (gaps ? s.kernel : 1), rows = gaps ? s.in_channels : s.kernel * s.in_channels;

  each_panel(columns, [&](int64_t begin, int64_t vectors) {
    const int64_t width = vectors * kVector, first = begin * kVector;
    const float* panel = y;  // its own panel, where the words and the width are right
    if (kPerWord<T> == 2 || width != s.out_channels) {
      float* const to = scratch(kScratchA, images * pixels * width);
      pack_map<T>(s, y, first, width, to);
      panel = to;
    }
    const int64_t most = kNearFloats / width;
    for (int64_t run = 0; run < runs; ++run) {
      const float* const from = source + (gaps ? run / s.kernel * line + run % s.kernel * padding.pitch : run * line);
      float* const to = w + run * rows * s.out_channels + first;
      for (int64_t t = 0; t < count; t += most) {
        const auto tile = [&]<class U, int M, int N>(int64_t m) {
          outer_tile<U, M, N>(from + m, windows.data() + t, std::min(most, count - t), panel + t * width,
                              to + m * s.out_channels, s.out_channels, accumulate || t > 0,
                              last_lanes(s.out_channels, begin, vectors));
        };
        with_width(vectors, [&]<int N>() { outer_rows<T, kTileSums / N, N>(0, rows, tile); });
      }
    }
  });
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
      weight_grad_block<T>(some, columns, some_x, w, some_y, begin > 0);
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
  convolve<Bfloat16>(s, columns, x, w, y);
#else
  const auto rounded = [&](Direction output, MatrixScratch slot, float* from, int64_t floats) {
    if (s.direction == output) return from;
    float* const to = scratch(slot, floats);
    round_to_bfloat16(from, to, floats);
    return to;
  };
  convolve<float>(s, columns, rounded(Direction::kInputGrad, kScratchE, x, s.x_count()),
                  rounded(Direction::kWeightGrad, kScratchF, w, s.w_count()),
                  rounded(Direction::kForward, kScratchG, y, s.y_count()));
#endif
}

#else
void tile_convolution(const ConvShape&, Columns, float*, float*, float*) {}
#endif

}  // namespace agon::cpu
