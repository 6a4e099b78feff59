// What passes between the server and its workers: dealing, collecting, mixing, and the ledger of it.
#include "engine/world.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "tests/devices.h"

namespace agon {
namespace {

constexpr int64_t kBatch = 2;         // b
const Shape kSample{1, 3, 2};         // d = 6
constexpr int64_t kBatchFloats = 12;  // b d

/// k batches, batch j filled with 10 j + position; labels 100 j + position.
struct Generated {
  Generated(std::shared_ptr<Device> device, int64_t k)
      : buffer(device, k, kBatch, kSample, true), batch(buffer.view(k)) {
    std::vector<float> x;
    std::vector<int32_t> y;
    for (int64_t j = 0; j < k; ++j) {
      for (int64_t i = 0; i < kBatchFloats; ++i) x.push_back(static_cast<float>(100 * j + i));
      for (int64_t i = 0; i < kBatch; ++i) y.push_back(static_cast<int32_t>(100 * j + i));
    }
    device->upload(batch.x.data, x.data(), x.size() * sizeof(float));
    device->upload(batch.y.data, y.data(), y.size() * sizeof(int32_t));
  }
  BatchBuffer buffer;
  Batch batch;
};

template <class T>
std::vector<T> host(Device& device, const T* from, int64_t count) {
  std::vector<T> values(static_cast<size_t>(count));
  device.download(values.data(), from, values.size() * sizeof(T));
  return values;
}

struct DealRow {
  int64_t workers, k, shift;
  std::vector<int64_t> batch_of_worker;  ///< from 0, written out by hand
};

TEST(World, DealsByThePapersFormula) {
  // X_n^g = X^((n mod k) + 1), X_n^d = X^(((n + 1) mod k) + 1), workers n = 1 .. N and batches from 1.
  const DealRow rows[] = {
      {1, 1, 0, {0}},         {3, 1, 0, {0, 0, 0}},       {3, 1, 1, {0, 0, 0}},       {3, 2, 0, {1, 0, 1}},
      {3, 2, 1, {0, 1, 0}},   {5, 3, 0, {1, 2, 0, 1, 2}}, {5, 3, 1, {2, 0, 1, 2, 0}}, {4, 4, 0, {1, 2, 3, 0}},
      {4, 4, 1, {2, 3, 0, 1}}};
  const auto device = test_device(2);
  for (const DealRow& row : rows) {
    SCOPED_TRACE(fmt::format("N = {}, k = {}, shift {}", row.workers, row.k, row.shift));
    World world(device, row.workers, 1);
    const Generated fake(device, row.k);
    BatchBuffer buffer(device, row.workers, kBatch, kSample, true);
    const Batch to = buffer.view(row.workers);
    world.deal(fake.batch, row.shift, to);
    for (int64_t n = 0; n < row.workers; ++n) {
      const int64_t j = row.batch_of_worker[static_cast<size_t>(n)];
      EXPECT_EQ(host(*device, to.x.data + n * to.x.stride, kBatchFloats),
                host(*device, fake.batch.x.data + j * fake.batch.x.stride, kBatchFloats))
          << "worker " << n + 1;
      EXPECT_EQ(host(*device, to.y.data + n * to.y.stride, kBatch),
                host(*device, fake.batch.y.data + j * fake.batch.y.stride, kBatch))
          << "labels of worker " << n + 1;
      EXPECT_EQ(world.ledger().received(MessageKind::kBatches, n), (Traffic{kBatchFloats * 4, 1}));
      EXPECT_EQ(world.ledger().received(MessageKind::kLabels, n), (Traffic{kBatch * 4, 1}));
    }
    EXPECT_EQ(world.ledger().sent(MessageKind::kBatches, kServer),
              (Traffic{row.workers * kBatchFloats * 4, row.workers}));
    EXPECT_EQ(world.ledger().total(MessageKind::kFeedback), Traffic{});
  }
}

TEST(World, CollectsSumsInWorkerOrder) {
  const auto device = test_device(2);
  struct Row {
    int64_t workers, k, shift, places;
  };
  for (const Row& row : {Row{1, 1, 0, 1}, Row{3, 2, 0, 2}, Row{5, 3, 0, 3}, Row{5, 3, 1, 3}, Row{4, 1, 0, 1},
                         Row{2, 3, 0, 3}, Row{2, 2, 0, 4}}) {
    SCOPED_TRACE(fmt::format("N = {}, k = {}, shift {}", row.workers, row.k, row.shift));
    World world(device, row.workers, 1);
    TensorBuffer feedback(device, row.workers, kBatch, kSample), sums(device, row.places, kBatch, kSample);
    std::vector<float> values;
    for (int64_t i = 0; i < row.workers * kBatchFloats; ++i) values.push_back(1.f / static_cast<float>(3 + i));
    feedback.set(values);
    sums.set(std::vector<float>(static_cast<size_t>(row.places * kBatchFloats), 77.f));
    constexpr float kScale = 0.3f;
    world.collect(feedback, row.shift, kScale, sums, row.k);
    const std::vector<float> found = sums.host();
    for (int64_t j = 0; j < row.places; ++j)
      for (int64_t i = 0; i < kBatchFloats; ++i) {
        double expected = 0;
        for (int64_t n = 1; n <= row.workers; ++n)
          if ((n + row.shift) % row.k == j)
            expected += double{kScale} * values[static_cast<size_t>((n - 1) * kBatchFloats + i)];
        EXPECT_NEAR(found[static_cast<size_t>(j * kBatchFloats + i)], expected, 1e-6 * std::abs(expected))
            << "batch " << j << ", element " << i;
      }
    for (int64_t n = 0; n < row.workers; ++n)
      EXPECT_EQ(world.ledger().sent(MessageKind::kFeedback, n), (Traffic{kBatchFloats * 4, 1}));
  }
}

TEST(World, CollectingBelongsToDealing) {
  // What a worker says about X^g comes back to the batch it was dealt: deal batch numbers, send them back unchanged.
  const auto device = test_device(1);
  World world(device, 7, 1);
  const Generated fake(device, 3);
  BatchBuffer buffer(device, 7, kBatch, kSample, true);
  world.deal(fake.batch, 0, buffer.view(7));
  TensorBuffer sums(device, 3, kBatch, kSample);
  world.collect(buffer.view(7).x, 0, 1.f, sums, 3);
  const std::vector<float> found = sums.host(), sent = host(*device, fake.batch.x.data, 3 * kBatchFloats);
  const int64_t judges[] = {2, 3, 2};  // workers 3, 6; 1, 4, 7; 2, 5
  for (int64_t j = 0; j < 3; ++j)
    for (int64_t i = 0; i < kBatchFloats; ++i)
      EXPECT_EQ(found[static_cast<size_t>(j * kBatchFloats + i)],
                static_cast<float>(judges[j]) * sent[static_cast<size_t>(j * kBatchFloats + i)]);
}

TEST(World, TheLivingCloseRanks) {
  const auto device = test_device(1);
  World world(device, 5, 1);
  EXPECT_EQ(world.replica_of(4), 4);
  world.set_living({1, 3, 4});
  EXPECT_EQ(world.size(), 3);
  EXPECT_EQ(world.workers(), 5);
  EXPECT_EQ(world.replica_of(3), 1);
  EXPECT_EQ(world.replica_of(0), -1);
  EXPECT_EQ(host(*device, world.worker_key(RandomStream::kNoise).workers, 3), (std::vector<uint32_t>{1, 3, 4}))
      << "a worker draws under its own number, wherever its replica lies";
  const Generated fake(device, 2);
  BatchBuffer buffer(device, 5, kBatch, kSample, true);
  world.deal(fake.batch, 0, buffer.view(3));
  EXPECT_EQ(world.ledger().received(MessageKind::kBatches, 4).messages, 1);
  EXPECT_EQ(world.ledger().received(MessageKind::kBatches, 2).messages, 0);
  world.set_living({});
  EXPECT_EQ(world.size(), 0);
}

TEST(World, CountsIterationsOnBothSides) {
  const auto device = test_device(1);
  World world(device, 2, 9);
  const uint64_t* counter = world.server_key(RandomStream::kNoise).iteration;
  EXPECT_EQ(host(*device, counter, 1).front(), 0u);
  world.next_iteration(), world.next_iteration();
  EXPECT_EQ(world.iteration(), 2);
  EXPECT_EQ(host(*device, counter, 1).front(), 2u);
  world.set_iteration(41);
  world.next_iteration();
  EXPECT_EQ(host(*device, counter, 1).front(), 42u);
  EXPECT_EQ(world.shared_random(RandomStream::kMixing).bits(),
            HostRandom(9, RandomStream::kMixing, kServerDraws, 42).bits());
}

/// A fleet whose arenas all hold values that tell the replica: 1000 r + 100 (arena) + position.
struct Models {
  Models(std::shared_ptr<Device> device, int64_t replicas)
      : network(std::make_shared<Network>(
            "discriminator", Shape{1, 1, 3},
            parse_layers(nlohmann::json::parse(R"(["dense 2","batch_norm"])"), "discriminator", 1))),
        fleet(device, network, {.replicas = replicas}) {
    std::vector<int32_t> steps;
    int64_t a = 0;
    for (const Fleet::Arena& arena : fleet.arenas()) {
      std::vector<float> values;
      for (int64_t r = 0; r < replicas; ++r)
        for (int64_t i = 0; i < arena.count; ++i) values.push_back(static_cast<float>(1000 * r + 100 * a + i));
      device->upload(arena.data, values.data(), values.size() * sizeof(float));
      ++a;
    }
    for (int64_t r = 0; r < replicas; ++r) steps.push_back(static_cast<int32_t>(10 + r));
    fleet.set_steps(steps);
  }
  std::vector<float> arena(size_t index, int64_t replica) const {
    const Fleet::Arena arena = fleet.arenas()[index];
    return host(fleet.device(), arena.data + replica * arena.count, arena.count);
  }
  std::shared_ptr<const Network> network;
  Fleet fleet;
};

constexpr int64_t kModel = (3 * 2 + 2 + 2 + 2) + 4, kMoments = 2 * 12;  // floats: weights and state; Adam's moments

TEST(World, SwapsExactly) {
  const auto device = test_device(2);
  const std::vector<int64_t> source = {2, 0, 1, 3};  // worker 3 keeps its own
  for (const Moments moments : {Moments::kStay, Moments::kTravel, Moments::kReset}) {
    SCOPED_TRACE(static_cast<int>(moments));
    World world(device, 4, 1);
    Models models(device, 4);
    const Models before(device, 4);
    world.mix(models.fleet, Mixing::permutation(source), MessageKind::kDiscriminators, Route::kPeers, moments);
    for (int64_t r = 0; r < 4; ++r) {
      const int64_t from = source[static_cast<size_t>(r)];
      EXPECT_EQ(models.arena(0, r), before.arena(0, from)) << "weights";
      EXPECT_EQ(models.arena(1, r), before.arena(1, from)) << "running statistics";
      for (size_t moment : {size_t{2}, size_t{3}}) {
        const std::vector<float> zero(before.arena(moment, r).size(), 0.f);
        EXPECT_EQ(models.arena(moment, r), moments == Moments::kTravel            ? before.arena(moment, from)
                                           : moments == Moments::kReset && r != 3 ? zero
                                                                                  : before.arena(moment, r))
            << "moments of " << r;
      }
    }
    const std::vector<int32_t> steps = models.fleet.steps();
    EXPECT_EQ(steps, moments == Moments::kStay     ? (std::vector<int32_t>{10, 11, 12, 13})
                     : moments == Moments::kTravel ? (std::vector<int32_t>{12, 10, 11, 13})
                                                   : (std::vector<int32_t>{0, 0, 0, 13}));
    const int64_t bytes = 4 * (kModel + (moments == Moments::kTravel ? kMoments : 0));
    EXPECT_EQ(world.ledger().total(), (Traffic{3 * bytes, 3}));
    EXPECT_EQ(world.ledger().received(MessageKind::kDiscriminators, 0), (Traffic{bytes, 1}));
    EXPECT_EQ(world.ledger().sent(MessageKind::kDiscriminators, 2), (Traffic{bytes, 1}));
    EXPECT_EQ(world.ledger().received(MessageKind::kDiscriminators, 3), Traffic{});
  }
}

TEST(World, AveragesThroughTheServer) {
  const auto device = test_device(2);
  World world(device, 4, 1);
  world.set_living({0, 2, 3});
  Models models(device, 3);
  world.mix(models.fleet, Mixing::average(3), MessageKind::kGenerators, Route::kServer, Moments::kStay);
  const Models before(device, 3);
  for (int64_t r = 0; r < 3; ++r) {
    const std::vector<float> mean = models.arena(0, r);
    for (size_t i = 0; i < mean.size(); ++i) EXPECT_NEAR(mean[i], 1000.f + static_cast<float>(i), 1e-3);
    EXPECT_EQ(models.arena(0, r), models.arena(0, 0)) << "all hold the same bits";
    EXPECT_EQ(models.arena(2, r), before.arena(2, r)) << "moments stay";
  }
  for (int64_t worker : {0, 2, 3}) {
    EXPECT_EQ(world.ledger().sent(MessageKind::kGenerators, worker), (Traffic{4 * kModel, 1}));
    EXPECT_EQ(world.ledger().received(MessageKind::kGenerators, worker), (Traffic{4 * kModel, 1}));
  }
  EXPECT_EQ(world.ledger().sent(MessageKind::kGenerators, 1), Traffic{});
  EXPECT_EQ(world.ledger().received(MessageKind::kGenerators, kServer), (Traffic{3 * 4 * kModel, 3}));
  EXPECT_EQ(world.ledger().sent(MessageKind::kGenerators, kServer), (Traffic{3 * 4 * kModel, 3}));
}

TEST(World, AverageOfOneSendsNothing) {
  const auto device = test_device(1);
  World world(device, 1, 1);
  Models models(device, 1);
  const Models before(device, 1);
  world.mix(models.fleet, Mixing::average(1), MessageKind::kGenerators, Route::kServer, Moments::kReset);
  EXPECT_EQ(models.arena(0, 0), before.arena(0, 0));
  EXPECT_EQ(world.ledger().total(), Traffic{});
}

TEST(Mixing, AveragesWithWeights) {
  const Mixing m = Mixing::average(3, {1, 2, 5});
  ASSERT_EQ(m.workers(), 3);
  for (int64_t i = 0; i < 3; ++i) {
    EXPECT_FALSE(m.identity_row(i));
    EXPECT_FLOAT_EQ(m.rows().weight[static_cast<size_t>(3 * i)], 0.125f);
    EXPECT_FLOAT_EQ(m.rows().weight[static_cast<size_t>(3 * i + 1)], 0.25f);
    EXPECT_FLOAT_EQ(m.rows().weight[static_cast<size_t>(3 * i + 2)], 0.625f);
  }
  const Mixing p = Mixing::permutation({1, 0, 2});
  EXPECT_FALSE(p.identity_row(0));
  EXPECT_TRUE(p.identity_row(2));
}

bool is_permutation(const std::vector<int64_t>& source) {
  const std::set<int64_t> values(source.begin(), source.end());
  return values.size() == source.size() && *values.begin() == 0 && *values.rbegin() + 1 == std::ssize(source);
}

TEST(Swap, DerangementsAreOneCycle) {
  for (int64_t workers = 2; workers <= 20; ++workers)
    for (uint64_t iteration = 0; iteration < 50; ++iteration) {
      HostRandom random(1, RandomStream::kMixing, kServerDraws, iteration);
      const std::vector<int64_t> source = swap_sources(SwapKind::kDerangement, workers, random);
      ASSERT_TRUE(is_permutation(source));
      int64_t length = 0;
      for (int64_t at = 0; length == 0 || at != 0; ++length) at = source[static_cast<size_t>(at)];
      ASSERT_EQ(length, workers) << "nobody keeps its own, everyone's travels on";
    }
}

TEST(Swap, EveryCycleIsDrawn) {
  std::set<std::vector<int64_t>> seen;
  for (uint64_t iteration = 0; iteration < 200; ++iteration) {
    HostRandom random(1, RandomStream::kMixing, kServerDraws, iteration);
    seen.insert(swap_sources(SwapKind::kDerangement, 4, random));
  }
  EXPECT_EQ(seen.size(), 6u);  // (4 - 1)! cycles
}

TEST(Swap, PairsExchange) {
  for (int64_t workers = 2; workers <= 9; ++workers) {
    HostRandom random(1, RandomStream::kMixing, kServerDraws, static_cast<uint64_t>(workers));
    const std::vector<int64_t> source = swap_sources(SwapKind::kPairwise, workers, random);
    ASSERT_TRUE(is_permutation(source));
    int64_t alone = 0;
    for (int64_t i = 0; i < workers; ++i) {
      EXPECT_EQ(source[static_cast<size_t>(source[static_cast<size_t>(i)])], i);
      alone += source[static_cast<size_t>(i)] == i;
    }
    EXPECT_EQ(alone, workers % 2);
  }
}

TEST(Swap, RingAndUniform) {
  HostRandom random(1, RandomStream::kMixing);
  EXPECT_EQ(swap_sources(SwapKind::kRing, 4, random), (std::vector<int64_t>{3, 0, 1, 2}));
  bool collided = false;
  for (int turn = 0; turn < 100; ++turn) {
    const std::vector<int64_t> source = swap_sources(SwapKind::kUniform, 5, random);
    for (int64_t from : source) EXPECT_TRUE(from >= 0 && from < 5);
    collided = collided || !is_permutation(source);
  }
  EXPECT_TRUE(collided) << "with random targets some discriminator is lost now and then";
  for (const SwapKind kind : {SwapKind::kDerangement, SwapKind::kPairwise, SwapKind::kRing, SwapKind::kUniform})
    EXPECT_EQ(swap_sources(kind, 1, random), std::vector<int64_t>{0});
  EXPECT_THROW(parse_swap("random"), Error);
  EXPECT_THROW(parse_moments("go"), Error);
}

TEST(Ledger, KnowsTheBusiestWorker) {
  Ledger ledger;
  EXPECT_EQ(ledger.busiest_worker_bytes(), 0);
  ledger.record(MessageKind::kBatches, kServer, 0, 1000);
  EXPECT_EQ(ledger.busiest_worker_bytes(), 1000);
  ledger.record(MessageKind::kFeedback, 1, kServer, 900);
  ledger.record(MessageKind::kDiscriminators, 2, 1, 200);
  EXPECT_EQ(ledger.busiest_worker_bytes(), 1100) << "worker 1 sent 900 and received 200";
}

TEST(Ledger, CountsAndComesBack) {
  Ledger ledger;
  ledger.record(MessageKind::kBatches, kServer, 2, 100);
  ledger.record(MessageKind::kBatches, kServer, 2, 50);
  ledger.record(MessageKind::kBatches, kServer, 1, 7);
  ledger.record(MessageKind::kFeedback, 2, kServer, 30);
  EXPECT_EQ(ledger.total(MessageKind::kBatches), (Traffic{157, 3}));
  EXPECT_EQ(ledger.received(MessageKind::kBatches, 2), (Traffic{150, 2}));
  EXPECT_EQ(ledger.sent(MessageKind::kBatches, kServer), (Traffic{157, 3}));
  EXPECT_EQ(ledger.sent(MessageKind::kFeedback, 2), (Traffic{30, 1}));
  EXPECT_EQ(ledger.total(), (Traffic{187, 4}));
  EXPECT_EQ(ledger.to_json(),
            nlohmann::json::parse(R"({"batches":{"bytes":157,"messages":3},"feedback":{"bytes":30,"messages":1}})"));
  Ledger again;
  again.record(MessageKind::kControl, 0, 1, 1);
  again.restore(ledger.entries_json());
  EXPECT_EQ(again.entries(), ledger.entries());
}

}  // namespace
}  // namespace agon
