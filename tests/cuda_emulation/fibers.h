#pragma once

#include <functional>

namespace cuda_emulation {

/// Calls thread(i) for the `count` threads of a block. A thread that reaches a barrier waits in its fiber until the
/// others have come; without barriers one fiber runs them all, one after the other. enter(i) is called whenever thread
/// i begins or goes on. Aborts when all wait, but not for the same.
void run_block(int count, const std::function<void(int)>& thread, const std::function<void(int)>& enter);

void wait_for_block();  ///< __syncthreads
void wait_for_warp();   ///< of 32 threads
int current_thread();

}  // namespace cuda_emulation
