// stallprobe: how long each operation on a mount takes, one after the other, and when it began.
//
//   stallprobe DIR STOP_FILE OUTPUT
//
// Works in DIR until STOP_FILE is there, then writes OUTPUT: for each operation its kind (see
// `kinds`), its begin on CLOCK_MONOTONIC and its duration, as three little-endian 64-bit numbers.
// An operation that fails ends the program with 1.
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

enum class kind : std::uint64_t { create, write, fsync, read, stat, unlink };

struct sample {
  kind what;
  std::uint64_t begin_ns;
  std::uint64_t took_ns;
};

std::uint64_t now_ns() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(t.tv_nsec);
}

class probe {
 public:
  probe() { samples_.reserve(std::size_t{1} << 22); }

  template <class Call>
  long timed(kind what, Call call) {
    const std::uint64_t begin = now_ns();
    const long result = call();
    samples_.push_back({what, begin, now_ns() - begin});
    if (result < 0) {
      std::perror("stallprobe");
      std::exit(1);
    }
    return result;
  }
  void round(const std::string& name) {
    alignas(4096) static char block[4096] = {};
    const int fd = static_cast<int>(timed(kind::create, [&name] {
      return ::open(name.c_str(), O_CREAT | O_EXCL | O_RDWR | O_DIRECT, 0644);
    }));
    timed(kind::write, [fd] { return ::pwrite(fd, block, sizeof block, 0); });
    timed(kind::fsync, [fd] { return ::fsync(fd); });
    timed(kind::read, [fd] { return ::pread(fd, block, sizeof block, 0); });
    timed(kind::stat, [fd] {  // not from the cache
      struct statx state {};
      return ::statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_ALL, &state);
    });
    ::close(fd);
    timed(kind::unlink, [&name] { return ::unlink(name.c_str()); });
  }
  bool save(const char* path) const {
    std::FILE* out = std::fopen(path, "wb");
    if (out == nullptr) return false;
    const std::size_t n = std::fwrite(samples_.data(), sizeof(sample), samples_.size(), out);
    return std::fclose(out) == 0 && n == samples_.size();
  }

 private:
  std::vector<sample> samples_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: stallprobe DIR STOP_FILE OUTPUT\n");
    return 2;
  }
  probe p;
  const std::string dir = argv[1];
  for (std::uint64_t n = 0; ::access(argv[2], F_OK) != 0; ++n)
    p.round(dir + "/p" + std::to_string(n % 1000));
  return p.save(argv[3]) ? 0 : 1;
}
