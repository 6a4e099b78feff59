// Random numbers: noise, labels and dropout masks, each a function of its key and its place alone. A thread makes the
// four numbers of one block of random words.
#include "kernels/cuda/launch.cuh"
#include "kernels/formulas.h"
#include "kernels/philox.h"

namespace agon::cuda {
namespace {

struct Four {
  float value[4];
};

AGON_DEVICE_INLINE Four uniforms(const PhiloxBlock& block, float low, float width) {
  Four numbers;
  for (int i = 0; i < 4; ++i) numbers.value[i] = std::fma(formulas::uniform(block.word[i]), width, low);
  return numbers;
}

AGON_DEVICE_INLINE Four normals(const PhiloxBlock& block, float mean, float deviation) {
  const formulas::NormalPair p = formulas::normal_pair(block.word[0], block.word[1]);
  const formulas::NormalPair q = formulas::normal_pair(block.word[2], block.word[3]);
  return {{std::fma(p.first, deviation, mean), std::fma(p.second, deviation, mean), std::fma(q.first, deviation, mean),
           std::fma(q.second, deviation, mean)}};
}

struct RandomFill {
  ops::RandomFill op;
  AGON_DEVICE_INLINE void operator()(int64_t r, uint32_t block) const {
    const PhiloxBlock words = RandomWords(op.key, r).block(block);
    const Four numbers =
        op.kind == ops::RandomFill::Kind::kNormal ? normals(words, op.a, op.b) : uniforms(words, op.a, op.b - op.a);
    for (int64_t lane = 0, i = int64_t{block} * 4; lane < 4 && i < op.count; ++lane, ++i)
      op.y.at(r)[i] = numbers.value[lane];
  }
};

struct RandomLabels {
  ops::RandomLabels op;
  AGON_DEVICE_INLINE void operator()(int64_t r, uint32_t block) const {
    const PhiloxBlock words = RandomWords(op.key, r).block(block);
    for (int64_t lane = 0, i = int64_t{block} * 4; lane < 4 && i < op.count; ++lane, ++i)
      op.y.at(r)[i] = formulas::uniform_label(words.word[lane], op.classes);
  }
};

struct Dropout {
  ops::Dropout op;
  float scale;
  AGON_DEVICE_INLINE void operator()(int64_t r, uint32_t block) const {
    const Four chance = uniforms(RandomWords(op.key, r).block(block), 0.f, 1.f);
    const float* x = op.x.at(r);
    float* y = op.y.at(r);
    for (int64_t lane = 0, i = int64_t{block} * 4; lane < 4 && i < op.count; ++lane, ++i)
      y[i] = chance.value[lane] < op.rate ? 0.f : x[i] * scale;
  }
};

}  // namespace

void launch(Context& context, const ops::RandomFill& op) {
  start_each_index(context, op.replicas, ceil_div(op.count, 4), RandomFill{op});
}

void launch(Context& context, const ops::RandomLabels& op) {
  start_each_index(context, op.replicas, ceil_div(op.count, 4), RandomLabels{op});
}

void launch(Context& context, const ops::Dropout& op) {
  start_each_index(context, op.replicas, ceil_div(op.count, 4), Dropout{op, 1.f / (1.f - op.rate)});
}

}  // namespace agon::cuda
