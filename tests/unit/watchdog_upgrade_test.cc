// The upgrade: its table as a whole, and its steps with small scripts as programs.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <fstream>
#include <vector>

#include "watchdog/upgrade.h"

namespace tangelo {
namespace {

bool answers(upgrade_action a) {
  return a == upgrade_action::give_up || a == upgrade_action::roll_back_core ||
         a == upgrade_action::roll_back_front_end;
}

TEST(UpgradeTable, AnswersExactlyWhenItBecomesIdle) {
  for (const auto& row : upgrade_transitions.rows()) {
    const bool ends = row.from != upgrade_state::idle && row.to == upgrade_state::idle;
    EXPECT_EQ(answers(row.act), ends) << name_of(row.from) << " " << name_of(row.on);
  }
}

TEST(UpgradeTable, IsDoneOnlyAfterBothWereTestedDrainedReplacedAndServed) {
  struct walk {
    upgrade_state state;
    std::vector<upgrade_action> done;
  };
  const std::vector<upgrade_action> whole{
      upgrade_action::test,  upgrade_action::drain,             upgrade_action::replace_core,
      upgrade_action::drain, upgrade_action::replace_front_end, upgrade_action::hand_over};
  std::vector<walk> now{{upgrade_state::idle, {}}};
  int finished = 0;
  for (int depth = 0; depth < 7; ++depth) {
    std::vector<walk> next;
    for (const walk& w : now)
      for (std::size_t e = 0; e < count_of<upgrade_event>; ++e) {
        const auto& row = upgrade_transitions.at(w.state, static_cast<upgrade_event>(e));
        walk n{row.to, w.done};
        if (row.act != upgrade_action::none && row.act != upgrade_action::refuse)
          n.done.push_back(row.act);
        if (answers(row.act)) n.done.clear();
        if (row.act == upgrade_action::hand_over) {
          EXPECT_EQ(n.done, whole);
          ++finished;
        }
        next.push_back(std::move(n));
      }
    now = std::move(next);
  }
  EXPECT_GT(finished, 0);
}

TEST(UpgradeTable, GoesOnFromATrialOnlyWhenEverythingServes) {
  for (const auto& row : upgrade_transitions.rows()) {
    const bool trial = row.from == upgrade_state::core_starting ||
                       row.from == upgrade_state::front_end_starting;
    if (!trial || row.to == row.from) continue;
    EXPECT_EQ(row.on == upgrade_event::serving, row.to != upgrade_state::idle)
        << name_of(row.from) << " " << name_of(row.on);
  }
}

TEST(UpgradeTable, LeavesEveryStateWhenItsTimeIsOver) {
  for (std::size_t s = 1; s + 1 < count_of<upgrade_state>; ++s) {
    const auto& row = upgrade_transitions.at(static_cast<upgrade_state>(s), upgrade_event::late);
    EXPECT_NE(row.to, row.from) << name_of(row.from);
  }
}

class UpgradeTest : public ::testing::Test, public upgrade_host {
 protected:
  void SetUp() override {
    char root[] = "/tmp/tangelo-unit-XXXXXX";
    ASSERT_NE(::mkdtemp(root), nullptr);
    root_ = root;
    outcome<std::unique_ptr<loop>> made = loop::make(16);
    ASSERT_TRUE(made);
    loop_ = *std::move(made);
    upgrade_ = std::make_unique<upgrade>(*loop_, *this);
  }
  void TearDown() override { EXPECT_EQ(std::system(("rm -r " + root_).c_str()), 0); }
  program script(const std::string& name, const std::string& body) {
    const std::string path = root_ + "/" + name;
    std::ofstream(path) << "#!/bin/sh\n" << body << "\n";
    ::chmod(path.c_str(), 0755);
    return *open_program(path);
  }
  void begin(const std::string& front_end, const std::string& core, const std::string& watchdog) {
    upgrade_programs next{script("fs", front_end), script("core", core),
                          script("watchdog", watchdog)};
    upgrade_->begin({1, 1}, std::move(next), unique_fd(::dup(0)), {});
  }
  void run_until(upgrade_state state) {
    bool late = false;
    const timer_id deadline = loop_->call_after(20 * ns_per_s, [&late] { late = true; });
    while (!late && upgrade_->state() != state) loop_->run_once();
    loop_->cancel(deadline);
    ASSERT_EQ(upgrade_->state(), state);
  }

