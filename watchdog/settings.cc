#include "watchdog/settings.h"

#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/mount_name.h"
#include "base/mount_table.h"
#include "base/places.h"
#include "watchdog/config.h"

namespace tangelo {

const char* const watchdog_usage =
    "usage: tangelo-watchdog --source HOST[:PORT][,HOST...]:/VOLUME --mount-point DIR\n"
    "         [--through /proc/PID/fd/N] [--run-dir DIR] [--state-dir DIR] [--option WORD]...\n"
    "         [--foreground] [--verbose]\n"
    "         [--ready-fd N] [--version] [--help]\n"
    "       tangelo-watchdog --config FILE... [--run-dir DIR] [--state-dir DIR] [--foreground]\n"
    "         [--verbose] [--check]         of several files the first that is there\n"
    "       tangelo-watchdog --adopt --mount-point DIR [--run-dir DIR] [--foreground]\n"
    "         [--verbose] [--ready-fd N]\n"
    "Makes one mount and keeps it alive. `tangelo mount` starts it; so does systemd. --adopt\n"
    "takes over a mount whose watchdog has died.\n";

namespace {

failure<problem> usage_failure(std::string text) {
  return failure{problem{exit_code::usage, std::move(text), "see tangelo-watchdog --help"}};
}

outcome<std::string> resolve(const std::string& path) {
  struct free_it {
    void operator()(char* p) const noexcept { std::free(p); }
  };
  const std::unique_ptr<char, free_it> real(::realpath(path.c_str(), nullptr));
  if (real == nullptr)
    return failure{problem{exit_code::usage, path + ": " + std::strerror(errno),
                           errno == ENOENT ? "make the directory first: mkdir -p " + path : ""}};
  return std::string(real.get());
}

// What the flags and values of the command line set; filled word by word.
struct raw_settings {
  watchdog_settings s;
  std::vector<std::string> options;
  std::string mount_point_place;  // in the file

  bool take_flag(std::string_view word) {
    if (word == "--foreground") s.foreground = true;
    else if (word == "--adopt") s.adopt = true;
    else if (word == "--check") s.check = true;
    else if (word == "--resume-failed") s.resume_failed = true;
    else if (word == "--verbose") s.verbose = true;
    else if (word == "--version") s.show_version = true;
    else if (word == "--help") s.show_help = true;
    else return false;
    return true;
  }
  bool take_value(std::string_view word, const std::string& value) {
    if (word == "--source") s.source = value;
    else if (word == "--mount-point") s.mount_point = value;
    else if (word == "--through") s.through = value;
    else if (word == "--config") take_file(value);
    else if (word == "--run-dir") s.run_dir = value;
    else if (word == "--state-dir") s.state_dir = value;
    else if (word == "--option") options.push_back(value);
    else if (word == "--ready-fd") return take_number(value);
    else if (word == "--resume") return take_resume(value);
    else return false;
    return true;
  }
  // Of several the first that is there.
  void take_file(const std::string& path) {
    if (s.config.empty() || ::access(s.config.c_str(), F_OK) != 0) s.config = path;
  }
  bool take_number(const std::string& value) {
    const char* end = value.data() + value.size();
    const auto [at, error] = std::from_chars(value.data(), end, s.ready_fd);
    return error == std::errc{} && at == end && s.ready_fd > 2;
  }
  bool take_resume(std::string_view text) {
    s.resume = true;
    for (int* fd : s.inherited.all()) {
      const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), *fd);
      if (error != std::errc{}) return false;
      text.remove_prefix(static_cast<std::size_t>(at - text.data()));
      if (!text.empty() && text.front() == ',') text.remove_prefix(1);
    }
    return text.empty();
  }
};

outcome<void> name_mount(watchdog_settings& s, std::string mount_point) {
  s.mount_point = std::move(mount_point);
  s.name = mount_name_of(s.mount_point);
  if (s.mount_point.size() >= 1024 || s.source.size() >= 1024)
    return usage_failure(s.mount_point + ": this mount point or source is too long");
  if (s.name.empty()) return usage_failure(s.mount_point + ": not the path of a mount point");
  return {};
}

