#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/error.h"

namespace agon {

/// A process of the run does not answer any more: what the others were doing together cannot be finished.
class ProcessLost : public Error {
 public:
  ProcessLost() : Error(Fault::kRun, "a process of this run was lost") {}
};

/// The first process does not: the run is over, and all that are left know it.
class FirstLost : public Error {
 public:
  using Error::Error;
};

/// The others went on without this process, which did not answer in time.
class Refused : public Error {
 public:
  using Error::Error;
};

/// The processes that share a run, ranks 0 .. size - 1, and what passes between them: host memory, as it is.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual std::string name() const = 0;  ///< "local", "mpi", "tcp"
  virtual int rank() const = 0;
  virtual int size() const = 0;

  struct Outgoing {
    int to;
    const void* data;
    size_t bytes;
  };
  struct Incoming {
    int from;
    void* data;
    size_t bytes;
  };
  /// Sends and receives at the same time, and returns when all is done. What one rank sends to another arrives in the
  /// order of both lists. Throws ProcessLost when a process was lost since the last settle(), FirstLost when the first
  /// was, Refused when this one was.
  virtual void exchange(std::span<const Outgoing> out, std::span<const Incoming> in) = 0;
  /// True at all ranks if `flag` is true at any.
  bool any(bool flag);
  /// Rank 0's number, at all ranks.
  int64_t from_first(int64_t value);

  /// From now on a process that dies, or does not answer for `deadline` seconds, counts as lost. Called by all.
  virtual void watch(double deadline) { (void)deadline; }
  /// After ProcessLost, by all that are left: from now on nobody waits for who was lost.
  virtual void settle() {}
  virtual bool present(int rank) const { return rank >= 0; }

  /// Whether it is this process that tells people what happened to all: the first, or after its loss the next.
  virtual bool speaks() const { return rank() == 0; }

  /// Ends all processes that are left of the run with this exit code, or, where this one was refused or has lost the
  /// first, itself. Does not return.
  [[noreturn]] virtual void abandon(int exit_code) = 0;
  /// Before this process ends well: does not return if others were lost, who would be waited for in vain.
  virtual void part() {}

  /// While something else than exchange() is waited for: throws what that throws if somebody was lost since the last
  /// settle(). With a `suspicion` that somebody was it waits until the matter is clear, which may take seconds.
  virtual void check(bool suspicion = false) { (void)suspicion; }
};

/// A process without others.
std::shared_ptr<Communicator> alone();

/// This process's: MPI's if mpirun started it together with others, TCP connections if it was told in its environment
/// where to meet others (tcp.h), else the process alone. Opened with the first call; throws Error(kUsage) if mpirun
/// started others and agon was built without MPI, Error(kRun) if the others do not come.
std::shared_ptr<Communicator> communicator();

/// What a communicator's plug-in exports: libagon_mpi.so beside libagon.so, opened where there are several processes.
struct CommunicatorPlugin {
  const char* abi;  ///< as of a device's plug-in
  std::shared_ptr<Communicator> (*open)();
  std::string (*libraries)();  ///< as of a device's plug-in
};
inline constexpr const char* kCommunicatorPluginEntry = "agon_communicator_plugin";

}  // namespace agon
