// The operations of the other layers, losses, sampling: small, or limited by memory.
#include <numeric>

#include "tools/agon-bench/bench.h"

namespace agon::bench {
namespace {

constexpr int64_t kBatch = 20;

std::string with_replicas(const std::string& name, int64_t replicas) { return name + "/R" + std::to_string(replicas); }

void add_images(const Bench& bench, int64_t R) {
  constexpr int64_t kSide = 14, kChannels = 64, kHalf = kSide / 2;
  constexpr int64_t kIn = kBatch * kSide * kSide * kChannels, kOut = kBatch * kHalf * kHalf * kChannels;
  for (const auto& [name, kind] :
       {std::pair{"max", ops::Pool::Kind::kMax}, std::pair{"average", ops::Pool::Kind::kAverage}}) {
    add_operation(bench, with_replicas(std::string(name) + " pool", R), R * (kIn + kOut), [=, kind = kind](Arena& a) {
      return ops::Pool{
          kind, R, kBatch, kSide, kSide, kChannels, kHalf, kHalf, 2, 2, 0, a.floats(R, kIn), a.floats(R, kOut)};
    });
    add_operation(bench, with_replicas(std::string(name) + " pool grad", R), R * (2 * kIn + 2 * kOut),
                  [=, kind = kind](Arena& a) {
                    return ops::PoolGrad{kind,
                                         R,
                                         kBatch,
                                         kSide,
                                         kSide,
                                         kChannels,
                                         kHalf,
                                         kHalf,
                                         2,
                                         2,
                                         0,
                                         a.floats(R, kIn),
                                         a.floats(R, kOut),
                                         a.floats(R, kOut),
                                         a.floats(R, kIn)};
                  });
  }
  add_operation(bench, with_replicas("upsample", R), R * (kIn + kOut), [=](Arena& a) {
    return ops::Upsample{R, kBatch, kHalf, kHalf, kChannels, 2, a.floats(R, kOut), a.floats(R, kIn)};
  });
  add_operation(bench, with_replicas("upsample grad", R), R * (kIn + kOut), [=](Arena& a) {
    return ops::UpsampleGrad{R, kBatch, kHalf, kHalf, kChannels, 2, a.floats(R, kIn), a.floats(R, kOut)};
  });
  add_operation(bench, with_replicas("transpose", R), 2 * R * kIn, [=](Arena& a) {
    return ops::Transpose{R, kBatch, kSide * kSide, kChannels, a.floats(R, kIn), a.floats(R, kIn)};
  });
}

void add_vectors(const Bench& bench, int64_t R) {
  constexpr int64_t kFeatures = 8192, kKernels = 50, kDims = 5, kWidth = 512, kLatent = 100, kClasses = 10;
  constexpr int64_t kSize = kBatch * kWidth, kProjection = kBatch * kKernels * kDims;
  add_operation(bench, with_replicas("layer norm", R), 2 * R * kSize, [=](Arena& a) {
    return ops::LayerNorm{R,
                          kBatch,
                          kWidth,
                          a.floats(R, kSize),
                          a.floats(R, kSize),
                          a.floats(R, kWidth),
                          a.floats(R, kWidth),
                          a.floats(R, 2 * kBatch)};
  });
  add_operation(bench, with_replicas("layer norm grad", R), 3 * R * kSize, [=](Arena& a) {
    return ops::LayerNormGrad{R,
                              kBatch,
                              kWidth,
                              a.floats(R, kSize),
                              a.floats(R, kSize),
                              a.floats(R, kWidth),
                              a.floats(R, 2 * kBatch),
                              a.floats(R, kSize),
                              a.floats(R, kWidth),
                              a.floats(R, kWidth)};
  });
  const auto out = kBatch * (kFeatures + kKernels);
  add_operation(bench, with_replicas("mini-batch discrimination", R), R * (2 * kBatch * kFeatures), [=](Arena& a) {
    return ops::MinibatchDiscrimination{R,
                                        2,
                                        kBatch / 2,
                                        kFeatures,
                                        kKernels,
                                        kDims,
                                        a.floats(R, kBatch * kFeatures),
                                        a.floats(R, kProjection),
                                        a.floats(R, out)};
  });
  add_operation(bench, with_replicas("mini-batch discrimination grad", R), R * (2 * kBatch * kFeatures), [=](Arena& a) {
    return ops::MinibatchDiscriminationGrad{R,
                                            2,
                                            kBatch / 2,
                                            kFeatures,
                                            kKernels,
                                            kDims,
                                            a.floats(R, kProjection),
                                            a.floats(R, out),
                                            a.floats(R, out),
                                            a.floats(R, kProjection),
                                            a.floats(R, kBatch * kFeatures)};
  });
  const int64_t latent = kBatch * kLatent;
  add_operation(bench, with_replicas("embedding", R), 3 * R * latent, [=](Arena& a) {
    return ops::Embedding{R,
                          kBatch,
                          kLatent,
                          kClasses,
                          a.ints(R, kBatch),
                          a.floats(R, kClasses * kLatent),
                          a.floats(R, latent),
                          a.floats(R, latent)};
  });
  add_operation(bench, with_replicas("embedding grad", R), 4 * R * latent, [=](Arena& a) {
    return ops::EmbeddingGrad{R,
                              kBatch,
                              kLatent,
                              kClasses,
                              a.ints(R, kBatch),
                              a.floats(R, kClasses * kLatent),
                              a.floats(R, latent),
                              a.floats(R, latent),
                              a.floats(R, kClasses * kLatent),
                              a.floats(R, latent)};
  });
}

void add_batches(const Bench& bench, int64_t R) {
  constexpr int64_t kClasses = 10, kLogits = kBatch * (1 + kClasses);
  add_operation(bench, with_replicas("gan loss", R), 2 * R * kLogits, [=](Arena& a) {
    return ops::GanLoss{ops::GanLossKind::kNonSaturating,
                        ops::GanRole::kReal,
                        R,
                        kBatch,
                        kClasses,
                        a.floats(R, kLogits),
                        a.ints(R, kBatch),
                        a.floats(R, kLogits),
                        a.floats(R, 1)};
  });
  add_operation(bench, with_replicas("softmax loss", R), 2 * R * kBatch * kClasses, [=](Arena& a) {
    return ops::SoftmaxLoss{R,
                            kBatch,
                            kClasses,
                            a.floats(R, kBatch * kClasses),
                            a.ints(R, kBatch),
                            a.floats(R, kBatch * kClasses),
                            a.floats(R, 1),
                            a.floats(R, 1)};
  });
  add_operation(bench, with_replicas("random labels", R), R * kBatch, [=](Arena& a) {
    return ops::RandomLabels{R, kBatch, kClasses, a.ints(R, kBatch), {}};
  });
  constexpr int64_t kItems = 6000, kSide = 28;
  add_operation(bench, with_replicas("gather 20x28x28", R), R * kBatch * kSide * kSide * 5 / 4, [=](Arena& a) {
    std::vector<int32_t> indices(kItems);
    std::iota(indices.begin(), indices.end(), 0);
    std::vector<int64_t> begin;
    for (int64_t n = 0; n <= R; ++n) begin.push_back(n * kItems / R);
    ops::Gather op{.replicas = R, .batch = kBatch, .channels = 1, .height = kSide, .width = kSide};
    op.images = a.values(std::vector<uint8_t>(kItems * kSide * kSide, 77));
    op.indices = a.values(indices), op.begin = a.values(begin);
    op.x = a.floats(R, kBatch * kSide * kSide);
    return op;
  });
}

}  // namespace

void add_layer_rows(const Bench& bench) {
  for (const int64_t replicas : {1, 10, 100}) {
    add_images(bench, replicas);
    add_vectors(bench, replicas);
    add_batches(bench, replicas);
  }
}

}  // namespace agon::bench
