// tangelo ping: is a server there, and how far away? PING and PONG of the protocol, over TCP: a
// server answers them before it knows who asks, and keeps nothing of it.
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>

#include "base/clock.h"
#include "base/fd.h"
#include "cli/commands.h"
#include "cli/json.h"
#include "cli/quota_text.h"
#include "cli/top_text.h"
#include "protocol/wire.h"

namespace tangelo {

namespace {

constexpr std::uint64_t patience_ns = 2 * ns_per_s;  // for each answer
constexpr int pause_ms = 1000;                       // between two pings
constexpr std::size_t body_size_max =
    wire_message_size_max - wire_header_size - wire_extension_size;

volatile std::sig_atomic_t asked_to_end = 0;
void on_signal(int) { asked_to_end = 1; }

struct server_place {
  std::string host;
  std::string port = std::to_string(default_port);
  std::string text() const {
    return (host.find(':') == host.npos ? host : "[" + host + "]") + ":" + port;
  }
};

// HOST, HOST:PORT, [V6], [V6]:PORT; a /VOLUME behind it is of no interest.
server_place place_of(std::string text) {
  server_place p;
  if (const std::size_t slash = text.find(":/"); slash != text.npos) text.resize(slash);
  const std::size_t colon = text.rfind(':');
  const bool is_bracketed = text.starts_with("[");
  const bool has_port =
      colon != text.npos &&
      (is_bracketed ? colon == text.find(']') + 1 : text.find(':') == colon);
  p.host = text.substr(0, has_port ? colon : text.npos);
  if (has_port) p.port = text.substr(colon + 1);
  if (is_bracketed && p.host.size() >= 2) p.host = p.host.substr(1, p.host.size() - 2);
  return p;
}

struct address_list {
  addrinfo* first = nullptr;
  ~address_list() {
    if (first != nullptr) ::freeaddrinfo(first);
  }
};

bool wait_for(int fd, short events, std::uint64_t until_ns) {
  const std::uint64_t now = system_clock().now_ns();
  if (now >= until_ns || asked_to_end != 0) return false;
  pollfd p{fd, events, 0};
  return ::poll(&p, 1, static_cast<int>((until_ns - now) / ns_per_ms + 1)) == 1;
}

// Connected, or why not.
unique_fd connect_to(const addrinfo& at, std::string& why) {
  unique_fd fd(::socket(at.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) {
    why = std::strerror(errno);
    return {};
  }
  const int on = 1;
  (void)::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (::connect(fd.get(), at.ai_addr, at.ai_addrlen) == 0) return fd;
  int error = errno;
  if (error == EINPROGRESS) {
    socklen_t size = sizeof error;
    if (!wait_for(fd.get(), POLLOUT, system_clock().now_ns() + patience_ns)) error = ETIMEDOUT;
    else if (::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  }
  if (error == 0) return fd;
  why = std::strerror(error);
  return {};
}

bool send_all(int fd, byte_span bytes, std::uint64_t until_ns) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n > 0) bytes = bytes.subspan(static_cast<std::size_t>(n));
    else if (errno != EAGAIN || !wait_for(fd, POLLOUT, until_ns)) return false;
  }
  return true;
}

bool receive_all(int fd, mutable_byte_span into, std::uint64_t until_ns) {
  while (!into.empty()) {
    const ssize_t n = ::recv(fd, into.data(), into.size(), 0);
    if (n > 0) into = into.subspan(static_cast<std::size_t>(n));
    else if (n == 0 || errno != EAGAIN || !wait_for(fd, POLLIN, until_ns)) return false;
  }
  return true;
}

bool send_ping(int fd, std::uint64_t number, std::size_t body_size, std::uint64_t until_ns) {
  std::byte message[wire_message_size_max], extension[wire_extension_size]{};
  const std::vector<std::byte> body(body_size);
  wire_header h;
  h.type = message_type::ping;
  h.xid = number;
  call_extension e;
  e.body_size = static_cast<std::uint32_t>(body_size);
  if (!encode(e, extension)) return false;
  const std::size_t size = build_message(h, extension, {}, body, {}, message);
  return size != 0 && send_all(fd, byte_span(message, size), until_ns);
}

bool receive_pong(int fd, std::uint64_t number, std::uint64_t until_ns) {
  std::byte message[wire_message_size_max];
  const mutable_byte_span whole(message);
  if (!receive_all(fd, whole.first(16), until_ns)) return false;
  std::uint32_t size = 0;
  if (peek_size(whole.first(16), size) != parse_fault::none || size < 16 || size > whole.size() ||
      !receive_all(fd, whole.subspan(16, size - 16), until_ns))
    return false;
  message_view view;
  return parse_message(whole.first(size), view) == parse_fault::none &&
         view.header.type == message_type::pong && view.header.xid == number;
}

struct ping_result {
  std::string failure;  // empty: it answered
  std::uint64_t connect_ns = 0;
  std::uint64_t round_trip_ns = 0;
  std::uint64_t transfer_ns = 0;  // of --size bytes
};

ping_result ping_once(const addrinfo& at, std::uint64_t size) {
  const system_clock time;
  ping_result r;
  const std::uint64_t begin = time.now_ns();
  const unique_fd fd = connect_to(at, r.failure);
  if (!fd) return r;
  r.connect_ns = time.now_ns() - begin;
  const std::uint64_t sent = time.now_ns();
  if (!send_ping(fd.get(), 1, 0, sent + patience_ns) ||
      !receive_pong(fd.get(), 1, sent + patience_ns)) {
    r.failure = "connected, but no Tangelo server answers there";
    return r;
  }
  r.round_trip_ns = time.now_ns() - sent;
  if (size == 0) return r;
  // So many that they hold the bytes; a few are under way at a time, so nobody's memory fills.
  constexpr std::uint64_t under_way_max = 64;
  const std::uint64_t count = (size + body_size_max - 1) / body_size_max;
  const std::uint64_t start = time.now_ns();
  for (std::uint64_t i = 0; i < count + std::min(count, under_way_max); ++i) {
    const std::uint64_t until = time.now_ns() + patience_ns;
    const std::uint64_t part = std::min<std::uint64_t>(size - std::min(size, i * body_size_max),
                                                       body_size_max);
    if ((i < count && !send_ping(fd.get(), i + 2, static_cast<std::size_t>(part), until)) ||
        (i >= std::min(count, under_way_max) &&
         !receive_pong(fd.get(), i - std::min(count, under_way_max) + 2, until))) {
      r.failure = "the connection broke off on the way";
      return r;
    }
  }
  r.transfer_ns = std::max<std::uint64_t>(time.now_ns() - start, 1);
  return r;
}

std::uint64_t bytes_per_second(std::uint64_t size, const ping_result& r) {
  return static_cast<std::uint64_t>(static_cast<double>(size) * ns_per_s /
                                    static_cast<double>(r.transfer_ns));
}

std::string line_of(const std::string& where, unsigned number, std::uint64_t size,
                    const ping_result& r) {
  if (!r.failure.empty()) return fmt::format("{}: {} failed: {}\n", where, number, r.failure);
  std::string out = fmt::format("{}: {} connected in {}, answered in {}", where, number,
                                short_time(r.connect_ns), short_time(r.round_trip_ns));
  if (size != 0)
    out += fmt::format(", took {} in {} ({}/s)", size_text(size), short_time(r.transfer_ns),
                       size_text(bytes_per_second(size, r)));
  return out + "\n";
}

std::string json_of(const std::string& where, unsigned number, std::uint64_t size,
                    const ping_result& r) {
  json_text j;
  j.open_object().key("server").text(where).key("number").number(number);
  j.key("answered").boolean(r.failure.empty());
  if (!r.failure.empty()) return j.key("why").text(r.failure).close_object().str() + "\n";
  j.key("connect_us").number(r.connect_ns / 1000).key("answer_us").number(r.round_trip_ns / 1000);
  if (size != 0) j.key("bytes_per_s").number(bytes_per_second(size, r));
  return j.close_object().str() + "\n";
}

}  // namespace

