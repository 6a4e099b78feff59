#include "algorithms/checkpoint.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <set>

#include "algorithms/signature.h"
#include "engine/files.h"
#include "engine/safetensors.h"

namespace fs = std::filesystem;

namespace agon {
namespace {

constexpr const char* kFileKind = "agon checkpoint 1";
constexpr const char* kPartKind = "agon checkpoint part 1";

std::string path_of(const std::string& folder, int64_t iteration) {
  return (fs::path(folder) / fmt::format("iteration-{:09}.safetensors", iteration)).string();
}

/// The part of a process. Another number of processes has other parts, so that none takes another's for its own.
std::string part_of(const std::string& path, int rank, int processes) {
  return fs::path(path).replace_extension(fmt::format("part-{}-of-{}.safetensors", rank, processes)).string();
}

int64_t iteration_of(const std::string& path) {
  return std::strtoll(fs::path(path).filename().string().c_str() + std::strlen("iteration-"), nullptr, 10);
}

bool is_part(const std::string& path) { return path.find(".part-") != std::string::npos; }
bool is_part(const std::string& path, int processes) {
  return path.ends_with(fmt::format("-of-{}.safetensors", processes));
}

/// Hands `count` floats of the device to the file piece by piece, so that no copy of a large fleet is held. A value
/// that is not a number ends the writing.
void stream_floats(Device& device, const float* from, int64_t count, const std::string& what, int64_t iteration,
                   const SafetensorsWriter::Sink& sink) {
  constexpr int64_t kPiece = 1 << 18;
  std::vector<float> piece(static_cast<size_t>(std::min(count, kPiece)));
  for (int64_t begin = 0; begin < count; begin += kPiece) {
    const auto n = static_cast<size_t>(std::min(kPiece, count - begin));
    device.download(piece.data(), from + begin, n * sizeof(float));
    for (size_t i = 0; i < n; ++i)
      if (!std::isfinite(piece[i]))
        fail(Fault::kRun,
             "a value in {} is not a number at iteration {}; no checkpoint was written, earlier ones are good", what,
             iteration);
    sink(piece.data(), n * sizeof(float));
  }
}

int64_t rows_of(const SafetensorsFile& file, const std::string& name) {
  const std::vector<int64_t>& shape = file.at(name).shape;
  return shape.empty() ? 0 : shape.front();
}

std::vector<std::string> list_files(const std::string& folder) {
  std::vector<std::string> paths;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("iteration-", 0) == 0 && entry.path().extension() == ".safetensors")
      paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());  // iteration numbers have a fixed width
  return paths;
}

}  // namespace

std::vector<std::string> list_checkpoints(const std::string& folder) {
  std::vector<std::string> paths = list_files(folder);
  std::erase_if(paths, [](const std::string& path) { return is_part(path); });
  return paths;
}

