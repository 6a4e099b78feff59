// Optimisers: one pass over a fleet's weights, gradients and moments.
#include <cmath>

#include "kernels/cpu/operations.h"
#include "kernels/formulas.h"

namespace agon::cpu {
namespace {

/// The pieces of a step run side by side, so each reads the step count and only the task after them moves it on.
template <class Op>
void count_step(Stream& stream, const Op& op) {
  if (!op.steps) return;
  stream.add({op.replicas, 1, false, [steps = op.steps](int64_t r, int64_t) { ++*steps.at(r); }});
}

}  // namespace

void enqueue(Stream& stream, const ops::Adam& op) {
  each_element(stream, op.replicas, op.count, op.split, [op](int64_t r, int64_t begin, int64_t end) {
    const double t = *op.steps.at(r) + 1;
    formulas::AdamStep step{op.beta1, op.beta2, op.epsilon, op.grad_scale};
    step.rate = static_cast<float>(*op.learning_rate.at(r) / (1 - std::pow(static_cast<double>(op.beta1), t)));
    step.correction = static_cast<float>(1 / std::sqrt(1 - std::pow(static_cast<double>(op.beta2), t)));
    float* __restrict w = op.w.at(r), * __restrict m = op.m.at(r), * __restrict v = op.v.at(r);
    const float* __restrict g = op.g.at(r);
    for (int64_t i = begin; i < end; ++i) step(w[i], g[i], m[i], v[i]);
  });
  count_step(stream, op);
}

void enqueue(Stream& stream, const ops::Sgd& op) {
  each_element(stream, op.replicas, op.count, op.split, [op](int64_t r, int64_t begin, int64_t end) {
    const formulas::SgdStep step{*op.learning_rate.at(r), op.momentum, op.grad_scale};
    float* __restrict w = op.w.at(r);
    const float* __restrict g = op.g.at(r);
    if (op.m) {
      float* __restrict m = op.m.at(r);
      for (int64_t i = begin; i < end; ++i) step(w[i], g[i], m[i]);
    } else {  // without momentum nothing is kept
      for (int64_t i = begin; i < end; ++i) {
        float m = 0.f;
        step(w[i], g[i], m);
      }
    }
  });
  count_step(stream, op);
}

void enqueue(Stream& stream, const ops::RmsProp& op) {
  each_element(stream, op.replicas, op.count, op.split, [op](int64_t r, int64_t begin, int64_t end) {
    const formulas::RmsPropStep step{*op.learning_rate.at(r), op.alpha, op.epsilon, op.grad_scale};
    float* __restrict w = op.w.at(r), * __restrict v = op.v.at(r);
    const float* __restrict g = op.g.at(r);
    for (int64_t i = begin; i < end; ++i) step(w[i], g[i], v[i]);
  });
  count_step(stream, op);
}

void enqueue(Stream& stream, const ops::Clip& op) {
  each_element(stream, op.replicas, op.count, op.split, [op](int64_t r, int64_t begin, int64_t end) {
    float* w = op.w.at(r);
    for (int64_t i = begin; i < end; ++i) w[i] = formulas::smaller(formulas::larger(w[i], -op.bound), op.bound);
  });
}

}  // namespace agon::cpu
