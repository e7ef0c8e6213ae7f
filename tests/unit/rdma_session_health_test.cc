// Slow is not dead, silent is; leases, idling, and the ways to an address.
#include "tests/unit/session_fixture.h"

namespace tangelo::test {
namespace {

struct serving : session_world {
  serving() {
    start();
    EXPECT_TRUE(reach(import_state::full));
    server.ack.verdict = connect_verdict::resumed;
  }
  std::uint32_t connections() const { return session->status().connection_count; }
  void say_early(const heard_message& call, std::uint32_t retry_after_ms) {
    wire_header h = server.header(server.link(), message_type::early_reply);
    h.xid = call.header.xid;
    h.slot = call.header.slot;
    h.slot_seq = call.header.slot_seq;
    reply_extension e = server.extension();
    e.retry_after_ms = retry_after_ms;
    server.link().send(h, e);
  }
};

// ---- deadlines --------------------------------------------------------------------------------

TEST(SessionDeadline, ACallWithoutAWordIsSentAgainAlthoughPingsAreAnswered) {
  serving w;
  w.call(0);
  w.wait(4900 * ns_per_ms);
  EXPECT_EQ(w.connections(), 1u);
  EXPECT_EQ(w.server.calls.at(0).extension.relative_deadline_ms, 5000u);
  w.wait(2 * ns_per_s);
  EXPECT_EQ(w.connections(), 2u);
  ASSERT_EQ(w.server.calls.size(), 2u);
  EXPECT_EQ(w.server.calls[1].header.flags, message_flag::resent);
  EXPECT_EQ(w.server.calls[1].header.xid, w.server.calls[0].header.xid);
  EXPECT_EQ(w.server.calls[1].header.slot_seq, w.server.calls[0].header.slot_seq);
}

TEST(SessionDeadline, EachOneThatPassedIsFollowedByALongerOne) {
  serving w;
  w.call(0);
  w.wait(100 * ns_per_s);
  // 5, 10, 20, 40 s.
  EXPECT_EQ(w.connections(), 5u);
  w.server.answer(heard_message(w.server.calls.back()));
  ASSERT_TRUE(w.until([&] { return w.owner.replies.size() == 1; }));
  w.call(1);
  w.wait(6 * ns_per_s);
  EXPECT_EQ(w.connections(), 6u);
}

TEST(SessionDeadline, AnEarlyReplyBeginsItAnew) {
  serving w;
  w.call(0);
  w.call(1);
  ASSERT_TRUE(w.until([&] { return w.server.calls.size() == 2; }));
  w.wait(3 * ns_per_s);
  w.say_early(w.server.calls[0], 30'000);
  w.say_early(w.server.calls[1], 20'000);
  w.wait(19 * ns_per_s);
  EXPECT_EQ(w.connections(), 1u);
  w.server.answer(heard_message(w.server.calls[1]));
  w.wait(10 * ns_per_s);
  EXPECT_EQ(w.connections(), 1u);
  w.wait(3 * ns_per_s);
  EXPECT_EQ(w.connections(), 2u);
}

TEST(SessionDeadline, AnEarlyReplyToAnotherCallDoesNot) {
  serving w;
  w.call(0);
  ASSERT_TRUE(w.until([&] { return w.server.calls.size() == 1; }));
  heard_message other = w.server.calls[0];
  ++other.header.slot_seq;
  w.say_early(other, 30'000);
  w.wait(7 * ns_per_s);
  EXPECT_EQ(w.connections(), 2u);
}

TEST(SessionDeadline, FollowsTheServersEstimateOfItsKind) {
  serving w;
  w.call(0);
  ASSERT_TRUE(w.until([&] { return w.server.calls.size() == 1; }));
  wire_header h = w.server.header(w.server.link(), message_type::reply);
  h.xid = w.server.calls[0].header.xid;
  h.slot_seq = 1;
  reply_extension e = w.server.extension();
  e.estimate_ms = 20'000;
  w.server.link().send(h, e);
  ASSERT_TRUE(w.until([&] { return w.owner.replies.size() == 1; }));
  w.call(1);
  w.call(2, opcode::getattr);
  ASSERT_TRUE(w.until([&] { return w.server.calls.size() == 3; }));
  EXPECT_EQ(w.server.calls[1].extension.relative_deadline_ms, 25'500u);
  EXPECT_EQ(w.server.calls[2].extension.relative_deadline_ms, 5'000u);
}

TEST(SessionDeadline, AReplayAndAClaimWithoutAnAnswerAreSentAgain) {
  session_world w;
  w.owner.keep(11);
  w.server.ack.verdict = connect_verdict::recovering_new_boot;
  w.start_known(4);
  ASSERT_TRUE(w.until([&] { return w.server.calls.size() == 1; }));
  w.server.ack.verdict = connect_verdict::recovering_resumed;
  w.wait(6 * ns_per_s);
  ASSERT_EQ(w.server.calls.size(), 2u);
  EXPECT_EQ(w.server.calls[1].header.flags, message_flag::replay | message_flag::resent);
  EXPECT_GT(w.server.pings, 1u);
}

TEST(SessionDeadline, ASilentServerIsNoticedWithinFiveSeconds) {
  serving w;
  w.wait(ns_per_s);
  w.server.answers_pings = false;
  w.call(0);
  w.wait(5 * ns_per_s);
  EXPECT_EQ(w.session->status().last_reason, down_reason::timeout);
  EXPECT_GE(w.connections(), 2u);
}

// A PONG that stands behind bulk on a slow line.
TEST(SessionDeadline, WhoseAnswersAreHeardIsNotSilent) {
  serving w;
  w.server.answers_pings = false;
  for (std::uint16_t slot = 0; slot < 6; ++slot) w.call(slot);
  ASSERT_TRUE(w.until([&] { return w.server.calls.size() == 6; }));
  for (std::size_t i = 0; i < 6; ++i) {
    w.wait(ns_per_s * 3 / 4);
    w.server.answer(heard_message(w.server.calls[i]));
  }
  w.wait(ns_per_ms);
  EXPECT_EQ(w.connections(), 1u);
}

// ---- lease and last_committed -----------------------------------------------------------------

TEST(SessionLease, CountsFromTheSendingOfWhatWasAnswered) {
  serving w;
  w.wait(300 * ns_per_ms);
  w.call(0);
  const std::uint64_t sent = w.time.now_ns();
  ASSERT_TRUE(w.until([&] { return w.server.calls.size() == 1; }));
  const std::uint64_t before = w.session->lease_until_ns();
  EXPECT_LT(before, sent + 30 * ns_per_s);
  w.wait(400 * ns_per_ms);
  EXPECT_EQ(w.session->lease_until_ns(), before) << "not answered yet";
  w.server.answer(heard_message(w.server.calls[0]));
  ASSERT_TRUE(w.until([&] { return w.owner.replies.size() == 1; }));
  EXPECT_EQ(w.session->lease_until_ns(), sent + 30 * ns_per_s);
  EXPECT_EQ(w.session->status().lease_until_ns, sent + 30 * ns_per_s);
}

TEST(SessionLease, IsNotRenewedByWhatTheServerSaysUnasked) {
  serving w;
  const std::uint64_t before = w.session->lease_until_ns();
  w.wait(ns_per_s);
  w.server.say(message_type::commit_note);
  w.server.say(message_type::pong, 99);
  w.wait(ns_per_s);
  EXPECT_EQ(w.session->lease_until_ns(), before);
}

TEST(SessionLease, AShortOneIsRenewedInTime) {
  session_world w;
  w.server.ack.lease_ms = 2000;
  w.start();
  ASSERT_TRUE(w.reach(import_state::full));
  for (int i = 0; i < 300; ++i) {
    w.wait(100 * ns_per_ms);
    EXPECT_GT(w.session->lease_until_ns(), w.time.now_ns() + ns_per_s / 2);
  }
  w.server.answers_pings = false;
  w.wait(2100 * ns_per_ms);
  EXPECT_LT(w.session->lease_until_ns(), w.time.now_ns());
}

TEST(SessionCommitted, MovesByNotesPongsAndAnswersOfThisSessionOnly) {
  serving w;
  w.server.last_committed = 7;
  w.server.say(message_type::commit_note);
  w.wait(ns_per_ms);
  EXPECT_EQ(w.owner.committed, (std::vector<std::uint64_t>{7}));
  w.server.last_committed = 6;
  w.server.say(message_type::commit_note);
  w.server.last_committed = 8;
  w.server.cookie = 1;
  w.server.say(message_type::commit_note);
  w.server.cookie = 77;
  w.server.boot = 4;
  w.server.say(message_type::commit_note);
  w.server.boot = 5;
  w.wait(ns_per_ms);
  EXPECT_EQ(w.owner.committed, (std::vector<std::uint64_t>{7}));
  w.wait(6 * ns_per_s);  // a PING
  EXPECT_EQ(w.owner.committed, (std::vector<std::uint64_t>{7, 8}));
  w.server.last_committed = 9;
  w.call(0);
  ASSERT_TRUE(w.until([&] { return w.server.calls.size() == 1; }));
  w.server.answer(heard_message(w.server.calls[0]));
  ASSERT_TRUE(w.until([&] { return w.owner.replies.size() == 1; }));
  EXPECT_EQ(w.owner.replies[0].last_committed, 9u);
  EXPECT_EQ(w.owner.committed.back(), 9u);
}

TEST(SessionCommitted, TheEndOfTheWindowCommitsWhatWasReplayed) {
  session_world w;
  w.owner.keep(11);
  w.server.ack.verdict = connect_verdict::recovering_new_boot;
  w.server.on_call = [&w](const heard_message& m) {
    w.server.answer(m);
    w.server.last_committed = std::uint64_t{5} << 32;
  };
  w.start_known(4);
  ASSERT_TRUE(w.reach(import_state::full));
  EXPECT_EQ(w.owner.committed, (std::vector<std::uint64_t>{std::uint64_t{5} << 32}));
}

// ---- idle -------------------------------------------------------------------------------------

TEST(SessionIdle, NothingToDoAndNothingHeldEndsTheConnectionAndACallRevivesIt) {
  serving w;
  w.wait(59 * ns_per_s);
  EXPECT_EQ(w.state(), import_state::full);
  w.wait(2 * ns_per_s);
  EXPECT_EQ(w.state(), import_state::idle);
  ASSERT_EQ(w.server.goodbyes.size(), 1u);
  EXPECT_EQ(w.server.goodbyes[0].resume_ok, 1);
  w.wait(500 * ns_per_s);
  EXPECT_EQ(w.connections(), 1u);
  EXPECT_LT(w.session->lease_until_ns(), w.time.now_ns());
  w.server.on_call = [&w](const heard_message& m) { w.server.answer(m); };
  w.call(0);
  ASSERT_TRUE(w.until([&] { return w.owner.replies.size() == 1; }, ns_per_s));
  EXPECT_EQ(w.server.connects.back().last_boot_generation, 5u);
}

TEST(SessionIdle, WhoHoldsSomethingStays) {
  for (const bool open : {false, true}) {
    serving w;
    w.owner.has_open = open;
    if (!open) w.owner.keep(20);
    w.wait(200 * ns_per_s);
    EXPECT_EQ(w.state(), import_state::full);
    w.owner.has_open = false;
    w.server.last_committed = 20;
    w.wait(10 * ns_per_s);
    EXPECT_EQ(w.state(), import_state::idle);
  }
}

TEST(SessionIdle, AnUnansweredCallIsWork) {
  serving w;
  w.call(0);
  ASSERT_TRUE(w.until([&] { return w.server.calls.size() == 1; }));
  w.say_early(w.server.calls[0], 300'000);
  w.wait(200 * ns_per_s);
  EXPECT_EQ(w.state(), import_state::full);
}

// ---- addresses --------------------------------------------------------------------------------

TEST(SessionAddress, AStandbyIsHeardWhileItIsWaitedFor) {
  session_world w;
  w.server.boot = 0;
  w.server.ack.verdict = connect_verdict::wait;
  w.server.ack.retry_ms = 60'000;
  w.start();
  ASSERT_TRUE(w.until([&] { return w.server.connects.size() == 1; }));
  w.wait(10 * ns_per_s);
  EXPECT_EQ(w.state(), import_state::discon);
  EXPECT_FALSE(w.server.link().down);
  w.server.boot = 5;
  w.server.ack.verdict = connect_verdict::fresh;
  w.server.say_advice();
  EXPECT_TRUE(w.reach(import_state::full, 100 * ns_per_ms));
}

TEST(SessionAddress, WhatAStandbyDoesNotServeMayBeElsewhere) {
  session_world w;
  w.options.addresses = {"standby", "server"};
  scripted_server standby(w.network, "standby");
  standby.boot = 0;
  standby.ack.verdict = connect_verdict::wait;
  standby.ack.retry_ms = 300;
  w.start();
  ASSERT_TRUE(w.reach(import_state::full, ns_per_s));
  EXPECT_EQ(w.session->status().address, "server");
  EXPECT_EQ(standby.connects.size(), 1u);
}

TEST(SessionAddress, ABusyServerIsAskedAgainNotAnother) {
  session_world w;
  w.options.addresses = {"server", "other"};
  scripted_server other(w.network, "other");
  w.server.ack.verdict = connect_verdict::busy;
  w.server.ack.retry_ms = 300;
  w.start();
  w.wait(ns_per_s);
  EXPECT_EQ(w.server.connects.size(), 4u);
  EXPECT_TRUE(other.links.empty());
}

TEST(SessionAddress, AServerThatEndsEveryRecoveryIsTriedWithPauses) {
  session_world w;
  w.owner.keep(11);
  w.server.ack.verdict = connect_verdict::recovering_new_boot;
  w.server.on_call = [&w](const heard_message& m) {
    w.server.answer(m, error_code::stale_replay);
  };
  w.start_known(4);
  w.wait(10 * ns_per_s);
  EXPECT_GT(w.server.connects.size(), 3u);
  EXPECT_LT(w.server.connects.size(), 60u);
}

}  // namespace
}  // namespace tangelo::test
