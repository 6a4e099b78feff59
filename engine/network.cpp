#include "engine/network.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/text.h"

namespace agon {

Init parse_init(const std::string& name) {
  if (name == "glorot") return Init::kGlorot;
  if (name == "torch") return Init::kTorch;
  if (name == "normal") return Init::kNormal;
  fail(Fault::kUsage, "unknown initialisation \"{}\", expected glorot, torch or normal", name);
}

namespace {

/// Whether a product is larger than any that agon allocates; in floating point, so that it cannot overflow.
bool too_many(const std::vector<int64_t>& factors) {
  constexpr double kMost = 1u << 31;
  double product = 1;
  for (int64_t factor : factors) product *= static_cast<double>(factor);
  return product > kMost;
}

}  // namespace

Network::Network(std::string name, const Shape& input, const std::vector<LayerSpec>& layers)
    : name_(std::move(name)), input_(input) {
  if (layers.empty()) fail(Fault::kUsage, "the {} has no layers", name_);
  if (layers.size() > kMostLayers)
    fail(Fault::kUsage, "the {} has {} layers, expected at most {}", name_, layers.size(), kMostLayers);
  Shape shape = input;
  // A class embedding in front is a module of its own in PyTorch; the others are numbered as in nn.Sequential.
  int64_t index = layers.front().type == "class_embedding" ? -1 : 0;
  for (const LayerSpec& spec : layers) {
    Step step{.layer = make_layer(spec), .kind = spec.type, .index = index++, .in = shape};
    step.out = step.layer->output(shape);
    if (too_many({step.out.height, step.out.width, step.out.channels}))
      fail(Fault::kUsage, "{}: an output of {} is too large", spec.where, step.out.text());
    step.view = step.layer->is_view(shape);
    if (const auto activation = step.layer->activation();
        activation && !steps_.empty() && steps_.back().layer->fuse(activation->first, activation->second))
      step.view = true;
    step.parameters = step.layer->parameters(shape);
    for (const Parameter& parameter : step.parameters) {
      int64_t& count = parameter.trained() ? parameters_ : state_;
      step.offsets.push_back(count);
      if (too_many(parameter.dims) || too_many({count += parameter.size()}))
        fail(Fault::kUsage, "{}: {} weights are too many", spec.where, fmt::join(parameter.dims, " x "));
    }
    shape = step.out;
    steps_.push_back(std::move(step));
  }
}

const Shape& Network::output() const { return steps_.back().out; }

int64_t Network::table_parameters() const {
  int64_t count = 0;
  for (const Step& step : steps_)
    for (const Parameter& parameter : step.parameters)
      if (parameter.role == Parameter::Role::kTable) count += parameter.size();
  return count;
}

int64_t Network::flops() const {
  int64_t count = 0;
  for (const Step& step : steps_) count += step.layer->flops(step.in);
  return count;
}

bool Network::takes_labels() const {
  for (const Step& step : steps_)
    if (step.layer->takes_labels()) return true;
  return false;
}

std::string Network::summary() const {
  std::string text = fmt::format("{} : {} -> {}, {} parameters\n", name_, input_.text(), output().text(), parameters_);
  for (const Step& step : steps_) {
    int64_t count = 0;
    for (const Parameter& parameter : step.parameters) count += parameter.trained() ? parameter.size() : 0;
    text += fmt::format("  {:<26} {:<16} {:>12}\n", step.kind, step.out.text(), count ? fmt::format("{}", count) : "");
  }
  return text;
}

std::string Network::signature() const {
  std::string text = input_.text();
  for (const Step& step : steps_) {
    text += fmt::format("; {} {}", step.kind, step.out.text());
    for (const Parameter& parameter : step.parameters)
      text += fmt::format(" {}[{}]", parameter.name, fmt::join(parameter.dims, ","));
  }
  return text;
}

namespace {

/// What the first number of the short form "dense 512" or "leaky_relu 0.2" means.
std::string main_number(const std::string& type) {
  const auto found = layer_kinds().find(type);
  return found == layer_kinds().end() || found->second.numbers.empty() ? "" : found->second.numbers.front();
}

LayerSpec parse_text(const std::string& text, const std::string& where, int64_t heads) {
  std::istringstream words(text);
  std::string type, number, rest;
  words >> type >> number >> rest;
  if (type.empty() || !rest.empty())
    fail(Fault::kUsage, "{}: \"{}\" is not a layer; write \"dense 512\" or {{layer = \"dense\", units = 512}}", where,
         text);
  LayerSpec spec(type, {}, where);
  if (number.empty() || !layer_kinds().contains(type)) return spec;  // an unknown layer is refused when it is made
  const std::string key = main_number(type);
  if (key.empty()) fail(Fault::kUsage, "{}: \"{}\" takes no number", where, type);
  if (number == "heads") {
    spec.numbers[key] = static_cast<double>(heads);
    return spec;
  }
  size_t used = 0;
  double value = 0;
  try {
    value = std::stod(number, &used);
  } catch (const std::exception&) {
  }
  if (used != number.size() || !std::isfinite(value)) fail(Fault::kUsage, "{}: \"{}\" is not a number", where, number);
  spec.numbers[key] = value;
  return spec;
}

LayerSpec parse_table(const nlohmann::json& table, const std::string& where, int64_t heads) {
  if (!table.contains("layer") || !table["layer"].is_string())
    fail(Fault::kUsage, "{}: expected {{layer = \"dense\", units = 512}}, found {}", where, table.dump());
  LayerSpec spec(table["layer"].get<std::string>(), {}, where);
  for (const auto& [key, value] : table.items()) {
    if (key == "layer") continue;
    if (value.is_number())
      spec.numbers[key] = value.get<double>();
    else if (value.is_boolean())
      spec.numbers[key] = value.get<bool>() ? 1 : 0;
    else if (value == "heads")
      spec.numbers[key] = static_cast<double>(heads);
    else
      fail(Fault::kUsage, "{}: \"{}\" is {}, expected a number", where, key, value.dump());
  }
  return spec;
}

}  // namespace

std::vector<LayerSpec> parse_layers(const nlohmann::json& list, const std::string& network, int64_t heads) {
  if (!list.is_array() || list.empty())
    fail(Fault::kUsage, "the layers of the {} are {}, expected a list such as [\"dense 512\", \"tanh\"]", network,
         list.dump());
  std::vector<LayerSpec> specs;
  for (const auto& entry : list) {
    std::string where = fmt::format("layer {} of the {}", specs.size() + 1, network);
    if (entry.is_string())
      specs.push_back(parse_text(entry.get<std::string>(), where, heads));
    else if (entry.is_object())
      specs.push_back(parse_table(entry, where, heads));
    else
      fail(Fault::kUsage, "{}: expected a string or a table, found {}", where, entry.dump());
    specs.back().where = fmt::format("layer {} \"{}\" of the {}", specs.size(), specs.back().type, network);
  }
  return specs;
}

}  // namespace agon
