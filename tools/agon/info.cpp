// agon info: what this build is and what it can do here.
#include <CLI/CLI.hpp>

#include "algorithms/algorithm.h"
#include "algorithms/presets.h"
#include "datasets/partition.h"
#include "datasets/reader.h"
#include "datasets/synthetic.h"
#include "engine/comm/carrier.h"
#include "engine/network.h"
#include "engine/text.h"
#include "kernels/plugin.h"
#include "tools/agon/commands.h"

namespace agon::cli {
namespace {

void print_row(const std::string& name, const std::string& meaning) { fmt::print("  {:<21} {}\n", name, meaning); }

/// The libraries of a plug-in, or why there is none.
template <class Plugin>
void print_plugin(const std::string& kind, const char* entry, PluginSymbols symbols = PluginSymbols::kOwn) {
  std::string reason;
  const auto* plugin = static_cast<const Plugin*>(open_plugin(kind, entry, reason, symbols));
  print_row(kind, plugin ? plugin->libraries() : "none: " + reason);
}

void print_info() {
  fmt::print("agon {}  ({} build, {} {})\n\n", AGON_VERSION, AGON_BUILD_TYPE, AGON_COMPILER, __VERSION__);
  fmt::print("devices\n");
  for (const DeviceInfo& device : list_devices())
    print_row(device.name, (device.usable ? "" : "none: ") + device.description);
  fmt::print("\nback ends\n");
  print_row("cpu", cpu_libraries());
  print_plugin<DevicePlugin>("cuda", kDevicePluginEntry);
  print_plugin<CarrierPlugin>("nccl", kCarrierPluginEntry);
  print_plugin<CommunicatorPlugin>("mpi", kCommunicatorPluginEntry, PluginSymbols::kGlobal);
  fmt::print("\nalgorithms\n");
  for (const auto& [name, kind] : algorithm_kinds()) print_row(name, kind.meaning);
  fmt::print("\nnetworks\n");
  for (const Model& model : models()) print_row(model.name, model.meaning);
  fmt::print("\ndata\n");
  for (const std::string& name : synthetic_names()) print_row(name, "built in: " + synthetic_set(name).description);
  for (const Reader& reader : readers()) print_row(reader.kind, reader.expects);
  print_row("partitions", listed(partition_kinds()));
  fmt::print("\n{} presets; `agon presets` lists them\n", presets().size());
}

}  // namespace

void add_info(CLI::App& program) {
  CLI::App* command =
      program.add_subcommand("info", "The build, devices, back ends, algorithms, networks and data formats");
  command->callback(print_info);
}

}  // namespace agon::cli
