// arguments: the command line of `tangelo`, parsed.
//
// The adapter around CLI11: its exceptions end in arguments.cc.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "base/problem.h"

namespace tangelo {

struct mount_arguments {
  std::string source;
  std::string directory;
  std::vector<std::string> options;
  bool verbose = false;
  bool quiet = false;  // says nothing when it works
  bool json = false;
};
struct umount_arguments {
  std::string directory;
  bool lazy = false;
  bool force = false;
  bool json = false;
};
struct look_arguments {
  std::string what;  // empty: every mount
  bool json = false;
  bool ops = false;
};
// No words: only look.
struct set_arguments {
  std::string mount;
  std::vector<std::string> words;  // key=value
  bool quiet = false;              // does not show what is set
  bool json = false;
};
struct abort_arguments {
  std::string mount;
  bool json = false;
};
struct upgrade_arguments {
  std::string mount;
  bool json = false;
};
struct adopt_arguments {
  std::string mount;
  bool json = false;
};
// What is asked of a server of this machine.
struct server_arguments {
  enum class verb { list, volumes, evict, log };
  verb what = verb::list;
  std::string server;  // its name or run directory; empty: every one
  std::string volume;  // evict
  std::string client;  // evict: its id, or its address
  std::string level;   // log
  bool json = false;
};
struct quota_arguments {
  enum class verb { show, set, clear, list };
  verb what = verb::show;
  std::string path;
  std::string user;   // a name or a number; neither: the tree of `path`
  std::string group;
  std::string bytes;  // set; empty: stays as it is
  std::string inodes;
  bool json = false;
};
struct metrics_arguments {
  std::string mount;   // empty: every mount
  std::string listen;  // empty: print them once
  bool json = false;   // of what is printed once
};
struct ping_arguments {
  std::string server;  // HOST[:PORT]
  unsigned count = 4;
  std::string size;    // bytes to move with each, there and back; empty: none
  std::string fabric;  // empty: each there is
  bool json = false;
};
struct top_arguments {
  std::string mount;  // empty: every mount
  bool json = false;
};
struct trace_arguments {
  std::string mount;
  std::vector<std::string> ops;  // empty: all
  std::uint32_t pid = 0;         // 0: everybody
  std::string slower;            // "10ms"; empty: all
  bool json = false;
};
struct fabric_arguments {
  std::string address;  // "host:port"; empty: only the devices
  bool json = false;
};
// Help or version was asked for.
struct said_arguments {
  std::string text;
};

using arguments =
    std::variant<mount_arguments, umount_arguments, look_arguments, set_arguments, abort_arguments,
                 upgrade_arguments, adopt_arguments, server_arguments, quota_arguments,
                 metrics_arguments, ping_arguments, top_arguments, trace_arguments,
                 fabric_arguments, said_arguments>;

outcome<arguments> parse_arguments(int argc, char** argv);
// The words of `-o a,b -o c`.
std::vector<std::string> split_options(const std::vector<std::string>& given);

}  // namespace tangelo
