// The CPU as a device: memory, the queue, and one line for each operation.
#include "kernels/device.h"

#include <sched.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>

#include "kernels/cpu/amx.h"
#include "kernels/cpu/open.h"
#include "kernels/cpu/operations.h"
#include "kernels/cpu/stream.h"
#include "kernels/error.h"

namespace agon {
namespace {

/// Cores that this process may use, which in a container are fewer than the machine has.
int usable_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown processor";
}

std::string instruction_sets() {
  std::string sets;
#if defined(__x86_64__)
  const auto add = [&](const char* name, bool has) {
    if (has) sets += std::string(sets.empty() ? "" : " ") + name;
  };
  add("avx2", __builtin_cpu_supports("avx2"));
  add("avx512", __builtin_cpu_supports("avx512f"));
  add("avx512_bf16", __builtin_cpu_supports("avx512bf16"));
  add("amx_bf16", cpu::has_amx());
#endif
  return sets.empty() ? "baseline" : sets;
}

/// The operation as the CPU does it: there are no units for tf32, so that is computed in fp32.
template <class Op>
Op as_computed(Op op) {
  if constexpr (requires { op.precision; })
    if (op.precision == Precision::kTf32) op.precision = Precision::kFp32;
  return op;
}

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(int threads) : stream_(threads) {}
  ~CpuDevice() override { stream_.flush(); }

  std::string name() const override { return "cpu"; }
  std::string description() const override {
    return fmt::format("{} ({}), {} thread{}", processor_name(), instruction_sets(), threads(),
                       threads() == 1 ? "" : "s");
  }
  int threads() const override { return stream_.threads(); }

  void* allocate(size_t bytes) override {
    // Large blocks lie on huge pages where the system has them: weights are read in strides of whole rows.
    constexpr size_t kLine = 64, kHugePage = 2 << 20;
    const size_t page = bytes < kHugePage ? kLine : kHugePage, rounded = (bytes + page - 1) / page * page;
    void* memory = std::aligned_alloc(page, rounded);
    if (!memory)
      fail(Fault::kRun, "out of memory: {} bytes were needed; fewer workers or a smaller batch need less", bytes);
#ifdef MADV_HUGEPAGE
    if (page == kHugePage) madvise(memory, rounded, MADV_HUGEPAGE);  // a wish, whose refusal costs time only
#endif
    std::memset(memory, 0, rounded);
    return memory;
  }
  void release(void* memory) noexcept override {
    try {
      stream_.flush();  // queued operations may still use it
    } catch (...) {     // the failure was, or will be, reported where the result is asked for
    }
    std::free(memory);
  }

  void upload(void* to, const void* from, size_t bytes) override {
    stream_.flush();
    if (bytes > 0) std::memcpy(to, from, bytes);  // an empty array may have no address
  }
  void download(void* to, const void* from, size_t bytes) override {
    stream_.flush();
    if (bytes > 0) std::memcpy(to, from, bytes);  // an empty array may have no address
  }
  void copy(void* to, const void* from, size_t bytes) override {
    stream_.add({1, 1, true, [=](int64_t, int64_t) {
                   if (bytes > 0) std::memmove(to, from, bytes);
                 }});
  }
  bool reads_host_memory() const override { return true; }
  void flush() override { stream_.flush(); }
  void synchronize() override { stream_.flush(); }
  size_t workspace_bytes() const override { return cpu::scratch_bytes(); }

#define AGON_DEFINE(Operation) \
  void run(const ops::Operation& operation) override { cpu::enqueue(stream_, as_computed(operation)); }
  AGON_OPERATIONS(AGON_DEFINE)
#undef AGON_DEFINE

 private:
  cpu::Stream stream_;
};

}  // namespace

namespace cpu {

std::shared_ptr<Device> open(int threads) { return std::make_shared<CpuDevice>(threads ? threads : usable_cores()); }

}  // namespace cpu

}  // namespace agon
