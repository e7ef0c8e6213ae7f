#include "tests/sim/space_ops.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstring>

#include "fs/fuse_abi.h"

namespace tangelo::sim::ops {

app_op fallocate(std::string file, std::uint32_t mode, std::uint64_t offset, std::uint64_t size) {
  return {fmt::format("fallocate {} {} {} {}", file, mode, offset, size),
          [=](app& a, std::uint64_t u) {
            fuse_fallocate_in in{};
            in.fh = a.files[file].fh;
            in.offset = offset;
            in.length = size;
            in.mode = mode;
            return fuse_request(FUSE_FALLOCATE, a.files[file].node, u).add(in);
          },
          nullptr};
}

app_op seek(std::string file, std::uint64_t offset, bool hole) {
  return {fmt::format("seek {} {} {}", file, offset, hole ? "hole" : "data"),
          [=](app& a, std::uint64_t u) {
            fuse_lseek_in in{};
            in.fh = a.files[file].fh;
            in.offset = offset;
            in.whence = hole ? SEEK_HOLE : SEEK_DATA;
            return fuse_request(FUSE_LSEEK, a.files[file].node, u).add(in);
          },
          [](app&, const fake_kernel::answer& r) {
            return fmt::format("at {}", r.as<fuse_lseek_out>().offset);
          }};
}

app_op copy(std::string from, std::uint64_t from_offset, std::string to, std::uint64_t to_offset,
            std::uint64_t size) {
  return {fmt::format("copy {} {} {} {} {}", from, from_offset, to, to_offset, size),
          [=](app& a, std::uint64_t u) {
            fuse_copy_file_range_in in{};
            in.fh_in = a.files[from].fh;
            in.off_in = from_offset;
            in.nodeid_out = a.files[to].node;
            in.fh_out = a.files[to].fh;
            in.off_out = to_offset;
            in.len = size;
            return fuse_request(FUSE_COPY_FILE_RANGE, a.files[from].node, u).add(in);
          },
          [](app&, const fake_kernel::answer& r) {
            return fmt::format("copied {}", r.as<fuse_write_out>().size);
          }};
}

app_op tmpfile(std::string at, std::string as) {
  return {"tmpfile " + at,
          [=](app& a, std::uint64_t u) {
            fuse_create_in in{};
            in.flags = O_RDWR | O_TMPFILE;
            in.mode = 0100600;
            return fuse_request(fuse_opcode_tmpfile, a.node(at), u).add(in).name("/");
          },
          [as](app& a, const fake_kernel::answer& r) {
            const auto e = r.as<fuse_entry_out>();
            fuse_open_out o{};
            std::memcpy(&o, r.body.data() + sizeof e, sizeof o);
            a.nodes[as] = e.nodeid;
            a.files[as] = {e.nodeid, o.fh, false};
            return fmt::format("links {} mode {:o}", e.attr.nlink, e.attr.mode);
          }};
}

app_op open_append(std::string node, std::string file) {
  return {"open for appending " + node,
          [node](app& a, std::uint64_t u) {
            return fuse_request::open(a.node(node), u, O_WRONLY | O_APPEND);
          },
          [node, file](app& a, const fake_kernel::answer& r) {
            a.files[file] = {a.node(node), r.as<fuse_open_out>().fh, false};
            return fmt::format("flags {:x}", r.as<fuse_open_out>().open_flags & FOPEN_DIRECT_IO);
          }};
}

app_op append(std::string file, std::uint64_t offset, std::string data) {
  return {fmt::format("append {} {}", file, data.size()),
          [=](app& a, std::uint64_t u) {
            const app::open_file f = a.files[file];
            return fuse_request::write(f.node, u, f.fh, offset, bytes_of(data),
                                       O_WRONLY | O_APPEND);
          },
          [](app&, const fake_kernel::answer& r) {
            return fmt::format("wrote {}", r.as<fuse_write_out>().size);
          }};
}

}  // namespace tangelo::sim::ops
