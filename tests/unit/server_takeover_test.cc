// Holding a volume, standing by for one, and taking one over.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "server/fence_command.h"
#include "server/held_kv.h"
#include "server/mem_kv.h"
#include "server/standby.h"
#include "server/takeover.h"
#include "server/virtual_workers.h"
#include "server/volume_directory.h"

namespace tangelo {
namespace {

class Takeover : public ::testing::Test {
 protected:
  Takeover() {
    char name[] = "/tmp/tangelo-takeover-XXXXXX";
    EXPECT_NE(::mkdtemp(name), nullptr);
    directory_ = std::string(name) + "/v";
    EXPECT_TRUE(make_volume(directory_, "v", 1).has_value());
  }
  ~Takeover() override { std::filesystem::remove_all(directory_ + "/.."); }

  // A lock that stays, with a record of a holder on another machine: a shared filesystem.
  unique_fd hold_from_afar() {
    const std::string path = lock_path(directory_, 0);
    unique_fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    EXPECT_EQ(::flock(fd.get(), LOCK_EX | LOCK_NB), 0);
    std::ofstream(path) << "4711 elsewhere 99\n";
    return fd;
  }
  outcome<takeover_report> take(const fence& f) { return take_over(directory_, f, 100); }
  static outcome<int> well(const volume_holder&) { return 0; }
  std::string directory_;
};

TEST_F(Takeover, IsRefusedWhenNobodyHoldsIt) {
  EXPECT_NE(take(well).error().text.find("nobody holds it"), std::string::npos);
}

TEST_F(Takeover, ChangesNothingWhenTheFenceFails) {
  const unique_fd held = hold_from_afar();
  const outcome<takeover_report> r = take([](const volume_holder& h) -> outcome<int> {
    EXPECT_EQ(h.pid, 4711u);
    EXPECT_EQ(h.host, "elsewhere");
    return 3;
  });
  ASSERT_FALSE(r.has_value());
  EXPECT_NE(r.error().text.find("exit code 3"), std::string::npos);
  EXPECT_EQ(read_superblock(directory_)->lock_generation, 0u);
}

TEST_F(Takeover, IsRefusedWhileTheHolderRunsHere) {
  const outcome<volume_hold> held = hold_volume(directory_);
  ASSERT_TRUE(held.has_value());
  const outcome<takeover_report> r = take(well);
  ASSERT_FALSE(r.has_value());
  EXPECT_NE(r.error().text.find("still runs"), std::string::npos);
  EXPECT_EQ(read_superblock(directory_)->lock_generation, 0u);
}

TEST_F(Takeover, FindsTheLockFreeBehindItsFence) {
  std::optional<volume_hold> held = *hold_volume(directory_);
  const outcome<takeover_report> r = take([&held](const volume_holder&) -> outcome<int> {
    held.reset();
    return 0;
  });
  ASSERT_TRUE(r.has_value()) << r.error().text;
  EXPECT_EQ(r->how, takeover_end::freed);
  EXPECT_EQ(r->lock_generation, 0u);
}

TEST_F(Takeover, RaisesTheLockGenerationWhenTheLockStays) {
  const unique_fd held = hold_from_afar();
  const outcome<takeover_report> r = take(well);
  ASSERT_TRUE(r.has_value()) << r.error().text;
  EXPECT_EQ(r->how, takeover_end::bypassed);
  const outcome<volume_hold> next = hold_volume(directory_);
  ASSERT_TRUE(next.has_value()) << next.error().text;
  EXPECT_EQ(next->block.lock_generation, 1u);
  EXPECT_TRUE(std::filesystem::exists(directory_ + "/lock.1"));
  EXPECT_FALSE(hold_volume(directory_).has_value());  // it has one holder as before
}

// Asleep in a system call.
bool is_asleep(pid_t thread) {
  std::ifstream in("/proc/self/task/" + std::to_string(thread) + "/stat");
  std::string all((std::istreambuf_iterator<char>(in)), {});
  const std::size_t name_end = all.rfind(')');
  return name_end != all.npos && all.compare(name_end, 3, ") S") == 0;
}

TEST_F(Takeover, IsNotNeededFromAHolderThatWasJustKilled) {
  const pid_t gone = ::fork();
  if (gone == 0) ::_exit(0);
  ASSERT_EQ(::waitpid(gone, nullptr, 0), gone);
  unique_fd held = hold_from_afar();
  std::ofstream(lock_path(directory_, 0)) << gone << ' ' << this_host() << " 99\n";
  std::atomic<pid_t> taker{0};
  std::atomic<bool> ended{false};
  bool got = false;
  std::thread t([&] {
    taker = ::gettid();
    got = hold_volume(directory_).has_value();
    ended = true;
  });
  while (!ended && !is_asleep(taker)) std::this_thread::yield();
  held.reset();
  t.join();
  EXPECT_TRUE(got);
}

TEST_F(Takeover, AHolderThatWakesUpFindsItsVolumeGone) {
  std::optional<volume_hold> old = *hold_volume(directory_);
  EXPECT_TRUE(old->still_held());
  std::ofstream(lock_path(directory_, 0)) << "4711 elsewhere 99\n";
  ASSERT_EQ(take(well)->how, takeover_end::bypassed);
  EXPECT_FALSE(old->still_held());
  flush_log log;
  int lost = 0;
  const std::unique_ptr<kv_store> kv = make_held_kv(
      std::make_unique<mem_kv>(&log), [&old] { return old->still_held(); }, [&lost] { ++lost; });
  kv_batch batch;
  batch.put(column::meta, "a", "b");
  EXPECT_EQ(kv->write(batch), error_code::ok);
  EXPECT_NE(kv->sync(), error_code::ok);
  EXPECT_EQ(lost, 1);
  EXPECT_TRUE(log.empty());
}

TEST_F(Takeover, TheFenceCommandKnowsWhomToFence) {
  const volume_holder h{4711, "elsewhere", 99};
  const std::string test =
      "test $TANGELO_HOLDER_PID = 4711 && test $TANGELO_HOLDER_HOST = elsewhere && "
      "test $TANGELO_VOLUME_DIR = /v && exit 5";
  EXPECT_EQ(*run_fence_command(test, "/v", h), 5);
  EXPECT_EQ(*run_fence_command("kill -9 $$", "/v", h), 128 + SIGKILL);
}

// A standby over a volume that is another's until `free_`.
class Standby : public ::testing::Test {
 protected:
  Standby() {
    standby_actions a;
    a.open = [this](const volume_config&) -> outcome<std::optional<opened_store>> {
      ++looks_;
      if (broken_) return failure{problem{exit_code::store, "broken", "mend it"}};
      if (!free_) return std::optional<opened_store>();
      return std::optional<opened_store>(opened_store{});
    };
    a.holder = [](const volume_config&) { return std::string("process 1 on h"); };
    a.serve = [this](const volume_config& v, opened_store) -> outcome<bool> {
      served_.push_back(v.name);
      return true;
    };
    standby_ = std::make_unique<standby>(time_, worker_, a);
  }
  virtual_scheduler time_;
  virtual_workers worker_{time_};
  bool free_ = false, broken_ = false;
  int looks_ = 0;
  std::vector<std::string> served_;
  std::unique_ptr<standby> standby_;
};

TEST_F(Standby, ServesAsSoonAsTheVolumeIsFree) {
  standby_->wait_for({"a", "/a"});
  time_.advance(10 * ns_per_s);
  EXPECT_TRUE(served_.empty());
  EXPECT_EQ(standby_->waiting(), 1u);
  EXPECT_NEAR(looks_, 100, 2);
  free_ = true;
  time_.advance(standby::look_period_ns + ns_per_ms);
  EXPECT_EQ(served_, std::vector<std::string>{"a"});
  EXPECT_EQ(standby_->waiting(), 0u);
  const int looks = looks_;
  time_.advance(10 * ns_per_s);
  EXPECT_EQ(looks_, looks);
  EXPECT_EQ(served_.size(), 1u);
}

TEST_F(Standby, TriesAVolumeThatCannotBeOpenedMoreSlowly) {
  broken_ = true;
  standby_->wait_for({"a", "/a"});
  time_.advance(20 * ns_per_s);
  EXPECT_NEAR(looks_, 4, 1);
  broken_ = false, free_ = true;
  time_.advance(standby::retry_period_ns);
  EXPECT_EQ(served_.size(), 1u);
}

TEST_F(Standby, TakesNothingOnceItIsStopped) {
  standby_->wait_for({"a", "/a"});
  time_.advance(ns_per_s);
  standby_->stop();
  free_ = true;
  time_.advance(ns_per_s);
  EXPECT_TRUE(served_.empty());
}

}  // namespace
}  // namespace tangelo
