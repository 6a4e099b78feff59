// Filling, adding, copying, counting.
#include "kernels/cuda/elements.cuh"

namespace agon::cuda {
namespace {

struct Fill : NothingAfter {
  ops::Fill op;
  struct Replica {
    float *y, value;
    template <int kWidth>
    AGON_DEVICE_INLINE void run(int64_t i) const {
      Pack<kWidth> p;
      for (int lane = 0; lane < kWidth; ++lane) p[lane] = value;
      p.store(y + i);
    }
  };
  AGON_DEVICE_INLINE Replica replica(int64_t r) const { return {op.y.at(r), op.value}; }
  AGON_DEVICE_INLINE const float* anchor(int64_t r) const { return op.y.at(r); }
};

struct Axpby : NothingAfter {
  ops::Axpby op;
  struct Replica {
    const float* x;
    float *y, a, b;
    template <int kWidth>
    AGON_DEVICE_INLINE void run(int64_t i) const {
      const Pack<kWidth> px = Pack<kWidth>::load(x + i);
      Pack<kWidth> py;
      if (a == 0.f) {  // whatever y holds, even NaN, is replaced
        for (int lane = 0; lane < kWidth; ++lane) py[lane] = b * px[lane];
      } else {
        py = Pack<kWidth>::load(y + i);
        for (int lane = 0; lane < kWidth; ++lane) py[lane] = std::fma(a, py[lane], b * px[lane]);
      }
      py.store(y + i);
    }
  };
  AGON_DEVICE_INLINE Replica replica(int64_t r) const { return {op.x.at(r), op.y.at(r), op.a, op.b}; }
  AGON_DEVICE_INLINE const float* anchor(int64_t r) const { return op.y.at(r); }
};

/// Words of any meaning: copied without arithmetic.
struct CopyWords : NothingAfter {
  float* to;
  const float* from;
  template <int kWidth>
  AGON_DEVICE_INLINE void run(int64_t i) const {
    Pack<kWidth>::load(from + i).store(to + i);
  }
  AGON_DEVICE_INLINE CopyWords replica(int64_t) const { return *this; }
  AGON_DEVICE_INLINE const float* anchor(int64_t) const { return to; }
};

struct CopyBytes {
  unsigned char* to;
  const unsigned char* from;
  AGON_DEVICE_INLINE void operator()(int64_t, uint32_t i) const { to[i] = from[i]; }
};

__global__ void advance(uint64_t* counter) { ++*counter; }

}  // namespace

void launch(Context& context, const ops::Fill& op) {
  start_each_element(context, op.replicas, op.count, {op.y}, Fill{{}, op});
}

void launch(Context& context, const ops::Axpby& op) {
  start_each_element(context, op.replicas, op.count, {op.x, op.y}, Axpby{{}, op});
}

void launch(Context& context, const ops::Advance& op) { start(context, advance, dim3(1), dim3(1), op.counter); }

void launch_copy(Context& context, void* to, const void* from, size_t bytes) {
  const auto words = [](const void* address) { return reinterpret_cast<uintptr_t>(address) % 4 == 0; };
  if (bytes % 4 == 0 && words(to) && words(from)) {
    const CopyWords body{{}, static_cast<float*>(to), static_cast<const float*>(from)};
    start_each_element(context, 1, static_cast<int64_t>(bytes / 4), {Floats{body.to, 0}, ConstFloats{body.from, 0}},
                       body);
  } else {
    start_each_index(context, 1, static_cast<int64_t>(bytes),
                     CopyBytes{static_cast<unsigned char*>(to), static_cast<const unsigned char*>(from)});
  }
}

}  // namespace agon::cuda
