#pragma once

// Loops over the rows of a [rows, cols] matrix, and sums over them.

#include <algorithm>
#include <cstdint>
#include <memory>

#include "kernels/cpu/slots.h"
#include "kernels/cpu/stream.h"

namespace agon::cpu {

/// Matrices are worked through in strips of whole rows, so that the inner loop is long enough for the vector units
/// also where an image has one or three channels. Elements per strip:
inline int64_t strip_width(int64_t cols) { return cols >= 32 ? cols : cols * 16 * std::max<int64_t>(1, 8 / cols); }

/// Calls body(first element, elements) for the strips of rows begin .. end-1.
template <class Body>
void each_strip(int64_t begin, int64_t end, int64_t cols, Body body) {
  const int64_t width = strip_width(cols);
  for (int64_t i = begin * cols; i < end * cols; i += width) body(i, std::min(width, end * cols - i));
}

/// Writes cols values again and again until a strip is full.
inline void fill_strip(float* strip, const float* values, int64_t cols) {
  const int64_t width = strip_width(cols);
  for (int64_t i = 0; i < width; i += cols) std::copy_n(values, cols, strip + i);
}

/// Rows per piece of work.
inline int64_t chunk_rows(int64_t cols) { return std::max<int64_t>(1, 16384 / cols); }

/// Queues body(replica, begin, end) over all rows; with `split`, in pieces that threads can share.
template <class Body>
void each_row(Stream& stream, int64_t replicas, int64_t rows, int64_t cols, bool split, Body body) {
  const int64_t step = split ? chunk_rows(cols) : std::max<int64_t>(rows, 1);
  stream.add({replicas, (rows + step - 1) / step, false,
              [=](int64_t r, int64_t c) { body(r, c * step, std::min(rows, (c + 1) * step)); }});
}

/// Sums over rows for each replica and group, [replicas, groups, sums, cols]; valid once the queued work has run.
class RowSums {
 public:
  RowSums(int64_t replicas, int64_t groups, int64_t chunks, int64_t size)
      : data_(std::make_shared_for_overwrite<double[]>(static_cast<size_t>(replicas * groups * chunks * size))),
        groups_(groups),
        chunks_(chunks),
        size_(size) {}
  double* at(int64_t replica, int64_t group, int64_t chunk = 0) const {
    return data_.get() + ((replica * groups_ + group) * chunks_ + chunk) * size_;
  }

 private:
  std::shared_ptr<double[]> data_;
  int64_t groups_, chunks_, size_;
};

struct RowShape {
  int64_t replicas, groups, rows, cols;
};

/// Queues `sums` sums over the rows of each group. add(replica, group, begin, end, total) adds rows begin .. end-1 to
/// the floats total[sum * strip_width + position in the strip]. Few rows are added up in float, their sums in double;
/// the order follows from the shape alone and is the same with and without `split`.
template <class Add>
RowSums sum_rows(Stream& stream, const RowShape& shape, int64_t sums, bool split, Add add) {
  const int64_t cols = shape.cols, rows = shape.rows, groups = shape.groups, width = strip_width(cols);
  const int64_t block = 64 * (width / cols);
  const int64_t step = (chunk_rows(cols) + block - 1) / block * block;
  const int64_t chunks = std::max<int64_t>(1, (rows + step - 1) / step);
  const int64_t size = sums * cols;
  const RowSums result(shape.replicas, groups, chunks, size);

  const auto sum_chunk = [=](int64_t r, int64_t piece) {
    const int64_t group = piece / chunks, chunk = piece % chunks, end = std::min(rows, (chunk + 1) * step);
    double* total = result.at(r, group, chunk);
    std::fill_n(total, size, 0.);
    float* strip = scratch(kStripSlot, sums * width);
    for (int64_t begin = chunk * step; begin < end; begin += block) {
      std::fill_n(strip, sums * width, 0.f);
      add(r, group, begin, std::min(end, begin + block), strip);
      for (int64_t s = 0; s < sums; ++s)
        for (int64_t i = 0; i < width; i += cols)
          for (int64_t j = 0; j < cols; ++j) total[s * cols + j] += strip[s * width + i + j];
    }
  };
  const auto combine = [=](int64_t r, int64_t) {
    for (int64_t group = 0; group < groups; ++group)
      for (int64_t chunk = 1; chunk < chunks; ++chunk)
        for (int64_t i = 0; i < size; ++i) result.at(r, group)[i] += result.at(r, group, chunk)[i];
  };
  if (split) {
    stream.add({shape.replicas, groups * chunks, false, sum_chunk});
    if (chunks > 1) stream.add({shape.replicas, 1, false, combine});
  } else {
    stream.add({shape.replicas, 1, false, [=](int64_t r, int64_t) {
                  for (int64_t piece = 0; piece < groups * chunks; ++piece) sum_chunk(r, piece);
                  combine(r, 0);
                }});
  }
  return result;
}

}  // namespace agon::cpu
