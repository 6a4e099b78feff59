// Matrix products: oneDNN's sgemm in fp32, its matmul primitive in bf16; products with few rows by tiles of our own.
#include <omp.h>

#include <compare>
#include <vector>

#include "kernels/cpu/amx.h"
#include "kernels/cpu/baseline.h"
#include "kernels/cpu/bfloat.h"
#include "kernels/cpu/dnnl_plan.h"
#include "kernels/cpu/few_rows.h"
#include "kernels/cpu/operations.h"
#include "kernels/error.h"

namespace agon::cpu {
namespace {

/// A block of C that one piece computes: rows [row, row + m), columns [col, col + n).
struct Block2 {
  int64_t row, col, m, n;
};

/// C is cut along its longer side into equal blocks, as many as the shape alone decides.
struct Cut {
  int64_t m, n, chunks = 1;
  bool by_rows = true;

  Cut(const ops::Gemm& op) : m(op.m), n(op.n), by_rows(op.m > op.n) {
    if (!op.split) return;
    constexpr int64_t kLeastWork = 1 << 19;  // multiply-adds, some microseconds
    constexpr int64_t kLeastSide = 32, kMostChunks = 16;
    const int64_t side = by_rows ? m : n;
    chunks = std::clamp(std::min(side / kLeastSide, m * n * op.k / kLeastWork), int64_t{1}, kMostChunks);
  }
  Block2 block(int64_t chunk) const {
    // Blocks are multiples of 16, the width of a vector.
    const int64_t side = by_rows ? m : n, units = (side + 15) / 16;
    const int64_t begin = std::min(side, units * chunk / chunks * 16);
    const int64_t end = std::min(side, units * (chunk + 1) / chunks * 16);
    return by_rows ? Block2{begin, 0, end - begin, n} : Block2{0, begin, m, end - begin};
  }
};

/// The product that a block of C is.
Product product_of(const ops::Gemm& op, const Block2& block, int64_t replica) {
  const int64_t lda = op.transpose_a ? op.m : op.k, ldb = op.transpose_b ? op.k : op.n;
  return {block.m,
          block.n,
          op.k,
          op.transpose_a,
          op.transpose_b,
          op.accumulate,
          op.a.at(replica) + (op.transpose_a ? block.row : block.row * lda),
          op.b.at(replica) + (op.transpose_b ? block.col * ldb : block.col),
          op.c.at(replica) + block.row * op.n + block.col,
          lda,
          ldb,
          op.n};
}

void multiply_fp32(const Product& p) {
  const dnnl_status_t status = dnnl_sgemm(p.transpose_a ? 'T' : 'N', p.transpose_b ? 'T' : 'N', p.m, p.n, p.k, 1.f, p.a,
                                          p.lda, p.b, p.ldb, p.accumulate ? 1.f : 0.f, p.c, p.ldc);
  if (status != dnnl_success)
    fail(Fault::kRun, "oneDNN could not multiply a {} x {} matrix by a {} x {} matrix", p.m, p.k, p.k, p.n);
}

struct Bf16Shape {
  int64_t m, n, k, lda, ldb, ldc;
  bool transpose_a, transpose_b, accumulate;
  auto operator<=>(const Bf16Shape&) const = default;
};

/// bf16 x bf16 -> fp32.
struct Bf16Matmul {
  dnnl::matmul primitive;
  dnnl::memory::desc a, b, c, scratchpad;

  static std::shared_ptr<const Bf16Matmul> get(const Bf16Shape& shape) {
    static PlanCache<Bf16Shape, Bf16Matmul> cache;
    return cache.get(shape, make);
  }

  static std::shared_ptr<const Bf16Matmul> make(const Bf16Shape& s) try {
    using dnnl::memory;
    constexpr auto kBf16 = memory::data_type::bf16, kF32 = memory::data_type::f32;
    const auto strides = [](bool transposed, int64_t ld) {
      return transposed ? memory::dims{1, ld} : memory::dims{ld, 1};
    };
    const memory::desc a({s.m, s.k}, kBf16, strides(s.transpose_a, s.lda));
    const memory::desc b({s.k, s.n}, kBf16, strides(s.transpose_b, s.ldb));
    const memory::desc c({s.m, s.n}, kF32, strides(false, s.ldc));
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    if (s.accumulate) {
      dnnl::post_ops post;
      post.append_sum(1.f);
      attributes.set_post_ops(post);
    }
    const auto desc = dnnl_describe<dnnl::matmul>(attributes, a, b, c);
    return std::make_shared<Bf16Matmul>(Bf16Matmul{dnnl::matmul(desc), a, b, c, desc.scratchpad_desc()});
  } catch (const dnnl::error&) {
    return nullptr;  // a processor without AVX-512
  }

