#include "tools/agon/record.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/files.h"
#include "engine/text.h"
#include "kernels/error.h"

namespace agon::cli {
namespace {

using nlohmann::json;

struct Kind {
  const char* name;
  bool (json::*fits)() const noexcept;
};
constexpr Kind kText{"a text", &json::is_string}, kNumber{"a number", &json::is_number},
    kInteger{"an integer", &json::is_number_integer}, kFlag{"true or false", &json::is_boolean},
    kTable{"an object", &json::is_object}, kList{"a list", &json::is_array};

/// A key may be missing.
void expect(const json& object, const std::string& key, const Kind& kind, const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end() || ((*found).*kind.fits)()) return;
  const std::string text = json_text(*found);
  fail(Fault::kData, "{}: {} is {}, expected {}", where, key, text.size() > 60 ? found->type_name() : text, kind.name);
}

void expect_scores(const json& scores, const std::string& where) {
  for (const char* score : {"ms", "is", "fid", "tvd", "fid_features", "kid", "precision", "recall", "density",
                            "coverage", "high_quality", "scorer_accuracy"})
    expect(scores, score, kNumber, where);
  for (const char* count : {"modes", "modes_total", "samples", "real_samples", "generators"})
    expect(scores, count, kInteger, where);
  for (const char* text : {"split", "scorer", "scorer_hash"}) expect(scores, text, kText, where);
  const auto ranking = scores.find("ranking");
  if (ranking == scores.end()) return;
  expect(scores, "ranking", kList, where);
  if (ranking->empty()) fail(Fault::kData, "{}: ranking is empty, expected at least one cell", where);
  for (const json& cell : *ranking) {
    if (!cell.is_object() || !cell.contains("cell"))
      fail(Fault::kData, "{}: ranking holds {}, expected objects with a cell", where, cell.type_name());
    expect(cell, "cell", kInteger, where + ": ranking");
    expect_scores(cell, where + ": ranking");
  }
}

void expect_summary(const json& summary, const std::string& file) {
  if (!summary.is_object()) fail(Fault::kData, "expected a JSON object in {}, found something else", file);
  expect(summary, "iterations", kInteger, file);
  expect(summary, "interrupted", kFlag, file);
  expect(summary, "weights_hash", kText, file);
  for (const char* seconds : {"seconds_training", "seconds_evaluating", "seconds_simulated", "worker_bytes"})
    expect(summary, seconds, kNumber, file);
  for (const char* table : {"scores", "traffic", "flops"}) expect(summary, table, kTable, file);
  if (const auto scores = summary.find("scores"); scores != summary.end()) expect_scores(*scores, file + ": scores");
  if (const auto flops = summary.find("flops"); flops != summary.end())
    expect(*flops, "generator_at_worker_per_iteration", kNumber, file + ": flops");
  if (const auto traffic = summary.find("traffic"); traffic != summary.end())
    for (const auto& [kind, entry] : traffic->items()) {
      expect(*traffic, kind, kTable, file + ": traffic");
      for (const char* count : {"bytes", "messages"}) expect(entry, count, kInteger, file + ": traffic: " + kind);
    }
}

void expect_metrics(const json& line, const std::string& file) {
  const std::string where = fmt::format("{}: iteration {}", file, line["iteration"].dump());
  for (const char* text : {"kind", "event"}) expect(line, text, kText, where);
  expect(line, "worker", kInteger, where);
  expect_scores(line, where);
}

std::string summary_file(const std::string& folder) { return folder + "/summary.json"; }

}  // namespace

RunRecord read_record(const std::string& folder) {
  RunRecord run = read_run(folder);
  if (run.summary) expect_summary(*run.summary, summary_file(folder));
  for (const json& line : run.metrics) expect_metrics(line, folder + "/metrics.jsonl");
  return run;
}

json read_summary(const std::string& folder) {
  json summary = json::parse(read_text(summary_file(folder)), nullptr, /*allow_exceptions=*/false);
  expect_summary(summary, summary_file(folder));
  return summary;
}

void check_summary(const std::string& folder) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(summary_file(folder), ignored)) return;
  const json summary = json::parse(read_text(summary_file(folder)), nullptr, /*allow_exceptions=*/false);
  if (summary.is_object()) expect_summary(summary, summary_file(folder));
}

}  // namespace agon::cli
