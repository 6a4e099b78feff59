#include "kernels/cpu/amx.h"

#if AGON_AMX
#include <sys/syscall.h>
#include <unistd.h>

namespace agon::cpu {
namespace {

/// What LDTILECFG reads.
struct alignas(64) Configuration {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  Configuration() {
    for (int tile = 0; tile < 8; ++tile) row_bytes[tile] = 64, rows[tile] = kAmxSide;
  }
};

template <int M, int N>
void multiply(const AmxOperand& a, const AmxOperand& b, int64_t steps, float* c) {
  constexpr int64_t kWord = sizeof(float);
  _tile_zero(0);
  if constexpr (N > 1) _tile_zero(1);
  if constexpr (M > 1) _tile_zero(2);
  if constexpr (M > 1 && N > 1) _tile_zero(3);
  const float *rows = a.first, *columns = b.first;
  for (int64_t s = 0; s < steps; ++s, rows += a.step, columns += b.step) {
    _tile_loadd(4, rows, a.row * kWord);
    _tile_loadd(6, columns, b.row * kWord);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (N > 1) {
      _tile_loadd(7, columns + kAmxSide, b.row * kWord);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (M > 1) {
      _tile_loadd(5, rows + kAmxSide * a.row, a.row * kWord);
      _tile_dpbf16ps(2, 5, 6);
    }
    if constexpr (M > 1 && N > 1) _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c, kAmxBlock * kWord);
  if constexpr (N > 1) _tile_stored(1, c + kAmxSide, kAmxBlock * kWord);
  if constexpr (M > 1) _tile_stored(2, c + kAmxSide * kAmxBlock, kAmxBlock * kWord);
  if constexpr (M > 1 && N > 1) _tile_stored(3, c + kAmxSide * kAmxBlock + kAmxSide, kAmxBlock * kWord);
}

}  // namespace

bool has_amx() {
  static const bool granted = [] {
    constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    unsigned eax = 7, ebx = 0, ecx = 0, edx = 0;
    asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;
    return (edx & kAmxBf16) && (edx & kAmxTile) && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return granted;
}

AmxTiles::AmxTiles() {
  static const Configuration full;
  _tile_loadconfig(&full);
}

AmxTiles::~AmxTiles() { _tile_release(); }

void amx_multiply(int m, int n, AmxOperand a, AmxOperand b, int64_t steps, float* c) {
  if (m > 1)
    n > 1 ? multiply<2, 2>(a, b, steps, c) : multiply<2, 1>(a, b, steps, c);
  else
    n > 1 ? multiply<1, 2>(a, b, steps, c) : multiply<1, 1>(a, b, steps, c);
}

}  // namespace agon::cpu

#endif
