#pragma once

#include <cstdint>
#include <string>

#include "kernels/cuda/check.h"
#include "kernels/cuda/choices.h"
#include "kernels/cuda/complaint.h"
#include "kernels/cuda/dnn.h"
#include "kernels/cuda/memory.h"
#include "kernels/cuda/mixing_plan.h"
#include "kernels/ops.h"

namespace agon::cuda {

/// What launchers of operations work with: the stream, the libraries, work space.
class Context {
 public:
  explicit Context(int index, const std::string& name);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  int processors() const { return processors_; }  ///< streaming multiprocessors
  cudaStream_t stream() const { return stream_; }
  cublasHandle_t blas() const { return blas_; }
  cudnnHandle_t dnn();  ///< made when first asked for: it takes half a second
  Memory& memory() { return memory_; }
  const Memory& memory() const { return memory_; }
  Choices& choices() { return choices_; }
  DnnPlans& dnn_plans() { return dnn_plans_; }

  /// Work space until the next operation, 256-byte aligned, not zeroed. Must not grow while a graph is captured; it
  /// does not, because every operation has run by itself before.
  void* scratch(size_t bytes);
  template <class T>
  T* scratch_of(int64_t count) {
    return static_cast<T*>(scratch(static_cast<size_t>(count) * sizeof(T)));
  }
  size_t scratch_bytes() const { return scratch_bytes_; }
  /// Counters that are 0 between operations: kernels that use them leave them so.
  unsigned* tickets(int64_t count);
  Complaint* complaint() const { return complaint_; }
  /// Changes when work space moved: graphs that were captured before know wrong addresses.
  int generation() const { return generation_ + memory_.trims(); }

  bool capturing = false;
  DeviceMixing mixing;  ///< of the operation that is being launched, if it has a matrix

 private:
  Memory memory_;
  Choices choices_;
  DnnPlans dnn_plans_;
  cudaStream_t stream_ = nullptr;
  cublasHandle_t blas_ = nullptr;
  cudnnHandle_t dnn_ = nullptr;
  void* blas_space_ = nullptr;
  void* scratch_ = nullptr;
  size_t scratch_bytes_ = 0;
  unsigned* tickets_ = nullptr;
  int64_t ticket_count_ = 0;
  Complaint* complaint_ = nullptr;
  int processors_ = 0, generation_ = 0;
};

/// Queues an operation. One definition for each operation, in the file of its family.
#define AGON_DECLARE(Operation) void launch(Context& context, const ops::Operation& operation);
AGON_OPERATIONS(AGON_DECLARE)
#undef AGON_DECLARE

/// to[0 .. bytes-1] = from[0 .. bytes-1], by a kernel: a graph of kernels alone does not ask what an address belongs
/// to.
void launch_copy(Context& context, void* to, const void* from, size_t bytes);

}  // namespace agon::cuda
