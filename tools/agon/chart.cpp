#include "tools/agon/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tools/agon/format.h"

namespace agon::cli {
namespace {

constexpr double kWidth = 560, kHeight = 300, kLeft = 56, kRight = 26, kTop = 12, kBottom = 40;

/// An axis from a round number to a round number, with about five ticks between.
struct Axis {
  double low, high, step;

  Axis(double least, double most) {
    if (!(most > least)) {
      const double margin = least == 0 ? 1 : std::abs(least) * 0.1;
      least -= margin, most += margin;
    }
    const double raw = (most - least) / 5, magnitude = std::pow(10, std::floor(std::log10(raw)));
    const double lead = raw / magnitude;
    step = magnitude * (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10);
    low = std::floor(least / step) * step, high = std::ceil(most / step) * step;
  }
  double share(double value) const { return (value - low) / (high - low); }
};

std::string tick_text(double value, double step, bool bytes) {
  if (std::abs(value) < step * 1e-6) return "0";
  if (bytes) return mebibytes(value);
  if (std::abs(value) >= 1000) return grouped(std::llround(value));
  const int digits = std::max(0, static_cast<int>(-std::floor(std::log10(step) + 1e-9)));
  return fmt::format("{:.{}f}", value, digits);
}

}  // namespace

std::string escaped(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    if (c == '<')
      safe += "&lt;";
    else if (c == '>')
      safe += "&gt;";
    else if (c == '&')
      safe += "&amp;";
    else if (c == '"')
      safe += "&quot;";
    else
      safe += c;
  }
  return safe;
}

std::string line_chart(const std::vector<Series>& series, const ChartOptions& options) {
  double x_most = 0, y_least = 0, y_most = -1e300;
  for (const Series& line : series) {
    for (const auto& [x, y] : line.points) {
      if (!std::isfinite(x) || !std::isfinite(y)) continue;
      x_most = std::max(x_most, x), y_least = std::min(y_least, y), y_most = std::max(y_most, y);
    }
  }
  if (y_most == -1e300) return "";
  const Axis x_axis(0, x_most), y_axis(y_least, y_most);
  const double x_end = std::max(x_most, 1e-300);  // the last value, not the next round one, ends the x axis
  const auto px = [&](double x) { return kLeft + x / x_end * (kWidth - kLeft - kRight); };
  const auto py = [&](double y) { return kHeight - kBottom - y_axis.share(y) * (kHeight - kTop - kBottom); };

  std::string svg =
      fmt::format("<figure><figcaption>{}<span>{}</span></figcaption>\n<svg viewBox=\"0 0 {} {}\" role=\"img\">\n",
                  escaped(options.title), escaped(options.note), kWidth, kHeight);
  for (double y = y_axis.low; y <= y_axis.high + y_axis.step / 2; y += y_axis.step)
    svg += fmt::format(
        "<path class=\"grid\" d=\"M{:.1f} {:.1f}H{:.1f}\"/><text class=\"y\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n",
        kLeft, py(y), kWidth - kRight, kLeft - 8, py(y) + 4, tick_text(y, y_axis.step, false));
  for (double x = 0; x <= x_end * 1.0001; x += x_axis.step)
    svg += fmt::format("<text class=\"x\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", px(x), kHeight - kBottom + 18,
                       tick_text(x, x_axis.step, options.bytes));
  svg += fmt::format("<text class=\"x title\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", (kLeft + kWidth - kRight) / 2,
                     kHeight - 4.0, escaped(options.x_title));
  for (const Series& line : series) {
    std::string path, dots;
    for (const auto& [x, y] : line.points) {
      if (!std::isfinite(x) || !std::isfinite(y)) continue;
      path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", px(x), py(y));
      if (line.points.size() <= 120)
        dots += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\"><title>{}: {} at {}</title></circle>", px(x),
                            py(y), line.points.size() == 1 ? 4 : 2, escaped(line.name), significant(y),
                            options.bytes ? mebibytes(x) : grouped(std::llround(x)));
    }
    if (path.empty()) continue;
    svg += fmt::format("<g class=\"c{}{}\"><path d=\"{}\"/>{}</g>\n", line.colour % 8, line.dashed ? " dashed" : "",
                       path, dots);
  }
  return svg + "</svg></figure>\n";
}

}  // namespace agon::cli
