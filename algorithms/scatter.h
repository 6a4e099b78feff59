#pragma once

#include <vector>

#include "datasets/dataset.h"
#include "engine/image.h"

namespace agon {

/// A picture of generated points [count, 2] in [-1, 1]^2 (ring, grid) as grey dots, over circles of three standard
/// deviations around the real modes: a dot inside a circle hit a mode. `side` in pixels; points outside are left out.
Image scatter(const std::vector<float>& points, const Dataset& real, int64_t side = 512);

}  // namespace agon
