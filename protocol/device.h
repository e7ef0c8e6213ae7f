// The device: what front end (tangelo-fs) and core (tangelo-core) say to each other, and the op
// arena in which all of it lives.
//
// Dialogue. One SEQPACKET socket per core; the watchdog makes the connection and hands its end to
// the core it starts:
//
//   core                                  front end
//   attach_request (version, pid)    ->
//                                    <-   attach_reply (generation) + 4 fds: front end's arena
//                                         (read-only), shared arena, up eventfd, down eventfd
//   ... rings ...
//                                    <-   detach_request: finish, say GOODBYE, end
//   end of file: the other one is gone
//
// A core whose front end is gone works no more: the next front end gets the next core. It only
// keeps the descriptors it was given for an adopter (supervise.h) until it is killed.
//
// An op goes up like this: the front end publishes its op record (state waiting), stores "in
// progress, generation G" in the record's control word, then puts a hint on the up ring. The core
// reads the record, calls the server, writes a downcall record, then puts a hint on the down ring.
// The front end copies the downcall, checks it, and replies to the kernel. Bulk data is in data
// slots named by the op record; it never crosses a ring.
//
// The arena is two memfds, sealed against growing, shrinking and more seals:
//   fs arena      written by the front end (one page by the watchdog); the core has it read-only
//   shared arena  rings, data slots, and the core's own records; written by both
//
// Invariants:
//   1. One writer for each record and each cache line; who, stands at the type.
//   2. A record is written to its spare cell with its CRC and then published by one 8-byte release
//      store of its control word, so a kill at any instruction leaves the old or the new record.
//   3. Ring entries are hints {index, sequence}: losing them all loses nothing, the tables say all.
//   4. Offsets and indexes only, never pointers. Whoever reads what another process wrote copies
//      it first, checks the copy, and uses the copy.
//   5. A data slot belongs to one op from its reservation to the op's end, whatever dies meanwhile.
//   6. What a front end knows is in here before it acts on it, so that its successor goes on where
//      it stood; what is behind ops_used_end, handles_used_end and locks_used_end was never used.
//
// Layout version 5 (1: without what a front end's successor needs; 2: without the replay log; 3:
// without locks; 4: without trailers). A process that finds another version in the header refuses
// the arena.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "protocol/core_page.h"
#include "protocol/data_slots.h"
#include "protocol/kept_trailers.h"
#include "protocol/lock_records.h"
#include "protocol/ops.h"
#include "protocol/replay_records.h"
#include "protocol/watchdog_page.h"
#include "protocol/wire.h"

namespace tangelo {

inline constexpr std::uint64_t arena_magic = 0x414f474e41540a1au;
inline constexpr std::uint32_t arena_layout_version = 5;

inline constexpr std::uint32_t op_slot_count = 16384;    // = session slots
inline constexpr std::uint32_t op_offered_count_max = 1024;
inline constexpr std::uint32_t handle_count = 65536;
inline constexpr std::uint32_t ring_entry_count = 4096;  // a power of two, > offered + controls
inline constexpr std::uint32_t lost_directory_count = 256;

// ---- control words ------------------------------------------------------------------------

// {cell 1 bit, state 7, core generation low 24, slot sequence 32}, published by one store.
struct control_word {
  std::uint8_t cell = 0;
  std::uint8_t state = 0;
  std::uint32_t generation = 0;  // low 24 bits
  std::uint32_t sequence = 0;

