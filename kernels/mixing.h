#pragma once

#include <algorithm>

#include "kernels/ops.h"

namespace agon {

/// Rows of a mixing matrix with the same terms: their sum need be formed only once.
inline bool same_terms(const ops::Mix::Rows& matrix, int64_t a, int64_t b) {
  const auto same = [&](const auto& values) {
    return std::equal(values.begin() + matrix.begin[a], values.begin() + matrix.begin[a + 1],
                      values.begin() + matrix.begin[b], values.begin() + matrix.begin[b + 1]);
  };
  return same(matrix.column) && same(matrix.weight);
}

/// True if row i leaves its result as it is: it has no terms, or is in place and the identity.
inline bool keeps_row(const ops::Mix::Rows& matrix, int64_t i, bool in_place) {
  const int64_t first = matrix.begin[i], terms = matrix.begin[i + 1] - first;
  return terms == 0 || (in_place && terms == 1 && matrix.column[first] == i && matrix.weight[first] == 1.f);
}

}  // namespace agon
