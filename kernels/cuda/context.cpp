// Stream, library handles and work space of one GPU.
#include "kernels/cuda/context.h"

#include "kernels/error.h"

namespace agon::cuda {
namespace {

constexpr size_t kBlasSpace = size_t{32} << 20;  // what NVIDIA recommends for Hopper; captured graphs know its address

std::string choices_key(int index) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, index), "asking for its properties");
  return fmt::format("{} cudnn {}", properties.name, cudnnGetVersion());
}

}  // namespace

Context::Context(int index, const std::string& name) : memory_(name), choices_(choices_key(index)) {
  check(cudaSetDevice(index), "opening it");
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, index), "asking for its properties");
  processors_ = properties.multiProcessorCount;
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "opening a stream");
  check(cublasCreate(&blas_), "opening cuBLAS");
  check(cublasSetStream(blas_, stream_), "opening cuBLAS");
  blas_space_ = memory_.take(kBlasSpace);
  check(cublasSetWorkspace(blas_, blas_space_, kBlasSpace), "opening cuBLAS");
  void* shared = nullptr;
  check(cudaHostAlloc(&shared, sizeof(Complaint), cudaHostAllocMapped), "opening it");
  complaint_ = static_cast<Complaint*>(shared);
  *complaint_ = {};
}

Context::~Context() {
  if (dnn_) (void)cudnnDestroy(dnn_);
  if (blas_) (void)cublasDestroy(blas_);
  if (stream_) (void)cudaStreamDestroy(stream_);
  if (complaint_) (void)cudaFreeHost(complaint_);
}

cudnnHandle_t Context::dnn() {
  if (!dnn_) {
    check(cudnnCreate(&dnn_), "opening cuDNN");
    check(cudnnSetStream(dnn_, stream_), "opening cuDNN");
  }
  return dnn_;
}

void* Context::scratch(size_t bytes) {
  if (bytes > scratch_bytes_) {
    if (capturing) fail(Fault::kRun, "work space of {} bytes was asked for during a capture; please report it", bytes);
    if (scratch_) memory_.give(scratch_);
    scratch_ = nullptr, scratch_bytes_ = 0;
    scratch_ = memory_.take(bytes);
    scratch_bytes_ = bytes;
    ++generation_;
  }
  return scratch_;
}

unsigned* Context::tickets(int64_t count) {
  if (count > ticket_count_) {
    if (capturing) fail(Fault::kRun, "{} counters were asked for during a capture; please report it", count);
    if (tickets_) memory_.give(tickets_);
    tickets_ = nullptr, ticket_count_ = 0;
    const size_t bytes = static_cast<size_t>(count) * sizeof(unsigned);
    tickets_ = static_cast<unsigned*>(memory_.take(bytes));
    check(cudaMemsetAsync(tickets_, 0, bytes, stream_), "clearing memory");
    ticket_count_ = count;
    ++generation_;
  }
  return tickets_;
}

}  // namespace agon::cuda
