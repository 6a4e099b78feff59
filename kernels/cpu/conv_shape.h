#pragma once

#include <compare>

#include "kernels/ops.h"

namespace agon::cpu {

/// One convolution of one replica, or of a part of it.
struct ConvShape {
  ops::Convolution::Direction direction;
  int64_t batch, height, width, in_channels, out_height, out_width, out_channels, kernel, stride, pad;
  Precision precision;
  auto operator<=>(const ConvShape&) const = default;

  static ConvShape of(const ops::Convolution& op) {
    return {op.direction, op.batch,        op.height, op.width,  op.in_channels, op.out_height,
            op.out_width, op.out_channels, op.kernel, op.stride, op.pad,         op.precision};
  }
  int64_t x_count() const { return batch * height * width * in_channels; }
  int64_t w_count() const { return kernel * kernel * in_channels * out_channels; }
  int64_t y_count() const { return batch * out_height * out_width * out_channels; }
};

/// Scratch slots of the matrix operations; a piece uses several at once.
enum MatrixScratch { kScratchA, kScratchB, kScratchC, kScratchD, kScratchE, kScratchF, kScratchG, kScratchPad };

}  // namespace agon::cpu
