// Byte spans, and the casts between them and the types of the system calls.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>

namespace tangelo {

using byte_span = std::span<const std::byte>;
using mutable_byte_span = std::span<std::byte>;

inline byte_span bytes_of(std::string_view text) noexcept {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view text_of(byte_span bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
template <class T>
byte_span object_bytes(const T& object) noexcept {
  return std::as_bytes(std::span<const T, 1>(&object, 1));
}
template <class T>
mutable_byte_span writable_bytes(T& object) noexcept {
  return std::as_writable_bytes(std::span<T, 1>(&object, 1));
}
// Copies as much of `from` as fits into `to`; says how much that was.
inline std::size_t copy_bytes(mutable_byte_span to, byte_span from) noexcept {
  const std::size_t n = from.size() < to.size() ? from.size() : to.size();
  if (n != 0) std::memcpy(to.data(), from.data(), n);
  return n;
}

}  // namespace tangelo
