#include "tests/sim/op_classes.h"

#include <sys/stat.h>

#include <map>

#include "tests/sim/space_ops.h"

namespace tangelo::sim {

namespace {

using namespace ops;
using list = std::vector<app_op>;

std::string bytes(std::size_t size, char first) {
  std::string s(size, '\0');
  for (std::size_t i = 0; i < size; ++i)
    s[i] = static_cast<char>(static_cast<std::size_t>(first) + i % 61);
  return s;
}

list made_file(std::size_t size) {
  return {create("/", "f", "F"), write("F", 0, bytes(size, 'a'))};
}
list look_at_file() {
  return {getattr("f"), read("F", 0, 400'000), flush("F"), release("F"), lookup("/", "f"),
          same_times("f")};
}

void add_data(std::vector<op_class>& all) {
  all.push_back({"write_small", opcode::write, made_file(10), write("F", 5, bytes(1000, 'k')),
                 look_at_file()});
  all.push_back({"write_medium", opcode::write, made_file(10), write("F", 0, bytes(30'000, 'k')),
                 look_at_file()});
  all.push_back({"write_large", opcode::write, made_file(10), write("F", 9000, bytes(300'000, 'k')),
                 look_at_file()});
  all.push_back({"overwrite", opcode::write, made_file(200'000),
                 write("F", 50'000, bytes(100'000, 'q')), look_at_file()});
  all.push_back({"append", opcode::write, made_file(5000), write("F", 5000, bytes(5000, 'p')),
                 look_at_file()});
  all.push_back({"truncate", opcode::setattr, made_file(100'000), set_size("f", 3000),
                 {same_times("f"), read("F", 0, 65536), release("F")}});
  all.push_back({"extend", opcode::setattr, made_file(3000), set_size("f", 100'000),
                 {same_times("f"), read("F", 0, 131072), release("F")}});
  all.push_back({"read", opcode::read, made_file(100'000), read("F", 0, 100'000), look_at_file()});
  all.push_back({"fsync", opcode::fsync, made_file(100'000), fsync("F"), look_at_file()});
}

void add_space(std::vector<op_class>& all) {
  constexpr std::uint32_t keep = 1, punch = 2, zero = 16;
  all.push_back({"allocate", opcode::fallocate, made_file(10), fallocate("F", 0, 5, 50'000),
                 {same_times("f"), read("F", 0, 65536), release("F")}});
  all.push_back({"punch", opcode::fallocate, made_file(100'000),
                 fallocate("F", keep | punch, 5000, 50'000), look_at_file()});
  all.push_back({"zero", opcode::fallocate, made_file(100'000),
                 fallocate("F", keep | zero, 5000, 50'000), look_at_file()});
  all.push_back({"zero_grows", opcode::fallocate, made_file(3000),
                 fallocate("F", zero, 1000, 20'000), look_at_file()});
  list punched = made_file(100'000);
  punched.push_back(fallocate("F", keep | punch, 8192, 65'536));
  all.push_back({"seek", opcode::seek, punched, seek("F", 8192, false),
                 {seek("F", 0, true), seek("F", 100'000, true), release("F")}});
  list two = made_file(200'000);
  two.push_back(create("/", "g", "G"));
  two.push_back(write("G", 0, bytes(1000, 'G')));
  all.push_back({"copy", opcode::copy_range, two, copy("F", 1000, "G", 500, 150'000),
                 {write("F", 0, bytes(200'000, 'z')), read("G", 0, 200'000), same_times("g"),
                  read("F", 0, 300'000), release("F"), release("G")}});
  all.push_back({"tmpfile", opcode::tmpfile, {}, tmpfile("/", "T"),
                 {write("T", 0, bytes(5000, 't')), getattr("T"), link("T", "/", "n"),
                  read("T", 0, 10'000), release("T"), lookup("/", "n")}});
  all.push_back({"link_tmpfile", opcode::link, {tmpfile("/", "T"), write("T", 0, "nameless")},
                 link("T", "/", "n"),
                 {link("T", "/", "m"), getattr("T"), release("T"), lookup("/", "n")}});
  list appended = made_file(5000);
  appended.push_back(open_append("f", "A"));
  all.push_back({"append_elsewhere", opcode::write, appended,
                 append("A", 100, bytes(4000, 'p')),
                 {append("A", 0, "end"), release("A"), read("F", 0, 20'000), getattr("f"),
                  release("F")}});
}

void add_names(std::vector<op_class>& all) {
  const list none;
  all.push_back({"create", opcode::create, none, create("/", "n", "N"),
                 {same_times("n"), write("N", 0, "x"), release("N"), lookup("/", "n")}});
  all.push_back({"mknod", opcode::mknod, none, mknod("/", "n", S_IFIFO | 0600),
                 {same_times("n"), mknod("/", "n", S_IFIFO | 0600)}});
  all.push_back({"mkdir", opcode::mkdir, none, mkdir("/", "n"),
                 {same_times("n"), mkdir("/", "n"), create("n", "m", "M"), release("M")}});
  all.push_back({"symlink", opcode::symlink, none, symlink("/", "n", "some/target"),
                 {same_times("n"), readlink("n")}});
  all.push_back({"link", opcode::link, made_file(10), link("f", "/", "n"),
                 {same_times("n"), unlink("/", "f"), read("F", 0, 10), release("F")}});
  all.push_back({"rename", opcode::rename, made_file(10), rename("/", "f", "/", "g"),
                 {rename("/", "f", "/", "h"), lookup("/", "g"), release("F")}});
  list two = made_file(10);
  for (const app_op& op : {create("/", "g", "G"), write("G", 0, "other"), release("G")})
    two.push_back(op);
  all.push_back({"rename_over", opcode::rename, two, rename("/", "f", "/", "g"),
                 {lookup("/", "g"), read("F", 0, 10), release("F")}});
  all.push_back({"rename_exchange", opcode::rename, two, rename("/", "f", "/", "g", 2),
                 {lookup("/", "g"), lookup("/", "f"), release("F")}});
  list closed = made_file(10);
  closed.push_back(release("F"));
  all.push_back({"unlink", opcode::unlink, closed, unlink("/", "f"),
                 {unlink("/", "f"), create("/", "f", "F"), release("F")}});
  all.push_back({"unlink_open", opcode::unlink, made_file(100'000), unlink("/", "f"),
                 {unlink("/", "f"), read("F", 0, 100'000), write("F", 0, "still"), getattr("f"),
                  release("F")}});
  all.push_back({"rmdir", opcode::rmdir, {mkdir("/", "n")}, rmdir("/", "n"),
                 {rmdir("/", "n"), mkdir("/", "n")}});
}

void add_others(std::vector<op_class>& all) {
  all.push_back({"chmod", opcode::setattr, made_file(10), chmod("f", 0600),
                 {same_times("f"), release("F")}});
  all.push_back({"setxattr", opcode::setxattr, made_file(10), setxattr("f", "user.a", "value", 1),
                 {setxattr("f", "user.a", "again", 1), getxattr("f", "user.a", 100),
                  release("F")}});
  // A directory with content becomes a tree, whose count goes on behind the answer.
  list with_content{mkdir("/", "n")};
  for (int i = 0; i < 4; ++i) with_content.push_back(mkdir("n", "d" + std::to_string(i)));
  with_content.push_back(create("n", "f", "F"));
  with_content.push_back(write("F", 0, bytes(30'000, 'k')));
  all.push_back({"set_quota", opcode::setxattr, with_content,
                 setxattr("n", "system.tangelo.quota", "inodes=100"),
                 {setxattr("n", "system.tangelo.quota", "inodes=50"), mkdir("n", "e"),
                  write("F", 0, bytes(50'000, 'q')), release("F")}});
  list with_xattr = made_file(10);
  with_xattr.push_back(setxattr("f", "user.a", bytes(3000, 'v')));
  all.push_back({"removexattr", opcode::removexattr, with_xattr, removexattr("f", "user.a"),
                 {removexattr("f", "user.a"), listxattr("f", 100), release("F")}});
  list closed = made_file(10);
  closed.push_back(release("F"));
  all.push_back({"open", opcode::open, closed, open("f", "F"),
                 {unlink("/", "f"), read("F", 0, 100), release("F")}});
  list unlinked = made_file(10);
  unlinked.push_back(unlink("/", "f"));
  all.push_back({"release", opcode::release, unlinked, release("F"), {lookup("/", "f")}});
  all.push_back({"readdir", opcode::readdir, {mkdir("/", "n"), open_dir("/", "D")},
                 readdir("D", true), {release("D"), lookup("/", "n")}});
}

}  // namespace

std::vector<op_class> op_classes() {
  std::vector<op_class> all;
  add_data(all);
  add_space(all);
  add_names(all);
  add_others(all);
  return all;
}

void scene::play_on(std::vector<app_op> list) {
  ASSERT_TRUE(play(a, std::move(list))) << "it waits for ever";
}

void scene::prepare() {
  // There is a session, and there are inode numbers.
  play_on({ops::mkdir("/", "first")});
  play_on(class_.before);
  EXPECT_TRUE(settle()) << "no rest before the op";
}

void scene::begin() {
  a.go_on(in_order({class_.tried}));
  a.pump();
}

bool scene::await_answer(std::uint64_t limit_ns) {
  return go_until([this] { return a.done(); }, limit_ns);
}

void scene::finish() {
  ASSERT_TRUE(await_answer(300 * ns_per_s)) << "the op is never answered";
  play_on(class_.after);
}

std::string scene::difference() {
  static std::map<std::string, run_result> clean;
  if (!clean.contains(class_.name)) {
    scene s(class_);
    s.prepare();
    s.begin();
    s.finish();
    clean[class_.name] = s.end();
  }
  const run_result& want = clean[class_.name];
  const run_result got = end();
  std::string d = sim::difference(want, got);
  if (d.empty() && got.effects != want.effects)
    d = std::to_string(got.effects) + " effects instead of " + std::to_string(want.effects);
  return d;
}

}  // namespace tangelo::sim
