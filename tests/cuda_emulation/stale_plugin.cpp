// A plug-in of another day, for the test that it is refused.
#include "kernels/plugin.h"

extern "C" const void* agon_device_plugin() {
  static const agon::DevicePlugin plugin{"0.0.1 (of another day)", nullptr, nullptr, nullptr};
  return &plugin;
}
