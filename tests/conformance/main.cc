// conformance: does a mount answer as a local filesystem does?
//
//   conformance [--case PATTERN]... [--rounds N] [--list] MOUNTED_DIR LOCAL_DIR
//
// Runs every case in a new directory of either and compares what they note. Each difference is one
// line. Exit code 0: none but accepted ones; 1: some; 2: usage or no root.
#include <fnmatch.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>

#include "tests/conformance/harness.h"
#include "tests/conformance/notes.h"

namespace conformance {
namespace {

constexpr unsigned case_seconds_max = 120;
constexpr const char* the_case = "the case";  // the note of one that did not end well

struct settings {
  std::vector<std::string> patterns;
  int rounds = 1;
  bool list = false;
  bool all = false;  // accepted differences are printed as well
  std::vector<std::string> dirs;
};

struct totals {
  std::size_t checks = 0, differences = 0;
  std::map<std::size_t, std::size_t> accepted;  // by row: how often
};

case_list all_cases() {
  case_list all;
  for (const auto& part :
       {cases_of_names(), cases_of_paths(), cases_of_renames(), cases_of_open(),
        cases_of_attributes(), cases_of_permission(), cases_of_data(), cases_of_mappings(),
        cases_of_space(), cases_of_xattrs(), cases_of_locks(), cases_of_directories()})
    all.insert(all.end(), part.begin(), part.end());
  return all;
}

[[noreturn]] void run_in(const test_case& c, const std::string& dir, notes& n) {
  n.use();
  ::umask(022);
  ::alarm(case_seconds_max);
  if (::mkdir(dir.c_str(), 0755) != 0 || ::chdir(dir.c_str()) != 0) {
    note("PREPARATION " + dir, errno_name(errno));
    ::_exit(3);
  }
  c.run();
  empty_here();
  ::_exit(0);
}

pid_t start(const test_case& c, const std::string& dir, notes& n) {
  const pid_t pid = ::fork();
  if (pid == 0) run_in(c, dir, n);
  return pid;
}

void end(pid_t pid, const std::string& dir, notes& n) {
  int status = 0;
  ::waitpid(pid, &status, 0);
  n.use();
  if (WIFSIGNALED(status)) notes_add(the_case, "signal " + std::to_string(WTERMSIG(status)));
  if (WIFEXITED(status) && WEXITSTATUS(status) != 0) notes_add(the_case, "gave up");
  (void)::rmdir(dir.c_str());
}

void report(const std::string& name, const std::string& label, const std::string& mounted,
            const std::string& local, const settings& s, totals& t) {
  const std::string where = name + ": " + label;
  const auto& rows = accepted_differences();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (::fnmatch(rows[i].notes, where.c_str(), 0) != 0) continue;
    ++t.accepted[i];
    if (s.all)
      std::printf("accepted %s: mount %s, local %s\n", where.c_str(), mounted.c_str(),
                  local.c_str());
    return;
  }
  ++t.differences;
  std::printf("DIFFERENT %s: mount %s, local %s\n", where.c_str(), mounted.c_str(), local.c_str());
}

void compare(const std::string& name, const std::vector<noted>& mounted,
             const std::vector<noted>& local, const settings& s, totals& t) {
  std::map<std::string, std::string> other;
  for (const noted& n : local) other[n.label] = n.result;
  for (const noted& n : mounted) {
    ++t.checks;
    const auto found = other.find(n.label);
    const std::string expected = found == other.end() ? "(not reached)" : found->second;
    if (found != other.end()) other.erase(found);
    if (n.result != expected || n.label == the_case)
      report(name, n.label, n.result, expected, s, t);
  }
  for (const noted& n : local)
    if (other.contains(n.label)) {
      ++t.checks;
      report(name, n.label, "(not reached)", n.result, s, t);
    }
}

void run_case(const test_case& c, const settings& s, totals& t) {
  notes mounted, local;
  const std::string suffix = "/conformance-" + std::to_string(::getpid()) + "-" + c.name;
  const pid_t a = start(c, s.dirs[0] + suffix, mounted);
  const pid_t b = start(c, s.dirs[1] + suffix, local);
  end(a, s.dirs[0] + suffix, mounted);
  end(b, s.dirs[1] + suffix, local);
  compare(c.name, mounted.take(), local.take(), s, t);
}

bool wanted(const test_case& c, const settings& s) {
  for (const std::string& p : s.patterns)
    if (::fnmatch(p.c_str(), c.name, 0) == 0) return true;
  return s.patterns.empty();
}

int usage() {
  std::fprintf(stderr,
               "usage: conformance [--case PATTERN]... [--rounds N] [--all] MOUNTED_DIR LOCAL_DIR\n"
               "       conformance --list\n");
  return 2;
}

int run(const settings& s) {
  const case_list all = all_cases();
  if (s.list) {
    for (const test_case& c : all) std::printf("%s\n", c.name);
    return 0;
  }
  if (s.dirs.size() != 2 || ::geteuid() != 0) return usage();
  totals t;
  for (int round = 0; round < s.rounds; ++round)
    for (const test_case& c : all)
      if (wanted(c, s)) {
        run_case(c, s, t);
        std::fflush(stdout);
      }
  for (const auto& [row, count] : t.accepted)
    std::printf("accepted: %zu of '%s': %s\n", count, accepted_differences()[row].notes,
                accepted_differences()[row].reason);
  std::printf("%zu checks, %zu different\n", t.checks, t.differences);
  return t.checks == 0 || t.differences != 0 ? 1 : 0;
}

}  // namespace
}  // namespace conformance

int main(int argc, char** argv) {
  conformance::settings s;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--list") s.list = true;
    else if (word == "--all") s.all = true;
    else if (word == "--case" && i + 1 < argc) s.patterns.push_back(argv[++i]);
    else if (word == "--rounds" && i + 1 < argc) s.rounds = std::atoi(argv[++i]);
    else if (word.starts_with("-")) return conformance::usage();
    else s.dirs.push_back(word);
  }
  return conformance::run(s);
}
