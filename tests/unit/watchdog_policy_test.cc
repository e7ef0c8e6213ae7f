#include <gtest/gtest.h>
#include <sys/mount.h>

#include <cstring>
#include <set>
#include <vector>

#include "watchdog/child_state.h"
#include "watchdog/config.h"
#include "watchdog/fuse_init.h"
#include "watchdog/mount_options.h"
#include "watchdog/restart_policy.h"
#include "watchdog/mount_file.h"
#include "watchdog/run_dir.h"
#include "watchdog/settings.h"

namespace tangelo {
namespace {

bool within_jitter(std::uint64_t delay, std::uint64_t base) {
  return delay >= base - base / 4 && delay <= base + base / 4;
}

TEST(RestartPolicy, StartsTheFirstTimeAtOnceThenLaterAndLaterUpToFiveSeconds) {
  restart_policy policy(7);
  EXPECT_EQ(policy.next_delay_ns(false, 0), 0u);
  std::uint64_t base = 50 * ns_per_ms;
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(within_jitter(policy.next_delay_ns(false, 0), base)) << i;
    base = std::min(base * 2, restart_policy::delay_ns_max);
  }
}

TEST(RestartPolicy, BeginsAnewOnceTheChildHasProvenItself) {
  restart_policy policy(7);
  for (int i = 0; i < 5; ++i) (void)policy.next_delay_ns(false, 0);
  policy.proven();
  EXPECT_EQ(policy.next_delay_ns(false, 0), 0u);
  EXPECT_TRUE(within_jitter(policy.next_delay_ns(false, 0), 50 * ns_per_ms));
  EXPECT_EQ(policy.next_delay_ns(true, 0), 0u);
  EXPECT_EQ(policy.next_delay_ns(false, 0), 0u);
}

TEST(RestartPolicy, RestartsAWorkingOneSixtyFourTimesAtOnceThenWithShortPauses) {
  restart_policy policy(7);
  for (int i = 0; i < 64; ++i) ASSERT_EQ(policy.next_delay_ns(true, 0), 0u) << i;
  std::uint64_t base = 50 * ns_per_ms;
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(within_jitter(policy.next_delay_ns(true, 10 * ns_per_ms), base)) << i;
    base = std::min(base * 2, restart_policy::working_delay_ns_max);
  }
}

TEST(RestartPolicy, RegainsOneRestartForEachSecondOfLifeAndNoMoreThanAll) {
  restart_policy policy(7);
  for (int i = 0; i < 64; ++i) (void)policy.next_delay_ns(true, 0);
  EXPECT_EQ(policy.next_delay_ns(true, ns_per_s), 0u);
  EXPECT_NE(policy.next_delay_ns(true, ns_per_s / 2), 0u);
  EXPECT_EQ(policy.next_delay_ns(true, ns_per_s / 2), 0u);
  EXPECT_EQ(policy.next_delay_ns(true, ~std::uint64_t{0}), 0u);
  for (int i = 0; i < 63; ++i) ASSERT_EQ(policy.next_delay_ns(true, 0), 0u) << i;
  EXPECT_TRUE(within_jitter(policy.next_delay_ns(true, 0), 50 * ns_per_ms));
}

TEST(RestartPolicy, SpreadsTheRestartsOfManyMounts) {
  std::set<std::uint64_t> delays;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    restart_policy policy(seed);
    for (int i = 0; i < 6; ++i) (void)policy.next_delay_ns(false, 0);
    delays.insert(policy.next_delay_ns(false, 0));
  }
  EXPECT_GT(delays.size(), 45u);
}

TEST(RestartPolicy, CallsALifeWorkWhenItWasLongOrDidSomethingForAWhile) {
  EXPECT_TRUE(restart_policy::has_worked(ns_per_s, false));
  EXPECT_TRUE(restart_policy::has_worked(100 * ns_per_ms, true));
  EXPECT_FALSE(restart_policy::has_worked(100 * ns_per_ms, false));
  EXPECT_FALSE(restart_policy::has_worked(99 * ns_per_ms, true));
}

