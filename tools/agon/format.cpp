#include "tools/agon/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace agon::cli {

std::string grouped(int64_t number) {
  std::string digits = fmt::format("{}", number);
  const size_t first = number < 0 ? 1 : 0;
  for (size_t at = digits.size(); at > first + 3;) digits.insert(at -= 3, 1, ',');
  return digits;
}

std::string clock_time(double seconds) {
  if (!(seconds >= 0 && seconds < 1e9)) return "?";
  const auto total = static_cast<int64_t>(std::llround(seconds));
  const int64_t hours = total / 3600, minutes = total / 60 % 60;
  return hours ? fmt::format("{}:{:02}:{:02}", hours, minutes, total % 60)
               : fmt::format("{}:{:02}", minutes, total % 60);
}

std::string mebibytes(double bytes) {
  constexpr double kMiB = 1024.0 * 1024.0;
  if (bytes < 1000) return fmt::format("{} B", static_cast<int64_t>(bytes));
  if (bytes < 0.01 * kMiB) return fmt::format("{:.2f} KiB", bytes / 1024);
  if (bytes < 1024 * kMiB) return fmt::format("{:.2f} MiB", bytes / kMiB);
  return fmt::format("{:.2f} GiB", bytes / kMiB / 1024);
}

std::string significant(double value) {
  if (!std::isfinite(value)) return fmt::format("{}", value);
  const double size = std::abs(value);
  if (size >= 1000) return grouped(std::llround(value));
  if (size >= 100) return fmt::format("{:.1f}", value);
  if (size >= 1) return fmt::format("{:.2f}", value);
  return fmt::format("{:.3g}", value);
}

std::string count_of_flops(double flops) {
  const char* units[] = {"FLOP", "KFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"};
  size_t unit = 0;
  while (flops >= 1000 && unit + 1 < std::size(units)) flops /= 1000, ++unit;
  return fmt::format("{:.2f} {}", flops, units[unit]);
}

std::string aligned_table(const std::vector<std::vector<std::string>>& rows) {
  const auto length = [](const std::string& cell) {  // in characters
    return static_cast<size_t>(std::count_if(cell.begin(), cell.end(), [](char c) { return (c & 0xc0) != 0x80; }));
  };
  std::vector<size_t> widths(rows.front().size());
  for (const auto& row : rows)
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], length(row[c]));
  std::string text;
  for (size_t r = 0; r < rows.size(); ++r) {
    std::string line, rule;
    for (size_t c = 0; c < rows[r].size(); ++c) {
      const std::string pad(widths[c] - length(rows[r][c]), ' ');
      const char* gap = c ? "  " : "";
      line += gap;
      line += c ? pad + rows[r][c] : rows[r][c] + pad;
      rule += gap;
      rule.append(widths[c], '-');
    }
    text += line + "\n";
    if (r == 0) text += rule + "\n";
  }
  return text;
}

}  // namespace agon::cli
