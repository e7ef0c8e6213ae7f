// verbs_provider: the fabric over RDMA devices: librdmacm for connections, libibverbs for the rest,
// all of it non-blocking on one loop.
//
// Addresses name the port of TCP; ours is the one behind it. Without RDMA in the kernel it listens
// and connects to nothing, until there is. Loop thread only. Connections that have not flushed when
// the provider ends are ended then; the loop must not turn between the end of the provider and its
// own.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/loop.h"
#include "rdma/address.h"
#include "rdma/provider.h"
#include "rdma/verbs/connection.h"
#include "rdma/verbs/device.h"

namespace tangelo {

class verbs_listener;

class verbs_provider final : public provider, private verbs_home {
 public:
  explicit verbs_provider(loop& l);
  ~verbs_provider() override;
  // Fails where the kernel has no rdma_cm. Tried again by whoever connects or listens.
  outcome<void> begin();

  std::unique_ptr<endpoint> connect(std::string_view address) override;
  outcome<std::unique_ptr<listener>> listen(std::string_view address, acceptor a) override;
  void register_memory(mutable_byte_span memory, memory_use use) override;
  void forget_memory(mutable_byte_span memory) override;
  const verbs_counts& registrations() const noexcept { return counts_; }

 private:
  friend class verbs_listener;
  struct region {
    std::size_t size = 0;
    memory_use use{};
  };

  verbs_device* device_of(rdma_cm_id* id) noexcept override;
  verbs_counts& counts() noexcept override { return counts_; }
  rdma_event_channel* cm_events() noexcept override { return events_; }
  void arrived(verbs_connection& c) noexcept override;
  void flushed(verbs_connection& c) noexcept override;

  std::shared_ptr<verbs_connection> make_connection(std::string peer);
  void take_cm_events() noexcept;
  void sweep();
  void wait_for_idle();

  loop& loop_;
  rdma_event_channel* events_ = nullptr;  // until begin()
  resolver names_;
  verbs_counts counts_;
  std::map<std::byte*, region> regions_;
  std::vector<std::unique_ptr<verbs_device>> devices_;
  std::vector<std::unique_ptr<verbs_device>> retired_;
  std::set<std::shared_ptr<verbs_connection>> connections_;  // not flushed
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);
  std::unique_ptr<poller> poller_;
};

}  // namespace tangelo
