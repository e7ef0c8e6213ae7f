// The core between the arena, where the test is the front end, and a server that says what the test
// tells it to.
#include "client_core/core.h"

#include <sys/mman.h>

#include <csignal>
#include <functional>

#include "protocol/core_metrics.h"
#include "protocol/kept_trailers.h"
#include "protocol/op_state.h"
#include "protocol/policy.h"
#include "protocol/records.h"
#include "tests/unit/arena_fixture.h"
#include "tests/unit/session_fixture.h"

namespace tangelo::test {
namespace {

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

TEST(Core, TellsCommitsAndTheLeaseAndPassesTheFlagsOn) {
  core_world w;
  w.start_core();
  ASSERT_TRUE(w.reach(import_state::full));
  EXPECT_EQ(w.page().path_up.load(), 1u);
  w.offer(3, 1, 1, message_flag::need_commit);
  ASSERT_TRUE(w.until([&] { return w.server.calls.size() == 1; }));
  EXPECT_EQ(w.server.calls[0].header.flags, message_flag::need_commit);
  const std::uint64_t sent = w.time.now_ns();
  w.server.last_committed = 9;
  w.server.answer(heard_message(w.server.calls[0]), error_code::ok, 9);
  ASSERT_TRUE(w.until([&] { return w.downcall(3, 1).has_value(); }));
  EXPECT_EQ(w.page().last_committed.load(), 9u);
  EXPECT_EQ(w.downcall(3, 1)->last_committed, 9u);
  EXPECT_GT(w.page().lease_until_ns.load(), sent + 29 * ns_per_s);
  EXPECT_LE(w.page().lease_until_ns.load(), sent + 30 * ns_per_s);
  // Given a note alone, expect a sleeping front end to be woken for it.
  w.end_op(3);
  w.client->ring_if_needed();
  w.rings = 0;
  w.server.last_committed = 10;
  w.server.say(message_type::commit_note);
  ASSERT_TRUE(w.until([&] { return w.page().last_committed.load() == 10; }));
  w.client->ring_if_needed();
  EXPECT_EQ(w.rings, 1);
}

TEST(Core, IdlingCountsAsServiceSoThatAnOpRevivesIt) {
  core_world w;
  w.start_core();
  ASSERT_TRUE(w.reach(import_state::full));
  w.wait(70 * ns_per_s);
  ASSERT_TRUE(w.reach(import_state::idle));
  EXPECT_EQ(w.page().path_up.load(), 1u);
  w.server.ack.verdict = connect_verdict::resumed;
  w.offer(3, 1);
  ASSERT_TRUE(w.until([&] { return w.server.calls.size() == 1; }));
}

// ---- replays ----------------------------------------------------------------------------------

TEST(Core, ReplaysTheRecordsInTheOrderOfTransnosWithTheirBytes) {
  core_world w;
  w.page().boot_generation.store(4);
  w.page().last_committed.store(11);
  replay_cell write = w.replay(14, opcode::write);
  write.payload.first_page = 7;
  write.payload.size = 100;
  std::memset(w.fs().replay_log + 7 * replay_page_size, 0x5a, 100);
  replay_cell slot = w.replay(13, opcode::write);
  slot.payload.slot = {slot_class::write_small, 0, 2, 50};
  slot.payload.size = 50;
  std::memset(w.shared().slots + slot_offset(slot_class::write_small, 2), 0x3c, 50);
  w.keep(0, write);
  w.keep(1, w.replay(12));
  w.keep(2, slot);
  protection_trailer in_log, in_slot;
  protect(1, 0, byte_span(w.fs().replay_log + 7 * replay_page_size, 100), in_log);
  protect(2, 0, slot_bytes(w.shared(), slot.payload.slot), in_slot);
  keep_trailer(w.fs().trailers.replays[0], in_log);
  keep_trailer(w.fs().trailers, slot.payload.slot, &in_slot);
  w.keep(4, w.replay(11));
  w.open_handle(5);
  w.open_handle(6, handle_state::closing);
  w.server.ack.verdict = connect_verdict::recovering_new_boot;
  w.server.last_committed = 11;
  w.server.on_call = [&w](const heard_message& m) { w.server.answer(m); };
  w.start_core();
  ASSERT_TRUE(w.reach(import_state::full));
  ASSERT_EQ(w.server.calls.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    const heard_message& m = w.server.calls[i];
    EXPECT_EQ(m.header.transno, 12 + i);
    EXPECT_EQ(m.header.slot, 12 + i);
    EXPECT_EQ(m.header.xid, 512 + i);
    EXPECT_EQ(m.extension.replay_time_ns, static_cast<std::int64_t>((12 + i) * 1000));
    byte_span body = m.body;
    if (i != 0) {
      protection_trailer t;
      ASSERT_TRUE(take_trailer(body, t));
      EXPECT_FALSE(check_guards(t, m.payload));
    }
    EXPECT_EQ(body.size(), 8u);
  }
  EXPECT_EQ(w.server.calls[1].payload, std::vector<std::byte>(50, std::byte{0x3c}));
  EXPECT_EQ(w.server.calls[2].payload, std::vector<std::byte>(100, std::byte{0x5a}));
  EXPECT_EQ(w.server.claims.size(), 1u) << "what is being closed is not claimed";
  EXPECT_EQ(w.server.connects.at(0).held, held_state::opens | held_state::uncommitted);
  EXPECT_EQ(w.server.connects.at(0).replay_from, 12u);
}

// One write whose trailer is in the arena, one read; `protection` of the mount.
struct protected_core : core_world {
  void start_with(bool protection) {
    cache_policy policy;
    policy.protection = protection;
    write_cache_policy(fs().watchdog.policy, policy);
    start_core();
    ASSERT_TRUE(reach(import_state::full));
  }
  void offer_write() {
    op_cell cell = cell_of(1, opcode::write);
    cell.payload_in = {slot_class::write_small, 0, 3, 100};
    std::memset(slot_bytes(shared(), cell.payload_in).data(), 0x11, 100);
    protection_trailer t;
    protect(70, 0, slot_bytes(shared(), cell.payload_in), t);
    keep_trailer(fs().trailers, cell.payload_in, &t);
    offer(cell);
  }
  void offer_read() {
    op_cell cell = cell_of(2, opcode::read);
    cell.offset = 8192;
    cell.payload_out = {slot_class::read_small, 0, 4, 100};
    offer(cell);
  }
  op_cell cell_of(std::uint32_t index, opcode op) {
    op_cell cell;
    cell.index = index;
    cell.xid = 9000u + index;
    cell.slot_seq = 1;
    cell.op = op;
    cell.body_size = 16;
    cell.inode = 70;
    return cell;
  }
};

TEST(CoreProtection, SendsTheTrailerOfTheArenaAndAsksForThatOfARead) {
  for (const bool on : {true, false}) {
    protected_core w;
    w.start_with(on);
    w.offer_write();
    w.offer_read();
    ASSERT_TRUE(w.until([&] { return w.server.calls.size() == 2; }));
    const heard_message write = w.server.calls[0];
    byte_span body = write.body;
    protection_trailer t;
    if (on) {
      ASSERT_TRUE(take_trailer(body, t));
      EXPECT_FALSE(check_guards(t, write.payload));
    }
    EXPECT_EQ(body.size(), 16u);
    for (const heard_message& call : w.server.calls)
      EXPECT_EQ(call.extension.protection_type, on ? protection_crc32c : protection_none);
  }
}

TEST(CoreProtection, TellsWhatDidNotFitAndHowOften) {
  protected_core w;
  w.start_with(true);
  w.server.on_call = [&w](const heard_message& call) {
    std::vector<std::byte> bytes(100, std::byte{9});
    protection_trailer t;
    protect(70, 8192, bytes, t);
    bytes[5] ^= std::byte{1};
    std::vector<std::byte> tail(trailer_size_max);
    tail.resize(encode_trailer(t, tail));
    wire_header h = w.server.reply_header(call);
    h.flags |= message_flag::protection;
    w.server.link().send(h, w.server.extension(), tail, bytes);
  };
  w.offer_read();
  ASSERT_TRUE(w.until([&] { return w.downcall(2, 1).has_value(); }));
  EXPECT_EQ(w.downcall(2, 1)->status, static_cast<std::uint16_t>(error_code::integrity));
  EXPECT_EQ(w.server.calls.size(), protection_attempts);
  EXPECT_EQ(metrics_of(w.shared()).mismatches_reported.load(), 1u);
  EXPECT_EQ(metrics_of(w.shared()).mismatches_healed.load(), 0u);
  control_word word;
  mismatch_cell told;
  ASSERT_TRUE(copy_record(w.page().mismatch, word, told));
  EXPECT_EQ(word.state, 1u);
  EXPECT_EQ(told.inode, 70u);
  EXPECT_EQ(told.block, 2u);
  EXPECT_EQ(told.kind, static_cast<std::uint32_t>(protection_kind::guard));
  EXPECT_EQ(told.hop, static_cast<std::uint32_t>(protection_hop::received));
}

TEST(Core, SaysWhichOpenFilesTheServerDoesNotKnowButNotThatAnOpenWasNotExecuted) {
  core_world w;
  w.page().boot_generation.store(4);
  w.open_handle(5);
  w.open_handle(6, handle_state::opening);
  w.server.ack.verdict = connect_verdict::recovering_new_boot;
  w.server.claim_status = error_code::stale;
  testing::internal::CaptureStderr();
  w.start_core();
  const bool full = w.reach(import_state::full);
  const std::string text = testing::internal::GetCapturedStderr();
  ASSERT_TRUE(full);
  EXPECT_EQ(w.server.claims.size(), 2u);
  EXPECT_NE(text.find("open handle 65541 of inode 70 is lost: stale"), std::string::npos) << text;
  EXPECT_EQ(text.find("open handle 65542"), std::string::npos) << text;
}

TEST(Core, WaitsUntilTheFrontEndHasRecordedWhatItAnswered) {
  core_world w;
  w.start_core();
  ASSERT_TRUE(w.reach(import_state::full));
  w.offer(3, 1);
  ASSERT_TRUE(w.until([&] { return w.server.calls.size() == 1; }));
  w.server.answer(heard_message(w.server.calls[0]), error_code::ok, 12);
  ASSERT_TRUE(w.until([&] { return w.downcall(3, 1).has_value(); }));
  w.server.calls.clear();
  w.server.boot = 6;
  w.server.ack.verdict = connect_verdict::recovering_new_boot;
  w.server.on_call = [&w](const heard_message& m) { w.server.answer(m); };
  w.server.link().close();
  w.wait(ns_per_s);
  EXPECT_EQ(w.server.connects.size(), 1u);
  w.keep(0, w.replay(12));
  w.end_op(3);
  ASSERT_TRUE(w.until([&] { return w.server.replays_done == 1; }));
  ASSERT_EQ(w.server.calls.size(), 1u);
  EXPECT_EQ(w.server.calls[0].header.transno, 12u);
}

TEST(Core, RefusedReplaysAreToldOneByOneAndOutliveTheCore) {
  core_world w;
  w.page().boot_generation.store(4);
  w.keep(0, w.replay(12, opcode::write));
  w.keep(1, w.replay(13, opcode::write));
  w.server.ack.verdict = connect_verdict::recovering_new_boot;
  w.server.on_call = [&w](const heard_message& m) { w.server.answer(m, error_code::io); };
  w.start_core();
  const auto told = [&w] {
    control_word word;
    replay_failure_cell cell;
    return copy_record(w.page().replay_failure, word, cell) ? cell : replay_failure_cell{};
  };
  ASSERT_TRUE(w.until([&] { return told().sequence == 1; }));
  w.wait(ns_per_s);
  EXPECT_EQ(told().transno, 12u);
  EXPECT_EQ(told().inode, 52u);
  EXPECT_EQ(w.server.replays_done, 0u);
  w.fs().replay_failures_done.store(1);
  ASSERT_TRUE(w.until([&] { return told().sequence == 2; }));
  EXPECT_EQ(told().transno, 13u);
  // Given a core that dies before it is noted, expect the next one to wait for it as well.
  w.kill_core();
  w.server.connects.clear();
  w.start_core();
  w.wait(ns_per_s);
  EXPECT_TRUE(w.server.connects.empty());
  w.fs().replay_failures_done.store(2);
  EXPECT_TRUE(w.until([&] { return !w.server.connects.empty(); }));
}

// ---- evictions --------------------------------------------------------------------------------

struct evicted_world : core_world {
  evicted_world() {
    start_core();
    EXPECT_TRUE(reach(import_state::full));
    open_handle(5);
    keep(0, replay(20));
    offer(3, 1);
    EXPECT_TRUE(until([&] { return server.calls.size() == 1; }));
    evict();
    server.calls.clear();
    server.connects.clear();
    server.ack = {};
    server.ack.verdict = connect_verdict::fresh;
  }
};

TEST(CoreEviction, IsPublishedBeforeAnythingIsForgotten) {
  evicted_world w;
  EXPECT_EQ(w.eviction().sequence, 1u);
  EXPECT_EQ(w.eviction().kept_through, 15u);
  EXPECT_STREQ(w.eviction().text.data(), "evicted by the server");
  ASSERT_TRUE(w.downcall(3, 1).has_value());
  EXPECT_EQ(w.downcall(3, 1)->status, static_cast<std::uint16_t>(error_code::evicted));
  EXPECT_EQ(w.page().boot_generation.load(), 0u);
  EXPECT_EQ(w.page().last_committed.load(), 0u);
  EXPECT_EQ(w.page().path_up.load(), 0u);
}

TEST(CoreEviction, TheNextSessionBeginsWhenTheFrontEndHasActedUponIt) {
  evicted_world w;
  w.wait(10 * ns_per_s);
  EXPECT_TRUE(w.server.connects.empty());
  w.end_op(3);
  w.act_on_eviction();
  ASSERT_TRUE(w.reach(import_state::full));
  EXPECT_EQ(w.server.connects.at(0).last_boot_generation, 0u);
  EXPECT_EQ(w.server.connects.at(0).held, 0u);
  EXPECT_EQ(w.eviction().sequence, 1u);
}

TEST(CoreEviction, ACoreThatDiesMeanwhileChangesNothing) {
  for (const bool acted_before : {false, true}) {
    evicted_world w;
    w.kill_core();
    if (acted_before) w.act_on_eviction();
    w.start_core();
    w.wait(10 * ns_per_s);
    EXPECT_EQ(w.server.connects.empty(), !acted_before);
    w.act_on_eviction();
    ASSERT_TRUE(w.reach(import_state::full));
    EXPECT_EQ(w.server.connects.at(0).last_boot_generation, 0u);
    EXPECT_EQ(w.server.connects.at(0).held, 0u);
    EXPECT_EQ(w.eviction().sequence, 1u);
  }
}

// Else the next core would send it into a session in which it may have been executed already.
TEST(CoreEviction, NothingThatIsOfferedBeforeTheFrontEndHasHeardOfItIsCalled) {
  for (const bool by_the_next_core : {false, true}) {
    evicted_world w;
    if (by_the_next_core) {
      w.kill_core();
      w.start_core();
    }
    w.offer(4, 1, 2);
    ASSERT_TRUE(w.downcall(4, 1).has_value());
    EXPECT_EQ(w.downcall(4, 1)->status, static_cast<std::uint16_t>(error_code::evicted));
    w.end_op(3);
    w.end_op(4);
    w.act_on_eviction();
    w.offer(5, 1, 1);
    ASSERT_TRUE(w.until([&] { return !w.server.calls.empty(); }));
    EXPECT_EQ(w.server.calls[0].header.slot, 5u);
  }
}

// Runs what it is given at the first store to a page.
class first_store {
 public:
  first_store(void* page, std::function<void()> seen) : page_(page), seen_(std::move(seen)) {
    present = this;
    struct sigaction action {};
    action.sa_handler = [](int) noexcept { present->happened(); };
    ::sigaction(SIGSEGV, &action, &before_);
    EXPECT_EQ(::mprotect(page_, 4096, PROT_READ), 0);
  }
  ~first_store() { ::sigaction(SIGSEGV, &before_, nullptr); }

