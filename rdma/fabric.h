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
// The devices with their ports and addresses, and, if `address` is not empty, what `auto` would try
// for it, and why. For people. Blocks for a few seconds at most.
outcome<std::string> describe_fabric(const std::string& address);
// Over `verbs` where that comes up, else over `tcp`.
std::unique_ptr<provider> make_auto(scheduler& time, std::unique_ptr<provider> tcp,
                                    std::unique_ptr<provider> verbs);
// Fails only when verbs alone is wanted and there is none.
outcome<std::unique_ptr<provider>> make_fabric(loop& l, fabric_choice choice);

}  // namespace tangelo
