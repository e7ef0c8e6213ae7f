// wire: a message of any bytes is refused or taken apart within its bytes. Run as it is, and once
// more with magic, size and checksum repaired, so that the parser is reached behind them. The same
// bytes as a body: its trailer is refused, or cut off and found to be what it was.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "base/crc32c.h"
#include "protocol/protection.h"
#include "protocol/wire.h"

namespace tangelo {
namespace {

void parse(byte_span message) {
  message_view v;
  if (parse_message(message, v) != parse_fault::none) return;
  CHECK(v.chunk_count <= wire_chunk_count_max);
  CHECK(wire_header_size + v.extension.size() + v.chunk_count * wire_chunk_size + v.body.size() +
            v.inline_payload.size() ==
        message.size());
  // What was accepted can be built again, bit for bit, unless its counts were a lie.
  std::byte out[wire_message_size_max];
  CHECK(build_message(v.header, v.extension, std::span(v.chunks).first(v.chunk_count), v.body,
                      v.inline_payload, out) == message.size());
}

void take(byte_span raw) {
  byte_span body = raw;
  protection_trailer t;
  if (!take_trailer(body, t)) {
    CHECK(body.size() == raw.size());
    return;
  }
  CHECK(body.size() + size_of(t) == raw.size());
  std::byte out[trailer_size_max];
  CHECK(encode_trailer(t, out) == size_of(t));
  CHECK(std::equal(out, out + size_of(t), raw.data() + body.size()));
  const auto fault = check_guards(t, body);
  CHECK(fault || t.count == piece_count_of(t.lead, body.size()));
  (void)check_tags(t, 1, std::uint64_t{4096});
}

void repair(std::vector<std::byte>& m) {
  if (m.size() < wire_header_size + wire_extension_size) return;
  wire_writer w(m);
  w(wire_magic), w(wire_version);
  m[5] = static_cast<std::byte>(9);
  wire_writer(mutable_byte_span(m).subspan(8, 4))(static_cast<std::uint32_t>(m.size()));
  for (std::size_t i = 12; i < 16; ++i) m[i] = std::byte{0};
  wire_writer(mutable_byte_span(m).subspan(12, 4))(crc32c(m));
}

}  // namespace
}  // namespace tangelo

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const tangelo::byte_span raw(reinterpret_cast<const std::byte*>(data), size);
  tangelo::parse(raw);
  tangelo::take(raw);
  std::uint32_t total = 0;
  (void)tangelo::peek_size(raw, total);
  std::vector<std::byte> repaired(raw.begin(), raw.end());
  tangelo::repair(repaired);
  tangelo::parse(repaired);
  return 0;
}
