// The core between the arena, where the test is the front end, and a server that says what the test
// tells it to.
#include <sys/mman.h>

#include <csignal>
#include <functional>

#include "protocol/core_metrics.h"
#include "protocol/kept_trailers.h"
#include "protocol/op_state.h"
#include "protocol/policy.h"
#include "protocol/records.h"
#include "tests/unit/core_fixture.h"

namespace tangelo::test {
namespace {

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

}  // namespace
}  // namespace tangelo::test
