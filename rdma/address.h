// address: "host:port" and "[v6]:port" as socket addresses, and the looking up of names, which
// blocks, on threads of their own. What the providers have in common. Loop thread only.
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/loop.h"

namespace tangelo {

struct socket_address {
  sockaddr_storage storage{};
  socklen_t size = 0;

  const sockaddr* raw() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* raw() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
};

// To listen on; blocks for names. Nothing if it is no address.
std::optional<socket_address> address_to_listen(std::string_view address);
// As "host:port" in numbers.
std::string text_of_address(const socket_address& a);

// The same host, `by` ports further; port 0, any free one, stays. Nothing if there is no such port.
std::optional<socket_address> port_beside(const socket_address& a, int by);

class resolver {
 public:
  // All addresses of a name; none: there is no such name. Those of a name that is asked for again
  // begin with another one: who tries only the first comes to all of them.
  using answer = std::function<void(std::vector<socket_address>)>;

  explicit resolver(loop& l) : loop_(l) {}
  ~resolver();
  // Calls `f` once, on a later turn.
  void find(std::string_view address, answer f);

 private:
  struct lookup {
    std::thread thread;
    std::shared_ptr<std::atomic<bool>> done;
  };

  loop& loop_;
  std::vector<lookup> lookups_;
  std::map<std::string, std::size_t, std::less<>> asked_;  // how often, by name
};

}  // namespace tangelo
