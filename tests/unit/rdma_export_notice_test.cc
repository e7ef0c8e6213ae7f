// What the export says unasked: EARLY_REPLY, COMMIT_NOTE; and the estimate in its answers.
#include "rdma/service_times.h"
#include "tests/unit/rdma_raw_peer.h"

namespace tangelo::test {
namespace {

raw_peer::call_options within(std::uint32_t ms, opcode op = opcode::mkdir) {
  raw_peer::call_options o;
  o.op = op;
  o.deadline_ms = ms;
  return o;
}

TEST(ExportNotice, SlowCallIsSaidToBeAliveBeforeHalfOfItsTime) {
  raw_world w;
  raw_peer& p = w.attached();
  w.fs().delay_ns = 9 * ns_per_s;
  p.send(p.call_with(2, 7, 70, within(5000)));
  p.settle(2 * ns_per_s);
  EXPECT_EQ(p.count(message_type::early_reply), 0);
  p.settle(500 * ns_per_ms);
  ASSERT_EQ(p.count(message_type::early_reply), 1);
  const raw_peer::message& m = p.last(message_type::early_reply);
  EXPECT_EQ(m.header.xid, 70u);
  EXPECT_EQ(m.header.slot, 2);
  EXPECT_EQ(m.header.slot_seq, 7u);
  EXPECT_EQ(m.extension.retry_after_ms, 5000u);
  p.settle(5 * ns_per_s);  // of the new deadline again
  EXPECT_EQ(p.count(message_type::early_reply), 3);
  p.settle(3 * ns_per_s);
  EXPECT_EQ(p.replies(), 1);
  const int said = p.count(message_type::early_reply);
  p.settle(10 * ns_per_s);
  EXPECT_EQ(p.count(message_type::early_reply), said);
}

TEST(ExportNotice, WithoutADeadlineNothingIsSaid) {
  raw_world w;
  raw_peer& p = w.attached();
  w.fs().delay_ns = 9 * ns_per_s;
  p.send(p.call(0, 1, 1));
  p.settle(8 * ns_per_s);
  EXPECT_EQ(p.count(message_type::early_reply), 0);
}

TEST(ExportNotice, CallHeldByTheWindowIsAlive) {
  raw_world w;
  w.attached(3);
  w.attached(4);
  w.restart();
  raw_peer& p = w.peer(3);
  p.last_boot = 1;
  p.connect();
  p.send(p.call_with(0, 1, 1, within(5000)));
  p.settle(2600 * ns_per_ms);
  EXPECT_EQ(w.fs().executed, 0);
  EXPECT_EQ(p.count(message_type::early_reply), 1);
}

// Lost bytes are found out by the deadline alone: it must not be put off.
TEST(ExportNotice, CallWhosePayloadIsOnTheWayIsNot) {
  raw_world w;
  raw_peer& p = w.attached();
  raw_peer::call_options o = within(5000, opcode::write);
  chunk c;
  c.kind = chunk_kind::pull;
  c.size = 50'000;
  c.transfer_tag = 7;
  o.chunks = {c};  // never exposed
  w.network.swallow_at(w.network.delivered() + 2);  // the request for it
  p.send(p.call_with(0, 1, 1, o));
  p.settle(8 * ns_per_s);
  EXPECT_TRUE(p.up);
  EXPECT_EQ(p.count(message_type::early_reply), 0);
  EXPECT_EQ(w.fs().executed, 0);
}

// The call runs on; the newcomer's deadline counts.
TEST(ExportNotice, DeadlineOfTheRepetitionCounts) {
  raw_world w;
  raw_peer& p = w.attached();
  w.fs().delay_ns = 20 * ns_per_s;
  p.send(p.call_with(0, 1, 1, within(60'000)));
  p.settle(ns_per_s);
  raw_peer& q = w.peer();
  q.last_boot = w.store.boot;
  q.connect();
  q.send(q.call_with(0, 1, 1, within(2000)));
  q.settle(1100 * ns_per_ms);
  EXPECT_EQ(q.count(message_type::early_reply), 1);
  EXPECT_EQ(w.fs().executed, 1);
}

TEST(ExportNotice, AnswersCarryTheEstimateOfTheirKind) {
  raw_world w;
  raw_peer& p = w.attached();
  w.fs().delay_ns = 800 * ns_per_ms;
  p.send(p.call(0, 1, 1));
  p.settle(ns_per_s);
  EXPECT_EQ(p.reply().extension.estimate_ms, 800u);
  EXPECT_EQ(p.reply().extension.service_us, 800'000u);
  w.fs().delay_ns = ns_per_ms;
  p.send(p.call(0, 2, 2));
  p.settle(100 * ns_per_ms);
  EXPECT_EQ(p.reply().extension.estimate_ms, 800u);
  p.send(p.call(1, 1, 3, {}, opcode::getattr));
  p.settle(100 * ns_per_ms);
  EXPECT_EQ(p.reply().extension.estimate_ms, 1u);
  // A deadline shorter than the estimate allows is put off further.
  w.fs().delay_ns = 3 * ns_per_s;
  p.send(p.call_with(0, 3, 4, within(1000)));
  p.settle(ns_per_s);
  EXPECT_EQ(p.last(message_type::early_reply).extension.retry_after_ms, 1500u);
}

TEST(ServiceTimes, TheLongestOfFourBins) {
  service_times t;
  EXPECT_EQ(t.estimate_ms(0), 0u);
  t.note(10 * ns_per_s, 70 * ns_per_ms);
  t.note(20 * ns_per_s, 30 * ns_per_ms);
  EXPECT_EQ(t.estimate_ms(30 * ns_per_s), 70u);
  t.note(200 * ns_per_s, 40 * ns_per_ms);
  EXPECT_EQ(t.estimate_ms(599 * ns_per_s), 70u);
  EXPECT_EQ(t.estimate_ms(601 * ns_per_s), 40u);
  t.note(601 * ns_per_s, 5 * ns_per_ms);
  EXPECT_EQ(t.estimate_ms(760 * ns_per_s), 5u);
  EXPECT_EQ(t.estimate_ms(5000 * ns_per_s), 0u);
}

TEST(ExportNotice, CommitIsToldToWhomItIsNews) {
  raw_world w;
  raw_peer& p = w.attached(3);
  raw_peer& other = w.attached(4);
  p.send(p.call(0, 1, 1));
  p.settle(10 * ns_per_ms);
  const std::uint64_t transno = p.reply().header.transno;
  ASSERT_LT(p.reply().header.ack, transno);
  p.settle(100 * ns_per_ms);
  ASSERT_EQ(p.count(message_type::commit_note), 1);
  EXPECT_EQ(p.last(message_type::commit_note).header.ack, transno);
  EXPECT_EQ(other.count(message_type::commit_note), 0);
  // Who was told by an answer hears nothing more.
  raw_peer::call_options sync;
  sync.flags = message_flag::need_commit;
  p.send(p.call_with(1, 1, 2, sync));
  p.settle(200 * ns_per_ms);
  EXPECT_EQ(p.count(message_type::commit_note), 1);
}

TEST(ExportNotice, AtMostEveryTwentyMilliseconds) {
  raw_world w;
  w.fs().commit_delay_ns = ns_per_ms;
  raw_peer& p = w.attached();
  const std::uint64_t began = w.time.now_ns();
  std::uint32_t seq = 0;
  while (w.time.now_ns() - began < 200 * ns_per_ms) {
    ++seq;
    p.send(p.call(0, seq, seq));
    p.settle(2 * ns_per_ms);
  }
  EXPECT_GE(p.count(message_type::commit_note), 3);
  EXPECT_LE(p.count(message_type::commit_note), 11);
  p.settle(100 * ns_per_ms);
  EXPECT_EQ(p.last(message_type::commit_note).header.ack, w.store.last_committed);
}

// What was answered on one connection is told on the next.
TEST(ExportNotice, FollowsTheClient) {
  raw_world w;
  raw_peer& p = w.attached();
  p.send(p.call(0, 1, 1));
  p.settle(10 * ns_per_ms);
  raw_peer& q = w.peer();
  q.last_boot = w.store.boot;
  q.connect();
  q.settle(100 * ns_per_ms);
  EXPECT_EQ(q.count(message_type::commit_note), 1);
}

}  // namespace
}  // namespace tangelo::test
