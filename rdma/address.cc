#include "rdma/address.h"

#include <netdb.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

namespace tangelo {

namespace {

struct host_port {
  std::string host;
  std::string port;
};

std::optional<host_port> split(std::string_view address) {
  const std::size_t colon = address.rfind(':');
  if (colon == std::string_view::npos || colon + 1 == address.size()) return std::nullopt;
  std::string_view host = address.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  return host_port{std::string(host), std::string(address.substr(colon + 1))};
}

std::vector<socket_address> look_up(const host_port& name, int flags) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const char* host = name.host.empty() ? nullptr : name.host.c_str();
  if (::getaddrinfo(host, name.port.c_str(), &hints, &found) != 0) return {};
  std::vector<socket_address> out;
  for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
    if (a->ai_addrlen > sizeof(sockaddr_storage)) continue;
    out.emplace_back();
    std::memcpy(&out.back().storage, a->ai_addr, a->ai_addrlen);
    out.back().size = a->ai_addrlen;
  }
  ::freeaddrinfo(found);
  return out;
}

}  // namespace

std::optional<socket_address> address_to_listen(std::string_view address) {
  const std::optional<host_port> name = split(address);
  if (!name) return std::nullopt;
  const std::vector<socket_address> found = look_up(*name, AI_PASSIVE);
  return found.empty() ? std::nullopt : std::optional(found.front());
}

std::string text_of_address(const socket_address& a) {
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  if (::getnameinfo(a.raw(), a.size, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return "?";
  const bool v6 = a.storage.ss_family == AF_INET6;
  return (v6 ? "[" + std::string(host) + "]:" : std::string(host) + ":") + port;
}

std::optional<socket_address> port_beside(const socket_address& a, int by) {
  socket_address out = a;
  in_port_t& port = a.storage.ss_family == AF_INET6
                        ? reinterpret_cast<sockaddr_in6&>(out.storage).sin6_port
                        : reinterpret_cast<sockaddr_in&>(out.storage).sin_port;
  if (port == 0) return out;
  const int moved = ntohs(port) + by;
  if (moved < 1 || moved > 65535) return std::nullopt;
  port = htons(static_cast<in_port_t>(moved));
  return out;
}

resolver::~resolver() {
  for (lookup& l : lookups_) l.thread.join();
}

void resolver::find(std::string_view address, answer f) {
  const std::optional<host_port> name = split(address);
  const std::vector<socket_address> numeric =
      name ? look_up(*name, AI_NUMERICHOST) : std::vector<socket_address>();
  if (!name || !numeric.empty()) {
    loop_.post([f, numeric] { f(numeric); });
    return;
  }
  std::erase_if(lookups_, [](lookup& l) {
    if (!l.done->load(std::memory_order_acquire)) return false;
    l.thread.join();
    return true;
  });
  const std::size_t before = asked_[std::string(address)]++;
  auto done = std::make_shared<std::atomic<bool>>(false);
  std::thread thread([l = &loop_, f, name, before, done] {
    std::vector<socket_address> found = look_up(*name, AI_ADDRCONFIG);
    if (!found.empty())
      std::rotate(found.begin(), found.begin() + static_cast<long>(before % found.size()),
                  found.end());
    l->post_from_thread([f, found = std::move(found)] { f(found); });
    done->store(true, std::memory_order_release);
  });
  lookups_.push_back({std::move(thread), std::move(done)});
}

}  // namespace tangelo
