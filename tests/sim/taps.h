// taps: what lies between the server and everything that outlives it: its store and its
// connections. A server can die at any of these places, and messages can be lost or held there.
//
// One `server_life` for each start of a server. Whoever owns the server asks `dead()` after each
// step and then destroys it; until then the server runs on, but nothing it does counts: nothing is
// sent, nothing is flushed, no object changes. What may survive of what it had written and not
// flushed is counted when it dies: what it writes as a dead one cannot survive, and nothing can but
// while a flush is under way (kv.h).
//
// One thread, that of the simulator.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "protocol/wire.h"
#include "rdma/provider.h"
#include "server/mem_kv.h"
#include "server/mem_objects.h"
#include "server/virtual_workers.h"

namespace tangelo::sim {

// Places in the server's work.
enum class place : std::uint8_t {
  before_write,   // of a batch to the write-ahead log
  after_write,
  before_sync,    // of the log
  after_sync,
  before_object,  // a change of an object file
  after_object,
  before_send,    // of a message
  after_send,
  before_receive,
  after_receive,
};

struct event {
  place at{};
  const message_view* message = nullptr;  // of sends and receives
};
enum class fate : std::uint8_t {
  go_on,
  die,
  lose,  // a message is not sent, or not received
  hold,  // a message that arrived, all behind it, and the end of the connection: until release()
};
using judge = std::function<fate(const event&)>;

class held_endpoint;

class server_life {
 public:
  // `j` is asked, and may change, as long as this lives.
  server_life(mem_kv& kv, judge& j) : kv_(kv), judge_(&j) {}
  void set_judge(judge& j) { judge_ = &j; }
  bool dead() const { return dead_; }
  void die() {
    if (dead_) return;
    survivors_ = survivors();
    dead_ = true;
  }
  // Batches that are not flushed and may yet be in the log's file; a prefix of them survives.
  std::size_t survivors() const {
    if (dead_) return survivors_;
    return is_syncing() ? kv_.unsynced() : 0;
  }
  bool is_syncing() const { return syncs_ != 0; }
  void sync_begins() { ++syncs_; }
  void sync_ends() { --syncs_; }
  bool is_judged() const { return *judge_ != nullptr && !dead_; }
  fate ask(const event& e) {
    if (!is_judged()) return fate::go_on;
    const fate f = (*judge_)(e);
    if (f == fate::die) die();
    return f;
  }
  // True: it is dead now.
  bool ask_at(place at) {
    (void)ask({at, nullptr});
    return dead_;
  }
  // Delivers what was held, on the connections on which it came.
  void release();
  void add(held_endpoint& e) { endpoints_.push_back(&e); }
  void remove(held_endpoint& e) { std::erase(endpoints_, &e); }

 private:
  mem_kv& kv_;
  judge* judge_;
  bool dead_ = false;
  std::size_t survivors_ = 0;
  std::size_t syncs_ = 0;
  std::vector<held_endpoint*> endpoints_;
};

class tapped_kv final : public kv_store {
 public:
  tapped_kv(mem_kv& kv, server_life& life) : kv_(kv), life_(life) {}
  kv_status get(column where, std::string_view key, std::string& value, read_mode mode) override {
    return kv_.get(where, key, value, mode);
  }
  kv_status scan(column where, std::string_view from, std::string_view until, read_mode mode,
                 const visitor& visit) override {
    return kv_.scan(where, from, until, mode, visit);
  }
  error_code write(const kv_batch& batch) override {
    (void)life_.ask_at(place::before_write);
    const error_code e = kv_.write(batch);  // a dead one's are thrown away with it
    (void)life_.ask_at(place::after_write);
    return e;
  }
  error_code sync() override {
    life_.sync_begins();
    const bool lives = !life_.dead() && !life_.ask_at(place::before_sync);
    const error_code e = lives ? kv_.sync() : error_code::ok;
    life_.sync_ends();
    if (lives) (void)life_.ask_at(place::after_sync);
    return e;
  }

 private:
  mem_kv& kv_;
  server_life& life_;
};

// The threads that flush the log: what they have been given and not done is a flush under way.
class tapped_committer final : public workers {
 public:
  tapped_committer(scheduler& time, server_life& life) : inner_(time), life_(life) {}
  void submit(work job, work then) override {
    life_.sync_begins();
    inner_.submit(
        [job = std::move(job), &life = life_] {
          job();
          life.sync_ends();
        },
        std::move(then));
  }
  void set_delay_ns(std::uint64_t delay_ns) { inner_.set_delay_ns(delay_ns); }

