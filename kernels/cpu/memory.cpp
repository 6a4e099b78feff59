// Filling, adding, counting.
#include <cmath>

#include "kernels/cpu/operations.h"

namespace agon::cpu {

void enqueue(Stream& stream, const ops::Fill& op) {
  stream.add({op.replicas, 1, false, [op](int64_t r, int64_t) { std::fill_n(op.y.at(r), op.count, op.value); }});
}

void enqueue(Stream& stream, const ops::Axpby& op) {
  each_element(stream, op.replicas, op.count, op.split, [op](int64_t r, int64_t begin, int64_t end) {
    const float *x = op.x.at(r), a = op.a, b = op.b;
    float* y = op.y.at(r);
    if (a == 0.f) {  // whatever y holds, even NaN, is replaced
      for (int64_t i = begin; i < end; ++i) y[i] = b * x[i];
    } else {
      for (int64_t i = begin; i < end; ++i) y[i] = std::fma(a, y[i], b * x[i]);
    }
  });
}

void enqueue(Stream& stream, const ops::Advance& op) {
  stream.add({1, 1, true, [op](int64_t, int64_t) { ++*op.counter; }});
}

}  // namespace agon::cpu
