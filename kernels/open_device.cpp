// Opens devices by name: the CPU, which is always there, and those of plug-ins.
#include <dlfcn.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>

#include "kernels/cpu/open.h"
#include "kernels/error.h"
#include "kernels/plugin.h"

namespace fs = std::filesystem;

namespace agon {
namespace {

/// The folder of this library, where its plug-ins are.
fs::path own_folder() {
  Dl_info info{};
  if (!dladdr(reinterpret_cast<const void*>(&own_folder), &info) || !info.dli_fname) return ".";
  return fs::absolute(info.dli_fname).parent_path();
}

/// A plug-in, or the reason why there is none.
struct Plugin {
  const DevicePlugin* entry = nullptr;
  std::string reason;
};

Plugin load(const std::string& kind) {
  Plugin plugin;
  plugin.entry = static_cast<const DevicePlugin*>(open_plugin(kind, kDevicePluginEntry, plugin.reason));
  return plugin;
}

/// Plug-ins stay open until the program ends: their devices may outlive any scope.
const Plugin& plugin(const std::string& kind) {
  static std::mutex mutex;
  static std::map<std::string, Plugin> loaded;
  std::lock_guard lock(mutex);
  const auto found = loaded.find(kind);
  return found != loaded.end() ? found->second : loaded.emplace(kind, load(kind)).first->second;
}

/// Without it nothing is to be found, and opening the plug-in to learn that costs its libraries' 200 MB.
bool has_nvidia_driver() {
  static const bool found = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL) != nullptr;
  return found;
}

/// Devices of a kind; with 0 comes the reason.
int count(const std::string& kind, std::string& reason) {
  const Plugin& found = plugin(kind);
  reason = found.reason;
  return found.entry ? found.entry->count(reason) : 0;
}

/// "cuda", or a plug-in of a name of its own: "cuda-emulated".
bool is_gpu(const std::string& kind) {
  return kind == "cuda" ||
         (kind.rfind("cuda-", 0) == 0 && kind.find_first_not_of("abcdefghijklmnopqrstuvwxyz-") == std::string::npos);
}

/// 2 of "cuda:2"; nothing of "cuda", which is this process's own device.
std::optional<int> index_of(const std::string& name, const std::string& kind) {
  if (kind == name) return {};
  const char *first = name.data() + kind.size() + 1, *last = name.data() + name.size();
  int index = -1;
  const auto [end, error] = std::from_chars(first, last, index);
  if (error != std::errc() || end != last || index < 0)
    fail(Fault::kUsage, "device \"{}\" does not end in a number, expected {}:0, {}:1, ...", name, kind, kind);
  return index;
}

/// This process's GPU, or the CPU. Where there is a driver one expects a GPU, so that its absence has to be said; once
/// is enough.
std::shared_ptr<Device> open_best(int threads) {
  if (!has_nvidia_driver()) return cpu::open(threads);
  std::string reason;
  try {
    if (const int devices = count("cuda", reason)) return plugin("cuda").entry->open(own_device(devices));
  } catch (const Error& error) {
    reason = error.what();
  }
  static std::once_flag said;
  std::call_once(said, [&] { spdlog::warn("there is an NVIDIA driver, but the CPU is used: {}", reason); });
  return cpu::open(threads);
}

}  // namespace

const void* open_plugin(const std::string& kind, const char* entry_name, std::string& reason, PluginSymbols symbols) {
  std::string file = "libagon_" + kind + ".so";
  for (char& c : file)
    if (c == '-') c = '_';
  const auto refuse = [&](std::string why) {
    reason = std::move(why);
    return nullptr;
  };
  const char* folder = std::getenv("AGON_PLUGIN_PATH");
  const fs::path path = (folder && *folder ? fs::path(folder) : own_folder()) / file;
  if (!fs::exists(path))
    return refuse(fmt::format("this build of agon has no {} plug-in (there is no {})", kind, path.string()));
  void* library = dlopen(path.c_str(), RTLD_NOW | (symbols == PluginSymbols::kGlobal ? RTLD_GLOBAL : RTLD_LOCAL));
  if (!library) return refuse(fmt::format("the {} plug-in cannot be opened: {}", kind, dlerror()));
  auto* entry = reinterpret_cast<PluginEntry*>(dlsym(library, entry_name));
  const void* plugin = entry ? entry() : nullptr;
  const char* abi = plugin ? *static_cast<const char* const*>(plugin) : nullptr;
  if (!abi) return refuse(fmt::format("{} is not a plug-in of agon's", path.string()));
  if (std::string(abi) != AGON_PLUGIN_ABI)
    return refuse(fmt::format("{} was built for agon {}, but this is {}; build both together", path.string(), abi,
                              AGON_PLUGIN_ABI));
  return plugin;
}

std::string cpu_libraries() { return cpu::libraries(); }

int own_device(int devices) {
  // torchrun under SLURM sets the last two, and only the first of them is about its own processes.
  for (const char* name : {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "LOCAL_RANK", "SLURM_LOCALID"})
    if (const char* number = std::getenv(name)) return std::max(0, std::atoi(number)) % devices;
  return 0;
}

std::optional<NativeQueue> native_queue(Device& device) {
  const std::string name = device.name(), kind = name.substr(0, name.find(':'));
  if (kind.rfind("cuda", 0) != 0) return {};
  return plugin(kind).entry->queue(device);
}

std::shared_ptr<Device> open_device(const std::string& name, int threads) {
  if (threads < 0) fail(Fault::kUsage, "run.threads is {}, expected 0 (all cores) or a positive number", threads);
  if (name == "auto") return open_best(threads);
  if (name == "cpu") return cpu::open(threads);
  const std::string kind = name.substr(0, name.find(':'));
  if (!is_gpu(kind)) fail(Fault::kUsage, "unknown device \"{}\", expected auto, cpu, cuda or cuda:K", name);
  const std::optional<int> wanted = index_of(name, kind);
  std::string reason;
  const int devices = count(kind, reason);
  if (devices == 0)
    fail(Fault::kUsage, "device \"{}\" was asked for, but {}; --device cpu works everywhere", name, reason);
  const int index = wanted.value_or(own_device(devices));
  if (index >= devices)
    fail(Fault::kUsage, "device \"{}\" was asked for, but there {} {}, {}:0{}", name, devices == 1 ? "is" : "are",
         devices == 1 ? "only one" : fmt::format("only {}", devices), kind,
         devices == 1 ? "" : fmt::format(" to {}:{}", kind, devices - 1));
  return plugin(kind).entry->open(index);
}

std::vector<DeviceInfo> list_devices() {
  std::vector<DeviceInfo> list{{"cpu", cpu::open(0)->description(), true}};
  std::string reason;
  const int devices = count("cuda", reason);
  for (int i = 0; i < devices; ++i)
    list.push_back({fmt::format("cuda:{}", i), plugin("cuda").entry->describe(i), true});
  if (devices == 0) list.push_back({"cuda", reason, false});
  return list;
}

}  // namespace agon
