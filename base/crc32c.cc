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
bool has_instruction() noexcept {
  static const bool has = __builtin_cpu_supports("sse4.2") != 0;
  return has;
}

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

// Of three spans of one size, which is a multiple of 8.
__attribute__((target("sse4.2"))) void three_by_instruction(const std::byte* bytes,
                                                            std::size_t size,
                                                            std::uint32_t* out) noexcept {
  std::uint64_t a = ~0u, b = ~0u, c = ~0u;
  for (std::size_t at = 0; at < size; at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes + at, 8);
    a = __builtin_ia32_crc32di(a, word);
    std::memcpy(&word, bytes + size + at, 8);
    b = __builtin_ia32_crc32di(b, word);
    std::memcpy(&word, bytes + 2 * size + at, 8);
    c = __builtin_ia32_crc32di(c, word);
  }
  out[0] = ~static_cast<std::uint32_t>(a);
  out[1] = ~static_cast<std::uint32_t>(b);
  out[2] = ~static_cast<std::uint32_t>(c);
}
#endif

}  // namespace

std::uint32_t crc32c(byte_span bytes, std::uint32_t crc) noexcept {
#if defined(__x86_64__)
  if (has_instruction()) return ~by_instruction(bytes, ~crc);
#endif
  return ~by_table(bytes, ~crc);
}

void crc32c_each(byte_span bytes, std::size_t size, std::span<std::uint32_t> out) noexcept {
  std::size_t i = 0;
#if defined(__x86_64__)
  if (has_instruction() && size % 8 == 0)
    for (; out.size() - i >= 3; i += 3)
      three_by_instruction(bytes.subspan(i * size, 3 * size).data(), size, out.data() + i);
#endif
  for (; i < out.size(); ++i) out[i] = crc32c(bytes.subspan(i * size, size));
}

}  // namespace tangelo
