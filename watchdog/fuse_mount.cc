#include "watchdog/fuse_mount.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "base/fusermount.h"
#include "base/log.h"
#include "base/mount_table.h"
#include "watchdog/fuse_init.h"

namespace tangelo {

namespace {

std::string error_text() { return std::strerror(errno); }

outcome<void> check_mount_point(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0)
    return failure{problem{exit_code::usage, path + ": " + error_text(),
                           "make the directory first: mkdir -p " + path}};
  if (!S_ISDIR(st.st_mode))
    return failure{problem{exit_code::usage, path + ": not a directory",
                           "a mount point is a directory"}};
  if (path == "/")
    return failure{problem{exit_code::usage, "/: not a mount point",
                           "it could not be taken away again: mount on a directory"}};
  return {};
}

const char* hint_for_device(int error_number) {
  if (error_number == ENOENT) return "load the fuse module (modprobe fuse) or, in a container, "
                                     "start it with --device /dev/fuse";
  if (error_number == ENODEV || error_number == ENXIO) return "load the module: modprobe fuse";
  return "it has to be readable and writable by you (udev makes it so for all: mode 0666); in a "
         "container start that with --device /dev/fuse";
}

std::string max_read() { return "max_read=" + std::to_string(fuse_write_size_max); }

struct flag_word {
  unsigned long flag;
  const char* word;
};
// Those that fusermount3 knows. Others are of times, which are the server's and the front end's.
constexpr flag_word flag_words[] = {
    {MS_NOSUID, "nosuid"},   {MS_NODEV, "nodev"},     {MS_NOEXEC, "noexec"},
    {MS_NOATIME, "noatime"}, {MS_DIRSYNC, "dirsync"}, {MS_SYNCHRONOUS, "sync"},
};

// Without root: fusermount3 checks what a user may mount, and where.
outcome<unique_fd> make_users_mount(const std::string& source, const std::string& mount_point,
                                    const mount_options& options) {
  if ((options.flags & MS_NOSUID) == 0 || (options.flags & MS_NODEV) == 0)
    return failure{problem{exit_code::usage, "mount options suid and dev need root",
                           "leave them out, or mount as root"}};
  const std::vector<mount_entry> table = read_mount_table();
  const mount_entry* around = mount_around(table, mount_point);
  if (around != nullptr && around->type.starts_with("fuse"))
    return failure{problem{exit_code::failed,
                           mount_point + ": is in another FUSE mount, on " + around->mount_point,
                           "FUSE lets users mount in none: mount elsewhere, or as root"}};
  std::string words = (options.flags & MS_RDONLY) != 0 ? "ro" : "rw";
  for (const flag_word& f : flag_words)
    if ((options.flags & f.flag) != 0) words.append(",").append(f.word);
  words += ",default_permissions," + max_read() + ",subtype=tangelo,fsname=" +
           fusermount_value(source);
  if (options.allow_other) words += ",allow_other";
  return mount_by_fusermount(mount_point, words);
}

}  // namespace

outcome<unique_fd> make_fuse_mount(const std::string& source, const std::string& mount_point,
                                   const mount_options& options) {
  outcome<void> usable = check_mount_point(mount_point);
  if (!usable) return failure{usable.error()};
  unique_fd fd(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!fd)
    return failure{problem{exit_code::failed, "/dev/fuse: " + error_text(),
                           hint_for_device(errno)}};
  if (::geteuid() != 0) return make_users_mount(source, mount_point, options);
  const std::string data = "fd=" + std::to_string(fd.get()) +
                           ",rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other," +
                           max_read();
  if (::mount(source.c_str(), mount_point.c_str(), "fuse.tangelo", options.flags, data.c_str()) !=
      0)
    return failure{problem{exit_code::failed, mount_point + ": mount: " + error_text(),
                           errno == EPERM ? "mounting needs root (CAP_SYS_ADMIN)" : ""}};
  return fd;
}

outcome<void> agree_on_init(int fuse_fd, watchdog_page& page, const mount_options& options) {
  constexpr int init_wait_ms = 5000;
  pollfd p{fuse_fd, POLLIN, 0};
  if (::poll(&p, 1, init_wait_ms) != 1)
    return failure{problem{exit_code::failed, "/dev/fuse: the kernel sent no INIT in 5 s", {}}};
  // The kernel refuses a buffer that would not hold the largest request.
  std::vector<std::byte> buffer(fuse_write_size_max + 8192);
  const ssize_t got = ::read(fuse_fd, buffer.data(), buffer.size());
  if (got <= 0)
    return failure{problem{exit_code::failed, "/dev/fuse: INIT: " + error_text(), {}}};
  const byte_span request(buffer.data(), static_cast<std::size_t>(got));
  outcome<init_reply> reply =
      answer_init(request, read_cache_policy(page.policy), options.locks);
  if (!reply) return failure{reply.error()};
  if (request.size() > page.init_request.size())
    return failure{problem{exit_code::version, "/dev/fuse: INIT is larger than we can keep", {}}};
  page.init_request_size = static_cast<std::uint32_t>(
      copy_bytes(std::span<std::byte>(page.init_request), request));
  page.init_reply_size = static_cast<std::uint32_t>(
      copy_bytes(std::span<std::byte>(page.init_reply), object_bytes(*reply)));
  if (::write(fuse_fd, &*reply, sizeof *reply) != static_cast<ssize_t>(sizeof *reply))
    return failure{problem{exit_code::failed, "/dev/fuse: INIT reply: " + error_text(), {}}};
  const std::uint64_t agreed = init_flags(reply->body.flags, reply->body.flags2);
  log_info("FUSE 7.{} agreed, flags {:#x}, resend {}", reply->body.minor, agreed,
           (agreed & fuse_has_resend) != 0 ? "offered" : "not offered");
  return {};
}

}  // namespace tangelo
