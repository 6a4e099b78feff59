// What arrives when floats are sent in fewer bits.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/bfloat.h"
#include "kernels/cpu/operations.h"
#include "kernels/formulas.h"
#include "kernels/largest.h"

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

/// The `keep` values of largest magnitude; 0 for the others. May be in place.
void keep_largest(const float* from, float* to, int64_t count, int64_t keep) {
  const std::vector<int32_t> places = places_of_largest(from, count, keep);
  std::vector<float> kept;
  for (int32_t place : places) kept.push_back(from[place]);
  std::fill_n(to, count, 0.f);
  for (size_t i = 0; i < places.size(); ++i) to[places[i]] = kept[i];
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
