// The HTML of `agon report`.
#include "tools/agon/report_page.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "algorithms/coevolution.h"
#include "engine/files.h"
#include "engine/toml.h"
#include "tools/agon/chart.h"
#include "tools/agon/costs.h"
#include "tools/agon/format.h"

namespace agon::cli {
namespace {

using nlohmann::json;

const char* const kStyle = R"css(
:root { --ink: #1d2430; --soft: #5d6878; --line: #dfe4ea; --ground: #ffffff; --card: #f7f9fb;
  --c0: #2563c9; --c1: #d9541e; --c2: #12876f; --c3: #8a3fc0; --c4: #b8860b; --c5: #c2255c; --c6: #4a6b8a; --c7: #5f8f1f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaf0; --soft: #98a4b3; --line: #303947; --ground: #14181f; --card: #1c222b;
    --c0: #6ea8ff; --c1: #ff9466; --c2: #4fd1b0; --c3: #c792f2; --c4: #e3bd55; --c5: #f584a8; --c6: #9bb8d3; --c7: #a6d163; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 1240px; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; letter-spacing: -.01em; }
h2 { font-size: 1.15rem; margin: 2.6rem 0 .9rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .5rem; }
p, .soft { color: var(--soft); }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; margin: .6rem 0 0; }
.legend span::before { content: ""; display: inline-block; width: 1.5em; height: 3px; border-radius: 2px; margin: 0 .5em .25em 0;
  background: currentColor; }
.legend b { font-weight: 500; color: var(--ink); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 1rem; }
figure { margin: 0; padding: .9rem 1rem .5rem; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
figcaption { font-weight: 600; margin-bottom: .3rem; }
figcaption span { font-weight: 400; color: var(--soft); margin-left: .7em; font-size: .88em; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 12px; }
svg .x { text-anchor: middle; } svg .y { text-anchor: end; }
svg .grid { stroke: var(--line); stroke-width: 1; fill: none; }
svg g path { fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linejoin: round; }
svg g.dashed path { stroke-dasharray: 5 4; }
svg circle { fill: currentColor; }
.c0 { color: var(--c0); } .c1 { color: var(--c1); } .c2 { color: var(--c2); } .c3 { color: var(--c3); }
.c4 { color: var(--c4); } .c5 { color: var(--c5); } .c6 { color: var(--c6); } .c7 { color: var(--c7); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; min-width: 30rem; }
th, td { padding: .38rem 1.1rem .38rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 500; white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
table.cells td { padding: 1.1rem; text-align: center; border: 1px solid var(--line); }
.cells small { display: block; color: var(--soft); } .cells { min-width: 0; margin: .6rem 0; }
.pictures { display: flex; flex-wrap: wrap; align-items: flex-start; gap: 1rem; }
.pictures figure { padding: .8rem; }
.pictures img { display: block; border-radius: 4px; max-width: 100%; }
.pictures .last img { width: 440px; } .pictures .step img { width: 150px; }
.strip { display: flex; flex-wrap: wrap; gap: .8rem; flex: 1 1 340px; }
.good { color: var(--c2); } .bad { color: var(--c5); }
code, pre { font: 13px/1.5 ui-monospace, Consolas, monospace; }
details { margin: .5rem 0; } summary { cursor: pointer; color: var(--soft); }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 1rem; overflow-x: auto; }
)css";

std::string base64(const std::string& bytes) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j)
      group = group << 8 | (i + j < bytes.size() ? static_cast<uint8_t>(bytes[i + j]) : 0u);
    for (size_t j = 0; j < 4; ++j) text += i + j <= bytes.size() ? digits[group >> (18 - 6 * j) & 63] : '=';
  }
  return text;
}

struct ScoreKind {
  const char *key, *title, *note;
};
constexpr ScoreKind kScores[] = {
    {"ms", "MNIST score", "higher is better"},
    {"is", "Inception score on the scorer", "higher is better"},
    {"fid", "Fréchet distance", "lower is better"},
    {"tvd", "Class total variation", "lower is better"},
    {"modes", "Modes covered", "higher is better"},
    {"high_quality", "Share of points near a mode", "higher is better"},
    {"fid_features", "Fréchet distance on features", "lower is better"},
    {"kid", "Kernel distance", "lower is better"},
    {"precision", "Precision", "higher is better"},
    {"recall", "Recall", "higher is better"},
};

