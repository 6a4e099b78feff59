#pragma once

#include <cstdint>
#include <string>
#include <vector>

// Numbers as people read them.

namespace agon::cli {

std::string grouped(int64_t number);       ///< 50000 -> "50,000"
std::string clock_time(double seconds);    ///< 372 -> "6:12", 3723 -> "1:02:03"
std::string mebibytes(double bytes);       ///< 241172 -> "0.23 MiB", 512 -> "512 B"
std::string significant(double value);     ///< 3 to 4 significant digits: "0.0123", "8.91", "1,234"
std::string count_of_flops(double flops);  ///< 2.1e9 -> "2.10 GFLOP"

/// Rows of cells (UTF-8) as columns of equal width: the first one to the left, numbers to the right; a line below the
/// first row.
std::string aligned_table(const std::vector<std::vector<std::string>>& rows);

}  // namespace agon::cli
