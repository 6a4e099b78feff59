// Matrix products and convolutions, next to the plain oneDNN call for the same product.
#include "kernels/cpu/baseline.h"
#include "tools/agon-bench/bench.h"

namespace agon::bench {
namespace {

using Direction = ops::Convolution::Direction;

struct GemmRow {
  std::string name;
  int64_t m, n, k;
  bool transpose_a, transpose_b;
};

const GemmRow kGemms[] = {
    {"mlp 1 forward", 20, 512, 784, false, false},      {"mlp 1 input grad", 20, 784, 512, false, true},
    {"mlp 1 weight grad", 784, 512, 20, true, false},   {"mlp 2 forward", 20, 512, 512, false, false},
    {"mlp 2 input grad", 20, 512, 512, false, true},    {"mlp 2 weight grad", 512, 512, 20, true, false},
    {"mlp 3 forward", 20, 11, 512, false, false},       {"cnn head forward", 20, 11, 8192, false, false},
    {"cnn head input grad", 20, 8192, 11, false, true}, {"cnn head weight grad", 8192, 11, 20, true, false},
    {"cnn G forward", 20, 6272, 100, false, false},     {"cnn G weight grad", 100, 6272, 20, true, false},
};

struct ConvRow {
  std::string name;
  int64_t size, in, out, kernel, stride, pad;
};

/// The discriminators' convolutions, and the generators' transposed ones seen from their map side.
const ConvRow kConvolutions[] = {
    {"mnist D1", 28, 1, 16, 3, 2, 1},  {"mnist D2", 14, 16, 32, 3, 1, 1},  {"mnist D3", 14, 32, 64, 3, 2, 1},
    {"mnist D4", 7, 64, 128, 3, 1, 1}, {"mnist D5", 7, 128, 256, 3, 2, 1}, {"mnist D6", 4, 256, 512, 3, 1, 1},
    {"cifar D1", 32, 3, 16, 3, 2, 1},  {"cifar D2", 16, 16, 32, 3, 1, 1},  {"cifar D3", 16, 32, 64, 3, 2, 1},
    {"cifar D4", 8, 64, 128, 3, 1, 1}, {"cifar D5", 8, 128, 256, 3, 2, 1}, {"mnist G1", 14, 32, 128, 5, 2, 2},
    {"mnist G2", 28, 1, 32, 5, 2, 2},  {"cifar G1", 8, 192, 384, 5, 2, 2}, {"cifar G2", 16, 96, 192, 5, 2, 2},
    {"cifar G3", 32, 3, 96, 5, 2, 2},
};

constexpr int64_t kBatch = 20;

/// Operands filled with values that are neither zero nor denormal.
struct Operands {
  std::vector<Buffer<float>> buffers;

  Floats add(const std::shared_ptr<Device>& device, int64_t replicas, int64_t count) {
    buffers.emplace_back(device, replicas * count);
    device->run(ops::Fill{.replicas = replicas, .count = count, .y = {buffers.back().data(), count}, .value = 0.5f});
    return {buffers.back().data(), count};
  }
};

std::string label(Precision precision) { return precision == Precision::kBf16 ? "/bf16" : "/fp32"; }

void add_gemm(const std::shared_ptr<Device>& device, const GemmRow& row, Precision precision, int64_t replicas) {
  const double r = static_cast<double>(replicas);
  const Work work{2. * r * double(row.m) * double(row.n) * double(row.k),
                  4. * r * double(row.m * row.k + row.k * row.n + row.m * row.n)};
  const auto make = [=](const std::shared_ptr<Device>& device) -> std::function<void()> {
    const auto operands = std::make_shared<Operands>();
    const ops::Gemm op{.replicas = replicas,
                       .m = row.m,
                       .n = row.n,
                       .k = row.k,
                       .transpose_a = row.transpose_a,
                       .transpose_b = row.transpose_b,
                       .a = operands->add(device, replicas, row.m * row.k),
                       .b = operands->add(device, replicas, row.k * row.n),
                       .c = operands->add(device, replicas, row.m * row.n),
                       .precision = precision,
                       .split = replicas == 1};
    return [device, operands, op] {
      device->run(op);
      device->synchronize();
    };
  };
  add_row(device, "gemm/" + row.name + label(precision) + "/R" + std::to_string(replicas), work, make);
}

void add_convolution(const std::shared_ptr<Device>& device, const ConvRow& row, Direction direction,
                     Precision precision, int64_t replicas, bool plain) {
  const int64_t out_size = (row.size + 2 * row.pad - row.kernel) / row.stride + 1;
  const int64_t x = kBatch * row.size * row.size * row.in, y = kBatch * out_size * out_size * row.out,
                w = row.kernel * row.kernel * row.in * row.out;
  const double r = static_cast<double>(replicas);
  const Work work{2. * r * double(kBatch * out_size * out_size) * double(w), 4. * r * double(x + w + y)};
  const auto make = [=](const std::shared_ptr<Device>& device) -> std::function<void()> {
    const auto operands = std::make_shared<Operands>();
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
                              .x = operands->add(device, replicas, x),
                              .w = operands->add(device, replicas, w),
                              .y = operands->add(device, replicas, y),
                              .precision = precision,
                              .split = replicas == 1};
    device->synchronize();
    if (plain) {
      const auto run = cpu::plain_dnnl(op);
      if (!run) return nullptr;
      return [operands, run] { run(); };
    }
    return [device, operands, op] {
      device->run(op);
      device->synchronize();
    };
  };
  const char* const directions[] = {"/forward", "/input grad", "/weight grad"};
  add_row(device,
          "conv/" + row.name + directions[static_cast<int>(direction)] + label(precision) +
              (plain ? "/plain oneDNN" : "/R" + std::to_string(replicas)),
          work, make);
}

}  // namespace

void add_matrix_rows(const std::shared_ptr<Device>& device) {
  for (const Precision precision : {Precision::kFp32, Precision::kBf16}) {
    for (const GemmRow& row : kGemms)
      for (const int64_t replicas : {1, 10}) add_gemm(device, row, precision, replicas);
    for (const ConvRow& row : kConvolutions)
      for (const Direction direction : {Direction::kForward, Direction::kInputGrad, Direction::kWeightGrad}) {
        for (const int64_t replicas : {1, 10}) add_convolution(device, row, direction, precision, replicas, false);
        if (device->name() == "cpu") add_convolution(device, row, direction, precision, 1, true);
      }
  }
}

}  // namespace agon::bench