  void drain_front_end() noexcept override { did_.push_back("drain"); }
  void resume_front_end() noexcept override { did_.push_back("resume"); }
  replaced_process replace(process_role role, program next) noexcept override {
    did_.push_back(std::string(name_of(role)) + " = " + next.path.substr(next.path.rfind('/') + 1));
    return {std::exchange(role == process_role::core ? core_ : front_end_, std::move(next)), 1000};
  }
  std::string hand_over(program, control_ticket) noexcept override {
    did_.push_back("hand over");
    return "not today";
  }
  void answer_upgrade(control_ticket asker, int error, std::string_view text) noexcept override {
    did_.push_back("answer " + std::to_string(asker.index) + " " + std::to_string(error));
    text_ = text;
  }

  using words = std::vector<std::string>;
  std::string root_;
  std::unique_ptr<loop> loop_;
  std::unique_ptr<upgrade> upgrade_;
  program core_{"/old-core", {}};
  program front_end_{"/old-fs", {}};
  words did_;
  std::string text_;
};

TEST_F(UpgradeTest, ReplacesOneAfterTheOtherAtRest) {
  begin("exit 0", "exit 0", "exit 0");
  run_until(upgrade_state::core_draining);
  upgrade_->drained();
  upgrade_->ended(process_role::core, 1000);  // the old one
  upgrade_->begin({2, 1}, failure{problem{}}, {}, {});
  upgrade_->serving();
  upgrade_->drained();
  upgrade_->ended(process_role::core, 1001);  // it ends with its front end
  upgrade_->ended(process_role::front_end, 1000);
  upgrade_->serving();
  const std::string again = "answer 2 " + std::to_string(EALREADY);
  const std::string end = "answer 1 " + std::to_string(ECANCELED);
  EXPECT_EQ(did_, (words{"drain", "core = core", again, "drain", "front_end = fs", "hand over",
                         "resume", end}));
  EXPECT_EQ(text_, "not today");
}

TEST_F(UpgradeTest, TouchesNothingWhenASelfTestFailsOrTakesTooLong) {
  for (const char* bad : {"exit 3", "exec sleep 1000"}) {
    did_.clear();
    begin("exit 0", "exit 0", bad);
    run_until(upgrade_state::idle);
    EXPECT_EQ(did_, (words{"resume", "answer 1 " + std::to_string(ECANCELED)}));
    EXPECT_NE(text_.find("tangelo-watchdog: its self-test"), std::string::npos) << text_;
  }
}

TEST_F(UpgradeTest, RollsBackACoreThatEnds) {
  begin("exit 0", "exit 0", "exit 0");
  run_until(upgrade_state::core_draining);
  upgrade_->drained();
  upgrade_->ended(process_role::core, 1001);
  EXPECT_EQ(upgrade_->state(), upgrade_state::idle);
  EXPECT_EQ(core_.path, "/old-core");
  EXPECT_EQ(front_end_.path, "/old-fs");
}

TEST_F(UpgradeTest, RollsBackAFrontEndThatDoesNotServeInTime) {
  begin("exit 0", "exit 0", "exit 0");
  run_until(upgrade_state::core_draining);
  upgrade_->drained();
  upgrade_->serving();
  upgrade_->drained();
  EXPECT_NE(front_end_.path, "/old-fs");
  run_until(upgrade_state::idle);
  EXPECT_EQ(front_end_.path, "/old-fs");
  EXPECT_NE(core_.path, "/old-core");
}

}  // namespace
}  // namespace tangelo
