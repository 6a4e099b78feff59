#pragma once

// What every device asks of an operation's data, and the sentence for it when that does not hold.

#include "kernels/error.h"
#include "kernels/ops.h"
#include "kernels/shuffle.h"

namespace agon {

/// A key whose stream or draw is too large would draw the numbers of another.
inline void check_key(const RandomKey& key) {
  if (key.stream > 0xff || key.draw >= kShuffleDraw)
    fail(Fault::kRun, "a random key has stream {} and draw {}, expected at most 255 and {}", key.stream, key.draw,
         kShuffleDraw - 1);
}

/// The map side of a convolution follows from its image side.
inline void check_map_size(const ops::Convolution& op) {
  const auto mapped = [&](int64_t size) { return (size + 2 * op.pad - op.kernel) / op.stride + 1; };
  if (mapped(op.height) != op.out_height || mapped(op.width) != op.out_width)
    fail(Fault::kRun,
         "a {0} x {1} image gives a {2} x {3} map with kernel {4}, stride {5}, pad {6}; expected {7} x {8}", op.height,
         op.width, mapped(op.height), mapped(op.width), op.kernel, op.stride, op.pad, op.out_height, op.out_width);
}

/// `where`: "class head", "embedding".
[[noreturn]] inline void fail_label(const char* where, int64_t label, int64_t classes) {
  fail(Fault::kData, "a sample has label {}, but the {} has classes 0 to {}", label, where, classes - 1);
}

[[noreturn]] inline void fail_empty_shard(int64_t worker) {
  fail(Fault::kData, "worker {} has no samples to draw from", worker);
}

}  // namespace agon
