#pragma once

#include <benchmark/benchmark.h>

#include <functional>
#include <string>

#include "kernels/device.h"

namespace agon::bench {

/// What one run of a row does.
struct Work {
  double flops = 0, bytes = 0;
};

/// Registers one line of the benchmark. make(device) allocates the row's operands and returns what is timed; it is
/// called only when the row is selected.
using Make = std::function<std::function<void()>(const std::shared_ptr<Device>&)>;
void add_row(const std::shared_ptr<Device>& device, const std::string& name, Work work, Make make);

/// Each family of rows, in its own file.
void add_matrix_rows(const std::shared_ptr<Device>& device);
void add_elementwise_rows(const std::shared_ptr<Device>& device);

}  // namespace agon::bench
