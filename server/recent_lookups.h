// recent_lookups: which client was told lately what inode a name means. It may be about to open it:
// one that loses its last name meanwhile, by another client, is kept for a moment. So a file that
// is replaced all the time can be opened at any time, as on a local disk: by who has looked again
// after an ESTALE (protocol/open_flags.h), and by nobody else.
//
// Forgetting costs an ESTALE, never correctness: a small direct-mapped table. Loop thread only.
#pragma once

#include <array>
#include <cstdint>
#include <utility>

#include "rdma/service.h"

namespace tangelo {

class recent_lookups {
 public:
  static constexpr std::uint64_t age_max_ns = 2'000'000'000;

  void note(std::uint64_t inode, const client_key& client, std::uint64_t now_ns) {
    entry& e = entries_[inode % entries_.size()];
    if (e.inode != inode) e = {};
    if (e.last.client != client) e.before = std::exchange(e.last, {});
    e.inode = inode;
    e.last = {client, now_ns};
  }
  // Has another client than `client` looked it up?
  bool by_another(std::uint64_t inode, const client_key& client, std::uint64_t now_ns) const {
    const entry& e = entries_[inode % entries_.size()];
    if (e.inode != inode) return false;
    const look& other = e.last.client == client ? e.before : e.last;
    return other.at_ns != 0 && now_ns < other.at_ns + age_max_ns;
  }

 private:
  struct look {
    client_key client;
    std::uint64_t at_ns = 0;
  };
  struct entry {
    std::uint64_t inode = 0;
    look last, before;  // of two clients
  };
  std::array<entry, 4096> entries_{};
};

}  // namespace tangelo
