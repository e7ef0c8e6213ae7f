// parked: callers for tests/mount/parked.sh, which builds it.
//
//   parked once OP DIR GO       prepares OP in DIR, prints "ready", does it once the file GO is
//                               there, prints its errno. SIGUSR1 is handled and changes nothing.
//   parked crowd DIR N GO       N threads that look at names in DIR, and into the files f0 to fN/4
//                               once GO is there; prints "ready" before, then how many failed.
//   parked files DIR N GO       N open files without a name; prints "open"; closes them from 64
//                               threads once GO is there; prints "closed".
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

static void need(int ok, const char *what) {
  if (ok) return;
  perror(what);
  exit(1);
}
static void say(const char *word) {
  puts(word);
  fflush(stdout);
}
static void wait_for(const char *go) {
  while (access(go, F_OK) != 0) usleep(2000);
}

// ---- once ----------------------------------------------------------------------------------------

static char block[65536] __attribute__((aligned(4096)));
static int fd, directory_fd;

static int do_read(void) { return pread(fd, block, 4096, 0) < 0 ? -1 : 0; }
static int do_write(void) { return pwrite(fd, block, sizeof block, 0) < 0 ? -1 : 0; }
// One that fails makes the kernel cut the file again: a second operation.
static int do_append(void) { return pwrite(fd, block, sizeof block, 4096) < 0 ? -1 : 0; }
static int do_fsync(void) { return fsync(fd); }
static int do_truncate(void) { return ftruncate(fd, 5); }
static int do_lookup(void) { return access("file2", F_OK); }
static int do_open(void) { return open("file", O_RDWR | O_TRUNC); }
static int do_create(void) { return open("new", O_CREAT | O_WRONLY, 0644); }
static int do_mkdir(void) { return mkdir("newdir", 0755); }
static int do_symlink(void) { return symlink("x", "newlink"); }
static int do_unlink(void) { return unlink("file2"); }
static int do_rename(void) { return rename("file2", "file3"); }
static int do_chmod(void) { return chmod("file", 0600); }
static int do_xattr(void) { return setxattr("file", "user.x", "y", 1, 0); }
static int do_statfs(void) {
  struct statvfs s;
  return statvfs(".", &s);
}
static int do_readdir(void) {
  char room[4096];
  return getdents64(directory_fd, room, sizeof room) < 0 ? -1 : 0;
}

static const struct {
  const char *name;
  int (*call)(void);
} calls[] = {
    {"read", do_read},       {"write", do_write},   {"fsync", do_fsync},   {"truncate", do_truncate},
    {"lookup", do_lookup},   {"open", do_open},     {"create", do_create}, {"mkdir", do_mkdir},
    {"symlink", do_symlink}, {"unlink", do_unlink}, {"rename", do_rename}, {"chmod", do_chmod},
    {"xattr", do_xattr},     {"statfs", do_statfs}, {"readdir", do_readdir}, {"append", do_append},
};

static void handled(int number) { (void)number; }

static int once(const char *op, const char *dir, const char *go) {
  struct sigaction action = {.sa_handler = handled, .sa_flags = SA_RESTART};
  sigaction(SIGUSR1, &action, NULL);
  need(mkdir(dir, 0755) == 0 && chdir(dir) == 0, dir);
  fd = open("file", O_CREAT | O_RDWR | O_DIRECT, 0644);
  need(fd >= 0 && write(fd, block, sizeof block) == (ssize_t)sizeof block, "file");
  need(close(open("file2", O_CREAT | O_WRONLY, 0644)) == 0, "file2");
  directory_fd = open(".", O_RDONLY | O_DIRECTORY);
  need(directory_fd >= 0, "directory");
  say("ready");
  wait_for(go);
  for (size_t i = 0; i < sizeof calls / sizeof *calls; ++i)
    if (strcmp(calls[i].name, op) == 0) {
      errno = 0;
      if (calls[i].call() >= 0) errno = 0;
      say(errno == 0 ? "done" : strerrorname_np(errno));
      return 0;
    }
  return 2;
}

// ---- crowd ---------------------------------------------------------------------------------------

static atomic_int failed;

// Every fourth reads and writes a file of its own, the others ask for names that are not there: no
// two wait for each other in the kernel.
static void *crowd_member(void *argument) {
  const long n = (long)argument;
  char path[32], data[512];
  int bad;
  snprintf(path, sizeof path, "%c%ld", n % 4 == 0 ? 'f' : 'n', n % 4 == 0 ? n / 4 : n);
  errno = 0;
  if (n % 4 == 0) {
    const int file = open(path, O_RDWR | O_CLOEXEC);
    memset(data, (int)n, sizeof data);
    bad = file < 0 || pread(file, data, sizeof data, 4096) != (ssize_t)sizeof data ||
          pwrite(file, data, sizeof data, 0) != (ssize_t)sizeof data || close(file) != 0;
  } else {
    bad = access(path, F_OK) == 0 || errno != ENOENT;
  }
  if (bad) {
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    atomic_fetch_add(&failed, 1);
  }
  return NULL;
}

static int crowd(const char *dir, long count, const char *go) {
  pthread_attr_t small;
  pthread_t *threads = calloc((size_t)count, sizeof *threads);
  need(chdir(dir) == 0, dir);
  say("ready");
  wait_for(go);
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 65536);
  for (long i = 0; i < count; ++i)
    need(pthread_create(&threads[i], &small, crowd_member, (void *)i) == 0, "pthread_create");
  for (long i = 0; i < count; ++i) pthread_join(threads[i], NULL);
  printf("failed %d\n", atomic_load(&failed));
  return atomic_load(&failed) != 0;
}

// ---- files ---------------------------------------------------------------------------------------

static int *open_files;
static long open_count;
static atomic_long next_file;

static void *closer(void *unused) {
  (void)unused;
  for (;;) {
    const long i = atomic_fetch_add(&next_file, 1);
    if (i >= open_count) return NULL;
    need(close(open_files[i]) == 0, "close");
  }
}

static int files(const char *dir, long count, const char *go) {
  struct rlimit limit = {(rlim_t)count + 100, (rlim_t)count + 100};
  pthread_t threads[64];
  char path[4096];
  setrlimit(RLIMIT_NOFILE, &limit);
  open_files = calloc((size_t)count, sizeof *open_files);
  open_count = count;
  for (long i = 0; i < count; ++i) {
    snprintf(path, sizeof path, "%s/u%ld", dir, i);
    open_files[i] = open(path, O_CREAT | O_RDWR, 0644);
    need(open_files[i] >= 0 && write(open_files[i], block, 16384) == 16384, path);
    need(unlink(path) == 0, "unlink");
  }
  say("open");
  wait_for(go);
  for (int i = 0; i < 64; ++i) pthread_create(&threads[i], NULL, closer, NULL);
  for (int i = 0; i < 64; ++i) pthread_join(threads[i], NULL);
  say("closed");
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 5 && strcmp(argv[1], "once") == 0) return once(argv[2], argv[3], argv[4]);
  if (argc == 5 && strcmp(argv[1], "crowd") == 0) return crowd(argv[2], atol(argv[3]), argv[4]);
  if (argc == 5 && strcmp(argv[1], "files") == 0) return files(argv[2], atol(argv[3]), argv[4]);
  return 2;
}
