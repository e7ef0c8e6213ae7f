#include "protocol/control_server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/packet_socket.h"

namespace tangelo {
namespace {

// A server on an abstract address of its own, and clients that it does not know.
class ControlServer : public testing::Test, public control_events {
 protected:
  ControlServer() {
    outcome<std::unique_ptr<loop>> made = loop::make(64);
    if (made) loop_ = *std::move(made);
    static int made_before = 0;  // a ring lets go of its files a while after its end
    const std::string name =
        "tangelo-test-" + std::to_string(::getpid()) + "-" + std::to_string(made_before++);
    address_.sun_family = AF_UNIX;
    std::memcpy(address_.sun_path + 1, name.data(), name.size());
    unique_fd listener(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    EXPECT_EQ(::bind(listener.get(), as_sockaddr(), sizeof address_), 0);
    EXPECT_EQ(::listen(listener.get(), 64), 0);
    server_ = std::make_unique<control_server>(*loop_, *this);
    server_->open(std::move(listener));
  }

  void on_control(const control_request& request, control_ticket ticket) noexcept override {
    verbs_.push_back(request.verb);
    if (keeps_) {
      kept_ = server_->answer_and_keep(ticket, answer_of(0, "kept"), {});
      return;
    }
    server_->answer(ticket, answer_of(EBUSY, "no"));
    server_->answer(ticket, answer_of(0, "a second answer goes nowhere"));
  }

  const sockaddr* as_sockaddr() const { return reinterpret_cast<const sockaddr*>(&address_); }
  unique_fd connect() {
    unique_fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    EXPECT_EQ(::connect(fd.get(), as_sockaddr(), sizeof address_), 0);
    return fd;
  }
  // Turns the loop until `fd` has something to say.
  packet_status answer_on(int fd, control_answer& answer) {
    for (int turn = 0; turn < 100; ++turn) {
      const packet_status got = receive_object(fd, answer);
      if (got != packet_status::none) return got;
      loop_->post([] {});
      loop_->run_once();
    }
    return packet_status::none;
  }

  std::unique_ptr<loop> loop_;
  std::unique_ptr<control_server> server_;
  sockaddr_un address_{};
  std::vector<control_verb> verbs_;
  bool keeps_ = false;
  unique_fd kept_;
};

TEST_F(ControlServer, AnswersOnceAndClosesTheConnection) {
  const unique_fd client = connect();
  control_request request;
  request.verb = control_verb::abort;
  ASSERT_EQ(send_packet(client.get(), request), packet_status::ok);
  control_answer answer;
  ASSERT_EQ(answer_on(client.get(), answer), packet_status::ok);
  EXPECT_EQ(answer.errno_value, EBUSY);
  EXPECT_STREQ(answer.text.data(), "no");
  EXPECT_EQ(answer_on(client.get(), answer), packet_status::closed);
  EXPECT_EQ(verbs_, std::vector{control_verb::abort});
}

TEST_F(ControlServer, ClosesWhatSaysSomethingElse) {
  const char garbage[] = "GET / HTTP/1.0\r\n\r\n";
  control_request wrong_version;
  wrong_version.version = control_version + 1;
  for (const byte_span said : {byte_span(object_bytes(garbage)), object_bytes(wrong_version)}) {
    const unique_fd client = connect();
    ASSERT_EQ(send_packet(client.get(), said), packet_status::ok);
    control_answer answer;
    EXPECT_EQ(answer_on(client.get(), answer), packet_status::closed);
  }
  EXPECT_TRUE(verbs_.empty());
}

TEST_F(ControlServer, TurnsAwayWhoComesWhenAllPlacesAreTakenAndServesThoseThatHaveOne) {
  std::vector<unique_fd> clients;
  for (std::uint32_t i = 0; i < control_server::client_count_max; ++i) clients.push_back(connect());
  control_answer answer;
  const unique_fd late = connect();
  EXPECT_EQ(answer_on(late.get(), answer), packet_status::closed);
  control_request request;
  request.verb = control_verb::arenas;
  ASSERT_EQ(send_packet(clients.back().get(), request), packet_status::ok);
  EXPECT_EQ(answer_on(clients.back().get(), answer), packet_status::ok);
}

TEST_F(ControlServer, HandsOverAConnectionThatIsToGoOn) {
  keeps_ = true;
  const unique_fd client = connect();
  control_request request;
  request.verb = control_verb::adopt;
  ASSERT_EQ(send_packet(client.get(), request), packet_status::ok);
  control_answer answer;
  ASSERT_EQ(answer_on(client.get(), answer), packet_status::ok);
  EXPECT_STREQ(answer.text.data(), "kept");
  ASSERT_TRUE(kept_);
  ASSERT_EQ(send_packet(kept_.get(), supervise_packet{supervise_message::ready, 7}),
            packet_status::ok);
  supervise_packet packet;
  EXPECT_EQ(receive_object(client.get(), packet), packet_status::ok);
  EXPECT_EQ(packet.pid, 7u);
}

TEST(ControlAnswer, CutsATextThatDoesNotFit) {
  const control_answer answer = answer_of(1, std::string(5000, 'x'));
  EXPECT_EQ(std::strlen(answer.text.data()), answer.text.size() - 1);
}

}  // namespace
}  // namespace tangelo
