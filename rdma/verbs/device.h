// device: one RDMA device as this process uses it: protection domain, completion channel, the
// memory that is registered with it, and what happens to it.
//
// Made by verbs_provider when a connection first leads over the device and kept until the device
// is removed or the provider ends, so that memory stays registered over all reconnects. An rdma_cm
// id bound to the device stands for us meanwhile: librdmacm keeps the context open, and tells us
// of a removal also when no connection is there. Loop thread only.
//
// Invariants:
//   1. A region is registered when it is used first, and then once; it is deregistered only when no
//      queue pair of the device uses it (the owner of the memory sees to that), or with the device.
//   2. is_idle() after retire(): the loop will not call it any more, it may be destroyed.
#pragma once

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/loop.h"
#include "base/poller.h"
#include "rdma/provider.h"

namespace tangelo {

// Where the events of an rdma_cm_id go: its context.
struct cm_event {
  rdma_cm_event_type type{};
  int status = 0;
  rdma_cm_id* fresh = nullptr;  // the id of a connect request
  std::uint8_t initiator_depth = 0;
  std::uint8_t responder_resources = 0;
  byte_span private_data;  // valid during the call
};
class cm_listener {
 public:
  virtual ~cm_listener() = default;
  virtual void on_cm_event(const cm_event& event) noexcept = 0;
};

// Where the events of a queue pair and its completion queue go: their contexts.
class queue_listener {
 public:
  virtual ~queue_listener() = default;
  virtual void on_completions() noexcept = 0;
  // Takes completions that nobody has told of; true: there were some.
  virtual bool take_completions() noexcept = 0;
  // The queue pair, its port or its device failed.
  virtual void on_trouble(down_reason reason) noexcept = 0;
};

struct verbs_counts {
  std::uint64_t regions = 0;      // registered by register_memory(), ever
  std::uint64_t connections = 0;  // message buffers registered for a connection, ever
  std::uint64_t single = 0;       // for one transfer, ever: memory nobody had registered
  std::uint64_t open = 0;         // registrations that exist now
};

class verbs_device final : public cm_listener, private busy_source {
 public:
  static std::unique_ptr<verbs_device> open(loop& l, rdma_event_channel* events, rdma_cm_id* over,
                                            verbs_counts& counts);
  ~verbs_device() override;

  ibv_context* context() const noexcept { return context_; }
  ibv_pd* domain() const noexcept { return domain_; }
  ibv_comp_channel* completions() const noexcept { return completions_; }
  const std::string& name() const noexcept { return name_; }
  std::uint8_t reads_max() const noexcept { return reads_max_; }

  void add_region(mutable_byte_span memory, memory_use use);
  void remove_region(mutable_byte_span memory);
  // The registration of the region that `memory` lies in; nullptr: none.
  const ibv_mr* region_of(byte_span memory, memory_use use) noexcept;
  // For one transfer or one connection; nullptr when the device has no room.
  ibv_mr* register_one(byte_span memory, int access, std::uint64_t& count) noexcept;
  void deregister(ibv_mr* one) noexcept;
  int local_access() const noexcept;

  void attach(queue_listener& user) { users_.push_back(&user); }
  void detach(queue_listener& user);
  // Destroys a completion queue that nobody uses any more, a moment later: rdma_rxe may be about to
  // tell of a completion just then, and the library looks into the queue that it is told of.
  void bury(ibv_cq* queue);
  bool removed() const noexcept { return removed_; }
  bool used() const noexcept { return !users_.empty(); }
  // Lets go of the loop; is_idle() on a later turn.
  void retire() noexcept;
  bool is_idle() const noexcept;

  void on_cm_event(const cm_event& event) noexcept override;

 private:
  struct region {
    std::size_t size = 0;
    memory_use use{};
    ibv_mr* registered = nullptr;
    bool refused = false;
  };

  verbs_device(loop& l, verbs_counts& counts, ibv_context* context);
  bool set_up(rdma_event_channel* events, rdma_cm_id* over);
  bool look() noexcept override;
  void take_completions() noexcept;
  void take_troubles() noexcept;
  void tell_all(down_reason reason) noexcept;
  void destroy_buried() noexcept;

  loop& loop_;
  verbs_counts& counts_;
  ibv_context* context_;
  std::string name_;
  bool is_iwarp_ = false;
  bool removed_ = false;
  bool retired_ = false;
  std::uint8_t reads_max_ = 1;
  ibv_pd* domain_ = nullptr;
  ibv_comp_channel* completions_ = nullptr;
  rdma_cm_id* keeper_ = nullptr;
  std::map<const std::byte*, region> regions_;
  std::vector<queue_listener*> users_;
  std::deque<std::pair<std::uint64_t, ibv_cq*>> buried_;  // from when on it may be destroyed
  timer_id bury_timer_ = 0;
  std::unique_ptr<poller> completion_poller_;
  std::unique_ptr<poller> trouble_poller_;
};

}  // namespace tangelo