 private:
  virtual_workers inner_;
  server_life& life_;
};

class tapped_objects final : public object_store {
 public:
  tapped_objects(mem_objects& objects, server_life& life) : objects_(objects), life_(life) {}
  bool read_now(std::uint64_t inode, std::uint64_t offset, mutable_byte_span into) override {
    return objects_.read_now(inode, offset, into);
  }
  void read(std::uint64_t inode, std::uint64_t offset, mutable_byte_span into,
            count_done f) override {
    objects_.read(inode, offset, into, std::move(f));
  }
  void write(std::uint64_t inode, std::uint64_t offset, byte_span from, bool durably,
             count_done f) override {
    change([&] { objects_.write(inode, offset, from, durably, while_alive(std::move(f))); });
  }
  void truncate(std::uint64_t inode, std::uint64_t size, done f) override {
    change([&] { objects_.truncate(inode, size, while_alive(std::move(f))); });
  }
  void change_space(space_change what, std::uint64_t inode, std::uint64_t offset,
                    std::uint64_t size, count_done f) override {
    change([&] { objects_.change_space(what, inode, offset, size, while_alive(std::move(f))); });
  }
  void blocks_inside(std::uint64_t inode, std::uint64_t offset, std::uint64_t size,
                     count_done f) override {
    objects_.blocks_inside(inode, offset, size, while_alive(std::move(f)));
  }
  void blocks_outside(std::uint64_t inode, std::uint64_t offset, std::uint64_t size,
                      count_done f) override {
    objects_.blocks_outside(inode, offset, size, while_alive(std::move(f)));
  }
  void writable_inside(std::uint64_t inode, std::uint64_t offset, std::uint64_t size,
                       count_done f) override {
    objects_.writable_inside(inode, offset, size, while_alive(std::move(f)));
  }
  void seek(std::uint64_t inode, std::uint64_t offset, bool hole, count_done f) override {
    objects_.seek(inode, offset, hole, while_alive(std::move(f)));
  }
  void copy(std::uint64_t from, std::uint64_t from_offset, std::uint64_t to,
            std::uint64_t to_offset, std::uint64_t size, count_done f) override {
    change([&] {
      objects_.copy(from, from_offset, to, to_offset, size, while_alive(std::move(f)));
    });
  }
  void forget(std::uint64_t inode, std::uint64_t offset, std::uint64_t size) override {
    objects_.forget(inode, offset, size);
  }
  void remove(std::uint64_t inode, done f) override {
    change([&] { objects_.remove(inode, while_alive(std::move(f))); });
  }
  void sync(std::uint64_t inode, done f) override {
    change([&] { objects_.sync(inode, while_alive(std::move(f))); });
  }
  op_result<store_space> space() override { return objects_.space(); }
  op_result<std::uint64_t> load_now(std::uint64_t inode, std::uint64_t offset,
                                    mutable_byte_span into) override {
    return objects_.load_now(inode, offset, into);
  }
  error_code write_now(std::uint64_t inode, std::uint64_t offset, byte_span from) override {
    return change_now([&] { return objects_.write_now(inode, offset, from); });
  }
  error_code truncate_now(std::uint64_t inode, std::uint64_t size) override {
    return change_now([&] { return objects_.truncate_now(inode, size); });
  }
  error_code change_space_now(space_change what, std::uint64_t inode, std::uint64_t offset,
                              std::uint64_t size) override {
    return change_now([&] { return objects_.change_space_now(what, inode, offset, size); });
  }
  error_code remove_now(std::uint64_t inode) override {
    return change_now([&] { return objects_.remove_now(inode); });
  }
  error_code sync_now() override {
    return change_now([&] { return objects_.sync_now(); });
  }

 private:
  template <class F>
  void change(F make) {
    if (life_.dead() || life_.ask_at(place::before_object)) return;
    make();
    (void)life_.ask_at(place::after_object);
  }
  template <class F>
  error_code change_now(F make) {
    if (life_.dead() || life_.ask_at(place::before_object)) return error_code::ok;
    const error_code e = make();
    (void)life_.ask_at(place::after_object);
    return e;
  }
  // The completion of a process that has ended goes nowhere.
  template <class... A>
  std::function<void(A...)> while_alive(std::function<void(A...)> f) {
    return [alive = std::weak_ptr<int>(alive_), f = std::move(f)](A... a) {
      if (!alive.expired()) f(a...);
    };
  }
  mem_objects& objects_;
  server_life& life_;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

// `peer`, an accepted connection, with a tap in it.
std::unique_ptr<endpoint> tapped(std::unique_ptr<endpoint> peer, server_life& life);

// ---- judges

// Does `what` at the nth event (from 1) that fits.
template <class Fits>
judge at_nth(std::uint64_t n, fate what, Fits fits) {
  return [n, what, fits = std::move(fits), seen = std::uint64_t{0}](const event& e) mutable {
    return fits(e) && ++seen == n ? what : fate::go_on;
  };
}
inline judge die_at(place at, std::uint64_t n = 1) {
  return at_nth(n, fate::die, [at](const event& e) { return e.at == at; });
}
inline bool is_message(const event& e, place at, message_type type) {
  return e.at == at && e.message != nullptr && e.message->header.type == type;
}
inline judge die_at(place at, message_type type, std::uint64_t n = 1) {
  return at_nth(n, fate::die, [=](const event& e) { return is_message(e, at, type); });
}
inline judge lose_at(place at, message_type type, std::uint64_t n = 1) {
  return at_nth(n, fate::lose, [=](const event& e) { return is_message(e, at, type); });
}
// A call of one operation; `replay`: the one that makes it again.
inline bool is_call(const event& e, place at, opcode op, bool replay = false) {
  return is_message(e, at, message_type::call) && e.message->header.op == op &&
         ((e.message->header.flags & message_flag::replay) != 0) == replay;
}

}  // namespace tangelo::sim
