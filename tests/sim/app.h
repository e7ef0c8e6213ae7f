// app: an application of the simulator: one thread that makes FUSE requests, one after the other,
// and notes what it was answered.
//
// A note holds what must not depend on faults: error, type, size, names, bytes; no times and no
// inode numbers. The notes of a run with faults are compared with those of a run without.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/world.h"

namespace tangelo::sim {

class app;

struct app_op {
  std::string what;
  std::function<fuse_request(app&, std::uint64_t unique)> make;
  std::function<std::string(app&, const fake_kernel::answer&)> note;  // of a success; may be null
};
// What the application does next; nothing: it is done.
using app_script = std::function<std::optional<app_op>(app&)>;

class app {
 public:
  app(mount& m, std::uint32_t pid, app_script script)
      : m_(m), pid_(pid), script_(std::move(script)) {}
  // On the first mount.
  app(world& w, std::uint32_t pid, app_script script) : app(w.at(0), pid, std::move(script)) {}

  // Takes an answer that came, and makes the next request.
  void pump();
  bool done() const { return done_; }
  // Another script, when it is done with the one before.
  void go_on(app_script script) {
    script_ = std::move(script);
    done_ = false;
  }
  // SIGKILL. The kernel tells the front end, waits for the answer, then closes what is open.
  void kill();
  // A signal that does not kill, for the request it waits for.
  void interrupt();
  // From now on it does again what failed with `error`, and notes only what came of it in the end.
  // So its notes are wrong if something was done that it was told was not.
  void retry_on(int error) { retry_on_ = error; }
  const std::vector<std::string>& notes() const { return notes_; }

  std::uint64_t node(const std::string& name) const {
    const auto it = nodes.find(name);
    return it == nodes.end() ? 0 : it->second;
  }
  // The kernel forgets what was removed.
  void forget(const std::string& name);
  void forget(std::uint64_t node);
  std::map<std::string, std::uint64_t> nodes{{"/", 1}};
  struct open_file {
    std::uint64_t node = 0;
    std::uint64_t fh = 0;
    bool is_directory = false;
  };
  std::map<std::string, open_file> files;
  // The times that it was told last of each node.
  struct file_times {
    std::uint64_t mtime_ns = 0;
    std::uint64_t ctime_ns = 0;
    bool operator==(const file_times&) const = default;
  };
  std::map<std::string, file_times> times;

 private:
  void submit(const fuse_request& r);
  void take_answer(const fake_kernel::answer& a);
  void close_one();

  mount& m_;
  std::uint32_t pid_;
  app_script script_;
  std::optional<app_op> op_;
  std::optional<std::uint64_t> unique_;
  std::vector<std::string> notes_;
  bool done_ = false;
  bool killed_ = false;
  bool interruptible_ = false;
  int retry_on_ = 0;  // 0: never
};

// The operations of scripts. `at` and `name` are names of nodes in app::nodes.
namespace ops {
app_op lookup(std::string at, std::string name, std::string as = {});
app_op getattr(std::string node);
// Are the times still those that it was told last?
app_op same_times(std::string node);
app_op statx(std::string node);
app_op set_size(std::string node, std::uint64_t size);
app_op chmod(std::string node, std::uint32_t mode);
app_op mkdir(std::string at, std::string name);
app_op mknod(std::string at, std::string name, std::uint32_t mode);
app_op symlink(std::string at, std::string name, std::string target);
app_op readlink(std::string node);
app_op link(std::string node, std::string at, std::string name);
app_op unlink(std::string at, std::string name);
app_op rmdir(std::string at, std::string name);
app_op rename(std::string at, std::string name, std::string to, std::string new_name,
              std::uint32_t flags = 0);
app_op create(std::string at, std::string name, std::string file);
app_op open(std::string node, std::string file);
app_op open_dir(std::string node, std::string file);
app_op release(std::string file);
app_op flush(std::string file);
app_op fsync(std::string file);
app_op write(std::string file, std::uint64_t offset, std::string data);
app_op read(std::string file, std::uint64_t offset, std::uint32_t size);
app_op readdir(std::string file, bool plus);
app_op statfs();
app_op setxattr(std::string node, std::string name, std::string value, std::uint32_t flags = 0);
app_op getxattr(std::string node, std::string name, std::uint32_t room);
app_op listxattr(std::string node, std::uint32_t room);
app_op removexattr(std::string node, std::string name);
}  // namespace ops

app_script in_order(std::vector<app_op> all);
// Every opcode at least once, all of it below a directory `base` of its own.
// `alone`: nobody else changes the root, so what it holds is part of the notes.
std::vector<app_op> every_opcode(const std::string& base, bool alone = true);

}  // namespace tangelo::sim
