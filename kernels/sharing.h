#pragma once

// What processes that share a run need to know of their GPUs: which one is whose, and the queue that a library for
// messages between GPUs puts its work into.

#include <optional>

#include "kernels/device.h"

namespace agon {

/// Which of a machine's `devices` GPUs a process takes if nobody says: that of its number among the processes of this
/// machine, as their launcher leaves it in the environment, counted round; without a launcher the first.
int own_device(int devices);

/// A device's queue as its vendor's libraries know it.
struct NativeQueue {
  int index;     ///< of the device, in this process
  void* stream;  ///< a cudaStream_t; what flush() starts goes there
};
/// None of devices that have no such queue, as the CPU.
std::optional<NativeQueue> native_queue(Device& device);

}  // namespace agon
