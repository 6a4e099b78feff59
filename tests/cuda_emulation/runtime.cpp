// Streams, events, graphs and memory of the emulated device.
#include "cuda_runtime.h"

#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "control.h"

using cuda_emulation::Control;
using Work = std::function<void()>;

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

/// A graph in the making: what was captured, in an order that the streams' dependencies allow.
struct CUgraph_st {
  std::vector<Work> nodes;
};
struct CUgraphExec_st {
  std::shared_ptr<const std::vector<Work>> nodes;
};
struct CUstream_st {
  struct Item {
    Work work;
    std::function<bool()> ready;  // empty: always
  };
  std::deque<Item> queue;
  uint64_t added = 0, done = 0;
  CUgraph_st* capture = nullptr;
  CUstream_st* origin = nullptr;  // of the capture that this stream has joined
  uint64_t captured = 0, joined = 0;
  std::set<CUstream_st*> branches;
};
struct CUevent_st {
  CUstream_st* stream = nullptr;
  uint64_t position = 0;  // of the stream's work; in a capture, of its captured nodes
  CUgraph_st* capture = nullptr;
  std::chrono::steady_clock::time_point time;
};

namespace {

Control& control() {
  static Control state = [] {
    Control fresh;
    if (const char* launches = std::getenv("CUDA_EMULATION_LOSE_AFTER")) fresh.lose_after = std::atoll(launches);
    return fresh;
  }();
  return state;
}

constexpr size_t kGuard = 256;
constexpr unsigned char kGuardByte = 0xA5;

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "cuda_emulation: %s\n", what);
  std::abort();
}

