// The scenarios that Lustre's recovery suites go through, for one mount. Replay of each operation,
// lost requests and lost replies of each: sim_crash_points_test.cc.
#include <gtest/gtest.h>

#include "tests/sim/stage.h"

namespace tangelo::sim {
namespace {

using namespace ops;

std::string data(std::size_t size, char c) { return std::string(size, c); }

// An op that failed must not come to succeed when what was around it is replayed.
TEST(SimCatalogue, WhatFailedFailsInTheReplayToo) {
  const std::vector<app_op> all{create("/", "f", "F"), mkdir("/", "f"), release("F"),
                                unlink("/", "f"), mkdir("/", "f"), rmdir("/", "f"),
                                rmdir("/", "f"), mkdir("/", "g")};
  stage clean;
  (void)clean.add(0, all);
  ASSERT_TRUE(clean.finish_all());
  const run_result want = clean.end();
  for (std::size_t n = 1; n <= all.size(); ++n) {
    stage s;
    app& a = s.add(0, {all.begin(), all.begin() + static_cast<std::ptrdiff_t>(n)});
    s.go_for(ns_per_ms);
    s.w.server().hold_commits();
    (void)s.go_until([&a] { return a.done(); }, 50 * ns_per_ms);
    s.w.crash_server();
    ASSERT_TRUE(s.finish_all());
    ASSERT_TRUE(s.play(a, {all.begin() + static_cast<std::ptrdiff_t>(n), all.end()}));
    ASSERT_EQ(difference(want, s.end()), "") << "server dies after op " << n;
  }
}

// The store has become full: what was answered is done all the same, what is new is refused.
TEST(SimCatalogue, AReplayIsNotRefusedForLackOfSpace) {
  stage s;
  app& a = s.add(0, {create("/", "f", "F")});
  ASSERT_TRUE(s.finish_all());
  ASSERT_TRUE(s.settle());
  s.w.server().hold_commits();
  a.go_on(in_order({write("F", 0, data(100'000, 'x'))}));
  const bool answered = s.go_until([&a] { return a.done(); }, 50 * ns_per_ms);
  s.w.power_cut(0, false);
  s.w.server().objects().set_space({4096, 1 << 20, 0, 0, 1 << 20, 1 << 20});
  ASSERT_TRUE(s.finish_all());
  if (answered) {
    EXPECT_EQ(a.notes().back(), "write F 0 100000: wrote 100000");
    ASSERT_TRUE(s.play(a, {read("F", 0, 200'000), fsync("F")}));
    EXPECT_EQ(a.notes().back(), "fsync F: ok");
    EXPECT_TRUE(a.notes()[a.notes().size() - 2].starts_with("read F 0 200000: 100000 bytes"));
  }
  ASSERT_TRUE(s.play(a, {write("F", 0, "new"), release("F")}));
  EXPECT_EQ(a.notes()[a.notes().size() - 2], "write F 0 3: error 28");
  EXPECT_EQ(harm(s.end()), "");
}

// Every order of opening, unlinking and closing of two handles of one file, with a death between
// any two of them: an unlinked file lives as long as it is open, and no longer.
std::vector<std::vector<app_op>> open_unlink_orders() {
  const auto made = [] {
    return std::vector<app_op>{create("/", "f", "A"), write("A", 0, data(70'000, 'u'))};
  };
  std::vector<std::vector<app_op>> all;
  const auto add = [&](std::vector<app_op> rest) {
    std::vector<app_op> ops = made();
    ops.insert(ops.end(), rest.begin(), rest.end());
    ops.push_back(lookup("/", "f"));
    all.push_back(std::move(ops));
  };
  const app_op o = open("f", "B"), u = unlink("/", "f"), ca = release("A"), cb = release("B");
  const app_op ra = read("A", 0, 80'000), rb = read("B", 0, 80'000);
  const app_op over = rename("/", "g", "/", "f"), make = mknod("/", "g", 0100644);
  add({u, ra, ca});
  add({ca, u});
  add({o, u, ra, ca, rb, cb});
  add({o, u, rb, cb, ra, ca});
  add({o, ca, u, rb, cb});
  add({o, cb, u, ra, ca});
  add({o, ca, cb, u});
  add({make, over, ra, ca});
  add({o, make, over, ca, rb, cb, u});
  return all;
}

class SimOpenUnlink : public testing::TestWithParam<victim> {};

TEST_P(SimOpenUnlink, AnyOrderOfOpenUnlinkAndCloseAroundADeath) {
  for (const std::vector<app_op>& order : open_unlink_orders()) {
    stage clean;
    (void)clean.add(0, order);
    ASSERT_TRUE(clean.finish_all());
    const run_result want = clean.end();
    for (std::size_t n = 0; n <= order.size(); ++n) {
      for (const bool durable : {false, true}) {
        stage s;
        const auto middle = order.begin() + static_cast<std::ptrdiff_t>(n);
        app& a = s.add(0, {order.begin(), middle});
        ASSERT_TRUE(s.finish_all());
        const bool settled = !durable || s.settle();
        ASSERT_TRUE(settled);
        s.w.kill(GetParam());
        ASSERT_TRUE(s.play(a, {middle, order.end()}));
        ASSERT_EQ(difference(want, s.end()), "")
            << "dies after op " << n << (durable ? ", durable" : "");
      }
    }
  }
}

std::string victim_name(const testing::TestParamInfo<victim>& info) {
  std::string name(name_of(info.param));
  std::erase(name, ' ');
  return name;
}
INSTANTIATE_TEST_SUITE_P(, SimOpenUnlink,
                         testing::Values(victim::core, victim::front_end, victim::server,
                                         victim::connection, victim::power),
                         victim_name);

// Many changes in flight; one reply in the middle is lost, then somebody dies.
TEST(SimCatalogue, ManyInFlightAndTheMiddleReplyIsLost) {
  constexpr std::size_t count = 32;
  const auto name = [](std::size_t i) { return "n" + std::to_string(i); };
  for (const victim v : {victim::watchdog, victim::core, victim::front_end, victim::server,
                         victim::power, victim::connection}) {
    for (const std::uint64_t nth : {1u, 16u, 32u}) {
      stage s;
      (void)s.add(0, {mkdir("/", "d")});
      ASSERT_TRUE(s.finish_all());
      ASSERT_TRUE(s.settle());
      for (std::size_t i = 0; i < count; ++i) {
        app& a = s.add(0, {mkdir("d", name(i)), mkdir("d", name(i))});
        a.nodes = s.apps[0]->nodes;
      }
      s.w.server().set_judge(lose_at(place::before_send, message_type::reply, nth));
      s.go_for(ns_per_ms);
      s.w.kill(v);
      ASSERT_TRUE(s.finish_all());
      for (std::size_t i = 1; i <= count; ++i) {
        EXPECT_EQ(s.apps[i]->notes()[0].find("error"), std::string::npos);
        EXPECT_NE(s.apps[i]->notes()[1].find("error 17"), std::string::npos);
      }
      ASSERT_EQ(harm(s.end()), "") << name_of(v) << ", reply " << nth;
    }
  }
}

// The first copy of a call is still executed when the second one comes, over other connections.
TEST(SimCatalogue, ARepetitionMeetsTheOriginalThatStillRuns) {
  for (const std::uint64_t cuts : {1u, 2u, 3u}) {
    for (const bool core_too : {false, true}) {
      stage s;
      app& a = s.add(0, {create("/", "f", "F"), write("F", 0, data(100'000, 'a'))});
      ASSERT_TRUE(s.finish_all());
      ASSERT_TRUE(s.settle());
      const std::size_t before = audited_effects(s.w.server().kv());
      s.w.server().slow_commits(2 * ns_per_s);
      a.go_on(in_order({write("F", 50'000, data(100'000, 'b')), fsync("F"),
                        rename("/", "f", "/", "g"), read("F", 0, 200'000), release("F")}));
      for (std::uint64_t i = 0; i < cuts; ++i) {
        s.go_for(300 * ns_per_ms);
        s.w.network().cut_all();
        if (core_too) s.w.kill_core();
      }
      ASSERT_TRUE(s.finish_all());
      const run_result r = s.end();
      ASSERT_EQ(harm(r), "");
      EXPECT_EQ(r.effects, before + 2);
      EXPECT_TRUE(a.notes()[5].starts_with("read F 0 200000: 150000 bytes")) << a.notes()[5];
    }
  }
}

// A large write is cut off at each of its frames, and a later one goes over it: what is there in
// the end is the later one's, also after a replay.
TEST(SimCatalogue, LateBulkDoesNotGoOverWhatWasWrittenLater) {
  const std::vector<app_op> writes{write("F", 0, data(300'000, 'a')),
                                   write("F", 100'000, data(100'000, 'b')),
                                   read("F", 0, 300'000), release("F")};
  stage clean;
  app& first = clean.add(0, {create("/", "f", "F")});
  ASSERT_TRUE(clean.finish_all());
  ASSERT_TRUE(clean.play(first, writes));
  const run_result want = clean.end();
  for (std::uint64_t frame = 1; frame <= 24; ++frame) {
    for (const bool crash : {false, true}) {
      stage s;
      app& a = s.add(0, {create("/", "f", "F")});
      ASSERT_TRUE(s.finish_all());
      a.go_on(in_order(writes));
      s.w.network().cut_at(s.w.network().delivered() + frame);
      if (crash) s.go_for(400 * ns_per_us);
      if (crash) s.w.power_cut(frame % 3, frame % 2 == 0);
      ASSERT_TRUE(s.finish_all());
      run_result r = s.end();
      r.notes[0].erase(r.notes[0].begin());
      run_result expected = want;
      expected.notes[0].erase(expected.notes[0].begin());
      ASSERT_EQ(difference(expected, r), "") << "frame " << frame << (crash ? ", crash" : "");
    }
  }
}

// A call lingers in the network, its caller is killed, and another one writes over it: what the
// second was told is not gone when the first one is sent again. The bytes at the end.
std::string bytes_after_a_killed_write(world_options o) {
  stage s(o);
  app& first = s.add(0, {create("/", "f", "F")});
  EXPECT_TRUE(s.finish_all());
  EXPECT_TRUE(s.settle());
  s.w.server().set_judge(at_nth(1, fate::lose, [](const event& e) {
    return is_call(e, place::before_receive, opcode::write);
  }));
  first.go_on(in_order({write("F", 0, data(5000, 'o'))}));
  for (int n = 0; n < 30; ++n) {
    first.pump();
    s.w.step();
  }
  const app::open_file file = first.files["F"];
  first.files.clear();  // the other one has it open as well
  first.kill();
  EXPECT_TRUE(s.finish_all());
  app& second = s.add(0, {});
  second.files["F"] = file;
  second.nodes = first.nodes;
  EXPECT_TRUE(s.play(second, {write("F", 0, data(5000, 'n'))}));
  EXPECT_TRUE(s.settle());
  EXPECT_TRUE(s.play(second, {read("F", 0, 10'000), release("F")}));
  EXPECT_EQ(harm(s.end()), "");
  return second.notes()[1];
}

TEST(SimCatalogue, AWriteWhoseCallerWasKilledDoesNotGoOverALaterOne) {
  stage clean;
  app& a = clean.add(0, {create("/", "f", "F"), write("F", 0, data(5000, 'n')),
                         read("F", 0, 10'000), release("F")});
  ASSERT_TRUE(clean.finish_all());
  EXPECT_EQ(bytes_after_a_killed_write({}), a.notes()[2]);
  // Negative control.
  EXPECT_NE(bytes_after_a_killed_write({.overlap_rule = false}), a.notes()[2])
      << "without the overlap rule the test is blind";
}

// The first copy of an OPEN lingers until the file has been closed again, and arrives on its old
// connection, of whose end the server has not heard: it opens nothing. Handles open at the end.
std::size_t opens_after_a_late_open(bool fence) {
  world_options o;
  o.sessions.fence_epochs = fence;
  stage s(o);
  app& a = s.add(0, {create("/", "f", "F"), release("F")});
  EXPECT_TRUE(s.finish_all());
  EXPECT_TRUE(s.settle());
  s.w.server().set_judge(at_nth(1, fate::hold, [](const event& e) {
    return is_call(e, place::before_receive, opcode::open);
  }));
  EXPECT_TRUE(s.play(a, {open("f", "F"), release("F")}));
  EXPECT_TRUE(s.settle());
  s.w.server().release_held();
  EXPECT_TRUE(s.play(a, {unlink("/", "f")}));
  const run_result r = s.end();
  EXPECT_EQ(r.store.size(), 1 + r.open_handles) << "the root, and what is held";
  return r.open_handles;
}

TEST(SimCatalogue, ALateOpenOpensNothing) {
  EXPECT_EQ(opens_after_a_late_open(true), 0u);
  // Negative control.
  EXPECT_EQ(opens_after_a_late_open(false), 1u) << "without the epoch fence the test is blind";
}

// The connection flaps, faster and slower than a session can be taken up again.
TEST(SimCatalogue, AConnectionThatFlapsOnlyCostsTime) {
  const run_result clean = clean_run();
  for (const std::uint64_t period_us : {500u, 2'000u, 10'000u, 100'000u}) {
    std::uint64_t due_ns = 0;
    std::uint64_t left = 200;
    const run_result r =
        run({}, {in_order(every_opcode("d"))}, [&](world& w, auto&, std::uint64_t) {
          if (w.time().now_ns() < due_ns || left == 0) return;
          due_ns = w.time().now_ns() + period_us * ns_per_us;
          --left;
          w.network().cut_all();
        });
    ASSERT_EQ(difference(clean, r), "") << "every " << period_us << " us";
  }
}

// A server ten times as slow is waited for: nothing is given up, nobody reconnects.
TEST(SimCatalogue, SlowIsNotDead) {
  stage s;
  app& a = s.add(0, {create("/", "f", "F")});
  ASSERT_TRUE(s.finish_all());
  ASSERT_TRUE(s.settle());
  const std::uint64_t connections = s.w.at(0).connection_count();
  s.w.server().slow_commits(30 * ns_per_s);
  ASSERT_TRUE(s.play(a, {write("F", 0, "slowly"), fsync("F"), release("F")}));
  EXPECT_EQ(a.notes()[2], "fsync F: ok");
  EXPECT_EQ(s.w.at(0).connection_count(), connections) << "it gave the connection up";
  EXPECT_EQ(harm(s.end()), "");
}

// Statfs and the like while the server is away: they wait and come out right.
TEST(SimCatalogue, ReadingWaitsForTheServer) {
  stage s;
  app& a = s.add(0, {create("/", "f", "F"), write("F", 0, "abc")});
  ASSERT_TRUE(s.finish_all());
  s.w.crash_server();
  ASSERT_TRUE(s.play(a, {statfs(), getattr("f"), read("F", 0, 10), lookup("/", "f"),
                         release("F")}));
  for (const std::string& note : a.notes())
    EXPECT_EQ(note.find("error"), std::string::npos) << note;
  EXPECT_EQ(harm(s.end()), "");
}

// The mount ends while the server recovers, at any of its steps: within its second, and the store
// is whole.
TEST(SimCatalogue, AMountMayEndDuringTheRecovery) {
  for (std::uint64_t at = 0; at < 200; at += 3) {
    stage s;
    app& a = s.add(0, {create("/", "f", "F"), write("F", 0, data(80'000, 'z'))});
    ASSERT_TRUE(s.finish_all());
    s.w.crash_server();
    for (std::uint64_t n = 0; n < at; ++n) s.w.step();
    const std::uint64_t before = s.w.time().now_ns();
    s.w.leave();
    ASSERT_TRUE(s.w.step_until([&s] { return s.w.left(); }, 5 * ns_per_s));
    EXPECT_LE(s.w.time().now_ns() - before, 1100 * ns_per_ms) << "step " << at;
    (void)a;
  }
}

}  // namespace
}  // namespace tangelo::sim
