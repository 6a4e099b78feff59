// What came out of a sweep: means and deviations, as a table, CSV, JSON and a page with the plot.
#include <algorithm>
#include <cmath>
#include <map>

#include "engine/toml.h"
#include "kernels/error.h"
#include "tools/agon/chart.h"
#include "tools/agon/costs.h"
#include "tools/agon/format.h"
#include "tools/agon/report_page.h"
#include "tools/agon/sweep.h"

namespace agon::cli {
namespace {

using nlohmann::json;

/// Scores, in this order where a run has them; then what it cost (kCosts).
constexpr const char* kValues[] = {"ms",        "is",     "fid",     "tvd",      "fid_features", "kid",
                                   "precision", "recall", "density", "coverage", "modes",        "high_quality"};

std::map<std::string, double> values_of(const json& summary) {
  std::map<std::string, double> values;
  const json scores = summary.value("scores", json::object());
  for (const char* name : kValues)
    if (scores.contains(name) && scores[name].is_number()) values[name] = scores[name].get<double>();
  for (const char* name : kCosts)
    if (const auto cost = cost_of(summary, name)) values[name] = *cost;
  return values;
}

std::string shown(const json& value) { return value.is_string() ? value.get<std::string>() : to_toml(value); }

/// The point without the plot's x: which line it is on.
std::string line_of(const SweepPoint& point, const std::string& x) {
  std::string name;
  for (const auto& [key, value] : point.at)
    if (key != x) name += (name.empty() ? "" : ", ") + (key == "base" ? "" : key + " = ") + shown(value);
  return name;
}

const json* x_of(const SweepPoint& point, const std::string& x) {
  for (const auto& [key, value] : point.at)
    if (key == x) return &value;
  return nullptr;
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

/// Names of all values that any point has, in order.
std::vector<std::string> value_names(const std::vector<SweepPoint>& points) {
  std::vector<std::string> names;
  for (const SweepPoint& point : points)
    for (const auto& value : point.values)
      if (std::find(names.begin(), names.end(), value.name) == names.end()) names.push_back(value.name);
  return names;
}

}  // namespace

const SweepPoint::Value* SweepPoint::find(const std::string& name) const {
  const auto found = std::find_if(values.begin(), values.end(), [&](const Value& v) { return v.name == name; });
  return found == values.end() ? nullptr : &*found;
}

std::vector<SweepPoint> sweep_points(const Sweep& sweep, const std::vector<json>& summaries) {
  std::vector<SweepPoint> points;
  std::vector<std::map<std::string, std::vector<double>>> values;
  for (size_t i = 0; i < sweep.runs.size(); ++i) {
    if (points.empty() || points.back().at != sweep.runs[i].at) {
      points.push_back({.at = sweep.runs[i].at, .values = {}});
      values.emplace_back();
    }
    ++(summaries[i].is_null() ? points.back().failed : points.back().runs);
    if (summaries[i].is_null()) continue;
    for (const auto& [name, value] : values_of(summaries[i])) values.back()[name].push_back(value);
  }
  for (size_t p = 0; p < points.size(); ++p) {
    std::vector<std::string> names(std::begin(kValues), std::end(kValues));
    names.insert(names.end(), std::begin(kCosts), std::end(kCosts));
    for (const std::string& name : names) {
      const std::vector<double>& all = values[p][name];
      if (all.empty()) continue;
      double sum = 0, squares = 0;
      for (double v : all) sum += v;
      const double mean = sum / static_cast<double>(all.size());
      for (double v : all) squares += (v - mean) * (v - mean);
      points[p].values.push_back(
          {name, mean, all.size() > 1 ? std::sqrt(squares / static_cast<double>(all.size() - 1)) : 0});
    }
  }
  return points;
}

std::string sweep_table(const std::vector<SweepPoint>& points) {
  std::vector<std::vector<std::string>> rows(1);
  for (const auto& [key, value] : points.front().at) rows[0].push_back(key);
  rows[0].push_back("runs");
  const bool failures = std::any_of(points.begin(), points.end(), [](const auto& point) { return point.failed > 0; });
  if (failures) rows[0].push_back("failed");
  const std::vector<std::string> names = value_names(points);
  rows[0].insert(rows[0].end(), names.begin(), names.end());
  for (const SweepPoint& point : points) {
    rows.emplace_back();
    for (const auto& [key, value] : point.at) rows.back().push_back(shown(value));
    rows.back().push_back(std::to_string(point.runs));
    if (failures) rows.back().push_back(std::to_string(point.failed));
    for (const std::string& name : names) {
      const SweepPoint::Value* value = point.find(name);
      const auto cell = [&](double number) { return shown_cost(name, number); };
      rows.back().push_back(!value ? "-" : cell(value->mean) + (point.runs > 1 ? " ± " + cell(value->deviation) : ""));
    }
  }
  return aligned_table(rows);
}

std::string sweep_csv(const std::vector<SweepPoint>& points) {
  const std::vector<std::string> names = value_names(points);
  std::string csv;
  for (const auto& [key, value] : points.front().at) csv += csv_field(key) + ",";
  csv += "runs,failed";
  for (const std::string& name : names) csv += fmt::format(",{0},{0}_deviation", name);
  for (const SweepPoint& point : points) {
    csv += "\n";
    for (const auto& [key, value] : point.at) csv += csv_field(shown(value)) + ",";
    csv += fmt::format("{},{}", point.runs, point.failed);
    for (const std::string& name : names) {
      const SweepPoint::Value* value = point.find(name);
      csv += value ? fmt::format(",{},{}", value->mean, value->deviation) : ",,";
    }
  }
  return csv + "\n";
}

json sweep_json(const std::vector<SweepPoint>& points) {
  json list = json::array();
  for (const SweepPoint& point : points) {
    json entry = {{"runs", point.runs}, {"failed", point.failed}, {"at", json::object()}};
    for (const auto& [key, value] : point.at) entry["at"][key] = value;
    for (const auto& value : point.values) entry[value.name] = {{"mean", value.mean}, {"deviation", value.deviation}};
    list.push_back(std::move(entry));
  }
  return list;
}

std::vector<std::string> failure_points(const Sweep& sweep, const std::vector<SweepPoint>& points) {
  std::vector<std::string> sentences, lines;
  if (sweep.x.empty() || sweep.fails_below == 0) return sentences;
  for (const SweepPoint& point : points)
    if (std::find(lines.begin(), lines.end(), line_of(point, sweep.x)) == lines.end())
      lines.push_back(line_of(point, sweep.x));
  for (const std::string& line : lines) {
    const SweepPoint *begin = nullptr, *failed = nullptr, *last = nullptr;
    for (const SweepPoint& point : points) {
      const SweepPoint::Value* value = point.find(sweep.score);
      if (line_of(point, sweep.x) != line || (!value && point.failed == 0)) continue;
      if (!begin) begin = &point;
      last = &point;
      const SweepPoint::Value* first = begin->find(sweep.score);
      if (first && !failed && (!value || value->mean < sweep.fails_below * first->mean)) failed = &point;
    }
    const std::string who = line.empty() ? "" : line + ": ";
    const double percent = 100 * sweep.fails_below;
    const auto x = [&](const SweepPoint* point) { return shown(*x_of(*point, sweep.x)); };
    if (!begin)
      sentences.push_back(who + "no " + sweep.score);
    else if (!begin->find(sweep.score))
      sentences.push_back(fmt::format("{}no first {} to compare with: the runs at {} = {} failed", who, sweep.score,
                                      sweep.x, x(begin)));
    else if (failed && !failed->find(sweep.score))
      sentences.push_back(
          fmt::format("{}no {} at {} = {}: the runs there failed", who, sweep.score, sweep.x, x(failed)));
    else if (failed)
      sentences.push_back(fmt::format("{}{} falls below {:g}% of its first value at {} = {}", who, sweep.score, percent,
                                      sweep.x, x(failed)));
    else
      sentences.push_back(fmt::format("{}{} stays above {:g}% of its first value up to {} = {}", who, sweep.score,
                                      percent, sweep.x, x(last)));
  }
  return sentences;
}

std::string sweep_page(const Sweep& sweep, const std::vector<SweepPoint>& points) {
  std::string body;
  if (!sweep.about.empty()) body += "<p>" + escaped(sweep.about) + "</p>\n";
  if (!sweep.x.empty()) {
    std::string charts;
    for (const std::string& name : value_names(points)) {
      std::vector<Series> series;
      for (const SweepPoint& point : points) {
        const std::string line = line_of(point, sweep.x);
        const auto known = std::find_if(series.begin(), series.end(), [&](const Series& s) { return s.name == line; });
        Series& at =
            known != series.end() ? *known : series.emplace_back(Series{line, {}, static_cast<int>(series.size())});
        if (const SweepPoint::Value* value = point.find(name); value && x_of(point, sweep.x)->is_number())
          at.points.emplace_back(x_of(point, sweep.x)->get<double>(), value->mean);
      }
      if (name == sweep.score && sweep.fails_below > 0 && !series.empty() && !series[0].points.empty() &&
          points.front().find(name)) {
        const auto& line = series[0].points;
        const double limit = sweep.fails_below * line.front().second;
        series.push_back({"failure", {{line.front().first, limit}, {line.back().first, limit}}, 5, /*dashed=*/true});
      }
      charts += line_chart(series, {.title = name, .note = "mean over seeds", .x_title = sweep.x});
    }
    body += "<div class=charts>\n" + charts + "</div>\n";
  }
  for (const std::string& sentence : failure_points(sweep, points)) body += "<p>" + escaped(sentence) + ".</p>\n";
  return html_page(sweep.name, body + "<pre>" + escaped(sweep_table(points)) + "</pre>\n");
}

}  // namespace agon::cli
