#pragma once

#include <string>

#include "algorithms/stage.h"
#include "datasets/dataset.h"
#include "engine/settings.h"

namespace agon {

/// What a checkpoint must have in common with the run that goes on from it: "md-gan with 10 workers, batch 10, seed 1;
/// generator 1x1x100; dense ...; discriminator ...; data 0123456789abcdef".
std::string run_signature(const Settings& settings, const Stage& stage, const DataSource& data);

/// The parts in which two signatures differ, in words: "it was made for 10 workers, but this run has 5 workers"; of a
/// network the first layer that does.
std::string signature_difference(const std::string& made_for, const std::string& now);

}  // namespace agon
