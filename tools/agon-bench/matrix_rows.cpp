// Matrix products and convolutions, next to the library they stand on: a plain call of oneDNN, and what agon does by
// cuBLAS and by cuDNN alone, which includes rounding operands to bf16 and turning weights into cuDNN's order.
#include <cstdlib>

#include "kernels/cpu/baseline.h"
#include "tools/agon-bench/bench.h"
#include "tools/agon-bench/shapes.h"

namespace agon::bench {
namespace {

using Direction = ops::Convolution::Direction;

struct GemmRow {
  std::string name;
  int64_t m, n, k;
  bool transpose_a, transpose_b;
};

constexpr int64_t kBatch = 20;

/// The three products of a dense layer.
std::vector<GemmRow> gemms(const DenseShape& layer) {
  return {{layer.name + " forward", kBatch, layer.out, layer.in, false, false},
          {layer.name + " input grad", kBatch, layer.in, layer.out, false, true},
          {layer.name + " weight grad", layer.in, layer.out, kBatch, true, false}};
}

/// A hundred replicas of the largest images would not fit into every machine's memory.
bool fits(const Bench& bench, const Work& work) { return !bench.is_cpu() || work.bytes < 2e9; }

std::string label(Precision precision) {
  const char* const names[] = {"/fp32", "/tf32", "/bf16"};
  return names[static_cast<int>(precision)];
}

/// The same device with all products by one of the libraries it stands on; a product that the library cannot do is
/// an error there. Null on the CPU.
std::shared_ptr<Device> by_library(const Bench& bench, const std::string& library) {
  if (bench.is_cpu()) return nullptr;
  setenv("AGON_CUDA_WAY", (library + "!").c_str(), 1);  // read when a device is opened
  std::shared_ptr<Device> device = open_device(bench.device->name());
  unsetenv("AGON_CUDA_WAY");
  return device;
}

/// `plain_dnnl`: replica 0 by oneDNN alone.
void add_gemm(const Bench& bench, const GemmRow& row, Precision precision, int64_t replicas,
              const std::string& suffix = "", bool plain_dnnl = false) {
  const double r = static_cast<double>(replicas);
  const Work work{2. * r * double(row.m) * double(row.n) * double(row.k),
                  4. * r * double(row.m * row.k + row.k * row.n + row.m * row.n), precision};
  if (!fits(bench, work)) return;
  const auto make = [=](const std::shared_ptr<Device>& device) -> std::function<void()> {
    const auto arena = std::make_shared<Arena>(device);
    const ops::Gemm op{.replicas = replicas,
                       .m = row.m,
                       .n = row.n,
                       .k = row.k,
                       .transpose_a = row.transpose_a,
                       .transpose_b = row.transpose_b,
                       .a = arena->floats(replicas, row.m * row.k),
                       .b = arena->floats(replicas, row.k * row.n),
                       .c = arena->floats(replicas, row.m * row.n),
                       .precision = precision,
                       .split = replicas == 1};
    if (plain_dnnl) {
      device->synchronize();
      const auto run = cpu::plain_dnnl(op);
      if (!run) return nullptr;
      return [arena, run] { run(); };
    }
    return [arena, op] { arena->device().run(op); };
  };
  add_row(bench, "gemm/" + row.name + label(precision) + suffix + "/R" + std::to_string(replicas), work, make);
}

void add_convolution(const Bench& bench, const ConvolutionShape& row, Direction direction, Precision precision,
                     int64_t replicas, const std::string& suffix = "", bool plain_dnnl = false) {
  const int64_t out_size = (row.size + 2 * row.pad - row.kernel) / row.stride + 1;
  const int64_t x = kBatch * row.size * row.size * row.in, y = kBatch * out_size * out_size * row.out,
                w = row.kernel * row.kernel * row.in * row.out;
  const double r = static_cast<double>(replicas);
  const Work work{2. * r * double(kBatch * out_size * out_size) * double(w), 4. * r * double(x + w + y), precision};
  if (!fits(bench, work)) return;
  const auto make = [=](const std::shared_ptr<Device>& device) -> std::function<void()> {
    const auto arena = std::make_shared<Arena>(device);
    const ops::Convolution op{.direction = direction,
                              .replicas = replicas,
                              .batch = kBatch,
                              .height = row.size,
                              .width = row.size,
                              .in_channels = row.in,
                              .out_height = out_size,
                              .out_width = out_size,
                              .out_channels = row.out,
                              .kernel = row.kernel,
                              .stride = row.stride,
                              .pad = row.pad,
                              .x = arena->floats(replicas, x),
                              .w = arena->floats(replicas, w),
                              .y = arena->floats(replicas, y),
                              .precision = precision,
                              .split = replicas == 1};
    device->synchronize();
    if (plain_dnnl) {
      const auto run = cpu::plain_dnnl(op);
      if (!run) return nullptr;
      return [arena, run] { run(); };
    }
    return [arena, op] { arena->device().run(op); };
  };
  const char* const directions[] = {"/forward", "/input grad", "/weight grad"};
  add_row(bench,
          "conv/" + row.name + directions[static_cast<int>(direction)] + label(precision) + suffix + "/R" +
              std::to_string(replicas),
          work, make);
}

}  // namespace

void add_matrix_rows(const Bench& bench) {
  std::vector<Precision> precisions{Precision::kFp32, Precision::kBf16};
  if (!bench.is_cpu()) precisions.push_back(Precision::kTf32);
  Bench cublas = bench, cudnn = bench;
  cublas.device = by_library(bench, "cublas"), cudnn.device = by_library(bench, "cudnn");
  for (const Precision precision : precisions) {
    for (const DenseShape& layer : paper_shapes().dense)
      for (const GemmRow& row : gemms(layer)) {
        if (bench.is_cpu()) add_gemm(bench, row, precision, 1, "/plain oneDNN", true);
        for (const int64_t replicas : {1, 10, 100}) {
          add_gemm(bench, row, precision, replicas);
          if (cublas.device)
            add_gemm(cublas, row, precision, replicas,
                     precision == Precision::kBf16 ? "/by cuBLAS, with rounding" : "/by cuBLAS");
        }
      }
    for (const ConvolutionShape& row : paper_shapes().convolutions)
      for (const Direction direction : {Direction::kForward, Direction::kInputGrad, Direction::kWeightGrad}) {
        for (const int64_t replicas : {1, 10, 100}) add_convolution(bench, row, direction, precision, replicas);
        if (bench.is_cpu()) add_convolution(bench, row, direction, precision, 1, "/plain oneDNN", true);
        if (cudnn.device && precision != Precision::kBf16)
          add_convolution(cudnn, row, direction, precision, 1, "/by cuDNN, weights turned");
      }
  }
}

}  // namespace agon::bench
