// Device memory, kept for reuse.
#include "kernels/cuda/memory.h"

#include "kernels/error.h"

namespace agon::cuda {
namespace {

std::string mebibytes(size_t bytes) { return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20)); }

}  // namespace

Memory::~Memory() {
  for (const auto& [memory, size] : sizes_) (void)cudaFree(memory);  // a lost device keeps nothing anyway
}

void Memory::trim() {
  for (const auto& [size, memory] : idle_) {
    check(cudaFree(memory), "giving memory back");
    sizes_.erase(memory);
    held_ -= size;
  }
  idle_.clear();
  ++trims_;
}

void* Memory::take(size_t bytes) {
  const size_t size = (bytes + 255) / 256 * 256;
  void* memory = nullptr;
  if (const auto found = idle_.find(size); found != idle_.end()) {
    memory = found->second;
    idle_.erase(found);
  } else {
    cudaError_t error = cudaMalloc(&memory, size);
    if (error == cudaErrorMemoryAllocation && !idle_.empty()) {
      (void)cudaGetLastError();  // forgets the failure
      trim();
      error = cudaMalloc(&memory, size);
    }
    if (error == cudaErrorMemoryAllocation) {
      (void)cudaGetLastError();
      size_t available = 0, total = 0;
      check(cudaMemGetInfo(&available, &total), "asking for free memory");
      fail(
          Fault::kRun,
          "out of memory on {}: {} more were needed, but of its {} only {} are free ({} are in use by this run); fewer "
          "workers (world.workers) or a smaller batch (algorithm.batch) need less, and agon plan counts it beforehand",
          device_, mebibytes(size), mebibytes(total), mebibytes(available), mebibytes(taken_));
    }
    check(error, "asking for memory");
    sizes_.emplace(memory, size);
    held_ += size;
  }
  taken_ += size;
  return memory;
}

void Memory::give(void* memory) noexcept {
  const auto found = sizes_.find(memory);
  if (found == sizes_.end()) return;
  taken_ -= found->second;
  idle_.emplace(found->second, memory);
}

}  // namespace agon::cuda
