#include "protocol/text_endpoint.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/clock.h"

namespace tangelo {

namespace {

constexpr std::uint64_t patience_ns = 2 * ns_per_s;
constexpr std::size_t request_size_max = 4096;

problem usage(const std::string& where, std::string_view why) {
  return {exit_code::usage, where + ": " + std::string(why),
          "metrics are told to this machine only: 127.0.0.1:PORT or [::1]:PORT. For others put a "
          "proxy in front that asks who they are"};
}

struct parsed_address {
  sockaddr_storage bytes{};
  socklen_t size = 0;
};

std::optional<parsed_address> parse_any(std::string_view where, bool& is_loopback) {
  const std::size_t colon = where.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string host(where.substr(0, colon));
  const std::string_view digits = where.substr(colon + 1);
  std::uint16_t port = 0;
  const auto end = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (digits.empty() || end.ec != std::errc{} || end.ptr != digits.data() + digits.size())
    return std::nullopt;
  if (host == "localhost") host = "127.0.0.1";
  parsed_address out;
  sockaddr_in v4{};
  if (::inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    is_loopback = ntohl(v4.sin_addr.s_addr) >> 24 == 127;
    std::memcpy(&out.bytes, &v4, sizeof v4);
    out.size = sizeof v4;
    return out;
  }
  if (host.size() < 2 || host.front() != '[' || host.back() != ']') return std::nullopt;
  sockaddr_in6 v6{};
  if (::inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &v6.sin6_addr) != 1)
    return std::nullopt;
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  is_loopback = IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
  std::memcpy(&out.bytes, &v6, sizeof v6);
  out.size = sizeof v6;
  return out;
}

outcome<parsed_address> parse(const std::string& where) {
  bool is_loopback = false;
  const std::optional<parsed_address> at = parse_any(where, is_loopback);
  if (!at) return failure{usage(where, "not ADDRESS:PORT")};
  if (!is_loopback) return failure{usage(where, "not an address of the loopback interface")};
  return *at;
}

std::uint16_t port_of(int fd) noexcept {
  sockaddr_storage at{};
  socklen_t size = sizeof at;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size) != 0) return 0;
  sockaddr_in v4{};  // both families have the port at the same place
  std::memcpy(&v4, &at, sizeof v4);
  return ntohs(v4.sin_port);
}

bool wait_for(int fd, short events, std::uint64_t until_ns) {
  const std::uint64_t now = system_clock().now_ns();
  if (now >= until_ns) return false;
  pollfd p{fd, events, 0};
  return ::poll(&p, 1, static_cast<int>((until_ns - now) / ns_per_ms + 1)) == 1;
}

// Up to the empty line; empty if that did not come.
std::string read_request(int fd, std::uint64_t until_ns) {
  std::string request;
  while (request.size() < request_size_max) {
    char bytes[1024];
    const ssize_t n = ::recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n > 0) request.append(bytes, static_cast<std::size_t>(n));
    if (request.find("\r\n\r\n") != std::string::npos) return request;
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return {};
    if (n < 0 && !wait_for(fd, POLLIN, until_ns)) return {};
  }
  return {};
}

void write_all(int fd, std::string_view bytes, std::uint64_t until_ns) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
    else if (errno != EAGAIN && errno != EINTR) return;
    else if (!wait_for(fd, POLLOUT, until_ns)) return;
  }
}

std::string answer(std::string_view status, std::string_view body, bool with_body) {
  std::string out = fmt::format(
      "HTTP/1.0 {}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
      "Content-Length: {}\r\nConnection: close\r\n\r\n",
      status, body.size());
  if (with_body) out += body;
  return out;
}

}  // namespace

outcome<text_endpoint> text_endpoint::open(const std::string& where) {
  const outcome<parsed_address> at = parse(where);
  if (!at) return failure{at.error()};
  const int family = reinterpret_cast<const sockaddr*>(&at->bytes)->sa_family;
  unique_fd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  if (!fd || ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&at->bytes), at->size) != 0 ||
      ::listen(fd.get(), 16) != 0)
    return failure{problem{exit_code::failed, where + ": " + std::strerror(errno),
                           "choose another port for the metrics"}};
  unique_fd stopped(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stopped) return failure{problem{exit_code::failed, "eventfd", {}}};
  const std::uint16_t port = port_of(fd.get());
  return text_endpoint(std::move(fd), std::move(stopped), port);
}

outcome<void> text_endpoint::check(const std::string& where) {
  const outcome<parsed_address> at = parse(where);
  if (!at) return failure{at.error()};
  return {};
}

void text_endpoint::stop() noexcept {
  const std::uint64_t one = 1;
  (void)!::write(stopped_.get(), &one, sizeof one);  // full: it was stopped before
}

void text_endpoint::run(const std::function<std::string()>& text) {
  for (;;) {
    pollfd waits[2] = {{stopped_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    if (::poll(waits, 2, -1) < 0 && errno != EINTR) return;
    if (waits[0].revents != 0) return;
    if (waits[1].revents == 0) continue;
    const unique_fd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (peer) serve(peer, text);
    else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
      (void)::poll(waits, 1, 100);  // who asks waits, and we do not spin
  }
}

void text_endpoint::serve(const unique_fd& peer, const std::function<std::string()>& text) const {
  const std::uint64_t until = system_clock().now_ns() + patience_ns;
  const std::string request = read_request(peer.get(), until);
  if (request.empty()) return;
  const std::string_view line = std::string_view(request).substr(0, request.find("\r\n"));
  const bool is_head = line.starts_with("HEAD ");
  if (!is_head && !line.starts_with("GET "))
    return write_all(peer.get(), answer("405 Method Not Allowed", "GET only\n", true), until);
  const std::string_view rest = line.substr(line.find(' ') + 1);
  const std::string_view path = rest.substr(0, rest.find_first_of(" ?"));
  if (path != "/metrics" && path != "/")
    return write_all(peer.get(), answer("404 Not Found", "see /metrics\n", !is_head), until);
  const std::string body = text();
  write_all(peer.get(), answer("200 OK", body, !is_head), system_clock().now_ns() + patience_ns);
}

}  // namespace tangelo
