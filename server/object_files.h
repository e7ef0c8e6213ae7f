// object_files: the blocking side of uring_objects: paths, opening, cutting, removing, flushing.
// Every function may be called on any thread; two calls for one inode at once are the caller's sin.
#pragma once

#include <cstdint>
#include <string>

#include "base/fd.h"
#include "protocol/errors.h"
#include "server/objects.h"

namespace tangelo {

class object_files {
 public:
  explicit object_files(unique_fd directory) : directory_(std::move(directory)) {}

  // With `create` makes the file, and the directories above it durably.
  op_result<int> open(std::uint64_t inode, bool create) const;
  // The bytes read: none when there is no file.
  op_result<std::uint64_t> read(std::uint64_t inode, std::uint64_t offset,
                                mutable_byte_span into) const;
  error_code write(std::uint64_t inode, std::uint64_t offset, byte_span from) const;
  error_code truncate(std::uint64_t inode, std::uint64_t size) const;
  error_code remove(std::uint64_t inode) const;
  // As object_store has them.
  op_result<std::uint64_t> change_space(space_change what, std::uint64_t inode,
                                        std::uint64_t offset, std::uint64_t size) const;
  op_result<std::uint64_t> blocks_inside(std::uint64_t inode, std::uint64_t offset,
                                         std::uint64_t size) const;
  op_result<std::uint64_t> blocks_outside(std::uint64_t inode, std::uint64_t offset,
                                          std::uint64_t size) const;
  op_result<std::uint64_t> writable_inside(std::uint64_t inode, std::uint64_t offset,
                                           std::uint64_t size) const;
  op_result<std::uint64_t> seek(std::uint64_t inode, std::uint64_t offset, bool hole) const;
  op_result<std::uint64_t> copy(std::uint64_t from, std::uint64_t from_offset, std::uint64_t to,
                                std::uint64_t to_offset, std::uint64_t size) const;
  // Flushes the directory that holds the file's name.
  error_code sync_directory(std::uint64_t inode) const;
  int directory() const noexcept { return directory_.get(); }

  static std::string directory_of(std::uint64_t inode);  // "xx/yy"
  static std::string path_of(std::uint64_t inode);       // "xx/yy/INODE"

 private:
  error_code make_directories(std::uint64_t inode) const;

  unique_fd directory_;
};

error_code last_error() noexcept;
// Until `into` is full or the file ends.
op_result<std::uint64_t> read_all(int fd, std::uint64_t offset, mutable_byte_span into) noexcept;

}  // namespace tangelo
