// fabric: which provider a mount or a server uses, and "auto": verbs where an RDMA device leads to
// the peer, tcp everywhere else.
//
// With auto, a connection is tried over verbs first; when that does not come up, the same endpoint
// goes on over tcp, and the log says why. The address is then not tried over verbs for a while. A
// server has both providers, and makes them itself. Loop thread only.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/loop.h"
#include "rdma/provider.h"

namespace tangelo {

enum class fabric_choice : std::uint8_t { automatic, verbs, tcp };

constexpr std::string_view name_of(fabric_choice f) noexcept {
  switch (f) {
    using enum fabric_choice;
    case automatic: return "auto";
    case verbs: return "verbs";
    case tcp: return "tcp";
  }
  return {};
}
std::optional<fabric_choice> fabric_named(std::string_view name) noexcept;

// Whether there has to be RDMA when a provider of it is made. With `later` it fails to listen and
// to connect until there is.
enum class rdma_needed : std::uint8_t { now, later };
// Fails where there is no RDMA and it is needed now, or where this program was built without it.
outcome<std::unique_ptr<provider>> make_verbs(loop& l, rdma_needed when);

// The RDMA devices of this machine, and over what `auto` would try to reach an address.
struct fabric_gid {
  std::uint32_t index = 0;
  std::string address;
  std::string kind;
  std::string interface;  // of the network; may be empty
};
struct fabric_port {
  unsigned number = 0;
  std::string state;
  std::vector<fabric_gid> gids;
};
struct fabric_device {
  std::string name;
  std::string kind;
  std::string why_not;  // not empty: it cannot be opened
  std::vector<fabric_port> ports;
};
struct fabric_view {
  bool is_built = true;  // this program can use RDMA
  std::vector<fabric_device> devices;
  bool by_verbs = false;
  std::string why;  // device and port; or what speaks against verbs
};
// `address`: HOST:PORT, or empty. Blocks for a few seconds at most.
outcome<fabric_view> look_at_fabric(const std::string& address);

// Over `verbs` where that comes up, else over `tcp`.
std::unique_ptr<provider> make_auto(scheduler& time, std::unique_ptr<provider> tcp,
                                    std::unique_ptr<provider> verbs);
// Fails only when verbs alone is wanted and there is none, and it is not waited for.
outcome<std::unique_ptr<provider>> make_fabric(loop& l, fabric_choice choice, rdma_needed when);

}  // namespace tangelo
