// object_store: the files that hold the data of a volume's inodes, one per inode.
//
// A seam: uring_objects.h is the real one, mem_objects.h the one of tests and of the simulator.
// Loop thread only; completions come on a later turn of the loop, never from inside the call. The
// memory behind a span stays with the caller until its completion.
//
// Invariants:
//   1. What is written, cut or removed is durable only after a sync() of that inode (or a write
//      with `durably`) that began after it completed.
//   2. An object that does not exist reads as empty, is cut and removed without error, and comes
//      being with the first write, allocation or copy.
//   3. A failed write may have changed any byte of its range and nothing else.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "base/bytes.h"
#include "protocol/errors.h"

namespace tangelo {

struct store_space {
  std::uint64_t block_size = 4096;
  std::uint64_t blocks = 0;
  std::uint64_t blocks_free = 0;
  std::uint64_t blocks_available = 0;
  std::uint64_t files = 0;
  std::uint64_t files_free = 0;
};

enum class space_change : std::uint8_t {
  allocate,  // gives the range room on the disk; changes no byte, nor the object's own end
  punch,     // its bytes are zero, and their room is given back
  zero,      // its bytes are zero, and keep their room
  trim,      // cuts the object at `offset`, and gives back room that was allocated behind it
};

class object_store {
 public:
  using done = std::function<void(error_code)>;
  using count_done = std::function<void(op_result<std::uint64_t>)>;

  virtual ~object_store() = default;
  // All of `into` at once, if no disk is needed for it.
  virtual bool read_now(std::uint64_t inode, std::uint64_t offset, mutable_byte_span into) = 0;
  // The bytes read: fewer than asked only at the end of the object.
  virtual void read(std::uint64_t inode, std::uint64_t offset, mutable_byte_span into,
                    count_done f) = 0;
  // Writes all or fails; the count is the object's allocated blocks of 512 bytes afterwards. With
  // `durably` everything done to this object before is durable, too.
  virtual void write(std::uint64_t inode, std::uint64_t offset, byte_span from, bool durably,
                     count_done f) = 0;
  // Cuts what is behind `size`; an object that ends before it stays as it is.
  virtual void truncate(std::uint64_t inode, std::uint64_t size, done f) = 0;
  // The count is the object's allocated blocks afterwards.
  virtual void change_space(space_change what, std::uint64_t inode, std::uint64_t offset,
                            std::uint64_t size, count_done f) = 0;
  // The blocks of data that the object has within this range; what the filesystem needs to find
  // them is in no range.
  virtual void blocks_inside(std::uint64_t inode, std::uint64_t offset, std::uint64_t size,
                             count_done f) = 0;
  // All others that it has.
  virtual void blocks_outside(std::uint64_t inode, std::uint64_t offset, std::uint64_t size,
                              count_done f) = 0;
  // The bytes of this range that can be written without a new block of the disk: in no hole, not
  // shared with another file, on no filesystem that writes changes to another place.
  virtual void writable_inside(std::uint64_t inode, std::uint64_t offset, std::uint64_t size,
                               count_done f) = 0;
  // The next data, or hole, at or behind `offset`; no_device_address when there is none: behind an
  // object's end is a hole. Data may be named where a hole is, never a hole where data is.
  virtual void seek(std::uint64_t inode, std::uint64_t offset, bool hole, count_done f) = 0;
  // From one object to another, or within one; the bytes copied, fewer only at the source's end.
  virtual void copy(std::uint64_t from, std::uint64_t from_offset, std::uint64_t to,
                    std::uint64_t to_offset, std::uint64_t size, count_done f) = 0;
  // What is in memory of this range, and on the disk, too, is to be read from there the next time.
  virtual void forget(std::uint64_t inode, std::uint64_t offset, std::uint64_t size) = 0;
  virtual void remove(std::uint64_t inode, done f) = 0;
  virtual void sync(std::uint64_t inode, done f) = 0;
  virtual op_result<store_space> space() = 0;

  // Blocking forms, for the redo of a crash, before the loop runs; sync_now() ends them.
  virtual op_result<std::uint64_t> load_now(std::uint64_t inode, std::uint64_t offset,
                                            mutable_byte_span into) = 0;
  virtual error_code write_now(std::uint64_t inode, std::uint64_t offset, byte_span from) = 0;
  virtual error_code truncate_now(std::uint64_t inode, std::uint64_t size) = 0;
  virtual error_code change_space_now(space_change what, std::uint64_t inode,
                                      std::uint64_t offset, std::uint64_t size) = 0;
  virtual error_code remove_now(std::uint64_t inode) = 0;
  virtual error_code sync_now() = 0;
};

}  // namespace tangelo
