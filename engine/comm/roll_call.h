#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/comm/sockets.h"

namespace agon {

/// Which processes of a run are still there. The first one holds a TCP connection to each other one, over which both
/// ends say "here" several times within the deadline, from a thread of their own, whatever the others are busy with.
/// Who hangs up without a goodbye (was killed), or is silent for longer (was stopped, or cut off), is lost for good:
/// the first process tells all others, in one order, and refuses who comes back.
class RollCall {
 public:
  using Seconds = std::chrono::duration<double>;
  /// Called, from the roll call's thread, when another process ends all with an exit code.
  using Over = std::function<void(int exit_code)>;

  /// The first process's: opens a port for the `size` - 1 others. Throws Error(kRun).
  RollCall(int size, Seconds deadline, Over over = nullptr);
  /// Another process's: goes where the first one's invitation() says. Throws Error(kRun) if nobody answers there.
  RollCall(int rank, const std::string& invitation, Seconds deadline, Over over = nullptr);
  /// Says goodbye. The first process waits until the others have, or are lost.
  ~RollCall();

  /// Addresses and port of the first process, in one line.
  const std::string& invitation() const { return invitation_; }
  /// How many processes were lost so far. All processes lose the same ones in the same order, if not at the same time.
  int losses() const { return losses_.load(std::memory_order_acquire); }
  /// The first `losses` of them, ranks.
  std::vector<int> lost(int losses) const;
  /// This process is about to end all with this exit code: its hanging up is no loss, and the others hear of it.
  void end(int exit_code);
  /// Another deadline, in two steps, since all must speak more often before any of them counts on it.
  void speak_for(Seconds deadline) { beat_ = deadline / kBeats; }
  void set_deadline(Seconds deadline);

  bool holds() const { return bond_ == Bond::kHolds; }
  bool refused() const { return bond_ == Bond::kRefused; }
  /// Throws Error(kRun) once the first process is lost, or has refused this one.
  void check() const;

 private:
  enum class Bond { kHolds, kBroken, kRefused };
  struct Guest {
    Socket socket;
    std::chrono::steady_clock::time_point heard;
    bool gone = false;  ///< lost, or left with a goodbye
  };

  static constexpr int kBeats = 5;  // words within a deadline

  void host();   // the first process's thread
  void guest();  // another one's
  /// Whether who was heard last at a time has been silent for too long now.
  bool silent(std::chrono::steady_clock::time_point heard, Seconds patience) const;
  void welcome();
  void lose(int rank);

  const int size_;
  std::atomic<Seconds> deadline_, beat_;
  std::atomic<std::chrono::steady_clock::time_point> since_ = std::chrono::steady_clock::now();  // the deadline holds
  const Over over_;
  Socket listener_, socket_;
  uint64_t token_ = 0;
  std::string invitation_;
  std::vector<Guest> guests_;  // by rank; of the first process
  mutable std::mutex mutex_;
  std::vector<int> lost_;
  std::atomic<int> losses_ = 0;
  std::atomic<Bond> bond_ = Bond::kHolds;
  std::atomic<bool> leaves_ = false;
  std::thread thread_;
};

}  // namespace agon
