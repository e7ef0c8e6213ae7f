// request: what a FUSE request becomes. Decoding only: no tables, no I/O.
//
// The kernel is trusted to keep its ABI, but every length is checked all the same: a malformed
// request is answered EIO and nothing else happens.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "fs/barriers.h"
#include "fs/credentials.h"
#include "protocol/device.h"
#include "protocol/errors.h"
#include "protocol/lock_ops.h"
#include "protocol/policy.h"

struct fuse_in_header;

namespace tangelo {

enum class request_kind : std::uint8_t {
  op,              // goes to the server: `draft` is filled in
  answer,          // answered here, with draft.error and no body
  no_answer,       // FORGET and its kin
  interrupt,       // draft.interrupted names the request
  open_directory,  // answered here with a new handle
  close_directory,
  flush,           // an unlock of all that the closing process has; answered here if it has none
  lock,            // an op, and may need a lock record before it is queued
  opening,         // an op, and needs a new handle before it is queued (open, create)
  removing,        // an op, and may have a new handle (removed_inodes.h)
};

// The op record of a request, not yet in the arena.
struct op_draft {
  op_cell cell;
  std::uint64_t reply_id = 0;  // `unique` as it was read; cell.kernel_id is without the resent bit
  claim claims[claim_count_max];
  std::size_t claim_count = 0;
  byte_span payload;          // to be copied into a small slot; a WRITE's is in its slot already
  std::uint32_t write_size = 0;  // of a WRITE
  error_code error = error_code::ok;
  std::uint64_t interrupted = 0;
};

// `request` is the whole request, but of a WRITE only its first receive_head_size bytes. Without
// `known` its caller's groups are not known.
request_kind decode_request(byte_span request, op_draft& draft, credentials* known = nullptr,
                            const cache_policy& policy = {}) noexcept;

// Puts the inode number, and for create the handle, into the body of a creating op.
bool is_creating(opcode op) noexcept;
constexpr bool opens_new_file(opcode op) noexcept {
  return op == opcode::create || op == opcode::tmpfile;
}
constexpr bool opens_handle(opcode op) noexcept {
  return op == opcode::open || opens_new_file(op);
}
void set_new_inode(op_cell& cell, std::uint64_t inode) noexcept;
// False for a creating op that set_new_inode() could not edit: no front end has recorded it.
bool is_editable(const op_cell& cell) noexcept;
void set_new_handle(op_cell& cell, std::uint64_t handle) noexcept;
void set_open_again(op_cell& cell) noexcept;  // of an open
// Makes it a call of `who`; false, and nothing is changed, when the body has no room for that.
bool set_caller(op_cell& cell, const credential& who) noexcept;

// Until it is answered its handle is nobody else's.
inline bool has_new_handle(const op_cell& op) noexcept {
  const bool removes = op.op == opcode::rmdir || op.op == opcode::rename;
  return opens_handle(op.op) || (removes && op.handle != 0);
}
// request_locks.cc; `arguments`: what follows the header.
request_kind decode_lock(const fuse_in_header& header, byte_span arguments, const credential& who,
                         op_draft& draft) noexcept;
request_kind decode_flush(const fuse_in_header& header, byte_span arguments,
                          op_draft& draft) noexcept;
// The body of a set_lock op; nothing for others, and for one that is damaged.
std::optional<lock_call> lock_call_of(const op_cell& op) noexcept;
void set_lock_id(op_cell& op, std::uint64_t lock_id) noexcept;

// Reads and writes of files opened with O_DIRECT.
bool is_direct(const op_cell& op) noexcept;

}  // namespace tangelo
