// cuBLAS as loops over column-major matrices.
#include <vector>

#include "cublas_v2.h"
#include "cuda_bf16.h"
#include "tf32.h"

struct cublasContext {
  cudaStream_t stream = nullptr;
};

namespace {

/// Element (i, j) of op(A) as a float.
class Matrix {
 public:
  Matrix(const void* data, cudaDataType type, bool tf32, cublasOperation_t operation, int ld, int64_t offset)
      : data_(data), type_(type), tf32_(tf32), transposed_(operation == CUBLAS_OP_T), ld_(ld), offset_(offset) {}
  float operator()(int64_t i, int64_t j) const {
    const int64_t at = offset_ + (transposed_ ? j + i * ld_ : i + j * ld_);
    if (type_ != CUDA_R_32F) return __bfloat162float(static_cast<const __nv_bfloat16*>(data_)[at]);
    const float value = static_cast<const float*>(data_)[at];
    return tf32_ ? cuda_emulation::as_tf32(value) : value;
  }

 private:
  const void* data_;
  cudaDataType type_;
  bool tf32_, transposed_;
  int64_t ld_, offset_;
};

}  // namespace

extern "C" {

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
  *handle = new cublasContext;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t, void*, size_t) { return CUBLAS_STATUS_SUCCESS; }
const char* cublasGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_SUCCESS ? "CUBLAS_STATUS_SUCCESS" : "CUBLAS_STATUS_INVALID_VALUE";
}

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb,
                                          int m, int n, int k, const void* alpha, const void* a, cudaDataType a_type,
                                          int lda, long long stride_a, const void* b, cudaDataType b_type, int ldb,
                                          long long stride_b, const void* beta, void* c, cudaDataType c_type, int ldc,
                                          long long stride_c, int batch, cublasComputeType_t compute,
                                          cublasGemmAlgo_t) {
  const bool fits = lda >= (transa == CUBLAS_OP_N ? m : k) && ldb >= (transb == CUBLAS_OP_N ? k : n) && ldc >= m;
  if (m < 0 || n < 0 || k < 0 || batch < 0 || !fits || a_type != b_type || c_type != CUDA_R_32F)
    return CUBLAS_STATUS_INVALID_VALUE;
  const bool tf32 = compute == CUBLAS_COMPUTE_32F_FAST_TF32;
  const float scale = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta);
  const cudaError_t error = cuda_emulation::enqueue(handle->stream, [=] {
    std::vector<float> left(static_cast<size_t>(m) * static_cast<size_t>(k)), column(static_cast<size_t>(m));
    for (int64_t r = 0; r < batch; ++r) {
      const Matrix ma(a, a_type, tf32, transa, lda, r * stride_a), mb(b, b_type, tf32, transb, ldb, r * stride_b);
      for (int64_t l = 0; l < k; ++l)
        for (int64_t i = 0; i < m; ++i) left[static_cast<size_t>(l * m + i)] = ma(i, l);
      for (int64_t j = 0; j < n; ++j) {
        std::fill(column.begin(), column.end(), 0.f);
        for (int64_t l = 0; l < k; ++l) {
          const float value = mb(l, j);
          const float* from = left.data() + l * m;
          for (int i = 0; i < m; ++i) column[static_cast<size_t>(i)] += from[i] * value;
        }
        float* to = static_cast<float*>(c) + r * stride_c + j * ldc;
        for (int i = 0; i < m; ++i) to[i] = scale * column[static_cast<size_t>(i)] + (keep == 0.f ? 0.f : keep * to[i]);
      }
    }
  });
  return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

}  // extern "C"
