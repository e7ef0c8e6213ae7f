// The library is built with exceptions; ours has none, so its code is compiled in here.
#undef TOML_HEADER_ONLY
#undef TOML_SHARED_LIB
#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#include "watchdog/config.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <toml++/toml.h>

#include "protocol/mount_source.h"
#include "watchdog/mount_options.h"

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

outcome<std::vector<std::string>> words_in(const std::string& path, const toml::node& value) {
  const toml::array* array = value.as_array();
  if (array == nullptr)
    return failure{mistake(path, value.source(), "options must be a list",
                           "write: options = [\"ro\", \"noatime\"]")};
  std::vector<std::string> words;
  for (const toml::node& node : *array) {
    outcome<std::string> word = text_in(path, node, "each of options");
    if (!word) return failure{word.error()};
    words.push_back(*std::move(word));
  }
  return words;
}

// The words are what -o may have. A word that is wrong by itself is the place of the mistake, else
// all of them are.
outcome<void> check_words(const std::string& path, const toml::node& value,
                          const std::vector<std::string>& words) {
  const outcome<mount_options> all = parse_mount_options(words);
  if (all) return {};
  const toml::node* place = &value;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const outcome<mount_options> one = parse_mount_options({words[i]});
    if (one || one.error().text != all.error().text) continue;
    place = value.as_array()->get(i);
    break;
  }
  return failure{mistake(path, place->source(), all.error().text, all.error().hint)};
}

outcome<std::vector<std::string>> options_of(const std::string& path, const toml::node& value) {
  outcome<std::vector<std::string>> words = words_in(path, value);
  if (!words) return words;
  const outcome<void> checked = check_words(path, value, *words);
  if (!checked) return failure{checked.error()};
  return words;
}

outcome<std::string> source_of(const std::string& path, const toml::node& value) {
  outcome<std::string> text = text_in(path, value, "source");
  if (!text) return text;
  const outcome<mount_source> parsed = parse_mount_source(*text);
  if (!parsed)
    return failure{mistake(path, value.source(), parsed.error().text, parsed.error().hint)};
  return text;
}

}  // namespace

outcome<mount_config> read_mount_config(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) == 0 && !S_ISREG(st.st_mode))
    return failure{problem{exit_code::usage, path + ": not a regular file",
                           "it needs: source = \"HOST:/VOLUME\" and mount_point = \"/DIR\""}};
  const toml::parse_result parsed = toml::parse_file(path);
  if (!parsed)
    return failure{mistake(path, parsed.error().source(), parsed.error().description(),
                           "it needs: source = \"HOST:/VOLUME\" and mount_point = \"/DIR\"")};
  mount_config c;
  for (const auto& [key, value] : parsed.table()) {
    if (key.str() == "options") {
      outcome<std::vector<std::string>> words = options_of(path, value);
      if (!words) return failure{words.error()};
      c.options = *std::move(words);
      continue;
    }
    std::string* to = key.str() == "source"        ? &c.source
                      : key.str() == "mount_point" ? &c.mount_point
                      : key.str() == "through"     ? &c.through
                                                   : nullptr;
    if (to == nullptr)
      return failure{mistake(path, key.source(), fmt::format("unknown key \"{}\"", key.str()),
                             "known are: source, mount_point, options")};
    outcome<std::string> text =
        to == &c.source ? source_of(path, value) : text_in(path, value, key.str());
    if (!text) return failure{text.error()};
    *to = *std::move(text);
    if (to == &c.mount_point) c.mount_point_place = place_of(path, value.source());
  }
  if (c.source.empty() || c.mount_point.empty())
    return failure{problem{exit_code::usage, path + ": source or mount_point is missing",
                           "it needs: source = \"HOST:/VOLUME\" and mount_point = \"/DIR\""}};
  return c;
}

std::vector<std::string> options_in(const std::string& mount_file) {
  const toml::parse_result parsed = toml::parse(mount_file);
  const toml::node* value = parsed ? parsed.table().get("options") : nullptr;
  if (value == nullptr) return {};
  outcome<std::vector<std::string>> words = words_in("mount.toml", *value);
  return words ? *std::move(words) : std::vector<std::string>{};
}

}  // namespace tangelo
