// Generated points drawn over the modes that they should hit.
#include "algorithms/scatter.h"

#include <algorithm>
#include <cmath>

namespace agon {

Image scatter(const std::vector<float>& points, const Dataset& real, int64_t side) {
  Image image{.height = side, .width = side, .channels = 3, .pixels = {}};
  image.pixels.assign(static_cast<size_t>(side * side * 3), 255);
  const double extent = 1.1;  // a margin around [-1, 1]
  const auto pixel = [&](double value) { return (value + extent) / (2 * extent) * static_cast<double>(side); };
  const auto blend = [&](int64_t x, int64_t y, const uint8_t(&colour)[3], double strength) {
    if (x < 0 || y < 0 || x >= side || y >= side) return;
    uint8_t* at = &image.pixels[static_cast<size_t>((y * side + x) * 3)];
    for (int c = 0; c < 3; ++c) at[c] = static_cast<uint8_t>(std::lround(at[c] + strength * (colour[c] - at[c])));
  };
  /// A filled circle, its edge softened over one pixel; the y axis points up.
  const auto disc = [&](double x, double y, double radius, const uint8_t(&colour)[3], double strength) {
    if (!(std::abs(x) <= 2 && std::abs(y) <= 2)) return;
    const double column = pixel(x), row = pixel(-y);
    for (auto v = static_cast<int64_t>(row - radius - 1); v <= static_cast<int64_t>(row + radius + 1); ++v) {
      for (auto u = static_cast<int64_t>(column - radius - 1); u <= static_cast<int64_t>(column + radius + 1); ++u) {
        const double distance = std::hypot(u + 0.5 - column, v + 0.5 - row);
        blend(u, v, colour, strength * std::clamp(radius + 0.5 - distance, 0.0, 1.0));
      }
    }
  };

  const uint8_t mode_colour[3] = {120, 190, 240}, point_colour[3] = {30, 30, 60};
  const double pixels_per_unit = static_cast<double>(side) / (2 * extent);
  for (size_t i = 0; i + 1 < real.centres().size(); i += 2)
    disc(real.centres()[i], real.centres()[i + 1], std::max(3.0, 3 * real.spread() * pixels_per_unit), mode_colour,
         0.6);
  for (size_t i = 0; i + 1 < points.size(); i += 2) disc(points[i], points[i + 1], 1.5, point_colour, 0.55);
  return image;
}

}  // namespace agon
