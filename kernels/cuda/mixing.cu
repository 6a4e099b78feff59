// The mixing primitive: models move between workers as out = M in, M a sparse matrix over the workers.
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/mixing_plan.h"

namespace agon::cuda {
namespace {

/// The sum over the terms [first, last) of elements i .. i + kWidth - 1, in their order.
template <int kWidth>
AGON_DEVICE_INLINE Pack<kWidth> sum_of(const DeviceMixing& m, const ConstFloats& in, int64_t first, int64_t last,
                                       int64_t i) {
  Pack<kWidth> sum{};
  for (int64_t term = first; term < last; ++term) {
    const Pack<kWidth> from = Pack<kWidth>::load(in.at(m.column[term]) + i);
    const float weight = m.weight[term];
    for (int lane = 0; lane < kWidth; ++lane)
      sum[lane] =
          term == first ? (weight == 1.f ? from[lane] : weight * from[lane]) : std::fma(weight, from[lane], sum[lane]);
  }
  return sum;
}

/// Row n of those that change, of memory that no row reads: `to` holds them by their place in the matrix, or in the
/// list.
struct FormApart : NothingAfter {
  DeviceMixing m;
  ConstFloats in;
  Floats out;
  bool listed;  // `out` holds only the rows of the list

  struct Row {
    DeviceMixing m;
    ConstFloats in;
    float* to;
    int64_t first, last;
    template <int kWidth>
    AGON_DEVICE_INLINE void run(int64_t i) const {
      sum_of<kWidth>(m, in, first, last, i).store(to + i);
    }
  };
  AGON_DEVICE_INLINE float* to(int64_t n) const { return out.at(listed ? n : m.target[n]); }
  AGON_DEVICE_INLINE Row replica(int64_t n) const { return {m, in, to(n), m.begin[n], m.begin[n + 1]}; }
  AGON_DEVICE_INLINE const float* anchor(int64_t n) const { return to(n); }
};

struct CopyBack : NothingAfter {
  DeviceMixing m;
  Floats from, out;
  struct Row {
    const float* from;
    float* to;
    template <int kWidth>
    AGON_DEVICE_INLINE void run(int64_t i) const {
      Pack<kWidth>::load(from + i).store(to + i);
    }
  };
  AGON_DEVICE_INLINE Row replica(int64_t n) const { return {from.at(n), out.at(m.target[n])}; }
  AGON_DEVICE_INLINE const float* anchor(int64_t n) const { return from.at(n); }
};

/// One sum for all rows that change.
struct Share : NothingAfter {
  DeviceMixing m;
  Floats x;
  template <int kWidth>
  AGON_DEVICE_INLINE void run(int64_t i) const {
    const Pack<kWidth> sum = sum_of<kWidth>(m, x, 0, m.terms, i);
    for (int64_t n = 0; n < m.targets; ++n) sum.store(x.at(m.target[n]) + i);
  }
  AGON_DEVICE_INLINE Share replica(int64_t) const { return *this; }
  AGON_DEVICE_INLINE const float* anchor(int64_t) const { return x.data; }
};

/// A cycle of a permutation: the first row is set aside, then each takes its successor's.
struct Rotate : NothingAfter {
  DeviceMixing m;
  Floats x;
  struct Cycle {
    DeviceMixing m;
    Floats x;
    int64_t first, last;
    template <int kWidth>
    AGON_DEVICE_INLINE void run(int64_t i) const {
      using P = Pack<kWidth>;
      constexpr int kAhead = 8;  // loads under way at a time: a store might change what a later load reads
      const P aside = P::load(x.at(m.column[first]) + i);
      for (int64_t t = first; t + 1 < last; t += kAhead) {
        P next[kAhead];
        for (int a = 0; a < kAhead; ++a)
          if (t + 1 + a < last) next[a] = P::load(x.at(m.column[t + 1 + a]) + i);
        for (int a = 0; a < kAhead; ++a)
          if (t + 1 + a < last) next[a].store(x.at(m.column[t + a]) + i);
      }
      aside.store(x.at(m.column[last - 1]) + i);
    }
  };
  AGON_DEVICE_INLINE Cycle replica(int64_t c) const { return {m, x, m.begin[c], m.begin[c + 1]}; }
  AGON_DEVICE_INLINE const float* anchor(int64_t) const { return x.data; }
};

template <class Body>
void start_rows(Context& context, int64_t rows, int64_t count, const ConstFloats& in, const ConstFloats& out,
                const Body& body) {
  // Rows read each other, so packs need strides that are whole packs.
  const bool packed = in.stride % 4 == 0 && out.stride % 4 == 0 && packs_match({in, out});
  start_each_element(context, rows, count, packed, body);
}

void mix(Context& context, int64_t count, const ConstFloats& in, const Floats& out) {
  const DeviceMixing& m = context.mixing;
  switch (m.route) {
    case Route::kNothing:
      return;
    case Route::kApart:
      return start_rows(context, m.rows, count, in, out, FormApart{{}, m, in, out, false});
    case Route::kShare:
      return start_rows(context, 1, count, out, out, Share{{}, m, out});
    case Route::kRotate:
      return start_rows(context, m.rows, count, out, out, Rotate{{}, m, out});
    case Route::kThroughCopy: {
      const int64_t stride = ceil_div(count, 4) * 4;
      const Floats formed{context.scratch_of<float>(m.rows * stride), stride};
      start_rows(context, m.rows, count, in, formed, FormApart{{}, m, in, formed, true});
      return start_rows(context, m.rows, count, formed, out, CopyBack{{}, m, formed, out});
    }
  }
}

}  // namespace

void launch(Context& context, const ops::Mix& op) { mix(context, op.count, op.in, op.out); }

/// Whole numbers pass through the same kernels as the words they are: every row has one term of weight 1.
void launch(Context& context, const ops::Select& op) {
  mix(context, op.count, {reinterpret_cast<const float*>(op.in.data), op.in.stride},
      {reinterpret_cast<float*>(op.out.data), op.out.stride});
}

}  // namespace agon::cuda