/// The device's memory: one mapping that the host may touch only while the device runs or copies.
class Memory {
 public:
  Memory()
      : base_(static_cast<std::byte*>(
            mmap(nullptr, kReserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {
    if (base_ == MAP_FAILED) die("no address space for the device's memory");
  }
  void open(bool accessible) {
    if (accessible == accessible_) return;
    accessible_ = accessible;
    if (end_ > 0) mprotect(base_, end_, accessible ? PROT_READ | PROT_WRITE : PROT_NONE);
  }
  void* allocate(size_t bytes) {
    if (used_ + bytes > control().memory) return nullptr;
    const size_t size = (bytes + kGuard - 1) / kGuard * kGuard + kGuard;
    const bool was = accessible_;
    open(true);
    size_t place;
    if (const auto old = free_.find(size); old != free_.end()) {
      place = old->second;
      free_.erase(old);
    } else {
      place = end_;
      end_ += (size + 4095) / 4096 * 4096;
      if (end_ > kReserved) die("out of address space");
      mprotect(base_ + place, end_ - place, PROT_READ | PROT_WRITE);
    }
    constexpr size_t kLarge = 4 << 20;  // filling large blocks of work space would take longer than the tests
    if (bytes <= kLarge) std::memset(base_ + place, 0xff, bytes);  // NaN as a float
    std::memset(base_ + place + bytes, kGuardByte, size - bytes);
    blocks_[place] = {bytes, size};
    used_ += bytes;
    open(was);
    return base_ + place;
  }
  bool release(void* memory) {
    const auto found = blocks_.find(static_cast<size_t>(static_cast<std::byte*>(memory) - base_));
    if (found == blocks_.end()) return false;
    const auto [bytes, size] = found->second;
    const bool was = accessible_;
    open(true);
    for (size_t i = bytes; i < size; ++i)
      if (static_cast<unsigned char>(base_[found->first + i]) != kGuardByte)
        die("a kernel wrote beyond the end of its memory");
    open(was);
    used_ -= bytes;
    free_.emplace(size, found->first);
    blocks_.erase(found);
    return true;
  }
  /// True if the range lies within one living allocation.
  bool holds(const void* from, size_t bytes) const {
    const auto* first = static_cast<const std::byte*>(from);
    if (first < base_ || first >= base_ + end_) return false;
    auto found = blocks_.upper_bound(static_cast<size_t>(first - base_));
    if (found == blocks_.begin()) return false;
    --found;
    return static_cast<size_t>(first - base_) + bytes <= found->first + found->second.bytes;
  }
  size_t used() const { return used_; }

 private:
  static constexpr size_t kReserved = size_t{1} << 38;
  struct Block {
    size_t bytes, size;
  };
  std::byte* base_;
  size_t end_ = 0, used_ = 0;
  bool accessible_ = false;
  std::map<size_t, Block> blocks_;
  std::multimap<size_t, size_t> free_;
};

Memory& memory() {
  static Memory* const state = new Memory;  // as long as the process
  return *state;
}

bool lost = false;
int captures_open = 0;

/// One launch more, which may be the device's last.
void wear() {
  if (control().lose_after == 0) lost = true;
  if (control().lose_after > 0) --control().lose_after;
}

/// Runs a stream's work up to (not including) position `end`, as far as it is ready. False if some is not.
bool advance(CUstream_st* stream, uint64_t end) {
  memory().open(true);
  while (stream->done < end && !stream->queue.empty()) {
    if (const auto& ready = stream->queue.front().ready; ready && !ready()) return false;
    const Work work = std::move(stream->queue.front().work);
    stream->queue.pop_front();
    ++stream->done;
    work();
  }
  return true;
}
void drain(CUstream_st* stream, uint64_t end) {
  while (!advance(stream, end)) std::this_thread::sleep_for(std::chrono::microseconds(100));  // for ever, if need be
}
void drain_and_close(CUstream_st* stream, uint64_t end) {
  drain(stream, end);
  memory().open(false);
}

void run_kernel(dim3 grid, dim3 block, const Work& thread) {
  gridDim = grid, blockDim = block;
  const auto enter = [&](int i) {
    const auto n = static_cast<unsigned>(i);
    threadIdx = {n % block.x, n / block.x % block.y, n / (block.x * block.y)};
  };
  const auto body = [&](int) { thread(); };
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = {x, y, z};
        cuda_emulation::run_block(static_cast<int>(block.x * block.y * block.z), body, enter);
      }
}

#define ALIVE()                            \
  if (lost) return cudaErrorLaunchFailure; \
  if (control().next_error != 0) return static_cast<cudaError_t>(std::exchange(control().next_error, 0))
#define NOT_CAPTURING() \
  if (captures_open > 0) return cudaErrorStreamCaptureUnsupported

}  // namespace

namespace cuda_emulation {

cudaError_t enqueue(cudaStream_t stream, Work work) {
  ALIVE();
  if (stream->capture) {
    stream->capture->nodes.push_back(std::move(work));
    ++stream->captured;
  } else {
    stream->queue.push_back({std::move(work), {}});
    ++stream->added;
  }
  return cudaSuccess;
}

cudaError_t enqueue_when(cudaStream_t stream, std::function<bool()> ready, Work work) {
  ALIVE();
  if (stream->capture) return cudaErrorStreamCaptureUnsupported;
  stream->queue.push_back({std::move(work), std::move(ready)});
  ++stream->added;
  return cudaSuccess;
}

cudaError_t enqueue_kernel(const cudaLaunchConfig_t& config, Work thread) {
  ALIVE();
  const dim3 grid = config.gridDim, block = config.blockDim;
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || threads == 0 || threads > 1024 || block.z > 64 ||
      grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535 || config.dynamicSmemBytes > 48 * 1024)
    return cudaErrorInvalidConfiguration;
  if (!config.stream->capture) wear();
  ALIVE();
  if (!config.stream->capture) ++control().launches;
  return enqueue(config.stream, [=] { run_kernel(grid, block, thread); });
}

}  // namespace cuda_emulation

