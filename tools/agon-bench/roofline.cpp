// What a device reaches at best: the roofline that rows are held against (Williams, Waterman & Patterson 2009).
#include <algorithm>
#include <chrono>

#include "tools/agon-bench/bench.h"

namespace agon::bench {
namespace {

/// Seconds of one run, the best of a few; each time several are queued before the wait.
template <class Run>
double best_seconds(Device& device, Run run, int queued) {
  using Clock = std::chrono::steady_clock;
  double best = 0;
  for (int i = 0; i < 6; ++i) {
    device.synchronize();
    const auto start = Clock::now();
    for (int n = 0; n < queued; ++n) run();
    device.synchronize();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count() / queued;
    if (i == 1 || (i > 1 && seconds < best)) best = seconds;  // the first one makes plans
  }
  return best;
}

/// Of one graph after the other, each of one operation: lists that come again are replayed.
double launch_seconds(Device& device, const std::shared_ptr<Device>& borrowed) {
  Arena arena(borrowed);
  const ops::Advance count{arena.values(std::vector<uint64_t>{0})};
  const auto launch = [&] {
    device.run(count);
    device.flush();
  };
  return best_seconds(device, launch, 1000);
}

}  // namespace

double Roofline::seconds(const Work& work) const {
  return std::max(work.bytes / bytes_per_second, work.flops / flops_per_second[static_cast<int>(work.precision)]);
}

double Roofline::seconds_launched(const Work& work) const {
  return std::max(work.bytes / bytes_per_second + launch_seconds,
                  work.flops / flops_per_second[static_cast<int>(work.precision)]);
}

Roofline measure_roofline(Device& device) {
  const std::shared_ptr<Device> borrowed(&device, [](Device*) {});
  const bool cpu = device.name() == "cpu", emulated = device.name().find("emulated") != std::string::npos;
  Roofline roofline;
  if (!cpu) roofline.launch_seconds = launch_seconds(device, borrowed);
  {
    const int64_t count = emulated ? 1 << 16 : int64_t{1} << 26;  // 256 MB
    Arena arena(borrowed);
    const ops::Axpby copy{1, count, arena.floats(1, count), arena.floats(1, count), 0.f, 1.f, true};
    const double seconds = best_seconds(
        device, [&] { device.run(copy); }, cpu ? 1 : 10);
    roofline.bytes_per_second = 8. * static_cast<double>(count) / seconds;
  }
  const int64_t n = emulated ? 64 : cpu ? 1024 : 8192;
  Arena arena(borrowed);
  const Floats a = arena.floats(1, n * n), b = arena.floats(1, n * n), c = arena.floats(1, n * n);
  for (const Precision precision : {Precision::kFp32, Precision::kTf32, Precision::kBf16}) {
    const ops::Gemm product{
        .replicas = 1, .m = n, .n = n, .k = n, .a = a, .b = b, .c = c, .precision = precision, .split = true};
    const double seconds = best_seconds(
        device, [&] { device.run(product); }, 1);
    const double flops = 2. * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
    roofline.flops_per_second[static_cast<int>(precision)] = flops / seconds;
  }
  return roofline;
}

}  // namespace agon::bench
