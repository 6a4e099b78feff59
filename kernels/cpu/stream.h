#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace agon::cpu {

/// One operation, cut into replicas x chunks pieces that may run in any order and on any thread.
/// How an operation is cut depends on its shape alone, never on the number of threads: the bits stay the same.
struct Task {
  int64_t replicas = 1;
  int64_t chunks = 1;
  bool across = false;  ///< touches other replicas than its own: nothing before or after may overlap with it
  std::function<void(int64_t replica, int64_t chunk)> body;
};

/// The CPU's queue. Consecutive tasks over the same replicas are run replica by replica: one thread takes a replica
/// through all of them, so that its weights, gradients and moments stay in that core's cache.
/// With fewer replicas than threads, tasks run one after the other, each spread over the threads.
class Stream {
 public:
  explicit Stream(int threads);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void add(Task task);
  void flush();  ///< runs everything queued and returns when it is done
  int threads() const;

 private:
  class Pool;
  std::unique_ptr<Pool> pool_;
  std::vector<Task> queue_;
};

/// Grow-only scratch memory of the calling thread, 64-byte aligned; valid until the next call with the same slot
/// on this thread. Slots keep simultaneous uses apart.
float* scratch(int slot, int64_t floats);
/// Bytes that all threads' scratch memory holds.
size_t scratch_bytes();

}  // namespace agon::cpu