extern "C" {

Control* cuda_emulation_control() { return &control(); }

cudaError_t cudaGetDeviceCount(int* count) {
  if (control().devices < 0) return cudaErrorInsufficientDriver;  // as without a driver: count is left as it is
  if (control().devices == 0) return cudaErrorNoDevice;
  *count = control().devices;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (device >= control().devices) return cudaErrorInvalidValue;
  lost = lost && control().lose_after != -1;  // a test that sets lose_after back to -1 repairs the device
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {"emulated GPU", control().memory, 9, 0, 132};
  return cudaSuccess;
}
cudaError_t cudaDeviceGetPCIBusId(char* text, int length, int device) {
  // Every process has GPUs of its own, unless it is told that they are others' too.
  const int owner = std::getenv("AGON_EMULATED_SHARED_GPU") ? 0 : getpid();
  std::snprintf(text, static_cast<size_t>(length), "%08x:%02x", static_cast<unsigned>(owner),
                static_cast<unsigned>(device));
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* available, size_t* total) {
  ALIVE();
  *available = control().memory - memory().used(), *total = control().memory;
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** to, size_t bytes) {
  ALIVE();
  NOT_CAPTURING();
  ++control().allocations;
  *to = memory().allocate(bytes);
  return *to ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void* from) {
  NOT_CAPTURING();
  return memory().release(from) ? cudaSuccess : cudaErrorInvalidValue;
}
cudaError_t cudaHostAlloc(void** to, size_t bytes, unsigned) {
  ALIVE();
  *to = std::calloc(1, bytes);
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* from) {
  std::free(from);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  ALIVE();
  const bool reads = kind != cudaMemcpyHostToDevice, writes = kind != cudaMemcpyDeviceToHost;
  if ((reads && !memory().holds(from, bytes)) || (writes && !memory().holds(to, bytes))) return cudaErrorInvalidValue;
  if (reads && writes) return cuda_emulation::enqueue(stream, [=] { std::memmove(to, from, bytes); });
  if (stream->capture) return cudaErrorStreamCaptureUnsupported;  // pageable memory
  ++control().host_copies;
  if (kind == cudaMemcpyHostToDevice) {  // pageable memory is staged before the call returns
    auto staged = std::make_shared<std::vector<std::byte>>(static_cast<const std::byte*>(from),
                                                           static_cast<const std::byte*>(from) + bytes);
    return cuda_emulation::enqueue(stream, [=] { std::memcpy(to, staged->data(), bytes); });
  }
  return cuda_emulation::enqueue(stream, [=] { std::memcpy(to, from, bytes); });
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  ALIVE();
  if (!memory().holds(to, bytes)) return cudaErrorInvalidValue;
  return cuda_emulation::enqueue(stream, [=] { std::memset(to, value, bytes); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  ALIVE();
  *stream = new CUstream_st;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (!lost) drain_and_close(stream, stream->added);
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  ALIVE();
  NOT_CAPTURING();
  ++control().waits;
  drain_and_close(stream, stream->added);
  return cudaSuccess;
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  ALIVE();
  NOT_CAPTURING();
  const bool done = advance(stream, stream->added);
  memory().open(false);
  return done ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  ALIVE();
  if (event->capture) {
    CUstream_st* const origin = event->stream->origin ? event->stream->origin : event->stream;
    if (!stream->capture) {  // a branch joins the capture
      stream->capture = event->capture, stream->origin = origin;
      stream->captured = stream->joined = 0;
      origin->branches.insert(stream);
    }
    event->stream->joined = std::max(event->stream->joined, event->position);
    return cudaSuccess;
  }
  return cuda_emulation::enqueue(stream, [event = *event] { drain(event.stream, event.position); });
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  ALIVE();
  if (stream->capture) return cudaErrorInvalidValue;
  ++captures_open, ++control().captures;
  stream->capture = new CUgraph_st;
  stream->branches.clear();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (!stream->capture || stream->origin) return cudaErrorInvalidValue;
  bool joined = true;
  for (CUstream_st* branch : stream->branches) {
    joined = joined && branch->joined == branch->captured;
    branch->capture = nullptr, branch->origin = nullptr;
  }
  --captures_open;
  *graph = std::exchange(stream->capture, nullptr);
  if (lost) return cudaErrorLaunchFailure;
  if (!control().captures_end) {
    delete std::exchange(*graph, nullptr);
    return cudaErrorStreamCaptureInvalidated;
  }
  return joined ? cudaSuccess : cudaErrorStreamCaptureUnjoined;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  ALIVE();
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  ALIVE();
  event->stream = stream;
  event->capture = stream->capture;
  if (stream->capture) {
    event->position = stream->captured;
    return cudaSuccess;
  }
  const cudaError_t error =
      cuda_emulation::enqueue(stream, [event] { event->time = std::chrono::steady_clock::now(); });
  event->position = stream->added;
  return error;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  ALIVE();
  NOT_CAPTURING();
  ++control().waits;
  drain_and_close(event->stream, event->position);
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  ALIVE();
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  ALIVE();
  *executable = new CUgraphExec_st{std::make_shared<const std::vector<Work>>(graph->nodes)};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  ALIVE();
  wear();
  ALIVE();
  ++control().graph_launches;
  return cuda_emulation::enqueue(stream, [nodes = executable->nodes] {
    for (const Work& node : *nodes) node();
  });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() { return lost ? cudaErrorLaunchFailure : cudaSuccess; }
const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorDevicesUnavailable:
      return "cudaErrorDevicesUnavailable";
    case cudaErrorECCUncorrectable:
      return "cudaErrorECCUncorrectable";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    case cudaErrorLaunchTimeout:
      return "cudaErrorLaunchTimeout";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    case cudaErrorStreamCaptureUnsupported:
      return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated:
      return "cudaErrorStreamCaptureInvalidated";
    case cudaErrorStreamCaptureUnjoined:
      return "cudaErrorStreamCaptureUnjoined";
    default:
      return "cudaErrorUnknown";
  }
}
const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorLaunchFailure ? "unspecified launch failure" : cudaGetErrorName(error);
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = control().devices < 0 ? 0 : 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

}  // extern "C"
