// NCCL between processes of one machine: every message is a file in a folder whose name is the communicator's id.
#include "nccl.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace fs = std::filesystem;

namespace {

/// What messages on a stream share with their communicator, which may be gone before they are.
struct Link {
  fs::path folder;
  int rank, ranks;
  bool aborted = false;
  std::map<int, int> sent, received;  // messages to and from each rank

  bool complete() const {
    for (int other = 0; other < ranks; ++other)
      if (!fs::exists(folder / ("rank-" + std::to_string(other)))) return false;
    return true;
  }
  fs::path message(int from, int to, int number) const {
    return folder / (std::to_string(from) + "-" + std::to_string(to) + "-" + std::to_string(number));
  }
};

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "cuda_emulation: NCCL: %s\n", what);
  std::abort();
}

struct Call {
  ncclComm_t comm;
  const void* from;
  void* to;
  size_t bytes;
  int peer;
  cudaStream_t stream;
};
int group_depth = 0;
std::vector<Call> group;

}  // namespace

struct ncclComm {
  std::shared_ptr<Link> link;
  bool connected = false, finalized = false;
  int looks_left = 0;          // until what is under way in the background has been done
  std::vector<Call> launches;  // which then are put on their streams

  /// As NCCL's background thread: nothing is on the stream before somebody has seen that all went well.
  void launch() {
    for (const Call& call : launches) {
      const std::shared_ptr<Link> link_now = link;
      const Call now = call;
      if (call.from) {
        const fs::path file = link->message(link->rank, call.peer, link->sent[call.peer]++);
        cuda_emulation::enqueue(call.stream, [=] {
          if (link_now->aborted) return;
          const fs::path draft = file.string() + ".draft";
          std::ofstream(draft, std::ios::binary)
              .write(static_cast<const char*>(now.from), static_cast<std::streamsize>(now.bytes));
          fs::rename(draft, file);
        });
      } else {
        const fs::path file = link->message(call.peer, link->rank, link->received[call.peer]++);
        cuda_emulation::enqueue_when(
            call.stream, [=] { return link_now->aborted || fs::exists(file); },
            [=] {
              if (link_now->aborted) return;
              if (fs::file_size(file) != now.bytes) die("a message has not the size that its receiver expects");
              std::ifstream(file, std::ios::binary)
                  .read(static_cast<char*>(now.to), static_cast<std::streamsize>(now.bytes));
              fs::remove(file);
            });
      }
    }
    launches.clear();
  }
};

extern "C" {

ncclResult_t ncclGetVersion(int* version) {
  *version = 22703;
  return ncclSuccess;
}
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  std::string folder = (fs::temp_directory_path() / "agon-nccl-XXXXXX").string();
  if (folder.size() >= sizeof(id->internal) || !mkdtemp(folder.data())) return ncclSystemError;
  std::strcpy(id->internal, folder.c_str());
  return ncclSuccess;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank, ncclConfig_t* config) {
  if (config->blocking != 0 || rank < 0 || rank >= ranks) return ncclInvalidArgument;
  *comm = new ncclComm{std::make_shared<Link>(Link{id.internal, rank, ranks})};
  std::ofstream((*comm)->link->folder / ("rank-" + std::to_string(rank)));
  return ncclInProgress;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* state) {
  if (!comm->connected) comm->connected = comm->link->complete();
  const bool busy = !comm->connected || (comm->looks_left > 0 && comm->looks_left-- > 0);
  if (!busy) comm->launch();
  *state = busy ? ncclInProgress : ncclSuccess;
  return ncclSuccess;
}
ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  if (comm->finalized || group_depth > 0) return ncclInvalidUsage;
  comm->finalized = true, comm->looks_left = 2;
  return ncclInProgress;
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  if (!comm->finalized || comm->looks_left > 0 || group_depth > 0) return ncclInvalidUsage;
  delete comm;
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  if (group_depth > 0) die("a communicator was aborted within a group");
  comm->link->aborted = true;
  delete comm;
  return ncclSuccess;
}
ncclResult_t ncclGroupStart() {
  ++group_depth;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  if (--group_depth > 0) return ncclSuccess;
  if (group.size() > 2048) die("a group has too many calls");
  // Calls of a group happen at once: what is sent does not wait for what is received.
  for (const bool sends : {true, false})
    for (const Call& call : group)
      if ((call.from != nullptr) == sends) call.comm->launches.push_back(call), call.comm->looks_left = 2;
  group.clear();
  return ncclInProgress;
}
ncclResult_t ncclSend(const void* from, size_t count, ncclDataType_t, int peer, ncclComm_t comm, cudaStream_t stream) {
  if (group_depth == 0 || !comm->connected || comm->looks_left > 0 || comm->finalized) return ncclInvalidUsage;
  if (peer < 0 || peer >= comm->link->ranks || !from) return ncclInvalidArgument;
  group.push_back({comm, from, nullptr, count, peer, stream});
  return ncclSuccess;
}
ncclResult_t ncclRecv(void* to, size_t count, ncclDataType_t, int peer, ncclComm_t comm, cudaStream_t stream) {
  if (group_depth == 0 || !comm->connected || comm->looks_left > 0 || comm->finalized) return ncclInvalidUsage;
  if (peer < 0 || peer >= comm->link->ranks || !to) return ncclInvalidArgument;
  group.push_back({comm, nullptr, to, count, peer, stream});
  return ncclSuccess;
}
const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclInvalidUsage ? "invalid usage" : "an error of the emulated NCCL";
}
const char* ncclGetLastError(ncclComm_t) { return "emulated"; }
}
