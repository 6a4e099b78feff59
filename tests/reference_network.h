#pragma once

// A network in double precision, one replica, written for the eye: plain loops over the layers' definitions. Its
// gradients are central differences in double precision, so they share no code with the backward passes they judge.

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "engine/network.h"

namespace agon::reference {

using Doubles = std::vector<double>;

/// What a replica holds and gets, in the order of the fleet's arenas.
struct Replica {
  Doubles weights;  // [P]
  Doubles state;    // [S]
  Doubles x;        // [B, H, W, C]
  std::vector<int32_t> labels;
};

struct Pass {
  int64_t batch, groups = 1;
  bool training = true;
};

/// One layer at work.
struct LayerWork {
  const LayerSpec& spec;
  const Network::Step& step;
  const Pass& pass;
  Replica& replica;

  /// The i-th parameter of the layer, element j.
  double& parameter(size_t i, int64_t j) const {
    Doubles& arena = step.parameters[i].trained() ? replica.weights : replica.state;
    return arena[static_cast<size_t>(step.offsets[i] + j)];
  }
  double number(const char* key, double otherwise) const { return spec.number(key, otherwise); }
  int64_t integer(const char* key, int64_t otherwise) const {
    return static_cast<int64_t>(number(key, static_cast<double>(otherwise)));
  }
};

inline int64_t at(const Shape& s, int64_t b, int64_t i, int64_t j, int64_t c) {
  return ((b * s.height + i) * s.width + j) * s.channels + c;
}

inline Doubles dense(const LayerWork& w, const Doubles& x) {
  const int64_t in = w.step.in.size(), out = w.step.out.size();
  const bool bias = w.integer("bias", 1) != 0;
  Doubles y(w.pass.batch * out);
  for (int64_t b = 0; b < w.pass.batch; ++b)
    for (int64_t o = 0; o < out; ++o) {
      double sum = bias ? w.parameter(1, o) : 0;
      for (int64_t i = 0; i < in; ++i) sum += x[b * in + i] * w.parameter(0, i * out + o);
      y[b * out + o] = sum;
    }
  return y;
}

/// Visits every product of a convolution between an image and a map: visit(image, map, weight element) of one sample.
inline void each_product(const LayerWork& w, const Shape& image, const Shape& map, auto visit) {
  const int64_t K = w.integer("kernel", 0), stride = w.integer("stride", 1), pad = w.integer("pad", 0);
  for (int64_t i = 0; i < map.height; ++i)
    for (int64_t j = 0; j < map.width; ++j)
      for (int64_t u = 0; u < K; ++u)
        for (int64_t v = 0; v < K; ++v) {
          const int64_t row = i * stride - pad + u, col = j * stride - pad + v;
          if (row < 0 || row >= image.height || col < 0 || col >= image.width) continue;
          for (int64_t c = 0; c < image.channels; ++c)
            for (int64_t o = 0; o < map.channels; ++o)
              visit(at(image, 0, row, col, c), at(map, 0, i, j, o),
                    ((u * K + v) * image.channels + c) * map.channels + o);
        }
}

inline Doubles convolution(const LayerWork& w, const Doubles& x, bool transposed) {
  const Shape &in = w.step.in, &out = w.step.out;
  Doubles y(w.pass.batch * out.size());
  const bool bias = w.integer("bias", 1) != 0;
  for (int64_t i = 0; i < static_cast<int64_t>(y.size()); ++i) y[i] = bias ? w.parameter(1, i % out.channels) : 0;
  for (int64_t b = 0; b < w.pass.batch; ++b) {
    const double* from = x.data() + b * in.size();
    double* to = y.data() + b * out.size();
    if (transposed)
      each_product(w, out, in,
                   [&](int64_t image, int64_t map, int64_t k) { to[image] += from[map] * w.parameter(0, k); });
    else
      each_product(w, in, out,
                   [&](int64_t image, int64_t map, int64_t k) { to[map] += from[image] * w.parameter(0, k); });
  }
  return y;
}

inline Doubles activation(const LayerWork& w, const Doubles& x) {
  const std::string& kind = w.spec.type;
  const double slope = w.number("slope", kind == "elu" ? 1.0 : 0.2);
  Doubles y = x;
  for (double& v : y) {
    if (kind == "relu") v = std::max(v, 0.0);
    if (kind == "leaky_relu") v = v > 0 ? v : slope * v;
    if (kind == "tanh") v = std::tanh(v);
    if (kind == "sigmoid") v = 1 / (1 + std::exp(-v));
    if (kind == "elu") v = v > 0 ? v : slope * std::expm1(v);
  }
  return y;
}

inline Doubles batch_norm(const LayerWork& w, const Doubles& x) {
  const int64_t C = w.step.in.channels, groups = w.pass.training ? w.pass.groups : 1;
  const int64_t rows = static_cast<int64_t>(x.size()) / C / groups;
  const double momentum = w.number("momentum", 0.1), epsilon = w.number("epsilon", 1e-5);
  Doubles y(x.size());
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t c = 0; c < C; ++c) {
      const auto element = [&](int64_t row) { return (g * rows + row) * C + c; };
      double mean = w.parameter(2, c), variance = w.parameter(3, c);
      if (w.pass.training) {
        mean = variance = 0;
        for (int64_t i = 0; i < rows; ++i) mean += x[element(i)] / static_cast<double>(rows);
        for (int64_t i = 0; i < rows; ++i) variance += std::pow(x[element(i)] - mean, 2) / static_cast<double>(rows);
        const double unbiased = variance * static_cast<double>(rows) / static_cast<double>(rows - 1);
        w.parameter(2, c) = (1 - momentum) * w.parameter(2, c) + momentum * mean;
        w.parameter(3, c) = (1 - momentum) * w.parameter(3, c) + momentum * unbiased;
      }
      for (int64_t i = 0; i < rows; ++i)
        y[element(i)] = (x[element(i)] - mean) / std::sqrt(variance + epsilon) * w.parameter(0, c) + w.parameter(1, c);
    }
  return y;
}

