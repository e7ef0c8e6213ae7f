// Bodies of the lock operations and of the callbacks that grant locks.
//
// A lock belongs to an owner of a client (a number of the kernel's: a table of descriptors, or an
// open file). There are two kinds that do not see each other: record locks (fcntl, also OFD) and
// flock. Ranges include their last byte.
//
//   client                                   server
//   set_lock (wait, lock_id)   ->            free: answered ok
//                              <- REPLY      taken: answered "queued"; the wait has a place in the
//                                            queue, known by lock_id, and no slot anywhere
//                              <- CALLBACK   lock_id is granted, or can never be; repeated until:
//   CALLBACK_ACK               ->            it is recorded
//   cancel_lock                ->            the wait ends, unless the grant came first
//
// All are class R: what they change is volatile, and doing it twice is doing it once, as long as no
// other lock operation of the same owner on the same file comes between (fs/claims.cc).
#pragma once

#include <cstdint>

#include "protocol/codec.h"
#include "protocol/ops.h"

namespace tangelo {

enum class lock_kind : std::uint8_t { posix = 1, flock = 2 };
enum class lock_type : std::uint8_t { unlock = 0, read = 1, write = 2 };

inline constexpr std::uint64_t lock_end_max = 0x7fff'ffff'ffff'ffffu;  // "to the end, wherever"

// What is locked, by whom: of a client, or of all of them.
struct lock_what {
  std::uint64_t inode = 0;
  std::uint64_t owner = 0;
  std::uint64_t handle = 0;  // that it was taken through; it goes with it
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint32_t pid = 0;
  lock_kind kind = lock_kind::posix;
  lock_type type = lock_type::unlock;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.inode), v(s.owner), v(s.handle), v(s.start), v(s.end), v(s.pid), v(s.kind), v(s.type);
  }
};
constexpr bool is_sound(const lock_what& w) noexcept {
  return w.start <= w.end && w.end <= lock_end_max &&
         (w.kind == lock_kind::posix || w.kind == lock_kind::flock) && w.type <= lock_type::write;
}

// get_lock, set_lock, reclaim_lock
struct lock_call {
  credential who;
  lock_what what;
  std::uint64_t lock_id = 0;  // chosen by the client: names a wait
  std::uint8_t wait = 0;      // set_lock: wait for it; reclaim_lock: it was waiting
  // reclaim_lock: an operation whose answer was not heard may have reduced it to this meanwhile; so
  // it gives way to a lock that another client claims.
  lock_type at_least = lock_type::unlock;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.who), v(s.what), v(s.lock_id), v(s.wait), v(s.at_least);
  }
};

// Answer of get_lock: a lock that stands in the way; type unlock: there is none. `pid` only of a
// lock of the same client.
struct lock_answer {
  lock_what what;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.what);
  }
};

struct cancel_lock_call {
  credential who;
  std::uint64_t lock_id = 0;
  std::uint64_t inode = 0;
  std::uint64_t owner = 0;
  std::uint64_t handle = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.who), v(s.lock_id), v(s.inode), v(s.owner), v(s.handle);
  }
};

// granted 1: the lock was granted before, and is held.
struct cancel_lock_answer {
  std::uint8_t granted = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.granted);
  }
};

// CALLBACK: the wait has ended. status ok: the lock is held.
struct callback_body {
  std::uint64_t lock_id = 0;
  std::uint16_t status = 0;  // an error_code

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.lock_id), v(s.status);
  }
};

// CALLBACK_ACK. kept 0: nobody waits for it any more; the lock is given back.
struct callback_ack_body {
  std::uint64_t lock_id = 0;
  std::uint8_t kept = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.lock_id), v(s.kept);
  }
};

}  // namespace tangelo
