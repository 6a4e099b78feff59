#pragma once

#include <benchmark/benchmark.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/device.h"

namespace agon::bench {

/// What one run of a row does: floating point operations, and bytes that must be read or written at least.
struct Work {
  double flops = 0, bytes = 0;
  Precision precision = Precision::kFp32;  ///< of the products
};

/// What a device reaches at best, measured: a copy of more than its caches hold, square products, and the launch of a
/// graph that does next to nothing.
struct Roofline {
  double bytes_per_second = 0;
  double flops_per_second[3] = {};  ///< by precision
  double launch_seconds = 0;        ///< 0 where there are no graphs
  /// Seconds that the work takes at least, as a part of a graph.
  double seconds(const Work& work) const;
  /// The same as a graph of its own: max(bytes / copy + launch, FLOPs / products).
  double seconds_launched(const Work& work) const;
};
Roofline measure_roofline(Device& device);

/// A device with its roofline.
struct Bench {
  std::shared_ptr<Device> device;
  Roofline roofline;
  bool is_cpu() const { return device->name() == "cpu"; }
};

/// Registers one line of the benchmark, NAME/DEVICE. make(device) allocates the row's operands and returns what is
/// timed: it queues the work, waiting is done for it. Called only when the row is selected; returns null if there is no
/// such row for the device.
using Make = std::function<std::function<void()>(const std::shared_ptr<Device>&)>;
void add_row(const Bench& bench, const std::string& name, Work work, Make make);

/// Memory for one row, filled with a value that is neither zero nor denormal.
class Arena {
 public:
  explicit Arena(std::shared_ptr<Device> device) : device_(std::move(device)) {}
  Device& device() const { return *device_; }

  Floats floats(int64_t replicas, int64_t count, float value = 0.5f) {
    floats_.emplace_back(device_, replicas * count);
    const Floats block{floats_.back().data(), count};
    device_->run(ops::Fill{replicas, count, block, value});
    return block;
  }
  /// Zeros: labels, step counts, indices.
  Ints ints(int64_t replicas, int64_t count = 1) {
    ints_.emplace_back(device_, replicas * count);
    return {ints_.back().data(), count};
  }
  template <class T>
  T* values(const std::vector<T>& host) {
    auto buffer = std::make_shared<Buffer<T>>(device_, static_cast<int64_t>(host.size()));
    buffer->set(host);
    others_.push_back(buffer);
    return buffer->data();
  }

 private:
  std::shared_ptr<Device> device_;
  std::vector<Buffer<float>> floats_;
  std::vector<Buffer<int32_t>> ints_;
  std::vector<std::shared_ptr<void>> others_;
};

/// A row of one operation that moves `floats` numbers at least: make(arena) gives the operation.
template <class MakeOp>
void add_operation(const Bench& bench, const std::string& name, int64_t floats, MakeOp make) {
  add_row(bench, name, {.bytes = 4. * static_cast<double>(floats)},
          [make](const std::shared_ptr<Device>& device) -> std::function<void()> {
            const auto arena = std::make_shared<Arena>(device);
            return [arena, op = make(*arena)] { arena->device().run(op); };
          });
}

/// Each family of rows, in its own file.
void add_matrix_rows(const Bench& bench);
void add_elementwise_rows(const Bench& bench);
void add_layer_rows(const Bench& bench);

/// Times whole training iterations of a preset or settings file, on made-up data of the right shape, and prints two
/// lines (and a JSON object, with `json`): time and memory, each beside what it should be.
struct IterationRun {
  std::string source, device = "auto";
  std::vector<std::string> assignments;
  int threads = 0, iterations = 0;  ///< 0: as many as take some seconds
  bool json = false;
};
void run_iterations(const IterationRun& run);

/// Prints which rows of two JSON files of Google Benchmark differ by more than `percent`, the worst first. Returns the
/// number of those that got slower.
int compare(const std::string& before, const std::string& after, double percent);

}  // namespace agon::bench