inline Doubles layer_norm(const LayerWork& w, const Doubles& x) {
  const int64_t C = w.step.in.channels;
  Doubles y(x.size());
  for (size_t first = 0; first < x.size(); first += C) {
    double mean = 0, variance = 0;
    for (int64_t c = 0; c < C; ++c) mean += x[first + c] / static_cast<double>(C);
    for (int64_t c = 0; c < C; ++c) variance += std::pow(x[first + c] - mean, 2) / static_cast<double>(C);
    for (int64_t c = 0; c < C; ++c)
      y[first + c] = (x[first + c] - mean) / std::sqrt(variance + w.number("epsilon", 1e-5)) * w.parameter(0, c) +
                     w.parameter(1, c);
  }
  return y;
}

inline Doubles pool(const LayerWork& w, const Doubles& x) {
  const Shape &in = w.step.in, &out = w.step.out;
  const int64_t K = w.integer("kernel", 2), stride = w.integer("stride", K), pad = w.integer("pad", 0);
  const bool maximum = w.spec.type == "max_pool2d";
  Doubles y(w.pass.batch * out.size());
  for (int64_t b = 0; b < w.pass.batch; ++b)
    for (int64_t i = 0; i < out.height; ++i)
      for (int64_t j = 0; j < out.width; ++j)
        for (int64_t c = 0; c < out.channels; ++c) {
          double largest = -1e300, sum = 0;
          int64_t count = 0;
          for (int64_t row = std::max<int64_t>(0, i * stride - pad); row < std::min(in.height, i * stride - pad + K);
               ++row)
            for (int64_t col = std::max<int64_t>(0, j * stride - pad); col < std::min(in.width, j * stride - pad + K);
                 ++col) {
              const double v = x[at(in, b, row, col, c)];
              largest = std::max(largest, v), sum += v, ++count;
            }
          y[at(out, b, i, j, c)] = maximum ? largest : sum / static_cast<double>(count);
        }
  return y;
}

/// Between channels-last images and PyTorch's flat order (channel, row, column).
inline Doubles reorder(const LayerWork& w, const Doubles& x, const Shape& image, bool to_flat) {
  Doubles y(x.size());
  for (int64_t b = 0; b < w.pass.batch; ++b)
    for (int64_t i = 0; i < image.height; ++i)
      for (int64_t j = 0; j < image.width; ++j)
        for (int64_t c = 0; c < image.channels; ++c) {
          const int64_t last = at(image, b, i, j, c);
          const int64_t flat = b * image.size() + (c * image.height + i) * image.width + j;
          to_flat ? y[flat] = x[last] : y[last] = x[flat];
        }
  return y;
}

inline Doubles upsample(const LayerWork& w, const Doubles& x) {
  const int64_t f = w.integer("factor", 2);
  const Shape &in = w.step.in, &out = w.step.out;
  Doubles y(w.pass.batch * out.size());
  for (int64_t b = 0; b < w.pass.batch; ++b)
    for (int64_t i = 0; i < out.height; ++i)
      for (int64_t j = 0; j < out.width; ++j)
        for (int64_t c = 0; c < out.channels; ++c) y[at(out, b, i, j, c)] = x[at(in, b, i / f, j / f, c)];
  return y;
}

