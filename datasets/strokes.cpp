// "strokes": ten classes of digit-like 28 x 28 glyphs, for training and tests without any download. A glyph is a
// skeleton of pen strokes, bent by a smooth random field (elastic distortion, Simard et al. 2003), slanted, turned and
// scaled, then drawn with an anti-aliased pen of varying pressure. As in MNIST the glyph fills a box of about 20 x 20
// pixels in the middle.
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <thread>

#include "datasets/synthetic.h"
#include "engine/random.h"

namespace agon {
namespace {

constexpr int kSide = 28;
constexpr int kPixels = kSide * kSide;
constexpr int kStepsPerSpan = 6;  // straight pieces between two control points
constexpr int kSetId = 28;        // keeps the random numbers apart from those of the other built-in sets

struct Point {
  double x, y;
};
using Stroke = std::vector<Point>;       // control points of a smooth curve, pen down
using Skeleton = std::vector<Stroke>;    // strokes that start where another ends make a sharp corner
using Variants = std::vector<Skeleton>;  // the ways in which people write one digit

// x runs right, y down, in a box of one unit.
const std::array<Variants, 10>& skeletons() {
  static const std::array<Variants, 10> table = {{
      {{{{.55, .0},
         {.3, .08},
         {.14, .35},
         {.13, .65},
         {.3, .93},
         {.52, 1.},
         {.74, .9},
         {.87, .62},
         {.84, .3},
         {.7, .07},
         {.52, .0}}},
       {{{.68, .1},
         {.42, .03},
         {.2, .25},
         {.13, .6},
         {.28, .92},
         {.52, .98},
         {.78, .8},
         {.86, .45},
         {.74, .15},
         {.5, .05},
         {.36, .12}}}},
      {{{{.5, .0}, {.5, .5}, {.5, 1.}}},
       {{{.28, .24}, {.42, .13}, {.54, .0}}, {{.54, .0}, {.53, .5}, {.52, 1.}}},
       {{{.26, .22}, {.42, .12}, {.54, .0}}, {{.54, .0}, {.53, .5}, {.52, .98}}, {{.24, .99}, {.5, .98}, {.8, .98}}}},
      {{{{.16, .26}, {.28, .07}, {.52, .0}, {.76, .1}, {.8, .32}, {.6, .6}, {.12, .97}},
        {{.12, .97}, {.5, .95}, {.9, .98}}},
       {{{.18, .22},
         {.34, .04},
         {.6, .01},
         {.8, .17},
         {.72, .45},
         {.46, .76},
         {.22, .96},
         {.09, .9},
         {.17, .77},
         {.38, .8},
         {.62, .95},
         {.92, .94}}}},
      {{{{.17, .14}, {.42, .0}, {.7, .06}, {.76, .25}, {.62, .42}, {.36, .47}},
        {{.36, .47}, {.66, .52}, {.83, .7}, {.74, .93}, {.44, 1.}, {.12, .9}}},
       {{{.16, .03}, {.45, .03}, {.8, .02}},
        {{.8, .02}, {.6, .22}, {.42, .42}},
        {{.42, .42}, {.7, .48}, {.84, .7}, {.7, .94}, {.42, 1.}, {.13, .91}}}},
      {{{{.22, .02}, {.16, .25}, {.13, .5}}, {{.13, .5}, {.45, .52}, {.9, .48}}, {{.77, .03}, {.72, .5}, {.68, 1.}}},
       {{{.64, .0}, {.38, .32}, {.08, .66}}, {{.08, .66}, {.5, .65}, {.94, .63}}, {{.64, .0}, {.64, .5}, {.63, 1.}}},
       {{{.2, .0}, {.1, .3}, {.2, .52}, {.5, .54}, {.76, .4}, {.82, .04}}, {{.82, .04}, {.78, .5}, {.72, 1.}}}},
      {{{{.82, .02}, {.55, .02}, {.27, .03}},
        {{.27, .03}, {.23, .22}, {.2, .44}},
        {{.2, .44}, {.46, .36}, {.76, .47}, {.83, .7}, {.7, .93}, {.42, 1.}, {.13, .92}}},
       {{{.86, .0}, {.6, .05}, {.36, .06}},
        {{.36, .06}, {.26, .28}, {.24, .42}, {.52, .42}, {.78, .58}, {.76, .84}, {.5, .99}, {.16, .96}}}},
      {{{{.7, .0},
         {.43, .17},
         {.22, .5},
         {.2, .82},
         {.45, 1.},
         {.73, .9},
         {.79, .68},
         {.6, .52},
         {.36, .58},
         {.21, .78}}},
       {{{.55, .0}, {.32, .25}, {.2, .6}, {.26, .9}, {.5, 1.}, {.76, .88}, {.76, .64}, {.54, .55}, {.32, .66}}}},
      {{{{.1, .05}, {.5, .03}, {.88, .04}}, {{.88, .04}, {.64, .42}, {.42, 1.}}},
       {{{.1, .05}, {.5, .03}, {.88, .04}}, {{.88, .04}, {.64, .42}, {.42, 1.}}, {{.34, .52}, {.58, .5}, {.84, .5}}},
       {{{.11, .2}, {.13, .1}, {.12, .02}},
        {{.12, .02}, {.5, .05}, {.88, .02}},
        {{.88, .02}, {.7, .36}, {.6, .66}, {.56, 1.}}}},
      {{{{.76, .13},
         {.52, .0},
         {.26, .1},
         {.28, .32},
         {.53, .48},
         {.77, .68},
         {.74, .91},
         {.48, 1.},
         {.23, .9},
         {.23, .68},
         {.48, .48},
         {.73, .31},
         {.76, .13}}},
       {{{.5, .45},
         {.27, .34},
         {.27, .1},
         {.5, .0},
         {.73, .1},
         {.73, .34},
         {.5, .45},
         {.22, .6},
         {.2, .88},
         {.5, 1.},
         {.8, .88},
         {.78, .6},
         {.5, .45}}}},
      {{{{.8, .16}, {.56, .0}, {.28, .1}, {.2, .33}, {.4, .49}, {.66, .4}, {.8, .16}},
        {{.8, .16}, {.78, .58}, {.7, 1.}}},
       {{{.82, .14}, {.55, .0}, {.26, .12}, {.22, .36}, {.46, .48}, {.7, .36}, {.82, .14}},
        {{.82, .14}, {.82, .6}, {.66, .92}, {.4, 1.}, {.2, .92}}},
       {{{.78, .22}, {.6, .02}, {.34, .06}, {.22, .3}, {.38, .46}, {.64, .36}, {.78, .12}, {.72, .5}, {.52, 1.}}}},
  }};
  return table;
}

/// Catmull-Rom spline through the control points, as a chain of short straight pieces.
Stroke smooth(const Stroke& control) {
  const auto last = static_cast<int>(control.size()) - 1;
  const auto at = [&](int i) { return control[static_cast<size_t>(std::clamp(i, 0, last))]; };
  Stroke curve;
  for (int i = 0; i < last; ++i)
    for (int step = 0; step < kStepsPerSpan; ++step) {
      const double t = static_cast<double>(step) / kStepsPerSpan;
      const auto blend = [t](double a, double b, double c, double d) {
        return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)));
      };
      const Point a = at(i - 1), b = at(i), c = at(i + 1), d = at(i + 2);
      curve.push_back({blend(a.x, b.x, c.x, d.x), blend(a.y, b.y, c.y, d.y)});
    }
  curve.push_back(control.back());
  return curve;
}

