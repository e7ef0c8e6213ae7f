#include "watchdog/unmounter.h"

#include <cerrno>
#include <system_error>
#include <thread>

#include "base/fusermount.h"
#include "base/mount_table.h"

namespace tangelo {

namespace {

int unmount_ours(const std::string& mount_point, const std::string& device, int flags) {
  const std::vector<mount_entry> table = read_mount_table();
  const mount_entry* top = find_mount(table, mount_point);
  if (top == nullptr) return ENOENT;
  // Something else was mounted over it, perhaps under a number that became free.
  if (top->device != device || top->type != mount_type) return EBUSY;
  return unmount_fuse(mount_point, device, flags);
}

}  // namespace

bool unmounter::is_covered() const {
  const std::vector<mount_entry> table = read_mount_table();
  const mount_entry* top = find_mount(table, mount_point_);
  return top != nullptr && top->device != device_;
}

void unmounter::unmount(int flags, std::function<void(int)> done) noexcept {
  if (threads_ == thread_count_max) return time_.post([done = std::move(done)] { done(EAGAIN); });
  ++threads_;
  const auto finish = [this, done = std::move(done)](int error) {
    --threads_;
    done(error);
  };
  try {
    std::thread([&time = time_, mount_point = mount_point_, device = device_, flags, finish] {
      const int error = unmount_ours(mount_point, device, flags);
      time.post_from_thread([finish, error] { finish(error); });
    }).detach();
  } catch (const std::system_error&) {
    time_.post([finish] { finish(EAGAIN); });
  }
}

}  // namespace tangelo
