// What arrives when floats are sent in fewer bits.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/cpu/bfloat.h"
#include "kernels/cpu/operations.h"
#include "kernels/formulas.h"

namespace agon::cpu {
namespace {

using Codec = ops::Compress::Codec;

/// Nearest of the 255 values scale * -127 .. 127, with the largest magnitude at an end. Integers have one zero.
void round_to_int8(const float* from, float* to, int64_t count) {
  float largest = 0.f;
  for (int64_t i = 0; i < count; ++i) largest = formulas::larger(largest, formulas::absolute(from[i]));
  const float step = largest / 127.f;
  for (int64_t i = 0; i < count; ++i)
    to[i] = step > 0.f ? (std::nearbyint(from[i] / step) + 0.f) * step : 0.f * from[i] + 0.f;
}

/// The `keep` values of largest magnitude, of equal ones the first; 0 for the others.
void keep_largest(const float* from, float* to, int64_t count, int64_t keep) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  const auto magnitude = [&](int64_t i) {  // what is not a number is sent, and seen
    return std::isnan(from[i]) ? std::numeric_limits<float>::infinity() : formulas::absolute(from[i]);
  };
  const auto before = [&](int64_t a, int64_t b) {
    const float x = magnitude(a), y = magnitude(b);
    return x > y || (x == y && a < b);
  };
  keep = std::clamp<int64_t>(keep, 0, count);
  std::nth_element(order.begin(), order.begin() + keep, order.end(), before);
  std::fill(order.begin() + keep, order.end(), -1);
  std::vector<float> kept;
  for (int64_t i = 0; i < keep; ++i) kept.push_back(from[order[static_cast<size_t>(i)]]);
  std::fill_n(to, count, 0.f);
  for (int64_t i = 0; i < keep; ++i) to[order[static_cast<size_t>(i)]] = kept[static_cast<size_t>(i)];
}

void code(const ops::Compress& op, const float* from, float* to) {
  switch (op.codec) {
    case Codec::kBf16:
      round_to_bfloat16(from, to, op.cols);
      break;
    case Codec::kInt8:
      round_to_int8(from, to, op.cols);
      break;
    case Codec::kTopK:
      keep_largest(from, to, op.cols, op.keep);
      break;
  }
}

}  // namespace

void enqueue(Stream& stream, const ops::Compress& op) {
  stream.add({op.replicas, 1, false, [op](int64_t r, int64_t) {
                for (int64_t row = 0; row < op.rows; ++row) {
                  float* x = op.x.at(r) + row * op.cols;
                  if (!op.error) {
                    code(op, x, x);
                    continue;
                  }
                  float* error = op.error.at(r) + row * op.cols;
                  for (int64_t i = 0; i < op.cols; ++i) error[i] += x[i];  // what should have arrived by now
                  code(op, error, x);
                  for (int64_t i = 0; i < op.cols; ++i) error[i] -= x[i];
                }
              }});
}

}  // namespace agon::cpu
