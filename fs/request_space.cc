// Requests on the room and the bytes of files beyond reading and writing.
#include <sys/stat.h>
#include <unistd.h>

#include "fs/request_decoding.h"
#include "protocol/data_ops.h"

namespace tangelo {

namespace {

constexpr std::uint64_t copy_size_max = 1u << 30;

request_kind decode_fallocate(decoding& d) noexcept {
  const auto in = d.in.take<fuse_fallocate_in>();
  d.draft.cell.handle = in.fh;
  d.read_caller_anew();  // it may take setgid away
  return as_op(d, opcode::fallocate,
               space_call{d.who, d.header.nodeid, in.fh, in.offset, in.length, in.mode});
}

request_kind decode_seek(decoding& d) noexcept {
  const auto in = d.in.take<fuse_lseek_in>();
  d.draft.cell.handle = in.fh;
  if (d.in.ok() && in.whence != SEEK_DATA && in.whence != SEEK_HOLE)
    return refuse(d.draft, error_code::invalid);
  const std::uint8_t hole = in.whence == SEEK_HOLE ? 1 : 0;
  return as_op(d, opcode::seek, seek_call{d.who, d.header.nodeid, in.fh, in.offset, hole});
}

// The op is one of the file that changes.
request_kind decode_copy(decoding& d) noexcept {
  const auto in = d.in.take<fuse_copy_file_range_in>();
  if (d.in.ok() && in.flags != 0) return refuse(d.draft, error_code::invalid);
  d.draft.cell.handle = in.fh_out;
  d.draft.cell.inode = in.nodeid_out;
  copy_call body;
  d.read_caller_anew();  // it may take setgid away
  body.who = d.who;
  body.inode = d.header.nodeid;
  body.handle = in.fh_in;
  body.offset = in.off_in;
  body.to_inode = in.nodeid_out;
  body.to_handle = in.fh_out;
  body.to_offset = in.off_out;
  // The shorter form of the answer has 32 bits for it.
  body.size = in.len < copy_size_max ? in.len : copy_size_max;
  return as_op(d, opcode::copy_range, body);
}

// The name that comes with it is the kernel's own.
request_kind decode_tmpfile(decoding& d) noexcept {
  const auto in = d.in.take<fuse_create_in>();
  d.draft.cell.kernel_flags = in.flags;
  make_call body;
  if ((in.mode & S_ISGID) != 0) d.read_caller_anew();
  body.who = d.who;
  body.parent = d.header.nodeid;
  body.mode = in.mode;
  body.umask = in.umask & 0777;
  body.open_flags = in.flags;
  return as_op(d, opcode::tmpfile, body, request_kind::opening);
}

}  // namespace

request_kind decode_space(decoding& d) noexcept {
  switch (d.header.opcode) {
    case FUSE_FALLOCATE: return decode_fallocate(d);
    case FUSE_LSEEK: return decode_seek(d);
    case FUSE_COPY_FILE_RANGE:
    case fuse_opcode_copy_range_64: return decode_copy(d);
    case fuse_opcode_tmpfile: return decode_tmpfile(d);
    default: return refuse(d.draft, error_code::not_implemented);
  }
}

}  // namespace tangelo
