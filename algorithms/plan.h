#pragma once

#include <nlohmann/json_fwd.hpp>

#include "algorithms/algorithm.h"
#include "algorithms/stage.h"

namespace agon {

/// As much of a data set as a plan depends on.
struct DataShape {
  Shape sample;
  int64_t classes = 0;
  int64_t count = 0;        ///< |B|, samples to train on
  int64_t value_bytes = 1;  ///< of a pixel; 4 of a point's coordinate
};

DataShape shape_of(const Dataset& data);

/// Throws Error as the Trainer would for settings that do not fit, as far as they can be known from the data's shape;
/// with the data also what depends on who gets what.
void check(const Settings& settings, const DataShape& data);
void check(const Settings& settings, const Dataset& train);

/// What a run needs and sends, before anything runs:
///   parameters {generator, embedding, discriminator}
///   flops {generator, discriminator: forward pass of one sample; per_iteration: of everybody; server_per_iteration,
///   worker_per_iteration, generator_at_worker_per_iteration}
///   seconds_simulated: of the whole run, on the machines and links of the keys network.*
///   memory {kind: bytes} of weights, gradients, moments, activations, data, total
///   traffic {per_iteration: {kind: bytes per worker}, per_exchange: {...}, total: {kind: {bytes, messages}}, server,
///   worker}
/// Throws Error as the Trainer would for settings that do not fit. With `estimate`, runs of more than 200,000
/// iterations are not gone through one by one: totals and seconds are then estimates, and so is "estimated" true.
nlohmann::json plan(const Settings& settings, const DataShape& data, bool estimate = false);

/// The memory of it alone.
nlohmann::json plan_memory(const AlgorithmPlan& algorithm, const GamePlan& game, const DataShape& data);

}  // namespace agon