bool has_process(child_state s) {
  return s == child_state::starting || s == child_state::running || s == child_state::ending;
}

TEST(ChildTable, StartsAProcessExactlyOnRowsThatEnterStartingFromWithoutOne) {
  for (const auto& row : child_transitions.rows()) {
    const bool enters = row.to == child_state::starting && !has_process(row.from);
    const bool begins = row.act == child_action::start || row.act == child_action::adopt;
    EXPECT_EQ(begins, enters) << name_of(row.from) << name_of(row.on);
  }
}

TEST(ChildTable, LosesAProcessOnlyWhenItEndedOrWasNeverStarted) {
  for (const auto& row : child_transitions.rows()) {
    if (!has_process(row.from) || has_process(row.to)) continue;
    EXPECT_TRUE(row.on == child_event::ended || row.on == child_event::ended_for_good ||
                row.on == child_event::start_failed)
        << name_of(row.from) << name_of(row.on);
  }
}

TEST(ChildTable, TellsItsOwnerExactlyWhenItEntersStopped) {
  for (const auto& row : child_transitions.rows()) {
    const bool enters = row.to == child_state::stopped && row.from != child_state::stopped;
    const bool tells = row.act == child_action::gone || row.act == child_action::stop_retry;
    EXPECT_EQ(tells, enters) << name_of(row.from) << name_of(row.on);
  }
}

TEST(ChildTable, StaysPutWhereNothingCanHappen) {
  for (const auto& row : child_transitions.rows())
    if (row.act == child_action::never) { EXPECT_EQ(row.from, row.to); }
}

TEST(ChildTable, NeverStartsOneBesideAnotherInAnyHistoryOfSixEvents) {
  struct walk {
    child_state state;
    int processes;
  };
  std::vector<walk> now{{child_state::stopped, 0}};
  for (int depth = 0; depth < 6; ++depth) {
    std::vector<walk> next;
    for (const walk& w : now)
      for (std::size_t e = 0; e < count_of<child_event>; ++e) {
        const auto& row = child_transitions.at(w.state, static_cast<child_event>(e));
        if (row.act == child_action::never) continue;  // its event cannot come
        const bool begins = row.act == child_action::start || row.act == child_action::adopt;
        int processes = w.processes + (begins ? 1 : 0);
        if (row.on == child_event::ended || row.on == child_event::ended_for_good ||
            row.on == child_event::start_failed)
          --processes;
        ASSERT_EQ(processes, has_process(row.to) ? 1 : 0)
            << name_of(row.from) << " " << name_of(row.on);
        next.push_back({row.to, processes});
      }
    now = std::move(next);
  }
}

TEST(ChildTable, AnUnwantedChildStopsFromEveryState) {
  for (const child_event event : {child_event::unwanted, child_event::dismissed})
    for (std::size_t s = 0; s < count_of<child_state>; ++s) {
      child_state state = child_transitions.at(static_cast<child_state>(s), event).to;
      if (state != child_state::stopped) state = child_transitions.at(state, child_event::ended).to;
      EXPECT_EQ(state, child_state::stopped);
    }
}

TEST(ChildTable, ADismissedProcessIsKilledWithoutGrace) {
  for (const auto& row : child_transitions.rows())
    if (row.on == child_event::dismissed && has_process(row.from)) {
      EXPECT_EQ(row.act, child_action::kill);
      EXPECT_EQ(row.to, child_state::ending);
    }
}

// ---- INIT ---------------------------------------------------------------------------------------

std::vector<std::byte> init_request(std::uint32_t minor, std::uint64_t flags,
                                    std::size_t size = sizeof(fuse_init_in)) {
  fuse_in_header head{};
  head.opcode = FUSE_INIT;
  head.unique = 2;
  head.len = static_cast<std::uint32_t>(sizeof head + size);
  fuse_init_in in{};
  in.major = 7;
  in.minor = minor;
  in.max_readahead = 1u << 30;
  in.flags = static_cast<std::uint32_t>(flags);
  in.flags2 = static_cast<std::uint32_t>(flags >> 32);
  std::vector<std::byte> bytes(sizeof head + size);
  std::memcpy(bytes.data(), &head, sizeof head);
  std::memcpy(bytes.data() + sizeof head, &in, std::min(size, sizeof in));
  return bytes;
}

