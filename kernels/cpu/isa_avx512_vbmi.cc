#include "kernels/cpu/isa_kernels.h"
#include "kernels/cpu/low_bit_dot_impl.h"

namespace trireme::kernels::cpu {
namespace {

// The bf16 of an e4m3 magnitude, in two tables of 128 bytes.
struct Tables {
  uint8_t low[128];
  uint8_t high[128];
};
constexpr Tables make_tables() {
  Tables tables{};
  for (uint32_t magnitude = 0; magnitude < 128; ++magnitude) {
    uint32_t bits = (magnitude << 4) + 0x3c00;
    if (magnitude < 8) {
      // m 2^-9: the place of m's leading one says the exponent.
      const uint32_t lead = magnitude >= 4 ? 2 : (magnitude >= 2 ? 1 : 0);
      bits = magnitude == 0 ? 0 : ((118 + lead) << 7) + ((magnitude << (7 - lead)) & 0x7f);
    }
    tables.low[magnitude] = static_cast<uint8_t>(bits);
    tables.high[magnitude] = static_cast<uint8_t>(bits >> 8);
  }
  return tables;
}
constexpr Tables kTables = make_tables();

// Both halves of 64 codes' bf16 by one lookup each.
struct E4M3Lookup {
  static constexpr int kPairs = 2;
  static inline __attribute__((always_inline)) void make(__m512i word, __m512i (&pairs)[kPairs]) {
    const __m512i low =
        _mm512_permutex2var_epi8(load_table(kTables.low), word, load_table(kTables.low + 64));
    __m512i high =
        _mm512_permutex2var_epi8(load_table(kTables.high), word, load_table(kTables.high + 64));
    // a | (b & c)
    constexpr int kOrAnd = 0xf8;
    high = _mm512_ternarylogic_epi32(high, word, _mm512_set1_epi8(-0x80), kOrAnd);
    pairs[0] = _mm512_ternarylogic_epi32(_mm512_slli_epi16(high, 8), low, _mm512_set1_epi16(0x00ff),
                                         kOrAnd);
    pairs[1] = _mm512_ternarylogic_epi32(_mm512_srli_epi16(low, 8), high, _mm512_set1_epi16(-0x100),
                                         kOrAnd);
  }
};

}  // namespace

void add_avx512_vbmi(IsaKernels* kernels) {
  kernels->e4m3.groups_bf16 = Gemm<Simd, LowBitDotFormat<E4M3Lookup>, true, true>::groups;
  kernels->e4m3.expand = expand_pairs<E4M3Lookup>;
}

}  // namespace trireme::kernels::cpu
