// Random numbers: noise, labels and dropout masks, each a function of its key and its place alone.
#include <cmath>

#include "kernels/cpu/operations.h"
#include "kernels/error.h"
#include "kernels/formulas.h"
#include "kernels/philox.h"
#include "kernels/shuffle.h"

namespace agon::cpu {
namespace {

void check(const RandomKey& key) {
  if (key.stream > 0xff || key.draw >= kShuffleDraw)
    fail(Fault::kRun, "a random key has stream {} and draw {}, expected at most 255 and {}", key.stream, key.draw,
         kShuffleDraw - 1);
}

/// The four numbers that one block of random words gives.
struct Four {
  float number[4];
};

/// Calls use(element, number) for elements begin .. end-1; begin is a multiple of 4. Four numbers are made at a time.
template <class Make, class Use>
void each_number(const RandomWords& words, int64_t begin, int64_t end, Make make, Use use) {
  const int64_t whole = end - (end - begin) % 4;
  for (int64_t i = begin; i < whole; i += 4) {
    const Four four = make(words.block(static_cast<uint32_t>(i / 4)));
    use(i, four.number[0]);
    use(i + 1, four.number[1]);
    use(i + 2, four.number[2]);
    use(i + 3, four.number[3]);
  }
  if (whole < end) {
    const Four four = make(words.block(static_cast<uint32_t>(whole / 4)));
    for (int64_t i = whole; i < end; ++i) use(i, four.number[i - whole]);
  }
}

Four uniform_four(const PhiloxBlock& block) {
  using formulas::uniform;
  return {{uniform(block.word[0]), uniform(block.word[1]), uniform(block.word[2]), uniform(block.word[3])}};
}

Four normal_four(const PhiloxBlock& block) {
  const formulas::NormalPair p = formulas::normal_pair(block.word[0], block.word[1]);
  const formulas::NormalPair q = formulas::normal_pair(block.word[2], block.word[3]);
  return {{p.first, p.second, q.first, q.second}};
}

}  // namespace

void enqueue(Stream& stream, const ops::RandomFill& op) {
  check(op.key);
  each_element(stream, op.replicas, op.count, op.split, [op](int64_t r, int64_t begin, int64_t end) {
    const RandomWords words(op.key, r);
    float* __restrict y = op.y.at(r);
    if (op.kind == ops::RandomFill::Kind::kNormal) {
      each_number(words, begin, end, normal_four,
                  [y, a = op.a, b = op.b](int64_t i, float normal) { y[i] = std::fma(normal, b, a); });
    } else {
      each_number(words, begin, end, uniform_four,
                  [y, a = op.a, width = op.b - op.a](int64_t i, float uniform) { y[i] = std::fma(uniform, width, a); });
    }
  });
}

void enqueue(Stream& stream, const ops::RandomLabels& op) {
  check(op.key);
  stream.add({op.replicas, 1, false, [op](int64_t r, int64_t) {
                const RandomWords words(op.key, r);
                for (int64_t i = 0; i < op.count; ++i)
                  op.y.at(r)[i] =
                      formulas::uniform_label(words.block(static_cast<uint32_t>(i / 4)).word[i % 4], op.classes);
              }});
}

void enqueue(Stream& stream, const ops::Dropout& op) {
  check(op.key);
  each_element(stream, op.replicas, op.count, op.split, [op](int64_t r, int64_t begin, int64_t end) {
    const float* x = op.x.at(r);
    float* y = op.y.at(r);
    each_number(RandomWords(op.key, r), begin, end, uniform_four,
                [x, y, rate = op.rate, scale = 1.f / (1.f - op.rate)](int64_t i, float uniform) {
                  y[i] = uniform < rate ? 0.f : x[i] * scale;
                });
  });
}

}  // namespace agon::cpu
