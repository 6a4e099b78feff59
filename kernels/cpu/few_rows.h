#pragma once

#include <cstdint>

#include "kernels/ops.h"

namespace agon::cpu {

/// c [m, n] (+)= op(a) op(b), as sgemm takes it: op(a) is [m, k], op(b) is [k, n], and a transposed operand is stored
/// the other way round. lda, ldb, ldc: elements from one stored row to the next.
struct Product {
  int64_t m, n, k;
  bool transpose_a, transpose_b, accumulate;
  const float *a, *b;
  float* c;
  int64_t lda, ldb, ldc;
};

/// The products of a dense layer with a batch of few rows: forward (neither operand transposed), input gradient (b) and
/// weight gradient (a). Whether they are, and this processor multiplies them faster in place than a general product
/// does; the whole shape decides, and all pieces that it is cut into round alike.
bool has_few_rows(const ops::Gemm& operation);
void multiply_few_rows(const Product& product, Precision precision);

}  // namespace agon::cpu
