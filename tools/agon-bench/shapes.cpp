// The layers of the papers' networks, as the presets build them.
#include "tools/agon-bench/shapes.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "algorithms/options.h"
#include "algorithms/stage.h"
#include "algorithms/trainer.h"
#include "tools/agon/sources.h"

namespace agon::bench {
namespace {

struct Paper {
  const char *name, *preset;
};
constexpr Paper kPapers[] = {
    {"mlp", "md-gan-mnist-mlp"},           {"mnist", "md-gan-mnist-cnn"},           {"cifar", "md-gan-cifar10-cnn"},
    {"celeba", "md-gan-celeba-cnn"},       {"lipizzaner", "lipizzaner-mnist-mlp"},  {"tfgan", "gossip-mnist-tfgan"},
    {"mnist-dcgan", "md-gan-mnist-dcgan"}, {"dcgan-64", "ren-serial-celeba-dcgan"},
};

auto numbers(const DenseShape& s) { return std::tuple(s.in, s.out); }
auto numbers(const ConvolutionShape& s) { return std::tuple(s.size, s.in, s.out, s.kernel, s.stride, s.pad); }

template <class Shape>
void add_new(std::vector<Shape>& list, const Shape& shape) {
  if (std::none_of(list.begin(), list.end(), [&](const Shape& s) { return numbers(s) == numbers(shape); }))
    list.push_back(shape);
}

/// Layers of a kind are numbered from 1: "mnist D1", "mnist D2".
void add_layers(Shapes& shapes, const std::string& name, const Network& network, const std::vector<LayerSpec>& layers) {
  int dense = 0, convolutions = 0;
  for (const Network::Step& step : network.steps()) {
    const bool transposed = step.kind == "conv_transpose2d";
    if (step.kind == "dense") {
      add_new<DenseShape>(shapes.dense, {name + std::to_string(++dense), step.in.size(), step.out.size()});
    } else if (transposed || step.kind == "conv2d") {
      const LayerSpec& layer = layers[static_cast<size_t>(step.index)];
      const Shape &image = transposed ? step.out : step.in, &map = transposed ? step.in : step.out;
      add_new<ConvolutionShape>(
          shapes.convolutions, {name + std::to_string(++convolutions), image.height, image.channels, map.channels,
                                layer.integer("kernel", 1), layer.integer("stride", 1, 1), layer.integer("pad", 0, 0)});
    }
  }
}

Shapes make_shapes() {
  Shapes shapes;
  for (const Paper& paper : kPapers) {
    const cli::SettingsSource source = cli::settings_source(paper.preset);
    const Settings settings = resolve_settings(source.text, source.origin, {});
    const DataShape data = cli::known_shape(settings.text("data.path")).value();
    const GamePlan game = make_game_plan(settings, data.sample, data.classes);
    const auto layers = [&](const char* network) {
      return parse_layers(layer_list(settings, network), network, 1 + game.generator.classes);
    };
    add_layers(shapes, std::string(paper.name) + " D", *game.discriminator, layers("discriminator"));
    add_layers(shapes, std::string(paper.name) + " G", *game.generator.network, layers("generator"));
  }
  return shapes;
}

}  // namespace

const Shapes& paper_shapes() {
  static const Shapes shapes = make_shapes();
  return shapes;
}

}  // namespace agon::bench
