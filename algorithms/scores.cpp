// Scores as JSON, as a line of text, and averaged over generators.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "algorithms/evaluation.h"
#include "kernels/error.h"

namespace agon {
namespace {

using Number = std::optional<double> Scores::*;

/// Every score that is a number, under its name in JSON; the first score's name depends on the data.
constexpr std::pair<const char*, Number> kNumbers[] = {
    {"fid", &Scores::fid},
    {"tvd", &Scores::tvd},
    {"fid_features", &Scores::fid_features},
    {"kid", &Scores::kid},
    {"precision", &Scores::precision},
    {"recall", &Scores::recall},
    {"density", &Scores::density},
    {"coverage", &Scores::coverage},
    {"high_quality", &Scores::high_quality},
};

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (double v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

/// Square root of the unbiased variance; 0 of a single value.
double deviation(const std::vector<double>& values) {
  if (values.size() < 2) return 0;
  const double m = mean(values);
  double sum = 0;
  for (double v : values) sum += (v - m) * (v - m);
  return std::sqrt(sum / static_cast<double>(values.size() - 1));
}

}  // namespace

Scores mean_scores(const std::vector<Scores>& each) {
  if (each.empty()) fail(Fault::kUsage, "expected scores to average, found none");
  Scores result = each.front();
  const auto all = [&](Number number) {
    std::vector<double> values;
    for (const Scores& s : each)
      if (s.*number) values.push_back(*(s.*number));
    return values;
  };
  const auto average = [&](Number number) {
    if (const std::vector<double> values = all(number); !values.empty()) result.*number = mean(values);
  };
  average(&Scores::score);
  for (const auto& [name, number] : kNumbers) average(number);
  if (result.modes) {
    std::vector<double> modes;
    for (const Scores& s : each) modes.push_back(static_cast<double>(s.modes.value_or(0)));
    result.modes = std::llround(mean(modes));
  }
  result.generators = static_cast<int64_t>(each.size());
  if (each.size() == 1) return result;
  if (const auto values = all(&Scores::score); !values.empty()) {
    result.score_deviation = deviation(values);
    result.score_best = *std::max_element(values.begin(), values.end());
  }
  if (const auto values = all(&Scores::fid); !values.empty()) {
    result.fid_deviation = deviation(values);
    result.fid_best = *std::min_element(values.begin(), values.end());
  }
  return result;
}

Scores ranked_scores(const std::vector<Scores>& each, std::span<const GeneratorMixture> mixtures) {
  Scores result = mean_scores(each);
  for (size_t i = 0; i < each.size(); ++i) {
    const Scores& s = each[i];
    result.ranking.push_back({mixtures[i].holder, s.score, s.fid, s.tvd, s.high_quality, s.modes});
  }
  const auto worth = [](const Scores::Ranked& r) {  // the larger, the better
    return r.fid ? std::pair{-*r.fid, 0.0}
                 : std::pair{static_cast<double>(r.modes.value_or(0)), r.high_quality.value_or(0)};
  };
  std::stable_sort(result.ranking.begin(), result.ranking.end(),
                   [&](const auto& a, const auto& b) { return worth(a) > worth(b); });
  return result;
}

nlohmann::json Scores::to_json() const {
  nlohmann::json json = nlohmann::json::object();
  const auto add = [&](const std::string& name, const std::optional<double>& value) {
    if (value) json[name] = *value;
  };
  add(score_name, score);
  for (const auto& [name, number] : kNumbers) add(name, this->*number);
  add(score_name + "_deviation", score_deviation);
  add(score_name + "_best", score_best);
  add("fid_deviation", fid_deviation);
  add("fid_best", fid_best);
  if (modes) json["modes"] = *modes, json["modes_total"] = modes_total.value_or(0);
  json["samples"] = samples;
  json["split"] = split;
  if (real_samples > 0) json["real_samples"] = real_samples;
  if (generators > 1) json["generators"] = generators;
  for (const Ranked& r : ranking) {
    nlohmann::json entry = {{"cell", r.holder}};
    if (r.score) entry[score_name] = *r.score;
    if (r.fid) entry["fid"] = *r.fid;
    if (r.tvd) entry["tvd"] = *r.tvd;
    if (r.modes) entry["modes"] = *r.modes;
    if (r.high_quality) entry["high_quality"] = *r.high_quality;
    json["ranking"].push_back(std::move(entry));
  }
  if (!scorer.empty()) json["scorer"] = scorer, json["scorer_hash"] = scorer_hash;
  add("scorer_accuracy", scorer_accuracy);
  if (!note.empty()) json["note"] = note;
  return json;
}

std::string Scores::text() const {
  std::vector<std::string> parts;
  if (score) parts.push_back(fmt::format("{} {:.2f}", score_name == "ms" ? "MS" : "IS", *score));
  if (fid) parts.push_back(fmt::format("FD {:.{}f}", *fid, *fid < 10 ? 2 : 1));
  if (modes) parts.push_back(fmt::format("modes {}/{}", *modes, modes_total.value_or(0)));
  if (high_quality) parts.push_back(fmt::format("quality {:.0f}%", 100 * *high_quality));
  return fmt::format("{}", fmt::join(parts, "  "));
}

}  // namespace agon
