#include "fs/credentials.h"

#include <linux/capability.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/clock.h"
#include "fs/fuse_abi.h"

namespace tangelo {

namespace {

constexpr std::size_t entry_count = 1024;
constexpr std::uint64_t age_max_ns = ns_per_s;

// What follows `key` on its line; nothing unless the whole line is there.
std::optional<std::string_view> line_of(std::string_view status, std::string_view key) noexcept {
  std::size_t at = status.find(key);
  while (at != status.npos && (at == 0 || status[at - 1] != '\n')) at = status.find(key, at + 1);
  if (at == status.npos) return std::nullopt;
  const std::string_view rest = status.substr(at + key.size());
  const std::size_t end = rest.find('\n');
  if (end == rest.npos) return std::nullopt;
  return rest.substr(0, end);
}

bool take_number(std::string_view& line, std::uint64_t& number, int base) noexcept {
  while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), number, base);
  if (error != std::errc{}) return false;
  line.remove_prefix(static_cast<std::size_t>(end - line.data()));
  return true;
}

// The last of four: the one that counts for filesystems.
bool fs_id_is(std::string_view status, std::string_view key, std::uint32_t id) noexcept {
  std::optional<std::string_view> line = line_of(status, key);
  std::uint64_t number = 0;
  for (int n = 0; n < 4; ++n)
    if (!line || !take_number(*line, number, 10)) return false;
  return number == id;
}

std::uint8_t powers_of(std::uint64_t capabilities) noexcept {
  struct pair {
    int capability;
    std::uint8_t ours;
  };
  constexpr pair pairs[] = {
      {CAP_CHOWN, power::chown},   {CAP_DAC_OVERRIDE, power::dac_override},
      {CAP_FOWNER, power::fowner}, {CAP_DAC_READ_SEARCH, power::dac_read_search},
      {CAP_FSETID, power::fsetid}, {CAP_SYS_ADMIN, power::sys_admin},
      {CAP_SETFCAP, power::setfcap},
  };
  std::uint8_t powers = 0;
  for (const pair& p : pairs)
    if ((capabilities >> p.capability & 1) != 0) powers |= p.ours;
  return powers;
}

bool are_same(const credential& a, const credential& b) noexcept {
  return a.powers == b.powers && std::equal(a.groups.begin(), a.groups.begin() + a.group_count,
                                            b.groups.begin(), b.groups.begin() + b.group_count);
}

}  // namespace

bool wants_groups(std::uint32_t kernel_opcode) noexcept {
  switch (kernel_opcode) {
    case FUSE_LOOKUP:
    case FUSE_SETATTR:
    case FUSE_SYMLINK:
    case FUSE_MKNOD:
    case FUSE_MKDIR:
    case FUSE_UNLINK:
    case FUSE_RMDIR:
    case FUSE_RENAME:
    case FUSE_RENAME2:
    case FUSE_LINK:
    case FUSE_OPEN:
    case FUSE_CREATE:
    case FUSE_WRITE:  // these three may take setgid away
    case FUSE_FALLOCATE:
    case FUSE_COPY_FILE_RANGE:
    case fuse_opcode_copy_range_64:
    case FUSE_TMPFILE:
    case FUSE_SETXATTR:
    case FUSE_GETXATTR:
    case FUSE_LISTXATTR:
    case FUSE_REMOVEXATTR: return true;
    default: return false;
  }
}

bool add_groups(std::string_view status, credential& who) noexcept {
  if (!fs_id_is(status, "Uid:", who.uid) || !fs_id_is(status, "Gid:", who.gid)) return false;
  std::optional<std::string_view> groups = line_of(status, "Groups:");
  std::optional<std::string_view> effective = line_of(status, "CapEff:");
  std::uint64_t number = 0;
  if (!groups || !effective || !take_number(*effective, number, 16)) return false;
  credential found = who;
  found.powers = powers_of(number);
  found.group_count = 0;
  while (take_number(*groups, number, 10)) {
    if (found.group_count == group_count_max) return false;
    found.groups[found.group_count++] = static_cast<std::uint32_t>(number);
  }
  who = found;
  return true;
}

credentials::credentials(caller_inspector& callers) : callers_(callers), entries_(entry_count) {}

credential credentials::read_since(std::uint64_t since_ns, std::uint32_t tid, std::uint32_t uid,
                                   std::uint32_t gid, std::uint64_t now_ns) noexcept {
  credential who{uid, gid, 0, 0, {}};
  if (uid == 0) return who;
  entry& e = place_of(tid);
  if (tid != 0 && e.tid == tid && e.who.uid == uid && e.who.gid == gid && e.read_ns >= since_ns)
    return e.who;
  if (tid == 0 || !callers_.look_up(tid, who)) {
    who.powers = power::unknown_groups;
    return who;
  }
  e = {tid, now_ns, who};
  return who;
}

credential credentials::of(std::uint32_t tid, std::uint32_t uid, std::uint32_t gid,
                           std::uint64_t now_ns) noexcept {
  const std::uint64_t since_ns = now_ns < age_max_ns ? 0 : now_ns - age_max_ns + 1;
  return read_since(since_ns, tid, uid, gid, now_ns);
}

credential credentials::of_now(std::uint32_t tid, std::uint32_t uid, std::uint32_t gid,
                               std::uint64_t now_ns) noexcept {
  return read_since(now_ns, tid, uid, gid, now_ns);
}

bool credentials::renew(std::uint32_t tid, credential& who, std::uint64_t arrived_ns,
                        std::uint64_t now_ns) noexcept {
  if ((who.powers & power::unknown_groups) != 0) return false;
  const credential now = read_since(arrived_ns, tid, who.uid, who.gid, now_ns);
  if ((now.powers & power::unknown_groups) != 0 || are_same(now, who)) return false;
  who = now;
  return true;
}

bool credentials::is_administrator(std::uint32_t tid, std::uint32_t uid,
                                   std::uint32_t gid) noexcept {
  credential who{uid, gid, 0, 0, {}};
  return tid != 0 && callers_.look_up(tid, who) && (who.powers & power::sys_admin) != 0;
}

}  // namespace tangelo
