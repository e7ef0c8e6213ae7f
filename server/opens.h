// open_table: which client holds which inode open under which handle, and what it was seen to be
// allowed to do with it (may bits). Volatile: after a restart the clients re-claim what they hold.
// Loop thread only.
//
// Invariants:
//   1. A handle of a client means one inode until it is released; opening it again adds rights.
//   2. count(inode) is the number of (client, handle) pairs that mean it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "rdma/service.h"

namespace tangelo {

struct client_less {
  bool operator()(const client_key& a, const client_key& b) const noexcept {
    if (a.client_id != b.client_id) return a.client_id < b.client_id;
    return a.incarnation < b.incarnation;
  }
};

class open_table {
 public:
  // False when the handle means another inode.
  bool open(const client_key& client, std::uint64_t handle, std::uint64_t inode,
            std::uint32_t rights = 0) {
    const auto [at, made] = handles_[client].emplace(handle, opened{inode, 0});
    if (made) ++counts_[inode];
    if (at->second.inode != inode) return false;
    at->second.rights |= rights;
    return true;
  }
  // The inode that the handle meant; nothing when it meant none.
  std::optional<std::uint64_t> release(const client_key& client, std::uint64_t handle) {
    const auto of_client = handles_.find(client);
    if (of_client == handles_.end()) return std::nullopt;
    const auto at = of_client->second.find(handle);
    if (at == of_client->second.end()) return std::nullopt;
    const std::uint64_t inode = at->second.inode;
    of_client->second.erase(at);
    if (of_client->second.empty()) handles_.erase(of_client);
    lower(inode);
    return inode;
  }
  // Releases all that incarnations of this client up to `client` hold; says what that was.
  std::vector<std::uint64_t> forget(const client_key& client, bool older_only) {
    std::vector<std::uint64_t> inodes;
    auto at = handles_.lower_bound(client_key{client.client_id, 0});
    while (at != handles_.end() && at->first.client_id == client.client_id &&
           (at->first.incarnation < client.incarnation ||
            (!older_only && at->first.incarnation == client.incarnation))) {
      for (const auto& [handle, o] : at->second) inodes.push_back(o.inode), lower(o.inode);
      at = handles_.erase(at);
    }
    return inodes;
  }
  std::optional<std::uint64_t> inode_of(const client_key& client, std::uint64_t handle) const {
    const opened* o = find(client, handle);
    return o == nullptr ? std::nullopt : std::optional(o->inode);
  }
  bool means(const client_key& client, std::uint64_t handle, std::uint64_t inode) const {
    return inode_of(client, handle) == inode;
  }
  bool allows(const client_key& client, std::uint64_t handle, std::uint64_t inode,
              std::uint32_t want) const {
    const opened* o = find(client, handle);
    return o != nullptr && o->inode == inode && (o->rights & want) == want;
  }
  bool has(const client_key& client) const { return handles_.contains(client); }
  std::size_t count(std::uint64_t inode) const {
    const auto at = counts_.find(inode);
    return at == counts_.end() ? 0 : at->second;
  }
  std::size_t size() const {
    std::size_t n = 0;
    for (const auto& [client, handles] : handles_) n += handles.size();
    return n;
  }

 private:
  struct opened {
    std::uint64_t inode = 0;
    std::uint32_t rights = 0;
  };
  const opened* find(const client_key& client, std::uint64_t handle) const {
    const auto of_client = handles_.find(client);
    if (of_client == handles_.end()) return nullptr;
    const auto at = of_client->second.find(handle);
    return at == of_client->second.end() ? nullptr : &at->second;
  }
  void lower(std::uint64_t inode) {
    const auto at = counts_.find(inode);
    if (at != counts_.end() && --at->second == 0) counts_.erase(at);
  }

  std::map<client_key, std::unordered_map<std::uint64_t, opened>, client_less> handles_;
  std::unordered_map<std::uint64_t, std::size_t> counts_;
};

}  // namespace tangelo
