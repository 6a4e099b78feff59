// A GPU as a device, and the plug-in's entry.
#include <fmt/format.h>

#include <mutex>
#include <utility>

#include "kernels/cuda/graphs.h"
#include "kernels/inputs.h"
#include "kernels/plugin.h"

namespace agon::cuda {
namespace {

std::string description_of(int index) {
  cudaDeviceProp properties{};
  int runtime = 0;
  check(cudaGetDeviceProperties(&properties, index), "asking for its properties");
  check(cudaRuntimeGetVersion(&runtime), "asking for its version");
  return fmt::format("{}, {:.0f} GiB, compute capability {}.{}, CUDA {}.{}", properties.name,
                     static_cast<double>(properties.totalGlobalMem) / (1 << 30), properties.major, properties.minor,
                     runtime / 1000, runtime / 10 % 100);
}

/// Operations are collected until somebody waits or flushes, and then run as one list: see Graphs.
class CudaDevice final : public Device {
 public:
  explicit CudaDevice(int index)
      : index_(index), name_(fmt::format("{}:{}", AGON_CUDA_KIND, index)), context_(index, name_), graphs_(context_) {}

  ~CudaDevice() override { (void)cudaSetDevice(index_); }  // where its memory and streams are given back

  std::string name() const override { return name_; }
  std::string description() const override { return description_of(index_); }
  int threads() const override { return 1; }

  void* allocate(size_t bytes) override {
    flush();
    void* memory = context_.memory().take(bytes);
    check(cudaMemsetAsync(memory, 0, bytes, context_.stream()), "clearing memory");
    return memory;
  }
  void release(void* memory) noexcept override {
    try {
      flush();       // queued operations may still use it
    } catch (...) {  // a lost device says so where a result is asked for
    }
    context_.memory().give(memory);
  }

  void upload(void* to, const void* from_host, size_t bytes) override {
    flush();
    if (bytes == 0) return;
    // Ordinary memory is staged before the call returns, so the host may change it at once.
    check(cudaMemcpyAsync(to, from_host, bytes, cudaMemcpyHostToDevice, context_.stream()), "sending data to it");
  }
  void download(void* to_host, const void* from, size_t bytes) override {
    flush();
    if (bytes > 0)
      check(cudaMemcpyAsync(to_host, from, bytes, cudaMemcpyDeviceToHost, context_.stream()), "reading a result");
    wait();
  }
  void copy(void* to, const void* from, size_t bytes) override {
    if (bytes > 0) queue_.emplace_back(Copy{to, from, bytes});
  }

  void flush() override {
    check(cudaSetDevice(index_), "opening it");  // the calling thread may be another one, or have opened another GPU
    if (queue_.empty()) return;
    graphs_.run(std::exchange(queue_, {}));
  }
  void synchronize() override {
    flush();
    wait();
  }
  size_t workspace_bytes() const override { return context_.scratch_bytes(); }
  size_t memory_bytes() const override { return context_.memory().held(); }
  NativeQueue queue() const { return {index_, context_.stream()}; }

#define AGON_DEFINE(Name) \
  void run(const ops::Name& operation) override { add(operation); }
  AGON_OPERATIONS(AGON_DEFINE)
#undef AGON_DEFINE

 private:
  template <class Op>
  void add(Op op) {
    if constexpr (requires { op.key; }) check_key(op.key);
    queue_.emplace_back(std::move(op));
  }

  void wait() {
    check(cudaStreamSynchronize(context_.stream()), "waiting for it");
    if (context_.complaint()->kind == Complaint::kNone) return;
    const Complaint complaint = std::exchange(*context_.complaint(), Complaint{});
    switch (complaint.kind) {
      case Complaint::kHeadLabel:
        fail_label("class head", complaint.value, complaint.limit);
      case Complaint::kEmbeddingLabel:
        fail_label("embedding", complaint.value, complaint.limit);
      default:
        fail_empty_shard(complaint.value);
    }
  }

  int index_;
  std::string name_;
  Context context_;
  Graphs graphs_;
  std::vector<Operation> queue_;
};

int count(std::string& reason) {
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error == cudaSuccess && devices > 0) return devices;
  int driver = 0, runtime = 0;
  (void)cudaDriverGetVersion(&driver);
  (void)cudaRuntimeGetVersion(&runtime);
  (void)cudaGetLastError();
  if (error == cudaErrorInsufficientDriver && driver == 0)
    reason = "this machine has no NVIDIA driver";
  else if (error == cudaErrorInsufficientDriver)
    reason = fmt::format("the NVIDIA driver is for CUDA {}.{}, older than the {}.{} that agon was built with",
                         driver / 1000, driver / 10 % 100, runtime / 1000, runtime / 10 % 100);
  else if (error == cudaSuccess || error == cudaErrorNoDevice)
    reason = "there is no NVIDIA GPU in this machine, or none that this process may see";
  else
    reason = fmt::format("the NVIDIA driver says: {}", cudaGetErrorString(error));
  return 0;
}

std::shared_ptr<Device> open(int index) {
  check(cudaSetDevice(index), "opening it");
  return std::make_shared<CudaDevice>(index);
}

std::string libraries() {
  int runtime = 0;
  (void)cudaRuntimeGetVersion(&runtime);
  const size_t dnn = cudnnGetVersion();  // 9.1.2 is 90102
  return fmt::format("CUDA {}.{}, cuDNN {}.{}.{}", runtime / 1000, runtime / 10 % 100, dnn / 10000, dnn / 100 % 100,
                     dnn % 100);
}

NativeQueue queue(Device& device) { return static_cast<CudaDevice&>(device).queue(); }

}  // namespace
}  // namespace agon::cuda

extern "C" __attribute__((visibility("default"))) const void* agon_device_plugin() {
  static const agon::DevicePlugin plugin{AGON_PLUGIN_ABI,  agon::cuda::count, agon::cuda::description_of,
                                         agon::cuda::open, agon::cuda::queue, agon::cuda::libraries};
  return &plugin;
}
