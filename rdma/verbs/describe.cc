// The RDMA devices of this machine in words: `tangelo fabric`.
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

std::string text_of_port(ibv_context* context, std::uint8_t port) {
  ibv_port_attr attributes{};
  if (ibv_query_port(context, port, &attributes) != 0) return {};
  std::string out = fmt::format("  port {}: {}\n", port, ibv_port_state_str(attributes.state));
  std::array<ibv_gid_entry, 64> table{};
  const ssize_t count = ibv_query_gid_table(context, table.data(), table.size(), 0);
  for (ssize_t i = 0; i < count; ++i) {
    const ibv_gid_entry& g = table[static_cast<std::size_t>(i)];
    if (g.port_num != port) continue;
    std::array<char, INET6_ADDRSTRLEN> text{};
    (void)::inet_ntop(AF_INET6, g.gid.raw, text.data(), text.size());
    std::array<char, IF_NAMESIZE> netdev{};
    const bool named = g.ndev_ifindex != 0 && ::if_indextoname(g.ndev_ifindex, netdev.data());
    out += fmt::format("    gid {}: {}  {}{}{}\n", g.gid_index, text.data(),
                       name_of_gid(g.gid_type), named ? ", " : "", named ? netdev.data() : "");
  }
  return out;
}

std::string text_of_device(ibv_device* device) {
  const bool iwarp = device->transport_type == IBV_TRANSPORT_IWARP;
  std::string out =
      fmt::format("{}: {}\n", ibv_get_device_name(device), iwarp ? "iWARP" : "InfiniBand or RoCE");
  ibv_context* context = ibv_open_device(device);
  if (context == nullptr) return out + "  cannot be opened: " + std::strerror(errno) + "\n";
  ibv_device_attr attributes{};
  if (ibv_query_device(context, &attributes) == 0)
    for (unsigned port = 1; port <= attributes.phys_port_cnt; ++port)
      out += text_of_port(context, static_cast<std::uint8_t>(port));
  (void)ibv_close_device(context);
  return out;
}

std::string text_of_devices() {
  int count = 0;
  ibv_device** devices = ibv_get_device_list(&count);
  if (devices == nullptr || count == 0) {
    if (devices != nullptr) ibv_free_device_list(devices);
    return "no RDMA device\n";
  }
  std::string out;
  for (int i = 0; i < count; ++i) out += text_of_device(devices[i]);
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

outcome<std::string> describe_fabric(const std::string& address) {
  std::string out = text_of_devices();
  if (address.empty()) return out;
  const std::optional<socket_address> to = address_to_listen(address);
  if (!to)
    return failure{problem{exit_code::usage, "fabric: " + address + ": no such address",
                           "write HOST:PORT"}};
  bool found = false;
  const std::string why = device_to(*to, found);
  out += found ? fmt::format("{}: verbs over {}; tcp if the server does not answer there\n",
                             address, why)
               : fmt::format("{}: tcp: {}\n", address, why);
  return out;
}

}  // namespace tangelo
