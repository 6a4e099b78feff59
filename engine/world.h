#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "engine/comm/packed_wire.h"
#include "engine/comm/wire.h"
#include "engine/compression.h"
#include "engine/fleet.h"
#include "engine/generator.h"
#include "engine/ledger.h"
#include "engine/mixing.h"
#include "engine/placement.h"

namespace agon {

/// Samples with their class labels (y null when unlabelled).
struct Batch {
  Tensor x;
  Labels y;
  Batch rows(int64_t begin, int64_t count) const { return {x.rows(begin, count), y ? y.rows(begin, count) : Labels{}}; }
  /// The same memory seen as `replicas` replicas of batch / replicas samples: k batches in a row.
  Batch as_replicas(int64_t replicas) const;
  /// The first `replicas` replicas.
  Batch first(int64_t replicas) const;
  /// One replica alone; -1: none.
  Batch only(int64_t replica) const;
};

/// Device memory for a Batch of up to `replicas` replicas.
class BatchBuffer {
 public:
  BatchBuffer() = default;
  BatchBuffer(std::shared_ptr<Device> device, int64_t replicas, int64_t batch, Shape shape, bool labelled);
  Batch view(int64_t replicas) const;

 private:
  TensorBuffer x_;
  LabelBuffer y_;
};

/// What happens to the optimiser's moments of a model that is moved or averaged.
enum class Moments { kStay, kTravel, kReset };
Moments parse_moments(const std::string& name);

/// Which way models take between workers: directly, or up to the server and down again.
enum class Route { kPeers, kServer };

/// How a server merges what several workers say about the same batch.
struct Aggregation {
  enum class Rule { kMean, kMedian, kTrimmedMean, kKrum };
  Rule rule = Rule::kMean;
  int64_t tolerate = 0;  ///< f: liars among them that kTrimmedMean and kKrum allow for
};

/// The participants - a server and N workers - and everything that passes between them. They live in one process or in
/// several; every process plays the same script, with the fleets of its own participants: a fleet of a server has no
/// replica where the server is not, and a fleet of workers has those of the workers that are here(), in their order.
/// Each transfer is entered in the ledger, which is the same in all processes.
class World {
 public:
  /// All participants in this process.
  World(std::shared_ptr<Device> device, int64_t workers, uint64_t seed);
  World(std::shared_ptr<Device> device, uint64_t seed, std::shared_ptr<Communicator> processes, Placement placement);

  int64_t size() const { return static_cast<int64_t>(living_.size()); }
  int64_t workers() const { return workers_; }  ///< N at the start, living or not
  const std::vector<int64_t>& living() const { return living_; }
  bool is_living(int64_t worker) const { return std::binary_search(living_.begin(), living_.end(), worker); }
  void set_living(std::vector<int64_t> living);
  /// Who holds the models of workers: all the living, until set_hosts() says otherwise for fewer models that roam among
  /// them; of those set_living() leaves the living.
  const std::vector<int64_t>& hosts() const { return hosts_; }
  void set_hosts(std::vector<int64_t> hosts);
  bool roaming() const { return hosts_.size() < living_.size(); }
  /// The models of hosts() move on, with or without their moments, the d-th to the d-th of `hosts`, who are hosts()
  /// from then on. In every process `models` has replicas for those who are there; they come from wherever they were.
  void rehost(Fleet& models, std::vector<int64_t> hosts, bool with_moments);

  bool serves() const { return placement_.server == processes_->rank(); }  ///< the server is in this process
  bool spread() const { return processes_->size() > 1; }
  /// Those of hosts() that are in this process: replica r of a worker fleet belongs to worker here()[r].
  const std::vector<int64_t>& here() const { return here_; }
  /// The replica of a worker's model in this process; -1: it is not here, or not living.
  int64_t replica_of(int64_t worker) const;
  /// The number of one of hosts() among them.
  int64_t host_of(int64_t worker) const;
  /// How many models a fleet of workers has in all processes.
  int64_t models(const Fleet& fleet) const { return spread() ? std::ssize(hosts_) : fleet.replicas(); }
  /// The process of a worker.
  int rank_of(int64_t worker) const { return placement_.worker[static_cast<size_t>(worker)]; }
  Communicator& processes() const { return *processes_; }
  /// How device memory gets to other processes from now on; at first through the host's.
  void set_carrier(std::shared_ptr<Carrier> carrier) { carrier_ = std::move(carrier); }
  const Carrier& carrier() const { return *carrier_; }