 private:
  void happened() {
    (void)::mprotect(page_, 4096, PROT_READ | PROT_WRITE);
    seen_();
  }
  inline static first_store* present = nullptr;
  void* page_;
  std::function<void()> seen_;
  struct sigaction before_ {};
};

TEST(CoreEviction, IsPublishedBeforeTheAnswersThatSayIt) {
  core_world w;
  w.start_core();
  ASSERT_TRUE(w.reach(import_state::full));
  w.offer(3, 1);
  ASSERT_TRUE(w.until([&] { return w.server.calls.size() == 1; }));
  int stores = 0;
  std::uint64_t published = 0;
  std::uint64_t committed = 1;
  auto* slot = reinterpret_cast<std::byte*>(&w.shared().downcalls[3]);
  slot -= reinterpret_cast<std::uintptr_t>(slot) % 4096;
  const first_store trap(slot, [&] {
    ++stores;
    published = w.eviction().sequence;
    committed = w.page().last_committed.load();
  });
  w.evict();
  EXPECT_EQ(stores, 1);
  EXPECT_EQ(published, 1u);
  EXPECT_EQ(committed, 0u);
}

TEST(CoreEviction, ASecondOneHasTheNextSequence) {
  evicted_world w;
  w.end_op(3);
  w.act_on_eviction();
  ASSERT_TRUE(w.reach(import_state::full));
  w.evict();
  EXPECT_EQ(w.eviction().sequence, 2u);
}

}  // namespace
}  // namespace tangelo::test
