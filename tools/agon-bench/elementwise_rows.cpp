// Everything that is limited by memory: optimisers, activations, normalisation, mixing, random numbers. GB/s counts
// each operand as often as it must be read or written; "copy" is what the memory of this machine gives.
#include "tools/agon-bench/bench.h"

namespace agon::bench {
namespace {

constexpr int64_t kReplicas = 10, kDiscriminator = 670219;  // the MD-GAN paper's MLP

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
  Ints steps(int64_t replicas) {
    steps_.emplace_back(device_, replicas);
    return {steps_.back().data(), 1};
  }

 private:
  std::shared_ptr<Device> device_;
  std::vector<Buffer<float>> floats_;
  std::vector<Buffer<int32_t>> steps_;
};

/// A row: make(arena) gives the operation, which moves `floats` numbers.
template <class Make>
void add(const std::shared_ptr<Device>& device, const std::string& name, int64_t floats, Make make) {
  add_row(device, name, {.bytes = 4. * static_cast<double>(floats)},
          [make](const std::shared_ptr<Device>& device) -> std::function<void()> {
            const auto arena = std::make_shared<Arena>(device);
            return [arena, op = make(*arena)] {
              arena->device().run(op);
              arena->device().synchronize();
            };
          });
}

void add_optimisers(const std::shared_ptr<Device>& device) {
  constexpr int64_t R = kReplicas, P = kDiscriminator;
  add(device, "copy", 2 * R * P, [](Arena& a) { return ops::Axpby{R, P, a.floats(R, P), a.floats(R, P), 0.f, 1.f}; });
  add(device, "clip", 2 * R * P, [](Arena& a) { return ops::Clip{R, P, a.floats(R, P), 1.f}; });
  add(device, "adam", 7 * R * P, [](Arena& a) {
    return ops::Adam{
        R, P, a.floats(R, P), a.floats(R, P), a.floats(R, P), a.floats(R, P), a.floats(R, 1, 1e-3f), a.steps(R)};
  });
  add(device, "rmsprop", 5 * R * P, [](Arena& a) {
    return ops::RmsProp{R, P, a.floats(R, P), a.floats(R, P), a.floats(R, P), a.floats(R, 1, 1e-3f), a.steps(R)};
  });
}

/// A row of the mixing matrix for each replica: `terms` neighbours from `first` on, equally weighted.
ops::Mix mix(Arena& arena, int64_t first, int64_t terms, bool same_for_all) {
  auto matrix = std::make_shared<ops::Mix::Rows>();
  matrix->begin = {0};
  for (int64_t i = 0; i < kReplicas; ++i) {
    for (int64_t j = 0; j < terms; ++j) {
      matrix->column.push_back(((same_for_all ? 0 : i) + first + j) % kReplicas);
      matrix->weight.push_back(1.f / static_cast<float>(terms));
    }
    matrix->begin.push_back(static_cast<int64_t>(matrix->column.size()));
  }
  const Floats models = arena.floats(kReplicas, kDiscriminator);
  return {kDiscriminator, models, models, matrix};
}

void add_mixing(const std::shared_ptr<Device>& device) {
  constexpr int64_t kMoved = 2 * kReplicas * kDiscriminator;
  add(device, "mix/swap", kMoved, [](Arena& a) { return mix(a, 1, 1, false); });
  add(device, "mix/gossip", kMoved, [](Arena& a) { return mix(a, 0, 2, false); });
  add(device, "mix/average", kMoved, [](Arena& a) { return mix(a, 0, kReplicas, true); });
  constexpr int64_t kFeedback = 10 * 784;  // b d
  using Rule = ops::RobustMix::Rule;
  for (const auto& [name, rule] :
       {std::pair{"median", Rule::kMedian}, {"trimmed", Rule::kTrimmedMean}, {"krum", Rule::kKrum}})
    add(device, fmt::format("robust_mix/{}", name), (kReplicas + 1) * kFeedback, [rule = rule](Arena& a) {
      const ops::Mix all = mix(a, 0, kReplicas, true);
      auto one = std::make_shared<ops::Mix::Rows>(*all.matrix);
      one->begin = {0, kReplicas};
      return ops::RobustMix{rule, kFeedback, a.floats(kReplicas, kFeedback), a.floats(1, kFeedback), one, 2};
    });
  using Codec = ops::Compress::Codec;
  for (const auto& [name, codec] : {std::pair{"bf16", Codec::kBf16}, {"int8", Codec::kInt8}, {"top_k", Codec::kTopK}})
    add(device, fmt::format("compress/{}", name), 2 * kReplicas * kFeedback, [codec = codec](Arena& a) {
      return ops::Compress{codec, kReplicas, 10, 784, a.floats(kReplicas, kFeedback), {}, 78};
    });
}

struct MatrixRow {
  std::string name;
  int64_t R, rows, cols;
  bool split;
  int64_t size() const { return R * rows * cols; }
};
const MatrixRow kMatrices[] = {
    {"mlp D 20x512", 10, 20, 512, false},
    {"cnn D 20x14x14x16", 10, 20 * 14 * 14, 16, false},
    {"cnn D 20x7x7x64", 10, 20 * 7 * 7, 64, false},
    {"mnist G 20x28x28x1", 1, 20 * 28 * 28, 1, true},
    {"cifar G 20x16x16x96", 1, 20 * 16 * 16, 96, true},
};

void add_layers(const std::shared_ptr<Device>& device) {
  for (const MatrixRow& m : kMatrices) {
    const int64_t n = m.rows * m.cols;
    for (const auto& [name, activation] :
         {std::pair{"leaky relu/", Activation::kLeakyRelu}, std::pair{"tanh/", Activation::kTanh}}) {
      add(device, "bias + " + (name + m.name), 2 * m.size(), [=](Arena& a) {
        return ops::BiasActivation{m.R,        m.rows, m.cols, a.floats(m.R, n), a.floats(m.R, m.cols, 0.01f),
                                   activation, 0.2f,   m.split};
      });
      add(device, "bias grad + " + (name + m.name), 3 * m.size(), [=](Arena& a) {
        return ops::BiasActivationGrad{
            m.R,        m.rows, m.cols, a.floats(m.R, n, 0.f), a.floats(m.R, n), a.floats(m.R, m.cols),
            activation, 0.2f,   m.split};
      });
    }
    add(device, "batch norm/" + m.name, 4 * m.size(), [=](Arena& a) {
      ops::BatchNorm op{m.R, 1, m.rows, m.cols, a.floats(m.R, n), a.floats(m.R, n)};
      op.gamma = a.floats(m.R, m.cols), op.beta = a.floats(m.R, m.cols), op.saved = a.floats(m.R, 2 * m.cols);
      op.running_mean = a.floats(m.R, m.cols), op.running_var = a.floats(m.R, m.cols), op.split = m.split;
      return op;
    });
    add(device, "batch norm grad/" + m.name, 5 * m.size(), [=](Arena& a) {
      ops::BatchNormGrad op{m.R, 1, m.rows, m.cols, a.floats(m.R, n), a.floats(m.R, n)};
      op.gamma = a.floats(m.R, m.cols), op.saved = a.floats(m.R, 2 * m.cols), op.dx = a.floats(m.R, n);
      op.dgamma = a.floats(m.R, m.cols), op.dbeta = a.floats(m.R, m.cols), op.split = m.split;
      return op;
    });
    add(device, "dropout/" + m.name, 2 * m.size(),
        [=](Arena& a) { return ops::Dropout{m.R, n, a.floats(m.R, n), a.floats(m.R, n), 0.3f, {}, m.split}; });
  }
}

void add_random(const std::shared_ptr<Device>& device) {
  using Kind = ops::RandomFill::Kind;
  constexpr int64_t kCount = 1 << 20;
  for (const auto& [name, kind] : {std::pair{"normal", Kind::kNormal}, std::pair{"uniform", Kind::kUniform}})
    add(device, std::string("random/") + name, kCount,
        [kind = kind](Arena& a) { return ops::RandomFill{kind, 1, kCount, a.floats(1, kCount), 0.f, 1.f, {}, true}; });
}

}  // namespace

void add_elementwise_rows(const std::shared_ptr<Device>& device) {
  add_optimisers(device);
  add_mixing(device);
  add_layers(device);
  add_random(device);
}

}  // namespace agon::bench
