// Batches of real samples, drawn from the workers' shards in an order that is new in each epoch. A block reads one
// sample.
#include "kernels/cuda/launch.cuh"
#include "kernels/shuffle.h"

namespace agon::cuda {
namespace {

/// Which sample of the data set is number i of replica r's batch; -1 for a worker without data.
__device__ int64_t chosen(const ops::Gather& op, int64_t r, int64_t i, Complaint* complaint) {
  const uint32_t worker = op.key.workers ? op.key.workers[r] : static_cast<uint32_t>(r);
  const uint64_t iteration = op.key.iteration ? *op.key.iteration : 0;
  const int64_t samples = op.begin[worker + 1] - op.begin[worker];
  if (samples <= 0) {
    complain(complaint, Complaint::kEmptyShard, static_cast<int32_t>(worker), 0);
    return -1;
  }
  const auto count = static_cast<uint64_t>(samples);
  const uint64_t position =
      (iteration * op.draws + op.key.draw) * static_cast<uint64_t>(op.batch) + static_cast<uint64_t>(i);
  const Shuffle order =
      epoch_order(op.key.seed, op.key.stream, worker, position / count, static_cast<uint32_t>(samples));
  return op.indices[op.begin[worker] + order(static_cast<uint32_t>(position % count))];
}

__global__ void __launch_bounds__(kThreads) gather(ops::Gather op, Divisor channels, Complaint* complaint) {
  __shared__ int64_t sample;
  const int64_t i = blockIdx.x, pixels = op.height * op.width, size = op.channels * pixels;
  for (int64_t r = blockIdx.y; r < op.replicas; r += gridDim.y) {
    __syncthreads();  // the previous replica's sample has been read
    if (threadIdx.x == 0) {
      sample = chosen(op, r, i, complaint);
      if (op.y && sample >= 0) op.y.at(r)[i] = op.labels ? op.labels[sample] : 0;
    }
    __syncthreads();
    if (sample < 0) continue;
    float* to = op.x.at(r) + i * size;
    for (int64_t e = threadIdx.x; e < size; e += blockDim.x) {  // [C, pixels] -> [pixels, C]
      auto pixel = static_cast<uint32_t>(e);
      const int64_t from = sample * size + channels.take(pixel) * pixels + pixel;
      to[e] = op.points ? op.points[from] : std::fma(static_cast<float>(op.images[from]), op.scale, op.shift);
    }
  }
}

}  // namespace

void launch(Context& context, const ops::Gather& op) {
  if (op.replicas == 0 || op.batch == 0) return;
  check_count(op.channels * op.height * op.width);
  start(context, gather, dim3(static_cast<unsigned>(op.batch), grid_rows(op.replicas)), dim3(kThreads), op,
        Divisor(op.channels), context.complaint());
}

}  // namespace agon::cuda
