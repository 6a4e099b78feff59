#include "engine/mixing.h"

#include <numeric>

#include "kernels/error.h"

namespace agon {

Mixing Mixing::permutation(const std::vector<int64_t>& source) {
  ops::Mix::Rows rows;
  rows.begin.resize(source.size() + 1);
  std::iota(rows.begin.begin(), rows.begin.end(), 0);
  rows.column = source;
  rows.weight.assign(source.size(), 1.f);
  return Mixing(std::move(rows));
}

Mixing Mixing::average(int64_t workers, const std::vector<double>& weights) {
  const auto weight = [&](int64_t j) { return weights.empty() ? 1.0 : weights[static_cast<size_t>(j)]; };
  double total = 0;
  for (int64_t j = 0; j < workers; ++j) total += weight(j);
  if (!(total > 0))
    fail(Fault::kUsage, "an average over {} workers was asked for in which nobody weighs more than 0", workers);
  ops::Mix::Rows rows{.begin = {0}};
  for (int64_t i = 0; i < workers; ++i) {
    for (int64_t j = 0; j < workers; ++j)
      if (weight(j) > 0) {
        rows.column.push_back(j);
        rows.weight.push_back(static_cast<float>(weight(j) / total));
      }
    rows.begin.push_back(static_cast<int64_t>(rows.column.size()));
  }
  return Mixing(std::move(rows));
}

Mixing Mixing::gossip(const std::vector<int64_t>& target) {
  ops::Mix::Rows rows{.begin = {0}};
  const auto workers = static_cast<int64_t>(target.size());
  for (int64_t i = 0; i < workers; ++i) {
    rows.column.push_back(i);
    for (int64_t j = 0; j < workers; ++j)
      if (j != i && target[static_cast<size_t>(j)] == i) rows.column.push_back(j);
    const auto end = static_cast<int64_t>(rows.column.size());
    rows.weight.resize(rows.column.size(), 1.f / static_cast<float>(end - rows.begin.back()));
    rows.begin.push_back(end);
  }
  return Mixing(std::move(rows));
}

bool Mixing::identity_row(int64_t row) const {
  const auto begin = static_cast<size_t>(rows_->begin[static_cast<size_t>(row)]);
  const auto end = static_cast<size_t>(rows_->begin[static_cast<size_t>(row) + 1]);
  return end == begin || (end == begin + 1 && rows_->column[begin] == row && rows_->weight[begin] == 1.f);
}

SwapKind parse_swap(const std::string& name) {
  if (name == "derangement") return SwapKind::kDerangement;
  if (name == "pairwise") return SwapKind::kPairwise;
  if (name == "ring") return SwapKind::kRing;
  if (name == "uniform") return SwapKind::kUniform;
  fail(Fault::kUsage, "algorithm.swap is \"{}\", expected derangement, pairwise, ring or uniform", name);
}

std::vector<int64_t> gossip_targets(int64_t workers, HostRandom& random) {
  std::vector<int64_t> target;
  for (int64_t i = 0; i < workers; ++i) {
    const int64_t other = workers < 2 ? 0 : random.below(workers - 1);  // anyone but itself
    target.push_back(other < i || workers < 2 ? other : other + 1);
  }
  return target;
}

std::vector<int64_t> swap_sources(SwapKind kind, int64_t workers, HostRandom& random) {
  std::vector<int64_t> source(static_cast<size_t>(workers)), order(static_cast<size_t>(workers));
  std::iota(source.begin(), source.end(), 0);
  std::iota(order.begin(), order.end(), 0);
  if (workers < 2) return source;
  const auto at = [](std::vector<int64_t>& list, int64_t i) -> int64_t& { return list[static_cast<size_t>(i)]; };
  switch (kind) {
    case SwapKind::kDerangement:  // one random cycle through all
      random.shuffle(order);
      for (int64_t i = 0; i < workers; ++i) at(source, at(order, (i + 1) % workers)) = at(order, i);
      break;
    case SwapKind::kPairwise:
      random.shuffle(order);
      for (int64_t i = 0; i + 1 < workers; i += 2) {
        at(source, at(order, i)) = at(order, i + 1);
        at(source, at(order, i + 1)) = at(order, i);
      }
      break;
    case SwapKind::kRing:
      for (int64_t i = 0; i < workers; ++i) at(source, (i + 1) % workers) = i;
      break;
    case SwapKind::kUniform:
      for (int64_t i = 0; i < workers; ++i) {
        const int64_t other = random.below(workers - 1);  // anyone but itself
        at(source, other < i ? other : other + 1) = i;
      }
      break;
  }
  return source;
}

}  // namespace agon
