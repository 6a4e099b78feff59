// Which processes share this run: found out from what their launcher leaves in the environment.
#include <algorithm>
#include <cstdlib>

#include "engine/comm/communicator.h"
#include "engine/comm/tcp.h"
#include "kernels/error.h"
#include "kernels/plugin.h"

namespace agon {
namespace {

/// One process for all participants.
class Alone final : public Communicator {
 public:
  std::string name() const override { return "local"; }
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void exchange(std::span<const Outgoing>, std::span<const Incoming>) override {}
  void abandon(int exit_code) override { std::_Exit(exit_code); }
};

/// As Open MPI, or a launcher that speaks PMI, says it.
int processes() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"})
    if (const char* value = std::getenv(name)) return std::max(1, std::atoi(value));
  return 1;
}

std::shared_ptr<Communicator> open_mpi() {
  std::string reason;
  // Global: what MPI opens by itself looks for the symbols of its libraries.
  const void* plugin = open_plugin("mpi", kCommunicatorPluginEntry, reason, PluginSymbols::kGlobal);
  if (!plugin)
    fail(Fault::kUsage, "{} processes share this run, but {}; run one process, or build agon where MPI is", processes(),
         reason);
  return static_cast<const CommunicatorPlugin*>(plugin)->open();
}

std::shared_ptr<Communicator> open_communicator() {
  if (processes() > 1) return open_mpi();
  const std::optional<Meeting> meeting = meeting_of_environment();
  return meeting && meeting->size > 1 ? meet(*meeting) : alone();
}

}  // namespace

std::shared_ptr<Communicator> alone() { return std::make_shared<Alone>(); }

std::shared_ptr<Communicator> communicator() {
  static const std::shared_ptr<Communicator> shared = open_communicator();
  return shared;
}

}  // namespace agon
