// harness: what the cases of the conformance suite are written with.
//
// A case is a function that makes system calls in its own, empty working directory and notes what
// each of them answered. It runs once on the mount and once on a local directory; its notes must be
// the same, line for line. So nothing in a case says what is right: the local filesystem does.
// What may differ for good reason (numbers of inodes and descriptors, sizes of directories, times)
// is noted as a relation ("grew", "the same inode"), not as a value.
//
// Notes go to memory that the children of a case share, so a case may fork and change its user.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

namespace conformance {

struct user {
  const char* name;
  uid_t uid;
  gid_t gid;
  std::vector<gid_t> groups;
};
// Ids that no machine has. `member` is in alice's group by its supplementary groups.
inline const user root{"root", 0, 0, {}};
inline const user alice{"alice", 73001, 73001, {}};
inline const user bob{"bob", 73002, 73002, {}};
inline const user member{"member", 73003, 73003, {73050, 73001, 73051}};

// Notes `result` under `label` and the contexts that are open.
void note(const std::string& label, const std::string& result);
std::string errno_name(int number);
std::string ok_or_errno(long result);      // -1: the errno; else "ok"
std::string number_or_errno(long result);  // -1: the errno; else the number
// Descriptors are closed.
std::string fd_or_errno(int fd);

// A part of the labels of all notes while it lives.
class context {
 public:
  explicit context(const std::string& text);
  ~context();
  context(const context&) = delete;
  context& operator=(const context&) = delete;

 private:
  std::size_t size_before_;
};

// Runs `work` in a child with the ids of `u`, and waits for its end. A signal that ends it is
// noted.
void as(const user& u, const std::function<void()>& work);
// The same, under the ids of the caller: another process.
void in_child(const std::function<void()>& work);

// ---- what cases make ----------------------------------------------------------------------------
// They stop the case (and note it) when they fail: a case begins with what certainly works.

void make_file(const std::string& path, const std::string& bytes = "0123456789",
               mode_t mode = 0644);
void make_dir(const std::string& path, mode_t mode = 0755);
void give(const std::string& path, const user& owner, gid_t group);
void set_mode(const std::string& path, mode_t mode);
void empty_here();                                // removes everything in the working directory
std::string file_bytes(const std::string& path);  // as text; the errno if it cannot be read

// Kinds of objects that a name may lead to.
inline const std::vector<std::string> kinds = {"none",    "file",   "dir",      "full",
                                               "to_file", "to_dir", "dangle",   "loop",
                                               "fifo",    "socket", "char_dev", "block_dev"};
void make_kind(const std::string& kind, const std::string& path);

// ---- what cases look at -------------------------------------------------------------------------

std::string octal(mode_t mode);
std::string type_name(mode_t mode);
// Type, mode, links, ids, size (not of directories), device; no inode number and no times.
std::string stat_text(int result, const struct stat& st);
std::string lstat_of(const std::string& path);
std::string fstat_of(int fd);
// The names in a directory, sorted, with their types.
std::string listing(const std::string& path);
// Which times of `path` (not followed) changed while `work` ran: "a= m+ c+".
std::string time_changes(const std::string& path, const std::function<void()>& work);
void nap();  // longer than the clock of any filesystem ticks
std::string hex(const std::string& bytes);
char* room_of_100();  // for bytes that nobody looks at

#define OK(...) ::conformance::note(#__VA_ARGS__, ::conformance::ok_or_errno(__VA_ARGS__))
#define NUM(...) ::conformance::note(#__VA_ARGS__, ::conformance::number_or_errno(__VA_ARGS__))
#define FD(...) ::conformance::note(#__VA_ARGS__, ::conformance::fd_or_errno(__VA_ARGS__))
#define LSTAT(path) ::conformance::note("lstat " #path, ::conformance::lstat_of(path))
#define TIMES(path, ...)                                       \
  ::conformance::note("times of " path " after " #__VA_ARGS__, \
                      ::conformance::time_changes(path, [&] { (void)(__VA_ARGS__); }))

// ---- the table of cases -------------------------------------------------------------------------

struct test_case {
  const char* name;
  void (*run)();
};
using case_list = std::vector<test_case>;
case_list cases_of_names();
case_list cases_of_paths();
case_list cases_of_renames();
case_list cases_of_open();
case_list cases_of_attributes();
case_list cases_of_permission();
case_list cases_of_data();
case_list cases_of_mappings();
case_list cases_of_space();
case_list cases_of_xattrs();
case_list cases_of_locks();
case_list cases_of_directories();

// A difference that is as it should be. `notes` is a pattern (fnmatch) of "CASE: LABEL".
struct accepted_difference {
  const char* notes;
  const char* reason;
};
const std::vector<accepted_difference>& accepted_differences();

}  // namespace conformance
