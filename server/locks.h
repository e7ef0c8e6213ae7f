// lock_table: the locks of one volume: who holds which range of which file, and who waits for it.
// Volatile: after a restart the clients claim again what they hold, then what they wait for.
// Pure (no time, no I/O); loop thread only.
//
// As on Linux: locks of one owner (client, number) never conflict with each other; a record lock
// replaces what its owner has in the range, splitting and merging; a flock that changes its type is
// given back first. A request that does not wait looks at what is held, not at who waits.
//
// Waits are served in the order of their arrival. A wait that would close a circle of owners who
// wait for each other is refused (record locks only), also when the circle is closed later, by a
// grant to an owner who waits in two places.
//
// Invariants:
//   1. No two locks of different owners and one kind overlap unless both are for reading.
//   2. A wait stays until it is granted, refused or cancelled, or its handle or client goes.
//   3. The end of a wait is in notices() until the client has said noticed().
//   4. Until open(), nothing but claims changes who holds what: no wait is served.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "protocol/lock_ops.h"
#include "rdma/service.h"
#include "server/opens.h"

namespace tangelo {

constexpr bool excludes(lock_type a, lock_type b) noexcept {
  if (a == lock_type::unlock || b == lock_type::unlock) return false;
  return a == lock_type::write || b == lock_type::write;
}

struct lock_counts {
  std::size_t held = 0;
  std::size_t waiting = 0;
};

class lock_table {
 public:
  static constexpr std::size_t per_client_max = 65536;  // held and waiting

  // Locks or unlocks; `wait`: with queued, if it is taken, and then lock_id names the wait.
  error_code set(const client_key& client, const lock_what& what, std::uint64_t lock_id, bool wait);
  // A lock that stands in the way of `what`. Its pid is 0 if it is another client's.
  std::optional<lock_what> test(const client_key& client, const lock_what& what) const;
  // True: it was granted before, and is held.
  bool cancel(const client_key& client, std::uint64_t inode, std::uint64_t lock_id);
  // What a client held, or (`waiting`) waited for, before a restart.
  error_code claim(const client_key& client, const lock_what& what, std::uint64_t lock_id,
                   bool waiting, lock_type at_least);
  void release_handle(const client_key& client, std::uint64_t inode, std::uint64_t handle);
  // All of this client's incarnations before `client`, or of `client` too.
  void forget(const client_key& client, bool older_only);
  // Claims are over: waits are served from here on.
  void open();

  // Clients with new notices since the last call.
  std::vector<client_key> take_news() { return std::exchange(news_, {}); }
  std::vector<lock_notice> notices(const client_key& client) const;
  // `kept` false: nobody waited any more, the lock is given back.
  void noticed(const client_key& client, std::uint64_t lock_id, bool kept);

  lock_counts counts(const client_key& client) const;
  // Does anybody else wait for a lock of this client?
  bool is_waited_for(const client_key& client) const;
  lock_counts total() const;

 private:
  using owner_key = std::pair<client_key, std::uint64_t>;
  struct owner_less {
    bool operator()(const owner_key& a, const owner_key& b) const noexcept {
      if (a.second != b.second) return a.second < b.second;
      return client_less{}(a.first, b.first);
    }
  };
  struct held_lock {
    client_key client;
    lock_what what;
    lock_type at_least = lock_type::unlock;  // of a claim
  };
  struct waiting_lock {
    client_key client;
    lock_what what;
    std::uint64_t lock_id = 0;
  };
  struct file_locks {
    std::vector<held_lock> held;
    std::list<waiting_lock> waiting;  // in the order of arrival
  };
  struct notice {
    error_code status = error_code::ok;
    lock_what what;
  };
  struct client_locks {
    std::size_t held = 0;
    std::size_t waiting = 0;
    std::map<std::uint64_t, notice> notices;  // by lock id
  };
  using files = std::unordered_map<std::uint64_t, file_locks>;

  static bool is_owner(const held_lock& h, const client_key& client, const lock_what& what);
  static bool conflicts(const held_lock& h, const client_key& client, const lock_what& what);
  static const held_lock* in_the_way(const file_locks& f, const client_key& client,
                                     const lock_what& what);
  bool is_full(const client_key& client) const;
  void add(file_locks& f, held_lock h);
  void drop(file_locks& f, std::size_t index);
  bool cut(file_locks& f, const client_key& client, const lock_what& what);
  void take(file_locks& f, const client_key& client, const lock_what& what, lock_type at_least);
  bool drop_flock(file_locks& f, const client_key& client, const lock_what& what);
  void wait_for(file_locks& f, const client_key& client, const lock_what& what,
                std::uint64_t lock_id);
  std::list<waiting_lock>::iterator end_wait(file_locks& f, std::list<waiting_lock>::iterator at);
  void tell(const client_key& client, std::uint64_t lock_id, error_code status,
            const lock_what& what);
  bool would_deadlock(const client_key& client, const lock_what& what) const;
  void serve(std::uint64_t inode);
  void refuse_circles(file_locks& f);
  void remove_if_empty(std::uint64_t inode);
  error_code claim_held(file_locks& f, const client_key& client, const lock_what& what,
                        lock_type at_least);
  // Drops what of(client, what) says, held and waiting; true: something was held.
  template <class F>
  bool drop_all(file_locks& f, F of) {
    bool any = false;
    for (std::size_t i = f.held.size(); i-- > 0;)
      if (of(f.held[i].client, f.held[i].what)) drop(f, i), any = true;
    for (auto w = f.waiting.begin(); w != f.waiting.end();)
      w = of(w->client, w->what) ? end_wait(f, w) : std::next(w);
    return any;
  }

  files files_;
  std::map<client_key, client_locks, client_less> clients_;
  // What each owner waits for, of record locks.
  std::multimap<owner_key, const waiting_lock*, owner_less> waits_;
  std::vector<client_key> news_;
  bool open_ = false;
};

}  // namespace tangelo
