#include "engine/fleet.h"

#include <algorithm>
#include <cmath>

#include "engine/random.h"

namespace agon {
namespace {

int64_t aligned(int64_t floats) { return (floats + 15) / 16 * 16; }

std::vector<float> initial_weights(const Network& network, const FleetOptions& options, uint32_t replica,
                                   bool trained) {
  std::vector<float> values(static_cast<size_t>(trained ? network.parameters() : network.state()));
  uint32_t draw = 0;
  for (const Network::Step& step : network.steps())
    for (size_t i = 0; i < step.parameters.size(); ++i, ++draw) {
      const Parameter& p = step.parameters[i];
      if (p.trained() != trained) continue;
      HostRandom random(options.seed, RandomStream::kInit, replica, options.init_stream, draw);
      const std::span<float> target(values.data() + step.offsets[i], static_cast<size_t>(p.size()));
      const double fan_in = static_cast<double>(p.fan_in), fan_out = static_cast<double>(p.fan_out);
      const auto uniform = [&](double bound) {
        for (float& w : target) w = static_cast<float>((2 * random.uniform() - 1) * bound);
      };
      const auto normal = [&](double deviation) {
        for (float& w : target) w = static_cast<float>(random.normal() * deviation);
      };
      switch (p.role) {
        case Parameter::Role::kWeight:
          if (options.init == Init::kGlorot) uniform(std::sqrt(6.0 / (fan_in + fan_out)));
          if (options.init == Init::kTorch) uniform(1.0 / std::sqrt(fan_in));
          if (options.init == Init::kNormal) normal(0.02);
          break;
        case Parameter::Role::kBias:
          if (options.init == Init::kTorch && step.kind != "batch_norm" && step.kind != "layer_norm")
            uniform(1.0 / std::sqrt(fan_in));
          break;
        case Parameter::Role::kTable:
        case Parameter::Role::kFixedTable:
          normal(1.0);
          break;
        case Parameter::Role::kGain:
        case Parameter::Role::kRunningVar:
          std::fill(target.begin(), target.end(), 1.f);
          break;
        case Parameter::Role::kRunningMean:
          break;
      }
    }
  return values;
}

}  // namespace

/// Where everything of a pass lies in a replica's workspace, in floats.
struct Fleet::Layout {
  int64_t batch, groups;
  struct Place {
    int64_t y;  // output; of a view, its input's place (-1: the network's input)
    int64_t saved;
    bool in_place;
  };
  std::vector<Place> places;
  int64_t activations = 0;  // floats per replica: outputs and saved values
  int64_t gradient = 0;     // floats per replica of each of the two gradient buffers
  int64_t total() const { return activations + 2 * gradient; }

