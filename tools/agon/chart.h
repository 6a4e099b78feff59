#pragma once

#include <string>
#include <utility>
#include <vector>

namespace agon::cli {

/// One line of a chart. `colour` is its number in the page's palette; dashed lines are second players of the same run.
struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;  ///< in order of x; values that are no numbers are left out
  int colour = 0;
  bool dashed = false;
};

struct ChartOptions {
  std::string title, note;  ///< note: "higher is better"
  std::string x_title;
  bool bytes = false;  ///< x is in bytes
};

/// A line chart as inline SVG, in the colours of the page it stands on. Empty when there is nothing to draw.
std::string line_chart(const std::vector<Series>& series, const ChartOptions& options);

std::string escaped(const std::string& text);  ///< for HTML

}  // namespace agon::cli
