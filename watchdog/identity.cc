#include "watchdog/identity.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/prng.h"
#include "watchdog/files.h"

namespace tangelo {

namespace {

constexpr std::string_view file_head = "tangelo-client-id 1\n";

struct identity_file {
  id128 random{};
  std::uint64_t incarnation = 0;
};

std::string hex_of(const id128& id) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (const std::byte b : id) {
    text += digits[std::to_integer<unsigned>(b) >> 4];
    text += digits[std::to_integer<unsigned>(b) & 15];
  }
  return text;
}

std::optional<id128> id_of_hex(std::string_view text) {
  id128 id{};
  if (text.size() != 2 * id.size()) return std::nullopt;
  for (std::size_t i = 0; i < id.size(); ++i) {
    unsigned value = 0;
    const char* begin = text.data() + 2 * i;
    const auto [end, error] = std::from_chars(begin, begin + 2, value, 16);
    if (error != std::errc{} || end != begin + 2) return std::nullopt;
    id[i] = static_cast<std::byte>(value);
  }
  return id;
}

// The value behind "key " on a line of its own.
std::string_view value_of(std::string_view text, std::string_view key) {
  const std::size_t at = text.find(std::string("\n").append(key).append(" "));
  if (at == std::string_view::npos) return {};
  const std::string_view rest = text.substr(at + key.size() + 2);
  return rest.substr(0, rest.find('\n'));
}

std::optional<identity_file> parse_identity(std::string_view text) {
  if (!text.starts_with(file_head)) return std::nullopt;
  const std::optional<id128> random = id_of_hex(value_of(text, "random"));
  const std::string_view number = value_of(text, "incarnation");
  std::uint64_t incarnation = 0;
  const auto [end, error] =
      std::from_chars(number.data(), number.data() + number.size(), incarnation);
  if (!random || error != std::errc{} || end != number.data() + number.size())
    return std::nullopt;
  return identity_file{*random, incarnation};
}

id128 fresh_random() {
  const std::uint64_t bits[2] = {random_u64_or_die(), random_u64_or_die()};
  id128 id{};
  std::memcpy(id.data(), bits, id.size());
  return id;
}

id128 machine_id() {
  outcome<std::string> text = read_small_file("/etc/machine-id");
  if (!text || text->size() < 32) return {};
  return id_of_hex(std::string_view(*text).substr(0, 32)).value_or(id128{});
}

}  // namespace

outcome<client_identity> next_identity(const std::string& state_dir, const std::string& name,
                                       const clock& time) {
  const std::string directory = state_dir + "/client-ids";
  const std::string path = directory + "/" + name;
  outcome<void> made = make_directories(directory);
  if (!made)
    return failure{problem{made.error().code, made.error().text,
                           "TANGELO_STATE_DIR, or a user's XDG_STATE_HOME, names another"}};
  outcome<std::string> text = read_small_file(path);
  if (!text) return failure{text.error()};
  identity_file file;
  if (text->empty()) {
    file.random = fresh_random();
  } else if (const std::optional<identity_file> kept = parse_identity(*text)) {
    file = *kept;
  } else {
    return failure{problem{exit_code::failed, path + ": not a client identity",
                           "remove it; the server will take this mount for a new client"}};
  }
  file.incarnation = std::max(file.incarnation + 1, time.wall_ns());
  const std::string content = std::string(file_head) + "random " + hex_of(file.random) +
                              "\nincarnation " + std::to_string(file.incarnation) + "\n";
  outcome<void> kept = replace_file(path, content, 0600);
  if (!kept) return failure{kept.error()};

  client_identity identity{file.random, file.incarnation};
  const id128 machine = machine_id();
  for (std::size_t i = 0; i < machine.size(); ++i) identity.client_id[i] ^= machine[i];
  return identity;
}

}  // namespace tangelo