/// A smooth random displacement of the unit box: Gaussian offsets on a coarse lattice, blended by cubic B-splines.
/// Being one field for the whole glyph it bends strokes without tearing them apart where they meet.
class ElasticField {
 public:
  ElasticField(HostRandom& random, double strength) {
    for (Point& offset : lattice_) offset = {strength * random.normal(), strength * random.normal()};
  }

  Point operator()(Point p) const {
    const double x = std::clamp(p.x, 0.0, 1.0) * kCells, y = std::clamp(p.y, 0.0, 1.0) * kCells;
    const int column = std::min(static_cast<int>(x), kCells - 1), row = std::min(static_cast<int>(y), kCells - 1);
    const auto wx = weights(x - column), wy = weights(y - row);
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 4; ++j) {
        const Point& offset = lattice_[static_cast<size_t>((row + i) * kNodes + column + j)];
        const double w = wy[static_cast<size_t>(i)] * wx[static_cast<size_t>(j)];
        p.x += w * offset.x;
        p.y += w * offset.y;
      }
    return p;
  }

 private:
  static constexpr int kCells = 3;
  static constexpr int kNodes = kCells + 3;

  static std::array<double, 4> weights(double t) {
    const double s = 1 - t;
    return {s * s * s / 6, (3 * t * t * t - 6 * t * t + 4) / 6, (3 * s * s * s - 6 * s * s + 4) / 6, t * t * t / 6};
  }

  std::array<Point, kNodes * kNodes> lattice_;
};

/// Slant, rotation and aspect of one writer, about the middle of the box.
struct Affine {
  double xx, xy, yx, yy;

  explicit Affine(HostRandom& random) {
    const double slant = 0.1 + 0.22 * random.normal(), turn = 0.09 * random.normal();
    const double aspect = std::exp(0.14 * random.normal());
    const double c = std::cos(turn), s = std::sin(turn);
    xx = 0.92 * aspect * c;
    xy = -slant * c - s;
    yx = 0.92 * aspect * s;
    yy = c - slant * s;
  }

  Point operator()(Point p) const {
    const double x = p.x - 0.5, y = p.y - 0.5;
    return {xx * x + xy * y, yx * x + yy * y};
  }
};

