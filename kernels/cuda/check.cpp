// The vendor's error codes as sentences.
#include "kernels/cuda/check.h"

#include "kernels/error.h"

namespace agon::cuda {
namespace {

/// Errors after which the device, or this process's use of it, is over: every later call would fail alike.
bool loses_the_device(cudaError_t error) {
  switch (error) {
    case cudaErrorDevicesUnavailable:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorContextIsDestroyed:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorContained:
    case cudaErrorTensorMemoryLeak:
    case cudaErrorExternalDevice:
    case cudaErrorUnknown:  // what is left of a GPU that has fallen off its bus
      return true;
    default:
      return false;
  }
}

}  // namespace

void check(cudaError_t error, const char* doing) {
  if (error == cudaSuccess) return;
  if (error == cudaErrorMemoryAllocation)
    fail(Fault::kRun,
         "out of memory on the GPU while {}; fewer workers (world.workers) or a smaller batch (algorithm.batch) need "
         "less",
         doing);
  if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidPtx ||
      error == cudaErrorUnsupportedPtxVersion)
    fail(Fault::kRun,
         "agon's CUDA plug-in was not compiled for this GPU ({}); build it with -DAGON_CUDA_ARCHITECTURES=NN, the "
         "compute "
         "capability that agon info shows without its point, or use --device cpu",
         cudaGetErrorString(error));
  if (loses_the_device(error))
    fail(Fault::kRun, "the GPU was lost while {}: {} ({}); earlier checkpoints are good, go on from them with --resume",
         doing, cudaGetErrorString(error), cudaGetErrorName(error));
  fail(Fault::kRun, "a CUDA call failed while {}: {} ({}); please report it", doing, cudaGetErrorString(error),
       cudaGetErrorName(error));
}

void check(cublasStatus_t status, const char* doing) {
  if (status != CUBLAS_STATUS_SUCCESS)
    fail(Fault::kRun, "cuBLAS failed while {}: {}; earlier checkpoints are good, go on from them with --resume", doing,
         cublasGetStatusString(status));
}

void check(cudnnStatus_t status, const char* doing) {
  if (status != CUDNN_STATUS_SUCCESS)
    fail(Fault::kRun, "cuDNN failed while {}: {}; earlier checkpoints are good, go on from them with --resume", doing,
         cudnnGetErrorString(status));
}

void check_count(int64_t count) {
  if (count > INT32_MAX)
    fail(Fault::kRun,
         "an operation has {} elements in one replica, expected at most {} on a GPU; a smaller batch has less", count,
         INT32_MAX);
}

}  // namespace agon::cuda
