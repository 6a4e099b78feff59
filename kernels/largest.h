#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

namespace agon {

/// The places of the `keep` of `count` values that are largest in magnitude, of equal ones the first, in no order. What
/// is not a number counts as infinite, so that it is kept, and seen.
inline std::vector<int32_t> places_of_largest(const float* values, int64_t count, int64_t keep) {
  std::vector<int32_t> places(static_cast<size_t>(count));
  std::iota(places.begin(), places.end(), 0);
  const auto magnitude = [&](int32_t i) {
    return std::isnan(values[i]) ? std::numeric_limits<float>::infinity() : std::abs(values[i]);
  };
  const auto before = [&](int32_t a, int32_t b) {
    const float x = magnitude(a), y = magnitude(b);
    return x > y || (x == y && a < b);
  };
  keep = std::clamp<int64_t>(keep, 0, count);
  std::nth_element(places.begin(), places.begin() + keep, places.end(), before);
  places.resize(static_cast<size_t>(keep));
  return places;
}

}  // namespace agon
