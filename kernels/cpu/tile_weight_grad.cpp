// The weight gradient of convolutions: sums of outer products, in register tiles.
#include <algorithm>
#include <optional>
#include <vector>

#include "kernels/cpu/amx.h"
#include "kernels/cpu/panels.h"
#include "kernels/cpu/stream.h"

#if AGON_TILES

namespace agon::cpu {
namespace {

/// Rows m .. end-1 of a [rows, kVector N] block of the weight gradient, in tiles of M, then of fewer.
template <class T, int M, int N, class Tile>
void outer_rows(int64_t m, int64_t end, const Tile& tile) {
  for (; m + M <= end; m += M) tile.template operator()<T, M, N>(m);
  if constexpr (M > 1) outer_rows<T, M / 2, N>(m, end, tile);
}

/// A panel of y's columns as rows of words [W', H', images, kVector * vectors], two images woven into one in bf16. In
/// this order the pixels under whose tap the image lies follow each other.
template <class T>
void pack_map(const ConvShape& s, const float* y, int64_t first, int64_t width, float* to) {
  const int64_t image = s.out_height * s.out_width * s.out_channels, count = std::min(width, s.out_channels - first);
  for (int64_t j = 0; j < s.out_width; ++j)
    for (int64_t i = 0; i < s.out_height; ++i)
      for (int64_t b = 0; b < s.batch; b += kPerWord<T>, to += width) {
        const float* const even = y + b * image + (i * s.out_width + j) * s.out_channels + first;
        interleave<T>(even, b + 1 < s.batch ? even + image : nullptr, to, count, width);
      }
}

/// The pixels i of a map's axis under whose tap, at i * stride - pad + tap, lies a pixel of the image, not its border.
struct PixelsUnder {
  int64_t begin, end;
  PixelsUnder(int64_t begin, int64_t end) : begin(begin), end(end) {}
  PixelsUnder(int64_t tap, int64_t size, int64_t stride, int64_t pad, int64_t count)
      : begin(std::clamp<int64_t>((pad - tap + stride - 1) / stride, 0, count)),
        end(std::clamp((size - 1 + pad - tap + stride) / stride, begin, count)) {}
  int64_t count() const { return end - begin; }
};

/// The same sums by the matrix registers, for which both factors' sums run along their rows: of y, a panel
/// [count, width] as packed, all is transposed; of x, what 32 rows of the result need is brought together. The result
/// comes out transposed.
class MatrixOuter {
 public:
  MatrixOuter(const float* panel, int64_t count, int64_t vectors) : vectors_(vectors) {
    const int64_t width = vectors * kVector, steps = amx_words(count) / kAmxSide + 1;
    pitch_ = (steps + (steps % 2 == 0 ? 1 : 0)) * kAmxSide;  // odd in lines: all sets of the cache
    map_ = scratch(kScratchE, width * pitch_);
    transpose<float>(panel, count, width, width, map_, pitch_);
    for (int64_t c = 0; c < width; ++c) std::fill(map_ + c * pitch_ + count, map_ + (c + 1) * pitch_, 0.f);
  }

  /// to[m][c] (ld apart) (+)= the sum over t < count of x[windows[t] + m] * y[pixel + t][c], m < rows.
  void add(const float* x, const int64_t* windows, int64_t pixel, int64_t count, int64_t rows, float* to, int64_t ld,
           bool accumulate, Lanes last) const {
    const int64_t words = amx_words(count), steps = words / kAmxSide;
    float* const some_x = scratch(kScratchF, words * kAmxBlock);
    std::fill(some_x + count * kAmxBlock, some_x + words * kAmxBlock, 0.f);
    alignas(64) float sums[kAmxBlock * kAmxBlock], turned[kAmxBlock * kAmxBlock];
    for (int64_t m = 0; m < rows; m += kAmxBlock) {
      const int64_t some = std::min(kAmxBlock, rows - m);
      const Lanes low = lanes(some), high = lanes(std::max<int64_t>(0, some - kVector));
      for (int64_t t = 0; t < count; ++t) {
        const float* const from = x + windows[t] + m;
        store(some_x + t * kAmxBlock, load(low, from));
        store(some_x + t * kAmxBlock + kVector, load(high, from + kVector));
      }
      for (int64_t v = 0; v < vectors_; v += 2) {
        const int maps = v + 1 < vectors_ ? 2 : 1;
        amx_multiply(maps, some > kVector ? 2 : 1, {map_ + v * kVector * pitch_ + pixel, pitch_, kAmxSide},
                     {some_x, kAmxBlock, kAmxSide * kAmxBlock}, steps, sums);
        transpose<float>(sums, maps * kVector, kAmxBlock, kAmxBlock, turned, kAmxBlock);
        for (int64_t i = 0; i < some; ++i)
          for (int64_t e = 0; e < maps; ++e) {
            float* const target = to + (m + i) * ld + (v + e) * kVector;
            __builtin_prefetch(target + kAmxBlock * ld, 1);  // what the next block overwrites
            const Lanes in = v + e + 1 < vectors_ ? lanes(kVector) : last;
            const Vector sum = load(turned + i * kAmxBlock + e * kVector);
            store(target, in, accumulate ? plus(load(in, target), sum) : sum);
          }
      }
    }
  }