/// Moves and scales the curves so that they fill MNIST's box of 20 x 20 pixels, give or take, in the middle.
void fit_into_box(std::vector<Stroke>& curves, double pen, HostRandom& random) {
  Point low{1e9, 1e9}, high{-1e9, -1e9};
  for (const Stroke& curve : curves)
    for (Point p : curve) {
      low = {std::min(low.x, p.x), std::min(low.y, p.y)};
      high = {std::max(high.x, p.x), std::max(high.y, p.y)};
    }
  const double box = 19.5 + 0.7 * random.normal() - 2 * pen;
  const double scale = box / std::max(high.x - low.x, high.y - low.y);
  const double middle_x = kSide / 2.0 + 0.6 * random.normal(), middle_y = kSide / 2.0 + 0.6 * random.normal();
  for (Stroke& curve : curves)
    for (Point& p : curve)
      p = {middle_x + scale * (p.x - (low.x + high.x) / 2), middle_y + scale * (p.y - (low.y + high.y) / 2)};
}

double distance_to_piece(Point p, Point a, Point b) {
  const double dx = b.x - a.x, dy = b.y - a.y, length2 = dx * dx + dy * dy;
  const double t = length2 > 0 ? std::clamp(((p.x - a.x) * dx + (p.y - a.y) * dy) / length2, 0.0, 1.0) : 0.0;
  const double ex = p.x - a.x - t * dx, ey = p.y - a.y - t * dy;
  return std::sqrt(ex * ex + ey * ey);
}

/// Draws one straight piece with a round pen: a pixel is covered by as much as the pen's edge passes its middle.
void draw_piece(std::array<double, kPixels>& canvas, Point a, Point b, double pen) {
  constexpr double kSoftness = 1.2;  // width of the grey edge in pixels
  const double reach = pen + kSoftness;
  const auto low = [&](double v) { return std::clamp(static_cast<int>(std::floor(v - reach)), 0, kSide - 1); };
  const auto high = [&](double v) { return std::clamp(static_cast<int>(std::ceil(v + reach)), 0, kSide - 1); };
  for (int y = low(std::min(a.y, b.y)); y <= high(std::max(a.y, b.y)); ++y)
    for (int x = low(std::min(a.x, b.x)); x <= high(std::max(a.x, b.x)); ++x) {
      const double distance = distance_to_piece({x + 0.5, y + 0.5}, a, b);
      double& pixel = canvas[static_cast<size_t>(y * kSide + x)];
      pixel = std::max(pixel, std::clamp((pen - distance) / kSoftness + 0.5, 0.0, 1.0));
    }
}

/// Glyph number `item` of the endless set of this seed; returns its class.
int32_t draw_glyph(uint64_t seed, int64_t item, uint8_t* pixels) {
  HostRandom random(seed, RandomStream::kSynthetic, kSetId, static_cast<uint64_t>(item));
  const auto digit = static_cast<int32_t>(random.below(10));
  const Variants& variants = skeletons()[static_cast<size_t>(digit)];
  const Skeleton& skeleton = variants[static_cast<size_t>(random.below(static_cast<int64_t>(variants.size())))];

  const ElasticField bend(random, 0.11);
  const Affine lean(random);
  const double pen = std::clamp(1.25 + 0.32 * random.normal(), 0.7, 2.3);  // radius in pixels
  std::vector<Stroke> curves;
  for (const Stroke& stroke : skeleton) {
    curves.push_back(smooth(stroke));
    for (Point& p : curves.back()) p = lean(bend(p));
  }
  fit_into_box(curves, pen, random);

  std::array<double, kPixels> canvas{};
  const double phase = 2 * std::numbers::pi * random.uniform();
  for (const Stroke& curve : curves)
    for (size_t i = 1; i < curve.size(); ++i) {
      const double pressure = 1 + 0.15 * std::sin(phase + 0.25 * static_cast<double>(i));
      draw_piece(canvas, curve[i - 1], curve[i], pen * pressure);
    }
  for (size_t i = 0; i < kPixels; ++i) pixels[i] = static_cast<uint8_t>(std::lround(255 * canvas[i]));
  return digit;
}

Dataset draw_strokes(uint64_t seed, int64_t first, int64_t count) {
  const auto pixels = std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(count * kPixels));
  DatasetContents contents{.name = "strokes", .count = count, .channels = 1, .height = kSide, .width = kSide};
  contents.labels.resize(static_cast<size_t>(count));
  const int64_t threads = std::clamp<int64_t>(std::thread::hardware_concurrency(), 1, std::min<int64_t>(8, count));
  {
    std::vector<std::jthread> pens;
    for (int64_t t = 0; t < threads; ++t)
      pens.emplace_back([&, t] {
        for (int64_t i = t; i < count; i += threads)
          contents.labels[static_cast<size_t>(i)] = draw_glyph(seed, first + i, pixels->data() + i * kPixels);
      });
  }
  for (int digit = 0; digit < 10; ++digit) contents.class_names.push_back(std::to_string(digit));
  contents.images = pixels->data();
  contents.storage = pixels;
  return Dataset(std::move(contents));
}

const RegisterSynthetic kStrokes({.name = "strokes",
                                  .description = "handwritten-like digits, 28 x 28 grey, ten classes",
                                  .default_count = 60'000,
                                  .items = draw_strokes});

}  // namespace
}  // namespace agon
