#pragma once

// Intel's matrix registers: eight tiles of 16 rows of 64 bytes. One instruction multiplies 16 rows of 16 pairs of
// bfloat16 by 16 rows of 16 pairs (each row two rows of the matrix, woven) and adds the products to 16 x 16 floats: on
// such processors fifteen times what vector registers do in fp32, which do bf16 at half of that.

#include "kernels/cpu/bfloat.h"
#include "kernels/cpu/tiles.h"

#if AGON_TILES == 512 && defined(__AVX512BF16__) && defined(__AMX_BF16__)
#define AGON_AMX 1
#else
#define AGON_AMX 0
#endif

namespace agon::cpu {

constexpr int64_t kAmxSide = 16;             // rows of a tile, and words of a row
constexpr int64_t kAmxBlock = 2 * kAmxSide;  // rows and columns of a result that four tiles hold

/// `words` rounded up to what the tiles multiply at once.
constexpr int64_t amx_words(int64_t words) { return (words + kAmxSide - 1) / kAmxSide * kAmxSide; }

/// Where tiles begin in memory, in words: a tile's rows, and the next tile along the sum.
struct AmxOperand {
  const float* first;
  int64_t row, step;
};

#if AGON_AMX

/// Whether processor and system let this process use the tiles.
bool has_amx();

/// This thread's tiles, of full size while such an object lives.
class AmxTiles {
 public:
  AmxTiles();
  ~AmxTiles();
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;
};

/// c [16 M][32] = the sum over `steps` of a's 16 M rows of 16 words times b's 16 rows of words, 16 N columns; M, N:
/// 1, 2.
void amx_multiply(int m, int n, AmxOperand a, AmxOperand b, int64_t steps, float* c);

#else  // built for a processor without: nobody gets as far as multiplying

constexpr bool has_amx() { return false; }
struct AmxTiles {};
inline void amx_multiply(int, int, AmxOperand, AmxOperand, int64_t, float*) {}

#endif

/// Whether bf16 is multiplied as such. Elsewhere it is fp32 arithmetic on rounded operands.
inline bool multiplies_bf16() { return has_amx() || has_fast_pairs(); }

}  // namespace agon::cpu
