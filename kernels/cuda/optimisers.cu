// Optimisers: one launch over a fleet's weights, gradients and moments.
#include "kernels/cuda/elements.cuh"
#include "kernels/formulas.h"

namespace agon::cuda {
namespace {

/// Moves a replica's step count on when the last block that read it has done its share. tickets [R] are left at 0.
struct CountStep {
  Block<int32_t> steps;
  unsigned* tickets;

  __device__ void operator()(int64_t r) const {
    if (!steps) return;
    __syncthreads();
    if (threadIdx.x != 0) return;
    __threadfence();
    if (atomicAdd(&tickets[r], 1u) + 1 < gridDim.x) return;
    tickets[r] = 0;
    ++*steps.at(r);
  }
};

struct Adam {
  ops::Adam op;
  CountStep count;

  struct Replica {
    formulas::AdamStep step;
    float *w, *m, *v;
    const float* g;
    template <int kWidth>
    AGON_DEVICE_INLINE void run(int64_t i) const {
      using P = Pack<kWidth>;
      P pw = P::load(w + i), pm = P::load(m + i), pv = P::load(v + i);
      const P pg = P::load(g + i);
      for (int lane = 0; lane < kWidth; ++lane) step(pw[lane], pg[lane], pm[lane], pv[lane]);
      pw.store(w + i), pm.store(m + i), pv.store(v + i);
    }
  };
  /// The two factors with powers of beta are the same for a replica: the first thread of a block works out one, the
  /// last, in another warp, the other.
  __device__ Replica replica(int64_t r) const {
    __shared__ float rate, correction;
    const double t = *op.steps.at(r) + 1;
    if (threadIdx.x == 0)
      rate = static_cast<float>(*op.learning_rate.at(r) / (1 - pow(static_cast<double>(op.beta1), t)));
    if (threadIdx.x == blockDim.x - 1)
      correction = static_cast<float>(1 / sqrt(1 - pow(static_cast<double>(op.beta2), t)));
    __syncthreads();
    const formulas::AdamStep step{op.beta1, op.beta2, op.epsilon, op.grad_scale, rate, correction};
    return {step, op.w.at(r), op.m.at(r), op.v.at(r), op.g.at(r)};
  }
  AGON_DEVICE_INLINE const float* anchor(int64_t r) const { return op.w.at(r); }
  __device__ void after(int64_t r) const { count(r); }
};

struct Sgd {
  ops::Sgd op;
  CountStep count;

  struct Replica {
    formulas::SgdStep step;
    float *w, *m;
    const float* g;
    template <int kWidth>
    AGON_DEVICE_INLINE void run(int64_t i) const {
      using P = Pack<kWidth>;
      P pw = P::load(w + i), pm{};  // without momentum nothing is kept
      const P pg = P::load(g + i);
      if (m) pm = P::load(m + i);
      for (int lane = 0; lane < kWidth; ++lane) step(pw[lane], pg[lane], pm[lane]);
      pw.store(w + i);
      if (m) pm.store(m + i);
    }
  };
  AGON_DEVICE_INLINE Replica replica(int64_t r) const {
    return {{*op.learning_rate.at(r), op.momentum, op.grad_scale}, op.w.at(r), op.m ? op.m.at(r) : nullptr, op.g.at(r)};
  }
  AGON_DEVICE_INLINE const float* anchor(int64_t r) const { return op.w.at(r); }
  __device__ void after(int64_t r) const { count(r); }
};

struct RmsProp {
  ops::RmsProp op;
  CountStep count;

  struct Replica {
    formulas::RmsPropStep step;
    float *w, *v;
    const float* g;
    template <int kWidth>
    AGON_DEVICE_INLINE void run(int64_t i) const {
      using P = Pack<kWidth>;
      P pw = P::load(w + i), pv = P::load(v + i);
      const P pg = P::load(g + i);
      for (int lane = 0; lane < kWidth; ++lane) step(pw[lane], pg[lane], pv[lane]);
      pw.store(w + i), pv.store(v + i);
    }
  };
  AGON_DEVICE_INLINE Replica replica(int64_t r) const {
    return {{*op.learning_rate.at(r), op.alpha, op.epsilon, op.grad_scale}, op.w.at(r), op.v.at(r), op.g.at(r)};
  }
  AGON_DEVICE_INLINE const float* anchor(int64_t r) const { return op.w.at(r); }
  __device__ void after(int64_t r) const { count(r); }
};

struct Clip : NothingAfter {
  ops::Clip op;

  struct Replica {
    float *w, bound;
    template <int kWidth>
    AGON_DEVICE_INLINE void run(int64_t i) const {
      Pack<kWidth> p = Pack<kWidth>::load(w + i);
      for (int lane = 0; lane < kWidth; ++lane) p[lane] = formulas::smaller(formulas::larger(p[lane], -bound), bound);
      p.store(w + i);
    }
  };
  AGON_DEVICE_INLINE Replica replica(int64_t r) const { return {op.w.at(r), op.bound}; }
  AGON_DEVICE_INLINE const float* anchor(int64_t r) const { return op.w.at(r); }
};

template <class Op>
CountStep count_step(Context& context, const Op& op) {
  return {op.steps, op.steps ? context.tickets(op.replicas) : nullptr};
}

}  // namespace

void launch(Context& context, const ops::Adam& op) {
  start_each_element(context, op.replicas, op.count, {op.w, op.g, op.m, op.v}, Adam{op, count_step(context, op)});
}

void launch(Context& context, const ops::Sgd& op) {
  const Floats moment = op.m ? op.m : op.w;
  start_each_element(context, op.replicas, op.count, {op.w, op.g, moment}, Sgd{op, count_step(context, op)});
}

void launch(Context& context, const ops::RmsProp& op) {
  start_each_element(context, op.replicas, op.count, {op.w, op.g, op.v}, RmsProp{op, count_step(context, op)});
}

void launch(Context& context, const ops::Clip& op) {
  start_each_element(context, op.replicas, op.count, {op.w}, Clip{{}, op});
}

}  // namespace agon::cuda
