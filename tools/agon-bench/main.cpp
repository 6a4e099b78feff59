// agon-bench: microbenchmarks of the device operations, at the shapes of the papers' networks, on every device found.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string_view>

#include "kernels/error.h"
#include "tools/agon-bench/bench.h"

namespace agon::bench {

void add_row(const Bench& bench, const std::string& name, Work work, Make make) {
  const double least = bench.roofline.seconds(work);
  // A GPU is given many operations before the wait, as in training; waiting for each would time the wait.
  const int queued = bench.is_cpu() ? 1 : 20;
  benchmark::RegisterBenchmark((name + "/" + bench.device->name()).c_str(),
                               [=, device = bench.device](benchmark::State& state) {
                                 std::function<void()> run;
                                 try {
                                   run = make(device);
                                   if (!run) return state.SkipWithError("not available");
                                   for (int i = 0; i < 3; ++i) {  // plans, work space and graphs are made once
                                     for (int n = 0; n < queued; ++n) run();
                                     device->synchronize();
                                   }
                                 } catch (const Error& error) {
                                   return state.SkipWithError(error.what());
                                 }
                                 using Clock = std::chrono::steady_clock;
                                 const auto start = Clock::now();
                                 while (state.KeepRunningBatch(queued)) {
                                   for (int n = 0; n < queued; ++n) run();
                                   device->synchronize();
                                 }
                                 const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
                                 const auto rate = benchmark::Counter::kIsIterationInvariantRate;
                                 if (work.flops > 0)
                                   state.counters["GFLOP/s"] = benchmark::Counter(work.flops * 1e-9, rate);
                                 if (work.bytes > 0)
                                   state.counters["GB/s"] = benchmark::Counter(work.bytes * 1e-9, rate);
                                 // A share, so not one of the library's rates, which are printed with "/s".
                                 state.counters["roofline%"] =
                                     100. * least * static_cast<double>(state.iterations()) / seconds;
                               })
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond);
}

namespace {

Bench open(const std::string& name, int threads) {
  Bench bench{open_device(name, threads), {}};
  bench.roofline = measure_roofline(*bench.device);
  const Roofline& r = bench.roofline;
  benchmark::AddCustomContext(bench.device->name(), bench.device->description());
  benchmark::AddCustomContext(
      bench.device->name() + " roofline",
      fmt::format("copy {:.1f} GB/s; products fp32 {:.0f}, tf32 {:.0f}, bf16 {:.0f} GFLOP/s", r.bytes_per_second * 1e-9,
                  r.flops_per_second[0] * 1e-9, r.flops_per_second[1] * 1e-9, r.flops_per_second[2] * 1e-9));
  return bench;
}

void run_rows(const std::string& device_name, int threads) {
  std::vector<std::string> names{device_name};
  if (device_name == "all") {
    names.clear();
    for (const DeviceInfo& device : list_devices())
      if (device.usable) names.push_back(device.name);
  }
  for (const std::string& name : names) {
    const Bench bench = open(name, threads);
    add_elementwise_rows(bench);
    add_layer_rows(bench);
    add_matrix_rows(bench);  // many, so they come last
  }
  benchmark::RunSpecifiedBenchmarks();
}

int run(int argc, char** argv) {
  // Takes its own --benchmark_... options, and would take --help, too, and say nothing of ours.
  const auto asks = [](std::string_view argument) { return argument == "--help" || argument == "-h"; };
  if (std::none_of(argv, argv + argc, asks)) benchmark::Initialize(&argc, argv);
  CLI::App app{
      "agon-bench: microbenchmarks. Options of Google Benchmark work too: --benchmark_filter=REGEX chooses rows,\n"
      "--benchmark_out=FILE.json writes them. roofline% is the share of what the device's measured copy bandwidth and\n"
      "matrix products allow. Rows \"by cuBLAS\" and \"by cuDNN\" are the same operation by that library alone, with "
      "what it\n"
      "takes to call it; where the library cannot do it, the row is an error, not a time of another way."};
  std::string device_name = "all";
  int threads = 0;
  std::vector<std::string> files;
  double percent = 5;
  app.add_option("--device", device_name, "all, auto, cpu, cuda or cuda:K");
  app.add_option("--threads", threads, "threads of the cpu device; 0: all cores");
  app.add_option("--compare", files, "OLD.json NEW.json: which rows got slower")->expected(2);
  app.add_option("--percent", percent, "what --compare calls slower");
  IterationRun iteration;
  CLI::App* command = app.add_subcommand("iteration", "Times whole training iterations of a preset");
  command->add_option("PRESET|FILE.toml", iteration.source)->required();
  command->add_option("--set", iteration.assignments, "Sets one key; repeatable")->allow_extra_args(false);
  command->add_option("--device", iteration.device, "auto, cpu, cuda or cuda:K");
  command->add_option("--threads", iteration.threads, "threads of the cpu device; 0: all cores");
  command->add_option("--iterations", iteration.iterations, "0: as many as take some seconds");
  command->add_flag("--json", iteration.json, "a JSON object as the last line");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    fail(Fault::kUsage, "{}; see agon-bench --help", error.what());
  }
  if (command->parsed())
    run_iterations(iteration);
  else if (!files.empty())
    return compare(files[0], files[1], percent) > 0 ? 1 : 0;
  else
    run_rows(device_name, threads);
  return 0;
}

}  // namespace
}  // namespace agon::bench

int main(int argc, char** argv) {
  try {
    return agon::bench::run(argc, argv);
  } catch (const agon::Error& error) {
    fmt::print(stderr, "agon-bench: {}\n", error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    fmt::print(stderr, "agon-bench: {}\n", error.what());
    return static_cast<int>(agon::Fault::kRun);
  }
}
