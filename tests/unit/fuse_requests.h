// fuse_request: the raw bytes of a FUSE request, as the kernel would write them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "fs/fuse_abi.h"

namespace tangelo {

class fuse_request {
 public:
  fuse_request(std::uint32_t opcode, std::uint64_t node, std::uint64_t unique,
               std::uint32_t pid = 4321) {
    fuse_in_header h{};
    h.opcode = opcode;
    h.unique = unique;
    h.nodeid = node;
    h.uid = 1000;
    h.gid = 1001;
    h.pid = pid;
    add(h);
  }
  template <class T>
  fuse_request& add(const T& value) {
    return raw(object_bytes(value));
  }
  fuse_request& name(std::string_view n) {
    raw(bytes_of(n));
    bytes_.push_back(std::byte{0});
    set_size();
    return *this;
  }
  fuse_request& raw(byte_span b) {
    bytes_.insert(bytes_.end(), b.begin(), b.end());
    set_size();
    return *this;
  }
  fuse_request& by_root() {
    const std::uint32_t ids[2] = {};
    std::memcpy(bytes_.data() + offsetof(fuse_in_header, uid), ids, sizeof ids);
    return *this;
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }

  // The requests of the tests.
  static fuse_request named(std::uint32_t opcode, std::uint64_t node, std::uint64_t unique,
                            std::string_view n) {
    return fuse_request(opcode, node, unique).name(n);
  }
  static fuse_request getattr(std::uint64_t node, std::uint64_t unique) {
    return fuse_request(FUSE_GETATTR, node, unique).add(fuse_getattr_in{});
  }
  static fuse_request read(std::uint64_t node, std::uint64_t unique, std::uint64_t fh,
                           std::uint64_t offset, std::uint32_t size,
                           std::uint32_t opcode = FUSE_READ) {
    fuse_read_in in{};
    in.fh = fh;
    in.offset = offset;
    in.size = size;
    return fuse_request(opcode, node, unique).add(in);
  }
  static fuse_request write(std::uint64_t node, std::uint64_t unique, std::uint64_t fh,
                            std::uint64_t offset, byte_span data, std::uint32_t flags = 0) {
    fuse_write_in in{};
    in.flags = flags;
    in.fh = fh;
    in.offset = offset;
    in.size = static_cast<std::uint32_t>(data.size());
    return fuse_request(FUSE_WRITE, node, unique).add(in).raw(data);
  }
  static fuse_request mkdir(std::uint64_t node, std::uint64_t unique, std::string_view n,
                            std::uint32_t mode = 0755) {
    fuse_mkdir_in in{};
    in.umask = 0027;
    in.mode = mode;
    return fuse_request(FUSE_MKDIR, node, unique).add(in).name(n);
  }
  static fuse_request create(std::uint64_t node, std::uint64_t unique, std::string_view n,
                             std::uint32_t flags = 0) {
    fuse_create_in in{};
    in.flags = flags;
    in.mode = 0100644;
    return fuse_request(FUSE_CREATE, node, unique).add(in).name(n);
  }
  static fuse_request open(std::uint64_t node, std::uint64_t unique, std::uint32_t flags,
                           std::uint32_t opcode = FUSE_OPEN) {
    fuse_open_in in{};
    in.flags = flags;
    return fuse_request(opcode, node, unique).add(in);
  }
  static fuse_request release(std::uint64_t node, std::uint64_t unique, std::uint64_t fh,
                              std::uint32_t opcode = FUSE_RELEASE) {
    fuse_release_in in{};
    in.fh = fh;
    return fuse_request(opcode, node, unique).add(in);
  }
  static fuse_request interrupt(std::uint64_t unique) {
    fuse_interrupt_in in{};
    in.unique = unique;
    return fuse_request(FUSE_INTERRUPT, 0, unique | 1).add(in);
  }

 private:
  void set_size() {
    const auto size = static_cast<std::uint32_t>(bytes_.size());
    std::memcpy(bytes_.data(), &size, sizeof size);
  }
  std::vector<std::byte> bytes_;
};

}  // namespace tangelo
