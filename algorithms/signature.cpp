// What a checkpoint fits to, and how two of these differ.
#include "algorithms/signature.h"

#include <algorithm>
#include <vector>

#include "engine/text.h"

namespace agon {
namespace {

constexpr const char* kSections[] = {"generator ", "discriminator ", "data "};  // after the numbers

std::vector<std::string> split(const std::string& text, const std::string& separator) {
  std::vector<std::string> pieces;
  size_t begin = 0;
  for (size_t end = text.find(separator); end != std::string::npos; end = text.find(separator, begin)) {
    pieces.push_back(text.substr(begin, end - begin));
    begin = end + separator.size();
  }
  pieces.push_back(text.substr(begin));
  return pieces;
}

/// {"md-gan"}, {"10 workers"}, ..., {"generator 1x1x100", "dense ...", ...}, ..., {"data ..."}
std::vector<std::vector<std::string>> sections_of(const std::string& signature) {
  std::vector<std::vector<std::string>> sections;
  for (const std::string& piece : split(signature, "; ")) {
    const bool begins = std::any_of(std::begin(kSections), std::end(kSections),
                                    [&](const char* section) { return piece.rfind(section, 0) == 0; });
    if (begins || sections.empty())
      sections.push_back({piece});
    else
      sections.back().push_back(piece);
  }
  std::vector<std::vector<std::string>> parts;
  for (const std::string& half : split(sections.front().front(), " with "))
    for (const std::string& number : split(half, ", ")) parts.push_back({number});
  parts.insert(parts.end(), sections.begin() + 1, sections.end());
  return parts;
}

/// The part that differs at `place`: itself, or that layer of a network.
std::string shown(const std::vector<std::string>& section, size_t place) {
  if (place == 0 || section.empty()) return section.empty() ? "nothing" : section.front();
  const std::string network = section.front().substr(0, section.front().find(' '));
  return place < section.size() ? fmt::format("layer {} of the {} \"{}\"", place, network, section[place])
                                : fmt::format("a {} of {} layers", network, section.size() - 1);
}

}  // namespace

std::string run_signature(const Settings& settings, const Stage& stage, const DataSource& data) {
  return fmt::format("{} with {} workers, batch {}, seed {}; generator {}; discriminator {}; data {:016x}",
                     settings.text("algorithm.name"), stage.game().workers, stage.game().batch, stage.game().seed,
                     stage.game().generator.network->signature(), stage.game().discriminator->signature(),
                     data.train.checksum());
}

std::string signature_difference(const std::string& made_for, const std::string& now) {
  auto old = sections_of(made_for), present = sections_of(now);
  const size_t count = std::max(old.size(), present.size());
  old.resize(count), present.resize(count);
  std::vector<std::string> theirs, ours;
  for (size_t i = 0; i < count; ++i) {
    if (old[i] == present[i]) continue;
    const auto differs = std::mismatch(old[i].begin(), old[i].end(), present[i].begin(), present[i].end());
    const auto place = static_cast<size_t>(differs.first - old[i].begin());
    theirs.push_back(shown(old[i], place)), ours.push_back(shown(present[i], place));
  }
  return fmt::format("it was made for {}, but this run has {}", listed(theirs), listed(ours));
}

}  // namespace agon
