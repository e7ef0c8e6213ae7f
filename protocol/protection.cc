#include "protocol/protection.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/crc32c.h"

namespace tangelo {

namespace {

constexpr std::array<std::byte, protected_block_size> zeros{};

}  // namespace

std::uint32_t guard_of(byte_span bytes) noexcept { return guard_of_piece(bytes, 0); }

std::uint32_t guard_of_piece(byte_span bytes, std::size_t lead) noexcept {
  CHECK(lead + bytes.size() <= protected_block_size);
  const std::size_t behind = protected_block_size - lead - bytes.size();
  return crc32c(byte_span(zeros).first(behind), crc32c(bytes));
}

std::uint32_t application_tag_of(std::uint64_t inode) noexcept {
  std::uint64_t z = inode * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 32)) * 0xbf58476d1ce4e5b9u;
  return static_cast<std::uint32_t>(z ^ (z >> 32));
}

byte_span piece_of(byte_span payload, std::size_t lead, std::size_t i) noexcept {
  const std::size_t begin = i == 0 ? 0 : i * protected_block_size - lead;
  const std::size_t end = std::min(payload.size(), (i + 1) * protected_block_size - lead);
  return payload.subspan(begin, end - begin);
}

void protect(std::uint64_t inode, std::uint64_t offset, byte_span bytes,
             protection_trailer& out) noexcept {
  CHECK(bytes.size() <= wire_payload_size_max);
  const std::size_t lead = offset % protected_block_size;
  const std::size_t count = piece_count_of(lead, bytes.size());
  out.application = application_tag_of(inode);
  out.reference = reference_tag_of(offset);
  out.lead = static_cast<std::uint16_t>(lead);
  out.count = static_cast<std::uint16_t>(count);
  std::size_t i = 0;
  if (lead != 0 && count != 0) out.guards[i++] = guard_of_piece(piece_of(bytes, lead, 0), lead);
  const byte_span rest = i == 0 ? bytes : bytes.subspan(piece_of(bytes, lead, 0).size());
  const std::size_t whole = rest.size() / protected_block_size;
  crc32c_each(rest.first(whole * protected_block_size), protected_block_size,
              std::span(out.guards).subspan(i, whole));
  i += whole;
  if (i < count) out.guards[i] = guard_of(rest.subspan(whole * protected_block_size));
}

std::size_t encode_trailer(const protection_trailer& t, mutable_byte_span out) noexcept {
  wire_writer w(out);
  for (std::size_t i = 0; i < t.count; ++i) w(t.guards[i]);
  w(t.application), w(t.reference), w(t.lead), w(t.count);
  CHECK(w.ok());
  return w.size();
}

bool take_trailer(byte_span& body, protection_trailer& out) noexcept {
  if (body.size() < trailer_fixed_size) return false;
  wire_reader fixed(body.last(trailer_fixed_size));
  fixed(out.application), fixed(out.reference), fixed(out.lead), fixed(out.count);
  if (out.count > piece_count_max || out.lead >= protected_block_size) return false;
  const std::size_t size = size_of(out);
  if (body.size() < size) return false;
  wire_reader guards(body.last(size));
  for (std::size_t i = 0; i < out.count; ++i) guards(out.guards[i]);
  body = body.first(body.size() - size);
  return true;
}

std::string text_of(const protection_fault& f) {
  return fmt::format("inode {:#x}, block {}: {}: expected {:#x}, found {:#x}, {}", f.inode, f.block,
                     name_of(f.kind), f.expected, f.found, name_of(f.hop));
}

std::optional<protection_fault> check_guards(const protection_trailer& t,
                                             byte_span payload) noexcept {
  protection_fault fault;
  fault.block = t.reference;
  const std::size_t count = piece_count_of(t.lead, payload.size());
  if (payload.size() > wire_payload_size_max || t.count != count) {
    fault.kind = protection_kind::shape;
    fault.expected = t.count;
    fault.found = static_cast<std::uint32_t>(count);
    return fault;
  }
  protection_trailer now;
  protect(0, t.lead, payload, now);
  for (std::size_t i = 0; i < count; ++i) {
    if (now.guards[i] == t.guards[i]) continue;
    fault.kind = protection_kind::guard;
    fault.block += i;
    fault.expected = t.guards[i];
    fault.found = now.guards[i];
    return fault;
  }
  return std::nullopt;
}

std::optional<protection_fault> check_tags(const protection_trailer& t, std::uint64_t inode,
                                           std::optional<std::uint64_t> offset) noexcept {
  protection_fault fault;
  fault.inode = inode;
  fault.block = offset ? *offset / protected_block_size : t.reference;
  const std::uint32_t application = application_tag_of(inode);
  if (t.application != application) {
    fault.kind = protection_kind::application;
    fault.expected = application;
    fault.found = t.application;
    return fault;
  }
  if (!offset) return std::nullopt;
  const std::uint32_t reference = reference_tag_of(*offset);
  const std::size_t lead = *offset % protected_block_size;
  if (t.reference == reference && t.lead == lead) return std::nullopt;
  fault.kind = protection_kind::reference;
  fault.expected = reference;
  fault.found = t.reference;
  return fault;
}

}  // namespace tangelo
