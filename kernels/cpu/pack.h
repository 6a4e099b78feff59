#pragma once

// Moving operands into the order in which the tiles read them, rounding to bfloat16 on the way.

#include "kernels/cpu/tiles.h"

#if AGON_TILES

namespace agon::cpu {

/// How many words hold `count` elements of T.
template <class T>
int64_t words_for(int64_t count) {
  return (count + kPerWord<T> - 1) / kPerWord<T>;
}

/// to[i] = the word of even[i] and odd[i] (null: zero), i < count; for floats just even[i].
/// Words from count up to `width` are zero.
template <class T>
void interleave(const float* even, const float* odd, float* to, int64_t count, int64_t width);

/// A matrix [rows, columns], ld apart, as the panel of its columns [begin, begin + kVector * vectors):
/// to [words_for(rows), kVector * vectors]. Columns beyond the last and the odd row's partner are zero.
template <class T>
void pack_panel(const float* from, int64_t rows, int64_t columns, int64_t ld, int64_t begin, int64_t vectors,
                float* to);

/// to[j][i] = word j of row i: elements j, or 2 j and 2 j + 1 (zero beyond the last) of T; i < rows, j <
/// words_for(columns).
template <class T>
void transpose(const float* from, int64_t rows, int64_t columns, int64_t from_ld, float* to, int64_t to_ld);

/// A border of zeros around images [batch, height, width, channels].
struct Padding {
  int64_t batch, height, width, channels;
  int64_t top, left, padded_height, padded_width;
  int64_t pitch = channels;  ///< of the padded images: elements from one pixel to the next

  int64_t line() const { return padded_width * pitch; }
  int64_t count() const { return batch * padded_height * line(); }
  bool none() const { return padded_height == height && padded_width == width && pitch == channels; }
};

/// to [batch, padded_height, padded_width, channels] of T, without a pitch of its own, followed by one zero word.
template <class T>
void pad(const Padding& padding, const float* from, T* to);

/// The same with two images woven into one of words: to [words_for(batch), padded_height, padded_width, pitch].
template <class T>
void pad_pairs(const Padding& padding, const float* from, float* to);

}  // namespace agon::cpu

#endif