  int64_t iteration() const { return iteration_; }  ///< the current global iteration, from 1; 0 before the first
  void next_iteration();
  void set_iteration(int64_t iteration);

  uint64_t seed() const { return seed_; }
  RandomKey server_key(RandomStream stream, uint32_t draw = 0) const;
  /// Of replica 0, 1, ...: workers here()[first], here()[first + 1], ...
  RandomKey worker_key(RandomStream stream, uint32_t draw = 0, int64_t first = 0) const;
  /// Of one worker, wherever it is.
  RandomKey key_of(int64_t worker, RandomStream stream, uint32_t draw = 0) const;
  /// Draws that every participant makes alike, in this iteration.
  HostRandom shared_random(RandomStream stream) const;

  /// The server sends worker n batch number (n + shift) mod k of the k in `batches` [k, b, ...]; workers count from 1
  /// (Hardy et al. 2019, section IV.B.1). Arrives in `to` [workers here, b, ...].
  void deal(const Batch& batches, int64_t shift, const Batch& to, const Compression& compression = {});
  /// How feedback gets to the server and what becomes of it. `error` [N, b, ...] keeps what the compression lost.
  struct Collection {
    Compression compression = {};
    Floats error = {};
    Aggregation aggregation = {};
  };
  /// The workers send their feedback F_n [workers here, b, ...] on the `batches` batches dealt with `shift`. For each
  /// batch the server sums what its workers sent, in worker order, times `scale`; a batch that nobody judged gets 0:
  /// [k, b, ...]. With another rule than the mean, each of a batch's workers counts as if it had said what the rule
  /// makes of all.
  void collect(const Tensor& feedback, int64_t shift, float scale, const Tensor& sums, int64_t batches,
               const Collection& how);
  void collect(const Tensor& feedback, int64_t shift, float scale, const Tensor& sums, int64_t batches) {
    collect(feedback, shift, scale, sums, batches, Collection{});
  }
  /// deal() with worker `n` alone, of a single batch [1, b, ...], which arrives in `to` where the worker is.
  void deal_to(int64_t n, const Batch& batch, bool labelled, const Batch& to);
  /// collect() from worker `n` alone: its feedback F_n [1, b, ...], at the server until the next that is collected.
  Tensor collect_from(int64_t n, const Tensor& feedback);
  /// theta' = M theta over the workers' models, entered in the ledger as `kind` along `route`. Moments that travel
  /// are mixed and counted as the weights are; moments that are reset are those of the models that changed. With `wire`
  /// kBf16 all models, as they are sent and as they come back, are rounded to 16 bits a number.
  void mix(Fleet& models, const Mixing& matrix, MessageKind kind, Route route, Moments moments,
           Precision wire = Precision::kFp32);
  /// Every worker gets a copy of the server's model: weights and running statistics.
  void broadcast(const Fleet& server, Fleet& models, MessageKind kind, Precision wire = Precision::kFp32);
  /// Every worker's gradients become the mean of all, in worker order. In the ledger as a ring all-reduce: each worker
  /// passes 2 (N - 1) messages of a part of the gradients to the next one (Patarasuk & Yuan 2009).
  void all_reduce_gradients(Fleet& models);

  /// Who has copies of whose models: the r-th of hosts() has those of neighbours[r], numbers in hosts(), its own first.
  using Neighbours = std::vector<std::vector<int64_t>>;
  /// Every worker sends its model, with its moments, to those that have it in their neighbourhood. Entered in the
  /// ledger; what has to be copied, invite() copies.
  void exchange(const Fleet& models, const Neighbours& neighbours, MessageKind kind);
  /// Workers of other processes that are neighbours of some here. Copies of their models are kept by a fleet that has
  /// room for them, behind those of here(); with all workers in one process there are none.
  std::vector<int64_t> guests(const Neighbours& neighbours) const { return guests(neighbours, processes_->rank()); }
  /// Brings the guests' models as they are now, with their optimisers.
  void invite(const Neighbours& neighbours, Fleet& models) const;
  /// For each worker here its neighbours, as replicas of such a fleet.
  Neighbours replicas_of(const Neighbours& neighbours) const;
  /// Copies without a message, of models that are in this process: `to`'s replica r becomes `from`'s replica source[r]
  /// (-1: it stays as it is), on request with moments, step count and learning rate.
  void select(const Fleet& from, Fleet& to, const std::vector<int64_t>& source, bool with_moments);

