#include "cli/op_paths.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <filesystem>
#include <optional>

#include "base/mount_table.h"
#include "cli/control.h"

namespace tangelo {

namespace {

constexpr std::size_t descriptors_max = 1024;  // of a process that are looked at

struct wanted_file {
  const mount_ref& mount;
  std::string device;  // "major:minor" of the mount
  std::uint64_t inode;
};

// Where `link` leads to, if that is the wanted file. DONT_SYNC: the kernel answers by itself.
std::optional<std::string> target_of(const std::string& link, const wanted_file& wanted) {
  char target[PATH_MAX];
  const ssize_t n = ::readlink(link.c_str(), target, sizeof target);
  if (n <= 0) return std::nullopt;
  const std::string_view path(target, static_cast<std::size_t>(n));
  if (!path.starts_with(wanted.mount.mount_point)) return std::nullopt;
  struct statx st{};
  if (::statx(AT_FDCWD, link.c_str(), AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_INO, &st) != 0)
    return std::nullopt;
  const std::string device = std::to_string(st.stx_dev_major) + ":" +
                             std::to_string(st.stx_dev_minor);
  if (st.stx_ino != wanted.inode || device != wanted.device) return std::nullopt;
  return printable(path);
}

}  // namespace

std::string path_of(const mount_ref& mount, std::uint32_t pid, std::uint64_t inode) {
  if (inode == root_inode) return mount.mount_point;
  if (pid == 0 || inode == 0) return {};
  const std::vector<mount_entry> table = read_mount_table();
  const mount_entry* entry = find_mount(table, mount.mount_point);
  if (entry == nullptr) return {};
  const wanted_file wanted{mount, entry->device, inode};
  const std::string process = "/proc/" + std::to_string(pid);
  if (auto path = target_of(process + "/cwd", wanted)) return *path;
  std::error_code e;
  std::size_t seen = 0;
  for (std::filesystem::directory_iterator at(process + "/fd", e);
       !e && at != std::filesystem::directory_iterator() && seen < descriptors_max;
       at.increment(e), ++seen)
    if (auto path = target_of(at->path().string(), wanted)) return *path;
  return {};
}

std::string name_in_directory(const op_cell& cell) {
  const byte_span body{cell.body, std::min<std::size_t>(cell.body_size, op_body_size_max)};
  std::string_view name;
  if (cell.op == opcode::lookup || cell.op == opcode::unlink || cell.op == opcode::rmdir) {
    if (const auto c = decode<name_call>(body)) name = c->name;
  } else if (cell.op == opcode::mknod || cell.op == opcode::mkdir || cell.op == opcode::symlink ||
             cell.op == opcode::create) {
    if (const auto c = decode<make_call>(body)) name = c->name;
  } else if (cell.op == opcode::rename) {
    if (const auto c = decode<rename_call>(body)) name = c->name;
  }
  return printable(name);
}

}  // namespace tangelo
