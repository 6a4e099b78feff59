// A run, written down as it happens, and read back for reports.
#include "algorithms/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "algorithms/scatter.h"
#include "algorithms/stage.h"
#include "engine/files.h"
#include "kernels/error.h"

namespace agon {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// Complete lines of a metrics file that are JSON objects; what a crash left half-written is not.
std::vector<json> read_metrics(const std::string& path) {
  std::vector<json> lines;
  if (!fs::exists(path)) return lines;
  std::istringstream text(read_text(path));
  for (std::string line; std::getline(text, line);) {
    json object = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (object.is_object() && object.value("iteration", json()).is_number_integer()) lines.push_back(std::move(object));
  }
  return lines;
}

std::string reason() { return std::strerror(errno); }

/// What a run leaves that could not even write its settings: a lock, folders that it made, files that it began.
bool is_remnant(const fs::directory_entry& entry) {
  const std::string name = entry.path().filename().string();
  if (name == ".lock" || (name.starts_with(".") && name.ends_with(".partial"))) return true;
  std::error_code ignored;
  if ((name != "samples" && name != "checkpoints") || !entry.is_directory(ignored)) return false;
  const fs::directory_iterator inside(entry.path(), ignored);
  return std::all_of(begin(inside), end(inside), is_remnant);
}

}  // namespace

FolderState folder_state(const std::string& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return FolderState::kEmpty;
  if (!fs::is_directory(path, ignored)) return FolderState::kForeign;
  if (fs::exists(path + "/config.toml", ignored)) {
    if (!fs::exists(path + "/summary.json", ignored)) return FolderState::kUnfinished;
    const json summary = json::parse(read_text(path + "/summary.json"), nullptr, false);
    const bool finished = summary.is_object() && summary.value("interrupted", json(false)) == false;
    return finished ? FolderState::kFinished : FolderState::kUnfinished;
  }
  const fs::directory_iterator inside(path, ignored);
  return std::all_of(begin(inside), end(inside), is_remnant) ? FolderState::kEmpty : FolderState::kForeign;
}

bool holds_results(const std::string& path) {
  return fs::exists(path + "/summary.json") || fs::exists(path + "/generator.safetensors");
}

