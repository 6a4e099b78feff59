// Lying workers, and servers that expect them.
#include "algorithms/trust.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "kernels/error.h"

namespace agon {

std::vector<Settings::Option> trust_options() {
  return {{"algorithm.liars", "0", "how many workers lie about their feedback"},
          {"algorithm.lie",
           "\"sign-flip\"",
           "what they send: -scale F_n, scale N(0, 1), scale everywhere, or 0 without computing anything",
           {"sign-flip", "random", "constant", "free-rider"}},
          {"algorithm.lie_scale", "1.0", "the scale of their lies"},
          {"algorithm.aggregation",
           "\"mean\"",
           "how feedback on the same batch is merged",
           {"mean", "median", "trimmed-mean", "krum"}},
          {"algorithm.tolerate", "1", "f: liars among the judges of a batch that trimmed-mean and krum allow for"}};
}

Liars::Liars(const Settings& settings, int64_t workers, uint64_t seed)
    : scale_(static_cast<float>(settings.number("algorithm.lie_scale", -1e6, 1e6))) {
  static const std::map<std::string, Lie> kinds = {{"sign-flip", Lie::kSignFlip},
                                                   {"random", Lie::kRandom},
                                                   {"constant", Lie::kConstant},
                                                   {"free-rider", Lie::kFreeRider}};
  kind_ = kinds.at(settings.text("algorithm.lie"));
  std::vector<int64_t> all(static_cast<size_t>(workers));
  std::iota(all.begin(), all.end(), 0);
  HostRandom random(seed, RandomStream::kAlgorithm);
  random.shuffle(all);
  const int64_t count = settings.integer("algorithm.liars", 0, workers);
  liars_.assign(all.begin(), all.begin() + count);
  std::sort(liars_.begin(), liars_.end());
}

bool Liars::lies(int64_t worker) const { return std::binary_search(liars_.begin(), liars_.end(), worker); }

void Liars::speak(const World& world, const Tensor& feedback) const {
  for (int64_t r = 0; r < feedback.replicas; ++r) {
    if (!lies(world.here()[static_cast<size_t>(r)])) continue;
    const Floats said{feedback.data + r * feedback.stride, feedback.stride};
    const int64_t count = feedback.size_per_replica();
    switch (kind_) {
      case Lie::kSignFlip:
        world.device().run(ops::Axpby{.replicas = 1, .count = count, .x = said, .y = said, .a = -scale_, .b = 0.f});
        break;
      case Lie::kRandom:
        world.device().run(ops::RandomFill{.kind = ops::RandomFill::Kind::kNormal,
                                           .replicas = 1,
                                           .count = count,
                                           .y = said,
                                           .a = 0.f,
                                           .b = scale_,
                                           .key = world.worker_key(RandomStream::kAlgorithm, 0, r)});
        break;
      case Lie::kConstant:
        world.device().run(ops::Fill{.replicas = 1, .count = count, .y = said, .value = scale_});
        break;
      case Lie::kFreeRider:
        world.device().run(ops::Fill{.replicas = 1, .count = count, .y = said});
        break;
    }
  }
}

Aggregation read_aggregation(const Settings& settings, int64_t judges) {
  using Rule = Aggregation::Rule;
  static const std::map<std::string, Rule> rules = {
      {"mean", Rule::kMean}, {"median", Rule::kMedian}, {"trimmed-mean", Rule::kTrimmedMean}, {"krum", Rule::kKrum}};
  const std::string name = settings.text("algorithm.aggregation");
  const Aggregation wanted{rules.at(name), settings.integer("algorithm.tolerate", 0)};
  const int64_t least = wanted.rule == Rule::kTrimmedMean ? 2 * wanted.tolerate + 1
                        : wanted.rule == Rule::kKrum      ? 2 * wanted.tolerate + 3
                                                          : 1;
  if (judges < least)
    fail(Fault::kUsage,
         "algorithm.aggregation \"{}\" with algorithm.tolerate = {} needs {} workers on each batch, but some have {}; "
         "use more workers, a smaller algorithm.kappa or a smaller algorithm.tolerate",
         name, wanted.tolerate, least, judges);
  return wanted;
}

}  // namespace agon
