#include "protocol/wire.h"

#include "base/crc32c.h"

namespace tangelo {

namespace {

constexpr std::size_t crc_offset = 12;
constexpr std::size_t body_size_offset = 12;  // the same place in both extensions

std::uint32_t message_crc(byte_span message) noexcept {
  const std::array<std::byte, 4> zero{};
  std::uint32_t crc = crc32c(message.first(crc_offset));
  crc = crc32c(zero, crc);
  return crc32c(message.subspan(crc_offset + zero.size()), crc);
}

bool known_type(message_type type) noexcept {
  switch (type) {
    using enum message_type;
    case hello:
    case hello_ack:
    case auth:
    case auth_ack:
    case connect:
    case connect_ack:
    case call:
    case reply:
    case early_reply:
    case ping:
    case pong:
    case pull_request:
    case data:
    case replay_done:
    case replay_done_ack:
    case callback:
    case callback_ack:
    case commit_note:
    case credit:
    case advice:
    case goodbye:
    case error: return true;
  }
  return false;
}

bool known_kind(chunk_kind kind) noexcept {
  switch (kind) {
    using enum chunk_kind;
    case pull:
    case push:
    case reply:
    case call_body: return true;
  }
  return false;
}

}  // namespace

std::string_view name_of(parse_fault fault) noexcept {
  switch (fault) {
    using enum parse_fault;
    case none: return "none";
    case too_short: return "too_short";
    case bad_magic: return "bad_magic";
    case bad_version: return "bad_version";
    case bad_type: return "bad_type";
    case bad_size: return "bad_size";
    case bad_crc: return "bad_crc";
    case bad_chunks: return "bad_chunks";
    case bad_body: return "bad_body";
  }
  return {};
}

parse_fault peek_size(byte_span first_bytes, std::uint32_t& total_size) noexcept {
  if (first_bytes.size() < 16) return parse_fault::too_short;
  wire_reader r(first_bytes.first(16));
  wire_header h;
  r(h.magic), r(h.version), r(h.type), r(h.flags), r(h.total_size), r(h.crc);
  if (h.magic != wire_magic) return parse_fault::bad_magic;
  if (h.version != wire_version) return parse_fault::bad_version;
  if (!known_type(h.type)) return parse_fault::bad_type;
  if (h.total_size < wire_header_size + wire_extension_size ||
      h.total_size > wire_message_size_max)
    return parse_fault::bad_size;
  total_size = h.total_size;
  return parse_fault::none;
}

parse_fault parse_message(byte_span message, message_view& out) noexcept {
  std::uint32_t total_size = 0;
  const parse_fault fault = peek_size(message, total_size);
  if (fault != parse_fault::none) return fault;
  if (message.size() != total_size) return parse_fault::bad_size;
  wire_reader r(message);
  r(out.header);
  if (message_crc(message) != out.header.crc) return parse_fault::bad_crc;
  out.extension = r.take_exactly(wire_extension_size);
  out.chunk_count = std::size_t{out.header.read_chunk_count} + out.header.write_chunk_count;
  if (out.chunk_count > wire_chunk_count_max ||
      r.rest().size() < out.chunk_count * wire_chunk_size)
    return parse_fault::bad_chunks;
  for (std::size_t i = 0; i < out.chunk_count; ++i) {
    r(out.chunks[i]);
    if (!known_kind(out.chunks[i].kind) || out.chunks[i].size > wire_payload_size_max)
      return parse_fault::bad_chunks;
  }
  std::uint32_t body_size = 0;
  wire_reader(out.extension.subspan(body_size_offset, 4))(body_size);
  if (body_size > r.rest().size()) return parse_fault::bad_body;
  out.body = r.take_exactly(body_size);
  out.inline_payload = r.rest();
  const bool may_have_payload = (out.header.flags & message_flag::data_inline) != 0;
  if (!may_have_payload && !out.inline_payload.empty()) return parse_fault::bad_body;
  return parse_fault::none;
}

std::size_t build_message(wire_header header, byte_span extension, std::span<const chunk> chunks,
                          byte_span body, byte_span inline_payload,
                          mutable_byte_span out) noexcept {
  const std::size_t size = wire_header_size + wire_extension_size +
                           chunks.size() * wire_chunk_size + body.size() + inline_payload.size();
  if (extension.size() != wire_extension_size || chunks.size() > wire_chunk_count_max ||
      size > wire_message_size_max || size > out.size())
    return 0;
  header.total_size = static_cast<std::uint32_t>(size);
  header.crc = 0;
  header.read_chunk_count = 0;
  header.write_chunk_count = 0;
  for (const chunk& c : chunks)
    ++(c.kind == chunk_kind::pull || c.kind == chunk_kind::call_body ? header.read_chunk_count
                                                                     : header.write_chunk_count);
  if (!inline_payload.empty()) header.flags |= message_flag::data_inline;
  wire_writer w(out.first(size));
  w(header);
  w.put(extension);
  for (const chunk& c : chunks) w(c);
  w.put(body);
  w.put(inline_payload);
  const std::uint32_t crc = message_crc(out.first(size));
  wire_writer(out.subspan(crc_offset, 4))(crc);
  return w.ok() ? size : 0;
}

}  // namespace tangelo
