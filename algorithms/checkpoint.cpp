#include "algorithms/checkpoint.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>

#include "engine/files.h"
#include "engine/safetensors.h"

namespace fs = std::filesystem;

namespace agon {
namespace {

constexpr const char* kFileKind = "agon checkpoint 1";

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

template <class T>
std::vector<T> read_array(const SafetensorsFile& file, const std::string& name, const std::string& dtype,
                          const std::vector<int64_t>& shape) {
  const SafeTensor& tensor = file.at(name, dtype, shape);
  std::vector<T> values(tensor.bytes / sizeof(T));
  std::memcpy(values.data(), tensor.data, tensor.bytes);
  return values;
}

}  // namespace

std::vector<std::string> list_checkpoints(const std::string& folder) {
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

namespace {

/// A whole fleet's arrays for the file: streamed from the device, or brought to the server's process first.
void add_fleet(SafetensorsWriter& writer, const std::string& name, const Fleet& fleet, const World& world) {
  const bool gathered = world.spread() && !fleet.of_server();
  const int64_t R = gathered ? std::ssize(world.hosts()) : fleet.replicas();
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
void add_array(SafetensorsWriter& writer, const std::string& name, const Algorithm::Array& array, const World& world) {
  const bool gathered = world.spread() && array.of_workers;
  const int64_t count = array.count * (array.of_workers ? std::ssize(world.hosts()) : 1);
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

/// One number for each replica that a fleet was made for, wherever it is now.
template <class T>
std::vector<T> whole(const std::vector<T>& values, const Fleet& fleet, const World& world) {
  if (!world.spread() || fleet.of_server()) return values;
  std::vector<T> all = world.gather(values);
  all.resize(static_cast<size_t>(world.workers()));
  return all;
}

}  // namespace

std::string write_checkpoint(const std::string& folder, Algorithm& algorithm, const World& world,
                             const CheckpointInfo& info, int64_t keep) {
  SafetensorsWriter writer;
  std::map<std::string, std::vector<int32_t>> steps;
  std::map<std::string, std::vector<float>> rates;
  for (const auto& [name, fleet] : algorithm.fleets()) {
    add_fleet(writer, name, *fleet, world);
    if (!fleet->trains()) continue;
    const auto& step = steps[name] = whole(fleet->steps(), *fleet, world);
    const auto& rate = rates[name] = whole(fleet->learning_rates(), *fleet, world);
    writer.add(name + ".steps", "I32", {std::ssize(step)}, step.data());
    writer.add(name + ".learning_rates", "F32", {std::ssize(rate)}, rate.data());
  }
  for (const auto& [name, array] : algorithm.arrays()) add_array(writer, name, array, world);
  if (!world.serves()) return "";  // the server's process writes
  make_folder(folder);
  const nlohmann::json description = {{"iteration", world.iteration()},
                                      {"living", world.living()},
                                      {"ledger", world.ledger().entries_json()},
                                      {"algorithm", algorithm.state()},
                                      {"trainer", info.trainer}};
  writer.metadata("kind", kFileKind);
  writer.metadata("signature", info.signature);
  writer.metadata("description", description.dump());
  const std::string path = (fs::path(folder) / fmt::format("iteration-{:09}.safetensors", world.iteration())).string();
  writer.write(path);

  const std::vector<std::string> all = list_checkpoints(folder);
  const auto last = std::find(all.begin(), all.end(), path) - all.begin();
  for (std::ptrdiff_t i = 0; i < std::ssize(all); ++i) {
    std::error_code ignored;  // an old checkpoint that stays does no harm
    if (i > last || i + keep <= last) fs::remove(all[static_cast<size_t>(i)], ignored);
  }
  return path;
}

namespace {

/// Of a fleet in several processes, each takes the replicas of its own workers.
void read_fleet(const SafetensorsFile& file, const std::string& name, Fleet& fleet, const World& world) {
  const std::vector<int64_t>& shape = file.at(name + ".weights").shape;
  const int64_t R = shape.empty() ? 0 : shape.front();
  std::vector<int64_t> own;  // rows of the file
  if (!world.spread())
    for (int64_t r = 0; r < R; ++r) own.push_back(r);
  else if (!fleet.of_server())
    for (int64_t worker : world.here())
      own.push_back(std::find(world.hosts().begin(), world.hosts().end(), worker) - world.hosts().begin());
  else if (world.serves())
    own.push_back(0);
  fleet.set_replicas(std::ssize(own));
  for (const Fleet::Arena& arena : fleet.arenas()) {
    const SafeTensor& tensor = file.at(name + "." + arena.name, "F32", {R, arena.count});
    const size_t bytes = static_cast<size_t>(arena.count) * sizeof(float);
    for (size_t r = 0; r < own.size(); ++r)
      world.device().upload(arena.data + static_cast<int64_t>(r) * arena.count,
                            static_cast<const std::byte*>(tensor.data) + static_cast<size_t>(own[r]) * bytes, bytes);
  }
  if (!fleet.trains()) return;
  const int64_t capacity = !world.spread() ? fleet.capacity() : fleet.of_server() ? 1 : world.workers();
  const auto take = [&](auto values, const auto& all) {
    for (size_t r = 0; r < own.size(); ++r) values[r] = all[static_cast<size_t>(own[r])];
    return values;
  };
  const auto steps = read_array<int32_t>(file, name + ".steps", "I32", {capacity});
  const auto rates = read_array<float>(file, name + ".learning_rates", "F32", {capacity});
  fleet.set_steps(world.spread() ? take(fleet.steps(), steps) : steps);
  fleet.set_learning_rates(world.spread() ? take(fleet.learning_rates(), rates) : rates);
}

void read_array(const SafetensorsFile& file, const std::string& name, const Algorithm::Array& array,
                const World& world) {
  const auto parts = array.of_workers ? std::ssize(world.hosts()) : 1;
  const SafeTensor& tensor = file.at(name, array.integers ? "I32" : "F32", {array.count * parts});
  const size_t bytes = tensor.bytes / static_cast<size_t>(parts);
  const auto take = [&](int64_t replica, int64_t part) {
    world.device().upload(static_cast<std::byte*>(array.data) + static_cast<size_t>(replica) * bytes,
                          static_cast<const std::byte*>(tensor.data) + static_cast<size_t>(part) * bytes, bytes);
  };
  if (!array.of_workers) take(0, 0);
  if (array.of_workers)
    for (int64_t worker : world.here()) take(world.replica_of(worker), world.host_of(worker));
}

}  // namespace

std::optional<CheckpointInfo> read_checkpoint(const std::string& folder, Algorithm& algorithm, World& world,
                                              const std::string& signature, std::vector<std::string>& damaged) {
  const std::vector<std::string> paths = list_checkpoints(folder);
  for (auto path = paths.rbegin(); path != paths.rend(); ++path) {
    try {
      const SafetensorsFile file = SafetensorsFile::open(*path);
      if (file.metadata("kind") != kFileKind)
        fail(Fault::kData, "{} is not a checkpoint of this version of agon", *path);
      file.verify();
      if (file.metadata("signature") != signature) {
        damaged.clear();
        throw Error(Fault::kUsage, fmt::format("{} belongs to another run: it was made for {}, but this one is {}",
                                               *path, file.metadata("signature"), signature));
      }
      const nlohmann::json description = nlohmann::json::parse(file.metadata("description"));
      const auto living = description.at("living").get<std::vector<int64_t>>();

      world.set_living(living);
      for (const auto& [name, fleet] : algorithm.fleets()) read_fleet(file, name, *fleet, world);
      for (const auto& [name, array] : algorithm.arrays()) read_array(file, name, array, world);
      world.set_iteration(description.at("iteration").get<int64_t>());
      world.ledger().restore(description.at("ledger"));
      algorithm.restore(description.at("algorithm"));
      return CheckpointInfo{signature, description.at("trainer")};
    } catch (const nlohmann::json::exception& error) {
      damaged.push_back(fmt::format("{} has a damaged description ({})", *path, error.what()));
    } catch (const Error& error) {
      if (error.fault() == Fault::kUsage) throw Error(Fault::kData, error.what());
      damaged.push_back(error.what());
    }
  }
  if (!damaged.empty()) fail(Fault::kData, "no checkpoint in {} is whole: {}", folder, damaged.front());
  return std::nullopt;
}

}  // namespace agon
