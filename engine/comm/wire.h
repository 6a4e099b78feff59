#pragma once

#include <vector>

#include "engine/comm/carrier.h"

namespace agon {

/// Moves device memory between processes. All of them put down all moves of an occasion, in the same order, each with
/// its own pointers (the other side's are not looked at); run() makes them at once.
class Wire {
 public:
  Wire(Device& device, const Communicator& processes, Carrier& carrier)
      : device_(device), here_(processes.rank()), carrier_(carrier) {}

  /// What process `from` has at `source` comes to be at `target` of process `to`.
  void move(int from, const void* source, int to, void* target, size_t bytes);
  void run();

 private:
  Device& device_;
  int here_;
  Carrier& carrier_;
  std::vector<Move> moves_;
};

}  // namespace agon
