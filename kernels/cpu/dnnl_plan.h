#pragma once

#include <dnnl.hpp>
#include <map>
#include <memory>
#include <mutex>

#include "kernels/cpu/stream.h"

namespace agon::cpu {

/// Scratch slots of the matrix operations; a piece uses several at once.
enum MatrixScratch { kScratchA, kScratchB, kScratchC, kScratchD, kScratchE, kScratchF, kScratchPad };

inline const dnnl::engine& dnnl_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

/// oneDNN wants a stream to execute in; on the CPU it is an empty shell, one for each thread.
inline dnnl::stream& dnnl_stream() {
  thread_local dnnl::stream stream(dnnl_engine());
  return stream;
}

inline dnnl::memory dnnl_memory(const dnnl::memory::desc& desc, const void* data) {
  return dnnl::memory(desc, dnnl_engine(), const_cast<void*>(data));
}

/// The calling thread's scratchpad for a primitive.
inline dnnl::memory dnnl_scratchpad(const dnnl::memory::desc& desc) {
  return dnnl_memory(desc, scratch(kScratchPad, static_cast<int64_t>(desc.get_size() / sizeof(float)) + 1));
}

/// Plans made once for each shape and shared by all threads. Making one takes milliseconds.
template <class Shape, class Plan>
class PlanCache {
 public:
  template <class Make>
  std::shared_ptr<const Plan> get(const Shape& shape, Make make) {
    std::lock_guard lock(mutex_);
    const auto found = plans_.find(shape);
    if (found != plans_.end()) return found->second;
    return plans_.emplace(shape, make(shape)).first->second;
  }

 private:
  std::mutex mutex_;
  std::map<Shape, std::shared_ptr<const Plan>> plans_;
};

}  // namespace agon::cpu
