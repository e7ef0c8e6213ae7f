// op_metrics: what the front end counts and measures of its ops, by opcode and by class of opcodes.
//
// It lies in the arena, behind the header in the header's page, where arenas of layout 4 have
// zeros: so it outlives every process of the mount, a program without metrics leaves it alone, and
// one with them goes on counting in the arena of one without. Written by the front end's loop alone
// (fs/op_meter.h); anybody may read. Counts of a front end that is killed between two stores may be
// one off: nobody's fate hangs on them. A server has one of its own, in its memory.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "protocol/device.h"
#include "protocol/errors.h"

namespace tangelo {

// Opcodes that take about the same time. Never renumber.
enum class op_class : std::uint8_t {
  lookup = 0,
  getattr = 1,
  setattr = 2,
  open = 3,  // and create, tmpfile
  release = 4,
  read = 5,
  write = 6,
  fsync = 7,
  readdir = 8,
  make = 9,     // mknod, mkdir, symlink, link
  remove = 10,  // unlink, rmdir
  rename = 11,
  xattr = 12,
  lock = 13,   // until the server's first answer: not the wait for somebody else's lock
  space = 14,  // fallocate, seek, copy_range
  other = 15,
};
inline constexpr std::size_t op_class_count = 16;

constexpr std::string_view name_of(op_class c) noexcept {
  switch (c) {
    using enum op_class;
    case lookup: return "lookup";
    case getattr: return "getattr";
    case setattr: return "setattr";
    case open: return "open";
    case release: return "release";
    case read: return "read";
    case write: return "write";
    case fsync: return "fsync";
    case readdir: return "readdir";
    case make: return "make";
    case remove: return "remove";
    case rename: return "rename";
    case xattr: return "xattr";
    case lock: return "lock";
    case space: return "space";
    case other: return "other";
  }
  return {};
}

constexpr op_class class_of(opcode op) noexcept {
  switch (op) {
    case opcode::lookup: return op_class::lookup;
    case opcode::getattr: return op_class::getattr;
    case opcode::setattr: return op_class::setattr;
    case opcode::open:
    case opcode::create:
    case opcode::tmpfile: return op_class::open;
    case opcode::release: return op_class::release;
    case opcode::read: return op_class::read;
    case opcode::write: return op_class::write;
    case opcode::fsync: return op_class::fsync;
    case opcode::readdir: return op_class::readdir;
    case opcode::symlink:
    case opcode::mknod:
    case opcode::mkdir:
    case opcode::link: return op_class::make;
    case opcode::unlink:
    case opcode::rmdir: return op_class::remove;
    case opcode::rename: return op_class::rename;
    case opcode::setxattr:
    case opcode::getxattr:
    case opcode::listxattr:
    case opcode::removexattr: return op_class::xattr;
    case opcode::get_lock:
    case opcode::set_lock:
    case opcode::cancel_lock:
    case opcode::reclaim_lock: return op_class::lock;
    case opcode::fallocate:
    case opcode::seek:
    case opcode::copy_range: return op_class::space;
    case opcode::none:
    case opcode::readlink:
    case opcode::statfs:
    case opcode::inode_range:
    case opcode::reclaim_open: return op_class::other;
  }
  return op_class::other;
}

// Bucket k holds times up to latency_limit_us(k) and above that of k - 1; the last one all others.
inline constexpr std::size_t latency_bucket_count = 20;
constexpr std::uint64_t latency_limit_us(std::size_t bucket) noexcept {
  return std::uint64_t{16} << bucket;
}
constexpr std::size_t latency_bucket_of(std::uint64_t ns) noexcept {
  const std::uint64_t us = ns / 1000 + (ns % 1000 != 0 ? 1 : 0);
  if (us <= latency_limit_us(0)) return 0;
  const auto bucket = static_cast<std::size_t>(std::bit_width(us - 1)) - 4;
  return bucket < latency_bucket_count - 1 ? bucket : latency_bucket_count - 1;
}

struct op_counts {
  atomic_u64 started{0};
  atomic_u64 answered{0};
  atomic_u64 failed{0};  // answered with an error, ENOENT of a lookup included
  atomic_u64 bytes{0};   // that were read or written
};
struct op_latency {
  atomic_u64 sum_ns{0};
  std::array<atomic_u64, latency_bucket_count> buckets;
};
inline constexpr std::size_t metric_opcode_count = 36;  // room for two more
static_assert(opcode_count <= metric_opcode_count);

struct op_metrics {
  std::array<op_counts, metric_opcode_count> ops;       // by opcode
  std::array<op_latency, op_class_count> latencies;     // by op_class: from request to answer
  atomic_u64 io_errors{0};                              // answered EIO
  atomic_u64 log_lines_dropped{0};                      // of front ends: nobody took them in time
};

// What the one writer of some metrics adds to them; without locked instructions.
inline void add_to(atomic_u64& counter, std::uint64_t n) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}
inline op_counts& counts_of(op_metrics& m, opcode op) noexcept {
  const auto index = static_cast<std::size_t>(op);
  return m.ops[index < metric_opcode_count ? index : 0];
}
inline void add_answered(op_metrics& m, opcode op, error_code status, std::uint64_t byte_count,
                         std::uint64_t took_ns) noexcept {
  op_counts& counts = counts_of(m, op);
  add_to(counts.answered, 1);
  if (status != error_code::ok) add_to(counts.failed, 1);
  if (status == error_code::io) add_to(m.io_errors, 1);
  if (byte_count != 0 && status == error_code::ok) add_to(counts.bytes, byte_count);
  op_latency& latency = m.latencies[static_cast<std::size_t>(class_of(op))];
  add_to(latency.sum_ns, took_ns);
  add_to(latency.buckets[latency_bucket_of(took_ns)], 1);
}

inline constexpr std::size_t op_metrics_offset = 64;
static_assert(sizeof(arena_header) <= op_metrics_offset);
static_assert(op_metrics_offset + sizeof(op_metrics) <= offsetof(fs_arena, watchdog));

inline op_metrics& metrics_of(fs_arena& arena) noexcept {
  return *reinterpret_cast<op_metrics*>(reinterpret_cast<std::byte*>(&arena) + op_metrics_offset);
}
inline const op_metrics& metrics_of(const fs_arena& arena) noexcept {
  return *reinterpret_cast<const op_metrics*>(reinterpret_cast<const std::byte*>(&arena) +
                                              op_metrics_offset);
}

}  // namespace tangelo
