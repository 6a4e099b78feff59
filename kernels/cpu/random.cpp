// Random numbers: noise, labels and dropout masks, each a function of its key and its place alone.
#include <cmath>

#include "kernels/cpu/operations.h"
#include "kernels/cpu/slots.h"
#include "kernels/formulas.h"
#include "kernels/inputs.h"
#include "kernels/philox.h"

namespace agon::cpu {
namespace {

/// Writes elements begin .. end-1 of a draw to `to`; begin is a multiple of 4. A block of random words makes four
/// numbers: make(block, numbers).
template <class Make>
void draw(const RandomWords& words, int64_t begin, int64_t end, float* __restrict to, Make make) {
  const int64_t blocks = (end - begin) / 4, rest = (end - begin) % 4;
  const uint32_t first = static_cast<uint32_t>(begin / 4);
  for (int64_t i = 0; i < blocks; ++i) make(words.block(first + static_cast<uint32_t>(i)), to + 4 * i);
  if (rest == 0) return;
  float last[4];
  make(words.block(first + static_cast<uint32_t>(blocks)), last);
  std::copy_n(last, rest, to + 4 * blocks);
}

/// Four uniform numbers in [low, low + width).
struct MakeUniform {
  float low = 0.f, width = 1.f;
  void operator()(const PhiloxBlock& block, float* to) const {
    to[0] = std::fma(formulas::uniform(block.word[0]), width, low);
    to[1] = std::fma(formulas::uniform(block.word[1]), width, low);
    to[2] = std::fma(formulas::uniform(block.word[2]), width, low);
    to[3] = std::fma(formulas::uniform(block.word[3]), width, low);
  }
};

struct MakeNormal {
  float mean, deviation;
  void operator()(const PhiloxBlock& block, float* to) const {
    const formulas::NormalPair p = formulas::normal_pair(block.word[0], block.word[1]);
    const formulas::NormalPair q = formulas::normal_pair(block.word[2], block.word[3]);
    to[0] = std::fma(p.first, deviation, mean);
    to[1] = std::fma(p.second, deviation, mean);
    to[2] = std::fma(q.first, deviation, mean);
    to[3] = std::fma(q.second, deviation, mean);
  }
};

}  // namespace

void enqueue(Stream& stream, const ops::RandomFill& op) {
  check_key(op.key);
  each_element(stream, op.replicas, op.count, op.split, [op](int64_t r, int64_t begin, int64_t end) {
    const RandomWords words(op.key, r);
    if (op.kind == ops::RandomFill::Kind::kNormal) {
      draw(words, begin, end, op.y.at(r) + begin, MakeNormal{op.a, op.b});
    } else {
      draw(words, begin, end, op.y.at(r) + begin, MakeUniform{op.a, op.b - op.a});
    }
  });
}

void enqueue(Stream& stream, const ops::RandomLabels& op) {
  check_key(op.key);
  stream.add({op.replicas, 1, false, [op](int64_t r, int64_t) {
                const RandomWords words(op.key, r);
                for (int64_t i = 0; i < op.count; ++i)
                  op.y.at(r)[i] =
                      formulas::uniform_label(words.block(static_cast<uint32_t>(i / 4)).word[i % 4], op.classes);
              }});
}

void enqueue(Stream& stream, const ops::Dropout& op) {
  check_key(op.key);
  each_element(stream, op.replicas, op.count, op.split, [op](int64_t r, int64_t begin, int64_t end) {
    constexpr int64_t kBlock = 1024;
    const RandomWords words(op.key, r);
    const float rate = op.rate, scale = 1.f / (1.f - rate);
    float* chance = scratch(kParameterSlot, kBlock);
    for (int64_t first = begin; first < end; first += kBlock) {
      const int64_t count = std::min(kBlock, end - first);
      draw(words, first, first + count, chance, MakeUniform{});
      const float* x = op.x.at(r) + first;
      float* y = op.y.at(r) + first;
#pragma GCC ivdep  // y may be x
      for (int64_t i = 0; i < count; ++i) y[i] = chance[i] < rate ? 0.f : x[i] * scale;
    }
  });
}

}  // namespace agon::cpu
