// core_world: the core between the arena, where the test is the front end, and a server that says
// what the test tells it to.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client_core/core.h"
#include "protocol/op_state.h"
#include "protocol/records.h"
#include "tests/unit/arena_fixture.h"
#include "tests/unit/session_fixture.h"

namespace tangelo::test {

struct core_world {
  core_world() : arenas(mapped_arenas::make()), network(time), server(network) {
    fs().watchdog.incarnation = 100;
    server.ack.lease_ms = 30'000;
  }
  fs_arena& fs() { return *arenas.fs; }
  shared_arena& shared() { return *arenas.shared; }
  core_page& page() { return shared().core; }

  void start_core() {
    up = std::make_unique<ring_producer>(shared().up);
    up->reset();
    ring_consumer(shared().down).reset();
    shared().down.produced.store(0);
    shared().down.consumed.store(0);
    page().path_up.store(0);
    client = std::make_unique<core>(
        core::wiring{fs(), shared(), ++generation, network, time, [this] { ++rings; }},
        std::vector<std::string>{"server"}, "home");
    client->start();
  }
  void kill_core() { client.reset(); }
  template <class Done>
  bool until(Done done, std::uint64_t limit_ns = 10 * ns_per_s) {
    const std::uint64_t end = time.now_ns() + limit_ns;
    while (!done()) {
      if (time.now_ns() > end || !time.run_one()) return done();
      if (client != nullptr) (void)client->turn();
    }
    return true;
  }
  void wait(std::uint64_t ns) {
    (void)until([] { return false; }, ns);
  }
  bool reach(import_state state) {
    return until([&] { return page().import_state.load() == static_cast<std::uint32_t>(state); });
  }
  // An op as the front end offers it to the present core.
  void offer(std::uint16_t index, std::uint32_t sequence, std::uint32_t attempts = 1,
             std::uint16_t call_flags = 0) {
    op_cell cell;
    cell.index = index;
    cell.xid = 9000u + index;
    cell.slot_seq = sequence;
    cell.op = opcode::mkdir;
    cell.body_size = 16;
    cell.call_flags = call_flags;
    offer(cell, attempts);
  }
  void offer(op_cell cell, std::uint32_t attempts = 1) {
    const std::uint16_t index = static_cast<std::uint16_t>(cell.index);
    const std::uint32_t sequence = cell.slot_seq;
    publish(fs().ops[index], cell, static_cast<std::uint8_t>(op_state::in_progress),
            static_cast<std::uint32_t>(generation), sequence);
    fs().ops[index].attempts.store(attempts);
    if (fs().ops_used_end.load() <= index) fs().ops_used_end.store(index + 1);
    ASSERT_TRUE(up->push({index, sequence}));
    (void)client->turn();
  }
  void end_op(std::uint16_t index) {
    set_state(fs().ops[index], static_cast<std::uint8_t>(op_state::unknown), 0);
  }
  std::optional<downcall_cell> downcall(std::uint16_t index, std::uint32_t sequence) {
    control_word word;
    downcall_cell cell;
    if (!copy_record(shared().downcalls[index], word, cell) || word.state == 0) return {};
    if (cell.slot_seq != sequence || cell.generation != generation) return {};
    return cell;
  }
  replay_cell replay(std::uint64_t transno, opcode op = opcode::mkdir) {
    replay_cell cell;
    cell.transno = transno;
    cell.time_ns = static_cast<std::int64_t>(transno * 1000);
    cell.xid = 500 + transno;
    cell.slot = static_cast<std::uint32_t>(transno);
    cell.slot_seq = 1;
    cell.op = op;
    cell.inode = 40 + transno;
    cell.body_size = 8;
    return cell;
  }
  void keep(std::uint32_t index, replay_cell cell) {
    cell.index = index;
    publish(fs().replays[index], cell, static_cast<std::uint8_t>(replay_state::kept), 0, 1);
    if (fs().replays_used_end.load() <= index) fs().replays_used_end.store(index + 1);
  }
  void open_handle(std::uint32_t index, handle_state state = handle_state::open) {
    handle_cell cell;
    cell.index = index;
    cell.handle = std::uint64_t{1} << 16 | index;
    cell.inode = 70;
    publish(fs().handles[index], cell, static_cast<std::uint8_t>(state), 0, 1);
    fs().handles_used_end.store(index + 1);
  }
  eviction_cell eviction() {
    control_word word;
    eviction_cell cell;
    return copy_record(page().eviction, word, cell) ? cell : eviction_cell{};
  }
  bool is_evicted() { return eviction().sequence > fs().evictions_done.load(); }
  void evict() {
    server.ack.verdict = connect_verdict::evicted;
    server.ack.kept_through = 15;
    server.say_evicted();
    ASSERT_TRUE(until([&] { return is_evicted(); }));
  }
  void act_on_eviction() {
    fs().evictions_done.store(eviction().sequence);
    if (client != nullptr) (void)client->turn();  // the front end rings
  }

  mapped_arenas arenas;
  virtual_scheduler time;
  loop_network network;
  scripted_server server;
  std::uint64_t generation = 0;
  int rings = 0;
  std::unique_ptr<ring_producer> up;
  std::unique_ptr<core> client;
};

}  // namespace tangelo::test
