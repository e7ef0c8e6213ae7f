// network: which clients a volume is for, by address: "10.0.0.0/8", "fd00::/8", "192.0.2.7". Pure.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace tangelo {

// IPv4 addresses are those of ::ffff:0:0/96.
struct network {
  std::array<std::uint8_t, 16> address{};
  unsigned prefix_bits = 0;
  bool operator==(const network&) const = default;
};

// Nothing when it is not one, or has bits behind its prefix.
std::optional<network> parse_network(std::string_view text);
// `peer` is an address with a port: "10.1.2.3:800", "[fd00::1]:800". An empty list has everybody.
bool is_in(const std::vector<network>& list, std::string_view peer);

}  // namespace tangelo
