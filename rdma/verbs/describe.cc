// The RDMA devices of this machine, for `tangelo fabric`.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <infiniband/verbs.h>
#include <net/if.h>
#include <poll.h>
#include <rdma/rdma_cma.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "rdma/address.h"
#include "rdma/fabric.h"

namespace tangelo {

namespace {

constexpr int answer_ms = 3000;

std::string_view name_of_gid(std::uint32_t type) noexcept {
  return type == IBV_GID_TYPE_IB ? "InfiniBand" : type == IBV_GID_TYPE_ROCE_V1 ? "RoCE v1"
                                                                               : "RoCE v2";
}

fabric_port look_at_port(ibv_context* context, std::uint8_t port, ibv_port_state state) {
  fabric_port out{port, ibv_port_state_str(state), {}};
  std::array<ibv_gid_entry, 64> table{};
  const ssize_t count = ibv_query_gid_table(context, table.data(), table.size(), 0);
  for (ssize_t i = 0; i < count; ++i) {
    const ibv_gid_entry& g = table[static_cast<std::size_t>(i)];
    if (g.port_num != port) continue;
    std::array<char, INET6_ADDRSTRLEN> text{};
    (void)::inet_ntop(AF_INET6, g.gid.raw, text.data(), text.size());
    std::array<char, IF_NAMESIZE> netdev{};  // stays empty when it has none
    if (g.ndev_ifindex != 0) (void)::if_indextoname(g.ndev_ifindex, netdev.data());
    out.gids.push_back(
        {g.gid_index, text.data(), std::string(name_of_gid(g.gid_type)), netdev.data()});
  }
  return out;
}

fabric_device look_at_device(ibv_device* device) {
  const bool iwarp = device->transport_type == IBV_TRANSPORT_IWARP;
  fabric_device out{ibv_get_device_name(device), iwarp ? "iWARP" : "InfiniBand or RoCE", {}, {}};
  ibv_context* context = ibv_open_device(device);
  if (context == nullptr) {
    out.why_not = std::strerror(errno);
    return out;
  }
  ibv_device_attr attributes{};
  if (ibv_query_device(context, &attributes) == 0)
    for (unsigned n = 1; n <= attributes.phys_port_cnt; ++n) {
      const auto port = static_cast<std::uint8_t>(n);
      ibv_port_attr known{};
      if (ibv_query_port(context, port, &known) == 0)
        out.ports.push_back(look_at_port(context, port, known.state));
    }
  (void)ibv_close_device(context);
  return out;
}

std::vector<fabric_device> look_at_devices() {
  int count = 0;
  ibv_device** devices = ibv_get_device_list(&count);
  std::vector<fabric_device> out;
  if (devices == nullptr) return out;
  for (int i = 0; i < count; ++i) out.push_back(look_at_device(devices[i]));
  ibv_free_device_list(devices);
  return out;
}

// The device that leads to `to`, or why there is none.
std::string device_to(socket_address to, bool& found) {
  rdma_event_channel* events = rdma_create_event_channel();
  if (events == nullptr) return std::string("rdma_cm: ") + std::strerror(errno);
  rdma_cm_id* id = nullptr;
  std::string out;
  if (rdma_create_id(events, &id, nullptr, RDMA_PS_TCP) != 0 ||
      rdma_resolve_addr(id, nullptr, to.raw(), answer_ms) != 0) {
    out = std::strerror(errno);
  } else {
    pollfd ready{events->fd, POLLIN, 0};
    rdma_cm_event* event = nullptr;
    if (::poll(&ready, 1, answer_ms) != 1 || rdma_get_cm_event(events, &event) != 0) {
      out = "no answer";
    } else {
      found = event->event == RDMA_CM_EVENT_ADDR_RESOLVED;
      out = found ? fmt::format("{} port {}", ibv_get_device_name(id->verbs->device), id->port_num)
                  : fmt::format("no RDMA device leads there ({})", std::strerror(-event->status));
      (void)rdma_ack_cm_event(event);
    }
  }
  if (id != nullptr) (void)rdma_destroy_id(id);
  rdma_destroy_event_channel(events);
  return out;
}

}  // namespace

outcome<fabric_view> look_at_fabric(const std::string& address) {
  fabric_view view;
  view.devices = look_at_devices();
  if (address.empty()) return view;
  const std::optional<socket_address> to = address_to_listen(address);
  if (!to)
    return failure{problem{exit_code::usage, "fabric: " + address + ": no such address",
                           "write HOST:PORT"}};
  view.why = device_to(*to, view.by_verbs);
  return view;
}

}  // namespace tangelo
