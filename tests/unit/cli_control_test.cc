#include "cli/control.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>

#include "base/packet_socket.h"
#include "base/places.h"

namespace tangelo {
namespace {

constexpr int wait_ms = 5000;

// RUN/mounts/m with whatever sockets a test wants.
class Control : public testing::Test {
 protected:
  Control() {
    char path[] = "/tmp/tangelo-control-test.XXXXXX";
    run_root_ = ::mkdtemp(path);
    for (const std::string& dir : {run_root_ + "/mounts", mount_run_dir(run_root_, "m")})
      ::mkdir(dir.c_str(), 0755);
  }
  ~Control() override {
    for (const char* file : {"/control.sock", "/fs.sock", "/core.sock"})
      ::unlink((mount_run_dir(run_root_, "m") + file).c_str());
    ::rmdir(mount_run_dir(run_root_, "m").c_str());
    ::rmdir((run_root_ + "/mounts").c_str());
    ::rmdir(run_root_.c_str());
  }
  unique_fd listen_at(const char* file) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = mount_run_dir(run_root_, "m") + file;
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    unique_fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(fd.get(), 1), 0);
    return fd;
  }
  std::string run_root_;
  mount_ref mount_{"m", "/m", "h:/v", ::geteuid()};
};

// Answers one question at a socket; what was asked is in `request` once it is destroyed.
class one_answer {
 public:
  one_answer(unique_fd listener, const control_answer& answer, control_request& request,
             bool with_fds = false)
      : listener_(std::move(listener)), thread_([this, answer, &request, with_fds] {
          const unique_fd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
          pollfd p{peer.get(), POLLIN, 0};
          ::poll(&p, 1, wait_ms);
          (void)receive_object(peer.get(), request);  // the test sees what came
          const int fds[] = {listener_.get(), listener_.get()};
          (void)send_packet(peer.get(), object_bytes(answer), fds, with_fds ? 2 : 0);
        }) {}
  ~one_answer() { thread_.join(); }

 private:
  unique_fd listener_;
  std::thread thread_;
};

control_answer answer_of(int error, const char* text) {
  control_answer answer;
  answer.errno_value = error;
  std::strncpy(answer.text.data(), text, answer.text.size() - 1);
  return answer;
}

TEST_F(Control, TheWatchdogIsAskedAndItsAnswerTaken) {
  control_request request;
  outcome<control_reply> reply = failure{problem{}};
  {
    const one_answer watchdog(listen_at("/control.sock"), answer_of(EBUSY, "in\nuse"), request,
                              true);
    policy_change change;
    change.dev_loss_tmo = 60;
    reply = ask(asked::watchdog, run_root_, mount_, {control_version, control_verb::set, change},
                wait_ms);
  }
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->errno_value, EBUSY);
  EXPECT_EQ(reply->text, "in?use");
  EXPECT_TRUE(reply->fs_arena);
  EXPECT_TRUE(reply->shared_arena);
  EXPECT_EQ(request.verb, control_verb::set);
  EXPECT_EQ(request.policy.dev_loss_tmo, 60u);
  EXPECT_EQ(request.policy.reconnect_delay, policy_unchanged);
}

TEST_F(Control, TheFrontEndIsAskedWhereNoWatchdogListens) {
  control_request request;
  outcome<control_reply> reply = failure{problem{}};
  {
    const one_answer front_end(listen_at("/fs.sock"), answer_of(0, ""), request);
    reply = ask_either(run_root_, mount_, control_verb::abort, wait_ms);
  }
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->by, asked::front_end);
  EXPECT_EQ(request.verb, control_verb::abort);
}

TEST_F(Control, AWatchdogThatStandsStillIsNotWaitedForLonger) {
  const unique_fd watchdog = listen_at("/control.sock");  // and never accepts
  control_request request;
  outcome<control_reply> reply = failure{problem{}};
  {
    const one_answer front_end(listen_at("/fs.sock"), answer_of(0, ""), request);
    reply = ask_either(run_root_, mount_, control_verb::arenas, 100);
  }
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->by, asked::front_end);
}

TEST_F(Control, AFullQueueOfAStandingProcessIsNotWaitedFor) {
  const unique_fd watchdog = listen_at("/control.sock");
  for (int i = 0; i < 4; ++i)
    (void)ask_watchdog(run_root_, mount_, control_verb::arenas, 20);  // fills it
  EXPECT_FALSE(ask_watchdog(run_root_, mount_, control_verb::arenas, 20));
}

TEST_F(Control, WithNobodyThereItSaysWhatToDo) {
  const outcome<control_reply> reply = ask_either(run_root_, mount_, control_verb::arenas, wait_ms);
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, exit_code::unreachable);
  EXPECT_NE(reply.error().text.find("no watchdog answers"), std::string::npos);
  EXPECT_NE(reply.error().hint.find("tangelo umount -f /m"), std::string::npos);
  EXPECT_EQ(reply.error().hint.find("--adopt"), std::string::npos);
}

TEST_F(Control, WithSomebodyWhoCouldHandTheMountOverItSaysThat) {
  const unique_fd core = listen_at("/core.sock");
  const outcome<control_reply> reply = ask_either(run_root_, mount_, control_verb::arenas, wait_ms);
  ASSERT_FALSE(reply);
  EXPECT_NE(reply.error().hint.find("tangelo watchdog --adopt /m"), std::string::npos);
}

TEST(Printable, HasNoControlCharacters) {
  EXPECT_EQ(printable("a\x1b[2Jb\nc\x7f"), "a?[2Jb?c?");
  EXPECT_EQ(printable("\xc2\x9b\x31m"), "??1m");
  EXPECT_EQ(printable("\xd1\x8f \xc3\xa4 \xc2\xa0"), "\xd1\x8f \xc3\xa4 \xc2\xa0");
}

TEST_F(Control, AnAnswerOfAnotherVersionIsRefused) {
  control_request request;
  control_answer answer = answer_of(0, "");
  answer.version = control_version + 1;
  const one_answer watchdog(listen_at("/control.sock"), answer, request);
  const outcome<control_reply> reply = ask_either(run_root_, mount_, control_verb::arenas, wait_ms);
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, exit_code::version);
}

TEST_F(Control, WhoIsNotTheMountsUserIsNotAsked) {
  const unique_fd somebody = listen_at("/control.sock");
  mount_.user = ::geteuid() + 1;
  const outcome<control_reply> reply =
      ask_watchdog(run_root_, mount_, control_verb::unmount, wait_ms);
  ASSERT_FALSE(reply);
  EXPECT_NE(reply.error().text.find("another user's"), std::string::npos) << reply.error().text;
  const unique_fd peer(::accept(somebody.get(), nullptr, nullptr));
  char byte = 0;
  EXPECT_EQ(::recv(peer.get(), &byte, 1, MSG_DONTWAIT), 0) << "nothing was said";
}

TEST(Refusal, SaysWhatTheOtherSaidAndElseTheErrno) {
  const mount_ref mount{"m", "/m", "h:/v", 0};
  EXPECT_EQ(refusal(mount, {asked::watchdog, EINVAL, "dev_loss_tmo=0", {}, {}}).text,
            "/m: dev_loss_tmo=0");
  EXPECT_EQ(refusal(mount, {asked::watchdog, EINVAL, "", {}, {}}).code, exit_code::usage);
  EXPECT_EQ(refusal(mount, {asked::watchdog, EBUSY, "", {}, {}}).text,
            "/m: Device or resource busy");
}

}  // namespace
}  // namespace tangelo
