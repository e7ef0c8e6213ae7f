// The crash-point table of the recovery design (recovery.md 7.17), row by row, each for every class
// of operations. What a row does when the operation is one that only reads, or one that waits for
// its commit, is the same as far as it can come to it.
//
// Rows with two clients: sim_two_test.cc.
#include <gtest/gtest.h>

#include <algorithm>

#include "protocol/data_ops.h"
#include "tests/sim/op_classes.h"

namespace tangelo::sim {
namespace {

class CrashPoints : public testing::TestWithParam<op_class> {
 protected:
  const op_class& tried() const { return GetParam(); }
  bool is_call_of_it(const event& e, place at) const {
    return is_call(e, at, tried().op) || is_call(e, at, tried().op, true);
  }
  static bool is_reply(const event& e, place at = place::before_send) {
    return is_message(e, at, message_type::reply);
  }

  // Dies at the nth event of the kind while the op is on its way; how often it came to it.
  void dies_at(place at, const char* what) {
    for (std::uint64_t n = 1; n <= 3; ++n) {
      for (const std::size_t survives : {0u, 1u}) {
        scene s(tried());
        s.prepare();
        s.w.server().set_extra_at_tap(survives);
        s.w.server().set_judge(die_at(at, n));
        s.begin();
        s.finish();
        ASSERT_EQ(s.difference(), "") << what << " " << n << ", " << survives << " survives";
      }
    }
  }
};

TEST_P(CrashPoints, Row01TheCallIsLost) {
  scene s(tried());
  s.prepare();
  s.w.server().set_judge(at_nth(1, fate::lose, [this](const event& e) {
    return is_call_of_it(e, place::before_receive);
  }));
  s.begin();
  s.finish();
  ASSERT_EQ(s.difference(), "");
}

TEST_P(CrashPoints, Row02ServerDiesBeforeItWritesTheLog) {
  dies_at(place::before_write, "before write");
}

TEST_P(CrashPoints, Row02ServerDiesBeforeTheCommit) {
  dies_at(place::after_write, "after write");
  dies_at(place::before_sync, "before sync");
  dies_at(place::before_object, "before object");
  dies_at(place::after_object, "after object");
}

// The answer, early or late, does not arrive; what was done is durable.
TEST_P(CrashPoints, Row03ServerDiesAfterTheCommitBeforeTheAnswer) {
  scene s(tried());
  s.prepare();
  s.w.server().set_judge([](const event& e) {
    if (is_reply(e)) return fate::lose;
    return e.at == place::after_sync ? fate::die : fate::go_on;
  });
  s.begin();
  const std::uint64_t starts = s.w.server().starts();
  (void)s.go_until([&] { return s.w.server().starts() != starts; }, 200 * ns_per_ms);
  s.w.server().set_judge(nullptr);
  s.finish();
  ASSERT_EQ(s.difference(), "");
}

TEST_P(CrashPoints, Row04TheAnswerIsLost) {
  scene s(tried());
  s.prepare();
  s.w.server().set_judge(at_nth(1, fate::lose, [](const event& e) { return is_reply(e); }));
  s.begin();
  s.finish();
  ASSERT_EQ(s.difference(), "");
}

// Acknowledged, and nothing of it flushed. Objects keep what was written to them, or lose it.
TEST_P(CrashPoints, Row05ServerDiesAfterTheAnswerBeforeCommit) {
  if (is_mutation(tried().op) && !may_be_early(tried().op)) return;  // its answer is after it
  for (const victim v : {victim::server, victim::power}) {
    scene s(tried());
    s.prepare();
    s.w.server().hold_commits();
    s.begin();
    ASSERT_TRUE(s.await_answer()) << "it waits for a commit";
    EXPECT_EQ(s.w.at(0).replay_count() != 0, is_mutation(tried().op)) << "who is in the log";
    std::uint64_t replays = 0;
    s.w.server().set_judge([&replays](const event& e) {
      if (is_message(e, place::after_receive, message_type::call) &&
          (e.message->header.flags & message_flag::replay) != 0)
        ++replays;
      return fate::go_on;
    });
    s.w.kill(v);
    s.finish();
    ASSERT_EQ(s.difference(), "") << name_of(v);
    EXPECT_EQ(replays != 0, is_mutation(tried().op)) << "what is made again";
  }
}

// What the caller was told is in the log's file, though nobody waited for it.
TEST_P(CrashPoints, Row05ServerDiesAfterTheAnswerAndTheLogSurvives) {
  scene s(tried());
  s.prepare();
  s.w.server().hold_commits();
  s.begin();
  (void)s.await_answer();
  (void)s.go_until([&s] { return s.w.server().is_syncing(); }, 100 * ns_per_ms);
  s.w.power_cut(SIZE_MAX, true);
  s.finish();
  ASSERT_EQ(s.difference(), "");
}

// The client dies too: what was not flushed may be lost; the store is whole and of use.
TEST_P(CrashPoints, Row06ServerAndClientDieBeforeCommit) {
  for (const std::size_t survives : {0u, 1u, 9u}) {
    scene s(tried());
    s.prepare();
    s.w.server().hold_commits();
    s.begin();
    (void)s.await_answer();
    (void)s.go_until([&s] { return s.w.server().is_syncing(); }, 100 * ns_per_ms);
    s.w.at(0).vanish();
    s.w.power_cut(survives, false);
    s.w.at(0).remount();
    s.apps.clear();
    app& other = s.add(0, {ops::mkdir("/", "after"), ops::lookup("/", "after")});
    ASSERT_TRUE(s.finish_all()) << "the next mount waits for ever";
    const run_result r = s.end();
    ASSERT_EQ(harm(r), "");
    EXPECT_TRUE(std::none_of(r.store.begin(), r.store.end(), [](const std::string& line) {
      return line.starts_with("orphan");
    })) << "an orphan stayed";
    EXPECT_EQ(other.notes()[0].find("error"), std::string::npos) << other.notes()[0];
  }
}

// What was executed stays, and what the dead one held is given back.
TEST_P(CrashPoints, Row07TheClientDies) {
  scene s(tried());
  s.prepare();
  const std::size_t before = audited_effects(s.w.server().kv());
  s.begin();
  const bool answered = s.await_answer();
  s.w.at(0).vanish();
  s.w.at(0).remount();
  s.apps.clear();
  (void)s.add(0, {ops::mkdir("/", "after"), ops::lookup("/", "after")});
  ASSERT_TRUE(s.finish_all());
  const run_result r = s.end();
  ASSERT_EQ(harm(r), "");
  if (answered && is_mutation(tried().op)) {
    EXPECT_GE(r.effects, before + 2) << "what it was told is gone";
  }
}

TEST_P(CrashPoints, Row08TheConnectionBreaksWhileItReplays) {
  for (std::uint64_t n = 1; n <= 12; ++n) {
    scene s(tried());
    s.prepare();
    s.w.server().hold_commits();
    s.begin();
    (void)s.await_answer();
    s.w.crash_server();
    const std::uint64_t starts = s.w.server().starts();
    s.go_until([&] { return s.w.server().starts() != starts; });
    s.w.network().cut_at(s.w.network().delivered() + n);
    s.finish();
    ASSERT_EQ(s.difference(), "") << "cut at frame " << n;
  }
}

// At every event of the recovery: each write, flush, message.
TEST_P(CrashPoints, Row09ServerDiesAgainWhileItRecovers) {
  for (std::uint64_t n = 1; n <= 60; ++n) {
    scene s(tried());
    s.prepare();
    s.w.server().hold_commits();
    s.begin();
    (void)s.await_answer();
    s.w.crash_server();
    s.w.server().set_extra_at_tap(n % 3);
    s.w.server().set_judge(at_nth(n, fate::die, [](const event&) { return true; }));
    s.finish();
    ASSERT_EQ(s.difference(), "") << "dies at event " << n;
  }
}

void connect_ack_is_lost(scene& s, bool second_crash, std::uint64_t nth) {
  s.prepare();
  s.w.server().hold_commits();
  s.begin();
  (void)s.await_answer();
  s.w.crash_server();
  if (second_crash) {
    s.w.server().set_judge(die_at(place::before_send, message_type::replay_done_ack));
    const std::uint64_t starts = s.w.server().starts();
    (void)s.go_until([&] { return s.w.server().starts() == starts + 2; }, 60 * ns_per_s);
  }
  s.w.server().set_judge(lose_at(place::before_send, message_type::connect_ack, nth));
  s.finish();
}

// The first boot after the crash gets the replay and dies before it is flushed, the second one's
// CONNECT_ACK is lost: what it says next is "you have rejoined", and the cursor must begin anew.
TEST_P(CrashPoints, Row10TheConnectAckIsLost) {
  for (const bool second_crash : {false, true}) {
    for (std::uint64_t n = 1; n <= 2; ++n) {
      scene s(tried());
      connect_ack_is_lost(s, second_crash, n);
      ASSERT_EQ(s.difference(), "") << "CONNECT_ACK " << n << (second_crash ? ", again" : "");
    }
  }
}

// The first copy of the call lingers in the network while the second one is executed, and arrives
// after that, on a connection that the server still takes for a living one.
TEST_P(CrashPoints, Row12ALatePacketOfAnEarlierConnection) {
  scene s(tried());
  s.prepare();
  s.w.server().set_judge(at_nth(1, fate::hold, [this](const event& e) {
    return is_call_of_it(e, place::before_receive);
  }));
  s.begin();
  ASSERT_TRUE(s.await_answer(300 * ns_per_s));
  s.w.server().release_held();
  s.finish();
  ASSERT_EQ(s.difference(), "");
}

// A server on an old copy of the store must not be believed: what was flushed after the copy was
// made is gone there. Its clients end what they hold with an error, and begin anew.
TEST_P(CrashPoints, Row13AServerThatWentBackInTime) {
  scene s(tried());
  s.w.server().take_snapshot();
  s.prepare();
  s.begin();
  ASSERT_TRUE(s.await_answer(300 * ns_per_s));
  come_to_rest(s.w);
  s.w.power_cut(0, false);
  s.w.server().restore_snapshot();
  app& other = s.add(0, {ops::mkdir("/", "after"), ops::mkdir("/", "after"),
                         ops::lookup("/", "after")});
  ASSERT_TRUE(s.finish_all()) << "it waits for ever";
  // The first may be told EIO; then the mount is of use again.
  EXPECT_EQ(other.notes()[2].find("error"), std::string::npos) << other.notes()[2];
}

// The store fails over to another server while the old one lives on, with its connections.
TEST_P(CrashPoints, Row14FailoverWhileTheOldServerLives) {
  for (const std::uint64_t after_us : {0u, 40u, 100u, 200u, 400u, 30'000u}) {
    scene s(tried(), {.knows_backup = true});
    s.prepare();
    s.begin();
    s.go_for(after_us * ns_per_us);
    s.w.server().fail_over();
    s.finish();
    ASSERT_EQ(s.difference(), "") << "after " << after_us << " us";
  }
}

// Negative control: the cursor is reset by what the server calls the reconnect, as in Lustre. Then
// row 10 loses a change that was answered.
TEST(CrashPointsControl, WithACursorResetByFlagsALostChangeIsSeen) {
  std::size_t seen = 0;
  for (const op_class& c : op_classes()) {
    if (!is_mutation(c.op)) continue;
    scene s(c, {.cursor_by_boot = false});
    connect_ack_is_lost(s, true, 1);
    if (!s.difference().empty()) ++seen;
  }
  EXPECT_GT(seen, 0u) << "the test is blind";
}

std::string class_name(const testing::TestParamInfo<op_class>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(, CrashPoints, testing::ValuesIn(op_classes()), class_name);

}  // namespace
}  // namespace tangelo::sim
