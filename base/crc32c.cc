#include "base/crc32c.h"

#include <array>

namespace tangelo {

namespace {

constexpr std::array<std::uint32_t, 256> make_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c & 1) != 0 ? (c >> 1) ^ 0x82f63b78u : c >> 1;
    table[i] = c;
  }
  return table;
}
constexpr std::array<std::uint32_t, 256> table = make_table();

std::uint32_t by_table(byte_span bytes, std::uint32_t c) noexcept {
  for (const std::byte b : bytes)
    c = table[(c ^ std::to_integer<std::uint32_t>(b)) & 0xff] ^ (c >> 8);
  return c;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) std::uint32_t by_instruction(byte_span bytes,
                                                               std::uint32_t c) noexcept {
  std::uint64_t wide = c;
  while (bytes.size() >= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data(), 8);
    wide = __builtin_ia32_crc32di(wide, word);
    bytes = bytes.subspan(8);
  }
  std::uint32_t narrow = static_cast<std::uint32_t>(wide);
  for (const std::byte b : bytes)
    narrow = __builtin_ia32_crc32qi(narrow, std::to_integer<unsigned char>(b));
  return narrow;
}
#endif

}  // namespace

std::uint32_t crc32c(byte_span bytes, std::uint32_t crc) noexcept {
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("sse4.2") != 0;
  if (has_instruction) return ~by_instruction(bytes, ~crc);
#endif
  return ~by_table(bytes, ~crc);
}

}  // namespace tangelo
