#pragma once

#include <cstdint>
#include <vector>

#include "engine/generator.h"
#include "engine/random.h"

namespace agon {

/// The parts of spatial coevolution that need no network (Schmiedlechner et al. 2018, sections 2 and 3).

/// Cells on a rows x columns grid whose edges meet, numbered row by row.
class Torus {
 public:
  /// `rows` 0: the most square grid of `cells`. Throws Error(kUsage) when the rows do not divide the cells.
  Torus(int64_t cells, int64_t rows);

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  /// The cell itself, then those above, below, left and right of it: each once (on a 2 x 2 grid above is below), and
  /// only those among `living` (ascending); unreachable neighbours are skipped.
  /// `transposed`: the neighbours of the cell mirrored at the diagonal, as the authors' program has it on square grids.
  std::vector<int64_t> neighbourhood(int64_t cell, const std::vector<int64_t>& living, bool transposed = false) const;

 private:
  int64_t rows_, columns_;
};

/// Tournament selection: of `size` different members drawn at random, or all if there are fewer, the one of the lowest
/// loss; of equal ones the first that was drawn.
int64_t tournament(const std::vector<double>& loss, int64_t size, HostRandom& random);

/// Gaussian mutation of a learning rate: with `probability`, max(0, rate + scale * N(-initial / 10, initial^2)).
double mutated_rate(double rate, double initial, double scale, double probability, HostRandom& random);

/// The child of a (1+1) evolution strategy over mixture weights: w + N(0, sigma^2), clipped at 0 and renormalised; w
/// itself when nothing is left above 0.
std::vector<double> mutated_weights(const std::vector<double>& weights, double sigma, HostRandom& random);

/// Weights for other members than before: who stays keeps its weight, who is new gets the mean of those who stay (all
/// equal if nobody does), and all are renormalised.
GeneratorMixture with_members(const GeneratorMixture& mixture, const std::vector<int64_t>& members);

/// The member that each of `count` samples comes from, in proportion to the weights, as indices into members. Sample i
/// depends on the i-th number of `random` alone, so that mixtures are compared on what they have in common.
std::vector<size_t> sampled_members(const GeneratorMixture& mixture, int64_t count, HostRandom random);

}  // namespace agon
