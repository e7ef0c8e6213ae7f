// Packing and unpacking of little-endian fields in a bounded span, every length checked.
//
// One description serves both directions: a body type has a static `fields(self, visitor)` that
// names its fields in wire order, and encode()/decode() walk it with a writer or a reader.
//
// Rules of a body (so that either side can be newer than the other):
//   1. A body that ends between two fields is complete: the missing fields are zero or empty.
//   2. A body that ends inside a field is malformed.
//   3. Bytes behind the last known field are ignored.
//   4. A decoded text or list is a view into the message: copy it before the message goes.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string_view>
#include <type_traits>

#include "base/bytes.h"

namespace tangelo {

class wire_writer {
 public:
  explicit wire_writer(mutable_byte_span out) noexcept : out_(out) {}

  template <class T>
    requires(std::unsigned_integral<T> || std::signed_integral<T>)
  void operator()(const T& value) noexcept {
    std::byte raw[sizeof(T)];
    auto v = static_cast<std::make_unsigned_t<T>>(value);
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      raw[i] = static_cast<std::byte>(v & 0xff);
      if constexpr (sizeof(T) > 1) v = static_cast<std::make_unsigned_t<T>>(v >> 8);
    }
    put({raw, sizeof(T)});
  }
  template <class T>
    requires std::is_enum_v<T>
  void operator()(const T& value) noexcept {
    (*this)(static_cast<std::underlying_type_t<T>>(value));
  }
  template <std::size_t N>
  void operator()(const std::array<std::byte, N>& bytes) noexcept {
    put(bytes);
  }
  template <class T>
    requires requires(const T& t, wire_writer& w) { T::fields(t, w); }
  void operator()(const T& value) noexcept {
    T::fields(value, *this);
  }
  // Bytes behind a 16-bit length.
  void text(std::string_view t) noexcept {
    if (t.size() > 0xffff) {
      ok_ = false;
      return;
    }
    (*this)(static_cast<std::uint16_t>(t.size()));
    put(bytes_of(t));
  }
  // A value that the body may not have.
  void refuse() noexcept { ok_ = false; }
  void put(byte_span bytes) noexcept {
    if (!ok_ || bytes.size() > out_.size() - used_) {
      ok_ = false;
      return;
    }
    copy_bytes(out_.subspan(used_), bytes);
    used_ += bytes.size();
  }

  bool ok() const noexcept { return ok_; }
  std::size_t size() const noexcept { return used_; }

 private:
  mutable_byte_span out_;
  std::size_t used_ = 0;
  bool ok_ = true;
};

class wire_reader {
 public:
  explicit wire_reader(byte_span in) noexcept : in_(in) {}

  template <class T>
    requires(std::unsigned_integral<T> || std::signed_integral<T>)
  void operator()(T& value) noexcept {
    const byte_span raw = take(sizeof(T));
    std::make_unsigned_t<T> v = 0;
    for (std::size_t i = raw.size(); i-- > 0;) {
      if constexpr (sizeof(T) > 1) v = static_cast<std::make_unsigned_t<T>>(v << 8);
      const auto byte = std::to_integer<std::make_unsigned_t<T>>(raw[i]);
      v = static_cast<std::make_unsigned_t<T>>(v | byte);
    }
    value = static_cast<T>(v);
  }
  template <class T>
    requires std::is_enum_v<T>
  void operator()(T& value) noexcept {
    std::underlying_type_t<T> number{};
    (*this)(number);
    value = static_cast<T>(number);  // users switch over known values and refuse the rest
  }
  template <std::size_t N>
  void operator()(std::array<std::byte, N>& bytes) noexcept {
    bytes.fill(std::byte{0});
    copy_bytes(bytes, take(N));
  }
  template <class T>
    requires requires(T& t, wire_reader& r) { T::fields(t, r); }
  void operator()(T& value) noexcept {
    T::fields(value, *this);
  }
  void text(std::string_view& t) noexcept {
    std::uint16_t size = 0;
    (*this)(size);
    const byte_span raw = take_exactly(size);
    t = text_of(raw);
  }

  // A value that the body may not have: it is malformed.
  void refuse() noexcept { ok_ = false; }
  bool ok() const noexcept { return ok_; }
  byte_span rest() const noexcept { return in_; }
  // The next `n` bytes; fewer is an error.
  byte_span take_exactly(std::size_t n) noexcept {
    if (!ok_ || n > in_.size()) {
      ok_ = false;
      return {};
    }
    const byte_span out = in_.first(n);
    in_ = in_.subspan(n);
    return out;
  }

 private:
  // The next `n` bytes, or none at the end of the body; a part of a field is an error.
  byte_span take(std::size_t n) noexcept {
    if (in_.empty()) return {};
    return take_exactly(n);
  }

  byte_span in_;
  bool ok_ = true;
};

// The bytes used, or nothing when `out` is too small or a text too long.
template <class Body>
[[nodiscard]] std::optional<std::size_t> encode(const Body& body, mutable_byte_span out) noexcept {
  wire_writer w(out);
  w(body);
  if (!w.ok()) return std::nullopt;
  return w.size();
}

template <class Body>
[[nodiscard]] std::optional<Body> decode(byte_span in) noexcept {
  wire_reader r(in);
  Body body{};
  r(body);
  if (!r.ok()) return std::nullopt;
  return body;
}

}  // namespace tangelo
