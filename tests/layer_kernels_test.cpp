// Pooling, upsampling, transposition, embedding, mini-batch discrimination against loops in double precision.
#include <gtest/gtest.h>

#include "kernels/error.h"
#include "tests/guarded.h"

namespace agon {
namespace {

using guarded::Blocks;
using guarded::Operand;
using guarded::Operands;
using guarded::run_check;
using guarded::Values;

struct PoolRow {
  int64_t R, batch, height, width, channels, kernel, stride, pad;
  int64_t out_height() const { return (height + 2 * pad - kernel) / stride + 1; }
  int64_t out_width() const { return (width + 2 * pad - kernel) / stride + 1; }
  int64_t in_size() const { return height * width * channels; }
  int64_t out_size() const { return out_height() * out_width() * channels; }
  std::string name() const {
    return fmt::format("{}x{}x{}x{}x{} k{} s{} p{}", R, batch, height, width, channels, kernel, stride, pad);
  }
};
const PoolRow kPools[] = {{3, 2, 5, 7, 3, 2, 2, 0}, {1, 5, 8, 8, 16, 2, 2, 0}, {2, 3, 5, 6, 1, 3, 2, 1},
                          {2, 1, 4, 4, 5, 3, 1, 1}, {1, 1, 3, 3, 2, 3, 3, 0},  {2, 2, 9, 4, 33, 3, 2, 0}};

/// Calls visit(output element, input element) for every pair that a window joins, window by window.
void each_pair(const PoolRow& p, auto visit) {
  for (int64_t b = 0; b < p.batch; ++b)
    for (int64_t i = 0; i < p.out_height(); ++i)
      for (int64_t j = 0; j < p.out_width(); ++j)
        for (int64_t c = 0; c < p.channels; ++c)
          for (int64_t u = 0; u < p.kernel; ++u)
            for (int64_t v = 0; v < p.kernel; ++v) {
              const int64_t row = i * p.stride - p.pad + u, col = j * p.stride - p.pad + v;
              if (row >= 0 && row < p.height && col >= 0 && col < p.width)
                visit(((b * p.out_height() + i) * p.out_width() + j) * p.channels + c,
                      ((b * p.height + row) * p.width + col) * p.channels + c);
            }
}

/// For each output the input that a maximum takes (its first), and the number of inputs in its window.
struct Windows {
  std::vector<int64_t> first_largest, size;
  Windows(const PoolRow& p, const std::vector<double>& x)
      : first_largest(static_cast<size_t>(p.batch * p.out_size()), -1), size(first_largest.size()) {
    each_pair(p, [&](int64_t out, int64_t in) {
      ++size[out];
      if (first_largest[out] < 0 || x[in] > x[first_largest[out]]) first_largest[out] = in;
    });
  }
};

/// Values of few levels, so that several elements of a window attain the maximum.
Operand with_ties(Operand operand) {
  for (float& value : operand.values) value = std::round(value * 2) / 2;
  return operand;
}

TEST(Pool, TakesMaximumAndAverage) {
  for (const PoolRow& p : kPools)
    for (const auto kind : {ops::Pool::Kind::kMax, ops::Pool::Kind::kAverage}) {
      Operands make(p.R, 1);
      run_check({.name = p.name(),
                 .replicas = p.R,
                 .operands = {make.uniform(p.batch * p.in_size()), make.output(p.batch * p.out_size())},
                 .run =
                     [&](Device& device, const Blocks& b, bool split) {
                       device.run(ops::Pool{kind, p.R, p.batch, p.height, p.width, p.channels, p.out_height(),
                                            p.out_width(), p.kernel, p.stride, p.pad, b[0], b[1], split});
                     },
                 .reference =
                     [&](Values& v, int64_t) {
                       const Windows windows(p, v[0]);
                       v[1].assign(v[1].size(), 0.);
                       if (kind == ops::Pool::Kind::kMax) {
                         for (size_t i = 0; i < v[1].size(); ++i) v[1][i] = v[0][windows.first_largest[i]];
                       } else {
                         each_pair(p, [&](int64_t out, int64_t in) {
                           v[1][out] += v[0][in] / static_cast<double>(windows.size[out]);
                         });
                       }
                     }});
    }
}

TEST(PoolGrad, GoesToTheFirstMaximumOrToAll) {
  for (const PoolRow& p : kPools)
    for (const auto kind : {ops::Pool::Kind::kMax, ops::Pool::Kind::kAverage}) {
      Operands make(p.R, 2);
      const Operand x = with_ties(make.uniform(p.batch * p.in_size()));
      Operand y = make.uniform(p.batch * p.out_size());
      const int64_t in_all = p.batch * p.in_size(), out_all = p.batch * p.out_size();
      for (int64_t r = 0; r < p.R; ++r) {
        const std::vector<double> one(x.values.begin() + r * in_all, x.values.begin() + (r + 1) * in_all);
        const Windows windows(p, one);
        for (int64_t i = 0; i < out_all; ++i)
          y.values[r * out_all + i] = static_cast<float>(one[windows.first_largest[i]]);
      }
      run_check({.name = p.name(),
                 .replicas = p.R,
                 .operands = {x, y, make.uniform(out_all), make.output(in_all)},
                 .run =
                     [&](Device& device, const Blocks& b, bool split) {
                       device.run(ops::PoolGrad{kind, p.R, p.batch, p.height, p.width, p.channels, p.out_height(),
                                                p.out_width(), p.kernel, p.stride, p.pad, b[0], b[1], b[2], b[3],
                                                split});
                     },
                 .reference =
                     [&](Values& v, int64_t) {
                       const Windows windows(p, v[0]);
                       v[3].assign(v[3].size(), 0.);
                       if (kind == ops::Pool::Kind::kMax) {
                         for (size_t i = 0; i < v[2].size(); ++i) v[3][windows.first_largest[i]] += v[2][i];
                       } else {
                         each_pair(p, [&](int64_t out, int64_t in) {
                           v[3][in] += v[2][out] / static_cast<double>(windows.size[out]);
                         });
                       }
                     }});
    }
}

TEST(Upsample, RepeatsAndItsGradientSums) {
  struct Row {
    int64_t R, batch, height, width, channels, factor;
  };
  for (const auto& [R, batch, height, width, channels, factor] :
       {Row{3, 2, 5, 7, 3, 2}, {1, 4, 4, 4, 16, 2}, {2, 1, 2, 3, 1, 3}, {2, 2, 1, 1, 5, 1}}) {
    const int64_t in = batch * height * width * channels, out = in * factor * factor;
    const auto source = [&](int64_t i) {  // of output element i
      const int64_t c = i % channels, col = i / channels % (width * factor);
      const int64_t row = i / channels / (width * factor) % (height * factor);
      const int64_t b = i / channels / (width * factor) / (height * factor);
      return ((b * height + row / factor) * width + col / factor) * channels + c;
    };
    Operands make(R, 3);
    run_check({.name = fmt::format("forward, factor {}", factor),
               .replicas = R,
               .operands = {make.uniform(in), make.output(out)},
               .run =
                   [&](Device& device, const Blocks& b, bool split) {
                     device.run(ops::Upsample{R, batch, height, width, channels, factor, b[0], b[1], split});
                   },
               .reference =
                   [&](Values& v, int64_t) {
                     for (int64_t i = 0; i < out; ++i) v[1][i] = v[0][source(i)];
                   },
               .tolerance = 0});
    run_check({.name = fmt::format("gradient, factor {}", factor),
               .replicas = R,
               .operands = {make.uniform(out), make.output(in)},
               .run =
                   [&](Device& device, const Blocks& b, bool split) {
                     device.run(ops::UpsampleGrad{R, batch, height, width, channels, factor, b[0], b[1], split});
                   },
               .reference =
                   [&](Values& v, int64_t) {
                     v[1].assign(in, 0.);
                     for (int64_t i = 0; i < out; ++i) v[1][source(i)] += v[0][i];
                   }});
  }
}

TEST(Transpose, ExchangesRowsAndColumns) {
  struct Row {
    int64_t R, batch, rows, cols;
  };
  for (const auto& [R, batch, rows, cols] :
       {Row{3, 2, 5, 7}, {1, 1, 1, 1}, {2, 20, 49, 32}, {1, 3, 17, 100}, {2, 1, 1, 9}}) {
    Operands make(R, 4);
    run_check({.name = fmt::format("{}x{}x{}x{}", R, batch, rows, cols),
               .replicas = R,
               .operands = {make.uniform(batch * rows * cols), make.output(batch * rows * cols)},
               .run =
                   [&](Device& device, const Blocks& b, bool split) {
                     device.run(ops::Transpose{R, batch, rows, cols, b[0], b[1], split});
                   },
               .reference =
                   [&](Values& v, int64_t) {
                     for (int64_t b = 0; b < batch; ++b)
                       for (int64_t i = 0; i < rows; ++i)
                         for (int64_t j = 0; j < cols; ++j)
                           v[1][(b * cols + j) * rows + i] = v[0][(b * rows + i) * cols + j];
                   },
               .tolerance = 0});
  }
}

struct EmbeddingRow {
  int64_t R, batch, cols;
  int classes;
};
const EmbeddingRow kEmbeddings[] = {{3, 5, 7, 3}, {1, 1, 1, 1}, {2, 40, 100, 10}};

TEST(Embedding, LooksUpAndMultiplies) {
  for (const auto& [R, batch, cols, classes] : kEmbeddings)
    for (const bool times_x : {false, true}) {
      Operands make(R, 5);
      run_check({.name = fmt::format("{}x{}x{} of {}, times x {}", R, batch, cols, classes, times_x),
                 .replicas = R,
                 .operands = {make.labels(batch, classes), make.uniform(classes * cols), make.uniform(batch * cols),
                              make.output(batch * cols)},
                 .run =
                     [&](Device& device, const Blocks& b, bool split) {
                       device.run(ops::Embedding{R, batch, cols, classes, b.ints(0), b[1], times_x ? b[2] : Floats{},
                                                 b[3], split});
                     },
                 .reference =
                     [&](Values& v, int64_t) {
                       for (int64_t i = 0; i < batch * cols; ++i)
                         v[3][i] =
                             v[1][static_cast<int64_t>(v[0][i / cols]) * cols + i % cols] * (times_x ? v[2][i] : 1);
                     }});
    }
}

TEST(EmbeddingGrad, SumsOverTheSamplesOfALabel) {
  for (const auto& [R, batch, cols, classes] : kEmbeddings)
    for (const bool times_x : {false, true})
      for (const bool with_dx : {false, true}) {
        Operands make(R, 6);
        run_check({.name = fmt::format("{}x{}x{} of {}, times x {}, dx {}", R, batch, cols, classes, times_x, with_dx),
                   .replicas = R,
                   .operands = {make.labels(batch, classes), make.uniform(classes * cols), make.uniform(batch * cols),
                                make.uniform(batch * cols), make.output(classes * cols),
                                with_dx ? make.output(batch * cols) : make.uniform(1)},
                   .run =
                       [&](Device& device, const Blocks& b, bool split) {
                         device.run(ops::EmbeddingGrad{R, batch, cols, classes, b.ints(0), b[1],
                                                       times_x ? b[2] : Floats{}, b[3], b[4], with_dx ? b[5] : Floats{},
                                                       split});
                       },
                   .reference =
                       [&](Values& v, int64_t) {
                         v[4].assign(v[4].size(), 0.);
                         for (int64_t i = 0; i < batch * cols; ++i) {
                           const int64_t entry = static_cast<int64_t>(v[0][i / cols]) * cols + i % cols;
                           v[4][entry] += v[3][i] * (times_x ? v[2][i] : 1);
                           if (with_dx) v[5][i] = v[3][i] * v[1][entry];
                         }
                       }});
      }
}

TEST(Embedding, NamesALabelThatDoesNotExist) {
  const auto device = test_device(1);
  Buffer<float> table(device, 6), y(device, 2);
  Buffer<int32_t> label(device, 1);
  label.set(std::vector<int32_t>{-1});
  device->run(ops::Embedding{1, 1, 2, 3, {label.data(), 1}, {table.data(), 6}, {}, {y.data(), 2}});
  EXPECT_THROW(device->synchronize(), Error);
}

struct DiscriminationRow {
  int64_t R, groups, batch, features, kernels, dims;
  int64_t m(int64_t g, int64_t i, int64_t k, int64_t d) const { return ((g * batch + i) * kernels + k) * dims + d; }
  int64_t y(int64_t g, int64_t i, int64_t col) const { return (g * batch + i) * (features + kernels) + col; }
  std::string name() const { return fmt::format("{}x{}x{} {}+{}x{}", R, groups, batch, features, kernels, dims); }
};
const DiscriminationRow kDiscriminations[] = {
    {3, 2, 5, 7, 3, 4}, {1, 1, 1, 2, 1, 1}, {2, 1, 10, 33, 50, 5}, {1, 3, 4, 1, 17, 2}};

/// Closeness of samples i and j for kernel k: exp(-|m_ik - m_jk|_1).
double closeness(const DiscriminationRow& s, const std::vector<double>& m, int64_t g, int64_t i, int64_t j, int64_t k) {
  double distance = 0;
  for (int64_t d = 0; d < s.dims; ++d) distance += std::abs(m[s.m(g, i, k, d)] - m[s.m(g, j, k, d)]);
  return std::exp(-distance);
}

TEST(MinibatchDiscrimination, SumsClosenessToTheOthers) {
  for (const DiscriminationRow& s : kDiscriminations) {
    Operands make(s.R, 7);
    const int64_t samples = s.groups * s.batch;
    run_check({.name = s.name(),
               .replicas = s.R,
               .operands = {make.uniform(samples * s.features), make.uniform(samples * s.kernels * s.dims),
                            make.output(samples * (s.features + s.kernels))},
               .run =
                   [&](Device& device, const Blocks& b, bool split) {
                     device.run(ops::MinibatchDiscrimination{s.R, s.groups, s.batch, s.features, s.kernels, s.dims,
                                                             b[0], b[1], b[2], split});
                   },
               .reference =
                   [&](Values& v, int64_t) {
                     for (int64_t g = 0; g < s.groups; ++g)
                       for (int64_t i = 0; i < s.batch; ++i) {
                         for (int64_t f = 0; f < s.features; ++f)
                           v[2][s.y(g, i, f)] = v[0][(g * s.batch + i) * s.features + f];
                         for (int64_t k = 0; k < s.kernels; ++k) {
                           double& o = v[2][s.y(g, i, s.features + k)];
                           o = 0;
                           for (int64_t j = 0; j < s.batch; ++j)
                             if (j != i) o += closeness(s, v[1], g, i, j, k);
                         }
                       }
                   }});
  }
}

TEST(MinibatchDiscriminationGrad, EqualsCentralDifferences) {
  for (const DiscriminationRow& s : kDiscriminations)
    for (const bool with_dx : {true, false}) {
      Operands make(s.R, 8);
      const int64_t samples = s.groups * s.batch, cols = s.features + s.kernels;
      Operand m = make.uniform(samples * s.kernels * s.dims);
      // On a grid that differs from sample to sample, no difference of two values is small enough to change sign.
      for (size_t i = 0; i < m.values.size(); ++i) {
        const auto sample = static_cast<int64_t>(i) / (s.kernels * s.dims) % samples;
        m.values[i] = std::round(m.values[i] * 16) / 16 + static_cast<float>(sample) / 1024;
      }
      run_check({.name = s.name(),
                 .replicas = s.R,
                 .operands = {m, make.uniform(samples * cols), make.uniform(samples * cols),
                              make.output(samples * s.kernels * s.dims, 1),
                              with_dx ? make.output(samples * s.features) : make.uniform(1)},
                 .run =
                     [&](Device& device, const Blocks& b, bool split) {
                       device.run(ops::MinibatchDiscriminationGrad{s.R, s.groups, s.batch, s.features, s.kernels,
                                                                   s.dims, b[0], b[1], b[2], b[3],
                                                                   with_dx ? b[4] : Floats{}, split});
                     },
                 .reference =
                     [&](Values& v, int64_t) {
                       for (int64_t g = 0; g < s.groups; ++g)
                         for (int64_t i = 0; i < s.batch; ++i) {
                           for (int64_t f = 0; with_dx && f < s.features; ++f)
                             v[4][(g * s.batch + i) * s.features + f] = v[2][s.y(g, i, f)];
                           for (int64_t k = 0; k < s.kernels; ++k)
                             for (int64_t d = 0; d < s.dims; ++d) {
                               // The loss sum of dy * o depends on m_ikd through o_ik and through every o_jk.
                               double& moved = v[0][s.m(g, i, k, d)];
                               const auto loss = [&] {
                                 double sum = 0;
                                 for (int64_t j = 0; j < s.batch; ++j)
                                   if (j != i)
                                     sum += closeness(s, v[0], g, i, j, k) *
                                            (v[2][s.y(g, i, s.features + k)] + v[2][s.y(g, j, s.features + k)]);
                                 return sum;
                               };
                               const double before = moved, h = 1e-4;
                               moved = before + h;
                               const double above = loss();
                               moved = before - h;
                               const double below = loss();
                               moved = before;
                               v[3][s.m(g, i, k, d)] = (above - below) / (2 * h);
                             }
                         }
                     }});
    }
}

TEST(MinibatchDiscriminationGrad, IsZeroBetweenEqualSamples) {
  const auto device = test_device(1);
  Buffer<float> m(device, 4), y(device, 6), dy(device, 6), dm(device, 4);
  m.set(std::vector<float>{0.5f, 2.f, 0.5f, 2.f});  // two samples, one kernel of two dimensions
  dy.set(std::vector<float>(6, 1.f));
  dm.set(std::vector<float>(4, 7.f));
  device->run(
      ops::MinibatchDiscriminationGrad{1, 1, 2, 2, 1, 2, {m.data(), 4}, {y.data(), 6}, {dy.data(), 6}, {dm.data(), 4}});
  EXPECT_EQ(dm.host(), std::vector<float>(4, 0.f));
}

}  // namespace
}  // namespace agon
