// metabench: metadata operations per second in a directory, by one or several threads.
//
//   metabench DIR THREADS FILES
//
// Prints one line per operation: NAME OPERATIONS SECONDS. Each thread works in a directory of its
// own. An operation that fails ends the program: a benchmark of failures would be fast.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace {

void need(bool ok, const char* what) {
  if (ok) return;
  std::perror(what);
  std::exit(1);
}

struct bench {
  std::string dir;
  int threads;
  int files;

  std::string home(int t) const { return dir + "/t" + std::to_string(t); }
  std::string file(int t, int i) const { return home(t) + "/f" + std::to_string(i); }

  void run(const char* name, const std::function<void(int, int)>& op, int per_thread) const {
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::thread> pool;
    for (int t = 0; t < threads; ++t)
      pool.emplace_back([&op, t, per_thread] {
        for (int i = 0; i < per_thread; ++i) op(t, i);
      });
    for (std::thread& t : pool) t.join();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    std::printf("%s %d %.6f\n", name, threads * per_thread, took.count());
    std::fflush(stdout);
  }
};

void read_directory(const std::string& path) {
  DIR* d = ::opendir(path.c_str());
  need(d != nullptr, "opendir");
  while (const dirent* e = ::readdir(d)) {
    struct stat st {};
    if (e->d_name[0] != '.') need(::fstatat(::dirfd(d), e->d_name, &st, 0) == 0, "fstatat");
  }
  ::closedir(d);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: metabench DIR THREADS FILES\n");
    return 2;
  }
  const bench b{argv[1], std::atoi(argv[2]), std::atoi(argv[3])};
  for (int t = 0; t < b.threads; ++t) need(::mkdir(b.home(t).c_str(), 0755) == 0, "mkdir");
  b.run("create", [&b](int t, int i) {
    const int fd = ::open(b.file(t, i).c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644);
    need(fd >= 0, "create");
    need(::close(fd) == 0, "close");
  }, b.files);
  const std::string block(4096, 'x');
  b.run("write4k", [&b, &block](int t, int i) {
    const int fd = ::open(b.file(t, i).c_str(), O_WRONLY);
    need(fd >= 0, "open");
    need(::write(fd, block.data(), block.size()) == 4096, "write");
    need(::close(fd) == 0, "close");
  }, b.files);
  b.run("stat", [&b](int t, int i) {
    struct stat st {};
    need(::stat(b.file(t, i).c_str(), &st) == 0, "stat");
  }, b.files);
  b.run("read4k", [&b](int t, int i) {
    char buffer[4096];
    const int fd = ::open(b.file(t, i).c_str(), O_RDONLY);
    need(fd >= 0, "open");
    need(::read(fd, buffer, sizeof buffer) == 4096, "read");
    need(::close(fd) == 0, "close");
  }, b.files);
  b.run("readdir+stat", [&b](int t, int) { read_directory(b.home(t)); }, 5);
  b.run("rename", [&b](int t, int i) {
    need(::rename(b.file(t, i).c_str(), (b.file(t, i) + "r").c_str()) == 0, "rename");
  }, b.files);
  b.run("unlink", [&b](int t, int i) {
    need(::unlink((b.file(t, i) + "r").c_str()) == 0, "unlink");
  }, b.files);
  for (int t = 0; t < b.threads; ++t) need(::rmdir(b.home(t).c_str()) == 0, "rmdir");
  return 0;
}
