// agon-bench: microbenchmarks of the device operations, at the shapes of the papers' networks.
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "kernels/error.h"
#include "tools/agon-bench/bench.h"

namespace agon::bench {

void add_row(const std::shared_ptr<Device>& device, const std::string& name, Work work, Make make) {
  benchmark::RegisterBenchmark(name.c_str(),
                               [=](benchmark::State& state) {
                                 const std::function<void()> run = make(device);
                                 if (!run) return state.SkipWithError("not available");
                                 run();  // plans and work space are made once
                                 for (auto _ : state) run();
                                 const auto rate = benchmark::Counter::kIsIterationInvariantRate;
                                 if (work.flops > 0)
                                   state.counters["GFLOP/s"] = benchmark::Counter(work.flops * 1e-9, rate);
                                 if (work.bytes > 0)
                                   state.counters["GB/s"] = benchmark::Counter(work.bytes * 1e-9, rate);
                               })
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond);
}

}  // namespace agon::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);  // takes its own --benchmark_... options
  CLI::App app{"agon-bench: microbenchmarks; options of Google Benchmark, such as --benchmark_filter=REGEX, work too"};
  std::string device_name = "auto";
  int threads = 0;
  app.add_option("--device", device_name, "auto, cpu, cuda or cuda:K");
  app.add_option("--threads", threads, "threads of the cpu device; 0: all cores");
  CLI11_PARSE(app, argc, argv);
  try {
    const auto device = agon::open_device(device_name, threads);
    benchmark::AddCustomContext("device", device->name() + ": " + device->description());
    agon::bench::add_matrix_rows(device);
    agon::bench::add_elementwise_rows(device);
    benchmark::RunSpecifiedBenchmarks();
  } catch (const agon::Error& error) {
    fmt::print(stderr, "agon-bench: {}\n", error.what());
    return error.exit_code();
  }
}
