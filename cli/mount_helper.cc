#include "cli/mount_helper.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/fd.h"
#include "base/places.h"
#include "cli/commands.h"
#include "cli/control.h"
#include "cli/mounts.h"
#include "cli/render.h"
#include "protocol/policy.h"

namespace tangelo {

namespace {

failure<problem> usage_failure(std::string text) {
  return failure{problem{exit_code::usage, std::move(text), "see man mount.tangelo"}};
}

// Words of fstab that are not ours to act on.
bool is_for_others(std::string_view word) {
  for (const char* one : {"defaults", "auto", "noauto", "nofail", "_netdev", "nouser", "nousers",
                          "noowner", "nogroup", "remount"})
    if (word == one) return true;
  for (const char* begin : {"x-", "X-", "comment=", "uhelper=", "helper=", "user_id=", "group_id=",
                            "rootmode=", "fd=", "max_read=", "blksize=", "user=", "context=",
                            "fscontext=", "defcontext=", "rootcontext="})
    if (word.starts_with(begin)) return true;
  return false;
}

// Whoever may be let mount something is not let bring programs with rights.
std::vector<std::string> implied_by(std::string_view word) {
  if (word == "user" || word == "users") return {"noexec", "nosuid", "nodev"};
  if (word == "owner" || word == "group") return {"nosuid", "nodev"};
  return {};
}

void take_option(const std::string& word, helper_call& call) {
  if (word == "remount") call.remount = true;
  std::vector<std::string>& to = call.mount.options;
  const std::vector<std::string> implied = implied_by(word);
  to.insert(to.end(), implied.begin(), implied.end());
  if (implied.empty() && !is_for_others(word)) to.push_back(word);
}

struct flag_row {
  const char* word;
  unsigned long set;
  unsigned long clear;
};
constexpr flag_row flag_rows[] = {
    {"ro", MS_RDONLY, 0},     {"rw", 0, MS_RDONLY},     {"suid", 0, MS_NOSUID},
    {"nosuid", MS_NOSUID, 0}, {"dev", 0, MS_NODEV},     {"nodev", MS_NODEV, 0},
    {"exec", 0, MS_NOEXEC},   {"noexec", MS_NOEXEC, 0}, {"silent", MS_SILENT, 0},
};

// What every mount is, or is when nothing is said, and what stays as it is.
bool says_nothing(std::string_view word) {
  for (const char* one : {"relatime", "atime", "diratime", "async", "hard", "intr", "lock",
                          "allow_other", "default_permissions"})
    if (word == one) return true;
  return false;
}

bool is_policy_word(std::string_view word) {
  policy_change unused;
  return parse_policy_word(word, unused).has_value();
}

// One word of letters: "-fnv", or the last of them with its value: "-vo A", "-oA".
outcome<void> take_flags(std::string_view letters, std::size_t& at,
                         const std::vector<std::string>& words, helper_call& call,
                         std::vector<std::string>& options) {
  for (std::size_t i = 1; i < letters.size(); ++i) {
    const char c = letters[i];
    if (c == 'f') call.fake = true;
    if (c == 's' || c == 'n' || c == 'f') continue;
    if (c == 'v') {
      call.mount.quiet = false;
      continue;
    }
    if (c != 'o' && c != 't' && c != 'N') return usage_failure(std::string("-") + c + ": unknown");
    std::string value(letters.substr(i + 1));
    if (value.empty() && at + 1 == words.size())
      return usage_failure(std::string("-") + c + ": its value is missing");
    if (value.empty()) value = words[++at];
    if (c == 'o') options.push_back(value);
    if (c == 'N') call.mount_namespace = value;
    return {};
  }
  return {};
}

outcome<void> enter_namespace(const std::string& where) {
  if (where.empty()) return {};
  const bool is_pid = where.find_first_not_of("0123456789") == std::string::npos;
  const std::string path = is_pid ? "/proc/" + where + "/ns/mnt" : where;
  const unique_fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd || ::setns(fd.get(), CLONE_NEWNS) != 0)
    return failure{problem{exit_code::failed, path + ": " + std::strerror(errno),
                           "is it a mount namespace, and are you root?"}};
  return {};
}

outcome<std::string> read_mount_file(const std::string& path) {
  const unique_fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text(65'536, '\0');
  const ssize_t n = fd ? ::read(fd.get(), text.data(), text.size()) : -1;
  if (n < 0)
    return failure{problem{exit_code::unreachable, path + ": " + std::strerror(errno),
                           "see tangelo status"}};
  text.resize(static_cast<std::size_t>(n));
  return text;
}

outcome<mount_ref> remount(const helper_call& call) {
  outcome<mount_ref> mount = find_mount_at(call.mount.directory);
  if (!mount) return mount;
  if (::geteuid() != 0)
    return failure{problem{exit_code::usage, mount->mount_point + ": remounting needs root",
                           "try: sudo mount -o remount,... " + mount->mount_point}};
  outcome<std::string> file =
      read_mount_file(mount_run_dir(run_root_of(*mount), mount->name) + "/mount.toml");
  if (!file) return failure{file.error()};
  outcome<remount_change> change =
      remount_of(call.mount.options, words_in_mount_file(*file));
  if (!change) return failure{change.error()};
  if (!change->policy.empty()) {
    outcome<void> set = run_set({mount->mount_point, change->policy, call.mount.quiet});
    if (!set) return failure{set.error()};
  }
  if (::mount(nullptr, mount->mount_point.c_str(), nullptr, MS_REMOUNT | change->flags, nullptr) !=
      0)
    return failure{problem{exit_code::failed,
                           mount->mount_point + ": remount: " + std::strerror(errno),
                           errno == EBUSY ? "files are open for writing: fuser -vm " +
                                                mount->mount_point
                                          : ""}};
  return mount;
}

}  // namespace

outcome<helper_call> parse_helper_call(const std::vector<std::string>& words) {
  helper_call call;
  call.mount.quiet = true;
  std::vector<std::string> names, options;
  for (std::size_t at = 0; at < words.size(); ++at) {
    const std::string& word = words[at];
    if (word == "--help" || word == "-h" || word == "--version") {
      call.show_help = true;
      return call;
    }
    if (word.size() < 2 || word.front() != '-') {
      names.push_back(word);
      continue;
    }
    outcome<void> taken = take_flags(word, at, words, call, options);
    if (!taken) return failure{taken.error()};
  }
  if (names.size() != 2) return usage_failure("SOURCE and DIR are needed, and nothing else");
  call.mount.source = names[0];
  call.mount.directory = names[1];
  for (const std::string& word : split_options(options)) take_option(word, call);
  return call;
}

outcome<remount_change> remount_of(const std::vector<std::string>& options,
                                   const std::vector<std::string>& before) {
  remount_change change;
  change.flags = MS_NOSUID | MS_NODEV | MS_RELATIME;
  for (const std::string& word : before)
    if (word == "noatime") change.flags = (change.flags & ~std::uint64_t{MS_RELATIME}) | MS_NOATIME;
    else if (word == "nodiratime") change.flags |= MS_NODIRATIME;
  for (const std::string& word : options) {
    const auto* row = std::find_if(std::begin(flag_rows), std::end(flag_rows),
                                   [&word](const flag_row& r) { return word == r.word; });
    if (row != std::end(flag_rows)) {
      change.flags = (change.flags & ~row->clear) | row->set;
    } else if (is_policy_word(word)) {
      change.policy.push_back(word);
    } else if (!says_nothing(word) &&
               std::find(before.begin(), before.end(), word) == before.end()) {
      return failure{problem{exit_code::usage,
                             "remount: '" + word + "' cannot be changed while it is mounted",
                             "ro, exec, suid, dev, their opposites, commit= and the times of "
                             "`tangelo set` can; else unmount and mount"}};
    }
  }
  return change;
}

std::vector<std::string> words_in_mount_file(std::string_view text) {
  constexpr std::string_view key = "\noptions = [";
  std::vector<std::string> words;
  const std::size_t begin = text.find(key);
  if (begin == text.npos) return words;
  bool inside = false;
  std::string word;
  for (std::size_t i = begin + key.size(); i < text.size(); ++i) {
    const char c = text[i];
    if (!inside && c == ']') break;
    if (c == '"') {
      if (inside) words.push_back(std::exchange(word, {}));
      inside = !inside;
    } else if (inside) {
      if (c == '\\' && ++i == text.size()) break;
      word += text[i];
    }
  }
  return words;
}

int mount_exit_code(const problem& p) {
  constexpr int usage = 1, did_not_work = 32;
  return p.code == exit_code::usage ? usage : did_not_work;
}

outcome<void> run_mount_helper(const helper_call& call) {
  if (call.fake) return {};
  if (outcome<void> entered = enter_namespace(call.mount_namespace); !entered) return entered;
  if (!call.remount) return run_mount(call.mount);
  const outcome<mount_ref> done = remount(call);
  return done ? outcome<void>() : outcome<void>(failure{done.error()});
}

outcome<void> run_remount(const mount_arguments& words) {
  helper_call call;
  call.mount.directory = words.directory;
  call.mount.quiet = true;
  for (const std::string& word : words.options) take_option(word, call);
  const outcome<mount_ref> done = remount(call);
  if (!done) return failure{done.error()};
  if (words.quiet) return {};
  const std::string text = printable(done->mount_point) + ": remounted\n";
  std::fputs((words.json ? done_json(*done, "remounted") : text).c_str(), stdout);
  return {};
}

}  // namespace tangelo