  static Layout make(const Network& network, int64_t batch, int64_t groups, bool backward) {
    Layout layout{.batch = batch, .groups = groups};
    int64_t end = 0, largest = network.input().size();
    int64_t previous = -1;
    const Network::Step* before = nullptr;
    for (const Network::Step& step : network.steps()) {
      Place place{.y = end, .saved = 0, .in_place = false};
      const bool may_overwrite = previous >= 0 && before && !before->layer->keeps_output();
      if (step.view) {
        place.y = previous;
      } else {
        if (step.layer->in_place() && may_overwrite)
          place.y = previous, place.in_place = true;
        else
          end += aligned(step.out.size() * batch);
        place.saved = end;
        end += aligned(step.layer->saved_floats(step.in, batch, groups));
        before = &step;
      }
      largest = std::max(largest, step.out.size());
      previous = place.y;
      layout.places.push_back(place);
    }
    layout.activations = end;
    layout.gradient = backward ? aligned(largest * batch) : 0;
    return layout;
  }
};

Fleet::Fleet(std::shared_ptr<Device> device, std::shared_ptr<const Network> network, const FleetOptions& options,
             const std::vector<int64_t>& replica_ids)
    : device_(std::move(device)),
      network_(std::move(network)),
      options_(options),
      replicas_(options.replicas),
      capacity_(options.replicas) {
  const int64_t R = replicas_, P = network_->parameters(), S = network_->state();
  weights_ = Buffer<float>(device_, R * P);
  state_ = Buffer<float>(device_, R * S);
  if (options_.trains) {
    const OptimiserOptions& optimiser = options_.optimiser;
    gradients_ = Buffer<float>(device_, R * P);
    if (optimiser.moments() > 0) moment1_ = Buffer<float>(device_, R * P);
    if (optimiser.moments() > 1) moment2_ = Buffer<float>(device_, R * P);
    learning_rates_ = Buffer<float>(device_, R);
    learning_rates_.set(std::vector<float>(static_cast<size_t>(R), static_cast<float>(optimiser.learning_rate)));
    step_counts_ = Buffer<int32_t>(device_, R);
  }
  std::vector<float> weights, state;
  for (int64_t r = 0; r < R; ++r) {
    if (r == 0 || !options_.same_start) {
      const int64_t id = options_.same_start ? 0 : replica_ids.empty() ? r : replica_ids[static_cast<size_t>(r)];
      weights = initial_weights(*network_, options_, static_cast<uint32_t>(id), true);
      state = initial_weights(*network_, options_, static_cast<uint32_t>(id), false);
    }
    set_replica(r, weights, state);
  }
}

Fleet::~Fleet() = default;
Fleet::Fleet(Fleet&&) noexcept = default;

const Fleet::Layout& Fleet::layout(int64_t batch, int64_t groups) {
  for (const auto& known : layouts_)
    if (known->batch == batch && known->groups == groups) return *known;
  layouts_.push_back(
      std::make_unique<Layout>(Layout::make(*network_, batch, groups, options_.trains || options_.differentiable)));
  return *layouts_.back();
}

LayerCall Fleet::call(size_t index, const Layout& layout) {
  const Network::Step& step = network_->steps()[index];
  const Layout::Place& place = layout.places[index];
  const int64_t stride = workspace_stride();
  const auto tensor = [&](int64_t offset, const Shape& shape) {
    Tensor t = offset < 0 ? latest_input_ : Tensor{workspace() + offset, replicas_, layout.batch, shape, stride};
    t.shape = shape;
    return t;
  };
  LayerCall c{.device = *device_,
              .replicas = replicas_,
              .batch = layout.batch,
              .groups = layout.groups,
              .training = latest_pass_.training,
              .split = options_.split,
              .precision = options_.precision};
  c.x = tensor(index == 0 ? -1 : layout.places[index - 1].y, step.in);
  c.y = tensor(place.y, step.out);
  for (size_t i = 0; i < step.parameters.size(); ++i)
    c.parameters.push_back(
        step.parameters[i].trained()
            ? Floats{weights().data + step.offsets[i], network_->parameters()}
            : Floats{state_.data() + first_ * network_->state() + step.offsets[i], network_->state()});
  c.saved = {workspace() + place.saved, stride};
  c.labels = latest_pass_.labels.block();
  c.key = latest_pass_.key;
  c.key.draw = latest_pass_.key.draw * Network::kMostLayers + static_cast<uint32_t>(index);
  return c;
}

Tensor Fleet::forward(const Tensor& x, const Pass& pass) {
  if (x.row_size() != network_->input().size() || (x.replicas != replicas_ && x.replicas != 1))
    fail(Fault::kUsage, "expected [{}, B, {}] as input of the {}, got [{}, {}, {}]", replicas_,
         network_->input().text(), network_->name(), x.replicas, x.batch, x.shape.text());
  if (network_->takes_labels() && !pass.labels)
    fail(Fault::kUsage, "the {} needs class labels, but was given none", network_->name());
  if (pass.groups < 1 || x.batch % pass.groups != 0)
    fail(Fault::kUsage, "{} samples do not make {} groups of equal size, in the {}", x.batch, pass.groups,
         network_->name());
  if (replicas_ == 0) return {nullptr, 0, x.batch, network_->output(), 0};
  const Layout& plan = layout(x.batch, pass.groups);
  if (plan.total() * capacity_ > workspace_.size()) workspace_ = Buffer<float>(device_, plan.total() * capacity_);
  latest_ = &plan;
  latest_input_ = x;
  latest_input_.shape = network_->input();
  latest_input_.replicas = replicas_;
  if (x.replicas == 1 && replicas_ > 1) latest_input_.stride = 0;
  latest_pass_ = pass;
  for (size_t i = 0; i < network_->steps().size(); ++i)
    if (const Network::Step& step = network_->steps()[i]; !step.view) step.layer->forward(call(i, plan));
  return step_output(network_->steps().size() - 1);
}

Tensor Fleet::step_output(size_t step) const {
  const int64_t offset = latest_->places[step].y;
  Tensor t =
      offset < 0 ? latest_input_ : Tensor{workspace() + offset, replicas_, latest_->batch, {}, workspace_stride()};
  t.shape = network_->steps()[step].out;
  return t;
}

void Fleet::expect_training_pass(Grads wanted) const {
  const bool can = options_.trains || (options_.differentiable && wanted == Grads::kInput);
  if (!can || !latest_ || !latest_pass_.training)
    fail(Fault::kUsage, "the {} was asked for gradients without a forward pass in training mode", network_->name());
}

Tensor Fleet::output_gradient() {
  if (replicas_ == 0) return {};
  expect_training_pass(Grads::kInput);
  return {workspace() + latest_->activations, replicas_, latest_->batch, network_->output(), workspace_stride()};
}

Tensor Fleet::backward(Grads wanted) { return backward(output_gradient(), wanted); }

Tensor Fleet::backward(const Tensor& dy, Grads wanted) {
  if (replicas_ == 0) return {nullptr, 0, dy.batch, network_->input(), 0};
  const auto learns = [](const Parameter& parameter) { return parameter.trained(); };
  expect_training_pass(wanted);
  const std::vector<Network::Step>& steps = network_->steps();
  const auto gradient_buffer = [&](int which, const Shape& shape) {
    return Tensor{workspace() + latest_->activations + which * latest_->gradient, replicas_, latest_->batch, shape,
                  workspace_stride()};
  };
  // With Grads::kParams nothing is computed below the first layer that has weights to learn.
  size_t last = 0;
  if (wanted == Grads::kParams)
    while (last < steps.size() &&
           (steps[last].view || std::none_of(steps[last].parameters.begin(), steps[last].parameters.end(), learns)))
      ++last;

  Tensor gradient = dy;
  int free_buffer = dy.data == output_gradient().data ? 1 : 0;
  for (size_t i = steps.size(); i-- > last;) {
    const Network::Step& step = steps[i];
    if (step.view) {
      gradient.shape = step.in;
      continue;
    }
    LayerCall c = call(i, *latest_);
    c.dy = gradient;
    c.dy.shape = step.out;
    if (i > last || wanted != Grads::kParams) {
      if (latest_->places[i].in_place) {
        c.dx = gradient;
        c.dx.shape = step.in;
      } else {
        c.dx = gradient_buffer(free_buffer, step.in);
        free_buffer = 1 - free_buffer;
      }
    }
    if (wanted != Grads::kInput)
      for (size_t p = 0; p < step.parameters.size(); ++p)
        c.gradients.push_back(step.parameters[p].trained()
                                  ? Floats{gradients().data + step.offsets[p], network_->parameters()}
                                  : Floats{});
    step.layer->backward(c);
    gradient = c.dx;
  }
  return wanted == Grads::kParams ? Tensor{} : gradient;
}

void Fleet::step_with(const Floats& gradients, double grad_scale) {
  if (replicas_ == 0) return;
  const OptimiserOptions& o = options_.optimiser;
  const int64_t P = network_->parameters();
  const auto block = [&](const Buffer<float>& buffer) {
    return Floats{buffer ? buffer.data() + first_ * P : nullptr, P};
  };
  const Block<float> rates{learning_rates_.data() + first_, 1};
  const float scale = static_cast<float>(grad_scale);
  if (o.kind == "adam")
    device_->run(ops::Adam{.replicas = replicas_,
                           .count = P,
                           .w = block(weights_),
                           .g = gradients,
                           .m = block(moment1_),
                           .v = block(moment2_),
                           .learning_rate = rates,
                           .steps = step_block(),
                           .beta1 = static_cast<float>(o.beta1),
                           .beta2 = static_cast<float>(o.beta2),
                           .epsilon = static_cast<float>(o.epsilon),
                           .grad_scale = scale,
                           .split = options_.split});
  else if (o.kind == "sgd")
    device_->run(ops::Sgd{.replicas = replicas_,
                          .count = P,
                          .w = block(weights_),
                          .g = gradients,
                          .m = block(moment1_),
                          .learning_rate = rates,
                          .steps = step_block(),
                          .momentum = static_cast<float>(o.momentum),
                          .grad_scale = scale,
                          .split = options_.split});
  else if (o.kind == "rmsprop")
    device_->run(ops::RmsProp{.replicas = replicas_,
                              .count = P,
                              .w = block(weights_),
                              .g = gradients,
                              .v = block(moment1_),
                              .learning_rate = rates,
                              .steps = step_block(),
                              .alpha = static_cast<float>(o.alpha),
                              .epsilon = static_cast<float>(o.epsilon),
                              .grad_scale = scale,
                              .split = options_.split});
  else
    fail(Fault::kUsage, "unknown optimiser \"{}\", expected adam, sgd or rmsprop", o.kind);
  if (o.clip > 0)
    device_->run(ops::Clip{.replicas = replicas_,
                           .count = P,
                           .w = block(weights_),
                           .bound = static_cast<float>(o.clip),
                           .split = options_.split});
}

std::vector<Fleet::Arena> Fleet::arenas() const {
  std::vector<Arena> list{{"weights", network_->parameters(), weights_.data(), false}};
  const OptimiserOptions& optimiser = options_.optimiser;
  if (network_->state() > 0) list.push_back({"state", network_->state(), state_.data(), false});
  if (options_.trains && optimiser.moments() > 0)
    list.push_back({"moment1", network_->parameters(), moment1_.data(), true});
  if (options_.trains && optimiser.moments() > 1)
    list.push_back({"moment2", network_->parameters(), moment2_.data(), true});
  return list;
}

namespace {

std::vector<float> download(Device& device, const float* from, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  if (count) device.download(values.data(), from, values.size() * sizeof(float));
  return values;
}

}  // namespace

std::vector<float> Fleet::replica_weights(int64_t replica) const {
  return download(*device_, weights_.data() + replica * network_->parameters(), network_->parameters());
}

std::vector<float> Fleet::replica_state(int64_t replica) const {
  return download(*device_, state_.data() + replica * network_->state(), network_->state());
}

void Fleet::set_replica(int64_t replica, std::span<const float> weights, std::span<const float> state) {
  if (static_cast<int64_t>(weights.size()) != network_->parameters() ||
      static_cast<int64_t>(state.size()) != network_->state())
    fail(Fault::kData, "expected {} weights and {} running statistics for the {}, got {} and {}",
         network_->parameters(), network_->state(), network_->name(), weights.size(), state.size());
  device_->upload(weights_.data() + replica * network_->parameters(), weights.data(), weights.size_bytes());
  if (!state.empty()) device_->upload(state_.data() + replica * network_->state(), state.data(), state.size_bytes());
}

void Fleet::take(const Fleet& other, int64_t first, int64_t count, int64_t to) {
  const std::vector<Arena> mine = arenas(), theirs = other.arenas();
  for (size_t i = 0; i < mine.size() && i < theirs.size(); ++i)  // weights, then state if there is any
    if (!mine[i].moment && mine[i].name == theirs[i].name)
      device_->copy(mine[i].data + to * mine[i].count, theirs[i].data + first * mine[i].count,
                    static_cast<size_t>(count * mine[i].count) * sizeof(float));
}

void Fleet::take_statistics(const Fleet& other) {
  const int64_t count = replicas_ * network_->state();
  if (count > 0) device_->copy(state_.data(), other.state_.data(), static_cast<size_t>(count) * sizeof(float));
}

void Fleet::restart_optimisers() {
  for (const Arena& arena : arenas())
    if (arena.moment)
      device_->run(ops::Fill{.replicas = capacity_, .count = arena.count, .y = {arena.data, arena.count}});
  set_steps(std::vector<int32_t>(static_cast<size_t>(capacity_), 0));
}

void Fleet::copy_replica(int64_t from, int64_t to) {
  for (const Arena& arena : arenas())
    device_->copy(arena.data + to * arena.count, arena.data + from * arena.count,
                  static_cast<size_t>(arena.count) * sizeof(float));
  if (options_.trains) {
    device_->copy(step_counts_.data() + to, step_counts_.data() + from, sizeof(int32_t));
    device_->copy(learning_rates_.data() + to, learning_rates_.data() + from, sizeof(float));
  }
}

void Fleet::set_replicas(int64_t replicas) {
  if (replicas < 0 || replicas > capacity_)
    fail(Fault::kUsage, "a fleet made for {} replicas cannot hold {}", capacity_, replicas);
  device_->synchronize();
  first_ = 0, replicas_ = replicas;
  latest_ = nullptr;
}

Focus::Focus(Fleet& fleet, int64_t first, int64_t count)
    : fleet_(fleet), first_before_(fleet.first_), replicas_before_(fleet.replicas_) {
  if (first < 0 || count < 0 || first + count > first_before_ + replicas_before_)
    fail(Fault::kUsage, "replicas {} to {} were asked for, but the fleet has {}", first, first + count - 1,
         replicas_before_);
  fleet.first_ = first, fleet.replicas_ = count;
  fleet.latest_ = nullptr;
}

Focus::~Focus() {
  fleet_.first_ = first_before_, fleet_.replicas_ = replicas_before_;
  fleet_.latest_ = nullptr;
}

Fleet::Memory Fleet::memory() const {
  const auto bytes = [](int64_t floats) { return floats * static_cast<int64_t>(sizeof(float)); };
  return {bytes(weights_.size() + state_.size()), bytes(gradients_.size()), bytes(moment1_.size() + moment2_.size()),
          bytes(workspace_.size())};
}

Fleet::Memory Fleet::plan_memory(const Network& network, int64_t batch, int64_t groups, const FleetOptions& options) {
  const auto bytes = [&](int64_t floats) { return options.replicas * floats * static_cast<int64_t>(sizeof(float)); };
  const int64_t P = network.parameters(), model = P + network.state();
  const int64_t moments = options.trains ? model_floats(network, options.optimiser, true) - model : 0;
  return {bytes(model), options.trains ? bytes(P) : 0, bytes(moments),
          bytes(Layout::make(network, batch, groups, options.trains || options.differentiable).total())};
}

int64_t Fleet::model_floats(const Network& network, const OptimiserOptions& optimiser, bool with_moments) {
  const int64_t P = network.parameters();
  return P + network.state() + (with_moments ? optimiser.moments() * P : 0);
}

}  // namespace agon
