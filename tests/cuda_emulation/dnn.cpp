// cuDNN's convolutions as loops, channels last. Work space is written with NaN, as a sign that it may be used.
#include <cstring>

#include "control.h"
#include "cudnn.h"
#include "tf32.h"

extern "C" cuda_emulation::Control* cuda_emulation_control();

struct cudnnContext {
  cudaStream_t stream = nullptr;
};
struct cudnnTensorStruct {
  int n = 0, c = 0, h = 0, w = 0;
};
struct cudnnFilterStruct {
  int k = 0, c = 0, h = 0, w = 0;
};
struct cudnnConvolutionStruct {
  int pad = 0, stride = 0;
  cudnnMathType_t math = CUDNN_DEFAULT_MATH;
  /// What the mode allows is done.
  float operator()(float operand) const { return math == CUDNN_FMA_MATH ? operand : cuda_emulation::as_tf32(operand); }
};

namespace {

constexpr size_t kSpace = 4096;  // what every algorithm wants, whatever was said when it was offered

/// Calls use(x element, w element, y element) for all products of a convolution.
template <class Use>
void each_product(const cudnnTensorStruct& x, const cudnnFilterStruct& w, const cudnnTensorStruct& y,
                  const cudnnConvolutionStruct& s, Use use) {
  for (int64_t n = 0; n < y.n; ++n)
    for (int64_t i = 0; i < y.h; ++i)
      for (int64_t j = 0; j < y.w; ++j)
        for (int64_t u = 0; u < w.h; ++u)
          for (int64_t v = 0; v < w.w; ++v) {
            const int64_t row = i * s.stride - s.pad + u, col = j * s.stride - s.pad + v;
            if (row < 0 || row >= x.h || col < 0 || col >= x.w) continue;
            for (int64_t k = 0; k < w.k; ++k)
              for (int64_t c = 0; c < w.c; ++c)
                use(((n * x.h + row) * x.w + col) * x.c + c, ((k * w.h + u) * w.w + v) * w.c + c,
                    ((n * y.h + i) * y.w + j) * y.c + k);
          }
}

int64_t size(const cudnnTensorStruct& t) { return int64_t{t.n} * t.c * t.h * t.w; }

bool fits(const cudnnTensorStruct& x, const cudnnFilterStruct& w, const cudnnTensorStruct& y,
          const cudnnConvolutionStruct& s) {
  return x.c == w.c && y.c == w.k && x.n == y.n && (x.h + 2 * s.pad - w.h) / s.stride + 1 == y.h &&
         (x.w + 2 * s.pad - w.w) / s.stride + 1 == y.w;
}

/// First come a non-deterministic algorithm and one that converts to 16 bits, which must not be taken.
template <class Performance, class Algorithm>
cudnnStatus_t offer(bool fitting, cudnnMathType_t math, int asked, int* count, Performance* found, Algorithm fast,
                    Algorithm steady) {
  if (!fitting) return CUDNN_STATUS_BAD_PARAM;
  if (asked < 3) return CUDNN_STATUS_NOT_SUPPORTED;
  const cudnnMathType_t own = math == CUDNN_FMA_MATH ? CUDNN_FMA_MATH : CUDNN_TENSOR_OP_MATH;
  found[0] = {fast, CUDNN_STATUS_SUCCESS, 1.f, 0, CUDNN_NON_DETERMINISTIC, own};
  found[1] = {steady, CUDNN_STATUS_SUCCESS, 2.f, 0, CUDNN_DETERMINISTIC, CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION};
  found[2] = {steady, CUDNN_STATUS_SUCCESS, 3.f, 0, CUDNN_DETERMINISTIC, own};
  *count = 3;
  return CUDNN_STATUS_SUCCESS;
}

template <class Work>
cudnnStatus_t enqueue(cudnnHandle_t handle, const cudnnConvolutionStruct& s, bool steady, void* space, size_t bytes,
                      Work work) {
  if (!steady || s.math == CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION || !space || bytes < kSpace)
    return CUDNN_STATUS_BAD_PARAM;
  const cudaError_t error = cuda_emulation::enqueue(handle->stream, [=] {
    std::memset(space, 0xff, kSpace);
    work();
  });
  return error == cudaSuccess ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
}

}  // namespace

