// Device memory from GPU to GPU, by NCCL.
#include <nccl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <thread>
#include <utility>

#include "engine/comm/carrier.h"
#include "kernels/error.h"

namespace agon {
namespace {

using Seconds = std::chrono::duration<double>;
using Time = std::chrono::steady_clock;

void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) fail(Fault::kRun, "the GPU failed while {}: {}", what, cudaGetErrorString(error));
}

/// NCCL's communicator of those processes that are left. None of its calls blocks (ncclConfig_t::blocking = 0), and the
/// host waits for the stream by asking again and again, because a message of a lost process never ends by itself: who
/// finds in between that somebody was lost aborts it, and all that are left make a new communicator for the next one.
class NcclCarrier final : public Carrier {
 public:
  NcclCarrier(std::shared_ptr<Device> device, std::shared_ptr<Communicator> processes, const NativeQueue& queue)
      : device_(std::move(device)),
        processes_(std::move(processes)),
        gpu_(queue.index),
        stream_(static_cast<cudaStream_t>(queue.stream)) {
    or_abort([&] { connect(); });
  }
  ~NcclCarrier() override {
    if (comm_ && std::uncaught_exceptions() == 0) try {  // in order: what was sent last arrives
        or_abort([&] { disconnect(); });
      } catch (...) {  // the run has ended anyway
      }
    abort();
  }

  std::string name() const override { return "nccl"; }

  void carry(std::span<const Move> moves) override {
    or_abort([&] {
      if (members_ != members_of(*processes_)) {
        abort();
        connect();
      }
      const std::vector<std::vector<Post>> groups = posts_of(moves, processes_->rank(), members_);
      if (groups.empty()) return;
      device_->flush();  // NCCL's work comes behind it on the same stream
      check(cudaSetDevice(gpu_), "opening it");
      for (const std::vector<Post>& group : groups) queue(group);
      wait("send and receive", [&] { return has_run(); });
    });
  }

 private:
  /// Whatever stops an exchange leaves no work on the stream that would wait for somebody.
  template <class Work>
  void or_abort(Work work) {
    try {
      work();
    } catch (...) {
      abort();
      throw;
    }
  }

  void connect() {
    constexpr const char* kWhat = "connect the processes";
    check(cudaSetDevice(gpu_), "opening it");
    members_ = members_of(*processes_);
    const int here = processes_->rank(), first = members_.front();
    ncclUniqueId id{};
    std::vector<Communicator::Outgoing> out;
    std::vector<Communicator::Incoming> in;
    if (here == first) begin(ncclGetUniqueId(&id), kWhat);
    for (int member : members_) {
      if (member == first) continue;
      if (here == first) out.push_back({member, &id, sizeof(id)});
      if (here == member) in.push_back({first, &id, sizeof(id)});
    }
    processes_->exchange(out, in);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    unsetenv("NCCL_COMM_BLOCKING");  // it would outdo config, and calls that block cannot be given up
    const auto number = std::find(members_.begin(), members_.end(), here) - members_.begin();
    begin(ncclCommInitRankConfig(&comm_, static_cast<int>(members_.size()), id, static_cast<int>(number), &config),
          kWhat);
    wait(kWhat, [] { return true; });
  }

  void disconnect() {
    constexpr const char* kWhat = "part";
    constexpr Seconds kPatience(5);  // with processes that end in another way
    if (members_ != members_of(*processes_)) return;
    check(cudaSetDevice(gpu_), "opening it");
    begin(ncclCommFinalize(comm_), kWhat);
    wait(
        kWhat, [] { return true; }, kPatience);
    begin(ncclCommDestroy(std::exchange(comm_, nullptr)), kWhat);
  }

  void abort() noexcept {
    members_.clear();
    if (comm_) (void)ncclCommAbort(std::exchange(comm_, nullptr));
  }

