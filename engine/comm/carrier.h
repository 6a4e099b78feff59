#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/comm/communicator.h"
#include "kernels/sharing.h"

namespace agon {

/// Device memory on its way: what process `from` has at `source` comes to be at `target` of process `to`.
struct Move {
  int from;
  const void* source;
  int to;
  void* target;
  size_t bytes;
};

/// Takes device memory from process to process.
class Carrier {
 public:
  virtual ~Carrier() = default;
  virtual std::string name() const = 0;  ///< "host", "nccl"

  /// Called by all processes with the same moves in the same order, each with its own pointers; none is empty or stays
  /// in one process. Makes them after what the device has queued, and returns when what comes to this process is there
  /// and what leaves it may change. Throws what Communicator::exchange() throws.
  virtual void carry(std::span<const Move> moves) = 0;
};

/// The way that is always there: through the host's memory, as messages of the communicator.
std::shared_ptr<Carrier> host_carrier(std::shared_ptr<Device> device, std::shared_ptr<Communicator> processes);

/// The way that world.wire names, the same in all processes, which call this together: "host", "nccl", or "auto",
/// which is NCCL where every process has a GPU of its own. Throws Error(kUsage) where NCCL was asked for in vain.
std::shared_ptr<Carrier> open_carrier(const std::string& wire, std::shared_ptr<Device> device,
                                      std::shared_ptr<Communicator> processes);

/// What a process has for NCCL: a GPU, named alike in processes that share it, or the reason why it has not.
struct WireEnd {
  bool able;
  std::string text;
};
/// What follows from world.wire and the ends of all processes.
bool goes_by_nccl(const std::string& wire, std::span<const WireEnd> ends);

/// The processes that are left, ascending.
std::vector<int> members_of(const Communicator& processes);

/// A process's part in a move: it sends to, or receives from, number `peer` of the members.
struct Post {
  bool sends;
  int peer;
  void* data;  ///< which is only read if it sends
  size_t bytes;
};
/// The posts of one of the members, in groups that take place one after the other. The groups of all members are cut at
/// the same moves, so that none waits for a later one of somebody else; within a group everything happens at once, and
/// what passes between two members meets in this order.
std::vector<std::vector<Post>> posts_of(std::span<const Move> moves, int here, const std::vector<int>& members);
inline constexpr size_t kMovesOfGroup = 1024;  // NCCL takes 2,048 calls in a group

/// What the plug-in libagon_nccl.so offers; the first member as of a device's plug-in.
struct CarrierPlugin {
  const char* abi;
  std::string (*gpu)(int index);  ///< the text of a WireEnd
  std::shared_ptr<Carrier> (*open)(std::shared_ptr<Device> device, std::shared_ptr<Communicator> processes,
                                   const NativeQueue& queue);
  std::string (*libraries)();
};
inline constexpr const char* kCarrierPluginEntry = "agon_carrier_plugin";

}  // namespace agon