extern "C" {

size_t cudnnGetVersion() { return 91900; }
const char* cudnnGetErrorString(cudnnStatus_t status) {
  return status == CUDNN_STATUS_BAD_PARAM ? "CUDNN_STATUS_BAD_PARAM" : "CUDNN_STATUS_NOT_SUPPORTED";
}

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) { return *handle = new cudnnContext, CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) { return delete handle, CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  return handle->stream = stream, CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t* tensor) {
  return *tensor = new cudnnTensorStruct, CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t tensor) {
  return delete tensor, CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t tensor, cudnnTensorFormat_t format, cudnnDataType_t,
                                         int n, int c, int h, int w) {
  *tensor = {n, c, h, w};
  if (!cuda_emulation_control()->dnn_describes) return CUDNN_STATUS_NOT_SUPPORTED;
  return format == CUDNN_TENSOR_NHWC ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
}
cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t* filter) {
  return *filter = new cudnnFilterStruct, CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t filter) {
  return delete filter, CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t filter, cudnnDataType_t, cudnnTensorFormat_t format,
                                         int k, int c, int h, int w) {
  *filter = {k, c, h, w};
  return format == CUDNN_TENSOR_NHWC ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
}
cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t* convolution) {
  return *convolution = new cudnnConvolutionStruct, CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t convolution) {
  return delete convolution, CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t convolution, int pad_h, int, int stride_h,
                                              int, int, int, cudnnConvolutionMode_t mode, cudnnDataType_t) {
  convolution->pad = pad_h, convolution->stride = stride_h;
  return mode == CUDNN_CROSS_CORRELATION ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
}
cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t convolution, cudnnMathType_t math) {
  convolution->math = math;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(cudnnHandle_t, cudnnTensorDescriptor_t x,
                                                     cudnnFilterDescriptor_t w, cudnnConvolutionDescriptor_t s,
                                                     cudnnTensorDescriptor_t y, int asked, int* count,
                                                     cudnnConvolutionFwdAlgoPerf_t* found) {
  return offer(fits(*x, *w, *y, *s), s->math, asked, count, found, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM,
               CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM);
}
cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm_v7(cudnnHandle_t, cudnnFilterDescriptor_t w,
                                                          cudnnTensorDescriptor_t dy, cudnnConvolutionDescriptor_t s,
                                                          cudnnTensorDescriptor_t dx, int asked, int* count,
                                                          cudnnConvolutionBwdDataAlgoPerf_t* found) {
  return offer(fits(*dx, *w, *dy, *s), s->math, asked, count, found, CUDNN_CONVOLUTION_BWD_DATA_ALGO_0,
               CUDNN_CONVOLUTION_BWD_DATA_ALGO_1);
}
cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm_v7(cudnnHandle_t, cudnnTensorDescriptor_t x,
                                                            cudnnTensorDescriptor_t dy, cudnnConvolutionDescriptor_t s,
                                                            cudnnFilterDescriptor_t dw, int asked, int* count,
                                                            cudnnConvolutionBwdFilterAlgoPerf_t* found) {
  return offer(fits(*x, *dw, *dy, *s), s->math, asked, count, found, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0,
               CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1);
}

cudnnStatus_t cudnnGetConvolutionForwardWorkspaceSize(cudnnHandle_t, cudnnTensorDescriptor_t, cudnnFilterDescriptor_t,
                                                      cudnnConvolutionDescriptor_t, cudnnTensorDescriptor_t,
                                                      cudnnConvolutionFwdAlgo_t, size_t* bytes) {
  return *bytes = kSpace, CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnGetConvolutionBackwardDataWorkspaceSize(cudnnHandle_t, cudnnFilterDescriptor_t,
                                                           cudnnTensorDescriptor_t, cudnnConvolutionDescriptor_t,
                                                           cudnnTensorDescriptor_t, cudnnConvolutionBwdDataAlgo_t,
                                                           size_t* bytes) {
  return *bytes = kSpace, CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnGetConvolutionBackwardFilterWorkspaceSize(cudnnHandle_t, cudnnTensorDescriptor_t,
                                                             cudnnTensorDescriptor_t, cudnnConvolutionDescriptor_t,
                                                             cudnnFilterDescriptor_t, cudnnConvolutionBwdFilterAlgo_t,
                                                             size_t* bytes) {
  return *bytes = kSpace, CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t handle, const void*, cudnnTensorDescriptor_t x_shape, const void* x,
                                      cudnnFilterDescriptor_t w_shape, const void* w, cudnnConvolutionDescriptor_t s,
                                      cudnnConvolutionFwdAlgo_t, void* space, size_t bytes, const void*,
                                      cudnnTensorDescriptor_t y_shape, void* y) {
  return enqueue(handle, *s, true, space, bytes, [=, xs = *x_shape, ws = *w_shape, ys = *y_shape, s = *s] {
    auto *px = static_cast<const float*>(x), *pw = static_cast<const float*>(w);
    auto* to = static_cast<float*>(y);
    std::fill_n(to, size(ys), 0.f);
    each_product(xs, ws, ys, s, [=](int64_t i, int64_t j, int64_t k) { to[k] += s(px[i]) * s(pw[j]); });
  });
}
cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t handle, const void*, cudnnFilterDescriptor_t w_shape,
                                           const void* w, cudnnTensorDescriptor_t dy_shape, const void* dy,
                                           cudnnConvolutionDescriptor_t s, cudnnConvolutionBwdDataAlgo_t algorithm,
                                           void* space, size_t bytes, const void*, cudnnTensorDescriptor_t dx_shape,
                                           void* dx) {
  const bool steady = algorithm == CUDNN_CONVOLUTION_BWD_DATA_ALGO_1;
  return enqueue(handle, *s, steady, space, bytes, [=, xs = *dx_shape, ws = *w_shape, ys = *dy_shape, s = *s] {
    auto *py = static_cast<const float*>(dy), *pw = static_cast<const float*>(w);
    auto* to = static_cast<float*>(dx);
    std::fill_n(to, size(xs), 0.f);
    each_product(xs, ws, ys, s, [=](int64_t i, int64_t j, int64_t k) { to[i] += s(py[k]) * s(pw[j]); });
  });
}
cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t handle, const void*, cudnnTensorDescriptor_t x_shape,
                                             const void* x, cudnnTensorDescriptor_t dy_shape, const void* dy,
                                             cudnnConvolutionDescriptor_t s, cudnnConvolutionBwdFilterAlgo_t algorithm,
                                             void* space, size_t bytes, const void*, cudnnFilterDescriptor_t dw_shape,
                                             void* dw) {
  const bool steady = algorithm == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1;
  return enqueue(handle, *s, steady, space, bytes, [=, xs = *x_shape, ws = *dw_shape, ys = *dy_shape, s = *s] {
    auto *px = static_cast<const float*>(x), *py = static_cast<const float*>(dy);
    auto* to = static_cast<float*>(dw);
    std::fill_n(to, int64_t{ws.k} * ws.c * ws.h * ws.w, 0.f);
    each_product(xs, ws, ys, s, [=](int64_t i, int64_t j, int64_t k) { to[j] += s(px[i]) * s(py[k]); });
  });
}

}  // extern "C"
