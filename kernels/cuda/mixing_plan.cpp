// Which way a mixing matrix is applied.
#include "kernels/cuda/mixing_plan.h"

#include "kernels/mixing.h"

namespace agon::cuda {
namespace {

/// True if every row is one whole row, and no row is taken twice: a permutation (of those rows that change).
bool permutes(const ops::Mix::Rows& matrix) {
  std::vector<bool> taken(static_cast<size_t>(matrix.rows()), false);
  for (int64_t i = 0; i < matrix.rows(); ++i) {
    const auto first = static_cast<size_t>(matrix.begin[static_cast<size_t>(i)]);
    if (matrix.begin[static_cast<size_t>(i) + 1] != matrix.begin[static_cast<size_t>(i)] + 1) return false;
    const int64_t j = matrix.column[first];
    if (matrix.weight[first] != 1.f || j >= matrix.rows() || taken[static_cast<size_t>(j)]) return false;
    taken[static_cast<size_t>(j)] = true;
  }
  return true;
}

MixingPlan along_cycles(const ops::Mix::Rows& matrix, const std::vector<int32_t>& changing) {
  MixingPlan plan{.route = Route::kRotate, .begin = {0}};
  std::vector<bool> done(static_cast<size_t>(matrix.rows()), false);
  for (const int32_t leader : changing) {
    if (done[static_cast<size_t>(leader)]) continue;
    for (int64_t i = leader; !done[static_cast<size_t>(i)]; i = matrix.column[static_cast<size_t>(i)]) {
      done[static_cast<size_t>(i)] = true;
      plan.column.push_back(static_cast<int32_t>(i));
    }
    plan.begin.push_back(static_cast<int32_t>(plan.column.size()));
  }
  return plan;
}

}  // namespace

MixingPlan plan_mixing(const ops::Mix::Rows& matrix, bool in_place) {
  std::vector<int32_t> changing;
  bool alike = true;
  for (int64_t i = 0; i < matrix.rows(); ++i) {
    if (keeps_row(matrix, i, in_place)) continue;
    alike = alike && (changing.empty() || same_terms(matrix, changing.front(), i));
    changing.push_back(static_cast<int32_t>(i));
  }
  if (changing.empty()) return {};
  if (in_place && permutes(matrix)) return along_cycles(matrix, changing);

  MixingPlan plan{.begin = {0}};
  const auto add_terms = [&](int64_t row) {
    for (int64_t e = matrix.begin[static_cast<size_t>(row)]; e < matrix.begin[static_cast<size_t>(row) + 1]; ++e) {
      plan.column.push_back(static_cast<int32_t>(matrix.column[static_cast<size_t>(e)]));
      plan.weight.push_back(matrix.weight[static_cast<size_t>(e)]);
    }
    plan.begin.push_back(static_cast<int32_t>(plan.column.size()));
  };
  if (in_place && alike) {
    plan.route = Route::kShare;
    add_terms(changing.front());
  } else {
    plan.route = in_place ? Route::kThroughCopy : Route::kApart;
    for (const int32_t row : changing) add_terms(row);
  }
  plan.target = std::move(changing);
  return plan;
}

}  // namespace agon::cuda
