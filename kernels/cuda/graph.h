#pragma once

#include <functional>

#include "kernels/cuda/check.h"

namespace agon::cuda {

class Context;

/// A CUDA graph: what `queue` queues on a context's stream, to be launched again and again.
class Graph {
 public:
  /// Captures it, which runs nothing. Throws Error if something in it cannot be captured, or the graph cannot be made;
  /// then nothing has happened and the stream can be used as before.
  Graph(Context& context, const std::function<void()>& queue);
  ~Graph();  ///< it must not be running
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void launch() const;

 private:
  cudaStream_t stream_;
  cudaGraphExec_t executable_ = nullptr;
};

}  // namespace agon::cuda
