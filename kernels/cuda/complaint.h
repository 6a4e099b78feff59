#pragma once

#include <cstdint>

namespace agon::cuda {

/// What a kernel could not do with its data. Kernels write it (the first one wins), the host reads it when it next
/// waits. Lies in memory that both see, so that it costs nothing as long as there is nothing to say.
struct Complaint {
  enum Kind : int32_t { kNone = 0, kHeadLabel, kEmbeddingLabel, kEmptyShard };
  int32_t kind;
  int32_t value;  ///< the label, or the worker
  int64_t limit;  ///< the number of classes
};

#ifdef __CUDACC__
__device__
#endif
    inline void
    complain(Complaint* to, Complaint::Kind kind, int32_t value, int64_t limit) {
  if (to->kind != Complaint::kNone) return;  // whichever of several comes last may be the one that is told
  to->value = value;
  to->limit = limit;
  to->kind = kind;
}

}  // namespace agon::cuda
