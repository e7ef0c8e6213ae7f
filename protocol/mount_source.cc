#include "protocol/mount_source.h"

#include "protocol/volume_name.h"
#include "protocol/wire.h"

namespace tangelo {

namespace {

problem bad_source(std::string_view text, std::string_view why) {
  return {exit_code::usage, std::string("source '").append(text).append("': ").append(why),
          "write it as host[:port][,host...]:/VOLUME, for example 127.0.0.1:7471:/quickstart"};
}

bool is_port(std::string_view digits) {
  if (digits.empty() || digits.size() > 5) return false;
  std::uint32_t value = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return false;
    value = value * 10 + static_cast<std::uint32_t>(c - '0');
  }
  return value >= 1 && value <= 65535;
}

// "host", "host:port", "[v6]", "[v6]:port" -> with a port; empty if it is none of them.
std::string complete_address(std::string_view text) {
  std::string_view host = text;
  std::string_view port;
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos || end == 1) return {};
    host = text.substr(0, end + 1);
    const std::string_view rest = text.substr(end + 1);
    if (!rest.empty() && rest.front() != ':') return {};
    if (!rest.empty() && !is_port(port = rest.substr(1))) return {};
  } else if (const std::size_t colon = text.find(':'); colon != std::string_view::npos) {
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
    if (!is_port(port)) return {};
  }
  if (host.empty() || host.find_first_of(" \t\n/@") != std::string_view::npos) return {};
  return std::string(host) + ':' +
         (port.empty() ? std::to_string(default_port) : std::string(port));
}

}  // namespace

outcome<mount_source> parse_mount_source(std::string_view text) {
  const std::size_t split = text.find(":/");
  if (split == std::string_view::npos) return failure{bad_source(text, "no ':/VOLUME' in it")};
  mount_source source;
  source.volume = std::string(text.substr(split + 2));
  if (!is_volume_name(source.volume))
    return failure{bad_source(text, volume_name_rule)};
  std::string_view hosts = text.substr(0, split);
  for (bool more = true; more;) {
    const std::size_t comma = hosts.find(',');
    std::string address = complete_address(hosts.substr(0, comma));
    if (address.empty()) return failure{bad_source(text, "an address in it is not host[:port]")};
    source.addresses.push_back(std::move(address));
    more = comma != std::string_view::npos;
    if (more) hosts.remove_prefix(comma + 1);
  }
  return source;
}

}  // namespace tangelo
