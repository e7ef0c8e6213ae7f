#include "protocol/errors.h"

#include <array>
#include <cerrno>

namespace tangelo {

namespace {

using enum error_code;

constexpr std::array rows = std::to_array<error_row>({
    {ok, 0, "ok", "success", false},
    {not_permitted, EPERM, "not_permitted", "operation not permitted", false},
    {no_entry, ENOENT, "no_entry", "no such file or directory", false},
    {io, EIO, "io", "input/output error", false},
    {no_device_address, ENXIO, "no_device_address", "no such device or address", false},
    {too_big, E2BIG, "too_big", "argument list too long", false},
    {bad_handle, EBADF, "bad_handle", "bad file handle", false},
    {again, EAGAIN, "again", "try again", false},
    {no_memory, ENOMEM, "no_memory", "out of memory", false},
    {access_denied, EACCES, "access_denied", "permission denied", false},
    {busy, EBUSY, "busy", "resource busy", false},
    {exists, EEXIST, "exists", "file exists", false},
    {cross_device, EXDEV, "cross_device", "on another volume", false},
    {not_directory, ENOTDIR, "not_directory", "not a directory", false},
    {is_directory, EISDIR, "is_directory", "is a directory", false},
    {invalid, EINVAL, "invalid", "invalid argument", false},
    {file_too_big, EFBIG, "file_too_big", "file too large", false},
    {no_space, ENOSPC, "no_space", "no space left on the volume", false},
    {read_only, EROFS, "read_only", "read-only volume", false},
    {too_many_links, EMLINK, "too_many_links", "too many links", false},
    {range, ERANGE, "range", "result does not fit", false},
    {deadlock, EDEADLK, "deadlock", "waiting for it would be a deadlock", false},
    {name_too_long, ENAMETOOLONG, "name_too_long", "name too long", false},
    {no_locks, ENOLCK, "no_locks", "no locks available", false},
    {not_implemented, ENOSYS, "not_implemented", "not implemented", false},
    {not_empty, ENOTEMPTY, "not_empty", "directory not empty", false},
    {loop_of_links, ELOOP, "loop_of_links", "too many levels of symbolic links", false},
    {no_data, ENODATA, "no_data", "no such attribute", false},
    {overflow, EOVERFLOW, "overflow", "value too large", false},
    {not_supported, EOPNOTSUPP, "not_supported", "not supported", false},
    {stale, ESTALE, "stale", "stale file handle", false},
    {quota, EDQUOT, "quota", "quota exceeded", false},
    {interrupted, EINTR, "interrupted", "interrupted", false},
    {not_connected, ENOTCONN, "not_connected", "not connected to the server", true},
    {again_later, EAGAIN, "again_later", "the server asks to call again later", true},
    {message_too_big, EIO, "message_too_big", "message exceeds the negotiated size", false},
    {timed_out, ETIMEDOUT, "timed_out", "timed out", true},
    {evicted, EIO, "evicted", "evicted by the server", false},
    {protocol, EIO, "protocol", "protocol violation", false},
    {integrity, EIO, "integrity", "protection information mismatch", true},
    {slot_busy, EIO, "slot_busy", "session slot in use", false},
    {stale_replay, EIO, "stale_replay", "replay outside a recovery window", true},
    {bad_version, EPROTO, "bad_version", "protocol version not supported", false},
    {denied, EACCES, "denied", "access to the volume denied", false},
    {not_reserved, EIO, "not_reserved", "inode number not reserved for this client", false},
    {queued, EAGAIN, "queued", "waiting for the lock", false},
});

}  // namespace

const error_row& row_of(error_code code) noexcept {
  const error_row* fallback = &rows[0];
  for (const error_row& r : rows) {
    if (r.code == code) return r;
    if (r.code == io) fallback = &r;
  }
  return *fallback;
}

int errno_of(error_code code) noexcept { return row_of(code).errno_value; }
std::string_view name_of_error(error_code code) noexcept { return row_of(code).name; }

error_code error_of_errno(int errno_value) noexcept {
  for (const error_row& r : rows)
    if (r.errno_value == errno_value && static_cast<unsigned>(r.code) < 100) return r.code;
  return io;
}

error_code error_of_wire(std::uint16_t number) noexcept {
  for (const error_row& r : rows)
    if (static_cast<std::uint16_t>(r.code) == number) return r.code;
  return io;
}

}  // namespace tangelo
