// supervised_child with real processes: small shell scripts under a real loop.
#include <gtest/gtest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <fstream>

#include "watchdog/child.h"
#include "watchdog/proc_view.h"

namespace tangelo {
namespace {

class ChildTest : public ::testing::Test, public child_events {
 protected:
  void SetUp() override {
    outcome<std::unique_ptr<loop>> made = loop::make(16);
    ASSERT_TRUE(made);
    loop_ = *std::move(made);
    use("/bin/sh", "exec sleep 1000");
    child_ = std::make_unique<supervised_child>(process_role::core, child_policy{0, ns_per_s},
                                                *loop_, record_, *this, 7);
  }
  void TearDown() override {
    child_->dismiss();
    run_until([this] { return !child_->exists(); });
  }
  void use(const char* path, std::string script) {
    outcome<program> opened = open_program(path);
    ASSERT_TRUE(opened);
    what_ = std::make_unique<program>(*std::move(opened));
    script_ = std::move(script);
  }
  void run_until(const std::function<bool()>& reached) {
    bool late = false;
    const timer_id deadline = loop_->call_after(10 * ns_per_s, [&late] { late = true; });
    while (!late && !reached()) {
      (void)loop_->call_after(5 * ns_per_ms, [] {});
      loop_->run_once();
    }
    loop_->cancel(deadline);
    ASSERT_TRUE(reached());
  }
  std::uint32_t pid() const { return record_.pid.load(); }

  result<child_process, int> start_child(process_role) noexcept override {
    ++starts_;
    return spawn({*what_, {"-c", script_}, {}, {}, 300});
  }
  child_verdict on_child_ended(process_role, const child_end& end) noexcept override {
    ends_.push_back(end);
    return verdict_;
  }
  void on_child_gone(process_role, int) noexcept override { ++gone_; }

  std::unique_ptr<loop> loop_;
  std::unique_ptr<program> what_;
  std::string script_;
  process_record record_;
  std::unique_ptr<supervised_child> child_;
  child_verdict verdict_ = child_verdict::worked;
  std::vector<child_end> ends_;
  int starts_ = 0;
  int gone_ = 0;
};

TEST_F(ChildTest, IsStartedAgainAtOnceAfterItWorkedAndItsRecordTellsAll) {
  child_->want();
  ASSERT_NE(pid(), 0u);
  const std::uint32_t first = pid();
  EXPECT_EQ(record_.start_ticks.load(), look_at_process(child_->pid())->start_ticks);
  child_->kill_hung();
  EXPECT_TRUE(child_->was_killed());
  run_until([this] { return starts_ == 2; });
  EXPECT_NE(pid(), first);
  EXPECT_FALSE(child_->was_killed());
  EXPECT_EQ(record_.hangs.load(), 1u);
  EXPECT_EQ(record_.restarts.load(), 1u);
  EXPECT_EQ(record_.next_start_ns.load(), 0u);
  EXPECT_EQ(record_.last_status.load(), static_cast<std::uint32_t>(SIGKILL));
}

TEST_F(ChildTest, IsNotStartedAgainWhenTheOwnerSaysSo) {
  verdict_ = child_verdict::finished;
  child_->want();
  child_->kill_now();
  run_until([this] { return gone_ == 1; });
  EXPECT_EQ(child_->state(), child_state::stopped);
  EXPECT_EQ(starts_, 1);
}

TEST_F(ChildTest, BacksOffVisiblyWhenItNeverWorks) {
  verdict_ = child_verdict::failed;
  script_ = "exit 3";
  child_->want();
  run_until([this] { return ends_.size() == 3; });
  EXPECT_EQ(child_->state(), child_state::backing_off);
  EXPECT_GT(record_.next_start_ns.load(), loop_->now_ns());
  EXPECT_EQ(ends_[0].status, 3 << 8);
  child_->dismiss();
  EXPECT_EQ(child_->state(), child_state::stopped);
  EXPECT_EQ(gone_, 1);
  EXPECT_EQ(record_.next_start_ns.load(), 0u);
}

TEST_F(ChildTest, MaySucceedOneThatWasKilledAndDoesNotEnd) {
  child_->want();
  child_->leave_behind();  // it was not killed: nothing happens
  EXPECT_TRUE(ends_.empty());
  child_->kill_now();
  child_->leave_behind();
  EXPECT_EQ(ends_.size(), 1u);
  run_until([this] { return starts_ == 2; });
  // The first one's end, later, disturbs nobody.
  const std::uint32_t second = pid();
  bool waited = false;
  (void)loop_->call_after(100 * ns_per_ms, [&waited] { waited = true; });
  run_until([&waited] { return waited; });
  EXPECT_EQ(pid(), second);
  EXPECT_EQ(ends_.size(), 1u);
  EXPECT_EQ(starts_, 2);
}

TEST_F(ChildTest, AdoptsAStrangerAndLearnsOfItsEnd) {
  // The stranger's parent is a shell that has ended: nobody of ours can wait for it.
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t shell = ::fork();
  if (shell == 0) {
    const pid_t stranger = ::fork();
    if (stranger == 0) {
      ::execl("/bin/sleep", "sleep", "1000", nullptr);
      ::_exit(1);
    }
    ::_exit(::write(ends[1], &stranger, sizeof stranger) > 0 ? 0 : 1);
  }
  pid_t stranger = 0;
  ASSERT_EQ(::read(ends[0], &stranger, sizeof stranger), static_cast<ssize_t>(sizeof stranger));
  ASSERT_EQ(::waitpid(shell, nullptr, 0), shell);
  const auto start_ticks = look_at_process(stranger)->start_ticks;
  result<child_process, int> found = find_process(stranger, start_ticks);
  ASSERT_TRUE(found);
  EXPECT_FALSE(find_process(stranger, start_ticks + 1));
  child_->adopt(*std::move(found));
  EXPECT_EQ(pid(), static_cast<std::uint32_t>(stranger));
  EXPECT_EQ(starts_, 0);
  child_->kill_now();
  run_until([this] { return starts_ == 1; });
  ASSERT_EQ(ends_.size(), 1u);
  EXPECT_EQ(ends_[0].status, unknown_status);
  for (const int fd : ends) ::close(fd);
}

TEST_F(ChildTest, ExecutesTheSameFileAgainAlsoWhenAnotherHasTakenItsPath) {
  char root[] = "/tmp/tangelo-unit-XXXXXX";
  ASSERT_NE(::mkdtemp(root), nullptr);
  const std::string path = std::string(root) + "/shell";
  const auto install = [&path](const char* from) {
    const std::string command = std::string("cp ") + from + " " + path + ".new && mv " + path +
                                ".new " + path;
    ASSERT_EQ(std::system(command.c_str()), 0);
  };
  install("/bin/sh");
  use(path.c_str(), "exit 5");
  install("/bin/false");
  verdict_ = child_verdict::finished;
  child_->want();
  run_until([this] { return gone_ == 1; });
  EXPECT_EQ(ends_[0].status, 5 << 8);
  use(path.c_str(), "exit 5");  // opened anew
  child_->want();
  run_until([this] { return gone_ == 2; });
  EXPECT_EQ(ends_[1].status, 1 << 8);
  EXPECT_EQ(std::system((std::string("rm -r ") + root).c_str()), 0);
}

TEST_F(ChildTest, IsPutWhereItBelongsInTheOrderOfKills) {
  child_->want();
  run_until([this] {  // it sets it itself, before it becomes the program
    int score = 0;
    std::ifstream("/proc/" + std::to_string(pid()) + "/oom_score_adj") >> score;
    return score == 300;
  });
}

}  // namespace
}  // namespace tangelo
