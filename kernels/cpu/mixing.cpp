// The mixing primitive: models move between workers as out = M in, M a sparse matrix over the workers.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "kernels/cpu/operations.h"
#include "kernels/cpu/slots.h"
#include "kernels/mixing.h"

namespace agon::cpu {
namespace {

/// The rows that have work to do, and for each the row before it (or itself) that has the same terms: a sum that many
/// rows ask for, as an average over all workers, is formed once.
struct Plan {
  struct Row {
    int64_t index;    ///< of the matrix
    int64_t same_as;  ///< position in `rows` of the first row with these terms
  };
  std::vector<Row> rows;
};

Plan make_plan(const ops::Mix::Rows& matrix, bool in_place) {
  Plan plan;
  for (int64_t i = 0; i < matrix.rows(); ++i) {
    if (keeps_row(matrix, i, in_place)) continue;
    const auto same = std::find_if(plan.rows.begin(), plan.rows.end(),
                                   [&](const Plan::Row& row) { return same_terms(matrix, row.index, i); });
    plan.rows.push_back({i, same - plan.rows.begin()});
  }
  return plan;
}

/// to = the weighted sum of `row`'s terms over `count` elements that start `offset` into each column.
void form(const ops::Mix::Rows& matrix, int64_t row, const ConstFloats& in, int64_t offset, int64_t count, float* out) {
  const int64_t first = matrix.begin[row], last = matrix.begin[row + 1];
  float* __restrict to = out;
  for (int64_t term = first; term < last; ++term) {
    const float* __restrict from = in.at(matrix.column[term]) + offset;
    const float weight = matrix.weight[term];
    if (term > first) {
      for (int64_t i = 0; i < count; ++i) to[i] = std::fma(weight, from[i], to[i]);
    } else if (weight == 1.f) {
      std::copy_n(from, count, to);
    } else {
      for (int64_t i = 0; i < count; ++i) to[i] = weight * from[i];
    }
  }
}

/// Queues the product in blocks of columns. form(row, offset, count, to) writes one row's result. In place, a block of
/// all rows is formed in scratch memory before any of it is written, because rows read each other.
template <class T, class Form>
void mix(Stream& stream, int64_t count, const Block<const T>& in, const Block<T>& out,
         const std::shared_ptr<const ops::Mix::Rows>& matrix, Form form) {
  static_assert(sizeof(T) == sizeof(float));
  const bool in_place = in.data == out.data;
  const auto plan = std::make_shared<const Plan>(make_plan(*matrix, in_place));
  const int64_t rows = static_cast<int64_t>(plan->rows.size());
  if (rows == 0) return;
  const int64_t block = std::clamp<int64_t>(65536 / rows / 64 * 64, 256, 4096);  // the block of all rows stays in cache

  stream.add({1, (count + block - 1) / block, true, [=](int64_t, int64_t chunk) {
                const int64_t offset = chunk * block, size = std::min(block, count - offset);
                const auto target = [&](int64_t i) { return out.at(plan->rows[i].index) + offset; };
                T* scratch_rows = in_place ? reinterpret_cast<T*>(scratch(kMixSlot, rows * block)) : nullptr;
                const auto place = [&](int64_t i) { return in_place ? scratch_rows + i * block : target(i); };
                for (int64_t i = 0; i < rows; ++i) {
                  const auto [row, same_as] = plan->rows[i];
                  if (same_as == i) {
                    form(row, offset, size, place(i));
                  } else if (!in_place) {
                    std::copy_n(target(same_as), size, target(i));
                  }
                }
                if (!in_place) return;
                for (int64_t i = 0; i < rows; ++i) std::copy_n(place(plan->rows[i].same_as), size, target(i));
              }});
}

}  // namespace

void enqueue(Stream& stream, const ops::Mix& op) {
  mix(stream, op.count, op.in, op.out, op.matrix,
      [in = op.in, matrix = op.matrix](int64_t row, int64_t offset, int64_t count, float* to) {
        form(*matrix, row, in, offset, count, to);
      });
}

void enqueue(Stream& stream, const ops::Select& op) {
  mix(stream, op.count, op.in, op.out, op.matrix,
      [in = op.in, matrix = op.matrix](int64_t row, int64_t offset, int64_t count, int32_t* to) {
        std::copy_n(in.at(matrix->column[matrix->begin[row]]) + offset, count, to);
      });
}

}  // namespace agon::cpu