/// The values of `key` in the lines of `kind` over those of another; of a repeated iteration the last counts.
std::vector<std::pair<double, double>> curve(const RunRecord& run, const std::string& kind, const std::string& key,
                                             const std::string& over = "iteration") {
  std::map<int64_t, std::pair<double, double>> points;
  for (const json& line : run.metrics)
    if (line.value("kind", "") == kind && line.contains(key) && line[key].is_number() && line.contains(over) &&
        line[over].is_number())
      points[line["iteration"].get<int64_t>()] = {line[over].get<double>(), line[key].get<double>()};
  std::vector<std::pair<double, double>> list;
  for (const auto& [iteration, point] : points) list.push_back(point);
  return list;
}

/// What scores are drawn over: a key of metrics.jsonl.
struct Axis {
  const char *key, *title;
  bool bytes = false;
};
constexpr Axis kIterations{"iteration", "iterations"}, kBytes{"bytes", "bytes sent by all participants", true},
    kSeconds{"seconds_simulated", "seconds on the simulated machines and links"};

std::string score_charts(const std::vector<ReportedRun>& runs, const Axis& over) {
  std::string html;
  for (const ScoreKind& score : kScores) {
    std::vector<Series> series;
    bool any_x = false;
    for (size_t i = 0; i < runs.size(); ++i) {
      series.push_back({runs[i].label, curve(runs[i].record, "evaluation", score.key, over.key), static_cast<int>(i)});
      for (const auto& point : series.back().points) any_x |= point.first > 0;
    }
    if (!any_x) continue;
    html += line_chart(series, {.title = score.title, .note = score.note, .x_title = over.title, .bytes = over.bytes});
  }
  return html;
}

std::string loss_charts(const std::vector<ReportedRun>& runs) {
  std::string html;
  for (const auto& [key, title] :
       {std::pair{"loss_discriminator", "Discriminator loss"}, {"loss_generator", "Generator loss"}}) {
    std::vector<Series> series;
    for (size_t i = 0; i < runs.size(); ++i) {
      auto points = curve(runs[i].record, "log", key);
      // Hundreds of points are enough for a line; more only make the page heavy.
      const size_t stride = points.size() / 600 + 1;
      std::vector<std::pair<double, double>> means;
      for (size_t begin = 0; begin < points.size(); begin += stride) {
        double x = 0, y = 0;
        const size_t end = std::min(points.size(), begin + stride);
        for (size_t j = begin; j < end; ++j)
          x = points[j].first, y += points[j].second / static_cast<double>(end - begin);
        means.emplace_back(x, y);
      }
      series.push_back({runs[i].label, std::move(means), static_cast<int>(i)});
    }
    html += line_chart(series, {.title = title, .note = "mean between log steps", .x_title = "iterations"});
  }
  return html;
}

std::string cell(const json& object, const std::string& key) {
  const json value = object.value(key, json());
  if (value.is_number_integer()) return grouped(value.get<int64_t>());
  return value.is_number() ? significant(value.get<double>()) : "–";
}

std::string result_table(const std::vector<ReportedRun>& runs) {
  std::vector<ScoreKind> shown;
  const auto last_scores = [](const ReportedRun& run) {
    json scores = json::object();
    for (const json& line : run.record.metrics)
      if (line.value("kind", "") == "evaluation") scores = line;
    return scores;
  };
  for (const ScoreKind& score : kScores)
    if (std::any_of(runs.begin(), runs.end(), [&](const auto& run) { return last_scores(run).contains(score.key); }))
      shown.push_back(score);
  std::string html = "<div class=scroll><table><tr><th>run<th>iterations";
  for (const ScoreKind& score : shown) html += fmt::format("<th>{}", score.title);
  html += "<th>it/s<th>training<th>scoring<th>bytes sent<th>generator\n";
  for (const ReportedRun& run : runs) {
    const json summary = run.record.summary ? *run.record.summary : json::object();
    const json scores = last_scores(run);
    const int64_t last = run.record.metrics.empty() ? 0 : run.record.metrics.back().value("iteration", int64_t{0});
    html += fmt::format(
        "<tr><td>{}<td>{}{}", escaped(run.label), grouped(summary.value("iterations", last)),
        run.record.summary ? (summary.value("interrupted", false) ? " (interrupted)" : "") : " (unfinished)");
    for (const ScoreKind& score : shown) html += "<td>" + cell(scores, score.key);
    const double bytes = total_bytes(summary);
    html += fmt::format("<td>{}<td>{}<td>{}<td>{}<td><code>{}</code>\n", cell(summary, "iterations_per_second"),
                        clock_time(summary.value("seconds_training", -1.0)),
                        clock_time(summary.value("seconds_evaluating", -1.0)), mebibytes(bytes),
                        escaped(summary.value("weights_hash", "–")));
  }
  html += "</table></div>\n";
  for (const ReportedRun& run : runs) {
    const json scores = last_scores(run);
    if (!scores.contains("samples")) continue;
    html += fmt::format("<p>{}: {} samples", escaped(run.label), grouped(scores.value("samples", int64_t{0})));
    if (scores.contains("scorer"))
      html += fmt::format(" against {} pictures of the {} split, seen by the scorer {} that learnt from {}",
                          grouped(scores.value("real_samples", int64_t{0})), escaped(scores.value("split", "?")),
                          escaped(scores.value("scorer_hash", "")), escaped(scores.value("scorer", "?")));
    html += ".</p>\n";
  }
  return html;
}

