#include "tools/agon/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

#include "algorithms/stage.h"
#include "tools/agon/format.h"

namespace agon::cli {
namespace {

using Clock = std::chrono::steady_clock;

int terminal_columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

Progress::Progress() : terminal_(isatty(STDERR_FILENO) == 1), last_shown_(Clock::now() - std::chrono::hours(1)) {}

void Progress::clear() {
  if (bar_shown_) fmt::print(stderr, "\r\x1b[K");
  bar_shown_ = false;
}

void Progress::show(const std::string& line, double share, bool at_once) {
  const auto now = Clock::now();
  if (!at_once && now - last_shown_ < (terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(5000)))
    return;
  last_shown_ = now;
  if (!terminal_) {
    fmt::print(stderr, "{}\n", line);
    return;
  }
  const auto columns = static_cast<size_t>(terminal_columns());
  std::string text = line.substr(0, columns > 1 ? columns - 1 : 0);
  if (const size_t room = columns > text.size() + 5 ? columns - text.size() - 5 : 0; room >= 8) {
    const size_t width = std::min<size_t>(room, 30);
    const auto full = static_cast<size_t>(std::clamp(share, 0.0, 1.0) * static_cast<double>(width));
    std::string bar;
    for (size_t i = 0; i < width; ++i) bar += i < full ? "━" : "╌";
    text = bar + "  " + text;
  }
  fmt::print(stderr, "\r\x1b[K{}", text);
  fflush(stderr);
  bar_shown_ = true;
}

void Progress::started(const Trainer& trainer) {
  const Settings& settings = trainer.settings();
  const GamePlan& game = trainer.stage().game();
  clear();
  fmt::print(stderr, "{} on {}: {} {}, b = {}, {}\n", settings.text("algorithm.name"), trainer.data().train.name(),
             game.workers, game.workers == 1 ? "worker" : "workers", game.batch,
             trainer.stage().device()->description());
  fmt::print(stderr, "generator {} parameters, discriminator {}; {} training samples of {}\n",
             grouped(game.generator.network->parameters()), grouped(game.discriminator->parameters()),
             grouped(trainer.data().train.count()), game.sample().text());
  if (trainer.iteration() > 0) fmt::print(stderr, "going on after iteration {}\n", grouped(trainer.iteration()));
}

void Progress::logged(const LogRecord& record) {
  const double share =
      record.iterations > 0 ? static_cast<double>(record.iteration) / static_cast<double>(record.iterations) : 0;
  show(fmt::format("{}/{}  {} it/s  loss D {:.3f} G {:.3f}{}  {} left", grouped(record.iteration),
                   grouped(record.iterations), significant(record.iterations_per_second), record.losses.discriminator,
                   record.losses.generator, scores_.empty() ? "" : "  " + scores_, clock_time(record.seconds_left)),
       share, record.iteration == record.iterations);
}

void Progress::evaluated(int64_t, double, const Scores& scores) {
  if (!scores.note.empty() && !note_said_) {
    clear();
    fmt::print(stderr, "no scores: {}\n", scores.note);
    note_said_ = true;
  }
  scores_ = scores.text();
}

void Progress::happened(const Event& event) {
  clear();
  fmt::print(stderr, "worker {} {} at iteration {}\n", event.worker, event.kind, grouped(event.iteration));
}

void Progress::finished(const Summary& summary, const Generator&) {
  clear();
  if (summary.scores) scores_ = summary.scores->text();
  fmt::print(stderr, "{} iterations, {} of training, {} it/s{}\n", grouped(summary.iterations),
             clock_time(summary.seconds_training), significant(summary.iterations_per_second),
             summary.scores ? "; " + scores_ : "");
}

ScorerWatch Progress::scorer_watch() {
  return [this](const ScorerProgress& progress) {
    show(fmt::format("training the scorer, once for these data: step {}/{}  loss {:.3f}", grouped(progress.step),
                     grouped(progress.steps), progress.loss),
         progress.steps > 0 ? static_cast<double>(progress.step) / static_cast<double>(progress.steps) : 0);
    if (progress.step == progress.steps) clear();
  };
}

}  // namespace agon::cli