RunFolder::RunFolder(const std::string& path, bool resume) : path_(path) {
  const FolderState state = folder_state(path);
  if (state == FolderState::kForeign)
    fail(Fault::kUsage, "{} holds other things than a run; give an empty or new folder with --out", path);
  if (!resume && state == FolderState::kFinished)
    fail(Fault::kUsage,
         "{} holds a finished run; give another folder with --out, or prolong it with --resume --iterations", path);
  if (!resume && state == FolderState::kUnfinished)
    fail(Fault::kUsage, "{} holds an unfinished run; go on with --resume, or give another folder with --out", path);
  try {
    for (const char* folder : {"", "/samples", "/checkpoints"}) make_folder(path + folder);
  } catch (const Error& error) {
    fail(Fault::kUsage, "{}; give a folder that can be written with --out", error.what());
  }
  lock_ = open((path + "/.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_ < 0) fail(Fault::kUsage, "cannot write into {}: {}; give another folder with --out", path, reason());
  if (flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    close(lock_);
    fail(Fault::kUsage, "another agon is training in {} at the moment; give another folder with --out", path);
  }
}

RunFolder::~RunFolder() {
  if (metrics_ >= 0) close(metrics_);
  if (lock_ >= 0) close(lock_);
}

void RunFolder::started(const Trainer& trainer) {
  trainer_ = &trainer;
  write_atomically(path_ + "/config.toml", trainer.settings().to_toml(/*with_meanings=*/true));
  const std::string file = path_ + "/metrics.jsonl";
  std::string kept;
  for (const json& line : read_metrics(file)) {
    const auto iteration = line["iteration"].get<int64_t>();
    if (iteration > trainer.iteration()) continue;
    if (line.value("kind", json()) == "evaluation") evaluated_ = iteration;
    kept += line.dump() + "\n";
  }
  write_atomically(file, kept);
  for (const char* outdated : {"/summary.json", "/failure.txt"}) fs::remove(path_ + outdated);
  metrics_ = open(file.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (metrics_ < 0) fail(Fault::kRun, "cannot write {}: {}", file, reason());
}

void RunFolder::append(const json& line) {
  const std::string text = line.dump() + "\n";
  const off_t before = lseek(metrics_, 0, SEEK_END);
  errno = 0;
  if (write(metrics_, text.data(), text.size()) == static_cast<ssize_t>(text.size())) return;
  const std::string why = errno ? reason() : "the disk is full";
  if (ftruncate(metrics_, before) != 0)
    fail(Fault::kRun, "cannot write {}/metrics.jsonl, its last line is broken: {}", path_, why);
  fail(Fault::kRun, "cannot write {}/metrics.jsonl: {}", path_, why);
}

void RunFolder::logged(const LogRecord& record) {
  append({{"kind", "log"},
          {"iteration", record.iteration},
          {"seconds_training", record.seconds_training},
          {"iterations_per_second", record.iterations_per_second},
          {"seconds_simulated", record.seconds_simulated},
          {"loss_discriminator", record.losses.discriminator},
          {"loss_generator", record.losses.generator}});
}

void RunFolder::evaluated(int64_t iteration, double seconds_training, const Scores& scores) {
  if (iteration == evaluated_) return;  // a run that had ended already is there before
  evaluated_ = iteration;
  json line = scores.to_json();
  line["kind"] = "evaluation";
  line["iteration"] = iteration;
  line["seconds_training"] = seconds_training;
  line["seconds_simulated"] = trainer_->seconds_simulated();
  line["bytes"] = trainer_->stage().world().ledger().total().bytes;
  append(line);
}

void RunFolder::happened(const Event& event) {
  append({{"kind", "event"}, {"iteration", event.iteration}, {"worker", event.worker}, {"event", event.kind}});
}

std::string RunFolder::sample_path(int64_t iteration) const {
  return fmt::format("{}/samples/{:06}.png", path_, iteration);
}

void RunFolder::sampled(int64_t iteration, const std::vector<uint8_t>& pictures, const Shape& shape, int64_t columns) {
  const int64_t count = static_cast<int64_t>(pictures.size()) / shape.size();
  write_png(sample_path(iteration), contact_sheet(pictures.data(), count, shape.height, shape.width, shape.channels,
                                                  {.columns = columns, .scale = shape.height < 64 ? 2 : 1}));
}

void RunFolder::sampled_points(int64_t iteration, const std::vector<float>& points) {
  write_png(sample_path(iteration), scatter(points, trainer_->data().train));
}

void RunFolder::checkpointed(int64_t, const std::string&, const Generator& generator) {
  generator.save(path_ + "/generator.safetensors");
}

void RunFolder::finished(const Summary& summary, const Generator& generator) {
  generator.save(path_ + "/generator.safetensors");
  write_atomically(path_ + "/summary.json", summary.to_json().dump(2) + "\n");
}

RunRecord read_run(const std::string& path) {
  if (!fs::is_directory(path))
    fail(Fault::kData, "{} is not a run folder; expected the folder that agon train wrote", path);
  if (!fs::exists(path + "/config.toml") || !fs::exists(path + "/metrics.jsonl"))
    fail(Fault::kData, "{} is not a run folder; expected config.toml and metrics.jsonl in it", path);
  RunRecord run;
  run.path = path;
  run.name = fs::absolute(path).lexically_normal().filename().string();
  if (run.name.empty()) run.name = fs::absolute(path).lexically_normal().parent_path().filename().string();
  run.config = read_text(path + "/config.toml");
  run.metrics = read_metrics(path + "/metrics.jsonl");
  if (fs::exists(path + "/summary.json")) {
    json summary = json::parse(read_text(path + "/summary.json"), nullptr, false);
    if (!summary.is_object()) fail(Fault::kData, "{}/summary.json is not a JSON object", path);
    run.summary = std::make_unique<json>(std::move(summary));
  }
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(path + "/samples", ignored))
    if (entry.path().extension() == ".png") run.samples.push_back(entry.path().string());
  std::sort(run.samples.begin(), run.samples.end());
  return run;
}

std::string generator_file(const std::string& path) {
  if (!fs::exists(path)) fail(Fault::kData, "there is no run folder or generator file {}", path);
  if (!fs::is_directory(path)) return path;
  const std::string file = path + "/generator.safetensors";
  if (!fs::exists(file))
    fail(Fault::kData, "{} holds no generator.safetensors; it appears with the first checkpoint of a run", path);
  return file;
}

}  // namespace agon
