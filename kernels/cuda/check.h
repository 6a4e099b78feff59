#pragma once

#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <cudnn.h>

#include <cstdint>

namespace agon::cuda {

/// Throw Error(kRun) with one sentence when a call did not succeed. `doing`: "starting a kernel".
void check(cudaError_t error, const char* doing);
void check(cublasStatus_t status, const char* doing);
void check(cudnnStatus_t status, const char* doing);

/// Fails in a sentence where 32 bits do not hold the indices within one replica.
void check_count(int64_t count);

}  // namespace agon::cuda
