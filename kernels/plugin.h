#pragma once

// How a back end comes as a shared library of its own, so that agon starts without the vendor's libraries and runs
// where they are missing: libagon_<kind>.so beside libagon.so, opened when a device of its kind is asked for.

#include <memory>
#include <string>

#include "kernels/device.h"
#include "kernels/sharing.h"

namespace agon {

/// What a plug-in offers. The first member stays the first for ever: it is read before anything else is trusted.
struct DevicePlugin {
  const char* abi;                             ///< AGON_PLUGIN_ABI of the plug-in: must be equal to the program's
  int (*count)(std::string& reason);           ///< devices that can be opened; `reason` says why there are none
  std::string (*describe)(int index);          ///< name and memory of a device, without opening it
  std::shared_ptr<Device> (*open)(int index);  ///< throws Error
  NativeQueue (*queue)(Device& device);        ///< of a device that `open` has opened
  std::string (*libraries)();                  ///< the vendor's, with their versions: "CUDA 13.0, cuDNN 9.19.0"
};

/// The one symbol that a plug-in exports: a PluginEntry.
inline constexpr const char* kDevicePluginEntry = "agon_device_plugin";

/// Returns a struct whose first member is the plug-in's ABI.
using PluginEntry = const void*();

/// As DevicePlugin::libraries, of the CPU's back end, which is always there.
std::string cpu_libraries();

/// Who else finds the symbols of a plug-in, and of the libraries that it brings.
enum class PluginSymbols { kOwn, kGlobal };

/// Opens libagon_<kind>.so, beside libagon.so or in $AGON_PLUGIN_PATH, and returns what its function `entry` does.
/// Null, and the reason why, if its ABI is not this program's.
const void* open_plugin(const std::string& kind, const char* entry, std::string& reason,
                        PluginSymbols symbols = PluginSymbols::kOwn);

}  // namespace agon
