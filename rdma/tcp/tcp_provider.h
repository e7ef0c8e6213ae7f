// tcp_provider: the fabric over TCP sockets, all I/O through the io_uring of one loop.
//
// Addresses are "host:port" or "[v6]:port"; port 0 lets the kernel choose (listen). Names are
// looked up on a thread of their own. Loop thread only. The loop must outlive the provider and
// run until the last endpoint has said on_flushed.
#pragma once

#include <memory>
#include <string>

#include "base/fd.h"
#include "base/loop.h"
#include "rdma/address.h"
#include "rdma/provider.h"

namespace tangelo {

// Where a bound socket is, as "address:port".
outcome<std::string> listening_address(int fd);

class tcp_provider final : public provider {
 public:
  explicit tcp_provider(loop& l) : loop_(l), names_(l) {}
  std::unique_ptr<endpoint> connect(std::string_view address) override;
  outcome<std::unique_ptr<listener>> listen(std::string_view address, acceptor a) override;
  // On a socket that somebody else has bound, and that listens.
  outcome<std::unique_ptr<listener>> listen_at(unique_fd fd, acceptor a);

 private:
  loop& loop_;
  resolver names_;
};

}  // namespace tangelo