  /// Model number `host` of hosts(), as it is: at the server's process; elsewhere nothing. Called by all processes.
  GeneratorWeights fetch(const Fleet& models, int64_t host) const;
  /// The same into a server's fleet of the same network.
  void fetch(const Fleet& models, int64_t host, Fleet& server);
  /// An array of all models of hosts(), [hosts][count] at the server's process; elsewhere nothing.
  std::vector<float> fetch_array(const Fleet::Arena& arena) const;
  /// All arrays of the model of worker `from`, with its optimiser, become those of worker `to`: `source` and `target`
  /// are their replicas, where they are here.
  void copy_model(Fleet& models, int64_t from, int64_t source, int64_t to, int64_t target) const;
  /// `each` values for each worker here -> as many for each of hosts(), in their order, in every process.
  template <class T>
  std::vector<T> gather(std::vector<T> values, int64_t each = 1) const {
    const size_t count = hosts_.size() * static_cast<size_t>(each);
    if (!spread()) {
      values.resize(count);
      return values;
    }
    std::vector<T> all(count);
    gather(values.data(), all.data(), static_cast<size_t>(each) * sizeof(T));
    return all;
  }

  Ledger& ledger() { return ledger_; }
  const Ledger& ledger() const { return ledger_; }
  Device& device() const { return *device_; }
  std::shared_ptr<Device> shared_device() const { return device_; }

  /// The messages that `deal`, `collect` and `mix` will make: the plan's side of the same rules.
  static void plan_deal(std::vector<Transfer>& plan, const std::vector<int64_t>& living, int64_t batch,
                        const Shape& shape, bool labelled, const Compression& compression = {});
  static void plan_collect(std::vector<Transfer>& plan, const std::vector<int64_t>& living, int64_t batch,
                           const Shape& shape, const Compression& compression = {});
  static void plan_mix(std::vector<Transfer>& plan, const std::vector<int64_t>& living, const Mixing& matrix,
                       int64_t model_floats, MessageKind kind, Route route, Precision wire = Precision::kFp32);
  static void plan_exchange(std::vector<Transfer>& plan, const std::vector<int64_t>& living,
                            const Neighbours& neighbours, int64_t model_floats, MessageKind kind);
  static void plan_broadcast(std::vector<Transfer>& plan, const std::vector<int64_t>& living, int64_t model_floats,
                             MessageKind kind, Precision wire = Precision::kFp32);
  static void plan_all_reduce(std::vector<Transfer>& plan, const std::vector<int64_t>& living, int64_t gradients);
  /// One whole model of Fleet::model_floats() from one participant to another.
  static Transfer model_transfer(int64_t model_floats, MessageKind kind, int64_t from, int64_t to,
                                 Precision wire = Precision::kFp32);

 private:
  void gather(const void* values, void* all, size_t bytes) const;
  int host_rank(int64_t host) const { return rank_of(hosts_[static_cast<size_t>(host)]); }
  /// Where worker number `host` of hosts() is in `base` [workers here] with `stride` floats each; null if it is not
  /// here.
  float* at(int64_t host, float* base, int64_t stride) const;
  /// theta' = M theta over an array [workers here][count]. Every row is formed at process `former`, or, if that is
  /// kEach, where its worker is.
  static constexpr int kEach = -1;
  void mix_array(float* data, int64_t count, const Mixing& matrix, int former, const Compression& compression = {});
  void gather_feedback(const Tensor& feedback, Tensor& all, const Collection& how);
  std::vector<int64_t> guests(const Neighbours& neighbours, int rank) const;
  /// All arrays of a model, with its optimiser: replica `source` of process `from` to replica `target` of process `to`.
  static void move_model(Wire& wire, Fleet& models, int from, int64_t source, int to, int64_t target);

  std::shared_ptr<Device> device_;
  std::shared_ptr<Communicator> processes_;
  Placement placement_;
  int64_t workers_;
  uint64_t seed_;
  std::vector<int64_t> living_, hosts_, here_;
  int64_t iteration_ = 0;
  Buffer<uint64_t> device_iteration_;  // [1]
  Buffer<uint32_t> worker_numbers_;    // [N], of the hosts here
  Buffer<uint32_t> all_numbers_;       // [N], 0 .. N - 1
  Buffer<uint32_t> server_number_;     // [1]
  Buffer<float> staging_, formed_;     // of other processes: what comes in, and what goes back
  Buffer<float> arrived_;              // models in the making
  Ledger ledger_;
  std::shared_ptr<Carrier> carrier_;
};

}  // namespace agon
