#include "rdma/channel.h"

#include "base/check.h"
#include "protocol/codec.h"
#include "protocol/session.h"

namespace tangelo {

std::array<std::byte, wire_extension_size> encode_extension(const call_extension& e) noexcept {
  std::array<std::byte, wire_extension_size> out{};
  CHECK(encode(e, out) == wire_extension_size);
  return out;
}

std::array<std::byte, wire_extension_size> encode_extension(const reply_extension& e) noexcept {
  std::array<std::byte, wire_extension_size> out{};
  CHECK(encode(e, out) == wire_extension_size);
  return out;
}

channel::channel(std::unique_ptr<endpoint> e, channel_events& events, std::uint64_t tag_seed)
    : endpoint_(std::move(e)), events_(events), next_tag_((tag_seed << 32) | 1) {}

bool channel::fits_inline(std::size_t body_size, std::size_t payload_size) noexcept {
  // Room for two chunk descriptors is kept free.
  return payload_size <= wire_inline_payload_max &&
         wire_header_size + wire_extension_size + 2 * wire_chunk_size + body_size + payload_size <=
             wire_message_size_max;
}

void channel::send(const wire_header& header, byte_span extension, byte_span body) {
  std::array<std::byte, wire_message_size_max> out;
  const std::size_t size = build_message(header, extension, {}, body, {}, out);
  CHECK(size != 0);
  send_built({out.data(), size}, {}, 0);
}

void channel::send_reply(const wire_header& header, byte_span extension, byte_span body,
                         byte_span inline_payload) {
  std::array<std::byte, wire_message_size_max> out;
  const std::size_t size = build_message(header, extension, {}, body, inline_payload, out);
  CHECK(size != 0);
  send_built({out.data(), size}, {}, 0);
}

channel::exposure channel::make_exposure(chunk_kind kind, mutable_byte_span memory, bool eager) {
  exposure e;
  e.memory = memory;
  e.eager = eager;
  e.what.size = static_cast<std::uint32_t>(memory.size());
  e.what.transfer_tag = next_tag_++;
  e.what.kind = kind;
  if (eager) e.what.flags |= chunk_flag::eager;
  return e;
}

call_tags channel::send_call(const wire_header& header, byte_span extension, byte_span body,
                             mutable_byte_span in, mutable_byte_span out,
                             std::uint32_t eager_max) {
  ++in_flight_;
  return send_exposing(header, extension, body, in, out, eager_max);
}

call_tags channel::send_ping(std::uint64_t xid, mutable_byte_span in, mutable_byte_span out) {
  wire_header h;
  h.type = message_type::ping;
  h.xid = xid;
  return send_exposing(h, encode_extension(call_extension{}), {}, in, out,
                       is_eager() ? wire_payload_size_max : 0);
}

call_tags channel::send_exposing(const wire_header& header, byte_span extension, byte_span body,
                                 mutable_byte_span in, mutable_byte_span out,
                                 std::uint32_t eager_max) {
  CHECK(in.size() <= wire_payload_size_max);
  CHECK(out.size() <= wire_payload_size_max);
  std::array<exposure, 2> exposures{};
  std::size_t count = 0;
  call_tags tags;
  byte_span inline_payload;
  if (fits_inline(body.size(), in.size())) {
    inline_payload = in;
  } else {
    exposures[count] = make_exposure(chunk_kind::pull, in, in.size() <= eager_max);
    tags.in = exposures[count++].what.transfer_tag;
  }
  if (!out.empty()) {
    exposures[count] = make_exposure(chunk_kind::push, out, false);
    tags.out = exposures[count++].what.transfer_tag;
  }
  std::array<chunk, 2> chunks;
  for (std::size_t i = 0; i < count; ++i) chunks[i] = exposures[i].what;
  std::array<std::byte, wire_message_size_max> bytes;
  const std::size_t size =
      build_message(header, extension, {chunks.data(), count}, body, inline_payload, bytes);
  CHECK(size != 0);
  send_built({bytes.data(), size}, exposures, count);
  return tags;
}

void channel::expose(const std::array<exposure, 2>& exposures, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    endpoint_->expose(exposures[i].what, exposures[i].memory, exposures[i].eager);
}

bool channel::took(send_status status) noexcept {
  switch (status) {
    using enum send_status;
    case sent:
    case not_connected: return true;  // on_down comes or came; the session sends it again
    case no_buffers:
    case out_of_memory: return false;
    case io_error: endpoint_->close(down_reason::local_error); return true;
  }
  return true;
}

void channel::send_built(byte_span message, const std::array<exposure, 2>& exposures,
                         std::size_t count) {
  if (!up_) return;
  queued q;
  q.exposures = exposures;
  q.exposure_count = count;
  if (queue_.empty()) {
    expose(exposures, count);
    if (took(endpoint_->send(message))) return;
    q.exposure_count = 0;  // already exposed; the bytes follow when the message goes
  }
  q.bytes.assign(message.begin(), message.end());
  queue_.push_back(std::move(q));
}

void channel::write_remote(const chunk& c, byte_span from, std::uint64_t cookie) {
  if (!up_) return;
  queued q;
  q.what = queued::kind::write;
  q.target = c;
  q.from = from;
  q.cookie = cookie;
  if (queue_.empty() && took(try_queued(q))) return;
  queue_.push_back(std::move(q));
}

void channel::read_remote(const chunk& c, mutable_byte_span into, std::uint64_t cookie) {
  if (!up_) return;
  queued q;
  q.what = queued::kind::read;
  q.target = c;
  q.into = into;
  q.cookie = cookie;
  if (queue_.empty() && took(try_queued(q))) return;
  queue_.push_back(std::move(q));
}

send_status channel::try_queued(const queued& q) {
  switch (q.what) {
    using enum queued::kind;
    case message: return endpoint_->send(q.bytes);
    case read: return endpoint_->read_remote(q.target, q.into, q.cookie);
    case write: return endpoint_->write_remote(q.target, q.from, q.cookie);
  }
  return send_status::io_error;
}

void channel::on_sendable() noexcept {
  while (up_ && !queue_.empty()) {
    queued& q = queue_.front();
    expose(q.exposures, q.exposure_count);
    q.exposure_count = 0;
    if (!took(try_queued(q))) return;
    queue_.pop_front();
  }
}

void channel::retract(const call_tags& tags) {
  if (tags.in != 0) endpoint_->retract(tags.in);
  if (tags.out != 0) endpoint_->retract(tags.out);
}

void channel::call_answered() noexcept {
  CHECK(in_flight_ != 0);
  --in_flight_;
}

void channel::close_with_error(down_reason reason, error_code code, std::string_view text) {
  wire_header h;
  h.type = message_type::error;
  close_body body;
  body.code = static_cast<std::uint16_t>(code);
  body.text = text;
  std::array<std::byte, 512> bytes;
  const std::optional<std::size_t> size = encode(body, bytes);
  CHECK(size.has_value());
  call_extension e;
  e.body_size = static_cast<std::uint32_t>(*size);
  send(h, encode_extension(e), {bytes.data(), *size});
  close(reason);
}

void channel::on_up() noexcept {
  up_ = true;
  events_.on_channel_up();
}

void channel::on_message(byte_span message) noexcept {
  if (!up_) return;
  message_view view;
  const parse_fault fault = parse_message(message, view);
  if (fault == parse_fault::none) {
    events_.on_channel_message(view);
    return;
  }
  const bool damaged = fault == parse_fault::bad_crc;
  close_with_error(damaged ? down_reason::checksum : down_reason::protocol, error_code::protocol,
                   name_of(fault));
}

void channel::on_done(std::uint64_t cookie, bool ok) noexcept {
  events_.on_channel_done(cookie, ok);
}

void channel::on_down(down_reason reason) noexcept {
  up_ = false;
  queue_.clear();
  events_.on_channel_down(reason);
}

void channel::on_flushed() noexcept {
  flushed_ = true;
  events_.on_channel_flushed();
}

}  // namespace tangelo