outcome<void> take_config(raw_settings& raw) {
  if (raw.s.config.empty())
    return raw.s.check ? usage_failure("--check needs --config") : outcome<void>();
  if (!raw.s.source.empty() || !raw.s.mount_point.empty() || !raw.options.empty() || raw.s.adopt)
    return usage_failure("--config: the file names source, mount point and options");
  outcome<mount_config> config = read_mount_config(raw.s.config);
  if (!config) return failure{config.error()};
  raw.s.source = config->source;
  raw.s.mount_point = config->mount_point;
  raw.options = config->options;
  raw.s.through = config->through;
  raw.mount_point_place = config->mount_point_place;
  return {};
}

// Where a mount of ours is there already, its directory is not touched: it may be without anybody
// who serves it, and about to be adopted.
outcome<std::string> resolve_mount_point(const std::string& path, bool by_path) {
  const std::string plain = path.starts_with('/') ? absolute_path(path, "/") : std::string();
  const std::vector<mount_entry> table = read_mount_table();
  const mount_entry* there = find_mount(table, plain);
  const bool ours = there != nullptr && there->type == mount_type;
  return ours || !by_path ? plain : resolve(path);
}

// The mount is there, and perhaps dead: its directory is not touched.
outcome<watchdog_settings> complete_adoption(watchdog_settings s) {
  if (!s.source.empty()) return usage_failure("--adopt: the source is that of the mount");
  if (s.mount_point.empty() || s.mount_point.front() != '/')
    return usage_failure("--adopt needs --mount-point with an absolute path");
  const std::string path = absolute_path(s.mount_point, "/");
  outcome<void> named = name_mount(s, path);
  if (!named) return failure{named.error()};
  return s;
}

outcome<watchdog_settings> complete(raw_settings raw) {
  outcome<void> taken = take_config(raw);
  if (!taken) return failure{taken.error()};
  watchdog_settings s = std::move(raw.s);
  const auto in_file = [&raw](const problem& p) {
    return failure{problem{p.code, raw.mount_point_place + p.text, p.hint}};
  };
  s.under_systemd = s.foreground && std::getenv("NOTIFY_SOCKET") != nullptr;
  outcome<mount_options> options = parse_mount_options(raw.options);
  if (!options) return failure{options.error()};
  s.options = *std::move(options);
  if (s.adopt || s.resume) return complete_adoption(std::move(s));
  if (s.source.empty()) return usage_failure("--source is missing");
  if (s.mount_point.empty()) return usage_failure("--mount-point is missing");
  outcome<mount_source> source = parse_mount_source(s.source);
  if (!source) return failure{source.error()};
  s.parsed_source = *std::move(source);
  outcome<std::string> real = resolve_mount_point(s.mount_point, s.through.empty());
  if (!real) return in_file(real.error());
  outcome<void> named = name_mount(s, *std::move(real));
  if (!named) return in_file(named.error());
  return s;
}

}  // namespace

std::string resume_text(resume_fds fds) {
  std::string text;
  for (const int* fd : fds.all()) text += (text.empty() ? "" : ",") + std::to_string(*fd);
  return text;
}

outcome<watchdog_settings> parse_settings(const std::vector<std::string>& arguments,
                                          int& ready_fd) {
  raw_settings raw;
  raw.s.run_dir = default_run_dir();
  raw.s.state_dir = default_state_dir();
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    std::string word = arguments[i];
    if (raw.take_flag(word)) continue;
    std::string value;
    if (const std::size_t equals = word.find('='); equals != std::string::npos) {
      value = word.substr(equals + 1);
      word.resize(equals);
    } else if (i + 1 < arguments.size()) {
      value = arguments[++i];
    } else {
      return usage_failure("'" + word + "': unknown, or its value is missing");
    }
    if (!raw.take_value(word, value))
      return usage_failure("'" + word + "': unknown, or '" + value + "' is not a value of it");
    ready_fd = raw.s.ready_fd;
  }
  if (raw.s.show_help || raw.s.show_version) return std::move(raw.s);
  return complete(std::move(raw));
}

}  // namespace tangelo
