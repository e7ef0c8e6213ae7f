// What was removed while the kernel knows it (removed_inodes.h).
#include <cstring>

#include "fs/front_end.h"
#include "fs/fuse_abi.h"
#include "protocol/arena.h"

namespace tangelo {

// The answer names what was removed, if it is kept for us.
void front_end::note_removed(const op_cell& op, const answer_facts& facts) noexcept {
  if (op.handle == 0) return;
  if (facts.status != error_code::ok || facts.inode == 0) {
    (void)handles_.close(op.handle);  // false: it was not ours in the first place
    return;
  }
  handles_.set_inode(op.handle, facts.inode);
  handles_.confirm(op.handle);
  removed_.add(facts.inode, op.handle);
}

void front_end::take_over_removed() noexcept {
  handles_.for_each_in_use([this](const handle_cell& h) noexcept {
    if (h.open_flags == removed_inodes::handle_flags && h.inode != 0)
      removed_.add(h.inode, h.handle);
  });
}

// The predecessor may have died with a FORGET that it had read. (Of these the kernel has nothing to
// write back: it does not wait for us when it is about to forget one.)
void front_end::forget_unknown() noexcept {
  for (const std::uint64_t inode : removed_.inodes())
    if (!w_.kernel.forget_attributes(inode)) forget_removed(inode);
}

void front_end::forget_removed(std::uint64_t inode) noexcept {
  const std::optional<std::uint64_t> handle = removed_.take(inode);
  if (!handle) return;
  std::byte body[op_body_size_max];
  const std::optional<std::size_t> size = encode(open_call{{}, inode, *handle, 0}, body);
  queue_own(opcode::release, {body, size.value_or(0)}, inode, *handle);
}

// FORGET and its kin, `size` bytes: the kernel knows these no more. (It names a living inode, too,
// when a lookup had no use for it; a removed one is not looked up any more.)
void front_end::take_forget(const fuse_in_header& header, std::size_t size) noexcept {
  if (removed_.empty()) return;
  if (header.opcode == FUSE_FORGET) return forget_removed(header.nodeid);
  constexpr std::size_t begin = sizeof(fuse_in_header) + sizeof(fuse_batch_forget_in);
  const std::size_t tail_size = size > receive_head_size ? size - receive_head_size : 0;
  const slot_ref tail{slot_class::write_large, 0, receive_slot_->index,
                      static_cast<std::uint32_t>(tail_size)};
  const byte_span rest = slot_bytes(w_.shared, tail);
  static_assert((receive_head_size - begin) % sizeof(fuse_forget_one) == 0);
  for (std::size_t at = begin; at + sizeof(fuse_forget_one) <= size && !removed_.empty();
       at += sizeof(fuse_forget_one)) {
    fuse_forget_one one{};
    const bool in_head = at < receive_head_size;
    std::memcpy(&one, in_head ? request_.data() + at : rest.data() + (at - receive_head_size),
                sizeof one);
    forget_removed(one.nodeid);
  }
}

}  // namespace tangelo