TEST(FuseInit, AgreesToNothingThatWasNotOffered) {
  for (unsigned bit = 0; bit < 64; ++bit) {
    const std::uint64_t offered = std::uint64_t{1} << bit | FUSE_INIT_EXT;
    const auto reply = answer_init(init_request(45, offered), {});
    ASSERT_TRUE(reply);
    EXPECT_EQ(init_flags(reply->body.flags, reply->body.flags2) & ~offered, 0u) << bit;
  }
}

TEST(FuseInit, LeavesLocksToTheKernelIfToldSo) {
  constexpr std::uint64_t both = FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS;
  for (const bool locks : {true, false}) {
    const auto reply = answer_init(init_request(45, ~std::uint64_t{0}), {}, locks);
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->body.flags & both, locks ? both : 0u);
  }
}

TEST(FuseInit, LeavesAclsAndUmaskToTheServer) {
  const auto reply = answer_init(init_request(45, ~std::uint64_t{0}), {});
  ASSERT_TRUE(reply);
  const std::uint64_t agreed = init_flags(reply->body.flags, reply->body.flags2);
  for (const int bit : {FUSE_ATOMIC_O_TRUNC,
                        FUSE_EXPORT_SUPPORT, FUSE_WRITEBACK_CACHE, FUSE_HANDLE_KILLPRIV,
                        FUSE_NO_OPENDIR_SUPPORT, FUSE_NO_OPEN_SUPPORT})
    EXPECT_EQ(agreed & static_cast<std::uint64_t>(bit), 0u) << bit;
  for (const int bit : {FUSE_POSIX_ACL, FUSE_DONT_MASK, FUSE_HANDLE_KILLPRIV_V2})
    EXPECT_NE(agreed & static_cast<std::uint64_t>(bit), 0u) << bit;
  EXPECT_EQ(agreed & FUSE_HAS_INODE_DAX, 0u);
  EXPECT_NE(agreed & fuse_has_resend, 0u);
  EXPECT_EQ(reply->body.minor, fuse_minor_max);
  EXPECT_EQ(reply->body.max_write, 1u << 20);
  EXPECT_EQ(reply->body.max_pages, 256u);
  EXPECT_EQ(reply->body.max_readahead, 1u << 20);
  EXPECT_EQ(reply->header.unique, 2u);
  EXPECT_EQ(reply->header.len, sizeof *reply);
}

TEST(FuseInit, TakesWritebackOnlyWhereTheMountAsksForIt) {
  cache_policy caching;
  caching.writeback = true;
  const auto reply = answer_init(init_request(45, ~std::uint64_t{0}), caching);
  ASSERT_TRUE(reply);
  EXPECT_NE(reply->body.flags & FUSE_WRITEBACK_CACHE, 0u);
  const auto old = answer_init(init_request(45, FUSE_BIG_WRITES), caching);
  ASSERT_TRUE(old);
  EXPECT_EQ(old->body.flags & FUSE_WRITEBACK_CACHE, 0u) << "it was not offered";
}

TEST(FuseInit, IgnoresTheSecondHalfOfTheFlagsWithoutInitExt) {
  const auto reply = answer_init(init_request(36, fuse_has_resend | FUSE_BIG_WRITES), {});
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->body.flags2, 0u);
  EXPECT_NE(reply->body.flags & FUSE_BIG_WRITES, 0u);
}

TEST(FuseInit, TakesTheShortRequestOfAnOlderKernelAndRefusesWhatIsNoInit) {
  EXPECT_TRUE(answer_init(init_request(35, FUSE_BIG_WRITES, 16), {}));
  EXPECT_FALSE(answer_init(init_request(35, FUSE_BIG_WRITES, 8), {}));
  EXPECT_FALSE(answer_init(init_request(30, FUSE_BIG_WRITES), {}));
  EXPECT_FALSE(answer_init({}, {}));
  std::vector<std::byte> other = init_request(40, 0);
  other[4] = std::byte{3};  // GETATTR
  EXPECT_FALSE(answer_init(other, {}));
}