namespace {

/// Whose rows of the workers' arrays a file has.
enum class Rows {
  kOwn,       ///< this process's workers'
  kGathered,  ///< all workers', brought to the server's process first
};

/// A fleet's arrays for the file, streamed from the device.
void add_fleet(SafetensorsWriter& writer, const std::string& name, const Fleet& fleet, const World& world, Rows rows) {
  const bool gathered = world.spread() && !fleet.of_server() && rows == Rows::kGathered;
  const int64_t R = gathered                               ? std::ssize(world.hosts())
                    : world.spread() && !fleet.of_server() ? std::ssize(world.here())
                                                           : fleet.replicas();
  for (const Fleet::Arena& arena : fleet.arenas()) {
    const auto all = std::make_shared<std::vector<float>>(gathered ? world.fetch_array(arena) : std::vector<float>{});
    const std::string what = fmt::format("the {} of the {}", arena.name, name);
    writer.add_streamed(name + "." + arena.name, "F32", {R, arena.count},
                        [&world, arena, R, what, all, gathered](const SafetensorsWriter::Sink& sink) {
                          const float* const from = gathered ? all->data() : arena.data;
                          stream_floats(world.device(), from, R * arena.count, what, world.iteration(), sink);
                        });
  }
}

/// The same of another array.
void add_array(SafetensorsWriter& writer, const std::string& name, const Algorithm::Array& array, const World& world,
               Rows rows) {
  const bool gathered = world.spread() && array.of_workers && rows == Rows::kGathered;
  const int64_t count =
      array.count * (!array.of_workers ? 1 : std::ssize(rows == Rows::kOwn ? world.here() : world.hosts()));
  const auto all = std::make_shared<std::vector<float>>();  // or integers of as many bits
  if (gathered) *all = world.fetch_array({name, array.count, static_cast<float*>(array.data), /*moment=*/false});
  const auto write = [&world, name, array, all, gathered, count](const SafetensorsWriter::Sink& sink) {
    const void* const from = gathered ? all->data() : array.data;
    if (!array.integers)
      return stream_floats(world.device(), static_cast<const float*>(from), count, "the " + name, world.iteration(),
                           sink);
    std::vector<int32_t> values(static_cast<size_t>(count));
    world.device().download(values.data(), from, values.size() * sizeof(int32_t));
    sink(values.data(), values.size() * sizeof(int32_t));
  };
  writer.add_streamed(name, array.integers ? "I32" : "F32", {count}, write);
}

/// One number for each replica of a fleet, in all processes.
template <class T>
std::vector<T> whole(std::vector<T> values, const Fleet& fleet, const World& world) {
  if (world.spread() && !fleet.of_server()) return world.gather(std::move(values));
  values.resize(static_cast<size_t>(fleet.replicas()));
  return values;
}

/// The rows of this process's workers for the file.
void add_own_rows(SafetensorsWriter& writer, Algorithm& algorithm, const World& world) {
  for (const auto& [name, fleet] : algorithm.fleets())
    if (!fleet->of_server()) add_fleet(writer, name, *fleet, world, Rows::kOwn);
  for (const auto& [name, array] : algorithm.arrays())
    if (array.of_workers) add_array(writer, name, array, world, Rows::kOwn);
}

/// Whether all processes see the folder of the first one: they look for a number there that nobody can guess.
bool all_see(const std::string& folder, const World& world) {
  Communicator& processes = world.processes();
  const std::string mark = (fs::path(folder) / ".seen-by-all").string();
  const std::string number = std::to_string(processes.from_first(static_cast<int64_t>(std::random_device()())));
  if (world.serves()) write_atomically(mark, std::string_view(number));
  processes.from_first(0);  // it is there now
  std::error_code error;
  const bool unseen = processes.any(!fs::exists(mark, error) || read_text(mark) != number);
  if (world.serves()) fs::remove(mark, error);
  return !unseen;
}

/// What a process says of its part.
struct Report {
  uint64_t checksum = 0;
  char error[504] = "";  ///< why there is none
};

/// Every process's report, at the first; if one has failed, all throw its sentence.
std::vector<Report> agree(Communicator& processes, const Report& mine) {
  std::vector<Report> all(static_cast<size_t>(processes.size()));
  all.front() = mine;
  Report verdict;
  std::vector<Communicator::Outgoing> reports, verdicts;
  std::vector<Communicator::Incoming> from_others, from_first;
  if (processes.rank() != 0) {
    reports.push_back({0, &mine, sizeof(mine)});
    from_first.push_back({0, &verdict, sizeof(verdict)});
  } else {
    for (int rank = 1; rank < processes.size(); ++rank) {
      if (!processes.present(rank)) continue;
      from_others.push_back({rank, &all[static_cast<size_t>(rank)], sizeof(Report)});
      verdicts.push_back({rank, &verdict, sizeof(verdict)});
    }
  }
  processes.exchange(reports, from_others);
  for (const Report& report : all)
    if (!*verdict.error) verdict = report;
  processes.exchange(verdicts, from_first);
  if (*verdict.error) fail(Fault::kRun, "{}", verdict.error);
  return all;
}

/// Writes the parts of all processes but the first, whose rows are in the checkpoint itself; returns what it has to
/// say of who has which workers' rows.
nlohmann::json write_parts(const std::string& path, Algorithm& algorithm, const World& world,
                           const std::string& signature) {
  Communicator& processes = world.processes();
  const std::string mine = part_of(path, processes.rank(), processes.size());
  Report report;
  if (!world.serves() && !world.here().empty()) try {
      SafetensorsWriter writer;
      add_own_rows(writer, algorithm, world);
      writer.metadata("kind", kPartKind);
      writer.metadata("signature", signature);
      report.checksum = writer.write(mine);
    } catch (const Error& error) {
      std::string(error.what()).copy(report.error, sizeof(report.error) - 1);
    }
  std::vector<Report> reports;
  try {
    reports = agree(processes, report);
  } catch (const ProcessLost&) {
    throw;
  } catch (const Error&) {
    std::error_code ignored;
    if (!world.serves()) fs::remove(mine, ignored);
    processes.any(false);  // the first one ends the run only when all have tidied up
    throw;
  }
  std::map<int, std::vector<int64_t>> workers;
  for (int64_t worker : world.hosts()) workers[world.rank_of(worker)].push_back(worker);
  nlohmann::json parts = nlohmann::json::array();
  for (const auto& [rank, rows] : workers)
    parts.push_back({{"file", rank == 0 ? "" : fs::path(part_of(path, rank, processes.size())).filename().string()},
                     {"checksum", checksum_text(reports[static_cast<size_t>(rank)].checksum)},
                     {"workers", rows}});
  return parts;
}

/// Leaves the newest `keep` checkpoints up to `path`, with their parts; of its own parts only those of `processes`.
void clean_up(const std::string& folder, const std::string& path, int64_t keep, int processes) {
  const std::vector<std::string> all = list_checkpoints(folder);
  const auto last = std::find(all.begin(), all.end(), path) - all.begin();
  const auto stem = [](const std::string& file) {
    const std::string name = fs::path(file).filename().string();
    return name.substr(0, name.find('.'));
  };
  std::set<std::string> kept;
  for (std::ptrdiff_t i = std::max<std::ptrdiff_t>(0, last - keep + 1); i <= last; ++i)
    kept.insert(stem(all[static_cast<size_t>(i)]));
  std::error_code ignored;  // an old checkpoint that stays does no harm
  for (const std::string& file : list_files(folder))
    if (!kept.count(stem(file)) || (stem(file) == stem(path) && is_part(file) && !is_part(file, processes)))
      fs::remove(file, ignored);
  std::vector<fs::path> unfinished;  // what a killed process leaves
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (entry.path().extension() == ".partial") unfinished.push_back(entry.path());
  for (const fs::path& file : unfinished) fs::remove(file, ignored);
}

}  // namespace

