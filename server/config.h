// config: what a server is told: by its file /etc/tangelo/servers/NAME.toml and its command line.
//
//   listen = "127.0.0.1:7471"
//   [[volume]]
//   name = "home"
//   path = "/var/lib/tangelo/volumes/home"
//
// Every mistake is answered with file, line, and what to write instead.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/problem.h"

namespace tangelo {

struct volume_config {
  std::string name;
  std::string path;
};

struct server_config {
  std::string name = "default";
  std::string listen = "127.0.0.1:7471";
  std::vector<volume_config> volumes;
  std::string run_dir;  // empty: no server.json
  std::string user;     // empty: stays who it is
  // Of the test program only.
  bool audit = false;
  bool keep_reply_records = true;
  bool flush = true;
  std::uint64_t slow_us = 0;
};

outcome<server_config> read_server_config(const std::string& path);
// What is wrong with it as a whole, if something is: no volume, names twice, listening abroad.
outcome<bool> check_config(const server_config& config);

}  // namespace tangelo
