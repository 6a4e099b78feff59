// agon data: conversion to the packed format, and looks at data sets.
#include <CLI/CLI.hpp>
#include <memory>

#include "datasets/commands.h"
#include "engine/text.h"
#include "kernels/error.h"
#include "tools/agon/commands.h"
#include "tools/agon/numbers.h"
#include "tools/agon/sources.h"

namespace agon::cli {
namespace {

DataSource open_named(const std::string& name) {
  Settings settings;
  settings.declare({{"data.path", "\"\"", "the data"}, {"run.seed", "1", "seed"}});
  settings.set_text("data.path", name);
  return open_data(settings);
}

void print_files(const std::vector<std::string>& files) {
  for (const std::string& file : files) fmt::print("written {}\n", file);
}

const Dataset& chosen_split(const DataSource& source, const std::string& name) {
  if (name == "train") return source.train;
  if (name != "test") fail(Fault::kUsage, "--split is {}, expected train or test", name);
  if (!source.test) fail(Fault::kData, "these data have no test split");
  return *source.test;
}

void add_convert(CLI::App& data) {
  struct Arguments {
    std::string kind, source, destination;
    ReadOptions options;
  };
  const auto arguments = std::make_shared<Arguments>();
  std::string kinds;
  for (const Reader& reader : readers()) kinds += fmt::format("  {:<12}{}\n", reader.kind, reader.expects);
  CLI::App* command = data.add_subcommand("convert", "Packs a data set into one file that is memory-mapped");
  command->add_option("KIND", arguments->kind, "What the source is, see below")->required();
  command->add_option("SRC", arguments->source, "The source, a file or folder")->required();
  command
      ->add_option("DST", arguments->destination,
                   "The file to write, DST.safetensors; a test split goes to DST-test.safetensors")
      ->required();
  add_number(*command, "--size", arguments->options.size, 1,
             "Side that the middle squares of the pictures are scaled to",
             /*most=*/4096)
      ->type_name("PIXELS");
  command->add_option("--attributes", arguments->options.attributes, "celeba: list_attr_celeba.txt")->type_name("FILE");
  command->add_option("--attribute", arguments->options.attribute, "celeba: the attribute that becomes the label")
      ->type_name("NAME");
  command->footer("Kinds:\n" + kinds +
                  "Examples:\n"
                  "  agon data convert mnist mnist/ mnist.safetensors\n"
                  "  agon data convert celeba img_align_celeba/ celeba.safetensors --size 64");
  command->callback([arguments] {
    print_files(convert(arguments->kind, arguments->source, arguments->destination, arguments->options));
  });
}

void add_look(CLI::App& data) {
  const auto source = std::make_shared<std::string>();
  CLI::App* info = data.add_subcommand("info", "Size, classes and checksum of a data set");
  info->add_option("DATA", *source, "A file, a folder, or strokes, ring, grid")->required();
  info->callback([source] { fmt::print("{}", describe(open_named(*source))); });

  struct Arguments {
    std::string source, out, split = "train";
    PreviewOptions options;
  };
  const auto arguments = std::make_shared<Arguments>();
  CLI::App* look = data.add_subcommand("preview", "A PNG with a row of pictures for each class");
  look->add_option("DATA", arguments->source, "A file, a folder, or strokes, ring, grid")->required();
  look->add_option("OUT,--out", arguments->out, "The PNG to write")->required();
  look->add_option("--split", arguments->split, "train or test")->type_name("SPLIT");
  add_number(*look, "--per-class", arguments->options.per_class, 1, "Pictures of each class")->type_name("N");
  look->callback([arguments] {
    preview(chosen_split(open_named(arguments->source), arguments->split), arguments->out, arguments->options);
  });
}

void add_synth(CLI::App& data) {
  struct Arguments {
    std::string name, destination;
    SyntheticOptions options{.seed = 1};
  };
  const auto arguments = std::make_shared<Arguments>();
  CLI::App* command = data.add_subcommand("synth", "Writes a built-in data set");
  command->add_option("NAME", arguments->name, listed(synthetic_names(), "or"))->required();
  command->add_option("DST,--out", arguments->destination, "The file to write, .safetensors")->required();
  add_number(*command, "--count", arguments->options.count, 1, "Items to train on")->type_name("N");
  add_number(*command, "--test-count", arguments->options.test_count, 1, "Items to test on")->type_name("N");
  add_seed(*command, arguments->options.seed, "Of everything random in them");
  command->footer("Example:\n  agon data synth strokes strokes.safetensors --count 60000");
  command->callback([arguments] { print_files(synth(arguments->name, arguments->destination, arguments->options)); });
}

void add_split(CLI::App& data) {
  struct Arguments {
    std::string source, folder;
    int64_t workers = 10;
    PartitionOptions options{.seed = 1};
    bool preview = false;
  };
  const auto arguments = std::make_shared<Arguments>();
  CLI::App* command = data.add_subcommand("split", "Deals the training data to workers, a file for each");
  command->add_option("DATA", arguments->source, "A file, a folder, or strokes, ring, grid")->required();
  command->add_option("FOLDER,--out", arguments->folder, "Where worker-0.safetensors and so on are written");
  command->add_flag("--preview", arguments->preview, "Only print who would get what");
  add_number(*command, "--workers", arguments->workers, 1, "N")->type_name("N");
  command->add_option("--partition", arguments->options.kind, listed(partition_kinds(), "or"))->type_name("KIND");
  command->add_option("--skew", arguments->options.skew, "Of partition skew, per cent")->type_name("PERCENT");
  command->add_option("--alpha", arguments->options.alpha, "Of dirichlet and quantity: small is uneven")
      ->type_name("ALPHA");
  command->add_option("--smallest-shard", arguments->options.smallest_shard, "Of dirichlet and quantity: least items")
      ->type_name("N");
  command->add_option("--shards-per-worker", arguments->options.shards_per_worker, "Of shards")->type_name("N");
  command->add_option("--share", arguments->options.share, "Of diet, from 0 to 1")->type_name("SHARE");
  add_seed(*command, arguments->options.seed, "Of the deal; a run's is run.seed");
  command->footer(
      "Examples:\n"
      "  agon data split mnist/ shards/ --workers 3 --partition skew --skew 60\n"
      "  agon data split mnist/ --preview --workers 10 --partition dirichlet --alpha 0.1");
  command->callback([arguments] {
    if (arguments->folder.empty() != arguments->preview)
      fail(Fault::kUsage, "agon data split expects either a folder to write to or --preview, {}",
           arguments->preview ? "and got both" : "and got neither");
    fmt::print("{}",
               split(open_named(arguments->source).train, arguments->folder, arguments->workers, arguments->options));
  });
}

}  // namespace

void add_data(CLI::App& program) {
  CLI::App* data = program.add_subcommand("data", "Converts and shows data sets");
  data->require_subcommand(1);
  add_convert(*data);
  add_look(*data);
  add_synth(*data);
  add_split(*data);
}

}  // namespace agon::cli
