// Processes that mpirun started.
#include <mpi.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <thread>

#include "engine/comm/watched.h"
#include "kernels/error.h"

namespace agon {
namespace {

constexpr size_t kMostBytes = size_t{1} << 30;  // of one message: MPI counts in int
constexpr int kTags = 32767;                    // MPI promises as many

void must(int code, const char* what) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  fail(Fault::kRun, "MPI could not {}: {}", what, std::string(text, static_cast<size_t>(length)));
}

class MpiCommunicator final : public Watched {
 public:
  MpiCommunicator() {
    int provided = 0;
    must(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "start");
    MPI_Comm_dup(MPI_COMM_WORLD, &comm_);
    MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
    MPI_Comm_rank(comm_, &rank_);
    MPI_Comm_size(comm_, &size_);
    MPI_Comm here = MPI_COMM_NULL;
    int processes_here = 1;
    cpu_set_t processors;  // that any of the processes of this machine may use
    if (sched_getaffinity(0, sizeof processors, &processors) != 0) CPU_ZERO(&processors);
    MPI_Comm_split_type(comm_, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &here);
    MPI_Comm_size(here, &processes_here);
    MPI_Allreduce(MPI_IN_PLACE, &processors, sizeof processors, MPI_BYTE, MPI_BOR, here);
    MPI_Comm_free(&here);
    has_own_core_ = processes_here <= CPU_COUNT(&processors);
  }
  ~MpiCommunicator() override {
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (!finalized) MPI_Finalize();
  }

  std::string name() const override { return "mpi"; }

  void exchange(std::span<const Outgoing> out, std::span<const Incoming> in) override {
    requests_.clear();
    // Who has not settled a loss yet, or never will, does not meet those who have: they use another tag.
    const int tag = settled() % kTags;
    int code = MPI_SUCCESS;
    const auto note = [&](int now) { code = code == MPI_SUCCESS ? now : code; };
    // Large messages go in parts; of two ranks, they stay in order.
    for (const Incoming& message : in)
      for (size_t begin = 0; begin < message.bytes; begin += kMostBytes)
        note(MPI_Irecv(static_cast<char*>(message.data) + begin, part(message.bytes, begin), MPI_BYTE, message.from,
                       tag, comm_, &requests_.emplace_back(MPI_REQUEST_NULL)));
    const size_t receives = requests_.size();
    for (const Outgoing& message : out)
      for (size_t begin = 0; begin < message.bytes; begin += kMostBytes)
        note(MPI_Isend(static_cast<const char*>(message.data) + begin, part(message.bytes, begin), MPI_BYTE, message.to,
                       tag, comm_, &requests_.emplace_back(MPI_REQUEST_NULL)));
    wait(receives, code);
  }

  void abandon(int exit_code) override {
    std::fflush(nullptr);
    if (roll_) roll_->end(exit_code);
    // Who was refused goes alone; without the first process, one of those that are left ends it for all.
    if (!roll_ || roll_->holds() || (speaks() && !roll_->refused())) MPI_Abort(MPI_COMM_WORLD, exit_code);
    std::_Exit(exit_code);
  }
  void part() override {
    if (!roll_) return;
    roll_.reset();
    if (settled() == 0) return;
    std::fflush(nullptr);
    if (rank_ == 0) MPI_Abort(MPI_COMM_WORLD, 0);  // takes a stopped process with it
    std::_Exit(0);
  }

 private:
  static int part(size_t bytes, size_t begin) { return static_cast<int>(std::min(kMostBytes, bytes - begin)); }

  /// Until all is done, or somebody is lost. MPI's own errors are a hint that somebody is: the roll call knows who.
  void wait(size_t receives, int code) {
    // Looks before others may have the core: a part of a millisecond, or, where every process has one, longer than an
    // iteration. Large messages come in pieces, each when both sides look.
    const int busy = has_own_core_ ? 200'000 : 2'000;
    constexpr int kPolite = 64;
    std::optional<std::chrono::steady_clock::time_point> failed;
    for (int looks = 0;; ++looks) {
      int done = 0;
      if (code == MPI_SUCCESS)
        code = MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done, MPI_STATUSES_IGNORE);
      if (code == MPI_SUCCESS && done) return;
      if (disturbed()) {
        drop_requests(receives);
        give_up();
      }
      if (code != MPI_SUCCESS) {
        const auto now = std::chrono::steady_clock::now();
        if (!roll_ || now - failed.value_or(now) > patience()) must(code, "exchange messages");
        failed = failed.value_or(now);
      }
      if (looks > busy)
        std::this_thread::sleep_for(std::chrono::microseconds(20));
      else if (looks % kPolite == 0)
        std::this_thread::yield();
    }
  }

  /// Nothing arrives any more in memory that is needed for something else.
  void drop_requests(size_t receives) {
    for (size_t i = 0; i < requests_.size(); ++i) {
      MPI_Request& request = requests_[i];
      if (request == MPI_REQUEST_NULL) continue;
      int done = 0;
      if (i < receives) {
        MPI_Cancel(&request);
        for (int looks = 0; looks < 1000 && !done; ++looks) MPI_Test(&request, &done, MPI_STATUS_IGNORE);
      }
      if (!done) MPI_Request_free(&request);
    }
  }

  MPI_Comm comm_ = MPI_COMM_NULL;
  bool has_own_core_ = false;
  std::vector<MPI_Request> requests_;
};

std::shared_ptr<Communicator> open() { return std::make_shared<MpiCommunicator>(); }

/// "Open MPI v4.1.4": what comes first in a text that says much more.
std::string libraries() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  MPI_Get_library_version(text, &length);
  std::string name(text, std::find_if(text, text + length, [](char c) { return c == ',' || c == '\n'; }));
  std::replace(name.begin(), name.end(), '\t', ' ');
  return name;
}

const CommunicatorPlugin plugin{AGON_PLUGIN_ABI, open, libraries};

}  // namespace
}  // namespace agon

extern "C" const void* agon_communicator_plugin() { return &agon::plugin; }
