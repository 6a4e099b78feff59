// agon report: a page about one run, or several compared.
#include <CLI/CLI.hpp>
#include <memory>
#include <set>

#include "algorithms/plan.h"
#include "engine/files.h"
#include "kernels/error.h"
#include "tools/agon/commands.h"
#include "tools/agon/record.h"
#include "tools/agon/report_page.h"
#include "tools/agon/sources.h"

namespace agon::cli {
namespace {

ReportedRun reported(const std::string& path) {
  ReportedRun run{.record = read_record(path)};
  run.label = run.record.name;
  std::vector<std::string> as_far;
  if (run.record.summary)
    as_far.push_back(
        fmt::format("run.iterations={}", std::max<int64_t>(1, run.record.summary->value("iterations", int64_t{1}))));
  run.settings = settings_of_run(path).to_json();
  try {
    // The crash schedule "auto" depends on I, so only a run that was cut short is planned for fewer iterations.
    const bool whole = !run.record.summary || !run.record.summary->value("interrupted", false);
    const Settings settings = settings_of_run(path, whole ? std::vector<std::string>{} : as_far);
    run.plan = plan(settings, data_shape(settings));
  } catch (const Error& error) {
    run.plan_note = error.what();
  }
  return run;
}

}  // namespace

void add_report(CLI::App& program) {
  struct Arguments {
    std::vector<std::string> runs;
    std::string out;
  };
  const auto arguments = std::make_shared<Arguments>();
  CLI::App* command = program.add_subcommand("report", "A web page with curves, pictures and traffic of runs");
  command->add_option("RUN", arguments->runs, "Run folders; several are compared")->required();
  command->add_option("--out", arguments->out, "The page to write, self-contained")->type_name("FILE.html")->required();
  command->footer("Example:\n  agon report runs/md-gan-mnist-mlp-1 runs/fl-gan-mnist-mlp-1 --out compared.html");
  command->callback([arguments] {
    if (!arguments->out.ends_with(".html") && !arguments->out.ends_with(".htm"))
      fail(Fault::kUsage, "--out is {}, expected a name that ends in .html", arguments->out);
    std::vector<ReportedRun> runs;
    std::set<std::string> labels;
    for (const std::string& path : arguments->runs) {
      runs.push_back(reported(path));
      if (!labels.insert(runs.back().label).second) labels.insert(runs.back().label = path);
    }
    write_atomically(arguments->out, report_page(runs));
    fmt::print("written {}\n", arguments->out);
  });
}

}  // namespace agon::cli
