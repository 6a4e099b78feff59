// Processes that mpirun started.
#include <mpi.h>

#include <algorithm>
#include <cstdlib>

#include "engine/comm/communicator.h"
#include "kernels/error.h"

namespace agon {
namespace {

constexpr size_t kMostBytes = size_t{1} << 30;  // of one message: MPI counts in int
constexpr int kTag = 0x61;

void check(int code, const char* what) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  fail(Fault::kRun, "MPI could not {}: {}", what, std::string(text, static_cast<size_t>(length)));
}

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator() {
    int provided = 0;
    check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "start");
    MPI_Comm_dup(MPI_COMM_WORLD, &comm_);
    MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
    MPI_Comm_rank(comm_, &rank_);
    MPI_Comm_size(comm_, &size_);
  }
  ~MpiCommunicator() override {
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (!finalized) MPI_Finalize();
  }

  std::string name() const override { return "mpi"; }
  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void exchange(std::span<const Outgoing> out, std::span<const Incoming> in) override {
    requests_.clear();
    // Large messages go in parts; of two ranks, they stay in order.
    for (const Incoming& message : in)
      for (size_t begin = 0; begin < message.bytes; begin += kMostBytes)
        check(MPI_Irecv(static_cast<char*>(message.data) + begin, part(message.bytes, begin), MPI_BYTE, message.from,
                        kTag, comm_, &requests_.emplace_back()),
              "receive");
    for (const Outgoing& message : out)
      for (size_t begin = 0; begin < message.bytes; begin += kMostBytes)
        check(MPI_Isend(static_cast<const char*>(message.data) + begin, part(message.bytes, begin), MPI_BYTE,
                        message.to, kTag, comm_, &requests_.emplace_back()),
              "send");
    check(MPI_Waitall(static_cast<int>(requests_.size()), requests_.data(), MPI_STATUSES_IGNORE), "exchange messages");
  }
  bool any(bool flag) const override {
    int mine = flag ? 1 : 0, all = 0;
    check(MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_MAX, comm_), "agree");
    return all != 0;
  }
  int64_t from_first(int64_t value) const override {
    check(MPI_Bcast(&value, 1, MPI_INT64_T, 0, comm_), "hear the first process");
    return value;
  }
  void abandon(int exit_code) override {
    MPI_Abort(MPI_COMM_WORLD, exit_code);
    std::_Exit(exit_code);
  }

 private:
  static int part(size_t bytes, size_t begin) { return static_cast<int>(std::min(kMostBytes, bytes - begin)); }

  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0, size_ = 1;
  std::vector<MPI_Request> requests_;
};

const CommunicatorPlugin plugin{AGON_VERSION,
                                []() -> std::shared_ptr<Communicator> { return std::make_shared<MpiCommunicator>(); }};

}  // namespace
}  // namespace agon

extern "C" const agon::CommunicatorPlugin* agon_communicator_plugin() { return &agon::plugin; }