outcome<void> run_ping(const ping_arguments& words) {
  std::uint64_t size = 0;
  if (!words.size.empty()) {
    const std::optional<std::uint64_t> given = parse_size(words.size);
    constexpr std::uint64_t size_max = std::uint64_t{64} << 20;
    if (!given || *given > size_max)
      return failure{problem{exit_code::usage, "--size " + words.size + ": no size up to 64M",
                             "for example 64K, 10M"}};
    size = *given;
  }
  const server_place place = place_of(words.server);
  address_list list;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  if (const int rc = ::getaddrinfo(place.host.c_str(), place.port.c_str(), &hints, &list.first);
      rc != 0)
    return failure{problem{exit_code::unreachable, words.server + ": " + ::gai_strerror(rc),
                           "write HOST or HOST:PORT"}};
  struct sigaction action {};
  action.sa_handler = on_signal;
  (void)::sigaction(SIGINT, &action, nullptr);
  unsigned answered = 0;
  for (unsigned n = 1; n <= words.count && asked_to_end == 0; ++n) {
    ping_result r;
    for (const addrinfo* at = list.first; at != nullptr; at = at->ai_next) {
      r = ping_once(*at, size);
      if (r.failure.empty()) break;
    }
    if (r.failure.empty()) ++answered;
    std::fputs((words.json ? json_of(place.text(), n, size, r)
                           : line_of(place.text(), n, size, r)).c_str(),
               stdout);
    (void)std::fflush(stdout);
    if (n < words.count && asked_to_end == 0) (void)::poll(nullptr, 0, pause_ms);
  }
  if (answered != 0) return {};
  return failure{problem{exit_code::unreachable, place.text() + ": no answer",
                         "is tangelo-server running there, and does it listen on that address?"}};
}

}  // namespace tangelo
