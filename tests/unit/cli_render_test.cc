#include <gtest/gtest.h>

#include <string>

#include "base/clock.h"
#include "cli/arguments.h"
#include "cli/json.h"
#include "cli/render.h"

namespace tangelo {
namespace {

TEST(JsonText, EscapesWhateverAnotherProcessWrote) {
  json_text j;
  j.open_object().key("a").text("x\"\\\n\xff\x01y").key("b").open_list().number(1).boolean(true);
  j.open_object().close_object().close_list().key("c").number(~std::uint64_t{0}).close_object();
  EXPECT_EQ(j.str(),
            "{\"a\":\"x\\\"\\\\\\u000a\\u00ff\\u0001y\",\"b\":[1,true,{}],"
            "\"c\":18446744073709551615}");
}

TEST(DurationText, IsShort) {
  EXPECT_EQ(duration_text(0), "0ms");
  EXPECT_EQ(duration_text(850 * ns_per_ms), "850ms");
  EXPECT_EQ(duration_text(12'340 * ns_per_ms), "12.3s");
  EXPECT_EQ(duration_text(250 * ns_per_s), "4m10s");
  EXPECT_EQ(duration_text(11'520 * ns_per_s), "3h12m");
  EXPECT_EQ(duration_text(187'200 * ns_per_s), "2d4h");
}

mount_view serving_mount() {
  mount_view m;
  m.mount = {"mnt", "/mnt", "h:/v"};
  m.supervised = true;
  m.known = true;
  m.path.state = name_of(path_state::running);
  m.core_attached = true;
  m.core.import_state = "FULL";
  for (std::size_t i = 0; i < process_role_count; ++i)
    m.processes[i].role = name_of(static_cast<process_role>(i));
  return m;
}

TEST(Status, SaysInOneWordHowAMountIs) {
  mount_view m = serving_mount();
  EXPECT_EQ(state_of(m), "SERVING");
  m.core.import_state = "CONNECTING";
  EXPECT_EQ(state_of(m), "WAITING");
  m.core.import_state = "IDLE";
  EXPECT_EQ(state_of(m), "SERVING");
  m.core_attached = false;
  EXPECT_EQ(state_of(m), "WAITING");
  m.path.state = name_of(path_state::fail_fast);
  EXPECT_EQ(state_of(m), "FAILING");
  m.supervised = false;
  EXPECT_EQ(state_of(m), "UNSUPERVISED");
}

TEST(Status, SaysWhyThereIsNoConnectionOnlyWhileThereIsNone) {
  mount_view m = serving_mount();
  m.core.last_down_reason = "refused";
  EXPECT_EQ(status_text({m}).find("last said"), std::string::npos);
  m.core.import_state = "IDLE";
  EXPECT_EQ(status_text({m}).find("last said"), std::string::npos);
  m.core.import_state = "DISCON";
  EXPECT_NE(status_text({m}).find("last said  refused"), std::string::npos);
}

TEST(Status, TellsOfACoreThatWillBeStarted) {
  mount_view m = serving_mount();
  m.processes[2].restarts = 3;
  m.processes[2].last_status = 9;
  m.processes[2].next_start_in_ns = 250 * ns_per_ms;
  const std::string text = status_text({m});
  EXPECT_NE(text.find("not running, starts again in 250ms, restarts 3, last ended by signal 9 "
                      "(Killed)"),
            std::string::npos)
      << text;
}

TEST(Status, OfAUsersMountSaysWhatThatMeans) {
  mount_view m = serving_mount();
  EXPECT_EQ(status_text({m}).find("unprivileged"), std::string::npos);
  m.mount.user = 1000;
  EXPECT_NE(status_text({m}).find("user 1000: what the front end knows is kept from accidents"),
            std::string::npos)
      << status_text({m});
  EXPECT_NE(status_json({m}).find("\"unprivileged\":true,\"user\":1000"), std::string::npos);
}

TEST(Status, OfAMountWhoseNameHoldsEscapesIsOneLineWithoutThem) {
  mount_view m = serving_mount();
  m.mount.mount_point = "/m\n\x1b[2J";
  m.mount.source = "h:/v\nforged";
  EXPECT_EQ(status_text({m}).find("/m??[2J  h:/v?forged  SERVING\n"), 0u);
  EXPECT_EQ(ops_text({{m.mount, {}}, {m.mount, {}}}).find("/m??[2J:\n"), 0u);
}

TEST(Status, OfAnUnsupervisedMountShowsWhatIsKnown) {
  mount_view m = serving_mount();
  m.supervised = false;
  m.why_not = "no watchdog answers";
  m.processes[1].pid = 4711;
  EXPECT_NE(status_text({m}).find("UNSUPERVISED\n  no watchdog answers\n"), std::string::npos);
  EXPECT_NE(status_text({m}).find("pid 4711"), std::string::npos);
  EXPECT_NE(status_json({m}).find("\"supervised\":false,\"why\":\"no watchdog answers\""),
            std::string::npos);
  EXPECT_NE(status_json({m}).find("\"pid\":4711"), std::string::npos);
  m.known = false;
  EXPECT_EQ(status_text({m}).find("pid 4711"), std::string::npos);
  EXPECT_EQ(status_json({m}).find("processes"), std::string::npos);
}

TEST(Status, ShowsWhatIsNotDurableAndWhatWasLost) {
  mount_view m = serving_mount();
  EXPECT_NE(status_text({m}).find("  commit     async\n"), std::string::npos);
  EXPECT_EQ(status_text({m}).find("LOST"), std::string::npos);
  EXPECT_EQ(status_text({m}).find("EVICTED"), std::string::npos);
  m.policy.commit = commit_mode::names;
  m.lease_left_ns = 12 * ns_per_s;
  m.core.evictions = 2;
  m.core.eviction_text = "silent for 150 s";
  m.counters[0] = {"replays_kept", 3};
  m.counters[1] = {"replay_bytes", 8192};
  m.counters[2] = {"lost_changes", 7};
  m.counters[3] = {"lost_files", 3};
  m.counters[4] = {"losses_told", 1};
  const std::string text = status_text({m});
  EXPECT_NE(text.find("  commit     names, 3 changes answered and not yet durable (8192 bytes), "
                      "lease left 12.0s\n"),
            std::string::npos);
  EXPECT_NE(text.find("  EVICTED    2 times by the server, last: silent for 150 s\n"),
            std::string::npos);
  EXPECT_NE(text.find("  LOST       7 answered changes; the mount's log names them\n"
                      "             3 open files and directories, 1 of them told by fsync or "
                      "close\n"),
            std::string::npos)
      << text;
  m.core.evictions = 1;
  EXPECT_NE(status_text({m}).find("  EVICTED    once by the server, last: silent for 150 s\n"),
            std::string::npos);
  m.core.evictions = 2;
  const std::string json = status_json({m});
  EXPECT_NE(json.find("\"evictions\":2,\"eviction_text\":\"silent for 150 s\""),
            std::string::npos);
  EXPECT_NE(json.find("\"commit\":\"names\""), std::string::npos);
  EXPECT_NE(json.find("\"lease_left_ms\":12000"), std::string::npos);
}

TEST(Status, ShowsWhatDidNotFitItsGuardsIfAnythingEverDid) {
  mount_view m = serving_mount();
  EXPECT_EQ(status_text({m}).find("protection"), std::string::npos);
  m.core.mismatches_healed = 2;
  m.core.mismatches_reported = 1;
  m.core.mismatch_text = "inode 0x2a, block 7";
  EXPECT_NE(status_text({m}).find("  protection 2 healed, 1 failed; last: inode 0x2a, block 7\n"),
            std::string::npos);
  EXPECT_NE(status_json({m}).find("\"protection_healed\":2,\"protection_errors\":1,"
                                  "\"protection_last\":\"inode 0x2a, block 7\""),
            std::string::npos);
}

TEST(Status, ShowsThePathAndThePolicyOnlyWhenThereIsSomethingToSay) {
  mount_view m = serving_mount();
  EXPECT_EQ(status_text({m}).find("path "), std::string::npos);
  EXPECT_EQ(status_text({m}).find("policy"), std::string::npos);
  EXPECT_EQ(status_text({m}).find("draining"), std::string::npos);
  m.path = {name_of(path_state::blocked), 12'300 * ns_per_ms, true};
  m.policy.dev_loss_tmo = 60;
  const std::string text = status_text({m});
  EXPECT_NE(text.find("  path       blocked for 12.3s: operations wait\n"), std::string::npos);
  EXPECT_NE(text.find("  policy     dev_loss_tmo 60\n"), std::string::npos);
  EXPECT_NE(text.find("  draining   "), std::string::npos);
  const std::string json = status_json({m});
  EXPECT_NE(json.find("\"path\":{\"state\":\"blocked\",\"for_ms\":12300,\"draining\":true}"),
            std::string::npos);
  EXPECT_NE(json.find("\"policy\":{\"reconnect_delay\":\"off\",\"fast_io_fail_tmo\":\"off\","
                      "\"dev_loss_tmo\":60,\"commit\":\"async\",\"log\":\"default\"}"),
            std::string::npos);
}

TEST(Status, CountsHangsAndResentRequests) {
  mount_view m = serving_mount();
  EXPECT_EQ(status_text({m}).find("resent"), std::string::npos);
  m.processes[1].hangs = 2;
  m.counters[0] = {"resent", 17};
  const std::string text = status_text({m});
  EXPECT_NE(text.find("replaced 2 times because it stood still"), std::string::npos);
  EXPECT_NE(text.find("17 resent"), std::string::npos);
  EXPECT_NE(status_json({m}).find("\"hangs\":2"), std::string::npos);
}

TEST(Policy, IsShownInOneLine) {
  EXPECT_EQ(policy_line({}), "all off: operations wait for ever, commit async");
  EXPECT_EQ(policy_line({5, 15, policy_off}),
            "reconnect_delay 5, fast_io_fail_tmo 15, commit async");
  mount_view m = serving_mount();
  EXPECT_EQ(status_text({m}).find("  log "), std::string::npos);
  m.policy.log = log_level::warning;
  EXPECT_NE(status_text({m}).find("  log        warning\n"), std::string::npos);
  EXPECT_EQ(policy_line(m.policy),
            "all off: operations wait for ever, commit async, log warning");
}

TEST(Arguments, SplitTheWordsOfOptions) {
  EXPECT_EQ(split_options({"ro,noatime", "", ",suid,"}),
            (std::vector<std::string>{"ro", "noatime", "suid"}));
}

outcome<arguments> parse(std::vector<std::string> words) {
  words.insert(words.begin(), "tangelo");
  std::vector<char*> argv;
  for (std::string& w : words) argv.push_back(w.data());
  return parse_arguments(static_cast<int>(argv.size()), argv.data());
}

TEST(Arguments, BecomeOneCommand) {
  const auto mount = parse({"mount", "-o", "ro,noexec", "h:/v", "/mnt"});
  ASSERT_TRUE(mount);
  EXPECT_EQ(std::get<mount_arguments>(*mount).directory, "/mnt");
  EXPECT_EQ(std::get<mount_arguments>(*mount).options.size(), 2u);
  const auto ops = parse({"ops", "--json"});
  ASSERT_TRUE(ops);
  EXPECT_TRUE(std::get<look_arguments>(*ops).ops);
  EXPECT_TRUE(std::get<look_arguments>(*ops).json);
  const auto umount = parse({"umount", "-l", "/mnt"});
  ASSERT_TRUE(umount);
  EXPECT_TRUE(std::get<umount_arguments>(*umount).lazy);
  EXPECT_FALSE(std::get<umount_arguments>(*umount).force);
  const auto set = parse({"set", "/mnt", "dev_loss_tmo=60", "fast_io_fail_tmo=off"});
  ASSERT_TRUE(set);
  EXPECT_EQ(std::get<set_arguments>(*set).words.size(), 2u);
  EXPECT_TRUE(std::holds_alternative<abort_arguments>(*parse({"abort", "/mnt"})));
  EXPECT_TRUE(std::holds_alternative<upgrade_arguments>(*parse({"upgrade", "/mnt"})));
  const auto adopt = parse({"watchdog", "--adopt", "/mnt"});
  ASSERT_TRUE(adopt);
  EXPECT_EQ(std::get<adopt_arguments>(*adopt).mount, "/mnt");
}

TEST(Arguments, AreRefusedAsUsage) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{}, {"bogus"}, {"mount", "h:/v"}, {"status", "--bogus"},
        {"umount", "-l", "-f", "/mnt"}, {"watchdog", "/mnt"}, {"abort"}, {"set"}}) {
    const auto parsed = parse(words);
    ASSERT_FALSE(parsed);
    EXPECT_EQ(parsed.error().code, exit_code::usage);
  }
}

TEST(Arguments, HelpAndVersionAreNoFailure) {
  for (const char* word : {"--help", "--version"}) {
    const auto said = parse({word});
    ASSERT_TRUE(said);
    EXPECT_FALSE(std::get<said_arguments>(*said).text.empty());
  }
  const auto said = parse({"set", "--help"});
  ASSERT_TRUE(said);
  EXPECT_NE(std::get<said_arguments>(*said).text.find("fast_io_fail_tmo=N"), std::string::npos);
}

}  // namespace
}  // namespace tangelo
