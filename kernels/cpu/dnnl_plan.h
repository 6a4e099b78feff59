#pragma once

#include <dnnl.hpp>
#include <map>
#include <memory>
#include <mutex>

#include "kernels/cpu/conv_shape.h"
#include "kernels/cpu/stream.h"

namespace agon::cpu {

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

/// Describes a primitive. oneDNN 2 takes an operation descriptor first, oneDNN 3 everything in one step.
template <class Primitive, class... Arguments>
auto dnnl_describe(const dnnl::primitive_attr& attributes, const Arguments&... arguments) {
#if DNNL_VERSION_MAJOR < 3
  return typename Primitive::primitive_desc(typename Primitive::desc(arguments...), attributes, dnnl_engine());
#else
  return typename Primitive::primitive_desc(dnnl_engine(), arguments..., attributes);
#endif
}

/// The same for a backward pass, which oneDNN fits to the description of its forward pass.
template <class Primitive, class Forward, class... Arguments>
auto dnnl_describe_backward(const Forward& forward, const dnnl::primitive_attr& attributes,
                            const Arguments&... arguments) {
#if DNNL_VERSION_MAJOR < 3
  return typename Primitive::primitive_desc(typename Primitive::desc(arguments...), attributes, dnnl_engine(), forward);
#else
  return typename Primitive::primitive_desc(dnnl_engine(), arguments..., forward, attributes);
#endif
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
