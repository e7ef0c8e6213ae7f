// tangelo fabric: the RDMA devices of this machine, and over which one a server would be reached.
#include <fmt/format.h>

#include <cstdio>

#include "cli/commands.h"
#include "cli/json.h"
#include "rdma/fabric.h"

namespace tangelo {

namespace {

std::string device_text(const fabric_device& device) {
  std::string out = fmt::format("{}: {}\n", device.name, device.kind);
  if (!device.why_not.empty()) return out + "  cannot be opened: " + device.why_not + "\n";
  for (const fabric_port& p : device.ports) {
    out += fmt::format("  port {}: {}\n", p.number, p.state);
    for (const fabric_gid& g : p.gids)
      out += fmt::format("    gid {}: {}  {}{}{}\n", g.index, g.address, g.kind,
                         g.interface.empty() ? "" : ", ", g.interface);
  }
  return out;
}

std::string fabric_text(const fabric_view& view, const std::string& address) {
  std::string out;
  if (!view.is_built) out = "this program was built without RDMA\n";
  else if (view.devices.empty()) out = "no RDMA device\n";
  for (const fabric_device& device : view.devices) out += device_text(device);
  if (address.empty()) return out;
  return out + (view.by_verbs ? fmt::format("{}: verbs over {}; tcp if the server does not answer "
                                            "there\n",
                                            address, view.why)
                              : fmt::format("{}: tcp: {}\n", address, view.why));
}

std::string fabric_json(const fabric_view& view, const std::string& address) {
  json_text j;
  j.open_object().key("built").boolean(view.is_built).key("devices").open_list();
  for (const fabric_device& device : view.devices) {
    j.open_object().key("device").text(device.name).key("kind").text(device.kind);
    if (!device.why_not.empty()) j.key("why_not").text(device.why_not);
    j.key("ports").open_list();
    for (const fabric_port& p : device.ports) {
      j.open_object().key("port").number(p.number).key("state").text(p.state);
      j.key("gids").open_list();
      for (const fabric_gid& g : p.gids) {
        j.open_object().key("index").number(g.index).key("address").text(g.address);
        j.key("kind").text(g.kind).key("interface").text(g.interface).close_object();
      }
      j.close_list().close_object();
    }
    j.close_list().close_object();
  }
  j.close_list();
  if (!address.empty()) {
    j.key("address").text(address).key("fabric").text(view.by_verbs ? "verbs" : "tcp");
    j.key("why").text(view.why);
  }
  return j.close_object().str() + "\n";
}

}  // namespace

outcome<void> run_fabric(const fabric_arguments& words) {
  const outcome<fabric_view> view = look_at_fabric(words.address);
  if (!view) return failure{view.error()};
  std::fputs((words.json ? fabric_json : fabric_text)(*view, words.address).c_str(), stdout);
  return {};
}

}  // namespace tangelo
