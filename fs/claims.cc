#include "fs/claims.h"

#include <optional>

#include "protocol/data_ops.h"
#include "protocol/lock_ops.h"

namespace tangelo {

namespace {

template <class Body, class F>
std::size_t with_body(const op_cell& op, F f) noexcept {
  const std::optional<Body> body = decode<Body>({op.body, op.body_size});
  return body ? f(*body) : 0;
}

// The server is to hear of them in the order in which their owner made them.
std::size_t claims_of_lock(const op_cell& op, claim (&claims)[claim_count_max]) noexcept {
  const auto claim_both = [&claims](std::uint64_t inode, std::uint64_t owner,
                                    std::uint64_t handle) noexcept {
    claims[0] = claim_lock_owner(inode, owner);
    claims[1] = claim_lock_handle(handle, owner);
    return std::size_t{2};
  };
  if (op.op == opcode::cancel_lock)
    return with_body<cancel_lock_call>(op, [claim_both](const cancel_lock_call& c) noexcept {
      return claim_both(c.inode, c.owner, c.handle);
    });
  return with_body<lock_call>(op, [claim_both](const lock_call& c) noexcept {
    return claim_both(c.what.inode, c.what.owner, c.what.handle);
  });
}

}  // namespace

std::size_t claims_of(const op_cell& op, claim (&claims)[claim_count_max]) noexcept {
  switch (op.op) {
    case opcode::setattr:
    case opcode::setxattr:
    case opcode::removexattr:
    case opcode::fallocate: claims[0] = claim_inode(op.inode); return 1;
    case opcode::symlink:
    case opcode::mknod:
    case opcode::mkdir:
    case opcode::create:
      return with_body<make_call>(op, [&claims](const make_call& c) noexcept {
        claims[0] = claim_name(c.parent, c.name);
        return std::size_t{1};
      });
    case opcode::unlink:
    case opcode::rmdir:
      return with_body<name_call>(op, [&claims](const name_call& c) noexcept {
        claims[0] = claim_name(c.parent, c.name);
        return std::size_t{1};
      });
    case opcode::link:
      return with_body<link_call>(op, [&claims](const link_call& c) noexcept {
        claims[0] = claim_name(c.parent, c.name);
        return std::size_t{1};
      });
    case opcode::rename:
      return with_body<rename_call>(op, [&claims](const rename_call& c) noexcept {
        claims[0] = claim_name(c.parent, c.name);
        claims[1] = claim_name(c.new_parent, c.new_name);
        return std::size_t{2};
      });
    case opcode::write:
      return with_body<write_call>(op, [&claims](const write_call& c) noexcept {
        const bool appends = (c.flags & write_flag::append) != 0;
        claims[0] = appends ? claim_inode(c.inode)
                            : claim_range(c.inode, c.offset, c.offset + c.size);
        return std::size_t{1};
      });
    case opcode::copy_range:
      return with_body<copy_call>(op, [&claims](const copy_call& c) noexcept {
        claims[0] = claim_range(c.inode, c.offset, c.offset + c.size);
        claims[1] = claim_range(c.to_inode, c.to_offset, c.to_offset + c.size);
        return std::size_t{2};
      });
    case opcode::set_lock:
    case opcode::cancel_lock: return claims_of_lock(op, claims);
    case opcode::release: claims[0] = claim_locks_of_handle(op.handle); return 1;
    case opcode::none:
    case opcode::lookup:
    case opcode::getattr:
    case opcode::readlink:
    case opcode::open:
    case opcode::read:
    case opcode::fsync:
    case opcode::readdir:
    case opcode::statfs:
    case opcode::getxattr:
    case opcode::listxattr:
    case opcode::inode_range:
    case opcode::seek:
    case opcode::tmpfile:
    case opcode::get_lock:
    case opcode::reclaim_lock:
    case opcode::reclaim_open: return 0;
  }
  return 0;
}

}  // namespace tangelo
