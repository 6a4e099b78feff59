#pragma once

// How kernels are started, and the arithmetic of indices.

#include "kernels/cuda/context.h"

namespace agon::cuda {

constexpr unsigned kThreads = 256;    // of a block, where nothing speaks for another number
constexpr int64_t kMostRows = 65535;  // of a grid, in y and z: kernels loop over replicas beyond that

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline unsigned grid_rows(int64_t rows) { return static_cast<unsigned>(rows < kMostRows ? rows : kMostRows); }

template <class... Parameters, class... Arguments>
void start(Context& context, void (*kernel)(Parameters...), dim3 grid, dim3 block, const Arguments&... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.stream = context.stream();
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), "starting a kernel");
}

/// Division by a number that all threads share, as a multiplication and a shift (Granlund & Montgomery 1994), for
/// dividends below 2^31.
class Divisor {
 public:
  explicit Divisor(int64_t divisor) : divisor_(static_cast<uint32_t>(divisor)) {
    while ((uint64_t{1} << shift_) < divisor_) ++shift_;
    factor_ = static_cast<uint32_t>(((uint64_t{1} << 32) * ((uint64_t{1} << shift_) - divisor_)) / divisor_ + 1);
  }
  AGON_DEVICE_INLINE uint32_t quotient(uint32_t n) const {
    return (static_cast<uint32_t>(static_cast<uint64_t>(n) * factor_ >> 32) + n) >> shift_;
  }
  AGON_DEVICE_INLINE uint32_t remainder(uint32_t n) const { return n - quotient(n) * divisor_; }
  /// n becomes the quotient; returns the remainder: takes the fastest index off a flat one.
  AGON_DEVICE_INLINE uint32_t take(uint32_t& n) const {
    const uint32_t q = quotient(n), r = n - q * divisor_;
    n = q;
    return r;
  }
  AGON_DEVICE_INLINE uint32_t value() const { return divisor_; }

 private:
  uint32_t divisor_, factor_, shift_ = 0;
};

/// The index of this thread among those of the grid's x direction.
#define AGON_THREAD_X (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x)

/// Calls body(replica, index) for `count` indices of every replica, one thread for each index.
template <class Body>
__global__ void __launch_bounds__(kThreads) each_index(int64_t replicas, int64_t count, Body body) {
  const int64_t i = AGON_THREAD_X;
  if (i >= count) return;
  for (int64_t r = blockIdx.y; r < replicas; r += gridDim.y) body(r, static_cast<uint32_t>(i));
}

template <class Body>
void start_each_index(Context& context, int64_t replicas, int64_t count, const Body& body) {
  if (replicas == 0 || count == 0) return;
  check_count(count);
  start(context, each_index<Body>, dim3(static_cast<unsigned>(ceil_div(count, kThreads)), grid_rows(replicas)),
        dim3(kThreads), replicas, count, body);
}

}  // namespace agon::cuda
