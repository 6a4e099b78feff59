#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/random.h"
#include "kernels/ops.h"

namespace agon {

/// The matrix M of theta' = M theta over the living workers (design: everything that moves models between workers).
/// Row i says what worker i holds afterwards. Sparse; rows that are the identity cost nothing.
class Mixing {
 public:
  /// Worker i receives from source[i].
  static Mixing permutation(const std::vector<int64_t>& source);
  /// Every worker holds the mean of all, weighted (weights are normalised; empty: equal). Whoever weighs nothing takes
  /// no part, but gets the mean.
  static Mixing average(int64_t workers, const std::vector<double>& weights = {});
  /// Worker i sends to target[i], or to nobody (i itself); whoever receives averages what it got with its own, equally
  /// (Hardy et al. 2018, section 2.1).
  static Mixing gossip(const std::vector<int64_t>& target);

  int64_t workers() const { return rows_->rows(); }
  bool identity_row(int64_t row) const;
  const ops::Mix::Rows& rows() const { return *rows_; }
  std::shared_ptr<const ops::Mix::Rows> shared_rows() const { return rows_; }

 private:
  explicit Mixing(ops::Mix::Rows rows) : rows_(std::make_shared<const ops::Mix::Rows>(std::move(rows))) {}
  std::shared_ptr<const ops::Mix::Rows> rows_;
};

/// How MD-GAN's workers choose whom they send their discriminator to (rivals of 'a random worker', line 18 of Algorithm
/// 1).
enum class SwapKind {
  kDerangement,  ///< a random cyclic permutation: nobody keeps its own, any number of workers from 2
  kPairwise,     ///< random pairs exchange; with an odd number one keeps its own
  kRing,         ///< worker n sends to n + 1
  kUniform,  ///< the literal text: everyone draws a target; the last writer stays, who receives nothing keeps its own
};
SwapKind parse_swap(const std::string& name);
/// target[i]: a random other worker for each; several may choose the same.
std::vector<int64_t> gossip_targets(int64_t workers, HostRandom& random);
/// source[i]: whose discriminator worker i holds afterwards.
std::vector<int64_t> swap_sources(SwapKind kind, int64_t workers, HostRandom& random);

}  // namespace agon
