#include "cli/service_mount.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cli/process.h"

namespace tangelo {

namespace {

constexpr int start_wait_ms = 60'000;  // the unit says 30 s
constexpr int look_wait_ms = 10'000;
constexpr int end_wait_ms = 5'000;

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    char escape[8];
    if (byte < 0x20 || byte == 0x7f) {
      std::snprintf(escape, sizeof escape, "\\u%04x", byte);
      out += escape;
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

failure<problem> write_failure(const std::string& path) {
  return failure{problem{exit_code::failed, path + ": " + std::strerror(errno),
                         "is /run writable?"}};
}

outcome<void> write_asked(const std::string& run_root, const std::string& path,
                          const std::string& text) {
  for (const std::string& directory : {run_root, run_root + "/asked"})
    if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) return write_failure(directory);
  const std::string fresh = path + ".new";
  const unique_fd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd || ::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::rename(fresh.c_str(), path.c_str()) != 0)
    return write_failure(path);
  return {};
}

std::string property(const std::string& unit, const char* name) {
  const outcome<program_end> end =
      run_program({"systemctl", "show", "-P", name, unit}, look_wait_ms);
  std::string text = end ? end->output : std::string();
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

// The unit's last mount, which is not there any more, takes that file with it when it ends. False:
// it does not end, something still uses it.
bool wait_for_last(const std::string& unit) {
  constexpr int step_ms = 50;
  for (int waited = 0; waited < end_wait_ms; waited += step_ms) {
    const std::string state = property(unit, "ActiveState");
    if (state != "active" && state != "deactivating" && state != "reloading") return true;
    ::usleep(step_ms * 1000);
  }
  return false;
}

// Why it does not serve: its last words to systemd, and its exit code.
failure<problem> start_failure(const std::string& unit) {
  problem p;
  const int status = std::atoi(property(unit, "ExecMainStatus").c_str());
  if (status >= 1 && status <= static_cast<int>(exit_code::unreachable))
    p.code = static_cast<exit_code>(status);
  p.text = property(unit, "StatusText");
  if (p.text.empty()) p.text = unit + " does not start";
  p.hint = "see journalctl -u '" + unit + "'";
  // It would be tried again and again; and who asked for it has been told.
  (void)run_program({"systemctl", "stop", unit}, look_wait_ms);
  (void)run_program({"systemctl", "reset-failed", "--quiet", unit}, look_wait_ms);
  return failure{p};
}

}  // namespace

bool mounts_are_services() {
  if (::geteuid() != 0 || std::getenv("TANGELO_RUN_DIR") != nullptr) return false;
  if (::access("/run/systemd/system", F_OK) != 0) return false;
  for (const char* place : {"/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"})
    if (::access((std::string(place) + "/systemd/system/tangelo@.service").c_str(), F_OK) == 0)
      return true;
  return false;
}

std::string asked_text(const mount_ref& mount, const std::vector<std::string>& options,
                       const std::string& through) {
  std::string text = "source = " + quoted(mount.source) + "\nmount_point = " +
                     quoted(mount.mount_point) + "\noptions = [";
  for (std::size_t i = 0; i < options.size(); ++i)
    text += (i == 0 ? "" : ", ") + quoted(options[i]);
  text += "]\n";
  return through.empty() ? text : text + "through = " + quoted(through) + "\n";
}

outcome<void> start_service(const mount_ref& mount, const std::string& run_root,
                            const std::vector<std::string>& options,
                            const std::string& through) {
  const std::string unit = "tangelo@" + mount.name + ".service";
  const std::string path = run_root + "/asked/" + mount.name + ".toml";
  if (!wait_for_last(unit))
    return failure{problem{exit_code::failed,
                           mount.mount_point + ": " + unit + " runs, but mounts nothing here",
                           "something may use its last mount (umount -l): systemctl stop '" +
                               unit + "'"}};
  outcome<void> written = write_asked(run_root, path, asked_text(mount, options, through));
  if (!written) return written;
  // Now, whatever else is being started: at boot, somebody waits for this mount whom the unit's
  // own dependencies may wait for.
  const outcome<program_end> end = run_program(
      {"systemctl", "start", "--quiet", "--job-mode=ignore-dependencies", unit}, start_wait_ms);
  if (end && end->status == 0) return {};
  const failure<problem> why = end ? start_failure(unit) : failure{end.error()};
  ::unlink(path.c_str());
  return why;
}

}  // namespace tangelo