 private:
  int64_t vectors_, pitch_;
  float* map_;
};

}  // namespace

template <class T>
void tile_weight_grad(const ConvShape& s, Columns columns, const float* x, float* w, const float* y, bool accumulate) {
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
  std::vector<int64_t> windows;  // where in the source the window of each pixel begins, in the panel's order
  for (int64_t j = 0; j < s.out_width; ++j)
    for (int64_t i = 0; i < s.out_height; ++i)
      for (int64_t b = 0; b < images; ++b)
        windows.push_back((b * padding.padded_height + i * s.stride) * line + j * s.stride * padding.pitch);

  // Rows of w that follow each other in the source: of one tap, or of the kernel's whole row without gaps.
  const bool gaps = padding.pitch != s.in_channels;
  const int64_t taps = gaps ? s.kernel : 1, rows = gaps ? s.in_channels : s.kernel * s.in_channels;
  const PixelsUnder all_down{0, s.out_height}, all_across{0, s.out_width};

  each_panel(columns, [&](int64_t begin, int64_t vectors) {
    const int64_t width = vectors * kVector, first = begin * kVector, most = kNearFloats / width;
    float* const panel = scratch(kScratchA, images * pixels * width);
    pack_map<T>(s, y, first, width, panel);
    const Lanes last = last_lanes(s.out_channels, begin, vectors);
    std::optional<MatrixOuter> matrix;
    if (kPerWord<T> == 2 && has_amx()) matrix.emplace(panel, images * pixels, vectors);
    for (int64_t kh = 0; kh < s.kernel; ++kh)
      for (int64_t kw = 0; kw < taps; ++kw) {
        bool more = accumulate;
        const auto add = [&](int64_t pixel, int64_t count) {
          const float* const from = source + kh * line + kw * padding.pitch;
          float* const to = w + (kh * taps + kw) * rows * s.out_channels + first;
          if (matrix) {
            matrix->add(from, windows.data() + pixel, pixel, count, rows, to, s.out_channels, more, last);
            more = true;
            return;
          }
          const auto tile = [&]<class U, int M, int N>(int64_t m) {
            outer_tile<U, M, N>(from + m, windows.data() + pixel, count, panel + pixel * width, to + m * s.out_channels,
                                s.out_channels, more, last);
          };
          with_width(vectors, [&]<int N>() { outer_rows<T, kTileSums / N, N>(0, rows, tile); });
          more = true;
        };
        const PixelsUnder down = gaps ? PixelsUnder(kh, s.height, s.stride, s.pad, s.out_height) : all_down;
        const PixelsUnder across = gaps ? PixelsUnder(kw, s.width, s.stride, s.pad, s.out_width) : all_across;
        // Column by column of the map; full columns follow each other without a break.
        const bool full = down.count() == s.out_height;
        const int64_t runs = full ? 1 : across.count();
        const int64_t length = down.count() * images * (full ? across.count() : 1);
        for (int64_t j = across.begin; j < across.begin + runs; ++j)
          for (int64_t t = 0; t < length; t += most)
            add((j * s.out_height + down.begin) * images + t, std::min(most, length - t));
        if (!more) add(0, 0);  // a tap that meets the border only
      }
  });
}

template void tile_weight_grad<float>(const ConvShape&, Columns, const float*, float*, const float*, bool);
#if defined(__AVX512BF16__)
template void tile_weight_grad<Bfloat16>(const ConvShape&, Columns, const float*, float*, const float*, bool);
#endif

}  // namespace agon::cpu

#endif
