#include "tests/sim/app.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cstring>

#include "base/crc32c.h"
#include "fs/removed_inodes.h"
#include "protocol/records.h"

namespace tangelo::sim {

void app::submit(const fuse_request& r) {
  std::vector<std::byte> bytes = r.bytes();
  fuse_in_header h{};
  std::memcpy(&h, bytes.data(), sizeof h);
  // The kernel sends these for nobody and waits for them whatever happens.
  interruptible_ = h.opcode != FUSE_RELEASE && h.opcode != FUSE_RELEASEDIR;
  h.pid = interruptible_ ? pid_ : 0;
  std::memcpy(bytes.data(), &h, sizeof h);
  m_.kernel.submit(std::move(bytes));
}

void app::take_answer(const fake_kernel::answer& a) {
  std::string note = op_->what + ": ";
  if (a.error != 0)
    note += fmt::format("error {}", a.error);
  else
    note += op_->note ? op_->note(*this, a) : "ok";
  notes_.push_back(std::move(note));
  unique_.reset();
}

void app::pump() {
  if (done_) return;
  bool again = false;
  if (unique_) {
    const auto a = m_.kernel.answer_to(*unique_);
    if (!a) return;
    again = retry_on_ != 0 && !killed_ && a->error == retry_on_;
    if (!again) take_answer(*a);
  }
  if (killed_) return close_one();
  if (!again) op_ = script_(*this);
  if (!op_) {
    done_ = true;
    return;
  }
  unique_ = m_.next_unique();
  submit(op_->make(*this, *unique_));
}

// What the kernel does for a process that has gone.
void app::close_one() {
  if (files.empty()) {
    done_ = true;
    return;
  }
  const open_file f = files.begin()->second;
  files.erase(files.begin());
  unique_ = m_.next_unique();
  op_ = app_op{"close of a killed one", {}, {}};
  const std::uint32_t op = f.is_directory ? FUSE_RELEASEDIR : FUSE_RELEASE;
  fuse_release_in in{};
  in.fh = f.fh;
  m_.kernel.submit(fuse_request(op, f.node, *unique_, 0).add(in));  // without a caller
}

void app::forget(const std::string& name) {
  if (node(name) != 0) return forget(node(name));
  // It was made by a call that failed with EIO. A kernel would have looked it up to remove it; here
  // what was removed is known by its handle.
  for (const handle_slot& slot : m_.arena().handles) {
    control_word word;
    handle_cell cell;
    if (copy_record(slot, word, cell) && word.state != 0 &&
        cell.open_flags == removed_inodes::handle_flags)
      forget(cell.inode);
  }
}

void app::forget(std::uint64_t node) {
  const std::uint64_t unique = m_.next_unique();
  m_.kernel.submit(fuse_request(FUSE_FORGET, node, unique).add(fuse_forget_in{1}));
}

void app::kill() {
  if (done_ || killed_) return;
  killed_ = true;
  m_.callers.killed.insert(pid_);
  if (unique_ && interruptible_) m_.kernel.kill_caller(*unique_);
}

void app::interrupt() {
  if (unique_ && interruptible_) m_.kernel.interrupt(*unique_);
}

namespace {

std::string attr_note(const fuse_attr& a) {
  const bool is_dir = (a.mode & S_IFMT) == S_IFDIR;
  return fmt::format("mode {:o} links {} uid {} size {}", a.mode, a.nlink, a.uid,
                     is_dir ? 0 : a.size);
}

app::file_times times_of(const fuse_attr& a) {
  return {a.mtime * ns_per_s + a.mtimensec, a.ctime * ns_per_s + a.ctimensec};
}

std::string bytes_note(byte_span b) { return fmt::format("{} bytes {:08x}", b.size(), crc32c(b)); }

app_op entry_op(std::string what, std::string as,
                std::function<fuse_request(app&, std::uint64_t)> make) {
  return {std::move(what), std::move(make), [as](app& a, const fake_kernel::answer& r) {
            const auto e = r.as<fuse_entry_out>();
            a.nodes[as] = e.nodeid;
            a.times[as] = times_of(e.attr);
            return attr_note(e.attr);
          }};
}

fuse_request xattr_get(std::uint32_t op, std::uint64_t node, std::uint64_t u, std::uint32_t room) {
  fuse_getxattr_in in{};
  in.size = room;
  return fuse_request(op, node, u).add(in);
}

std::string xattr_note(const fake_kernel::answer& r, std::uint32_t room) {
  if (room == 0) return fmt::format("size {}", r.as<fuse_getxattr_out>().size);
  return bytes_note(r.body);
}

std::string directory_note(const fake_kernel::answer& r, bool plus) {
  std::string all;
  const std::size_t fixed = plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET;
  byte_span rest(r.body);
  while (rest.size() >= fixed) {
    fuse_direntplus d{};
    if (plus)
      std::memcpy(&d, rest.data(), fixed);
    else
      std::memcpy(&d.dirent, rest.data(), fixed);
    const std::string_view name = text_of(rest.subspan(fixed, d.dirent.namelen));
    all += fmt::format("{}({}", name, d.dirent.type);
    if (plus && d.entry_out.nodeid != 0) all += fmt::format(" {:o}", d.entry_out.attr.mode);
    all += ") ";
    rest = rest.subspan(FUSE_DIRENT_ALIGN(fixed + d.dirent.namelen));
  }
  return all;
}

}  // namespace

namespace ops {

app_op lookup(std::string at, std::string name, std::string as) {
  if (as.empty()) as = name;
  return entry_op("lookup " + at + " " + name, as, [at, name](app& a, std::uint64_t u) {
    return fuse_request::named(FUSE_LOOKUP, a.node(at), u, name);
  });
}
app_op getattr(std::string node) {
  return {"getattr " + node,
          [node](app& a, std::uint64_t u) { return fuse_request::getattr(a.node(node), u); },
          [node](app& a, const fake_kernel::answer& r) {
            const fuse_attr attr = r.as<fuse_attr_out>().attr;
            a.times[node] = times_of(attr);
            return attr_note(attr);
          }};
}
app_op same_times(std::string node) {
  return {"times of " + node,
          [node](app& a, std::uint64_t u) { return fuse_request::getattr(a.node(node), u); },
          [node](app& a, const fake_kernel::answer& r) {
            const bool same = a.times[node] == times_of(r.as<fuse_attr_out>().attr);
            return std::string(same ? "as it was told" : "others than it was told");
          }};
}
app_op statx(std::string node) {
  return {"statx " + node,
          [node](app& a, std::uint64_t u) {
            return fuse_request(fuse_opcode_statx, a.node(node), u).add(fuse_statx_request{});
          },
          [](app&, const fake_kernel::answer& r) {
            return fmt::format("mode {:o}", r.as<fuse_statx_reply>().mode);
          }};
}
namespace {
app_op setattr(std::string what, std::string node, const fuse_setattr_in& in) {
  return {std::move(what),
          [node, in](app& a, std::uint64_t u) {
            return fuse_request(FUSE_SETATTR, a.node(node), u).add(in);
          },
          [node](app& a, const fake_kernel::answer& r) {
            const fuse_attr attr = r.as<fuse_attr_out>().attr;
            a.times[node] = times_of(attr);
            return attr_note(attr);
          }};
}
}  // namespace
app_op set_size(std::string node, std::uint64_t size) {
  fuse_setattr_in in{};
  in.valid = FATTR_SIZE;
  in.size = size;
  return setattr(fmt::format("truncate {} {}", node, size), node, in);
}
app_op chmod(std::string node, std::uint32_t mode) {
  fuse_setattr_in in{};
  in.valid = FATTR_MODE;
  in.mode = mode;
  return setattr(fmt::format("chmod {} {:o}", node, mode), node, in);
}
app_op mkdir(std::string at, std::string name) {
  return entry_op("mkdir " + at + " " + name, name, [at, name](app& a, std::uint64_t u) {
    return fuse_request::mkdir(a.node(at), u, name);
  });
}
app_op mknod(std::string at, std::string name, std::uint32_t mode) {
  return entry_op("mknod " + at + " " + name, name, [at, name, mode](app& a, std::uint64_t u) {
    fuse_mknod_in in{};
    in.mode = mode;
    return fuse_request(FUSE_MKNOD, a.node(at), u).add(in).name(name);
  });
}
app_op symlink(std::string at, std::string name, std::string target) {
  return entry_op("symlink " + at + " " + name, name, [=](app& a, std::uint64_t u) {
    return fuse_request(FUSE_SYMLINK, a.node(at), u).name(name).name(target);
  });
}
app_op readlink(std::string node) {
  return {"readlink " + node,
          [node](app& a, std::uint64_t u) {
            return fuse_request(FUSE_READLINK, a.node(node), u);
          },
          [](app&, const fake_kernel::answer& r) { return std::string(text_of(r.body)); }};
}
app_op link(std::string node, std::string at, std::string name) {
  return entry_op("link " + node + " " + at + " " + name, name, [=](app& a, std::uint64_t u) {
    fuse_link_in in{};
    in.oldnodeid = a.node(node);
    return fuse_request(FUSE_LINK, a.node(at), u).add(in).name(name);
  });
}
app_op unlink(std::string at, std::string name) {
  return {"unlink " + at + " " + name,
          [at, name](app& a, std::uint64_t u) {
            return fuse_request::named(FUSE_UNLINK, a.node(at), u, name);
          },
          [name](app& a, const fake_kernel::answer&) {
            a.forget(name);  // who has it open is another matter
            return std::string("ok");
          }};
}
app_op rmdir(std::string at, std::string name) {
  return {"rmdir " + at + " " + name,
          [at, name](app& a, std::uint64_t u) {
            return fuse_request::named(FUSE_RMDIR, a.node(at), u, name);
          },
          [name](app& a, const fake_kernel::answer&) {
            a.forget(name);
            return std::string("ok");
          }};
}
app_op rename(std::string at, std::string name, std::string to, std::string new_name,
              std::uint32_t flags) {
  return {"rename " + name + " " + new_name,
          [=](app& a, std::uint64_t u) {
            fuse_rename2_in in{};
            in.newdir = a.node(to);
            in.flags = flags;
            return fuse_request(FUSE_RENAME2, a.node(at), u).add(in).name(name).name(new_name);
          },
          nullptr};
}
app_op create(std::string at, std::string name, std::string file) {
  return {"create " + at + " " + name,
          [at, name](app& a, std::uint64_t u) {
            return fuse_request::create(a.node(at), u, name, O_RDWR);
          },
          [name, file](app& a, const fake_kernel::answer& r) {
            const auto e = r.as<fuse_entry_out>();
            fuse_open_out o{};
            std::memcpy(&o, r.body.data() + sizeof e, sizeof o);
            a.nodes[name] = e.nodeid;
            a.times[name] = times_of(e.attr);
            a.files[file] = {e.nodeid, o.fh, false};
            return attr_note(e.attr);
          }};
}
namespace {
app_op open_as(std::string what, std::string node, std::string file, bool directory) {
  const std::uint32_t op = directory ? FUSE_OPENDIR : FUSE_OPEN;
  return {std::move(what),
          [node, op](app& a, std::uint64_t u) {
            return fuse_request::open(a.node(node), u, O_RDWR, op);
          },
          [node, file, directory](app& a, const fake_kernel::answer& r) {
            a.files[file] = {a.node(node), r.as<fuse_open_out>().fh, directory};
            return std::string("opened");
          }};
}
}  // namespace
app_op open(std::string node, std::string file) {
  return open_as("open " + node, node, std::move(file), false);
}
app_op open_dir(std::string node, std::string file) {
  return open_as("opendir " + node, node, std::move(file), true);
}
app_op release(std::string file) {
  return {"release " + file,
          [file](app& a, std::uint64_t u) {
            const app::open_file f = a.files[file];
            a.files.erase(file);
            return fuse_request::release(f.node, u, f.fh,
                                         f.is_directory ? FUSE_RELEASEDIR : FUSE_RELEASE);
          },
          nullptr};
}
app_op flush(std::string file) {
  return {"flush " + file,
          [file](app& a, std::uint64_t u) {
            fuse_flush_in in{};
            in.fh = a.files[file].fh;
            return fuse_request(FUSE_FLUSH, a.files[file].node, u).add(in);
          },
          nullptr};
}
app_op fsync(std::string file) {
  return {"fsync " + file,
          [file](app& a, std::uint64_t u) {
            fuse_fsync_in in{};
            in.fh = a.files[file].fh;
            return fuse_request(FUSE_FSYNC, a.files[file].node, u).add(in);
          },
          nullptr};
}
app_op write(std::string file, std::uint64_t offset, std::string data) {
  return {fmt::format("write {} {} {}", file, offset, data.size()),
          [=](app& a, std::uint64_t u) {
            const app::open_file f = a.files[file];
            return fuse_request::write(f.node, u, f.fh, offset, bytes_of(data));
          },
          [](app&, const fake_kernel::answer& r) {
            return fmt::format("wrote {}", r.as<fuse_write_out>().size);
          }};
}
app_op read(std::string file, std::uint64_t offset, std::uint32_t size) {
  return {fmt::format("read {} {} {}", file, offset, size),
          [=](app& a, std::uint64_t u) {
            const app::open_file f = a.files[file];
            return fuse_request::read(f.node, u, f.fh, offset, size);
          },
          [](app&, const fake_kernel::answer& r) { return bytes_note(r.body); }};
}
app_op readdir(std::string file, bool plus) {
  return {plus ? "readdirplus " + file : "readdir " + file,
          [=](app& a, std::uint64_t u) {
            const app::open_file f = a.files[file];
            return fuse_request::read(f.node, u, f.fh, 0, 4096,
                                      plus ? FUSE_READDIRPLUS : FUSE_READDIR);
          },
          [plus](app&, const fake_kernel::answer& r) { return directory_note(r, plus); }};
}
app_op statfs() {
  return {"statfs", [](app&, std::uint64_t u) { return fuse_request(FUSE_STATFS, 1, u); },
          [](app&, const fake_kernel::answer& r) {
            return fmt::format("block {}", r.as<fuse_statfs_out>().st.bsize);
          }};
}
app_op setxattr(std::string node, std::string name, std::string value, std::uint32_t flags) {
  return {"setxattr " + node + " " + name,
          [=](app& a, std::uint64_t u) {
            const std::uint32_t in[2] = {static_cast<std::uint32_t>(value.size()), flags};
            fuse_request r = fuse_request(FUSE_SETXATTR, a.node(node), u).add(in).name(name).raw(
                bytes_of(value));
            return name.starts_with("system.tangelo.") ? r.by_root() : r;
          },
          nullptr};
}
app_op getxattr(std::string node, std::string name, std::uint32_t room) {
  return {"getxattr " + node + " " + name,
          [=](app& a, std::uint64_t u) {
            return xattr_get(FUSE_GETXATTR, a.node(node), u, room).name(name);
          },
          [room](app&, const fake_kernel::answer& r) { return xattr_note(r, room); }};
}
app_op listxattr(std::string node, std::uint32_t room) {
  return {"listxattr " + node,
          [=](app& a, std::uint64_t u) {
            return xattr_get(FUSE_LISTXATTR, a.node(node), u, room);
          },
          [room](app&, const fake_kernel::answer& r) { return xattr_note(r, room); }};
}
app_op removexattr(std::string node, std::string name) {
  return {"removexattr " + node + " " + name,
          [=](app& a, std::uint64_t u) {
            return fuse_request::named(FUSE_REMOVEXATTR, a.node(node), u, name);
          },
          nullptr};
}

}  // namespace ops

app_script in_order(std::vector<app_op> all) {
  return [all = std::move(all), next = std::size_t{0}](app&) mutable -> std::optional<app_op> {
    if (next == all.size()) return std::nullopt;
    return all[next++];
  };
}

std::vector<app_op> every_opcode(const std::string& base, bool alone) {
  using namespace ops;
  std::string large(300'000, '\0');
  for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 31 >> 3);
  std::vector<app_op> all{
      mkdir("/", base),
      mkdir("/", base),  // exists
      create(base, "f", "F"),
      write("F", 0, std::string(1000, 'a')),
      write("F", 4096, large),
      write("F", 10, "overwritten"),
      read("F", 0, 400'000),
      fsync("F"),
      getattr("f"),
      statx("f"),
      set_size("f", 5000),
      read("F", 0, 65536),
      chmod("f", 0600),
      link("f", base, "g"),
      rename(base, "g", "/", base + "-h"),
      rename(base, "f", base, "x", 1),
      rename(base, "f", base, "x"),  // gone already
      symlink(base, "s", "a/target"),
      readlink("s"),
      setxattr("f", "user.one", "value"),
      setxattr("f", "user.one", "again", 1),  // exists
      setxattr("f", "user.two", std::string(3000, 'v')),
      getxattr("f", "user.one", 0),
      getxattr("f", "user.two", 4096),
      listxattr("f", 1000),
      removexattr("f", "user.one"),
      removexattr("f", "user.one"),  // gone
      statfs(),
      mknod(base, "pipe", S_IFIFO | 0600),
      open_dir(base, "D"),
      readdir("D", false),
      readdir("D", true),
      release("D"),
      create(base, "tmp", "T"),
      unlink(base, "tmp"),
      write("T", 0, "still here"),
      read("T", 0, 100),
      release("T"),
      flush("F"),
      release("F"),
      lookup(base, "x"),
      open("x", "X"),
      read("X", 0, 65536),
      release("X"),
      rmdir("/", base),  // not empty
      unlink(base, "pipe"),
      unlink(base, "pipe"),
      unlink(base, "s"),
      rename(base, "x", base, "y"),
      unlink(base, "y"),
      mkdir(base, "sub"),
      rmdir(base, "sub"),
      rmdir("/", base),
      lookup("/", base),
      lookup("/", base + "-h"),
      getattr(base + "-h"),
  };
  if (alone)
    for (app_op& op : std::vector<app_op>{open_dir("/", "R"), readdir("R", false), release("R")})
      all.push_back(std::move(op));
  return all;
}

}  // namespace tangelo::sim
