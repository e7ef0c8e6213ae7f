// guarded_file: one attempt of an operation at a file whose blocks have guards (block_guards.h):
// what is read is compared with its guards, and what changes bytes changes the guards with them, in
// its batch.
//
// A read holds no gate: what it finds may be half of a write that is under way. So what does not
// fit is read again inside the gate, where nobody writes; and once more, from the disk, before it
// is believed. Who changes a part of a block reads the rest of it and compares that first: a bad
// block is never given a good guard.
//
// Each of these may say again_later, as a handler does, and is then called again by the next
// attempt; or `integrity`, with the operation's fault set.
#pragma once

#include <cstdint>
#include <string_view>

#include "server/block_guards.h"
#include "server/operation.h"

namespace tangelo {

class volume;

class guarded_file {
 public:
  // `r`: the file as it is before the operation; it must live as long as this.
  guarded_file(volume& v, operation& o, transaction& t, std::uint64_t inode,
               const inode_record& r)
      : v_(v), o_(o), t_(t), inode_(inode), r_(r), guards_(t, inode) {}

  // What was read of this place fits; the answer gets its trailer.
  error_code check_read(std::uint64_t offset, mutable_byte_span into);
  // Is the payload of a write the file's, and these bytes'?
  error_code check_sent_tags(const write_call& c);

  // Inside the gate, before the first byte of this range is written to the object.
  error_code prepare_overwrite(std::uint64_t offset, std::uint64_t size);
  // The payload has been written to the object, at the operation's offset.
  error_code written();
  // This range of the object gets bytes that were never here: its guards are made later.
  error_code copied(std::uint64_t offset, std::uint64_t size);
  // The object becomes shorter.
  error_code cut(std::uint64_t size);
  // This range of the object becomes zero.
  error_code zeroed(std::uint64_t offset, std::uint64_t size);
  // A small file, whose data are, and stay, in the store.
  error_code changed_inline(std::string_view old, std::string_view now);

 private:
  error_code load(std::uint64_t first, std::uint64_t end);
  error_code load_both(std::uint64_t first, std::uint64_t last);
  error_code fault(const protection_fault& f);
  error_code mismatch(std::uint64_t block, std::uint32_t expected, std::uint32_t found);
  bool is_believed(std::uint64_t block) const;
  error_code need_block(std::uint64_t block, std::size_t which);
  bool read_block(std::size_t which);
  error_code need_kept(std::uint64_t from, std::uint64_t end);
  error_code need_marks(std::uint64_t from, std::uint64_t end);

  volume& v_;
  operation& o_;
  transaction& t_;
  const std::uint64_t inode_;
  const inode_record& r_;
  block_guards guards_;
};

}  // namespace tangelo
