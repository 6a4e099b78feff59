// Capturing a stream as a CUDA graph.
#include "kernels/cuda/graph.h"

#include "kernels/cuda/context.h"

namespace agon::cuda {
namespace {

/// Ends a capture, whatever happens during it.
class Capture {
 public:
  explicit Capture(Context& context) : context_(context) {
    check(cudaStreamBeginCapture(context_.stream(), cudaStreamCaptureModeThreadLocal), "capturing a graph");
    context_.capturing = true;
  }
  ~Capture() {
    if (!context_.capturing) return;
    context_.capturing = false;
    cudaGraph_t graph = nullptr;
    (void)cudaStreamEndCapture(context_.stream(), &graph);
    if (graph) (void)cudaGraphDestroy(graph);
    (void)cudaGetLastError();  // that the capture failed is told by what threw
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  cudaGraph_t end() {
    context_.capturing = false;
    cudaGraph_t graph = nullptr;
    check(cudaStreamEndCapture(context_.stream(), &graph), "capturing a graph");
    return graph;
  }

 private:
  Context& context_;
};

}  // namespace

Graph::Graph(Context& context, const std::function<void()>& queue) : stream_(context.stream()) {
  Capture capture(context);
  queue();
  const cudaGraph_t graph = capture.end();
  const cudaError_t error = cudaGraphInstantiate(&executable_, graph, 0);
  (void)cudaGraphDestroy(graph);
  check(error, "making a graph");
}

Graph::~Graph() { (void)cudaGraphExecDestroy(executable_); }

void Graph::launch() const { check(cudaGraphLaunch(executable_, stream_), "launching a graph"); }

}  // namespace agon::cuda
