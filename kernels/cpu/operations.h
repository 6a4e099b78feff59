#pragma once

#include <algorithm>

#include "kernels/cpu/stream.h"
#include "kernels/ops.h"

namespace agon::cpu {

/// Queues an operation on the CPU. One definition for each operation, in the file of its family.
#define AGON_DECLARE(Operation) void enqueue(Stream& stream, const ops::Operation& operation);
AGON_OPERATIONS(AGON_DECLARE)
#undef AGON_DECLARE

/// Queues a loop over `count` elements of each replica, in fixed blocks: body(replica, begin, end).
/// With `split`, the blocks are separate pieces that threads can share.
template <class Body>
void each_element(Stream& stream, int64_t replicas, int64_t count, bool split, Body body) {
  constexpr int64_t kBlock = 16384;
  const int64_t blocks = split ? (count + kBlock - 1) / kBlock : 1;
  stream.add({replicas, blocks, false, [=](int64_t r, int64_t chunk) {
                const int64_t begin = blocks == 1 ? 0 : chunk * kBlock;
                const int64_t end = blocks == 1 ? count : std::min(count, begin + kBlock);
                body(r, begin, end);
              }});
}

}  // namespace agon::cpu
