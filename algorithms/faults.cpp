#include "algorithms/faults.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "engine/random.h"
#include "kernels/error.h"

namespace agon {
namespace {

/// ["1000:3", ...] -> events.
std::vector<Event> read_list(const Settings& settings, const std::string& key, const std::string& kind,
                             int64_t workers) {
  std::vector<Event> events;
  for (const auto& entry : settings.raw(key)) {
    const std::string text = entry.is_string() ? entry.get<std::string>() : entry.dump();
    long long iteration = 0, worker = 0;
    int used = 0;
    if (std::sscanf(text.c_str(), "%lld:%lld%n", &iteration, &worker, &used) != 2 ||
        static_cast<size_t>(used) != text.size())
      fail(Fault::kUsage, "{} holds \"{}\", expected \"iteration:worker\" such as \"1000:3\"", key, text);
    if (iteration < 1 || worker < 0 || worker >= workers)
      fail(Fault::kUsage, "{} holds \"{}\", expected an iteration from 1 and a worker from 0 to {}", key, text,
           workers - 1);
    events.push_back({iteration, worker, kind});
  }
  return events;
}

}  // namespace

nlohmann::json to_json(const std::vector<Event>& events) {
  nlohmann::json list = nlohmann::json::array();
  for (const Event& event : events)
    list.push_back({{"iteration", event.iteration}, {"worker", event.worker}, {"kind", event.kind}});
  return list;
}

std::vector<Event> events_from_json(const nlohmann::json& list) {
  std::vector<Event> events;
  for (const nlohmann::json& event : list)
    events.push_back({event.at("iteration"), event.at("worker"), event.at("kind")});
  return events;
}

FaultSchedule::FaultSchedule(int64_t workers) {
  for (int64_t worker = 0; worker < workers; ++worker) at_start_.push_back(worker);
}

FaultSchedule::FaultSchedule(const Settings& settings, int64_t workers, int64_t iterations, uint64_t seed) {
  std::vector<Event> wanted = read_list(settings, "world.crash", "lost", workers);
  for (Event& event : read_list(settings, "world.join", "joined", workers)) wanted.push_back(std::move(event));
  std::stable_sort(wanted.begin(), wanted.end(),
                   [](const Event& a, const Event& b) { return a.iteration < b.iteration; });

  int64_t every = 0;  // random fail-stops
  if (settings.is_text("world.crash_every")) {
    if (settings.text("world.crash_every") != "auto")
      fail(Fault::kUsage, "world.crash_every is \"{}\", expected a number or \"auto\"",
           settings.text("world.crash_every"));
    every = std::max<int64_t>(1, iterations / workers);
  } else {
    every = settings.integer("world.crash_every", 0);
  }

  // Whoever joins before it was lost was not there at the start.
  std::vector<bool> alive(static_cast<size_t>(workers), true), seen(static_cast<size_t>(workers), false);
  for (const Event& event : wanted) {
    const auto w = static_cast<size_t>(event.worker);
    if (!seen[w] && event.kind == "joined") alive[w] = false;
    seen[w] = true;
  }
  const auto living_now = [&] {
    std::vector<int64_t> list;
    for (int64_t w = 0; w < workers; ++w)
      if (alive[static_cast<size_t>(w)]) list.push_back(w);
    return list;
  };
  at_start_ = living_now();
  if (at_start_.empty())
    fail(Fault::kUsage, "world.join leaves no worker to start with; at least one must be there from the beginning");

  size_t next = 0;
  for (int64_t i = 0;;) {
    // The next iteration in which something happens: none, if nobody is left and nobody joins.
    const bool random = every > 0 && !living_now().empty();
    if (!random && next >= wanted.size()) break;
    const int64_t chance = random ? (i / every + 1) * every : INT64_MAX;
    i = next < wanted.size() ? std::min(wanted[next].iteration, chance) : chance;
    if (i > iterations) break;
    for (; next < wanted.size() && wanted[next].iteration == i; ++next) {
      Event event = wanted[next];
      const bool joins = event.kind == "joined";
      if (alive[static_cast<size_t>(event.worker)] == joins)
        fail(Fault::kUsage, "world.{} asks for worker {} at iteration {}, but it is {} then", joins ? "join" : "crash",
             event.worker, i, joins ? "there" : "not there");
      if (joins) {
        const std::vector<int64_t> others = living_now();
        if (others.empty())
          fail(Fault::kUsage, "nobody is left at iteration {} for worker {} to copy", i, event.worker);
        HostRandom random(seed, RandomStream::kFaults, static_cast<uint32_t>(event.worker), static_cast<uint64_t>(i));
        event.like = others[static_cast<size_t>(random.below(static_cast<int64_t>(others.size())))];
      }
      alive[static_cast<size_t>(event.worker)] = joins;
      events_.push_back(event);
    }
    if (i == chance)
      if (const std::vector<int64_t> candidates = living_now(); !candidates.empty()) {
        HostRandom random(seed, RandomStream::kFaults, kServerDraws, static_cast<uint64_t>(i));
        const int64_t worker = candidates[static_cast<size_t>(random.below(static_cast<int64_t>(candidates.size())))];
        alive[static_cast<size_t>(worker)] = false;
        events_.push_back({i, worker, "lost"});
      }
  }
}

void FaultSchedule::add(const Event& event) {
  const auto later = [](int64_t iteration, const Event& other) { return iteration < other.iteration; };
  events_.insert(std::upper_bound(events_.begin(), events_.end(), event.iteration, later), event);
}

std::vector<Event> FaultSchedule::at(int64_t iteration) const {
  std::vector<Event> list;
  for (const Event& event : events_)
    if (event.iteration == iteration) list.push_back(event);
  return list;
}

std::vector<int64_t> FaultSchedule::living(int64_t iteration) const {
  std::vector<int64_t> list = at_start_;
  for (const Event& event : events_) {
    if (event.iteration >= iteration) break;
    if (event.kind == "joined")
      list.insert(std::lower_bound(list.begin(), list.end(), event.worker), event.worker);
    else
      std::erase(list, event.worker);
  }
  return list;
}

}  // namespace agon
