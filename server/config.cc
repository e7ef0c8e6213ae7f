// The library is built with exceptions; ours has none, so its code is compiled in here.
#undef TOML_HEADER_ONLY
#undef TOML_SHARED_LIB
#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#include "server/config.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <set>

#include "base/result.h"

namespace tangelo {

namespace {

problem mistake(const std::string& path, const toml::source_region& where, std::string_view what,
                std::string hint) {
  const std::string line = where.begin.line == 0 ? "" : fmt::format("{}:", where.begin.line);
  return problem{exit_code::usage, fmt::format("{}:{} {}", path, line, what), std::move(hint)};
}

outcome<std::string> text_in(const std::string& path, const toml::node& value,
                             std::string_view key) {
  if (const auto text = value.value<std::string>(); text && !text->empty()) return *text;
  return failure{mistake(path, value.source(), fmt::format("{} must be a text", key),
                         fmt::format("write: {} = \"...\"", key))};
}

outcome<volume_config> volume_in(const std::string& path, const toml::node& node) {
  const toml::table* table = node.as_table();
  if (table == nullptr)
    return failure{mistake(path, node.source(), "volume must be a table", "write: [[volume]]")};
  volume_config v;
  for (const auto& [key, value] : *table) {
    std::string* to = key.str() == "name" ? &v.name : key.str() == "path" ? &v.path : nullptr;
    if (to == nullptr)
      return failure{mistake(path, key.source(), fmt::format("unknown key \"{}\"", key.str()),
                             "a volume has name and path")};
    outcome<std::string> text = text_in(path, value, key.str());
    if (!text) return failure{text.error()};
    *to = *text;
  }
  if (v.name.empty() || v.path.empty())
    return failure{mistake(path, table->source(), "a volume needs name and path",
                           "write: name = \"...\" and path = \"/...\"")};
  return v;
}

bool is_loopback(std::string_view listen) {
  const std::size_t colon = listen.rfind(':');
  const std::string_view host = listen.substr(0, colon);
  return colon != listen.npos &&
         (host == "localhost" || host == "[::1]" || host.starts_with("127."));
}

}  // namespace

outcome<server_config> read_server_config(const std::string& path) {
  const toml::parse_result parsed = toml::parse_file(path);
  if (!parsed)
    return failure{mistake(path, parsed.error().source(), parsed.error().description(),
                           "docs/OPERATIONS.md has an example")};
  server_config c;
  const std::size_t slash = path.rfind('/');
  c.name = path.substr(slash == path.npos ? 0 : slash + 1);
  if (c.name.ends_with(".toml")) c.name.resize(c.name.size() - 5);
  for (const auto& [key, value] : parsed.table()) {
    if (key.str() == "listen") {
      outcome<std::string> text = text_in(path, value, "listen");
      if (!text) return failure{text.error()};
      c.listen = *text;
    } else if (const toml::array* volumes = value.as_array();
               key.str() == "volume" && volumes != nullptr) {
      for (const toml::node& node : *volumes) {
        outcome<volume_config> v = volume_in(path, node);
        if (!v) return failure{v.error()};
        c.volumes.push_back(*v);
      }
    } else {
      return failure{mistake(path, key.source(), fmt::format("unknown key \"{}\"", key.str()),
                             "known are: listen, [[volume]]")};
    }
  }
  return c;
}

outcome<bool> check_config(const server_config& config) {
  const auto wrong = [](std::string text, std::string hint) {
    return failure{problem{exit_code::usage, std::move(text), std::move(hint)}};
  };
  if (config.volumes.empty())
    return wrong("no volume to serve",
                 "name one: --volume NAME=DIR, or [[volume]] in the configuration");
  std::set<std::string> names, paths;
  for (const volume_config& v : config.volumes) {
    if (v.name.empty() || v.name.find('/') != v.name.npos || v.name.size() > 255)
      return wrong(fmt::format("volume name \"{}\"", v.name),
                   "use a name of up to 255 bytes without a slash");
    if (!names.insert(v.name).second)
      return wrong(fmt::format("volume {}: named twice", v.name), "give each its own name");
    if (!paths.insert(v.path).second)
      return wrong(fmt::format("{}: two volumes in one directory", v.path),
                   "give each its own directory");
  }
  if (config.listen.rfind(':') == config.listen.npos)
    return wrong(fmt::format("listen \"{}\"", config.listen), "write ADDRESS:PORT");
  if (!is_loopback(config.listen))
    return wrong(fmt::format("listen \"{}\": beyond loopback needs secret_file; authentication is "
                             "not available in this version",
                             config.listen),
                 "listen on 127.0.0.1 and reach it through a tunnel (ssh -L, WireGuard)");
  return true;
}

}  // namespace tangelo
