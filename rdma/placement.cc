#include "rdma/placement.h"

#include "base/check.h"

namespace tangelo {

namespace {

constexpr std::size_t type_offset = 5;
constexpr std::size_t read_chunk_count_offset = 66;
constexpr std::size_t write_chunk_count_offset = 67;

bool is_read_kind(chunk_kind kind) noexcept {
  return kind == chunk_kind::pull || kind == chunk_kind::call_body;
}

}  // namespace

void placement::expose(const chunk& c, mutable_byte_span memory, bool eager) {
  CHECK(exposed_.find(c.transfer_tag) == nullptr);
  exposed_.insert(c.transfer_tag, exposed_memory{c, memory});
  if (!eager || !is_read_kind(c.kind)) return;
  CHECK(eager_count_ < eager_.size());
  eager_[eager_count_++] = c.transfer_tag;
}

void placement::retract(std::uint64_t tag) noexcept {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < eager_count_; ++i)
    if (eager_[i] != tag) eager_[kept++] = eager_[i];
  eager_count_ = kept;
  exposed_.erase(tag);
}

exposed_memory* placement::pulled(const chunk& c) noexcept {
  exposed_memory* e = exposed_.find(c.transfer_tag);
  if (e == nullptr || e->sent || !is_read_kind(e->what.kind)) return nullptr;
  return c.size == e->what.size && c.argument == 0 ? e : nullptr;
}

bool placement::announce(byte_span message) {
  if (!carries_chunks(static_cast<message_type>(message[type_offset]))) return true;
  const auto reads = std::to_integer<std::size_t>(message[read_chunk_count_offset]);
  const auto writes = std::to_integer<std::size_t>(message[write_chunk_count_offset]);
  if (reads == 0) return true;
  const std::size_t count = reads + writes;
  const byte_span rest = message.subspan(wire_header_size + wire_extension_size);
  if (count > wire_chunk_count_max || rest.size() < count * wire_chunk_size) return false;
  for (std::size_t i = 0; i < count; ++i) {
    wire_reader r(rest.subspan(i * wire_chunk_size, wire_chunk_size));
    chunk c;
    r(c);
    if (!is_read_kind(c.kind)) continue;
    if (c.transfer_tag == 0 || c.size == 0 || c.size > wire_payload_size_max) return false;
    if (announced_.size() >= announced_count_max) return false;
    if (announced_.find(c.transfer_tag) != nullptr) return false;
    if (reads_.find(c.transfer_tag) != nullptr) return false;
    announced_.insert(c.transfer_tag, {c.size, (c.flags & chunk_flag::eager) != 0});
  }
  return true;
}

placement::read_step placement::begin_read(const chunk& c, mutable_byte_span into,
                                           std::uint64_t cookie) {
  const announced_chunk* a = announced_.find(c.transfer_tag);
  if (a == nullptr || a->size != c.size) return read_step::refused;
  if (!into.empty() && into.size() < c.size) return read_step::refused;
  const bool eager = a->eager;
  announced_.erase(c.transfer_tag);
  if (into.empty() && !eager) return read_step::nothing_to_do;
  reads_.insert(c.transfer_tag, pending_read{into, c.size, cookie});
  return eager ? read_step::await_bytes : read_step::ask_peer;
}

placement_target placement::find_target(const chunk& c) noexcept {
  using kind = placement_target::kind;
  if (exposed_memory* e = exposed_.find(c.transfer_tag)) {
    const bool fits = c.argument <= e->memory.size() && c.size <= e->memory.size() - c.argument;
    if (is_read_kind(e->what.kind) || !fits) return {};
    return {kind::place, e->memory.subspan(c.argument, c.size)};
  }
  if (pending_read* r = reads_.find(c.transfer_tag)) {
    if (r->started || c.argument != 0 || c.size != r->size) return {};
    r->started = true;
    if (r->into.empty()) return {kind::drop, {}, true};
    return {kind::place, r->into.first(c.size), true};
  }
  return awaits_read(c) ? placement_target{kind::wait} : placement_target{};
}

bool placement::awaits_read(const chunk& c) noexcept {
  const announced_chunk* a = announced_.find(c.transfer_tag);
  return a != nullptr && a->eager && a->size == c.size && c.argument == 0;
}

std::uint64_t placement::end_read(std::uint64_t tag) noexcept {
  const pending_read* r = reads_.find(tag);
  const std::uint64_t cookie = r == nullptr ? 0 : r->cookie;
  reads_.erase(tag);
  return cookie;
}

std::array<std::byte, frame_header_size> build_frame(message_type type, const chunk& c) noexcept {
  std::array<std::byte, frame_header_size> out{};
  wire_header h;
  h.type = type;
  const std::array<std::byte, wire_extension_size> extension{};
  const std::size_t size = build_message(h, extension, {&c, 1}, {}, {}, out);
  CHECK(size == out.size());
  return out;
}

}  // namespace tangelo
