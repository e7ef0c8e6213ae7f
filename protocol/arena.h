// arena: the two memfds of device.h, made by the watchdog, mapped by whoever was handed them.
//
// make_arenas() creates, sizes and seals both; map_*() checks seals, size, magic and layout version
// before it maps, so a wrong or hostile descriptor is refused with a problem and never crashes the
// reader. A mapping owns its memory and its descriptor.
#pragma once

#include <cstdint>

#include "base/fd.h"
#include "base/problem.h"
#include "protocol/device.h"

namespace tangelo {

// Memory mapped from a file descriptor; unmapped with its owner.
class mapping {
 public:
  mapping() = default;
  mapping(void* address, std::size_t size, unique_fd fd) noexcept
      : address_(address), size_(size), fd_(std::move(fd)) {}
  mapping(mapping&& other) noexcept
      : address_(std::exchange(other.address_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        fd_(std::move(other.fd_)) {}
  mapping& operator=(mapping&& other) noexcept;
  ~mapping();

  void* address() const noexcept { return address_; }
  std::size_t size() const noexcept { return size_; }
  int fd() const noexcept { return fd_.get(); }

 private:
  void* address_ = nullptr;
  std::size_t size_ = 0;
  unique_fd fd_;
};

enum class arena_access : std::uint8_t { read_only, read_write };

class fs_arena_map {
 public:
  static outcome<fs_arena_map> map(unique_fd fd, arena_access access);
  // Only to be written through when mapped read_write.
  fs_arena& operator*() const noexcept { return *get(); }
  fs_arena* operator->() const noexcept { return get(); }
  int fd() const noexcept { return memory_.fd(); }

 private:
  explicit fs_arena_map(mapping m) noexcept : memory_(std::move(m)) {}
  fs_arena* get() const noexcept { return static_cast<fs_arena*>(memory_.address()); }
  mapping memory_;
};

class shared_arena_map {
 public:
  static outcome<shared_arena_map> map(unique_fd fd, arena_access access);
  shared_arena& operator*() const noexcept { return *get(); }
  shared_arena* operator->() const noexcept { return get(); }
  int fd() const noexcept { return memory_.fd(); }

 private:
  explicit shared_arena_map(mapping m) noexcept : memory_(std::move(m)) {}
  shared_arena* get() const noexcept { return static_cast<shared_arena*>(memory_.address()); }
  mapping memory_;
};

struct arena_fds {
  unique_fd fs;
  unique_fd shared;
};
// Creates both arenas, empty, with headers written, mode 0600, sealed.
outcome<arena_fds> make_arenas();
// A second descriptor of the same memfd that cannot be written or mapped for writing.
outcome<unique_fd> read_only_copy(int fd);

// The payload bytes behind a reference that is_valid().
inline mutable_byte_span slot_bytes(shared_arena& arena, const slot_ref& ref) noexcept {
  return {arena.slots + slot_offset(ref.kind, ref.index), ref.size};
}

}  // namespace tangelo