  void queue(const std::vector<Post>& group) {
    constexpr const char* kWhat = "queue messages";
    begin(ncclGroupStart(), kWhat);
    ncclResult_t result = ncclSuccess;
    for (const Post& post : group) {
      const ncclResult_t now = post.sends ? ncclSend(post.data, post.bytes, ncclUint8, post.peer, comm_, stream_)
                                          : ncclRecv(post.data, post.bytes, ncclUint8, post.peer, comm_, stream_);
      if (under_way(result)) result = now;
    }
    const ncclResult_t end = ncclGroupEnd();  // in any case: nothing can be aborted within a group
    begin(under_way(result) ? end : result, kWhat);
    wait(kWhat, [] { return true; });  // until they are on the stream; what is queued next comes behind them
  }

  static bool under_way(ncclResult_t result) { return result == ncclSuccess || result == ncclInProgress; }
  void begin(ncclResult_t result, const char* what) {
    if (!under_way(result)) refuse(result, what);
  }

  /// Until NCCL's background threads have nothing to do and `done` is true.
  template <class Done>
  void wait(const char* what, Done done, Seconds patience = Seconds::max()) {
    constexpr int kBusy = 2000;  // looks before others may have the core
    const auto start = Time::now();
    for (int looks = 0;; ++looks) {
      ncclResult_t state = ncclSuccess;
      const ncclResult_t asked = ncclCommGetAsyncError(comm_, &state);
      if (asked != ncclSuccess) state = asked;
      begin(state, what);
      if (state == ncclSuccess && done()) return;
      processes_->check();
      if (looks <= kBusy) continue;
      if (Time::now() - start > patience) fail(Fault::kRun, "NCCL did not {} within {} s", what, patience.count());
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  }

  bool has_run() const {
    const cudaError_t state = cudaStreamQuery(stream_);
    if (state == cudaErrorNotReady) {
      (void)cudaGetLastError();  // not one to be found later
      return false;
    }
    check(state, "waiting for messages");
    return true;
  }

  [[noreturn]] void refuse(ncclResult_t result, const char* what) {
    // NCCL often notices a broken connection before the roll call knows that its process was lost.
    const std::string why = fmt::format("{} ({})", ncclGetErrorString(result), ncclGetLastError(comm_));
    processes_->check(/*suspicion=*/result != ncclInvalidArgument && result != ncclInvalidUsage);
    fail(Fault::kRun, "NCCL could not {}: {}; NCCL_DEBUG=WARN tells more, --set world.wire=host does without it", what,
         why);
  }

  std::shared_ptr<Device> device_;
  std::shared_ptr<Communicator> processes_;
  int gpu_;
  cudaStream_t stream_;
  ncclComm_t comm_ = nullptr;
  std::vector<int> members_;  ///< that comm_ connects, by their numbers in it
};

/// The machine as NCCL tells it from others, so that both agree about who shares a GPU, and the GPU in it.
std::string gpu(int index) {
  std::string machine;
  if (const char* named = std::getenv("NCCL_HOSTID")) {
    machine = named;
  } else {
    char name[256] = "";
    gethostname(name, sizeof(name) - 1);
    std::string boot;
    std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
    machine = std::string(name) + " " + boot;
  }
  char bus[32] = "";
  check(cudaDeviceGetPCIBusId(bus, sizeof(bus), index), "asking for its place");
  return machine + " " + bus;
}

std::shared_ptr<Carrier> open(std::shared_ptr<Device> device, std::shared_ptr<Communicator> processes,
                              const NativeQueue& queue) {
  return std::make_shared<NcclCarrier>(std::move(device), std::move(processes), queue);
}

std::string libraries() {
  int version = 0;
  (void)ncclGetVersion(&version);  // 2.27.3 is 22703
  return fmt::format("NCCL {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

const CarrierPlugin plugin{AGON_PLUGIN_ABI, gpu, open, libraries};

}  // namespace
}  // namespace agon

extern "C" __attribute__((visibility("default"))) const void* agon_carrier_plugin() { return &agon::plugin; }
