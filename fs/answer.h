// answer: from a downcall to the bytes that the kernel gets. No tables, no I/O.
//
// The downcall was written by the core and is hostile: its body is decoded with every length
// checked, its payload bounded by the slot; what does not decode becomes EIO.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "fs/cache_hints.h"
#include "fs/fuse_abi.h"
#include "protocol/device.h"
#include "protocol/errors.h"
#include "protocol/policy.h"

namespace tangelo {

// What a successful answer told beside its bytes.
struct answer_facts {
  error_code status = error_code::ok;
  std::uint64_t inode = 0;  // of create: the file that was opened; of rmdir: what is kept
  // Not 0: a file that was opened, and of which the kernel may have older attributes than this.
  std::uint64_t stale_attributes = 0;
  std::uint64_t range_first = 0;
  std::uint32_t range_count = 0;
  bool is_elsewhere = false;  // of an append: its bytes are not where the kernel has them
};

class answer_builder {
 public:
  answer_builder();
  // Makes the answer to `op` from `downcall`; `payload` is what of the op's slot the downcall
  // claims to have filled (bounded already). parts() is valid until the next call.
  answer_facts build(const op_cell& op, const downcall_cell& downcall, byte_span payload,
                     cache_hints& hints) noexcept;
  void build_error(std::uint64_t kernel_id, error_code error) noexcept;
  // An answer with a fixed body, for what the front end answers by itself.
  void build_body(std::uint64_t kernel_id, byte_span body) noexcept;

  // A file that goes past the kernel's pages can be mapped.
  void allow_direct_maps(bool on) noexcept { direct_maps_ = on; }
  // Entries and attributes of the answers from here on are valid for so long at most.
  void limit_validity(std::uint64_t ns) noexcept;
  // What the mount's options say of caches.
  void set_caching(const cache_policy& policy) noexcept { caching_ = policy; }
  const cache_policy& caching() const noexcept { return caching_; }
  // Makes the answer that was built one to request `kernel_id`.
  void address_to(std::uint64_t kernel_id) noexcept { header_.unique = kernel_id; }

  const iovec* parts() const noexcept { return parts_; }
  int part_count() const noexcept { return part_count_; }

 private:
  static constexpr std::uint32_t valid_ms_max = 30'000;
  std::uint32_t valid_ms(std::uint32_t by_server) const noexcept;
  error_code fill(const op_cell& op, const downcall_cell& downcall, byte_span payload,
                  cache_hints& hints, answer_facts& facts) noexcept;
  error_code fill_attributes(const op_cell& op, byte_span body, cache_hints& hints) noexcept;
  error_code fill_entry(const op_cell& op, byte_span body, cache_hints& hints,
                        answer_facts& facts) noexcept;
  error_code fill_open(const op_cell& op, byte_span body, cache_hints& hints,
                       answer_facts& facts) noexcept;
  fuse_open_out opened(const op_cell& op, const attributes& a,
                       cache_hints& hints) const noexcept;
  bool goes_past_pages(const op_cell& op) const noexcept;
  error_code fill_written(const op_cell& op, byte_span body, cache_hints& hints,
                          answer_facts& facts) noexcept;
  error_code fill_seek(byte_span body) noexcept;
  error_code fill_copied(const op_cell& op, byte_span body) noexcept;
  error_code fill_statfs(byte_span body) noexcept;
  error_code fill_lock(byte_span body) noexcept;
  error_code fill_xattr(const op_cell& op, byte_span body, byte_span payload) noexcept;
  error_code fill_directory(const op_cell& op, byte_span payload, cache_hints& hints) noexcept;
  template <class T>
  void append(const T& value) noexcept;
  void finish(std::uint64_t kernel_id, error_code error) noexcept;

  fuse_out_header header_{};
  std::uint32_t valid_ms_max_ = valid_ms_max;
  bool direct_maps_ = true;
  cache_policy caching_;
  std::byte body_[512];
  std::size_t body_size_ = 0;
  byte_span bulk_;
  iovec parts_[3]{};
  int part_count_ = 0;
  std::vector<std::byte> entries_in_;   // a private copy of a readdir payload
  std::vector<std::byte> entries_out_;
};

}  // namespace tangelo