std::string write_checkpoint(const std::string& folder, Algorithm& algorithm, const World& world,
                             const CheckpointInfo& info, int64_t keep) {
  const std::string path = path_of(folder, world.iteration());
  if (world.serves()) make_folder(folder);
  const bool in_parts = world.spread() && all_see(folder, world);
  const Rows rows = in_parts ? Rows::kOwn : Rows::kGathered;
  SafetensorsWriter writer;
  std::map<std::string, std::vector<int32_t>> steps;
  std::map<std::string, std::vector<float>> rates;
  for (const auto& [name, fleet] : algorithm.fleets()) {
    add_fleet(writer, name, *fleet, world, rows);
    if (!fleet->trains()) continue;
    const auto& step = steps[name] = whole(fleet->steps(), *fleet, world);
    const auto& rate = rates[name] = whole(fleet->learning_rates(), *fleet, world);
    writer.add(name + ".steps", "I32", {std::ssize(step)}, step.data());
    writer.add(name + ".learning_rates", "F32", {std::ssize(rate)}, rate.data());
  }
  for (const auto& [name, array] : algorithm.arrays()) add_array(writer, name, array, world, rows);
  const nlohmann::json parts = in_parts ? write_parts(path, algorithm, world, info.signature) : nlohmann::json::array();
  if (!world.serves()) return "";
  const nlohmann::json description = {{"iteration", world.iteration()},
                                      {"living", world.living()},
                                      {"hosts", world.hosts()},
                                      {"parts", parts},
                                      {"ledger", world.ledger().entries_json()},
                                      {"algorithm", algorithm.state()},
                                      {"trainer", info.trainer}};
  writer.metadata("kind", kFileKind);
  writer.metadata("signature", info.signature);
  writer.metadata("description", description.dump());
  writer.write(path);
  clean_up(folder, path, keep, world.processes().size());
  return path;
}

