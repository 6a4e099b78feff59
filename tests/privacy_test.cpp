// What passes between processes: no real picture and no label of one, and hardly more than the ledger says. Processes
// are threads here, and every message is looked into.
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_set>

#include "algorithms/algorithm.h"
#include "algorithms/stage.h"
#include "engine/comm/communicator.h"
#include "tests/training.h"

namespace agon::training {
namespace {

using Bytes = std::vector<std::byte>;

/// Letter boxes of all pairs of threads, and a copy of every letter.
class Post {
 public:
  void send(int from, int to, Bytes letter) {
    const std::lock_guard lock(mutex_);
    sent_.push_back(letter);
    boxes_[{from, to}].push_back(std::move(letter));
    news_.notify_all();
  }
  Bytes receive(int from, int to) {
    std::unique_lock lock(mutex_);
    auto& box = boxes_[{from, to}];
    news_.wait(lock, [&] { return !box.empty(); });
    Bytes letter = std::move(box.front());
    box.pop_front();
    return letter;
  }
  const std::vector<Bytes>& sent() const { return sent_; }
  size_t bytes() const {
    size_t sum = 0;
    for (const Bytes& letter : sent_) sum += letter.size();
    return sum;
  }

 private:
  std::mutex mutex_;
  std::condition_variable news_;
  std::map<std::pair<int, int>, std::deque<Bytes>> boxes_;
  std::vector<Bytes> sent_;
};

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(Post& post, int rank, int size) : post_(post), rank_(rank), size_(size) {}
  std::string name() const override { return "threads"; }
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void exchange(std::span<const Outgoing> out, std::span<const Incoming> in) override {
    for (const Outgoing& message : out) {
      const auto* const data = static_cast<const std::byte*>(message.data);
      post_.send(rank_, message.to, Bytes(data, data + message.bytes));
    }
    for (const Incoming& message : in) {
      const Bytes letter = post_.receive(message.from, rank_);
      ASSERT_EQ(letter.size(), message.bytes);
      std::memcpy(message.data, letter.data(), letter.size());
    }
  }
  void abandon(int exit_code) override { std::_Exit(exit_code); }

 private:
  Post& post_;
  int rank_, size_;
};

constexpr int64_t kPictures = 60, kSide = 28, kPixels = kSide * kSide;
constexpr int32_t kLabel = 7;

/// Pictures of noise, of which any few pixels in a row are like no others, all of one class of ten.
DataSource canaries() {
  const auto pixels = std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(kPictures * kPixels));
  HostRandom random(99, RandomStream::kSampling, 0, 0);
  for (uint8_t& pixel : *pixels) pixel = static_cast<uint8_t>(random.below(256));
  DatasetContents contents{.name = "canaries",
                           .count = kPictures,
                           .channels = 1,
                           .height = kSide,
                           .width = kSide,
                           .images = pixels->data(),
                           .labels = std::vector<int32_t>(kPictures, kLabel),
                           .storage = pixels};
  contents.labels.back() = 9;  // so that there are ten classes
  return {.train = Dataset(std::move(contents))};
}

/// Finds pieces of the real data: eight pixels in a row, as bytes or as the floats that networks see, or ten labels in
/// a row, of which generated ones differ.
class Detector {
 public:
  explicit Detector(const Dataset& data) {
    for (int64_t at = 0; at + kRow <= data.count() * kPixels; ++at) {
      const uint8_t* const row = data.images() + at;
      pieces_.insert(std::string(reinterpret_cast<const char*>(row), kRow));
      const std::vector<float> values = as_floats(row, kRow);
      pieces_.insert(std::string(reinterpret_cast<const char*>(values.data()), kRow * sizeof(float)));
    }
    const std::vector<int32_t> labels(kLabels, kLabel);
    pieces_.insert(std::string(reinterpret_cast<const char*>(labels.data()), kLabels * sizeof(int32_t)));
  }
  static std::vector<float> as_floats(const uint8_t* pixels, int64_t count) {
    std::vector<float> values;
    for (int64_t i = 0; i < count; ++i) values.push_back(std::fma(static_cast<float>(pixels[i]), 2.f / 255.f, -1.f));
    return values;
  }
  bool finds(const Bytes& message) const {
    const std::string text(reinterpret_cast<const char*>(message.data()), message.size());
    for (const size_t length : {size_t{kRow}, kRow * sizeof(float), kLabels * sizeof(int32_t)})
      for (size_t at = 0; at + length <= text.size(); ++at)
        if (pieces_.contains(text.substr(at, length))) return true;
    return false;
  }

 private:
  static constexpr int64_t kRow = 8, kLabels = 10;
  std::unordered_set<std::string> pieces_;
};

