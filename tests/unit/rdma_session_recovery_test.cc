// What the client's session believes of CONNECT, what it replays, and when it gives itself up.
#include <algorithm>

#include "tests/unit/session_fixture.h"

namespace tangelo::test {
namespace {

using enum connect_verdict;

// Transnos replayed, in the order of their coming.
std::vector<std::uint64_t> replayed(const session_world& w) {
  std::vector<std::uint64_t> out;
  for (const heard_message& m : w.server.calls)
    if ((m.header.flags & message_flag::replay) != 0) out.push_back(m.header.transno);
  return out;
}

void answer_all(session_world& w) {
  w.server.on_call = [&w](const heard_message& m) { w.server.answer(m, error_code::ok); };
}

TEST(SessionReplay, ReplaysArePipelinedInOrderWithTheirTransnoTimeAndPredecessor) {
  session_world w;
  for (std::uint64_t t = 11; t <= 40; ++t) w.owner.keep(t);
  w.server.ack.verdict = recovering_new_boot;
  w.server.boot = 6;
  w.server.last_committed = 12;
  w.start_known(5);
  ASSERT_TRUE(w.reach(import_state::replay));
  w.wait(10 * ns_per_ms);
  // Given no answer, expect the window; 11 and 12 are committed by now.
  ASSERT_EQ(w.server.calls.size(), 16u);
  for (std::size_t i = 0; i < 16; ++i) {
    const heard_message& m = w.server.calls[i];
    EXPECT_EQ(m.header.transno, 13 + i);
    EXPECT_EQ(m.header.ack, i == 0 ? 0 : 12 + i);
    EXPECT_EQ(m.extension.replay_time_ns, static_cast<std::int64_t>((13 + i) * 1000));
    EXPECT_EQ(m.header.flags, message_flag::replay);
  }
  answer_all(w);
  for (std::size_t i = 0; i < 16; ++i) w.server.answer(heard_message(w.server.calls[i]));
  ASSERT_TRUE(w.reach(import_state::full));
  const std::vector<std::uint64_t> all = replayed(w);
  EXPECT_EQ(all.size(), 28u);
  EXPECT_TRUE(std::is_sorted(all.begin(), all.end()));
  EXPECT_EQ(w.session->status().replayed, 28u);
}

TEST(SessionReplay, NeitherConnectNorReplayBeforeWhatWasAnsweredIsInTheRecords) {
  session_world w;
  w.owner.keep(11);
  w.owner.is_settled = false;
  w.server.ack.verdict = recovering_new_boot;
  w.start_known(4);
  w.wait(ns_per_s);
  EXPECT_TRUE(w.server.connects.empty());
  w.owner.keep(12);
  w.owner.is_settled = true;
  answer_all(w);
  ASSERT_TRUE(w.reach(import_state::full));
  EXPECT_EQ(w.server.connects.at(0).replay_from, 11u);
  EXPECT_EQ(replayed(w), (std::vector<std::uint64_t>{11, 12}));
}

// I13. Boot 6 answers two of four replays; then the link breaks.
struct broken_replay : session_world {
  broken_replay() {
    for (std::uint64_t t = 11; t <= 14; ++t) owner.keep(t);
    server.ack.verdict = recovering_new_boot;
    server.boot = 6;
    start_known(5);
    EXPECT_TRUE(until([&] { return server.calls.size() == 4; }));
    server.answer(heard_message(server.calls[0]));
    server.answer(heard_message(server.calls[1]));
    EXPECT_TRUE(until([&] { return session->status().replayed == 2; }));
    server.link().close();
    EXPECT_TRUE(until([&] { return state() != import_state::replay; }));
    server.calls.clear();
    answer_all(*this);
  }
};

TEST(SessionReplay, InTheSameBootItGoesOnAfterTheLastAnswered) {
  broken_replay w;
  w.server.ack.verdict = recovering_resumed;
  ASSERT_TRUE(w.reach(import_state::full));
  EXPECT_EQ(replayed(w), (std::vector<std::uint64_t>{13, 14}));
  EXPECT_EQ(w.server.calls[0].header.flags, message_flag::replay | message_flag::resent);
  EXPECT_EQ(w.server.calls[0].header.ack, 0u);
}

TEST(SessionReplay, InAnotherBootItBeginsAnewWhateverTheVerdictIsCalled) {
  for (const connect_verdict verdict : {recovering_new_boot, recovering_resumed}) {
    broken_replay w;
    w.server.boot = 7;
    w.server.ack.verdict = verdict;
    ASSERT_TRUE(w.reach(import_state::full));
    EXPECT_EQ(replayed(w), (std::vector<std::uint64_t>{11, 12, 13, 14}));
    EXPECT_EQ(w.server.calls[0].header.flags, message_flag::replay);
  }
}

// The answer to the CONNECT that met boot 7 is lost: the server says "resumed" to the next one.
TEST(SessionReplay, ALostConnectAckDoesNotHideAnotherBoot) {
  broken_replay w;
  w.server.boot = 7;
  w.server.connects_to_lose = 1;
  w.server.ack.verdict = recovering_resumed;
  ASSERT_TRUE(w.reach(import_state::full));
  EXPECT_EQ(w.server.connects.back().last_boot_generation, 6u);
  EXPECT_EQ(replayed(w), (std::vector<std::uint64_t>{11, 12, 13, 14}));
}

TEST(SessionReplay, ARefusedWriteIsToldAndTheRecoveryGoesOnWhenItIsNoted) {
  session_world w;
  w.owner.keep(11, opcode::write);
  for (std::uint64_t t = 12; t <= 30; ++t) w.owner.keep(t, opcode::write);
  w.owner.unsettled_by_failures = true;
  w.server.ack.verdict = recovering_new_boot;
  w.server.on_call = [&w](const heard_message& m) {
    w.server.answer(m, m.header.transno == 11 ? error_code::io : error_code::ok);
  };
  w.start_known(4);
  ASSERT_TRUE(w.until([&] { return !w.owner.failed.empty(); }));
  w.wait(ns_per_s);
  EXPECT_EQ(w.owner.failed, (std::vector<std::uint64_t>{11}));
  EXPECT_EQ(replayed(w).size(), 16u) << "no new ones before the loss is noted";
  EXPECT_EQ(w.state(), import_state::replay);
  w.owner.is_settled = true;
  ASSERT_TRUE(w.reach(import_state::full));
  EXPECT_EQ(replayed(w).size(), 20u);
  EXPECT_TRUE(w.owner.evictions.empty());
}

TEST(SessionReplay, ARefusedChangeOfNamesEvicts) {
  session_world w;
  w.owner.keep(11);
  w.server.last_committed = 10;
  w.server.ack.verdict = recovering_new_boot;
  w.server.on_call = [&w](const heard_message& m) { w.server.answer(m, error_code::exists); };
  w.start_known(4);
  ASSERT_TRUE(w.until([&] { return !w.owner.evictions.empty(); }));
  EXPECT_EQ(w.owner.evictions, (std::vector<std::uint64_t>{10}));
  EXPECT_EQ(w.state(), import_state::evicted);
}

TEST(SessionReplay, AStaleReplayAsksConnectAgain) {
  session_world w;
  w.owner.keep(11);
  w.server.ack.verdict = recovering_new_boot;
  w.server.on_call = [&w](const heard_message& m) { w.server.answer(m, error_code::stale_replay); };
  w.start_known(4);
  ASSERT_TRUE(w.until([&] { return w.server.calls.size() == 1; }));
  // The window has closed meanwhile, and everything is committed.
  w.server.ack.verdict = resumed;
  w.server.last_committed = std::uint64_t{5} << 32;
  ASSERT_TRUE(w.reach(import_state::full));
  EXPECT_EQ(w.server.calls.size(), 1u);
  EXPECT_TRUE(w.owner.evictions.empty());
}

// ---- verdicts ---------------------------------------------------------------------------------

struct verdict_case {
  const char* name;
  connect_verdict verdict;
  std::uint64_t known_boot;  // by the client; the server's is 5
  std::uint64_t committed;   // what the server says; the client's newest replay is 20
  bool holds_replay;
  bool holds_open;
  std::uint32_t window_left_ms;
  import_state expected;
};

class Verdict : public testing::TestWithParam<verdict_case> {};

TEST_P(Verdict, LeadsWhereTheTableSays) {
  const verdict_case& c = GetParam();
  session_world w;
  if (c.holds_replay) w.owner.keep(20);
  w.owner.has_open = c.holds_open;
  w.server.ack.verdict = c.verdict;
  w.server.ack.window_left_ms = c.window_left_ms;
  w.server.last_committed = c.committed;
  w.start_known(c.known_boot);
  ASSERT_TRUE(w.until([&] {
    const import_state s = w.state();
    return s == import_state::full || s == import_state::evicted || !w.server.calls.empty();
  }));
  EXPECT_EQ(w.state(), c.expected) << c.name;
  EXPECT_EQ(w.server.connects.at(0).last_boot_generation, c.known_boot);
}

constexpr import_state is_full = import_state::full;
constexpr import_state is_evicted = import_state::evicted;
constexpr import_state is_replay = import_state::replay;

INSTANTIATE_TEST_SUITE_P(
    Session, Verdict,
    testing::Values(
        verdict_case{"fresh, nothing held", fresh, 0, 0, false, false, 0, is_full},
        verdict_case{"fresh, opens of an evicted session", fresh, 0, 0, false, true, 0, is_full},
        verdict_case{"fresh, opens held", fresh, 5, 0, false, true, 0, is_evicted},
        verdict_case{"fresh, replays held", fresh, 5, 0, true, false, 0, is_evicted},
        verdict_case{"resumed, holding", resumed, 5, 0, true, true, 0, is_full},
        verdict_case{"first ack lost, nothing held", resumed, 4, 0, false, false, 0, is_full},
        verdict_case{"first ack lost, all committed", resumed, 4, 20, true, false, 0, is_full},
        verdict_case{"first ack lost, held", resumed, 4, 19, true, false, 0, is_evicted},
        verdict_case{"first ack lost, opens", resumed, 4, 20, true, true, 0, is_evicted},
        verdict_case{"first ack lost, window", resumed, 4, 19, true, false, 9, is_replay},
        verdict_case{"not awaited", resumed_new_boot, 4, 0, false, false, 0, is_full},
        verdict_case{"not awaited, committed", resumed_new_boot, 4, 20, true, false, 0, is_full},
        verdict_case{"not awaited, held", resumed_new_boot, 4, 19, true, false, 0, is_evicted},
        verdict_case{"window", recovering_new_boot, 4, 0, true, false, 9, is_replay},
        verdict_case{"rejoined", recovering_resumed, 5, 0, true, false, 9, is_replay},
        verdict_case{"evicted", evicted, 5, 0, false, false, 0, is_evicted},
        verdict_case{"older boot", resumed, 6, 0, false, false, 0, is_evicted}));

TEST(SessionVerdict, WhatWasCommittedMayNotGoBack) {
  session_world w;
  w.server.ack.verdict = resumed;
  w.server.last_committed = 9;
  w.start_known(5, 10);
  ASSERT_TRUE(w.reach(import_state::evicted));
  EXPECT_EQ(w.session->status().last_text, "its last committed transaction went back");
}

TEST(SessionVerdict, ResumedUnderAnotherCookieIsNotBelieved) {
  session_world w;
  w.start();
  ASSERT_TRUE(w.reach(import_state::full));
  w.server.ack.verdict = resumed;
  w.server.cookie = 78;
  w.server.link().close();
  ASSERT_TRUE(w.reach(import_state::evicted));
}

// ---- eviction ---------------------------------------------------------------------------------

TEST(SessionEviction, EndsOnlyWhenItIsInvalidatedAndThenClaimsNothing) {
  session_world w;
  w.start();
  ASSERT_TRUE(w.reach(import_state::full));
  w.owner.has_open = true;
  w.owner.keep(20);
  w.call(0);
  ASSERT_TRUE(w.until([&] { return w.server.calls.size() == 1; }));
  w.server.ack.verdict = evicted;
  w.server.ack.kept_through = 15;
  w.server.say_evicted();
  ASSERT_TRUE(w.reach(import_state::evicted));
  // The link said it, CONNECT said how much is kept.
  EXPECT_TRUE(w.until([&] { return !w.owner.evictions.empty(); }));
  EXPECT_EQ(w.owner.evictions, (std::vector<std::uint64_t>{15}));
  EXPECT_NE(w.server.connects.back().held, 0u);
  const std::size_t connects = w.server.connects.size();
  EXPECT_LE(w.session->lease_until_ns(), w.time.now_ns());
  w.wait(100 * ns_per_s);
  EXPECT_EQ(w.state(), import_state::evicted);
  EXPECT_EQ(w.server.connects.size(), connects);
  w.owner.replays.clear();
  w.server.ack.verdict = fresh;
  w.session->invalidated();
  ASSERT_TRUE(w.reach(import_state::full));
  EXPECT_EQ(w.server.connects.back().last_boot_generation, 0u);
  EXPECT_EQ(w.server.connects.back().held, 0u);
  EXPECT_EQ(w.server.connects.back().last_committed, 0u);
  EXPECT_EQ(w.server.calls.size(), 1u) << "what was not answered is over";
  EXPECT_EQ(w.session->status().evictions, 1u);
}

TEST(SessionEviction, AReplyThatSaysEvictedAsksConnectFirst) {
  session_world w;
  w.start();
  ASSERT_TRUE(w.reach(import_state::full));
  w.call(0);
  ASSERT_TRUE(w.until([&] { return w.server.calls.size() == 1; }));
  w.server.ack.verdict = evicted;
  w.server.ack.kept_through = 3;
  w.server.answer(heard_message(w.server.calls[0]), error_code::evicted);
  ASSERT_TRUE(w.until([&] { return !w.owner.evictions.empty(); }));
  EXPECT_EQ(w.owner.evictions, (std::vector<std::uint64_t>{3}));
  EXPECT_TRUE(w.owner.replies.empty());
}

TEST(SessionEviction, AtTheEndOfTheWindowToo) {
  session_world w;
  w.owner.has_open = true;
  w.server.ends_window = false;
  w.server.ack.verdict = recovering_new_boot;
  w.start_known(4);
  ASSERT_TRUE(w.until([&] { return w.server.replays_done == 1; }));
  EXPECT_EQ(w.server.claims.size(), 1u);
  w.server.ack.verdict = evicted;
  w.server.say(message_type::replay_done_ack, 0, error_code::evicted);
  ASSERT_TRUE(w.until([&] { return !w.owner.evictions.empty(); }));
}

}  // namespace
}  // namespace tangelo::test