namespace {

/// A checkpoint that is whole, but of another run.
class OfAnotherRun : public Error {
 public:
  using Error::Error;
};

/// A checkpoint and those of its parts that this process needs, verified.
class Saved {
 public:
  Saved(const std::string& path, const std::string& signature) : file_(SafetensorsFile::open(path)) {
    if (file_.metadata("kind") == kPartKind)
      fail(Fault::kData, "{} is only a part of a checkpoint; expected the file of that iteration that is no part",
           path);
    if (file_.metadata("kind") != kFileKind) fail(Fault::kData, "{} is not a checkpoint of this version of agon", path);
    file_.verify();
    if (file_.metadata("signature") != signature)
      throw OfAnotherRun(Fault::kData, fmt::format("{} belongs to another run: {}", path,
                                                   signature_difference(file_.metadata("signature"), signature)));
    description_ = nlohmann::json::parse(file_.metadata("description"));
    for (const char* key : {"iteration", "living", "ledger", "algorithm", "trainer"}) (void)description_.at(key);
  }
  const SafetensorsFile& file() const { return file_; }
  const nlohmann::json& description() const { return description_; }
  bool in_parts() const { return !rows_.empty(); }
  std::vector<int64_t> living() const { return description_.at("living").get<std::vector<int64_t>>(); }
  std::vector<int64_t> hosts() const { return description_.value("hosts", living()); }

  /// Finds the rows of these workers.
  void open_parts_of(const std::vector<int64_t>& workers) {
    for (const nlohmann::json& part : description_.value("parts", nlohmann::json::array())) {
      const auto rows = part.at("workers").get<std::vector<int64_t>>();
      const auto wanted = [&](int64_t worker) {
        return std::find(workers.begin(), workers.end(), worker) != workers.end();
      };
      if (std::none_of(rows.begin(), rows.end(), wanted)) continue;
      const std::string name = part.at("file").get<std::string>();
      const int64_t part_of_row = name.empty() ? kItself : std::ssize(parts_);
      if (!name.empty()) {
        const std::string path = (fs::path(file_.path()).parent_path() / fs::path(name).filename()).string();
        const SafetensorsFile& opened = parts_.emplace_back(SafetensorsFile::open(path));
        opened.verify();
        if (opened.metadata("kind") != kPartKind ||
            opened.metadata("checksum") != part.at("checksum").get<std::string>())
          fail(Fault::kData, "{} is not the part that {} was written with", path, file_.path());
      }
      for (size_t row = 0; row < rows.size(); ++row)
        rows_[rows[row]] = {part_of_row, static_cast<int64_t>(row), std::ssize(rows)};
    }
  }

  /// `count` elements of a worker's row of an array; its number in the checkpoint is `host` of `hosts`.
  const std::byte* row(const std::string& name, const std::string& dtype, int64_t worker, int64_t host, int64_t hosts,
                       int64_t count, bool flat) const {
    const auto found = rows_.find(worker);
    const Place place = found == rows_.end() ? Place{kItself, host, hosts} : found->second;
    const SafetensorsFile& file = place.part == kItself ? file_ : parts_[static_cast<size_t>(place.part)];
    const std::vector<int64_t> shape = flat ? std::vector{place.rows * count} : std::vector{place.rows, count};
    const SafeTensor& tensor = file.at(name, dtype, shape);
    return tensor.data + static_cast<size_t>(place.row) * (tensor.bytes / static_cast<size_t>(place.rows));
  }

