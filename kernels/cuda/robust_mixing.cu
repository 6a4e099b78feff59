// Robust counterparts of the mixing primitive: what many participants say, when some of them lie.
#include <cmath>

#include "kernels/cuda/launch.cuh"

namespace agon::cuda {
namespace {

using Rule = ops::RobustMix::Rule;

/// Where value a stands before value b, of equal ones the earlier; NaN counts as the largest.
template <class T>
__device__ bool before(T a, int64_t at_a, T b, int64_t at_b) {
  const bool less = std::isnan(b) ? !std::isnan(a) : a < b;
  const bool greater = std::isnan(a) ? !std::isnan(b) : b < a;
  return less || (!greater && at_a < at_b);
}

/// A row's weight: the sum of its terms'.
__device__ float weight_of(const DeviceMixing& m, int64_t row) {
  double weight = 0;
  for (int32_t e = m.begin[row]; e < m.begin[row + 1]; ++e) weight += static_cast<double>(m.weight[e]);
  return static_cast<float>(weight);
}

/// The mean of an element's values without the smallest and the largest: each value counts those before it.
struct Middle {
  ops::RobustMix::Rule rule;
  ConstFloats in;
  Floats out;
  int64_t tolerate;
  DeviceMixing m;

  __device__ void operator()(int64_t row, uint32_t i) const {
    const int64_t first = m.begin[row], n = m.begin[row + 1] - first, most = (n - 1) / 2;
    const int64_t drop = rule == Rule::kMedian || tolerate > most ? most : tolerate;
    const auto said = [&](int64_t e) { return in.at(m.column[first + e])[i]; };
    double sum = 0;
    for (int64_t e = 0; e < n; ++e) {
      int64_t place = 0;
      for (int64_t other = 0; other < n; ++other) place += before(said(other), other, said(e), e) ? 1 : 0;
      if (place >= drop && place < n - drop) sum += static_cast<double>(said(e));
    }
    out.at(m.target[row])[i] = weight_of(m, row) * static_cast<float>(sum / static_cast<double>(n - 2 * drop));
  }
};

__device__ int64_t row_of(const DeviceMixing& m, int64_t term) {
  int64_t row = 0;
  while (m.begin[row + 1] <= term) ++row;
  return row;
}

/// distances[e][f] = squared distance between what terms e and f of the same row say; a block takes an e.
__global__ void __launch_bounds__(kThreads) measure(DeviceMixing m, ConstFloats in, int64_t count, double* distances) {
  __shared__ double shared[kThreads];
  const int64_t e = blockIdx.x, row = row_of(m, e);
  const float* a = in.at(m.column[e]);
  for (int64_t f = m.begin[row]; f < m.begin[row + 1]; ++f) {
    const float* b = in.at(m.column[f]);
    double sum = 0;
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
      const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
      sum += difference * difference;
    }
    shared[threadIdx.x] = sum;
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
      __syncthreads();
      if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
    }
    __syncthreads();
    if (threadIdx.x == 0) distances[e * m.terms + f] = std::isnan(shared[0]) ? INFINITY : shared[0];
    __syncthreads();
  }
}

/// chosen[row] = the term whose nearest others are nearest, the first of equals; a thread takes a row.
struct Choose {
  DeviceMixing m;
  const double* distances;
  int64_t tolerate;
  int64_t* chosen;

  __device__ void operator()(int64_t, uint32_t row) const {
    const int64_t first = m.begin[row], last = m.begin[row + 1], others = last - first - 1;
    const int64_t wanted = others - tolerate - 1 < 1 ? 1 : others - tolerate - 1,
                  near = wanted < others ? wanted : others;
    double least = INFINITY;
    chosen[row] = first;
    for (int64_t e = first; e < last; ++e) {
      const double* from = distances + e * m.terms;
      double score = 0;
      for (int64_t f = first; f < last; ++f) {
        int64_t place = 0;
        for (int64_t g = first; g < last; ++g) place += g != e && before(from[g], g, from[f], f) ? 1 : 0;
        if (f != e && place < near) score += from[f];
      }
      if (score < least) least = score, chosen[row] = e;
    }
  }
};

struct Repeat {
  ConstFloats in;
  Floats out;
  DeviceMixing m;
  const int64_t* chosen;

  __device__ void operator()(int64_t row, uint32_t i) const {
    out.at(m.target[row])[i] = weight_of(m, row) * in.at(m.column[chosen[row]])[i];
  }
};

}  // namespace

void launch(Context& context, const ops::RobustMix& op) {
  const DeviceMixing& m = context.mixing;
  if (m.route == Route::kNothing) return;
  if (op.rule != Rule::kKrum)
    return start_each_index(context, m.rows, op.count, Middle{op.rule, op.in, op.out, op.tolerate, m});
  double* distances = context.scratch_of<double>(m.terms * m.terms + m.rows);
  auto* chosen = reinterpret_cast<int64_t*>(distances + m.terms * m.terms);
  start(context, measure, dim3(static_cast<unsigned>(m.terms)), dim3(kThreads), m, op.in, op.count, distances);
  start_each_index(context, 1, m.rows, Choose{m, distances, op.tolerate, chosen});
  start_each_index(context, m.rows, op.count, Repeat{op.in, op.out, m, chosen});
}

}  // namespace agon::cuda
