// packet_socket: what goes in comes out whole, with its descriptors, or the peer is not believed.
#include "base/packet_socket.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cstring>
#include <vector>

namespace tangelo {
namespace {

struct note {
  std::uint64_t a = 0;
  std::uint32_t b = 0;
  std::uint32_t c = 0;
};

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

std::size_t open_fd_count() {
  std::size_t n = 0;
  for (int fd = 0; fd < 256; ++fd) n += is_open(fd) ? 1u : 0u;
  return n;
}

TEST(PacketSocket, DeliversPacketsWholeAndInOrder) {
  socket_pair p = make_socket_pair();
  ASSERT_EQ(send_packet(p.first.get(), note{1, 2, 3}), packet_status::ok);
  ASSERT_EQ(send_packet(p.first.get(), note{4, 5, 6}), packet_status::ok);
  note n;
  ASSERT_EQ(receive_object(p.second.get(), n), packet_status::ok);
  EXPECT_EQ(n.a, 1u);
  ASSERT_EQ(receive_object(p.second.get(), n), packet_status::ok);
  EXPECT_EQ(n.c, 6u);
}

TEST(PacketSocket, NeverWaitsForAPacketNorForRoom) {
  socket_pair p = make_socket_pair();
  note n;
  EXPECT_EQ(receive_object(p.second.get(), n), packet_status::none);
  packet_status s = packet_status::ok;
  for (int i = 0; i < 100'000 && s == packet_status::ok; ++i) s = send_packet(p.first.get(), n);
  EXPECT_EQ(s, packet_status::none);
}

TEST(PacketSocket, SaysClosedWhenThePeerIsGone) {
  socket_pair p = make_socket_pair();
  p.first.reset();
  note n;
  EXPECT_EQ(receive_object(p.second.get(), n), packet_status::closed);
  EXPECT_EQ(send_packet(p.second.get(), n), packet_status::closed);
}

TEST(PacketSocket, DeliversWhatWasSentBeforeThePeerWent) {
  socket_pair p = make_socket_pair();
  ASSERT_EQ(send_packet(p.first.get(), note{7, 0, 0}), packet_status::ok);
  p.first.reset();
  note n;
  EXPECT_EQ(receive_object(p.second.get(), n), packet_status::ok);
  EXPECT_EQ(receive_object(p.second.get(), n), packet_status::closed);
}

TEST(PacketSocket, RefusesAPacketOfAnotherSize) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, sizeof(note) - 1,
                                 sizeof(note) + 1, sizeof(note) * 10}) {
    socket_pair p = make_socket_pair();
    const std::vector<std::byte> bytes(size);
    ASSERT_EQ(::send(p.first.get(), bytes.data(), size, 0), static_cast<ssize_t>(size));
    note n;
    EXPECT_EQ(receive_object(p.second.get(), n), packet_status::closed) << size;
  }
}

TEST(PacketSocket, PassesFourDescriptorsThatCloseOnExec) {
  socket_pair p = make_socket_pair();
  socket_pair given[2] = {make_socket_pair(), make_socket_pair()};
  const int fds[4] = {given[0].first.get(), given[0].second.get(), given[1].first.get(),
                      given[1].second.get()};
  const note n{1, 1, 1};
  ASSERT_EQ(send_packet(p.first.get(), object_bytes(n), fds, 4), packet_status::ok);
  note in;
  packet_fds got;
  ASSERT_EQ(receive_object(p.second.get(), in, &got), packet_status::ok);
  ASSERT_EQ(got.count, 4u);
  for (std::size_t i = 0; i < 4; ++i) {
    struct stat a {}, b {};
    ASSERT_EQ(::fstat(fds[i], &a), 0);
    ASSERT_EQ(::fstat(got.fds[i].get(), &b), 0);
    EXPECT_EQ(a.st_ino, b.st_ino);
    EXPECT_NE(::fcntl(got.fds[i].get(), F_GETFD) & FD_CLOEXEC, 0);
  }
}

TEST(PacketSocket, ClosesDescriptorsThatNobodyAskedFor) {
  socket_pair p = make_socket_pair();
  const std::size_t before = open_fd_count();
  const int fds[2] = {p.first.get(), p.second.get()};
  const note n;
  ASSERT_EQ(send_packet(p.first.get(), object_bytes(n), fds, 2), packet_status::ok);
  note in;
  EXPECT_EQ(receive_object(p.second.get(), in), packet_status::ok);
  EXPECT_EQ(open_fd_count(), before);
}

TEST(PacketSocket, DoesNotSendMoreDescriptorsThanAPacketMayHave) {
  socket_pair p = make_socket_pair();
  const int fds[5] = {0, 0, 0, 0, 0};
  const note n;
  EXPECT_EQ(send_packet(p.first.get(), object_bytes(n), fds, 5), packet_status::closed);
}

// A hostile peer sends more descriptors than we have room for: none of them may stay open.
TEST(PacketSocket, RefusesAndClosesTooManyDescriptors) {
  socket_pair p = make_socket_pair();
  const std::size_t before = open_fd_count();
  note n;
  iovec part{&n, sizeof n};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 9)] = {};
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof(int) * 9);
  const int fds[9] = {0, 0, 0, 0, 0, 0, 0, 0, 0};
  std::memcpy(CMSG_DATA(c), fds, sizeof fds);
  ASSERT_EQ(::sendmsg(p.first.get(), &message, 0), static_cast<ssize_t>(sizeof n));
  {
    packet_fds got;
    EXPECT_EQ(receive_object(p.second.get(), n, &got), packet_status::closed);
  }
  EXPECT_EQ(open_fd_count(), before);
}

}  // namespace
}  // namespace tangelo
