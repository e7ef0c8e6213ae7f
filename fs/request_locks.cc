// Requests about locks: fcntl and flock, and FLUSH, which unlocks what the closing process has.
#include <fcntl.h>

#include <cstring>

#include "fs/fuse_abi.h"
#include "fs/request.h"
#include "protocol/lock_ops.h"

namespace tangelo {

namespace {

request_kind as_lock_op(op_draft& draft, opcode op, const lock_call& call, request_kind kind) {
  const std::optional<std::size_t> size = encode(call, draft.cell.body);
  draft.cell.op = op;
  draft.cell.handle = call.what.handle;
  draft.cell.body_size = static_cast<std::uint16_t>(size.value_or(0));
  return kind;
}

lock_type type_of(std::uint32_t kernel_type) noexcept {
  if (kernel_type == F_WRLCK) return lock_type::write;
  return kernel_type == F_RDLCK ? lock_type::read : lock_type::unlock;
}

}  // namespace

request_kind decode_lock(const fuse_in_header& header, byte_span arguments,
                         const credential& who, op_draft& draft) noexcept {
  fuse_lk_in in{};
  lock_call call;
  call.who = who;
  call.who.group_count = 0;
  if (arguments.size() >= sizeof in) copy_bytes(writable_bytes(in), arguments);
  call.what.inode = header.nodeid;
  call.what.owner = in.owner;
  call.what.handle = in.fh;
  call.what.start = in.lk.start;
  call.what.end = in.lk.end < lock_end_max ? in.lk.end : lock_end_max;
  call.what.pid = in.lk.pid;
  const bool is_flock = (in.lk_flags & FUSE_LK_FLOCK) != 0;
  call.what.kind = is_flock ? lock_kind::flock : lock_kind::posix;
  call.what.type = type_of(in.lk.type);
  call.wait = header.opcode == FUSE_SETLKW && call.what.type != lock_type::unlock ? 1 : 0;
  const bool known = in.lk.type == F_RDLCK || in.lk.type == F_WRLCK || in.lk.type == F_UNLCK;
  if (arguments.size() < sizeof in || !known || !is_sound(call.what)) {
    draft.error = error_code::invalid;
    return request_kind::answer;
  }
  if (header.opcode == FUSE_GETLK)
    return as_lock_op(draft, opcode::get_lock, call, request_kind::op);
  return as_lock_op(draft, opcode::set_lock, call, request_kind::lock);
}

request_kind decode_flush(const fuse_in_header& header, byte_span arguments,
                          op_draft& draft) noexcept {
  fuse_flush_in in{};
  copy_bytes(writable_bytes(in), arguments);
  lock_call call;
  call.what.inode = header.nodeid;
  call.what.owner = in.lock_owner;
  call.what.handle = in.fh;
  call.what.end = lock_end_max;
  return as_lock_op(draft, opcode::set_lock, call, request_kind::flush);
}

std::optional<lock_call> lock_call_of(const op_cell& op) noexcept {
  if (op.op != opcode::set_lock) return std::nullopt;
  const std::optional<lock_call> call = decode<lock_call>({op.body, op.body_size});
  return call && is_sound(call->what) ? call : std::nullopt;
}

void set_lock_id(op_cell& op, std::uint64_t lock_id) noexcept {
  std::optional<lock_call> call = lock_call_of(op);
  if (!call) return;
  call->lock_id = lock_id;
  (void)encode(*call, op.body);  // as long as it was
}

}  // namespace tangelo