template <class T>
Bytes bytes_of(const T* values, size_t count) {
  const auto* const data = reinterpret_cast<const std::byte*>(values);
  return Bytes(data, data + count * sizeof(T));
}

/// A run of three workers and a server, each in a thread of its own.
Summary train_apart(const Settings& settings, const DataSource& data, Post& post) {
  constexpr int kProcesses = 4;
  std::vector<Summary> summaries(kProcesses);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < kProcesses; ++rank)
    threads.emplace_back([&, rank] {
      Trainer trainer(settings, data, std::make_shared<ThreadCommunicator>(post, rank, kProcesses));
      summaries[static_cast<size_t>(rank)] = trainer.run();
    });
  for (std::thread& thread : threads) thread.join();
  return summaries.front();
}

/// Whatever the algorithm exchanges besides batches and feedback, it does within eight iterations.
Settings settings_for(const std::string& algorithm) {
  const bool rounds = algorithm == "fl-gan" || algorithm == "fedgan" || algorithm.starts_with("gossip");
  return settings_of(kStrokes, {rounds ? "algorithm.round_iterations=3" : "run.seed=4", "algorithm.name=" + algorithm,
                                "run.iterations=8", "algorithm.batch=10", "run.device=cpu"});
}

TEST(Privacy, TheDetectorFindsRealData) {
  const DataSource data = canaries();
  const Detector detector(data.train);
  const uint8_t* const picture = data.train.images() + 5 * kPixels;
  const std::vector<float> values = Detector::as_floats(picture, kPixels);
  Bytes hidden(3 + 4 * 100);
  std::memcpy(hidden.data() + 3, values.data() + 300, 4 * 100);
  EXPECT_TRUE(detector.finds(hidden));
  EXPECT_TRUE(detector.finds(bytes_of(picture, kPixels)));
  EXPECT_TRUE(detector.finds(bytes_of(data.train.labels().data(), 12)));
  const std::vector<float> others(kPixels, 0.25f);
  EXPECT_FALSE(detector.finds(bytes_of(others.data(), others.size())));
  // What networks see is what is looked for: a batch that the engine drew.
  Stage stage(settings_for("local"), data);
  BatchBuffer batch(stage.device(), 3, 10, stage.shards().shape(), true);
  stage.world().next_iteration();
  stage.shards().sample(stage.world().worker_key(RandomStream::kSamples), 1, batch.view(3));
  std::vector<float> drawn(kPixels * 30);
  stage.device()->download(drawn.data(), batch.view(3).x.data, drawn.size() * sizeof(float));
  EXPECT_TRUE(detector.finds(bytes_of(drawn.data(), drawn.size())));
}

TEST(Privacy, NoRealPictureOrLabelEntersAMessage) {
  const DataSource data = canaries();
  const Detector detector(data.train);
  int algorithms = 0;
  for (const auto& [name, kind] : algorithm_kinds()) {
    if (!kind.spreads || name == "standalone") continue;
    SCOPED_TRACE(name);
    ++algorithms;
    Post post;
    const Summary summary = train_apart(settings_for(name), data, post);
    EXPECT_EQ(summary.iterations, 8);
    EXPECT_FALSE(post.sent().empty());
    for (const Bytes& message : post.sent()) ASSERT_FALSE(detector.finds(message)) << message.size() << " bytes";
    for (const auto& [key, traffic] : summary.ledger.entries()) {
      // Labels are those that the server drew for what its generator made.
      if (std::get<0>(key) == MessageKind::kLabels) {
        EXPECT_EQ(std::get<1>(key), kServer);
      }
    }
  }
  EXPECT_GE(algorithms, 8);
}

TEST(Wire, CarriesWhatTheLedgerSays) {
  for (const std::vector<std::string>& options : std::vector<std::vector<std::string>>{
           {},
           {"algorithm.compress_batches=bf16", "algorithm.compress_feedback=bf16"},
           {"algorithm.compress_batches=int8", "algorithm.compress_feedback=top-k"}}) {
    SCOPED_TRACE(fmt::format("{}", fmt::join(options, " ")));
    Post post;
    Settings settings = settings_for("md-gan");
    for (const std::string& option : options) settings.set(option);
    const Summary summary = train_apart(settings, canaries(), post);
    EXPECT_GT(summary.ledger.total(MessageKind::kDiscriminators).bytes, 0);
    const auto ledger = static_cast<double>(summary.ledger.total().bytes);
    EXPECT_GE(static_cast<double>(post.bytes()), ledger);
    EXPECT_LE(static_cast<double>(post.bytes()), 1.02 * ledger);
  }
}

}  // namespace
}  // namespace agon::training
