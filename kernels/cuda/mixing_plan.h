#pragma once

#include <cstdint>
#include <vector>

#include "kernels/ops.h"

namespace agon::cuda {

/// How a mixing matrix is applied; which of the ways follows from its structure.
enum class Route : int32_t {
  kNothing,
  kApart,       ///< each row is formed by itself, into memory that no row reads
  kRotate,      ///< in place, a permutation: every number is read and written once, along its cycles
  kShare,       ///< in place, all rows that change hold the same sum (an average)
  kThroughCopy  ///< in place, anything else: formed apart in work space, then copied back
};

/// A matrix as the kernels want it. Of kApart and kThroughCopy, `begin`, `column` and `weight` are the rows that
/// change, in CSR form, and `target` says which rows they are. Of kRotate, [begin[c], begin[c + 1]) of `column` are the
/// rows along cycle c, each of which takes what its successor held. Of kShare, `column` and `weight` are the one sum's
/// terms.
struct MixingPlan {
  Route route = Route::kNothing;
  std::vector<int32_t> begin, column, target;
  std::vector<float> weight;
};

MixingPlan plan_mixing(const ops::Mix::Rows& matrix, bool in_place);

/// The same in device memory.
struct DeviceMixing {
  Route route = Route::kNothing;
  int64_t rows = 0;  ///< or cycles
  int64_t terms = 0;
  int64_t targets = 0;
  const int32_t* begin = nullptr;
  const int32_t* column = nullptr;
  const int32_t* target = nullptr;
  const float* weight = nullptr;
};

}  // namespace agon::cuda