std::string picture(const std::string& path, const char* kind) {
  const std::string stem = std::filesystem::path(path).stem().string();
  const size_t digit = std::min(stem.find_first_not_of('0'), stem.size() - 1);
  return fmt::format(
      "<figure class={}><figcaption><span>iteration {}</span></figcaption><img alt=\"samples\" "
      "src=\"data:image/png;base64,{}\"></figure>\n",
      kind, escaped(stem.substr(digit)), base64(read_text(path)));
}

std::string pictures(const ReportedRun& run) {
  const auto& samples = run.record.samples;
  if (samples.empty()) return "";
  std::string html = fmt::format("<h3>{}</h3><div class=pictures>{}<div class=strip>", escaped(run.label),
                                 picture(samples.back(), "last"));
  constexpr size_t kSteps = 6;
  std::set<size_t> steps;
  for (size_t i = 0; i < kSteps; ++i) steps.insert(i * (samples.size() - 1) / kSteps);
  for (const size_t step : steps)
    if (step + 1 < samples.size()) html += picture(samples[step], "step");
  return html + "</div></div>\n";
}

std::string settings_table(const std::vector<ReportedRun>& runs) {
  std::vector<json> settings;
  for (const ReportedRun& run : runs) settings.push_back(run.settings);
  const auto rows = differing_settings(settings);
  if (rows.empty()) return "<p>None.</p>\n";
  std::string html = "<div class=scroll><table><tr><th>key";
  for (const ReportedRun& run : runs) html += "<th>" + escaped(run.label);
  for (const auto& [key, values] : rows) {
    html += "\n<tr><td><code>" + escaped(key) + "</code>";
    for (const std::string& value : values) html += "<td><code>" + escaped(value) + "</code>";
  }
  return html + "</table></div>\n";
}

std::string traffic(const ReportedRun& run) {
  const json ledger = run.record.summary ? run.record.summary->value("traffic", json::object()) : json::object();
  const json planned = run.plan.is_object() ? run.plan["traffic"]["total"] : json::object();
  std::set<std::string> kinds;
  for (const json* side : {&ledger, &planned})
    for (const auto& [kind, entry] : side->items()) kinds.insert(kind);
  std::string html = fmt::format("<h3>{}</h3>\n", escaped(run.label));
  if (!run.plan_note.empty()) html += "<p>No plan: " + escaped(run.plan_note) + "</p>\n";
  if (!run.record.summary) return html + "<p>The run has not ended yet; its ledger comes with summary.json.</p>\n";
  if (kinds.empty()) return html + "<p>Nothing was sent.</p>\n";
  html += "<div class=scroll><table><tr><th>messages<th>count<th>bytes<th><th>planned bytes<th>\n";
  for (const std::string& kind : kinds) {
    const json made = ledger.value(kind, json::object()), plan = planned.value(kind, json::object());
    const auto bytes = made.value("bytes", int64_t{0}), expected = plan.value("bytes", int64_t{0});
    html += fmt::format("<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}\n", kind, grouped(made.value("messages", int64_t{0})),
                        grouped(bytes), mebibytes(static_cast<double>(bytes)),
                        run.plan.is_object() ? grouped(expected) : "–",
                        !run.plan.is_object() ? ""
                        : bytes == expected   ? "<span class=good>equal</span>"
                                              : "<span class=bad>differs</span>");
  }
  return html + "</table></div>\n";
}

std::string events(const ReportedRun& run) {
  std::string html;
  for (const json& line : run.record.metrics)
    if (line.value("kind", "") == "event")
      html += fmt::format("<tr><td>{}<td>{}<td>{}\n", grouped(line.value("iteration", int64_t{0})),
                          line.value("worker", 0), escaped(line.value("event", "")));
  if (html.empty()) return "";
  return fmt::format("<h3>{}</h3><table><tr><th>iteration<th>worker<th>what\n{}</table>\n", escaped(run.label), html);
}

