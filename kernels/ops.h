#pragma once

// Every operation a device must offer: one argument struct per operation, with the shapes in its comments.
//
// Conventions
//   R         replicas of a fleet; every operand is a Block: replica r starts `stride` elements after replica r-1,
//             and stride 0 means that all replicas share one block.
//   images    channels last, [R, B, H, W, C]; a fully connected layer sees [R, B, F].
//   matrices  row-major.
//   split     a network of one replica (a server's generator) may spread one operation over threads; a fleet of many
//             does not. It follows from the network's logical role, never from where it runs, so that rounding does
//             not depend on placement.
// An operation whose output is the input of the next needs no synchronisation: a device runs them in order.

// Two operations are equal when they would do the same: every field, and what a matrix holds rather than where.

#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

#ifdef __CUDACC__
#define AGON_DEVICE_INLINE __host__ __device__ inline
#else
#define AGON_DEVICE_INLINE inline
#endif

namespace agon {

template <class T>
struct Block {
  T* data = nullptr;
  int64_t stride = 0;  ///< elements between replicas; 0: shared

  AGON_DEVICE_INLINE T* at(int64_t replica) const { return data + replica * stride; }
  AGON_DEVICE_INLINE explicit operator bool() const { return data != nullptr; }
  AGON_DEVICE_INLINE operator Block<const T>() const requires(!std::is_const_v<T>) { return {data, stride}; }
  bool operator==(const Block&) const = default;
};
using Floats = Block<float>;
using ConstFloats = Block<const float>;
using Ints = Block<int32_t>;
using ConstInts = Block<const int32_t>;

/// How products of dense and convolution layers round their operands: not at all, to 10 bits of mantissa where the
/// device has units for that (others compute in fp32), or to bfloat16. Sums and everything else are fp32.
enum class Precision { kFp32, kTf32, kBf16 };
enum class Activation { kNone, kRelu, kLeakyRelu, kTanh, kSigmoid, kElu };

/// Who draws: random numbers are a pure function of (seed, stream, worker, iteration, draw, element).
struct RandomKey {
  uint64_t seed = 0;
  uint32_t stream = 0;                  ///< what the numbers are for (see engine/random.h)
  uint32_t draw = 0;                    ///< which draw of this stream within the iteration
  const uint32_t* workers = nullptr;    ///< [R] worker number of each replica; null: replica number
  const uint64_t* iteration = nullptr;  ///< device-resident iteration counter; null: 0
  bool operator==(const RandomKey&) const = default;
};

namespace ops {

/// c[r] = a[r] * b[r] (+ c[r]); op(a) is [m, k], op(b) is [k, n], c is [m, n]. A transposed operand is stored the
/// other way round: a [k, m] when transpose_a, b [n, k] when transpose_b. Dense (no padding between rows).
struct Gemm {
  int64_t replicas, m, n, k;
  bool transpose_a = false, transpose_b = false;
  ConstFloats a, b;
  Floats c;
  bool accumulate = false;
  Precision precision = Precision::kFp32;
  bool split = false;
  bool operator==(const Gemm&) const = default;
};

/// 2-D cross-correlation between an image side x [R, B, H, W, Cin] and a map side y [R, B, H', W', Cout], with
/// w [R, K, K, Cin, Cout], H' = (H + 2 pad - K) / stride + 1.
///   kForward        y = x * w          (reads x, w; overwrites y)
///   kInputGrad      x = y * w^T        (reads y, w; overwrites x): also the forward pass of a transposed convolution
///   kWeightGrad     w = sum over B, H', W' of x (x) y   (reads x, y; overwrites w)
struct Convolution {
  enum class Direction { kForward, kInputGrad, kWeightGrad };
  Direction direction;
  int64_t replicas, batch;
  int64_t height, width, in_channels;           // H, W, Cin
  int64_t out_height, out_width, out_channels;  // H', W', Cout
  int64_t kernel, stride, pad;
  Floats x, w, y;
  Precision precision = Precision::kFp32;
  bool split = false;
  bool operator==(const Convolution&) const = default;
};

/// y = f(y + bias), in place over y [R, rows, cols], bias [R, cols] or null.
struct BiasActivation {
  int64_t replicas, rows, cols;
  Floats y;
  ConstFloats bias;
  Activation activation = Activation::kNone;
  float slope = 0.2f;  ///< of LeakyReLU below 0; alpha of ELU
  bool split = false;
  bool operator==(const BiasActivation&) const = default;
};

/// dy <- dy * f'(y) in place; dbias [R, cols] (null: not wanted) is overwritten with the sum over rows, in row order.
struct BiasActivationGrad {
  int64_t replicas, rows, cols;
  Floats dy;
  ConstFloats y;  ///< the activation's output
  Floats dbias;
  Activation activation = Activation::kNone;
  float slope = 0.2f;
  bool split = false;
  bool operator==(const BiasActivationGrad&) const = default;
};

/// Batch normalisation over the rows of each group: x, y [R, groups, rows, cols] (rows = samples * H * W).
///   training   statistics of the batch; running mean and variance <- (1 - momentum) * running + momentum * batch
///              (unbiased variance, as PyTorch keeps it), updated by every group in turn
///   otherwise  the running statistics
/// saved [R, groups, 2, cols] receives mean and 1/sqrt(var + epsilon), for the backward pass.
struct BatchNorm {
  int64_t replicas, groups, rows, cols;
  ConstFloats x;
  Floats y;
  ConstFloats gamma, beta;           // [R, cols]
  Floats running_mean, running_var;  // [R, cols]
  Floats saved;
  float momentum = 0.1f, epsilon = 1e-5f;
  bool training = true;
  bool split = false;
  bool operator==(const BatchNorm&) const = default;
};

/// Backward of BatchNorm in training mode. dx may be null, dgamma and dbeta may be null together; both are overwritten.
struct BatchNormGrad {
  int64_t replicas, groups, rows, cols;
  ConstFloats x, dy;
  ConstFloats gamma, saved;
  Floats dx, dgamma, dbeta;
  bool split = false;
  bool operator==(const BatchNormGrad&) const = default;
};

/// Layer normalisation of each row: x, y [R, rows, cols]; saved [R, rows, 2] mean and 1/sqrt(var + epsilon).
struct LayerNorm {
  int64_t replicas, rows, cols;
  ConstFloats x;
  Floats y;
  ConstFloats gamma, beta;  // [R, cols]
  Floats saved;
  float epsilon = 1e-5f;
  bool split = false;
  bool operator==(const LayerNorm&) const = default;
};
struct LayerNormGrad {
  int64_t replicas, rows, cols;
  ConstFloats x, dy, gamma, saved;
  Floats dx, dgamma, dbeta;
  bool split = false;
  bool operator==(const LayerNormGrad&) const = default;
};

/// y = x * mask / (1 - rate), the mask a function of the key alone, so the backward pass is the same operation on dy.
struct Dropout {
  int64_t replicas, count;  // elements per replica
  ConstFloats x;
  Floats y;  ///< may be x
  float rate;
  RandomKey key;
  bool split = false;
  bool operator==(const Dropout&) const = default;
};

/// Pooling of x [R, B, H, W, C] to y [R, B, H', W', C], H' = (H + 2 pad - K) / stride + 1 (windows clipped at the
/// edges; an average counts only the elements inside).
struct Pool {
  enum class Kind { kMax, kAverage };
  Kind kind;
  int64_t replicas, batch, height, width, channels, out_height, out_width, kernel, stride, pad;
  ConstFloats x;
  Floats y;
  bool split = false;
  bool operator==(const Pool&) const = default;
};
/// dx is overwritten. A maximum passes its gradient to the first element that attains it.
struct PoolGrad {
  Pool::Kind kind;
  int64_t replicas, batch, height, width, channels, out_height, out_width, kernel, stride, pad;
  ConstFloats x, y, dy;
  Floats dx;
  bool split = false;
  bool operator==(const PoolGrad&) const = default;
};

/// Nearest-neighbour upsampling of x [R, B, H, W, C] to y [R, B, H f, W f, C].
struct Upsample {
  int64_t replicas, batch, height, width, channels, factor;
  ConstFloats x;
  Floats y;
  bool split = false;
  bool operator==(const Upsample&) const = default;
};
/// dx [R, B, H, W, C] = sums of dy over each f x f block.
struct UpsampleGrad {
  int64_t replicas, batch, height, width, channels, factor;
  ConstFloats dy;
  Floats dx;
  bool split = false;
  bool operator==(const UpsampleGrad&) const = default;
};

/// y[r, b, j, i] = x[r, b, i, j]: between channels-last images and the flat feature order of PyTorch (channels first).
struct Transpose {
  int64_t replicas, batch, rows, cols;  // x [R, B, rows, cols]
  ConstFloats x;
  Floats y;
  bool split = false;
  bool operator==(const Transpose&) const = default;
};

/// y[r, b, :] = table[label] (times x[r, b, :] when x is given): a class label enters a network. table [R, classes,
/// cols].
struct Embedding {
  int64_t replicas, batch, cols, classes;
  ConstInts labels;  // [R, B]
  ConstFloats table;
  ConstFloats x;
  Floats y;
  bool split = false;
  bool operator==(const Embedding&) const = default;
};
/// dtable is overwritten: dtable[label] = sum over the samples of that label, in order, of dy (times x).
/// dx (null: not wanted) = dy * table[label].
struct EmbeddingGrad {
  int64_t replicas, batch, cols, classes;
  ConstInts labels;
  ConstFloats table, x, dy;
  Floats dtable, dx;
  bool split = false;
  bool operator==(const EmbeddingGrad&) const = default;
};

/// Mini-batch discrimination (Salimans et al. 2016, section 3.2), its pairwise part. m [R, G, B, kernels, dims] is the
/// projection x T of every sample of a group; o_ik = sum over j != i in the group of exp(-|m_ik - m_jk|_1).
/// y [R, G, B, features + kernels] = [x, o].
struct MinibatchDiscrimination {
  int64_t replicas, groups, batch, features, kernels, dims;
  ConstFloats x, m;
  Floats y;
  bool split = false;
  bool operator==(const MinibatchDiscrimination&) const = default;
};
/// dm is overwritten; dx (null: not wanted) is overwritten with the first `features` columns of dy.
struct MinibatchDiscriminationGrad {
  int64_t replicas, groups, batch, features, kernels, dims;
  ConstFloats m, y, dy;
  Floats dm, dx;
  bool split = false;
  bool operator==(const MinibatchDiscriminationGrad&) const = default;
};

enum class GanLossKind { kMinimax, kNonSaturating, kLeastSquares, kHinge, kWasserstein };
enum class GanRole { kReal, kFake, kGenerator };  ///< whose error: D on real data, D on generated data, or G's

/// Value and gradient of a GAN loss on logits [R, B, 1 + classes]: column 0 is real/fake, the others are the class head
/// of an ACGAN (classes 0: none), trained with softmax cross-entropy on `labels` [R, B], weighted by auxiliary_weight.
///   kMinimax        D: -log D(x), -log(1 - D(x))   G: log(1 - D(x))       (Goodfellow 2014; D = sigmoid(logit))
///   kNonSaturating  D: the same                     G: -log D(x)
///   kLeastSquares   D: (l - 1)^2 / 2, l^2 / 2        G: (l - 1)^2 / 2      (Mao 2017; l the logit)
///   kHinge          D: max(0, 1 - l), max(0, 1 + l)  G: -l
///   kWasserstein    D: -l, l                         G: -l
/// dlogits [R, B, 1 + classes] is overwritten with `scale` times the per-sample gradient (scale 1/B: gradient of the
/// mean). loss [R] (null: not wanted) += the mean over B of the samples' losses, in order.
struct GanLoss {
  GanLossKind kind;
  GanRole role;
  int64_t replicas, batch, classes;
  ConstFloats logits;
  ConstInts labels;
  Floats dlogits;
  Floats loss;
  float scale = 1.f;
  float auxiliary_weight = 1.f;
  bool operator==(const GanLoss&) const = default;
};

/// Softmax cross-entropy of logits [R, B, classes] with labels [R, B]; as GanLoss otherwise. correct [R] (null: not
/// wanted) += number of samples whose largest logit is the label's.
struct SoftmaxLoss {
  int64_t replicas, batch, classes;
  ConstFloats logits;
  ConstInts labels;
  Floats dlogits;
  Floats loss, correct;
  float scale = 1.f;
  bool operator==(const SoftmaxLoss&) const = default;
};

/// Adam (Kingma & Ba 2014) over a whole fleet, one launch. w, g, m, v [R, count]; learning_rate [R]; steps [R] is
/// incremented first and is the t of the bias corrections 1 - beta^t. g is multiplied by grad_scale.
struct Adam {
  int64_t replicas, count;
  Floats w;
  ConstFloats g;
  Floats m, v;
  ConstFloats learning_rate;
  Block<int32_t> steps;
  float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f, grad_scale = 1.f;
  bool split = false;
  bool operator==(const Adam&) const = default;
};
/// m <- momentum m + g; w <- w - lr m (PyTorch's SGD).
struct Sgd {
  int64_t replicas, count;
  Floats w;
  ConstFloats g;
  Floats m;
  ConstFloats learning_rate;
  Block<int32_t> steps;
  float momentum = 0.f, grad_scale = 1.f;
  bool split = false;
  bool operator==(const Sgd&) const = default;
};
/// v <- alpha v + (1 - alpha) g^2; w <- w - lr g / (sqrt(v) + epsilon).
struct RmsProp {
  int64_t replicas, count;
  Floats w;
  ConstFloats g;
  Floats v;
  ConstFloats learning_rate;
  Block<int32_t> steps;
  float alpha = 0.99f, epsilon = 1e-8f, grad_scale = 1.f;
  bool split = false;
  bool operator==(const RmsProp&) const = default;
};
/// w <- min(max(w, -bound), bound): the weight clipping of WGAN.
struct Clip {
  int64_t replicas, count;
  Floats w;
  float bound;
  bool split = false;
  bool operator==(const Clip&) const = default;
};

/// y[r, i] = value.
struct Fill {
  int64_t replicas, count;
  Floats y;
  float value = 0.f;
  bool operator==(const Fill&) const = default;
};

/// y[r, i] drawn with the key: normal (mean a, standard deviation b) or uniform in [a, b).
struct RandomFill {
  enum class Kind { kNormal, kUniform };
  Kind kind;
  int64_t replicas, count;
  Floats y;
  float a = 0.f, b = 1.f;
  RandomKey key;
  bool split = false;
  bool operator==(const RandomFill&) const = default;
};
/// y[r, i] uniform in 0..classes-1.
struct RandomLabels {
  int64_t replicas, count, classes;
  Ints y;
  RandomKey key;
  bool operator==(const RandomLabels&) const = default;
};

/// A batch of real samples for each replica, read from data resident on the device.
/// Worker n's shard is indices[begin[n] .. begin[n + 1]) (m of them). Its position runs on by `batch` per draw,
/// position = (iteration * draws + draw) * batch + i; within each epoch (position / m) the shard is read in a fresh
/// pseudo-random order, a bijection keyed by (seed, stream, worker, epoch), so every sample is seen once per epoch.
/// Images are U8 [count, C, H, W] -> x [R, B, H, W, C] = u8 * scale + shift; points are F32 [count, C, H, W], copied.
struct Gather {
  int64_t replicas, batch, channels, height, width;
  const uint8_t* images = nullptr;
  const float* points = nullptr;
  const int32_t* labels = nullptr;   ///< [count] or null
  const int32_t* indices = nullptr;  ///< all shards, one after the other
  const int64_t* begin = nullptr;    ///< [workers + 1]
  float scale = 1.f, shift = 0.f;
  uint32_t draws = 1;
  RandomKey key;
  Floats x;
  Ints y;  ///< [R, B] labels; null: not wanted
  bool operator==(const Gather&) const = default;
};

/// The mixing primitive: out[i] = sum over j of M[i][j] * in[j], rows in CSR form, terms in the order listed; `count`
/// elements each. out may be in: the product is then formed block by block. A row with no entries leaves out[i] as it
/// is.
struct Mix {
  int64_t count;  // elements per row
  ConstFloats in;
  Floats out;
  struct Rows {
    std::vector<int64_t> begin;   // [rows + 1]
    std::vector<int64_t> column;  // [entries]
    std::vector<float> weight;    // [entries]
    int64_t rows() const { return static_cast<int64_t>(begin.size()) - 1; }
    bool operator==(const Rows&) const = default;
  };
  std::shared_ptr<const Rows> matrix;
  bool operator==(const Mix& other) const {
    return count == other.count && in == other.in && out == other.out &&
           (matrix == other.matrix || *matrix == *other.matrix);
  }
};
/// The same for labels and other integers; every row selects one column.
struct Select {
  int64_t count;
  ConstInts in;
  Ints out;
  std::shared_ptr<const Mix::Rows> matrix;
  bool operator==(const Select& other) const {
    return count == other.count && in == other.in && out == other.out &&
           (matrix == other.matrix || *matrix == *other.matrix);
  }
};

/// Mixing among liars: out[i] = (sum of row i's weights) times what its columns say together, element by element but
/// for Krum; `count` elements each. NaN counts as the largest value. A row with no entries leaves out[i] as it is.
///   kMedian        the middle value, or the mean of the middle two
///   kTrimmedMean   the mean without the `tolerate` smallest and largest values (fewer where a row is too short)
///   kKrum          the column whose n - tolerate - 2 nearest others (at least one) are nearest in squared distance,
///   the
///                  first of equals (Blanchard et al. 2017)
struct RobustMix {
  enum class Rule { kMedian, kTrimmedMean, kKrum };
  Rule rule;
  int64_t count;
  ConstFloats in;
  Floats out;
  std::shared_ptr<const Mix::Rows> matrix;
  int64_t tolerate = 0;
  bool operator==(const RobustMix& other) const {
    return rule == other.rule && count == other.count && in == other.in && out == other.out &&
           tolerate == other.tolerate && (matrix == other.matrix || *matrix == *other.matrix);
  }
};

/// x [R, rows, cols] becomes what arrives when each row is sent in fewer bits; in place.
///   kBf16   every value rounded to bfloat16
///   kInt8   every value rounded to the nearest multiple of (largest magnitude of the row) / 127
///   kTopK   the `keep` values of largest magnitude, of equal ones the first; the others become 0
/// With error [R, rows, cols] (null: not wanted) the row sent is x + error, and error becomes what was lost.
struct Compress {
  enum class Codec { kBf16, kInt8, kTopK };
  Codec codec;
  int64_t replicas, rows, cols;
  Floats x, error;
  int64_t keep = 0;
  bool operator==(const Compress&) const = default;
};

/// y <- y * a + x * b, element-wise.
struct Axpby {
  int64_t replicas, count;
  ConstFloats x;
  Floats y;
  float a = 1.f, b = 1.f;
  bool split = false;
  bool operator==(const Axpby&) const = default;
};

/// Advances a device-resident counter by one.
struct Advance {
  uint64_t* counter;
  bool operator==(const Advance&) const = default;
};

}  // namespace ops

/// The list of all operations; devices declare and define one `run` for each.
// clang-format off
#define AGON_OPERATIONS(X) \
  X(Gemm) X(Convolution) X(BiasActivation) X(BiasActivationGrad) X(BatchNorm) X(BatchNormGrad) \
  X(LayerNorm) X(LayerNormGrad) X(Dropout) X(Pool) X(PoolGrad) X(Upsample) X(UpsampleGrad) \
  X(Transpose) X(Embedding) X(EmbeddingGrad) X(MinibatchDiscrimination) \
  X(MinibatchDiscriminationGrad) X(GanLoss) X(SoftmaxLoss) X(Adam) X(Sgd) X(RmsProp) X(Clip) X(Fill) \
  X(RandomFill) X(RandomLabels) X(Gather) X(Mix) X(Select) X(RobustMix) X(Compress) X(Axpby) \
  X(Advance)
// clang-format on

}  // namespace agon
