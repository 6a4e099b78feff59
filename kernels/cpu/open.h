#pragma once

#include <memory>

#include "kernels/device.h"

namespace agon::cpu {

/// threads 0: all cores that this process may use.
std::shared_ptr<Device> open(int threads);

}  // namespace agon::cpu
