// Everything that is limited by memory: optimisers, activations, normalisation, mixing, random numbers. GB/s counts
// each operand as often as it must be read or written; "copy" is what the memory of this machine gives.
#include "tools/agon-bench/bench.h"

namespace agon::bench {
namespace {

constexpr int64_t kDiscriminator = 670219;  // parameters of the MD-GAN paper's MLP

std::string with_replicas(const std::string& name, int64_t replicas) { return name + "/R" + std::to_string(replicas); }

void add_optimisers(const Bench& bench, int64_t R) {
  constexpr int64_t P = kDiscriminator;
  add_operation(bench, with_replicas("copy", R), 2 * R * P,
                [=](Arena& a) { return ops::Axpby{R, P, a.floats(R, P), a.floats(R, P), 0.f, 1.f}; });
  add_operation(bench, with_replicas("clip", R), 2 * R * P, [=](Arena& a) {
    return ops::Clip{R, P, a.floats(R, P), 1.f};
  });
  add_operation(bench, with_replicas("adam", R), 7 * R * P, [=](Arena& a) {
    return ops::Adam{R,        P, a.floats(R, P), a.floats(R, P), a.floats(R, P), a.floats(R, P), a.floats(R, 1, 1e-3f),
                     a.ints(R)};
  });
  add_operation(bench, with_replicas("sgd", R), 5 * R * P, [=](Arena& a) {
    return ops::Sgd{R, P, a.floats(R, P), a.floats(R, P), a.floats(R, P), a.floats(R, 1, 1e-3f), a.ints(R), 0.9f};
  });
  add_operation(bench, with_replicas("fill", R), R * P, [=](Arena& a) {
    return ops::Fill{R, P, a.floats(R, P), 0.5f};
  });
  add_operation(bench, with_replicas("rmsprop", R), 5 * R * P, [=](Arena& a) {
    return ops::RmsProp{R, P, a.floats(R, P), a.floats(R, P), a.floats(R, P), a.floats(R, 1, 1e-3f), a.ints(R)};
  });
}

/// A row for each replica: `terms` neighbours from `first` on, equally weighted.
std::shared_ptr<const ops::Mix::Rows> neighbours(int64_t R, int64_t first, int64_t terms, bool same_for_all) {
  auto matrix = std::make_shared<ops::Mix::Rows>();
  matrix->begin = {0};
  for (int64_t i = 0; i < R; ++i) {
    for (int64_t j = 0; j < terms; ++j) {
      matrix->column.push_back(((same_for_all ? 0 : i) + first + j) % R);
      matrix->weight.push_back(1.f / static_cast<float>(terms));
    }
    matrix->begin.push_back(static_cast<int64_t>(matrix->column.size()));
  }
  return matrix;
}

ops::Mix mix(Arena& arena, int64_t R, int64_t first, int64_t terms, bool same_for_all) {
  const Floats models = arena.floats(R, kDiscriminator);
  return {kDiscriminator, models, models, neighbours(R, first, terms, same_for_all)};
}

void add_mixing(const Bench& bench, int64_t R) {
  const int64_t moved = 2 * R * kDiscriminator;
  add_operation(bench, with_replicas("mix/swap", R), moved, [=](Arena& a) { return mix(a, R, 1, 1, false); });
  add_operation(bench, with_replicas("mix/gossip", R), moved, [=](Arena& a) { return mix(a, R, 0, 2, false); });
  add_operation(bench, with_replicas("mix/average", R), moved, [=](Arena& a) { return mix(a, R, 0, R, true); });
  constexpr int64_t kLabels = 20;
  add_operation(bench, with_replicas("select", R), 2 * R * kLabels, [=](Arena& a) {
    return ops::Select{kLabels, a.ints(R, kLabels), a.ints(R, kLabels), neighbours(R, 1, 1, false)};
  });
}

void add_counter(const Bench& bench) {
  add_operation(bench, "advance", 4, [](Arena& a) { return ops::Advance{a.values(std::vector<uint64_t>{0})}; });
}

/// Feedback of R workers on ten pictures each: merged by robust rules, and in fewer bits.
void add_feedback(const Bench& bench, int64_t R) {
  constexpr int64_t kRows = 10, kPixels = 784;
  using Rule = ops::RobustMix::Rule;
  for (const auto& [name, rule] : {std::pair{"median", Rule::kMedian}, std::pair{"trimmed_mean", Rule::kTrimmedMean},
                                   std::pair{"krum", Rule::kKrum}})
    add_operation(bench, with_replicas(std::string("robust_mix/") + name, R), (R + 1) * kRows * kPixels,
                  [R, rule = rule](Arena& a) {
                    auto all = std::make_shared<ops::Mix::Rows>();
                    all->begin = {0, R};
                    for (int64_t r = 0; r < R; ++r) all->column.push_back(r);
                    all->weight.assign(static_cast<size_t>(R), 1.f / static_cast<float>(R));
                    return ops::RobustMix{
                        rule, kRows * kPixels, a.floats(R, kRows * kPixels), a.floats(1, kRows * kPixels), all, 2};
                  });
  using Codec = ops::Compress::Codec;
  for (const auto& [name, codec] :
       {std::pair{"bf16", Codec::kBf16}, std::pair{"int8", Codec::kInt8}, std::pair{"top_k", Codec::kTopK}})
    add_operation(bench, with_replicas(std::string("compress/") + name, R), 2 * R * kRows * kPixels,
                  [R, codec = codec](Arena& a) {
                    return ops::Compress{codec, R, kRows, kPixels, a.floats(R, kRows * kPixels), {}, kPixels / 10};
                  });
}

struct MatrixRow {
  std::string name;
  int64_t rows, cols;
  int64_t most_replicas = 100;
};
const MatrixRow kMatrices[] = {
    {"mlp D 20x512", 20, 512},
    {"cnn D 20x14x14x16", 20 * 14 * 14, 16},
    {"cnn D 20x7x7x64", 20 * 7 * 7, 64},
    {"mnist G 20x28x28x1", 20 * 28 * 28, 1},
    {"cifar G 20x16x16x96", 20 * 16 * 16, 96},
    {"64 MB 32768x512", 32768, 512, 1},  // more than caches hold
};

void add_layers(const Bench& bench, int64_t R) {
  const bool split = R == 1;
  for (const MatrixRow& m : kMatrices) {
    if (R > m.most_replicas) continue;
    const int64_t n = m.rows * m.cols;
    const std::string shape = with_replicas(m.name, R);
    for (const auto& [name, activation] :
         {std::pair{"leaky relu/", Activation::kLeakyRelu}, std::pair{"tanh/", Activation::kTanh}}) {
      add_operation(bench, "bias + " + (name + shape), 2 * R * n, [=](Arena& a) {
        return ops::BiasActivation{R,          m.rows, m.cols, a.floats(R, n), a.floats(R, m.cols, 0.01f),
                                   activation, 0.2f,   split};
      });
      add_operation(bench, "bias grad + " + (name + shape), 3 * R * n, [=](Arena& a) {
        return ops::BiasActivationGrad{
            R, m.rows, m.cols, a.floats(R, n, 0.f), a.floats(R, n), a.floats(R, m.cols), activation, 0.2f, split};
      });
    }
    add_operation(bench, "batch norm/" + shape, 4 * R * n, [=](Arena& a) {
      ops::BatchNorm op{R, 1, m.rows, m.cols, a.floats(R, n), a.floats(R, n)};
      op.gamma = a.floats(R, m.cols), op.beta = a.floats(R, m.cols), op.saved = a.floats(R, 2 * m.cols);
      op.running_mean = a.floats(R, m.cols), op.running_var = a.floats(R, m.cols), op.split = split;
      return op;
    });
    add_operation(bench, "batch norm grad/" + shape, 5 * R * n, [=](Arena& a) {
      ops::BatchNormGrad op{R, 1, m.rows, m.cols, a.floats(R, n), a.floats(R, n)};
      op.gamma = a.floats(R, m.cols), op.saved = a.floats(R, 2 * m.cols), op.dx = a.floats(R, n);
      op.dgamma = a.floats(R, m.cols), op.dbeta = a.floats(R, m.cols), op.split = split;
      return op;
    });
    add_operation(bench, "dropout/" + shape, 2 * R * n,
                  [=](Arena& a) { return ops::Dropout{R, n, a.floats(R, n), a.floats(R, n), 0.3f, {}, split}; });
  }
}

void add_random(const Bench& bench) {
  using Kind = ops::RandomFill::Kind;
  constexpr int64_t kCount = 1 << 20;
  for (const auto& [name, kind] : {std::pair{"normal", Kind::kNormal}, std::pair{"uniform", Kind::kUniform}})
    add_operation(bench, std::string("random/") + name, kCount, [kind = kind](Arena& a) {
      return ops::RandomFill{kind, 1, kCount, a.floats(1, kCount), 0.f, 1.f, {}, true};
    });
}

}  // namespace

void add_elementwise_rows(const Bench& bench) {
  for (const int64_t replicas : {1, 10, 100}) {
    add_optimisers(bench, replicas);
    if (replicas > 1) add_mixing(bench, replicas), add_feedback(bench, replicas);
    add_layers(bench, replicas);
  }
  add_random(bench);
  add_counter(bench);
}

}  // namespace agon::bench
