#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "engine/settings.h"

namespace agon {

/// Something that happened to a worker, at the end of an iteration.
struct Event {
  int64_t iteration;
  int64_t worker;
  std::string kind;   ///< "lost": fail-stop, its data are gone; "joined"
  int64_t like = -1;  ///< of one who joins: the living worker whose models it copies
};

/// [{"iteration": .., "worker": .., "kind": ..}, ...]
nlohmann::json to_json(const std::vector<Event>& events);
std::vector<Event> events_from_json(const nlohmann::json& list);

/// Who is lost and who joins, and when: known before the run from the settings and the seed alone, so that every rank,
/// the plan and a resumed run agree.
class FaultSchedule {
 public:
  /// Reads world.crash_every, world.crash and world.join for `workers` workers and `iterations` iterations.
  /// Throws Error(kUsage) for what cannot happen (a worker lost twice, a number out of range).
  FaultSchedule(const Settings& settings, int64_t workers, int64_t iterations, uint64_t seed);

  /// Nobody, until add() says so.
  explicit FaultSchedule(int64_t workers);
  void add(const Event& event);

  const std::vector<Event>& events() const { return events_; }  ///< by iteration
  std::vector<Event> at(int64_t iteration) const;
  /// Who takes part in `iteration` (from 1), ascending.
  std::vector<int64_t> living(int64_t iteration) const;

 private:
  std::vector<int64_t> at_start_;
  std::vector<Event> events_;
};

}  // namespace agon
