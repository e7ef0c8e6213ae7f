// Reading directories: entries, positions, changes meanwhile.
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <set>

#include "tests/conformance/harness.h"

namespace conformance {
namespace {

constexpr int many = 600;

std::string name_of(int i) { return "entry-with-a-longer-name-" + std::to_string(i); }

void make_many(const char* dir) {
  make_dir(dir);
  for (int i = 0; i < many; ++i) make_file(std::string(dir) + "/" + name_of(i), "");
}

std::vector<std::string> rest_of(DIR* dir) {
  std::vector<std::string> names;
  while (const dirent* e = ::readdir(dir)) names.emplace_back(e->d_name);
  return names;
}

void entries() {
  for (const std::string& kind : kinds) {
    make_kind(kind, "x");
    const context c(kind);
    note("listing", listing("."));
    DIR* dir = ::opendir(".");
    while (const dirent* e = ::readdir(dir)) {
      struct stat st {};
      const std::string name = e->d_name;
      if (name == "..") continue;
      OK(::lstat(e->d_name, &st));
      note("ino of " + name, e->d_ino == st.st_ino ? "same" : "different");
    }
    ::closedir(dir);
    empty_here();
  }
  note("empty", listing("."));
  make_dir("d");
  TIMES("d", ::closedir(::opendir("d")));
  const int fd = ::open("d", O_RDONLY);
  char room[1000];
  NUM(::syscall(SYS_getdents64, fd, room, 1000) > 0);
  NUM(::syscall(SYS_getdents64, fd, room, 1000));
  NUM(::lseek(fd, 0, SEEK_SET));
  NUM(::syscall(SYS_getdents64, fd, room, 1000) > 0);
  NUM(::lseek(fd, 0, SEEK_SET));
  NUM(::syscall(SYS_getdents64, fd, room, 10));
  NUM(::lseek(fd, -5, SEEK_SET));
  ::close(fd);
  make_file("f");
  const int file = ::open("f", O_RDONLY);
  NUM(::syscall(SYS_getdents64, file, room, 1000));
  ::close(file);
}

void positions() {
  make_many("d");
  DIR* dir = ::opendir("d");
  std::vector<std::pair<long, std::string>> seen;
  for (;;) {
    const long at = ::telldir(dir);
    const dirent* e = ::readdir(dir);
    if (e == nullptr) break;
    seen.emplace_back(at, e->d_name);
  }
  NUM(static_cast<long>(seen.size()));
  std::set<long> different;
  for (const auto& [at, name] : seen) different.insert(at);
  NUM(different.size() == seen.size());
  long wrong = 0;
  for (std::size_t i = 0; i < seen.size(); i += 7) {
    const auto& [at, name] = seen[seen.size() - 1 - i];
    ::seekdir(dir, at);
    const dirent* e = ::readdir(dir);
    if (e == nullptr || name != e->d_name) ++wrong;
  }
  NUM(wrong);
  ::rewinddir(dir);
  NUM(static_cast<long>(rest_of(dir).size()));
  NUM(static_cast<long>(rest_of(dir).size()));
  ::rewinddir(dir);
  make_file("d/later");
  ::rewinddir(dir);
  const std::vector<std::string> names = rest_of(dir);
  NUM(std::count(names.begin(), names.end(), "later"));
  // What a position names stays, also when entries go.
  const auto& [middle, middle_name] = seen[seen.size() / 2];
  for (std::size_t i = 0; i < seen.size() / 2; ++i)
    if (seen[i].second[0] != '.') (void)::unlink(("d/" + seen[i].second).c_str());
  ::seekdir(dir, middle);
  const dirent* e = ::readdir(dir);
  NUM(e != nullptr && middle_name == e->d_name);
  ::closedir(dir);
  DIR* another = ::opendir("d");
  (void)rest_of(another);
  const long end = ::telldir(another);
  ::rewinddir(another);
  ::seekdir(another, end);
  NUM(::readdir(another) == nullptr);
  ::closedir(another);
}

// Who is there all the time is listed exactly once.
void changes_meanwhile() {
  for (const char* what : {"unlink", "create", "rename", "unlink read ones", "rename read ones",
                           "rename all", "rename all twice"}) {
    const context c(what);
    const std::string how = what;
    make_many("d");
    DIR* dir = ::opendir("d");
    std::multiset<std::string> seen;
    int round = 0;
    while (const dirent* e = ::readdir(dir)) {
      const std::string name = e->d_name;
      seen.insert(name);
      ++round;
      const int victim = many - round;
      if (how == "unlink" && round < many / 2) (void)::unlink(("d/" + name_of(victim)).c_str());
      if (how == "create")
        make_file("d/new-" + std::to_string(round) + "-" + std::to_string(round * 7919));
      if (round > 3 * many) break;
      if (how == "rename" && round < many / 2)
        (void)::rename(("d/" + name_of(victim)).c_str(),
                       ("d/moved-" + std::to_string(victim)).c_str());
      if (name[0] == '.') continue;
      if (how == "unlink read ones") (void)::unlink(("d/" + name).c_str());
      if (how == "rename read ones" && name[0] == 'e')
        (void)::rename(("d/" + name).c_str(), ("d/read-" + name).c_str());
      if (how == "rename all")
        (void)::rename(("d/" + name).c_str(), ("d/x" + name.substr(name.size() / 2)).c_str());
      if (how == "rename all twice") {
        (void)::rename(("d/" + name).c_str(), "d/other");
        (void)::rename("d/other", ("d/" + name).c_str());
      }
    }
    if (how != "create") NUM(round > 3 * many);
    ::closedir(dir);
    long missing = 0, doubled = 0;
    for (int i = 0; i < many; ++i) {
      const std::string name = name_of(i);
      const std::size_t count = seen.count(name);
      if (count > 1) ++doubled;
      const bool stays = ::access(("d/" + name).c_str(), F_OK) == 0;
      if (stays && count == 0) ++missing;
    }
    NUM(missing);
    NUM(doubled);
    if (how == "unlink read ones") NUM(static_cast<long>(seen.size()));
    if (how == "unlink read ones") note("left", listing("d"));
    empty_here();
  }
}

void own_changes_are_seen_at_once() {
  make_dir("d");
  for (int i = 0; i < 30; ++i) {
    const std::string path = "d/" + std::to_string(i);
    const context c(std::to_string(i));
    OK(::access(path.c_str(), F_OK));
    make_file(path);
    OK(::access(path.c_str(), F_OK));
    note("listing", listing("d"));
    in_child([&] { OK(::rename(path.c_str(), (path + "x").c_str())); });
    OK(::access(path.c_str(), F_OK));
    LSTAT(path + "x");
    in_child([&] { OK(::chmod((path + "x").c_str(), 0600)); });
    LSTAT(path + "x");
    in_child([&] { OK(::truncate((path + "x").c_str(), 3)); });
    LSTAT(path + "x");
    if (i % 2 == 0) in_child([&] { OK(::unlink((path + "x").c_str())); });
    LSTAT(path + "x");
    note("listing", listing("d"));
  }
}

void deep() {
  std::string path;
  for (int i = 0; i < 60; ++i) {
    path += (i == 0 ? "" : "/") + std::string(50, static_cast<char>('a' + i % 26));
    OK(::mkdir(path.c_str(), 0755));
  }
  make_file(path + "/f");
  LSTAT(path + "/f");
  OK(::chdir(path.c_str()));
  char room[5000];
  OK(::getcwd(room, sizeof room) == nullptr ? -1 : 0);
  std::string up = "..";
  for (int i = 1; i < 60; ++i) up += "/..";
  OK(::access((up + "/" + path + "/f").c_str(), F_OK));
  OK(::chdir(up.c_str()));
  note("top", listing("."));
}

}  // namespace

case_list cases_of_directories() {
  return {{"readdir", entries},
          {"telldir", positions},
          {"readdir_changes", changes_meanwhile},
          {"own_changes", own_changes_are_seen_at_once},
          {"deep", deep}};
}

}  // namespace conformance
