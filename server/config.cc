// The library is built with exceptions; ours has none, so its code is compiled in here.
#undef TOML_HEADER_ONLY
#undef TOML_SHARED_LIB
#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#include "server/config.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "base/result.h"
#include "protocol/text_endpoint.h"
#include "protocol/volume_name.h"

namespace tangelo {

namespace {

// "FILE:LINE:COLUMN: "
std::string place_of(const std::string& path, const toml::source_region& where) {
  if (where.begin.line == 0) return path + ": ";
  return fmt::format("{}:{}:{}: ", path, where.begin.line, where.begin.column);
}

problem mistake(const std::string& path, const toml::source_region& where, std::string_view what,
                std::string hint) {
  return problem{exit_code::usage, place_of(path, where).append(what), std::move(hint)};
}

outcome<std::string> text_in(const std::string& path, const toml::node& value,
                             std::string_view key) {
  if (const auto text = value.value<std::string>(); text && !text->empty()) return *text;
  return failure{mistake(path, value.source(), fmt::format("{} must be a text", key),
                         fmt::format("write: {} = \"...\"", key))};
}

outcome<bool> switch_in(const std::string& path, const toml::node& value, std::string_view key) {
  if (const auto on = value.value_exact<bool>()) return *on;
  return failure{mistake(path, value.source(), fmt::format("{} must be true or false", key),
                         fmt::format("write: {} = true", key))};
}

constexpr std::uint32_t time_max = 86'400;
constexpr std::uint32_t commit_interval_max = 1000;

struct time_key {
  std::string_view name;
  std::uint32_t server_times::*to;
  std::uint32_t max;
};
constexpr time_key time_keys[] = {
    {"lease_seconds", &server_times::lease_seconds, time_max},
    {"evict_seconds", &server_times::evict_seconds, time_max},
    {"window_soft_seconds", &server_times::window_soft_seconds, time_max},
    {"window_hard_seconds", &server_times::window_hard_seconds, time_max},
    {"commit_interval_ms", &server_times::commit_interval_ms, commit_interval_max},
};

const time_key* time_key_of(std::string_view name) {
  for (const time_key& k : time_keys)
    if (k.name == name) return &k;
  return nullptr;
}

outcome<std::uint32_t> number_in(const std::string& path, const toml::node& value,
                                 std::string_view key, std::uint32_t min, std::uint32_t max) {
  const auto n = value.value_exact<std::int64_t>();
  if (n && *n >= min && *n <= max) return static_cast<std::uint32_t>(*n);
  return failure{mistake(path, value.source(),
                         fmt::format("{} must be a whole number from {} to {}", key, min, max),
                         fmt::format("write a number without quotes, or leave {} out", key))};
}

outcome<bool> id_in(const std::string& path, const toml::node& value, std::string_view key,
                    std::uint32_t& id) {
  const auto n = value.value_exact<std::int64_t>();
  if (!n || *n < 0 || *n >= std::int64_t{UINT32_MAX})
    return failure{mistake(path, value.source(), fmt::format("{} must be a numeric id", key),
                           fmt::format("write: {} = 65534", key))};
  id = static_cast<std::uint32_t>(*n);
  return true;
}

outcome<bool> squash_in(const std::string& path, const toml::node& value, squash_mode& mode) {
  const std::string text = value.value_or(std::string());
  for (const auto& [name, m] : {std::pair{"none", squash_mode::none},
                                {"root", squash_mode::root}, {"all", squash_mode::all}})
    if (text == name) {
      mode = m;
      return true;
    }
  return failure{mistake(path, value.source(), "squash must be \"none\", \"root\" or \"all\"",
                         "write: squash = \"root\"")};
}

outcome<bool> atime_in(const std::string& path, const toml::node& value, bool& relatime) {
  const std::string text = value.value_or(std::string());
  if (text != "relatime" && text != "none")
    return failure{mistake(path, value.source(), "atime must be \"relatime\" or \"none\"",
                           "write: atime = \"none\"")};
  relatime = text == "relatime";
  return true;
}

outcome<bool> allow_in(const std::string& path, const toml::node& value,
                       std::vector<network>& allow) {
  const toml::array* list = value.as_array();
  const std::string hint = "write: allow = [\"10.0.0.0/8\", \"192.0.2.7\"]";
  if (list == nullptr || list->empty())
    return failure{mistake(path, value.source(), "allow must be a list of networks", hint)};
  for (const toml::node& node : *list) {
    const std::string text = node.value_or(std::string());
    const std::optional<network> n = parse_network(text);
    if (!n)
      return failure{mistake(path, node.source(), fmt::format("\"{}\" is no network", text), hint)};
    allow.push_back(*n);
  }
  return true;
}

// One key of a volume; nothing when there is none of this name.
std::optional<outcome<bool>> volume_key_in(const std::string& path, std::string_view key,
                                           const toml::node& value, volume_config& v) {
  if (key == "name" || key == "path") {
    outcome<std::string> text = text_in(path, value, key);
    if (!text) return failure{text.error()};
    (key == "name" ? v.name : v.path) = *text;
    (key == "name" ? v.name_place : v.path_place) = place_of(path, value.source());
    return true;
  }
  if (key == "squash") return squash_in(path, value, v.rules.squash.mode);
  if (key == "anon_uid") return id_in(path, value, key, v.rules.squash.uid);
  if (key == "anon_gid") return id_in(path, value, key, v.rules.squash.gid);
  if (key == "atime") return atime_in(path, value, v.rules.relatime);
  if (key == "allow") return allow_in(path, value, v.rules.allow);
  if (key != "read_only") return std::nullopt;
  const outcome<bool> on = switch_in(path, value, key);
  if (on) v.rules.read_only = *on;
  return on;
}

outcome<volume_config> volume_in(const std::string& path, const toml::node& node) {
  const toml::table* table = node.as_table();
  if (table == nullptr)
    return failure{mistake(path, node.source(), "volume must be a table", "write: [[volume]]")};
  volume_config v;
  for (const auto& [key, value] : *table) {
    const std::optional<outcome<bool>> taken = volume_key_in(path, key.str(), value, v);
    if (!taken)
      return failure{mistake(path, key.source(), fmt::format("unknown key \"{}\"", key.str()),
                             "a volume has name and path, and may have squash, anon_uid, anon_gid, "
                             "read_only, atime, allow")};
    if (!*taken) return failure{taken->error()};
  }
  if (v.name.empty() || v.path.empty())
    return failure{mistake(path, table->source(), "a volume needs name and path",
                           "write: name = \"...\" and path = \"/...\"")};
  return v;
}

bool has_port(std::string_view listen) {
  const std::size_t colon = listen.rfind(':');
  if (colon == listen.npos) return false;
  const std::string_view digits = listen.substr(colon + 1);
  const char* const end = digits.data() + digits.size();
  std::uint16_t port = 0;
  const auto [at, error] = std::from_chars(digits.data(), end, port);
  return error == std::errc{} && at == end;
}

bool is_loopback(std::string_view listen) {
  const std::size_t colon = listen.rfind(':');
  const std::string_view host = listen.substr(0, colon);
  return colon != listen.npos &&
         (host == "localhost" || host == "[::1]" || host.starts_with("127."));
}

}  // namespace

outcome<server_config> read_server_config(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) == 0 && !S_ISREG(st.st_mode))
    return failure{problem{exit_code::usage, path + ": not a regular file",
                           "--config names a file: docs/OPERATIONS.md has an example"}};
  const toml::parse_result parsed = toml::parse_file(path);
  if (!parsed)
    return failure{mistake(path, parsed.error().source(), parsed.error().description(),
                           "docs/OPERATIONS.md has an example")};
  server_config c;
  const std::size_t slash = path.rfind('/');
  c.name = path.substr(slash == path.npos ? 0 : slash + 1);
  if (c.name.ends_with(".toml")) c.name.resize(c.name.size() - 5);
  for (const auto& [key, value] : parsed.table()) {
    c.places[std::string(key.str())] = place_of(path, value.source());
    if (key.str() == "listen" || key.str() == "secret_file" || key.str() == "metrics") {
      outcome<std::string> text = text_in(path, value, key.str());
      if (!text) return failure{text.error()};
      (key.str() == "listen" ? c.listen : key.str() == "metrics" ? c.metrics : c.secret_file) =
          *text;
    } else if (key.str() == "fabric") {
      const outcome<std::string> text = text_in(path, value, "fabric");
      if (!text) return failure{text.error()};
      const std::optional<fabric_choice> fabric = fabric_named(*text);
      if (!fabric)
        return failure{mistake(path, value.source(), fmt::format("fabric = \"{}\"", *text),
                               "write \"auto\", \"verbs\" or \"tcp\"")};
      c.fabric = *fabric;
    } else if (key.str() == "standby") {
      const outcome<bool> on = switch_in(path, value, "standby");
      if (!on) return failure{on.error()};
      c.standby = *on;
    } else if (const time_key* time = time_key_of(key.str()); time != nullptr) {
      const outcome<std::uint32_t> n = number_in(path, value, time->name, 1, time->max);
      if (!n) return failure{n.error()};
      c.times.*(time->to) = *n;
    } else if (key.str() == "busy_poll_us") {
      const outcome<std::uint32_t> n = number_in(path, value, key.str(), 0, busy_poll_us_max);
      if (!n) return failure{n.error()};
      c.busy_poll_us = *n;
    } else if (const toml::array* volumes = value.as_array();
               key.str() == "volume" && volumes != nullptr) {
      for (const toml::node& node : *volumes) {
        outcome<volume_config> v = volume_in(path, node);
        if (!v) return failure{v.error()};
        c.volumes.push_back(*v);
      }
    } else {
      return failure{mistake(path, key.source(), fmt::format("unknown key \"{}\"", key.str()),
                             "known are: listen, fabric, busy_poll_us, secret_file, metrics, "
                             "standby, lease_seconds, evict_seconds, window_soft_seconds, "
                             "window_hard_seconds, commit_interval_ms, [[volume]]")};
    }
  }
  return c;
}

