#pragma once

#include <memory>
#include <string>

#include "kernels/device.h"

namespace agon::cpu {

/// threads 0: all cores that this process may use.
std::shared_ptr<Device> open(int threads);
/// "oneDNN 2.7.3"
std::string libraries();

}  // namespace agon::cpu
