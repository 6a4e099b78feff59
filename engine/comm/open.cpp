// Which processes share this run: found out from what their launcher leaves in the environment.
#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>

#include "engine/comm/communicator.h"
#include "engine/comm/tcp.h"
#include "kernels/error.h"

namespace fs = std::filesystem;

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
  Dl_info info{};
  const bool found = dladdr(reinterpret_cast<const void*>(&open_mpi), &info) && info.dli_fname;
  const fs::path path = (found ? fs::absolute(info.dli_fname).parent_path() : fs::path(".")) / "libagon_mpi.so";
  const auto refuse = [](const std::string& why) {
    fail(Fault::kUsage, "{} processes share this run, but {}; run one process, or build agon where MPI is", processes(),
         why);
  };
  if (!fs::exists(path)) refuse(fmt::format("this build of agon has no MPI plug-in (there is no {})", path.string()));
  // Global: what MPI opens by itself looks for the symbols of its libraries.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (!library) refuse(fmt::format("the MPI plug-in cannot be opened: {}", dlerror()));
  auto* entry = reinterpret_cast<CommunicatorPluginEntry*>(dlsym(library, kCommunicatorPluginEntry));
  const CommunicatorPlugin* plugin = entry ? entry() : nullptr;
  if (!plugin || std::string(plugin->abi) != AGON_VERSION)
    refuse(fmt::format("{} was built for another version of agon", path.string()));
  return plugin->open();
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