// ---- options ------------------------------------------------------------------------------------

TEST(MountOptions, AreNosuidAndNodevUnlessToldOtherwise) {
  EXPECT_EQ(parse_mount_options({})->flags, static_cast<unsigned long>(MS_NOSUID | MS_NODEV));
  EXPECT_EQ(parse_mount_options({"suid", "dev"})->flags, 0u);
  EXPECT_EQ(parse_mount_options({"ro", "noatime", "noexec", "x-a.b", "_netdev"})->flags,
            static_cast<unsigned long>(MS_NOSUID | MS_NODEV | MS_RDONLY | MS_NOATIME | MS_NOEXEC));
  EXPECT_EQ(parse_mount_options({"ro", "rw"})->flags,
            static_cast<unsigned long>(MS_NOSUID | MS_NODEV));
}

TEST(MountOptions, RefuseWordsThatNobodyKnows) {
  const auto options = parse_mount_options({"ro", "bogus=1"});
  ASSERT_FALSE(options);
  EXPECT_EQ(options.error().code, exit_code::usage);
  EXPECT_NE(options.error().text.find("bogus=1"), std::string::npos);
}

TEST(MountOptions, TellWhatTheCoreIsStartedWith) {
  const core_options none = parse_mount_options({})->core;
  EXPECT_EQ(none.fabric, "auto");
  EXPECT_EQ(none.busy_poll_us, 0u);
  const core_options all =
      parse_mount_options({"fabric=verbs", "busy_poll=50", "secret_file=/s", "fabric=tcp"})->core;
  EXPECT_EQ(all.fabric, "tcp");
  EXPECT_EQ(all.busy_poll_us, 50u);
  EXPECT_EQ(all.secret_file, "/s");
  for (const char* bad : {"fabric=ib", "fabric=", "busy_poll=", "busy_poll=1us", "busy_poll=10001",
                          "busy_poll=-1", "secret_file=s"}) {
    const auto options = parse_mount_options({bad});
    ASSERT_FALSE(options) << bad;
    EXPECT_NE(options.error().text.find(bad), std::string::npos) << options.error().text;
    EXPECT_FALSE(options.error().hint.empty());
  }
}

TEST(Settings, NeedASourceAndADirectoryThatIsThere) {
  int ready_fd = -1;
  EXPECT_FALSE(parse_settings({}, ready_fd));
  EXPECT_FALSE(parse_settings({"--source", "h:/v"}, ready_fd));
  EXPECT_FALSE(parse_settings({"--source", "h:/v", "--mount-point", "/no/such/dir"}, ready_fd));
  EXPECT_FALSE(parse_settings({"--bogus"}, ready_fd));
  EXPECT_FALSE(parse_settings({"--ready-fd", "1x"}, ready_fd));
  const auto settings = parse_settings(
      {"--ready-fd=5", "--source=h:/v", "--mount-point", "/usr/../tmp/", "--option", "ro"},
      ready_fd);
  ASSERT_TRUE(settings);
  EXPECT_EQ(settings->mount_point, "/tmp");
  EXPECT_EQ(settings->name, "tmp");
  EXPECT_EQ(ready_fd, 5);
}

TEST(MountOptions, TakeASoundPolicyAndRefuseAnyOther) {
  const auto options = parse_mount_options({"reconnect_delay=10", "fast_io_fail_tmo=15"});
  ASSERT_TRUE(options);
  EXPECT_EQ(options->policy, (mount_policy{10, 15, policy_off}));
  const auto unsound = parse_mount_options({"fast_io_fail_tmo=15", "dev_loss_tmo=10"});
  ASSERT_FALSE(unsound);
  EXPECT_NE(unsound.error().text.find("dev_loss_tmo=10"), std::string::npos);
  EXPECT_FALSE(parse_mount_options({"dev_loss_tmo=soon"}));
}