inline Doubles class_embedding(const LayerWork& w, const Doubles& x) {
  const int64_t F = w.step.in.size();
  Doubles y = x;
  for (int64_t b = 0; b < w.pass.batch; ++b)
    for (int64_t i = 0; i < F; ++i) y[b * F + i] *= w.parameter(0, w.replica.labels[static_cast<size_t>(b)] * F + i);
  return y;
}

/// Salimans et al. 2016, section 3.2.
inline Doubles minibatch_discrimination(const LayerWork& w, const Doubles& x) {
  const int64_t F = w.step.in.size(), kernels = w.integer("kernels", 50), dims = w.integer("dims", 5);
  const int64_t out = F + kernels, group = w.pass.batch / w.pass.groups;
  const auto projection = [&](int64_t b, int64_t k, int64_t d) {
    double sum = 0;
    for (int64_t i = 0; i < F; ++i) sum += x[b * F + i] * w.parameter(0, i * kernels * dims + k * dims + d);
    return sum;
  };
  Doubles y(w.pass.batch * out);
  for (int64_t b = 0; b < w.pass.batch; ++b) {
    for (int64_t i = 0; i < F; ++i) y[b * out + i] = x[b * F + i];
    for (int64_t other = b / group * group; other < b / group * group + group; ++other)
      for (int64_t k = 0; k < kernels && other != b; ++k) {
        double distance = 0;
        for (int64_t d = 0; d < dims; ++d) distance += std::abs(projection(b, k, d) - projection(other, k, d));
        y[b * out + F + k] += std::exp(-distance);
      }
  }
  return y;
}

inline Doubles apply(const LayerWork& w, const Doubles& x) {
  const std::string& kind = w.spec.type;
  if (kind == "dense") return dense(w, x);
  if (kind == "conv2d" || kind == "conv_transpose2d") return convolution(w, x, kind == "conv_transpose2d");
  if (kind == "batch_norm") return batch_norm(w, x);
  if (kind == "layer_norm") return layer_norm(w, x);
  if (kind == "max_pool2d" || kind == "average_pool2d") return pool(w, x);
  if (kind == "flatten") return reorder(w, x, w.step.in, true);
  if (kind == "reshape") return reorder(w, x, w.step.out, false);
  if (kind == "upsample") return upsample(w, x);
  if (kind == "class_embedding") return class_embedding(w, x);
  if (kind == "minibatch_discrimination") return minibatch_discrimination(w, x);
  if (kind == "dropout" && (!w.pass.training || w.number("rate", 0.5) == 0)) return x;
  if (kind == "relu" || kind == "leaky_relu" || kind == "tanh" || kind == "sigmoid" || kind == "elu")
    return activation(w, x);
  fail(Fault::kUsage, "the reference knows no layer \"{}\"", kind);
}

/// The output of the network; running statistics in `replica.state` follow.
inline Doubles forward(const std::vector<LayerSpec>& layers, const Network& network, const Pass& pass,
                       Replica& replica) {
  Doubles values = replica.x;
  for (size_t i = 0; i < layers.size(); ++i) values = apply({layers[i], network.steps()[i], pass, replica}, values);
  return values;
}

/// d/d(value) of a smooth f at `value`, which f reads by reference: central differences of fourth order. Where a kink
/// (ReLU, maximum, absolute value) lies within the step, halves of it disagree, and a smaller one is taken.
inline double derivative(double& value, const std::function<double()>& f) {
  const double here = value;
  const auto slope = [&](double h) {
    const auto difference = [&](double step) {
      value = here + step;
      const double up = f();
      value = here - step;
      const double down = f();
      value = here;
      return (up - down) / (2 * step);
    };
    return (4 * difference(h / 2) - difference(h)) / 3;
  };
  double best = 0;
  for (double h = 1e-3; h > 1e-7; h /= 10) {
    best = slope(h);
    if (std::abs(best - slope(h * 0.7)) < 1e-8 * (1 + std::abs(best))) break;
  }
  return best;
}

/// Gradients of sum(dy * y) with respect to `values`, a member of `replica`.
inline Doubles gradient(const std::vector<LayerSpec>& layers, const Network& network, const Pass& pass, Replica replica,
                        Doubles Replica::*values, const Doubles& dy) {
  const Doubles state = replica.state;
  const auto objective = [&] {
    replica.state = state;
    const Doubles y = forward(layers, network, pass, replica);
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += dy[i] * y[i];
    return sum;
  };
  Doubles result;
  for (double& value : replica.*values) result.push_back(derivative(value, objective));
  return result;
}

}  // namespace agon::reference
