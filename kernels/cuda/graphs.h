#pragma once

#include <list>
#include <optional>
#include <variant>
#include <vector>

#include "kernels/cuda/context.h"
#include "kernels/cuda/graph.h"

namespace agon::cuda {

/// A copy within the device, queued between operations.
struct Copy {
  void* to;
  const void* from;
  size_t bytes;
  bool operator==(const Copy&) const = default;
};

#define AGON_ALTERNATIVE(Operation) ops::Operation,
using Operation = std::variant<AGON_OPERATIONS(AGON_ALTERNATIVE) Copy>;
#undef AGON_ALTERNATIVE

/// Runs lists of operations, one list for each flush. Training queues the same list in every iteration, because
/// counters and random numbers live on the device: a list that comes a second time is captured as a CUDA graph, from
/// then on it is one launch. An iteration that does more (a swap at its end) launches the graph of what it has in
/// common with the others and then what is left, which is treated in the same way.
class Graphs {
 public:
  explicit Graphs(Context& context);
  ~Graphs();
  Graphs(const Graphs&) = delete;
  Graphs& operator=(const Graphs&) = delete;

  void run(std::vector<Operation> operations);
  void clear();

 private:
  /// A list seen before, and its graph once it was seen twice.
  struct Entry {
    std::vector<Operation> operations;
    std::vector<void*> matrices;  // device memory of the operations' mixing matrices, kept while there is a graph
    std::optional<Graph> graph;
    bool loose = false;  // it could not be captured: its operations are launched one by one
  };
  using Iterator = std::list<Entry>::iterator;

  void launch(const std::vector<Operation>& operations);
  void capture(Entry& entry);
  void forget(Iterator entry);
  std::vector<DeviceMixing> upload_matrices(const std::vector<Operation>& operations, std::vector<void*>& memory);

  Context& context_;
  std::list<Entry> entries_;  // the one used last comes first
  int generation_ = 0;
  bool enabled_;
};

}  // namespace agon::cuda
