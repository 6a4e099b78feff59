#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace agon {

/// The processes that share a run, ranks 0 .. size - 1, and what passes between them: host memory, as it is.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual std::string name() const = 0;  ///< "local", "mpi"
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
  /// order of both lists. Throws Error(kRun) when a process does not answer any more.
  virtual void exchange(std::span<const Outgoing> out, std::span<const Incoming> in) = 0;
  /// True at all ranks if `flag` is true at any.
  virtual bool any(bool flag) const = 0;
  /// Rank 0's number, at all ranks.
  virtual int64_t from_first(int64_t value) const = 0;

  /// Ends the other processes, too, with this exit code. Does not return.
  [[noreturn]] virtual void abandon(int exit_code) = 0;
};

/// A process without others.
std::shared_ptr<Communicator> alone();

/// This process's: MPI's if mpirun started it together with others, else the process alone. Opened with the first call;
/// throws Error(kUsage) if there are others and agon was built without MPI.
std::shared_ptr<Communicator> communicator();

/// What a communicator's plug-in exports: libagon_mpi.so beside libagon.so, opened where there are several processes.
struct CommunicatorPlugin {
  const char* abi;  ///< as of a device's plug-in
  std::shared_ptr<Communicator> (*open)();
};
using CommunicatorPluginEntry = const CommunicatorPlugin*();
inline constexpr const char* kCommunicatorPluginEntry = "agon_communicator_plugin";

}  // namespace agon
