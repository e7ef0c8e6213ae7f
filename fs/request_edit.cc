// Fields of a decoded request that the front end fills in later: numbers that it chooses itself.
#include <cstring>
#include <optional>

#include "base/check.h"
#include "fs/removed_inodes.h"
#include "fs/request.h"
#include "protocol/data_ops.h"
#include "protocol/open_flags.h"

namespace tangelo {

bool is_creating(opcode op) noexcept {
  return opens_new_file(op) || op == opcode::mkdir || op == opcode::mknod ||
         op == opcode::symlink;
}

namespace {

// Changes fields of a creating call in place; names do not move, since all fields have fixed size.
template <class F>
void edit_make_call(op_cell& cell, F edit) noexcept {
  std::byte copy[op_body_size_max];
  std::memcpy(copy, cell.body, cell.body_size);
  std::optional<make_call> body = decode<make_call>({copy, cell.body_size});
  CHECK(body.has_value());
  edit(*body);
  const std::optional<std::size_t> size = encode(*body, cell.body);
  CHECK(size == cell.body_size);
}

// The same of the calls that open or remove something.
template <class Body>
void edit_handle(op_cell& cell, std::uint64_t handle) noexcept {
  std::byte copy[op_body_size_max];
  std::memcpy(copy, cell.body, cell.body_size);
  std::optional<Body> body = decode<Body>({copy, cell.body_size});
  CHECK(body.has_value());
  body->handle = handle;
  CHECK(encode(*body, cell.body) == std::size_t{cell.body_size});
}

}  // namespace

bool is_editable(const op_cell& cell) noexcept {
  if (!is_creating(cell.op)) return true;
  const std::optional<make_call> body = decode<make_call>({cell.body, cell.body_size});
  std::byte again[op_body_size_max];
  return body && encode(*body, again) == std::size_t{cell.body_size};
}

void set_new_inode(op_cell& cell, std::uint64_t inode) noexcept {
  edit_make_call(cell, [inode](make_call& c) { c.inode = inode; });
}

void set_new_handle(op_cell& cell, std::uint64_t handle) noexcept {
  cell.handle = handle;
  if (opens_new_file(cell.op)) {
    edit_make_call(cell, [handle](make_call& c) { c.handle = handle; });
    return;
  }
  if (cell.op == opcode::rename) return edit_handle<replace_call>(cell, handle);
  if (may_keep_removed(cell.op)) return edit_handle<remove_call>(cell, handle);
  edit_handle<open_call>(cell, handle);
}

// Every body begins with its caller.
bool set_caller(op_cell& cell, const credential& who) noexcept {
  const std::optional<credential> before = decode<credential>({cell.body, cell.body_size});
  if (!before) return false;
  std::byte body[op_body_size_max];
  const std::size_t old_size = encode(*before, body).value_or(0);
  const std::size_t new_size = encode(who, body).value_or(0);
  const byte_span rest = byte_span(cell.body, cell.body_size).subspan(old_size);
  if (new_size + rest.size() > sizeof body) return false;
  copy_bytes(mutable_byte_span(body).subspan(new_size), rest);
  cell.body_size = static_cast<std::uint16_t>(new_size + rest.size());
  std::memcpy(cell.body, body, cell.body_size);
  return true;
}

void set_open_again(op_cell& cell) noexcept {
  std::optional<open_call> body = decode<open_call>({cell.body, cell.body_size});
  CHECK(body.has_value());
  body->open_flags |= open_again;
  CHECK(encode(*body, cell.body) == std::size_t{cell.body_size});
}

}  // namespace tangelo
