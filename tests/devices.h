#pragma once

#include <memory>
#include <string>

#include "kernels/device.h"

namespace agon {

/// The device that this run of a test program is about: $AGON_TEST_DEVICE, or the CPU. Programs that ask for it are run
/// once for each device (see CMakeLists.txt); where the device is missing all their tests are skipped, or fail if
/// AGON_REQUIRE_CUDA is 1.
const std::string& test_device_name();
bool testing_cpu();

/// The device, on `threads` threads if it is the CPU. Others are opened once, so that one test's plans, graphs and
/// memory are still there in the next.
std::shared_ptr<Device> test_device(int threads = 0);

}  // namespace agon
