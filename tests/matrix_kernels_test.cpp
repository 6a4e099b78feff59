// Matrix products and convolutions of fleets against loops in double precision.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "tests/devices.h"

namespace agon {
namespace {

// Of the sum of the products' magnitudes. tf32 keeps ten bits behind the point of both operands.
// Tensor cores may cut off what tf32 has no room for, of both factors.
constexpr double kTolerance = 2e-6, kTf32Tolerance = 1. / (1 << 9);
constexpr int64_t kGuard = 16;  // floats between, before and after the replicas
constexpr float kGuardWord = 12345.678f;

/// R blocks of `count` floats with guard words around each.
struct Operand {
  int64_t replicas, count;
  std::vector<float> host;

  Operand(int64_t replicas, int64_t count, uint32_t seed)
      : replicas(replicas), count(count), host(static_cast<size_t>(kGuard + replicas * stride()), kGuardWord) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> uniform(-1.f, 1.f);
    for (int64_t r = 0; r < replicas; ++r)
      for (int64_t i = 0; i < count; ++i) at(r)[i] = uniform(random);
  }
  int64_t stride() const { return count + kGuard; }
  float* at(int64_t r) { return host.data() + kGuard + r * stride(); }
  const float* at(int64_t r) const { return host.data() + kGuard + r * stride(); }
  void expect_guards() const {
    for (int64_t r = 0; r <= replicas; ++r)
      for (int64_t i = 0; i < kGuard; ++i)
        ASSERT_EQ(host[static_cast<size_t>(r * stride() + i)], kGuardWord) << "before replica " << r << ", word " << i;
  }
};

/// What the operation computes, and the scale of its rounding errors.
struct Reference {
  std::vector<double> value, magnitude;
  explicit Reference(int64_t count) : value(static_cast<size_t>(count)), magnitude(static_cast<size_t>(count)) {}
  void add(int64_t i, double a, double b) {
    value[static_cast<size_t>(i)] += a * b;
    magnitude[static_cast<size_t>(i)] += std::abs(a * b);
  }
};

/// The CPU has no units for tf32 and computes it in fp32.
double tolerance_of(Precision precision) {
  return precision == Precision::kTf32 && !testing_cpu() ? kTf32Tolerance : kTolerance;
}

void expect_close(const float* found, const Reference& expected, Precision precision) {
  ASSERT_FALSE(expected.value.empty());
  for (size_t i = 0; i < expected.value.size(); ++i) {
    ASSERT_TRUE(std::isfinite(found[i])) << "element " << i;
    ASSERT_LE(std::abs(found[i] - expected.value[i]), tolerance_of(precision) * expected.magnitude[i] + 1e-30)
        << "element " << i << ": expected " << expected.value[i] << ", found " << found[i];
  }
}

void expect_same_bits(const Operand& a, const Operand& b) {
  ASSERT_FALSE(a.host.empty());
  ASSERT_EQ(a.host.size(), b.host.size());
  for (size_t i = 0; i < a.host.size(); ++i) {
    ASSERT_FALSE(std::isnan(a.host[i])) << "word " << i;
    ASSERT_EQ(std::memcmp(&a.host[i], &b.host[i], sizeof(float)), 0)
        << "word " << i << ": " << a.host[i] << " and " << b.host[i];
  }
}

double operand_value(float value, Precision precision) {
  if (precision != Precision::kBf16) return value;
  uint32_t bits;  // rounded to the nearest bfloat16, ties to even
  std::memcpy(&bits, &value, sizeof bits);
  bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// An operation over three operands on the device.
template <class Run>
void on_device(int threads, std::initializer_list<Operand*> operands, Run run) {
  const auto device = test_device(threads);
  std::vector<Buffer<float>> buffers;
  std::vector<Floats> blocks;
  for (Operand* operand : operands) {
    buffers.emplace_back(device, static_cast<int64_t>(operand->host.size()));
    buffers.back().set(operand->host);
    blocks.push_back({buffers.back().data() + kGuard, operand->stride()});
  }
  run(*device, blocks[0], blocks[1], blocks[2]);
  size_t i = 0;
  for (Operand* operand : operands) operand->host = buffers[i++].host();
}

struct GemmCase {
  std::string name;
  int64_t R, m, n, k;
  bool accumulate = false;
};

const GemmCase kGemmCases[] = {
    {"square", 3, 32, 32, 32},
    {"odd", 3, 5, 7, 9},
    {"one row", 3, 1, 33, 17},
    {"one column", 3, 33, 1, 65},
    {"one product", 2, 9, 8, 1},
    {"scalar", 2, 1, 1, 1},
    {"accumulate", 3, 21, 19, 40, 1},
    {"first layer", 2, 20, 512, 784},
    {"middle layer", 1, 10, 512, 512},
    {"head", 3, 20, 11, 512},
    {"wide", 1, 20, 1568, 100},
    {"tall", 1, 784, 64, 20, true},
    // Batches of few rows, sums of few products.
    {"2 rows", 2, 2, 23, 259, true},
    {"3 rows", 2, 3, 24, 300},
    {"4 rows", 2, 4, 25, 64, true},
    {"6 rows", 2, 6, 17, 257},
    {"7 rows", 2, 7, 31, 65, true},
    {"9 rows", 2, 9, 97, 129},
    {"11 rows", 2, 11, 33, 513, true},
    {"13 rows", 2, 13, 40, 71},
    {"19 rows", 2, 19, 47, 264, true},
    {"24 rows", 2, 24, 19, 300},
    {"sums of 3", 2, 29, 37, 3},
    {"sums of 10", 2, 41, 19, 10, true},
    {"sums of 24", 2, 67, 33, 24},
    {"sums of 60", 1, 7, 1115, 60, true},
};

enum class Kind { kNN, kNT, kTN, kTT };
using GemmRow = std::tuple<GemmCase, Kind, Precision, bool>;

struct GemmRun {
  Operand a, b, c;
  explicit GemmRun(const GemmCase& x) : a(x.R, x.m * x.k, 1), b(x.R, x.k * x.n, 2), c(x.R, x.m * x.n, 3) {}

  void go(const GemmRow& row, int threads = 2) {
    const auto& [x, kind, precision, split] = row;
    on_device(threads, {&a, &b, &c}, [&](Device& device, Floats a, Floats b, Floats c) {
      device.run(ops::Gemm{.replicas = this->a.replicas,
                           .m = x.m,
                           .n = x.n,
                           .k = x.k,
                           .transpose_a = kind == Kind::kTN || kind == Kind::kTT,
                           .transpose_b = kind == Kind::kNT || kind == Kind::kTT,
                           .a = a,
                           .b = b,
                           .c = c,
                           .accumulate = x.accumulate,
                           .precision = precision,
                           .split = split});
    });
  }
};

class GemmTest : public testing::TestWithParam<GemmRow> {};
class GemmInTf32Test : public GemmTest {};

void expect_product(const GemmRow& row) {
  const auto& [x, kind, precision, split] = row;
  GemmRun run(x);
  const GemmRun before = run;
  run.go(row);
  const bool ta = kind == Kind::kTN || kind == Kind::kTT, tb = kind == Kind::kNT || kind == Kind::kTT;
  for (int64_t r = 0; r < x.R; ++r) {
    Reference expected(x.m * x.n);
    const float *const a = before.a.at(r), *const b = before.b.at(r);
    for (int64_t i = 0; i < x.m; ++i)
      for (int64_t j = 0; j < x.n; ++j) {
        if (x.accumulate) expected.add(i * x.n + j, before.c.at(r)[i * x.n + j], 1);
        for (int64_t l = 0; l < x.k; ++l)
          expected.add(i * x.n + j, operand_value(a[ta ? l * x.m + i : i * x.k + l], precision),
                       operand_value(b[tb ? j * x.k + l : l * x.n + j], precision));
      }
    expect_close(run.c.at(r), expected, precision);
  }
  run.c.expect_guards();
  expect_same_bits(run.a, before.a);
  expect_same_bits(run.b, before.b);
}
TEST_P(GemmTest, EqualsLoops) { expect_product(GetParam()); }
TEST_P(GemmInTf32Test, EqualsLoops) { expect_product(GetParam()); }

TEST_P(GemmTest, DoesNotDependOnThreadsOrNeighbours) {
  const GemmCase& x = std::get<0>(GetParam());
  GemmRun one(x), three(x);
  one.go(GetParam(), 1);
  three.go(GetParam(), 3);
  expect_same_bits(one.c, three.c);

  GemmRun sick(x);
  std::fill_n(sick.a.at(0), sick.a.count, std::nanf(""));
  sick.go(GetParam(), 2);
  GemmCase last_case = x;
  last_case.R = 1;
  GemmRun last(last_case);
  std::copy_n(GemmRun(x).a.at(x.R - 1), last.a.count, last.a.at(0));
  std::copy_n(GemmRun(x).b.at(x.R - 1), last.b.count, last.b.at(0));
  std::copy_n(GemmRun(x).c.at(x.R - 1), last.c.count, last.c.at(0));
  last.go(GetParam(), 2);
  for (int64_t r = 1; r < x.R; ++r)
    ASSERT_EQ(std::memcmp(sick.c.at(r), one.c.at(r), static_cast<size_t>(one.c.count) * sizeof(float)), 0);
  ASSERT_EQ(std::memcmp(last.c.at(0), one.c.at(x.R - 1), static_cast<size_t>(one.c.count) * sizeof(float)), 0);
}

struct ConvCase {
  std::string name;
  int64_t R, B, H, W, in, out, kernel, stride, pad;
  int64_t out_height() const { return (H + 2 * pad - kernel) / stride + 1; }
  int64_t out_width() const { return (W + 2 * pad - kernel) / stride + 1; }
};

const ConvCase kConvCases[] = {
    {"5x7 k3", 3, 2, 5, 7, 3, 5, 3, 1, 1},
    {"5x7 k4 s2", 3, 2, 5, 7, 5, 3, 4, 2, 1},
    {"5x7 k3 s2", 3, 3, 5, 7, 16, 33, 3, 2, 1},
    {"5x7 k5 s2", 2, 2, 5, 7, 33, 16, 5, 2, 2},
    {"5x7 k3 s3 no pad", 2, 5, 5, 7, 16, 16, 3, 3, 0},
    {"k1", 3, 2, 6, 6, 16, 32, 1, 1, 0},
    {"k1 s2", 2, 2, 7, 5, 16, 32, 1, 2, 0},
    {"one channel to one", 3, 2, 8, 8, 1, 1, 3, 1, 1},
    {"one pixel", 2, 3, 1, 1, 16, 16, 3, 1, 1},
    {"k2 s2", 2, 2, 6, 8, 32, 48, 2, 2, 0},
    {"k4 s2 dcgan", 1, 2, 8, 8, 64, 128, 4, 2, 1},
    {"k4 s1 to one pixel", 1, 2, 4, 4, 64, 1, 4, 1, 0},
    {"odd batch", 2, 5, 7, 7, 64, 64, 3, 1, 1},
    {"48 to 80", 2, 3, 6, 6, 48, 80, 3, 1, 1},
    {"several blocks of images", 1, 9, 16, 16, 8, 64, 3, 1, 1},
    {"many images", 1, 40, 64, 64, 1, 16, 3, 1, 1},
    {"17 to 130", 2, 2, 6, 6, 17, 130, 3, 2, 1},
    {"mnist 1", 2, 4, 28, 28, 1, 16, 3, 2, 1},
    {"mnist 2", 2, 4, 14, 14, 16, 32, 3, 1, 1},
    {"mnist 3", 2, 4, 14, 14, 32, 64, 3, 2, 1},
    {"mnist 4", 1, 4, 7, 7, 64, 128, 3, 1, 1},
    {"mnist 5", 1, 4, 7, 7, 128, 256, 3, 2, 1},
    {"mnist 6", 1, 2, 4, 4, 256, 512, 3, 1, 1},
    {"cifar 1", 2, 4, 32, 32, 3, 16, 3, 2, 1},
    {"mnist up 1", 1, 3, 14, 14, 32, 128, 5, 2, 2},
    {"mnist up 2", 1, 3, 28, 28, 1, 32, 5, 2, 2},
    {"cifar up 1", 1, 2, 8, 8, 192, 384, 5, 2, 2},
    {"cifar up 3", 1, 2, 32, 32, 3, 96, 5, 2, 2},
};

using Direction = ops::Convolution::Direction;
using ConvRow = std::tuple<ConvCase, Direction, Precision, bool>;

struct ConvRun {
  Operand x, w, y;
  explicit ConvRun(const ConvCase& c)
      : x(c.R, c.B * c.H * c.W * c.in, 1),
        w(c.R, c.kernel * c.kernel * c.in * c.out, 2),
        y(c.R, c.B * c.out_height() * c.out_width() * c.out, 3) {}

  Operand& output(Direction direction) {
    return direction == Direction::kForward ? y : direction == Direction::kInputGrad ? x : w;
  }
  Operand& input(Direction direction) { return direction == Direction::kForward ? x : y; }

  void go(const ConvRow& row, int threads = 2) {
    const auto& [c, direction, precision, split] = row;
    on_device(threads, {&x, &w, &y}, [&](Device& device, Floats x, Floats w, Floats y) {
      device.run(ops::Convolution{.direction = direction,
                                  .replicas = this->x.replicas,
                                  .batch = c.B,
                                  .height = c.H,
                                  .width = c.W,
                                  .in_channels = c.in,
                                  .out_height = c.out_height(),
                                  .out_width = c.out_width(),
                                  .out_channels = c.out,
                                  .kernel = c.kernel,
                                  .stride = c.stride,
                                  .pad = c.pad,
                                  .x = x,
                                  .w = w,
                                  .y = y,
                                  .precision = precision,
                                  .split = split});
    });
  }
};

Reference loops(const ConvCase& c, Direction direction, Precision precision, const float* x, const float* w,
                const float* y) {
  const int64_t x_count = c.B * c.H * c.W * c.in, w_count = c.kernel * c.kernel * c.in * c.out;
  const int64_t OH = c.out_height(), OW = c.out_width();
  Reference result(direction == Direction::kForward     ? c.B * OH * OW * c.out
                   : direction == Direction::kInputGrad ? x_count
                                                        : w_count);
  const auto round = [&](const float* from, int64_t count) {
    std::vector<double> to(static_cast<size_t>(count));
    for (size_t i = 0; i < to.size(); ++i) to[i] = operand_value(from[i], precision);
    return to;
  };
  const std::vector<double> xs = round(x, x_count), ws = round(w, w_count), ys = round(y, c.B * OH * OW * c.out);
  for (int64_t b = 0; b < c.B; ++b)
    for (int64_t i = 0; i < OH; ++i)
      for (int64_t j = 0; j < OW; ++j)
        for (int64_t kh = 0; kh < c.kernel; ++kh)
          for (int64_t kw = 0; kw < c.kernel; ++kw) {
            const int64_t h = i * c.stride - c.pad + kh, v = j * c.stride - c.pad + kw;
            if (h < 0 || h >= c.H || v < 0 || v >= c.W) continue;
            for (int64_t ci = 0; ci < c.in; ++ci)
              for (int64_t co = 0; co < c.out; ++co) {
                const int64_t xi = ((b * c.H + h) * c.W + v) * c.in + ci;
                const int64_t wi = ((kh * c.kernel + kw) * c.in + ci) * c.out + co;
                const int64_t yi = ((b * OH + i) * OW + j) * c.out + co;
                const double xv = xs[static_cast<size_t>(xi)], wv = ws[static_cast<size_t>(wi)],
                             yv = ys[static_cast<size_t>(yi)];
                if (direction == Direction::kForward)
                  result.add(yi, xv, wv);
                else if (direction == Direction::kInputGrad)
                  result.add(xi, yv, wv);
                else
                  result.add(wi, xv, yv);
              }
          }
  return result;
}

class ConvolutionTest : public testing::TestWithParam<ConvRow> {};
class ConvolutionInTf32Test : public ConvolutionTest {};

void expect_convolution(const ConvRow& row) {
  const auto& [c, direction, precision, split] = row;
  ConvRun run(c);
  const ConvRun before = run;
  run.go(row);
  for (int64_t r = 0; r < c.R; ++r)
    expect_close(run.output(direction).at(r),
                 loops(c, direction, precision, before.x.at(r), before.w.at(r), before.y.at(r)), precision);
  run.output(direction).expect_guards();
  if (direction != Direction::kInputGrad) expect_same_bits(run.x, before.x);
  if (direction != Direction::kWeightGrad) expect_same_bits(run.w, before.w);
  if (direction != Direction::kForward) expect_same_bits(run.y, before.y);
}
TEST_P(ConvolutionTest, EqualsLoops) { expect_convolution(GetParam()); }
TEST_P(ConvolutionInTf32Test, EqualsLoops) { expect_convolution(GetParam()); }

TEST_P(ConvolutionTest, DoesNotDependOnThreadsOrNeighbours) {
  const auto& [c, direction, precision, split] = GetParam();
  ConvRun one(c), three(c);
  one.go(GetParam(), 1);
  three.go(GetParam(), 3);
  expect_same_bits(one.output(direction), three.output(direction));

  ConvRun sick(c);
  std::fill_n(sick.input(direction).at(0), sick.input(direction).count, std::nanf(""));
  sick.go(GetParam(), 2);
  const size_t bytes = static_cast<size_t>(one.output(direction).count) * sizeof(float);
  for (int64_t r = 1; r < c.R; ++r)
    ASSERT_EQ(std::memcmp(sick.output(direction).at(r), one.output(direction).at(r), bytes), 0) << "replica " << r;

  const ConvRun all(c);
  ConvCase single = c;
  single.R = 1;
  ConvRun last(single);
  std::copy_n(all.x.at(c.R - 1), all.x.count, last.x.at(0));
  std::copy_n(all.w.at(c.R - 1), all.w.count, last.w.at(0));
  std::copy_n(all.y.at(c.R - 1), all.y.count, last.y.at(0));
  ConvRow row = GetParam();
  std::get<0>(row) = single;
  last.go(row, 2);
  ASSERT_EQ(std::memcmp(last.output(direction).at(0), one.output(direction).at(c.R - 1), bytes), 0);
}

TEST(Tf32, IsFp32OnTheCpu) {
  if (!testing_cpu()) GTEST_SKIP() << "GPUs have units for tf32";
  const GemmCase product{"odd", 3, 5, 7, 9};
  GemmRun fp32(product), tf32(product);
  fp32.go({product, Kind::kNN, Precision::kFp32, false});
  tf32.go({product, Kind::kNN, Precision::kTf32, false});
  expect_same_bits(fp32.c, tf32.c);
  const ConvCase convolution{"5x7 k3", 3, 2, 5, 7, 3, 5, 3, 1, 1};
  for (const Direction direction : {Direction::kForward, Direction::kInputGrad, Direction::kWeightGrad}) {
    ConvRun one(convolution), other(convolution);
    one.go({convolution, direction, Precision::kFp32, false});
    other.go({convolution, direction, Precision::kTf32, false});
    expect_same_bits(one.output(direction), other.output(direction));
  }
}

std::string row_name(std::string name, const std::string& kind, Precision precision, bool split) {
  std::replace(name.begin(), name.end(), ' ', '_');
  const char* const precisions[] = {"_fp32", "_tf32", "_bf16"};
  return name + "_" + kind + precisions[static_cast<int>(precision)] + (split ? "_split" : "");
}

std::string gemm_name(const testing::TestParamInfo<GemmRow>& info) {
  const auto& [c, kind, precision, split] = info.param;
  const char* const kinds[] = {"NN", "NT", "TN", "TT"};
  return row_name(c.name, kinds[static_cast<int>(kind)], precision, split);
}

std::string convolution_name(const testing::TestParamInfo<ConvRow>& info) {
  const auto& [c, direction, precision, split] = info.param;
  const char* const directions[] = {"forward", "input_grad", "weight_grad"};
  return row_name(c.name, directions[static_cast<int>(direction)], precision, split);
}

// To split an operation means something to the CPU's threads alone.
const auto kSplits = testing::ValuesIn(testing_cpu() ? std::vector<bool>{false, true} : std::vector<bool>{false});
const auto kPrecisions = testing::Values(Precision::kFp32, Precision::kBf16);
const auto kKinds = testing::Values(Kind::kNN, Kind::kNT, Kind::kTN, Kind::kTT);
const auto kDirections = testing::Values(Direction::kForward, Direction::kInputGrad, Direction::kWeightGrad);

INSTANTIATE_TEST_SUITE_P(Rows, GemmTest, testing::Combine(testing::ValuesIn(kGemmCases), kKinds, kPrecisions, kSplits),
                         gemm_name);
INSTANTIATE_TEST_SUITE_P(Rows, ConvolutionTest,
                         testing::Combine(testing::ValuesIn(kConvCases), kDirections, kPrecisions, kSplits),
                         convolution_name);

const auto kInTf32 = testing::Values(Precision::kTf32);
INSTANTIATE_TEST_SUITE_P(Rows, GemmInTf32Test,
                         testing::Combine(testing::ValuesIn(kGemmCases), kKinds, kInTf32, kSplits), gemm_name);
INSTANTIATE_TEST_SUITE_P(Rows, ConvolutionInTf32Test,
                         testing::Combine(testing::ValuesIn(kConvCases), kDirections, kInTf32, kSplits),
                         convolution_name);

}  // namespace
}  // namespace agon
