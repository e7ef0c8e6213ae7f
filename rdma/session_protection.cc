// Trailers (protection.h): sent behind the bodies of writes, asked for with reads, checked.
#include "base/log.h"
#include "rdma/session_core.h"

namespace tangelo {

namespace {

// A server that names nothing we know is not believed to have looked into its store.
protection_fault fault_told(byte_span body) noexcept {
  const protection_fault told = decode<protection_fault>(body).value_or(protection_fault{});
  if (!name_of(told.kind).empty() && !name_of(told.hop).empty()) return told;
  protection_fault unknown;
  unknown.kind = protection_kind::shape;
  unknown.hop = protection_hop::sent;
  return unknown;
}

std::optional<protection_fault> check_read(const protection_trailer& t, byte_span payload,
                                           const outbound_call::place& place) noexcept {
  if (const auto fault = check_tags(t, place.inode, place.offset)) return fault;
  std::optional<protection_fault> fault = check_guards(t, payload);
  if (!fault) return std::nullopt;
  fault->inode = place.inode;
  fault->block += place.offset / protected_block_size - t.reference;
  return fault;
}

}  // namespace

// The body as it is sent; valid until the next one.
byte_span session_core::with_trailer(const outbound_call& call, call_extension& e) {
  const bool granted = (features_ & feature::protection) != 0;
  if (granted && (call.check || !call.protection.empty())) e.protection_type = protection_crc32c;
  if (!granted || call.protection.empty()) return call.body;
  const std::size_t size = call.body.size() + call.protection.size();
  if (size > body_.size()) {  // no call of ours: the server refuses it
    e.protection_type = protection_none;
    return call.body;
  }
  const mutable_byte_span out(body_);
  copy_bytes(out, call.body);
  copy_bytes(out.subspan(call.body.size()), call.protection);
  e.body_size = static_cast<std::uint32_t>(size);
  return out.first(size);
}

// Takes the trailer off the body of an answer; what does not fit makes it `integrity`.
void session_core::check_reply(const message_view& message, const outbound_call& call,
                               inbound_reply& reply) {
  if (reply.status == error_code::integrity) {
    reply.fault = fault_told(reply.body);
    reply.body = {};
    return;
  }
  const bool flagged = (message.header.flags & message_flag::protection) != 0;
  protection_trailer trailer;
  const bool has_trailer = flagged && take_trailer(reply.body, trailer);
  const bool wanted = call.check && (features_ & feature::protection) != 0;
  if (!wanted || reply.status != error_code::ok || reply.payload_size == 0) return;
  if (has_trailer) {
    reply.fault = check_read(trailer, call.payload_out.first(reply.payload_size), *call.check);
  } else {
    reply.fault.emplace();
    reply.fault->kind = protection_kind::shape;
    reply.fault->inode = call.check->inode;
    reply.fault->block = call.check->offset / protected_block_size;
    reply.fault->expected = static_cast<std::uint32_t>(piece_count_of(
        call.check->offset % protected_block_size, reply.payload_size));
  }
  if (!reply.fault) return;
  reply.fault->hop = protection_hop::received;
  reply.status = error_code::integrity;
  reply.body = {};
  reply.payload_size = 0;
}

// Notes a fault. False: it is final. The server has read again what its store gave.
bool session_core::moves_again(const outbound_call& call, const protection_fault& fault,
                               unsigned& mismatches) {
  const bool again =
      fault.hop != protection_hop::stored && ++mismatches < protection_attempts;
  note_mismatch(call, fault, again);
  return again;
}

void session_core::note_mismatch(const outbound_call& call, const protection_fault& fault,
                                 bool again) {
  last_mismatch_ = fault;
  if (fault.inode == 0 && call.op == opcode::write)
    if (const std::optional<write_call> body = decode<write_call>(call.body))
      last_mismatch_.inode = body->inode;
  const std::string text = text_of(last_mismatch_);
  if (again)
    return log_warning("import {}: {} {:#x}: {}; moved again", options_.volume, name_of(call.op),
                       call.xid, text);
  log_error("import {}: {} {:#x}: {}; it fails", options_.volume, name_of(call.op), call.xid,
            text);
  ++mismatches_reported_;
}

// The server ends the connection for a replay that does not fit, so that all behind it come again
// too; only when it has done so often enough it answers.
void session_core::note_bad_replay(const outbound_call& call, byte_span answer) {
  note_mismatch(call, fault_told(answer), false);
}

}  // namespace tangelo
