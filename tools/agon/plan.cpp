// agon plan: what a run needs and sends, before anything runs.
#include "algorithms/plan.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "algorithms/trainer.h"
#include "engine/text.h"
#include "tools/agon/commands.h"
#include "tools/agon/format.h"
#include "tools/agon/sources.h"

namespace agon::cli {
namespace {

using nlohmann::json;

int64_t integer(const json& object, const std::string& key) { return object.value(key, int64_t{0}); }

/// One side's column of the traffic table: what it received and sent of one kind.
std::string sides(const json& traffic, const std::string& who, const std::string& when, const std::string& kind) {
  const json entry = traffic.value(json::json_pointer("/" + who + "/" + when + "/" + kind), json::object());
  if (entry.empty()) return "-";
  return fmt::format("{} in, {} out", mebibytes(static_cast<double>(integer(entry, "received_bytes"))),
                     mebibytes(static_cast<double>(integer(entry, "sent_bytes"))));
}

void print_traffic(const json& traffic, const std::string& title, const std::string& when) {
  std::set<std::string> kinds;
  for (const std::string who : {"server", "worker"}) {
    const json entries = traffic.value(json::json_pointer("/" + who + "/" + when), json::object());
    for (const auto& [kind, entry] : entries.items()) kinds.insert(kind);
  }
  if (kinds.empty()) return;
  fmt::print("\n{:<28}{:<36}{}\n", title, "at a worker", "at the server");
  for (const std::string& kind : kinds)
    fmt::print("  {:<26}{:<36}{}\n", kind, sides(traffic, "worker", when, kind), sides(traffic, "server", when, kind));
}

void print_plan(const json& plan) {
  const json &parameters = plan["parameters"], &flops = plan["flops"], &memory = plan["memory"],
             &traffic = plan["traffic"];
  const int64_t iterations = integer(plan, "iterations");
  const int64_t workers = integer(plan, "workers");
  fmt::print("{}, {} worker{}, b = {}, {} iterations\n", plan.value("algorithm", ""), workers, workers == 1 ? "" : "s",
             integer(plan, "batch"), grouped(iterations));

  fmt::print("\n{:<28}{:>14}{:>14}{:>22}\n", "network", "parameters", "float32", "FLOP/sample forward");
  for (const std::string name : {"generator", "embedding", "discriminator"}) {
    const int64_t count = integer(parameters, name);
    if (count == 0) continue;
    fmt::print("  {:<26}{:>14}{:>14}{:>22}\n", name == "embedding" ? "class embedding of it" : name, grouped(count),
               mebibytes(4.0 * static_cast<double>(count)),
               flops.contains(name) ? count_of_flops(static_cast<double>(integer(flops, name))) : "");
  }
  if (const int64_t each = integer(flops, "per_iteration"))
    fmt::print("\ncomputation                 {} an iteration, {} in all\n", count_of_flops(static_cast<double>(each)),
               count_of_flops(static_cast<double>(each) * static_cast<double>(iterations)));

  fmt::print("\nmemory\n");
  for (const std::string name : {"weights", "gradients", "moments", "activations", "data", "total"})
    if (memory.contains(name))
      fmt::print("  {:<26}{:>14}\n", name, mebibytes(static_cast<double>(integer(memory, name))));

  const auto same = [&](const std::string& who) {
    return traffic[who].value("per_iteration", json()) == traffic[who].value("per_exchange", json());
  };
  print_traffic(traffic, "traffic, an iteration", "per_iteration");
  if (!same("worker") || !same("server")) print_traffic(traffic, "in one with an exchange", "per_exchange");
  print_traffic(traffic, "in the whole run", "total");
  fmt::print("\n{:<28}{:>14}{:>17}{:>22}\n", "traffic in total", "", "messages", "bytes");
  for (const auto& [kind, total] : traffic["total"].items())
    fmt::print("  {:<26}{:>14}{:>17}{:>22}\n", kind, mebibytes(static_cast<double>(integer(total, "bytes"))),
               grouped(integer(total, "messages")), grouped(integer(total, "bytes")));
  if (traffic["total"].empty()) fmt::print("  none\n");
  if (plan.contains("estimated")) fmt::print("\nTotals are estimates: of so long a run only parts are gone through.\n");
}

}  // namespace

void add_plan(CLI::App& program) {
  struct Arguments {
    std::string source, data;
    std::vector<std::string> assignments;
    bool json = false;
  };
  const auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      program.add_subcommand("plan", "Parameters, FLOPs, memory and traffic of a run, before anything runs");
  command->add_option("PRESET|FILE.toml", arguments->source, "What would be trained, or a run folder")->required();
  command->add_option("--set", arguments->assignments, "Sets one key, e.g. --set algorithm.batch=100; repeatable")
      ->allow_extra_args(false)
      ->type_name("KEY=VALUE");
  command->add_option("--data", arguments->data, "The data; the papers' sets are known by name")
      ->type_name("PATH|NAME");
  command->add_flag("--json", arguments->json, "As JSON on one line");
  command->footer(
      "Examples:\n"
      "  agon plan md-gan-cifar10-cnn                      Tables III and IV of the MD-GAN paper\n"
      "  agon plan md-gan-mnist-mlp --set world.workers=50 --json\n"
      "1 MiB = 1,048,576 bytes, the paper's MB.");
  command->callback([arguments] {
    std::vector<std::string> overrides = arguments->assignments;
    if (!arguments->data.empty()) overrides.push_back("data.path=" + arguments->data);
    const SettingsSource source = settings_source(arguments->source);
    const Settings settings = resolve_settings(source.text, source.origin, overrides);
    const nlohmann::json result = plan(settings, data_shape(settings), /*estimate=*/true);
    if (arguments->json)
      fmt::print("{}\n", json_text(result));
    else
      print_plan(result);
  });
}

}  // namespace agon::cli
