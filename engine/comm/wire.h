#pragma once

#include <memory>
#include <vector>

#include "engine/comm/communicator.h"
#include "kernels/device.h"

namespace agon {

/// Moves device memory between processes. All of them put down all moves of an occasion, in the same order, each with
/// its own pointers (the other side's are not looked at); run() makes them at once.
class Wire {
 public:
  Wire(Device& device, Communicator& processes) : device_(device), processes_(processes) {}

  /// What process `from` has at `source` comes to be at `target` of process `to`.
  void move(int from, const void* source, int to, void* target, size_t bytes);
  void run();

 private:
  Device& device_;
  Communicator& processes_;
  std::vector<Communicator::Outgoing> out_;
  std::vector<Communicator::Incoming> in_;
};

}  // namespace agon