TEST(MountFile, KeepsTheWordsAndTellsTheNewestPolicy) {
  watchdog_settings s;
  s.name = "mnt";
  s.source = "h:/v";
  s.mount_point = "/mnt";
  s.options = *parse_mount_options({"ro", "dev_loss_tmo=60"});
  EXPECT_NE(mount_file_text(s, s.options.policy).find("options = [\"ro\", \"dev_loss_tmo=60\"]"),
            std::string::npos);
  EXPECT_NE(mount_file_text(s, {5, policy_off, policy_off})
                .find("options = [\"ro\", \"reconnect_delay=5\"]"),
            std::string::npos);
}

TEST(Settings, OfAnAdoptionTakeTheMountPointAsItIs) {
  int ready_fd = -1;
  const auto settings =
      parse_settings({"--adopt", "--mount-point", "/no/such//dir/../place/"}, ready_fd);
  ASSERT_TRUE(settings);
  EXPECT_EQ(settings->mount_point, "/no/such/place");
  EXPECT_FALSE(parse_settings({"--adopt", "--mount-point", "place"}, ready_fd));
  EXPECT_FALSE(parse_settings({"--adopt", "--mount-point", "/p", "--source", "h:/v"}, ready_fd));
}

TEST(RunDir, HasOneOwnerAndVanishesWithIt) {
  char root[] = "/tmp/tangelo-unit-XXXXXX";
  ASSERT_NE(::mkdtemp(root), nullptr);
  {
    auto first = run_dir::take(root, "name", 0);
    ASSERT_TRUE(first);
    EXPECT_FALSE(run_dir::take(root, "name", 0));
    EXPECT_TRUE(first->write_mount_file("version = 1\n"));
    EXPECT_TRUE(first->listen_at("control.sock"));
    first->remove();
    EXPECT_TRUE(run_dir::take(root, "name", 0));
  }
  EXPECT_EQ(std::system((std::string("rm -r ") + root).c_str()), 0);
}

TEST(RunDir, WritesTextAsTomlWhateverIsInIt) {
  EXPECT_EQ(toml_text("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000a\"");
}

commit_mode commit_after(const std::vector<std::string>& words) {
  const outcome<mount_options> options = parse_mount_options(words);
  EXPECT_TRUE(options);
  return options ? options->policy.commit : commit_mode::async;
}

TEST(MountOptions, SyncAndDirsyncChooseHowToCommitUnlessCommitDoes) {
  EXPECT_EQ(commit_after({}), commit_mode::async);
  EXPECT_EQ(commit_after({"sync"}), commit_mode::sync);
  EXPECT_EQ(commit_after({"dirsync"}), commit_mode::names);
  EXPECT_EQ(commit_after({"sync", "async"}), commit_mode::async);
  EXPECT_EQ(commit_after({"commit=async", "sync"}), commit_mode::async);
  EXPECT_EQ(commit_after({"commit=names"}), commit_mode::names);
  EXPECT_FALSE(parse_mount_options({"commit=never"}));
  const auto caching = parse_mount_options({"ac=3", "direct_io"});
  ASSERT_TRUE(caching);
  EXPECT_EQ(caching->caching, (cache_policy{3, true, false}));
  EXPECT_TRUE(caching->caching.protection);
  EXPECT_FALSE(parse_mount_options({"protection=off"})->caching.protection);
  EXPECT_FALSE(parse_mount_options({"writeback_cache", "direct_io"}));
  EXPECT_FALSE(parse_mount_options({"ac=long"}));
}

TEST(MountFile, SaysHowToCommitSoThatTheNextReaderKnows) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{}, {"sync"}, {"dirsync", "ro"}, {"commit=names"}})
    for (const commit_mode m : {commit_mode::async, commit_mode::sync, commit_mode::names}) {
      watchdog_settings s;
      s.options = *parse_mount_options(words);
      s.options.policy.commit = m;
      EXPECT_EQ(commit_after(options_in(mount_file_text(s, s.options.policy))), m) << name_of(m);
    }
}

}  // namespace
}  // namespace tangelo