  constexpr std::uint64_t pack() const noexcept {
    return std::uint64_t{cell & 1u} << 63 | std::uint64_t{state & 0x7fu} << 56 |
           std::uint64_t{generation & 0xffffffu} << 32 | sequence;
  }
  static constexpr control_word unpack(std::uint64_t raw) noexcept {
    return {static_cast<std::uint8_t>(raw >> 63), static_cast<std::uint8_t>(raw >> 56 & 0x7f),
            static_cast<std::uint32_t>(raw >> 32 & 0xffffff), static_cast<std::uint32_t>(raw)};
  }
};

// ---- op records (fs arena, written by the front end) ---------------------------------------

// Everything about one kernel request that outlives the processes. `body` is the encoded call
// (ops.h) exactly as it goes to the server.
struct op_cell {
  std::uint32_t crc = 0;  // over everything behind it, up to body_size bytes of body
  std::uint32_t index = 0;
  std::uint64_t xid = 0;        // arrival number in this arena, from 1; the op's name for life
  std::uint32_t slot_seq = 0;   // of the session slot with the same index
  opcode op = opcode::none;
  std::uint16_t body_size = 0;
  std::uint64_t kernel_id = 0;  // `unique` of the request; 0: an op of the front end's own
  std::uint64_t inode = 0;      // the request's node
  std::uint64_t handle = 0;     // open file it works on, 0 none
  std::uint64_t offset = 0;     // of reads and writes
  std::uint64_t arrived_ns = 0;
  std::uint32_t kernel_opcode = 0;
  std::uint32_t pid = 0;        // of the caller
  std::uint32_t room = 0;       // bytes the kernel can take in the answer
  std::uint32_t kernel_flags = 0;
  slot_ref payload_in;
  slot_ref payload_out;
  std::uint16_t call_flags = 0;  // message_flag::need_commit, commit_soon: as the call goes out
  std::uint16_t reserved[3]{};
  std::byte body[op_body_size_max];
};
static_assert(std::is_trivially_copyable_v<op_cell>);
inline constexpr std::size_t op_cell_fixed_size = offsetof(op_cell, body);

struct alignas(64) op_slot {
  atomic_u64 control{0};     // state: op_state (fs/op_state.h)
  atomic_u32 attempts{0};    // hand-overs to a core
  atomic_u32 core_losses{0}; // cores that ended while they had it
  atomic_u64 offered_ns{0};  // first hand-over
  atomic_u32 prepared{0};    // 1: the cell has its inode number, and its reply slot is taken
  atomic_u32 resent{0};      // 1: the kernel has sent the request again, under resent_id()
  std::byte pad[32];
  op_cell cells[2];
};

// FUSE_NOTIFY_RESEND gives each request it repeats a new id: the old one with this bit.
inline constexpr std::uint64_t kernel_id_resent_bit = std::uint64_t{1} << 63;
constexpr std::uint64_t resent_id(std::uint64_t kernel_id) noexcept {
  return kernel_id | kernel_id_resent_bit;
}

// ---- open handles (fs arena, written by the front end) -------------------------------------

enum class handle_state : std::uint8_t {
  free = 0,
  open = 1,
  opening = 2,  // belongs to an open or create op that has not been answered
  closing = 3,  // belongs to a release op that has not been answered; no core claims it
};

struct handle_cell {
  std::uint32_t crc = 0;
  std::uint32_t index = 0;
  std::uint64_t handle = 0;  // the number the kernel and the server know: sequence << 16 | index
  std::uint64_t inode = 0;
  std::uint32_t open_flags = 0;
  // 1: changes of the file were lost and this open file has not been told; its next fsync or close
  // says EIO, once.
  std::uint32_t loss_untold = 0;
  std::uint64_t told_to = 0;  // id of the request that was told, and is told again if repeated
  std::uint64_t reserved = 0;
};
struct alignas(64) handle_slot {
  atomic_u64 control{0};  // state: handle_state
  std::byte pad[56];
  handle_cell cells[2];
};

// ---- the rest of the fs arena ---------------------------------------------------------------

// What the kernel has cached is to be dropped: `wanted` grows with every reason (an eviction, the
// end of the lease), `done` follows when every inode of the handle table has been invalidated.
struct alignas(64) invalidation_record {
  atomic_u64 wanted{0};
  atomic_u64 done{0};
};

// A range of inode numbers reserved for this client; `next` is stored before a number is used.
struct alignas(64) inode_range_record {
  atomic_u64 next{0};
  atomic_u64 end{0};  // 0: no range
};

// Where a request is while it is being taken from the kernel: `head` gets the first bytes of the
// request (its length zeroed before), the rest lies in write_large slot `tail_slot`.
inline constexpr std::size_t receive_head_size = 80;
struct alignas(64) receive_cell {
  std::array<std::byte, receive_head_size> head{};
  atomic_u32 tail_slot{0};
};

// Counters of the front end; monotone, for `tangelo status` and the tests' assertions.
struct alignas(64) fs_counters {
  atomic_u64 requests{0};
  atomic_u64 replies{0};
  atomic_u64 upcalls{0};             // hand-overs, repeats included
  atomic_u64 downcalls{0};
  atomic_u64 downcalls_dropped{0};   // late: older generation or given up
  atomic_u64 downcalls_damaged{0};
  atomic_u64 interrupts{0};
  atomic_u64 given_up{0};
  atomic_u64 core_losses{0};
  atomic_u64 core_losses_waiting{0};      // with at least one op waiting
  atomic_u64 core_losses_in_progress{0};  // ... in progress
  atomic_u64 core_losses_serviced{0};     // ... whose downcall was written but not yet taken
  atomic_u64 purged{0};              // ops that a core loss sent back
  atomic_u64 in_progress_max{0};
  atomic_u64 deaf_periods{0};        // times when no slot was free to read another request
  atomic_u64 lost_files{0};
  atomic_u64 resent{0};              // requests that the kernel repeated to a new front end
  atomic_u64 callers_lost{0};        // ops whose request did not come back to a new front end
  atomic_u64 refused{0};             // ops answered EIO by the mount's policy or `tangelo abort`
  atomic_u64 lost_changes{0};        // answered, not durable, and gone with an eviction
  atomic_u64 losses_told{0};         // EIO said for them by fsync or close
  atomic_u64 replays_kept{0};        // gauges of the replay log: records,
  atomic_u64 replay_bytes{0};        // and the bytes of their payloads
  atomic_u64 commits_demanded{0};    // calls that had to wait for their commit because it was full
  atomic_u64 locks_held{0};          // gauges of the lock records
  atomic_u64 locks_waiting{0};
  atomic_u64 lost_locks{0};          // held, and gone with an eviction or to somebody else
};

// Whether the way to the server is open, as the front end sees it (fs/path_state.h).
enum class path_state : std::uint8_t { running = 0, blocked = 1, fail_fast = 2, lost = 3 };
constexpr std::string_view name_of(path_state s) noexcept {
  switch (s) {
    using enum path_state;
    case running: return "running";
    case blocked: return "blocked";
    case fail_fast: return "fail_fast";
    case lost: return "lost";
  }
  return {};
}

// Written by the front end's loop.
struct alignas(64) fs_pulse {
  atomic_u64 beats{0};       // grows by one every beat_period_ns, and with each start
  atomic_u64 generation{0};  // front ends that have served this arena
  atomic_u32 path{0};        // path_state
  atomic_u32 draining{0};    // 1: offers nothing, so that a process can be replaced
  atomic_u64 path_since_ns{0};
};
// A loop that has not beaten for several of these is hung, or has no CPU.
inline constexpr std::uint64_t beat_period_ns = 200'000'000;

struct arena_header {
  std::uint64_t magic = 0;
  std::uint32_t layout_version = 0;
  std::uint32_t header_size = 0;
  std::uint64_t total_size = 0;
  std::uint64_t ops_offset = 0;
  std::uint64_t handles_offset = 0;
  std::uint64_t replay_offset = 0;  // of the replay records
  std::uint64_t replay_size = 0;    // of the replay log's pages
  std::uint32_t op_count = 0;
  std::uint32_t handle_count = 0;
};

struct fs_arena {
  alignas(4096) arena_header header;
  alignas(4096) watchdog_page watchdog;
  alignas(4096) atomic_u64 core_generation;  // of the core attached last
  atomic_u64 next_xid;
  atomic_u32 core_attached;                  // 1 while a core is attached
  atomic_u32 pending_ops;                    // ops not ended
  atomic_u32 ops_used_end;                   // op slots from here on were never used
  atomic_u32 handles_used_end;
  fs_pulse pulse;
  inode_range_record inode_ranges[2];
  receive_cell receive;
  fs_counters counters;
  invalidation_record invalidation;
  atomic_u64 evictions_done;  // sequence of the last eviction_cell that was acted upon
  atomic_u64 replay_failures_done;  // of the last replay_failure_cell
  atomic_u32 replays_used_end;  // replay records from here on were never used
  atomic_u32 locks_used_end;
  atomic_u64 lock_order;  // the highest lock_cell::order
  // Directories of which changes were lost: their next fsync says EIO, once. 0: free.
  std::array<atomic_u64, lost_directory_count> lost_directories;
  alignas(4096) op_slot ops[op_slot_count];
  alignas(4096) handle_slot handles[handle_count];
  alignas(4096) lock_slot locks[lock_count];
  alignas(4096) replay_slot replays[replay_count];
  alignas(4096) std::byte replay_log[std::size_t{replay_page_count} * replay_page_size];
  alignas(4096) trailer_tables trailers;
};

// ---- the shared arena -----------------------------------------------------------------------

struct ring_entry {
  std::uint16_t index = 0;
  std::uint32_t sequence = 0;
  constexpr std::uint64_t pack() const noexcept { return std::uint64_t{sequence} << 16 | index; }
  static constexpr ring_entry unpack(std::uint64_t raw) noexcept {
    return {static_cast<std::uint16_t>(raw), static_cast<std::uint32_t>(raw >> 16)};
  }
};

// Single producer, single consumer; positions count up for ever. Each side keeps its own position
// privately and believes the other's only within [0, ring_entry_count].
struct ring_memory {
  alignas(64) atomic_u32 produced;
  alignas(64) atomic_u32 consumed;
  alignas(64) atomic_u32 consumer_sleeps;  // written by the consumer: 1 = wake me by eventfd
  alignas(64) std::array<atomic_u64, ring_entry_count> entries;
};

// Written by the core: the answer to an op. `generation` is the core's full generation.
struct downcall_cell {
  std::uint32_t crc = 0;  // over everything behind it, up to body_size bytes of body
  std::uint32_t index = 0;
  std::uint64_t generation = 0;
  std::uint32_t slot_seq = 0;
  std::uint16_t status = 0;  // error_code
  std::uint16_t body_size = 0;
  std::uint64_t transno = 0;
  std::uint64_t last_committed = 0;
  std::uint32_t payload_size = 0;
  std::uint32_t reserved = 0;
  std::byte body[answer_size_max];
};
static_assert(std::is_trivially_copyable_v<downcall_cell>);
inline constexpr std::size_t downcall_cell_fixed_size = offsetof(downcall_cell, body);

enum class downcall_state : std::uint8_t { none = 0, written = 1 };
struct alignas(64) downcall_slot {
  atomic_u64 control{0};  // state: downcall_state
  std::byte pad[56];
  downcall_cell cells[2];
};

struct shared_arena {
  alignas(4096) arena_header header;
  core_page core;
  alignas(4096) ring_memory up;    // front end -> core
  alignas(4096) ring_memory down;  // core -> front end
  alignas(4096) downcall_slot downcalls[op_slot_count];
  alignas(4096) std::array<atomic_u64, lock_count> lock_words;
  alignas(4096) std::byte slots[data_slots_size];
};

// ---- the attach dialogue ----------------------------------------------------------------------

enum class device_message : std::uint32_t {
  attach_request = 1,
  attach_reply = 2,
  detach_request = 3,
};

struct attach_request {
  device_message type = device_message::attach_request;
  std::uint32_t layout_version = arena_layout_version;
  std::uint64_t magic = arena_magic;
  std::uint32_t pid = 0;
  std::uint32_t reserved = 0;
};
inline constexpr std::size_t attach_fd_count = 4;
struct attach_reply {
  device_message type = device_message::attach_reply;
  std::uint32_t accepted = 0;  // 0: refused, `text` says why
  std::uint64_t core_generation = 0;
  std::array<char, 128> text{};
};
struct detach_request {
  device_message type = device_message::detach_request;
  std::uint32_t reserved = 0;
};

}  // namespace tangelo