  void run(const Bfloat16* from_a, const Bfloat16* from_b, float* to) const {
    primitive.execute(dnnl_stream(), {{DNNL_ARG_SRC, dnnl_memory(a, from_a)},
                                      {DNNL_ARG_WEIGHTS, dnnl_memory(b, from_b)},
                                      {DNNL_ARG_DST, dnnl_memory(c, to)},
                                      {DNNL_ARG_SCRATCHPAD, dnnl_scratchpad(scratchpad)}});
  }
};

/// Rounds `rows` rows of `cols` elements, `ld` apart, into dense rows of scratch.
template <class T, class Convert>
T* rounded(int slot, const float* from, int64_t rows, int64_t cols, int64_t ld, Convert convert) {
  T* to = reinterpret_cast<T*>(scratch(slot, rows * cols));
  if (cols == ld) {
    convert(from, to, rows * cols);
  } else {
    for (int64_t i = 0; i < rows; ++i) convert(from + i * ld, to + i * cols, cols);
  }
  return to;
}

void multiply_bf16(Product p, const Bf16Matmul* plan) {
  // Only the part of an operand that this block of C needs.
  const int64_t a_rows = p.transpose_a ? p.k : p.m, a_cols = p.transpose_a ? p.m : p.k;
  const int64_t b_rows = p.transpose_b ? p.n : p.k, b_cols = p.transpose_b ? p.k : p.n;
  if (plan) {
    const auto convert = [](const float* from, Bfloat16* to, int64_t count) { to_bfloat16(from, to, count); };
    const Bfloat16* from_a = rounded<Bfloat16>(kScratchA, p.a, a_rows, a_cols, p.lda, convert);
    const Bfloat16* from_b = rounded<Bfloat16>(kScratchB, p.b, b_rows, b_cols, p.ldb, convert);
    plan->run(from_a, from_b, p.c);
    return;
  }
  p.a = rounded<float>(kScratchA, p.a, a_rows, a_cols, p.lda, round_to_bfloat16);
  p.b = rounded<float>(kScratchB, p.b, b_rows, b_cols, p.ldb, round_to_bfloat16);
  p.lda = a_cols, p.ldb = b_cols;
  multiply_fp32(p);
}

}  // namespace

void enqueue(Stream& stream, const ops::Gemm& op) {
  const Cut cut(op);
  const bool few_rows = has_few_rows(op);
  std::vector<std::shared_ptr<const Bf16Matmul>> plans;
  if (op.precision == Precision::kBf16 && !few_rows && multiplies_bf16())
    for (int64_t chunk = 0; chunk < cut.chunks; ++chunk) {
      const Block2 block = cut.block(chunk);
      plans.push_back(
          Bf16Matmul::get({block.m, block.n, op.k, op.transpose_a ? block.m : op.k, op.transpose_b ? op.k : block.n,
                           op.n, op.transpose_a, op.transpose_b, op.accumulate}));
    }
  stream.add({op.replicas, cut.chunks, false, [=](int64_t r, int64_t chunk) {
                const Product product = product_of(op, cut.block(chunk), r);
                if (few_rows)
                  multiply_few_rows(product, op.precision);
                else if (op.precision == Precision::kFp32)
                  multiply_fp32(product);
                else
                  multiply_bf16(product, plans.empty() ? nullptr : plans[static_cast<size_t>(chunk)].get());
              }});
}

std::function<void()> plain_dnnl(const ops::Gemm& op) {
  const Product product = product_of(op, {0, 0, op.m, op.n}, 0);
  std::shared_ptr<const Bf16Matmul> bf16;
  if (op.precision == Precision::kBf16) {
    bf16 = Bf16Matmul::get({op.m, op.n, op.k, op.transpose_a ? op.m : op.k, op.transpose_b ? op.k : op.n, op.n,
                            op.transpose_a, op.transpose_b, op.accumulate});
    if (!bf16) return nullptr;
  }
  return [=] {
    omp_set_num_threads(1);
    if (bf16)
      multiply_bf16(product, bf16.get());
    else
      multiply_fp32(product);
  };
}

}  // namespace agon::cpu