/// Lipizzaner's grid as a heat map: how the mixtures of all cells were ranked last, the better the darker.
std::string grid(const ReportedRun& run) {
  json ranking;
  for (const json& line : run.record.metrics) ranking = line.value("ranking", std::move(ranking));
  const json algorithm = run.settings.value("algorithm", json::object());
  if (!ranking.is_array() || algorithm.value("name", "") != "lipizzaner") return "";
  const int64_t cells = run.settings["world"].value("workers", int64_t{0});
  const int64_t rows = Torus(cells, algorithm.value("rows", int64_t{0})).rows();
  std::vector<std::string> entries(static_cast<size_t>(cells), "<td>–");  // a cell that was lost
  for (size_t rank = 0; rank < ranking.size(); ++rank) {
    const json& cell = ranking[rank];
    const auto number = cell.at("cell").get<int64_t>();
    if (number < 0 || number >= cells) continue;  // of another grid
    const std::string value =
        cell.contains("fid") ? significant(cell["fid"].get<double>()) : fmt::format("{} modes", cell.value("modes", 0));
    entries[static_cast<size_t>(number)] =
        fmt::format("<td style=\"background: color-mix(in srgb, var(--c2) {}%, transparent)\">{}<small>{}</small>",
                    75 * (ranking.size() - rank) / ranking.size(), value, number);
  }
  std::string html;
  for (int64_t cell = 0; cell < cells; ++cell)
    html += (cell % (cells / rows) == 0 ? "\n<tr>" : "") + entries[static_cast<size_t>(cell)];
  return fmt::format(
      "<figure><figcaption>{}<span>{}, of each cell's mixture; the better the darker</span></figcaption>"
      "<table class=cells>{}</table></figure>\n",
      escaped(run.label), ranking.front().contains("fid") ? "Frechet distance" : "modes covered", html);
}

std::string section(const std::string& title, const std::string& body) {
  return body.empty() ? "" : fmt::format("<h2>{}</h2>\n{}", title, body);
}

std::string charts(const std::string& body) { return body.empty() ? "" : "<div class=charts>\n" + body + "</div>\n"; }

}  // namespace

std::vector<std::pair<std::string, std::vector<std::string>>> differing_settings(const std::vector<json>& settings) {
  std::map<std::string, std::vector<std::string>> rows;
  for (size_t i = 0; i < settings.size(); ++i)
    for (const auto& [section, keys] : settings[i].items())
      for (const auto& [name, value] : keys.items()) {
        auto& row = rows[section + "." + name];
        row.resize(settings.size(), "–");
        row[i] = to_toml(value);
      }
  std::vector<std::pair<std::string, std::vector<std::string>>> differing;
  for (auto& [key, values] : rows)
    if (std::adjacent_find(values.begin(), values.end(), std::not_equal_to<>()) != values.end())
      differing.emplace_back(key, std::move(values));
  return differing;
}

std::string html_page(const std::string& title, const std::string& body) {
  return fmt::format(
      "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width\">"
      "<meta name=color-scheme content=\"light dark\"><title>{} – "
      "agon</title><style>{}</style></head><body>\n<h1>{}</h1>\n{}</body></html>\n",
      escaped(title), kStyle, escaped(title), body);
}

std::string report_page(const std::vector<ReportedRun>& runs) {
  std::string legend, all_pictures, all_grids, all_traffic, all_events, configs;
  for (size_t i = 0; i < runs.size(); ++i) {
    legend += fmt::format("<span class=c{}><b>{}</b></span>", i % 8, escaped(runs[i].label));
    all_pictures += pictures(runs[i]);
    all_grids += grid(runs[i]);
    all_traffic += traffic(runs[i]);
    all_events += events(runs[i]);
    configs += fmt::format("<details><summary>{}</summary><pre>{}</pre></details>\n", escaped(runs[i].label),
                           escaped(runs[i].record.config));
  }
  const std::string title = runs.size() == 1 ? runs.front().label : fmt::format("{} runs compared", runs.size());
  std::string page;
  page += "<div class=legend>" + legend + "</div>\n";
  page += section("Results", result_table(runs));
  page += section("Samples", all_pictures);
  page += section("Scores over iterations", charts(score_charts(runs, kIterations)));
  page += section("Scores over bytes sent", charts(score_charts(runs, kBytes)));
  page += section("Scores over simulated seconds", charts(score_charts(runs, kSeconds)));
  page += section("Grids of cells", charts(all_grids));
  page += section("Losses", charts(loss_charts(runs)));
  page += section("Traffic: ledger and plan", all_traffic);
  page += section("Workers lost and joined", all_events);
  if (runs.size() > 1) page += section("Settings that differ", settings_table(runs));
  page += section("All settings", configs);
  return html_page(title, page);
}

}  // namespace agon::cli
