#pragma once

// How a back end comes as a shared library of its own, so that agon starts without the vendor's libraries and runs
// where they are missing: libagon_<kind>.so beside libagon.so, opened when a device of its kind is asked for.

#include <memory>
#include <string>

#include "kernels/device.h"

namespace agon {

/// What a plug-in offers. The first member stays the first for ever: it is read before anything else is trusted.
struct DevicePlugin {
  const char* abi;                             ///< AGON_PLUGIN_ABI of the plug-in: must be equal to the program's
  int (*count)(std::string& reason);           ///< devices that can be opened; `reason` says why there are none
  std::string (*describe)(int index);          ///< name and memory of a device, without opening it
  std::shared_ptr<Device> (*open)(int index);  ///< throws Error
};

/// The one symbol that a plug-in exports.
using DevicePluginEntry = const DevicePlugin*();
inline constexpr const char* kDevicePluginEntry = "agon_device_plugin";

}  // namespace agon
