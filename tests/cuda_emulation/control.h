#pragma once

#include <cstddef>
#include <cstdint>

namespace cuda_emulation {

/// What tests may ask of the emulated device, and what it did. Reached through the symbol `cuda_emulation_control`.
struct Control {
  int devices = 1;
  size_t memory = size_t{1} << 33;
  /// Launches until the device is lost for good; -1: never, and it is whole again. At the start of a process, what
  /// $CUDA_EMULATION_LOSE_AFTER says, for tests of whole programs.
  int64_t lose_after = -1;
  int next_error = 0;         ///< what the next call to the runtime returns, as a cudaError_t; 0: what it should
  bool dnn_describes = true;  ///< false: cuDNN refuses every description of a tensor
  bool captures_end = true;   ///< false: every capture turns out to be invalid

  int64_t launches = 0;  ///< kernels, not counting those within graphs
  int64_t graph_launches = 0;
  int64_t captures = 0;
  int64_t allocations = 0;
  int64_t waits = 0;  ///< the host waited for a stream or an event
  int64_t host_copies = 0;
};

using ControlEntry = Control*();

}  // namespace cuda_emulation
