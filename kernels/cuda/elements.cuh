#pragma once

// Loops over all elements of every replica, four at a time where the operands' addresses allow it.

#include <cmath>
#include <initializer_list>

#include "kernels/cuda/launch.cuh"

namespace agon::cuda {

/// kWidth neighbouring floats: one 16-byte access when there are four.
template <int kWidth>
struct Pack {
  float value[kWidth];

  static AGON_DEVICE_INLINE Pack load(const float* from) {
    if constexpr (kWidth == 4) {
      const float4 v = *reinterpret_cast<const float4*>(from);
      return {{v.x, v.y, v.z, v.w}};
    } else {
      return {{*from}};
    }
  }
  AGON_DEVICE_INLINE void store(float* to) const {
    if constexpr (kWidth == 4)
      *reinterpret_cast<float4*>(to) = float4{value[0], value[1], value[2], value[3]};
    else
      *to = value[0];
  }
  AGON_DEVICE_INLINE float& operator[](int i) { return value[i]; }
  AGON_DEVICE_INLINE float operator[](int i) const { return value[i]; }
};

/// An operand that is accessed in packs.
struct Packed {
  const float* data;
  int64_t stride;
  template <class T>
  Packed(const Block<T>& block) : data(block.data), stride(block.stride) {}
};

/// True if all operands lie alike relative to 16 bytes, in every replica, so that packs of one are packs of all. (An
/// arena's replicas are P apart, which is seldom a multiple of four: then packs start after up to three elements.)
inline bool packs_match(std::initializer_list<Packed> operands) {
  const auto place = [](const Packed& p) { return reinterpret_cast<uintptr_t>(p.data) % 16; };
  const Packed& first = *operands.begin();
  for (const Packed& p : operands)
    if (place(p) != place(first) || (p.stride - first.stride) % 4 != 0) return false;
  return true;
}

/// Calls replica.run<kWidth>(i) for the elements of each replica, with replica = body.replica(r). body.anchor(r) is the
/// address of element 0 of any packed operand. `after` is called by every thread when it has done its share.
template <bool kPacked, class Body>
__global__ void __launch_bounds__(kThreads) each_element(int64_t replicas, int64_t count, Body body) {
  for (int64_t r = blockIdx.y; r < replicas; r += gridDim.y) {
    const auto replica = body.replica(r);
    const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
    if constexpr (kPacked) {
      const int64_t misplaced = static_cast<int64_t>(reinterpret_cast<uintptr_t>(body.anchor(r)) / 4 % 4);
      int64_t head = (4 - misplaced) % 4;
      if (head > count) head = count;
      const int64_t packs = (count - head) / 4, tail = head + packs * 4;
      for (int64_t p = AGON_THREAD_X; p < packs; p += step) replica.template run<4>(head + 4 * p);
      // What is left over at both ends, at most six elements.
      const int64_t i = AGON_THREAD_X;
      if (i < head) replica.template run<1>(i);
      if (i < count - tail) replica.template run<1>(tail + i);
    } else {
      for (int64_t i = AGON_THREAD_X; i < count; i += step) replica.template run<1>(i);
    }
    body.after(r);
  }
}

/// Packs per thread, so that what a block prepares for its replica is worth it.
constexpr int64_t kPacksPerThread = 4;

/// Blocks in x that each_element is started with.
inline unsigned element_blocks(int64_t count) {
  return static_cast<unsigned>(ceil_div(count, kThreads * kPacksPerThread * 4));
}

template <class Body>
void start_each_element(Context& context, int64_t replicas, int64_t count, bool packed, const Body& body) {
  if (replicas == 0 || count == 0) return;
  const dim3 grid(element_blocks(count), grid_rows(replicas));
  const auto kernel = packed ? each_element<true, Body> : each_element<false, Body>;
  start(context, kernel, grid, dim3(kThreads), replicas, count, body);
}

template <class Body>
void start_each_element(Context& context, int64_t replicas, int64_t count, std::initializer_list<Packed> operands,
                        const Body& body) {
  start_each_element(context, replicas, count, packs_match(operands), body);
}

/// What bodies without an epilogue inherit.
struct NothingAfter {
  AGON_DEVICE_INLINE void after(int64_t) const {}
};

}  // namespace agon::cuda