 private:
  static constexpr int64_t kItself = -1;
  struct Place {
    int64_t part, row, rows;
  };
  SafetensorsFile file_;
  nlohmann::json description_;
  std::vector<SafetensorsFile> parts_;
  std::map<int64_t, Place> rows_;  // of workers; without parts all are in the checkpoint, in order
};

/// Of a fleet in several processes, or that was in several, each process takes the replicas of its own workers.
void read_fleet(const Saved& saved, const std::string& name, Fleet& fleet, const World& world) {
  const bool by_worker = !fleet.of_server() && (world.spread() || saved.in_parts());
  std::vector<int64_t> own;  // rows of all
  if (by_worker) {
    for (int64_t worker : world.here()) own.push_back(world.host_of(worker));
  } else if (world.serves()) {
    own.resize(static_cast<size_t>(rows_of(saved.file(), name + ".weights")));
    std::iota(own.begin(), own.end(), 0);
  }
  fleet.set_replicas(std::ssize(own));
  for (const Fleet::Arena& arena : fleet.arenas()) {
    const std::string array = name + "." + arena.name;
    const size_t bytes = static_cast<size_t>(arena.count) * sizeof(float);
    for (size_t r = 0; r < own.size(); ++r) {
      const std::byte* const from =
          by_worker ? saved.row(array, "F32", world.here()[r], own[r], std::ssize(world.hosts()), arena.count,
                                /*flat=*/false)
                    : saved.file().at(array, "F32", {std::ssize(own), arena.count}).data + r * bytes;
      world.device().upload(arena.data + static_cast<int64_t>(r) * arena.count, from, bytes);
    }
  }
  if (!fleet.trains()) return;
  const int64_t least = own.empty() ? 0 : *std::max_element(own.begin(), own.end()) + 1;
  const auto read = [&](const std::string& array, const char* dtype, auto values) {
    using Value = typename decltype(values)::value_type;
    // Earlier versions wrote more: one for each replica that the fleet had ever had.
    const SafetensorsFile& file = saved.file();
    const auto all = file.at(array, dtype, {std::max(least, rows_of(file, array))}).template values<Value>();
    for (size_t r = 0; r < own.size(); ++r) values[r] = all[static_cast<size_t>(own[r])];
    return values;
  };
  fleet.set_steps(read(name + ".steps", "I32", fleet.steps()));
  fleet.set_learning_rates(read(name + ".learning_rates", "F32", fleet.learning_rates()));
}

void read_array(const Saved& saved, const std::string& name, const Algorithm::Array& array, const World& world) {
  const std::string dtype = array.integers ? "I32" : "F32";
  const size_t bytes = static_cast<size_t>(array.count) * sizeof(float);
  if (!array.of_workers) {
    world.device().upload(array.data, saved.file().at(name, dtype, {array.count}).data, bytes);
    return;
  }
  for (int64_t worker : world.here())
    world.device().upload(static_cast<std::byte*>(array.data) + static_cast<size_t>(world.replica_of(worker)) * bytes,
                          saved.row(name, dtype, worker, world.host_of(worker), std::ssize(world.hosts()), array.count,
                                    /*flat=*/true),
                          bytes);
}

}  // namespace

bool read_checkpoint(const std::string& path, const CheckpointTarget& target, std::vector<std::string>& damaged) {
  World& world = target.world;
  bool whole = false;
  try {
    Saved saved(path, target.signature);
    world.set_living(saved.living());
    world.set_hosts(saved.hosts());
    saved.open_parts_of(world.here());
    for (const auto& [name, fleet] : target.algorithm.fleets()) read_fleet(saved, name, *fleet, world);
    for (const auto& [name, array] : target.algorithm.arrays()) read_array(saved, name, array, world);
    const nlohmann::json& description = saved.description();
    world.set_iteration(description.at("iteration").get<int64_t>());
    world.ledger().restore(description.at("ledger"));
    target.algorithm.restore(description.at("algorithm"));
    target.restore_trainer(description.at("trainer"));
    whole = true;
  } catch (const nlohmann::json::exception& error) {
    damaged.push_back(fmt::format("{} has a damaged description ({})", path, error.what()));
  } catch (const OfAnotherRun&) {
    throw;
  } catch (const Error& error) {
    if (error.fault() == Fault::kRun) throw;  // not the file's
    damaged.push_back(error.what());
  }
  if (!world.processes().any(!whole)) return true;
  if (whole) damaged.push_back(fmt::format("{} or a part of it is missing or damaged at another process", path));
  return false;
}

bool read_newest_checkpoint(const std::string& folder, const CheckpointTarget& target,
                            std::vector<std::string>& damaged) {
  const World& world = target.world;
  Communicator& processes = world.processes();
  const std::vector<std::string> paths = world.serves() ? list_checkpoints(folder) : std::vector<std::string>{};
  const int64_t count = processes.from_first(std::ssize(paths));
  for (int64_t i = count - 1; i >= 0; --i) {
    // The server's process knows which there are.
    const int64_t iteration = processes.from_first(world.serves() ? iteration_of(paths[static_cast<size_t>(i)]) : 0);
    if (read_checkpoint(path_of(folder, iteration), target, damaged)) return true;
  }
  if (!damaged.empty()) fail(Fault::kData, "no checkpoint in {} is whole: {}", folder, damaged.front());
  return false;
}

}  // namespace agon
