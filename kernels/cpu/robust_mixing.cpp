// Robust counterparts of the mixing primitive: what many participants say, when some of them lie.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cpu/operations.h"

namespace agon::cpu {
namespace {

using Rule = ops::RobustMix::Rule;

/// Sorts so that NaN counts as the largest value: a liar cannot hide behind it.
bool ascending(float a, float b) { return std::isnan(b) ? !std::isnan(a) : a < b; }

/// The median (the mean of the middle two), or the mean without the `drop` smallest and largest, of the sorted values.
float middle(const std::vector<float>& sorted, Rule rule, int64_t drop) {
  const auto n = static_cast<int64_t>(sorted.size());
  if (rule == Rule::kMedian) drop = (n - 1) / 2;
  double sum = 0;
  for (int64_t i = drop; i < n - drop; ++i) sum += sorted[static_cast<size_t>(i)];
  return static_cast<float>(sum / static_cast<double>(n - 2 * drop));
}

double squared_distance(const float* a, const float* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += difference * difference;
  }
  return std::isnan(sum) ? std::numeric_limits<double>::infinity() : sum;
}

/// The one whose `near` nearest others are nearest: the first of equals.
int64_t krum(const std::vector<const float*>& said, int64_t count, int64_t tolerate) {
  const auto n = static_cast<int64_t>(said.size());
  const int64_t near = std::max<int64_t>(1, n - tolerate - 2);
  int64_t best = 0;
  double least = std::numeric_limits<double>::infinity();
  for (int64_t i = 0; i < n; ++i) {
    std::vector<double> distances;
    for (int64_t j = 0; j < n; ++j)
      if (j != i)
        distances.push_back(squared_distance(said[static_cast<size_t>(i)], said[static_cast<size_t>(j)], count));
    std::sort(distances.begin(), distances.end());
    double score = 0;
    for (int64_t j = 0; j < std::min(near, n - 1); ++j) score += distances[static_cast<size_t>(j)];
    if (score < least) least = score, best = i;
  }
  return best;
}

}  // namespace

void enqueue(Stream& stream, const ops::RobustMix& op) {
  constexpr int64_t kBlock = 1024;
  const bool choose = op.rule == Rule::kKrum;
  const int64_t chunks = choose ? 1 : (op.count + kBlock - 1) / kBlock;
  stream.add({op.matrix->rows(), chunks, true, [op, choose](int64_t row, int64_t chunk) {
                const auto first = static_cast<size_t>(op.matrix->begin[static_cast<size_t>(row)]);
                const auto last = static_cast<size_t>(op.matrix->begin[static_cast<size_t>(row) + 1]);
                if (first == last) return;
                std::vector<const float*> said;
                double weight = 0;
                for (size_t e = first; e < last; ++e)
                  said.push_back(op.in.at(op.matrix->column[e])), weight += static_cast<double>(op.matrix->weight[e]);
                const float scale = static_cast<float>(weight);
                float* out = op.out.at(row);
                if (choose) {
                  const float* honest = said[static_cast<size_t>(krum(said, op.count, op.tolerate))];
                  for (int64_t i = 0; i < op.count; ++i) out[i] = scale * honest[i];
                  return;
                }
                const int64_t most = (static_cast<int64_t>(said.size()) - 1) / 2;
                const int64_t drop = std::min(op.tolerate, most);
                std::vector<float> values(said.size());
                for (int64_t i = chunk * kBlock; i < std::min(op.count, (chunk + 1) * kBlock); ++i) {
                  for (size_t n = 0; n < said.size(); ++n) values[n] = said[n][i];
                  std::sort(values.begin(), values.end(), ascending);
                  out[i] = scale * middle(values, op.rule, drop);
                }
              }});
}

}  // namespace agon::cpu
