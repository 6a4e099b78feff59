#include "tests/devices.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "kernels/error.h"

namespace agon {
namespace {

/// Opens the device before any test, and says why if that does not work.
class DeviceEnvironment : public testing::Environment {
 public:
  void SetUp() override {
    if (testing_cpu()) return;
    try {
      test_device();
    } catch (const Error& error) {
      const char* required = std::getenv("AGON_REQUIRE_CUDA");
      if (required && std::string(required) == "1") FAIL() << error.what();
      GTEST_SKIP() << error.what();
    }
  }
};

[[maybe_unused]] const testing::Environment* const environment =
    testing::AddGlobalTestEnvironment(new DeviceEnvironment);

}  // namespace

const std::string& test_device_name() {
  static const std::string name = [] {
    const char* value = std::getenv("AGON_TEST_DEVICE");
    return std::string(value && *value ? value : "cpu");
  }();
  return name;
}

bool testing_cpu() { return test_device_name() == "cpu"; }

std::shared_ptr<Device> test_device(int threads) {
  if (testing_cpu()) return open_device("cpu", threads);
  static const auto* const device = new std::shared_ptr<Device>(open_device(test_device_name()));  // never closed
  return *device;
}

}  // namespace agon
