#include "server/networks.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <string>

namespace tangelo {

namespace {

constexpr unsigned ipv4_bits = 96;  // in front of an IPv4 address

// With the number of bits in front of what its text says.
std::optional<network> parse_address(std::string_view text, unsigned& front_bits) {
  network n;
  const std::string zero_ended(text);
  front_bits = 0;
  if (::inet_pton(AF_INET6, zero_ended.c_str(), n.address.data()) == 1) return n;
  front_bits = ipv4_bits;
  n.address[10] = n.address[11] = 0xff;
  if (::inet_pton(AF_INET, zero_ended.c_str(), n.address.data() + 12) == 1) return n;
  return std::nullopt;
}

bool same_bits(const network& of, const std::array<std::uint8_t, 16>& other) {
  for (unsigned bit = 0; bit < of.prefix_bits; ++bit)
    if (((of.address[bit / 8] ^ other[bit / 8]) >> (7 - bit % 8) & 1) != 0) return false;
  return true;
}

}  // namespace

std::optional<network> parse_network(std::string_view text) {
  const std::size_t slash = text.find('/');
  unsigned front_bits = 0;
  std::optional<network> n = parse_address(text.substr(0, slash), front_bits);
  if (!n) return std::nullopt;
  unsigned bits = 128 - front_bits;
  if (slash != text.npos) {
    const std::string_view digits = text.substr(slash + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
    if (error != std::errc{} || end != digits.data() + digits.size() || bits > 128 - front_bits)
      return std::nullopt;
  }
  n->prefix_bits = front_bits + bits;
  for (unsigned bit = n->prefix_bits; bit < 128; ++bit)
    if ((n->address[bit / 8] >> (7 - bit % 8) & 1) != 0) return std::nullopt;
  return n;
}

bool is_in(const std::vector<network>& list, std::string_view peer) {
  if (list.empty()) return true;
  std::string_view host = peer.substr(0, peer.rfind(':'));
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  unsigned front_bits = 0;
  const std::optional<network> at = parse_address(host, front_bits);
  return at && std::any_of(list.begin(), list.end(), [&at](const network& n) {
           return same_bits(n, at->address);
         });
}

}  // namespace tangelo
