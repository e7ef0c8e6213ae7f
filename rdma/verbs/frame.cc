#include "rdma/verbs/frame.h"

#include "base/check.h"
#include "base/crc32c.h"

namespace tangelo {

namespace {

// The bytes behind a header of this type, or nothing if there is no such type.
bool is_size_of(frame_type type, std::size_t size) noexcept {
  switch (type) {
    using enum frame_type;
    case message:
      return size >= wire_header_size + wire_extension_size && size <= wire_message_size_max;
    case ready:
    case credits: return size == 0;
    case ask: return size == ask_frame_size;
    case offer: return size == offer_frame_size;
  }
  return false;
}

}  // namespace

std::array<std::byte, verbs_hello_size> encode(const verbs_hello& hello) noexcept {
  std::array<std::byte, verbs_hello_size> out{};
  wire_writer w(out);
  w(hello);
  CHECK(w.ok());
  CHECK(w.size() == out.size());
  return out;
}

hello_fault parse_hello(byte_span data, verbs_hello& out) noexcept {
  if (data.size() < verbs_hello_size) return hello_fault::too_short;
  wire_reader r(data.first(verbs_hello_size));
  r(out);
  if (out.magic != verbs_magic) return hello_fault::not_ours;
  if (out.version != verbs_version) return hello_fault::bad_version;
  const bool fits = out.message_size_max >= wire_message_size_max &&
                    out.inline_payload_max >= wire_inline_payload_max;
  const bool counts =
      out.receive_count >= receive_count_min && out.receive_count <= receive_count_max;
  return fits && counts ? hello_fault::none : hello_fault::bad_value;
}

bool parse_frame(byte_span frame, frame_header& header, byte_span& body) noexcept {
  if (frame.size() < verbs_header_size) return false;
  wire_reader r(frame);
  r(header);
  body = r.rest();
  return header.reserved == 0 && header.size == body.size() &&
         is_size_of(header.type, body.size());
}

void put_header(mutable_byte_span out, frame_header header) noexcept {
  wire_writer w(out.first(verbs_header_size));
  w(header);
}

void renew_crc(mutable_byte_span message) noexcept {
  constexpr std::size_t crc_offset = 12;
  const std::array<std::byte, 4> zero{};
  std::uint32_t crc = crc32c(message.first(crc_offset));
  crc = crc32c(zero, crc);
  crc = crc32c(message.subspan(crc_offset + zero.size()), crc);
  wire_writer w(message.subspan(crc_offset, zero.size()));
  w(crc);
}

bool place_chunk(mutable_byte_span message, const chunk_place& place) noexcept {
  bool found = false;
  const auto fill = [&](chunk c, std::size_t offset) {
    if (c.transfer_tag != place.transfer_tag) return true;
    c.address = place.address;
    c.remote_key = place.remote_key;
    wire_writer w(message.subspan(offset, wire_chunk_size));
    w(c);
    found = true;
    return true;
  };
  return for_each_chunk(message, fill) && found;
}

}  // namespace tangelo