std::string server_config::place(std::string_view key) const {
  const auto at = places.find(key);
  return at == places.end() ? std::string() : at->second;
}

server_times times_of(const server_config& config) {
  const auto given = [](std::uint32_t n, std::uint32_t otherwise) {
    return n != 0 ? n : otherwise;
  };
  server_times t;
  t.lease_seconds = given(config.times.lease_seconds, 30);
  t.evict_seconds = given(config.times.evict_seconds, 5 * t.lease_seconds);
  t.window_soft_seconds =
      given(config.times.window_soft_seconds, (3 * t.lease_seconds + 1) / 2);
  t.window_hard_seconds = given(config.times.window_hard_seconds,
                                std::max(4 * t.lease_seconds, t.window_soft_seconds));
  t.commit_interval_ms = given(config.times.commit_interval_ms, 50);
  return t;
}

namespace {

// A holder that cannot reach the server trusts what it holds until its lease ends: nothing of it
// may be given away before, neither by eviction nor by the end of the window.
outcome<bool> check_times(const server_config& config) {
  const server_times t = times_of(config);
  const auto wrong = [&config](std::string_view key, const std::string& text, std::string hint) {
    return failure{problem{exit_code::usage, config.place(key) + text, std::move(hint)}};
  };
  if (t.commit_interval_ms > commit_interval_max)
    return wrong("commit_interval_ms",
                 fmt::format("commit_interval_ms = {}: too long", t.commit_interval_ms),
                 fmt::format("write {} or less: clients keep in memory what is not committed",
                             commit_interval_max));
  for (const time_key& k : time_keys)
    if (t.*(k.to) > 10 * time_max)
      return wrong(k.name, fmt::format("{} = {}: too long", k.name, t.*(k.to)),
                   fmt::format("write at most {}", time_max));
  if (t.evict_seconds < t.lease_seconds)
    return wrong("evict_seconds",
                 fmt::format("evict_seconds = {}: shorter than lease_seconds = {}",
                             t.evict_seconds, t.lease_seconds),
                 fmt::format("write evict_seconds = {} or more, or leave it out (5 leases)",
                             t.lease_seconds));
  if (t.window_soft_seconds < t.lease_seconds)
    return wrong("window_soft_seconds",
                 fmt::format("window_soft_seconds = {}: shorter than lease_seconds = {}",
                             t.window_soft_seconds, t.lease_seconds),
                 fmt::format("write window_soft_seconds = {} or more, or leave it out (1.5 leases)",
                             t.lease_seconds));
  if (t.window_hard_seconds < t.window_soft_seconds)
    return wrong("window_hard_seconds",
                 fmt::format("window_hard_seconds = {}: shorter than window_soft_seconds = {}",
                             t.window_hard_seconds, t.window_soft_seconds),
                 fmt::format("write window_hard_seconds = {} or more, or leave it out (4 leases)",
                             t.window_soft_seconds));
  return true;
}

}  // namespace

