// sharing: which inodes have changes that are not committed yet, and whose they are. An answer that
// shows such a change to another client is held until it is committed, so that nobody ever sees
// what a crash could take back. Loop thread only.
#pragma once

#include <cstdint>
#include <deque>
#include <unordered_map>
#include <utility>
#include <vector>

#include "rdma/service.h"

namespace tangelo {

class sharing {
 public:
  void changed(std::uint64_t inode, const client_key& client, std::uint64_t transno) {
    const auto [at, made] = marks_.emplace(inode, mark{transno, client, false});
    if (!made) {
      if (at->second.client != client) at->second.several = true;
      at->second.transno = transno;
    }
    order_.emplace_back(transno, inode);
  }
  // The transaction that must be committed before `client` may learn of these inodes; 0: none.
  std::uint64_t must_wait_for(const client_key& client,
                              const std::vector<std::uint64_t>& inodes) const {
    std::uint64_t transno = 0;
    if (marks_.empty()) return 0;
    for (const std::uint64_t inode : inodes) {
      const auto at = marks_.find(inode);
      if (at == marks_.end() || (at->second.client == client && !at->second.several)) continue;
      if (at->second.transno > transno) transno = at->second.transno;
    }
    return transno;
  }
  void committed(std::uint64_t transno) {
    while (!order_.empty() && order_.front().first <= transno) {
      const auto at = marks_.find(order_.front().second);
      if (at != marks_.end() && at->second.transno <= transno) marks_.erase(at);
      order_.pop_front();
    }
  }

 private:
  struct mark {
    std::uint64_t transno = 0;  // of the last change
    client_key client;
    bool several = false;  // more than one client changed it
  };
  std::unordered_map<std::uint64_t, mark> marks_;
  std::deque<std::pair<std::uint64_t, std::uint64_t>> order_;
};

}  // namespace tangelo