outcome<bool> check_config(const server_config& config) {
  const auto wrong = [](const std::string& place, const std::string& text, std::string hint) {
    return failure{problem{exit_code::usage, place + text, std::move(hint)}};
  };
  if (config.volumes.empty())
    return wrong("", "no volume to serve",
                 "name one: --volume NAME=DIR, or [[volume]] in the configuration");
  std::set<std::string> names, paths;
  for (const volume_config& v : config.volumes) {
    if (!is_volume_name(v.name))
      return wrong(v.name_place, fmt::format("volume name \"{}\"", v.name),
                   std::string(volume_name_rule));
    if (!names.insert(v.name).second)
      return wrong(v.name_place, fmt::format("volume {}: named twice", v.name),
                   "give each its own name");
    if (!paths.insert(v.path).second)
      return wrong(v.path_place, fmt::format("{}: two volumes in one directory", v.path),
                   "give each its own directory");
  }
  if (const outcome<bool> checked = check_times(config); !checked)
    return failure{checked.error()};
  if (!has_port(config.listen))
    return wrong(config.place("listen"), fmt::format("listen \"{}\"", config.listen),
                 "write ADDRESS:PORT");
  if (!is_loopback(config.listen) && config.secret_file.empty())
    return wrong(config.place("listen"),
                 fmt::format("listen \"{}\": beyond loopback clients have to know a secret",
                             config.listen),
                 "give it one with secret_file = \"/FILE\" or --secret-file, or listen on "
                 "127.0.0.1");
  const outcome<void> metrics =
      config.metrics.empty() ? outcome<void>() : text_endpoint::check(config.metrics);
  if (!metrics)
    return wrong(config.place("metrics"), "metrics " + metrics.error().text, metrics.error().hint);
  return true;
}

}  // namespace tangelo
