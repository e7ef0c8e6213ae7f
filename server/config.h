// config: what a server is told: by its file /etc/tangelo/servers/NAME.toml and its command line.
//
//   listen = "127.0.0.1:7471"
//   fabric = "auto"               # or "verbs", "tcp": what it listens with
//   busy_poll_us = 0              # for so long after an event it does not sleep
//   secret_file = "/etc/tangelo/secret"   # clients must know it, too
//   metrics = "127.0.0.1:9472"    # for Prometheus; of this machine only
//   standby = true                # waits for each volume until nobody else holds it
//   lease_seconds = 30            # and evict_seconds, window_soft_seconds, window_hard_seconds,
//   commit_interval_ms = 50       # which follow the lease when they are not there
//   [[volume]]
//   name = "home"
//   path = "/var/lib/tangelo/volumes/home"
//   squash = "root"               # root counts as anon_uid, anon_gid; "all": everybody does
//   anon_uid = 65534
//   anon_gid = 65534
//   read_only = false
//   atime = "relatime"            # or "none": reading changes no times
//   allow = ["10.0.0.0/8"]        # clients elsewhere are refused
//
// Every mistake in the file is answered with file, line and column, and what to write instead.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/problem.h"
#include "rdma/fabric.h"
#include "server/export_rules.h"

namespace tangelo {

struct volume_config {
  std::string name;
  std::string path;
  export_rules rules;
  std::string name_place;  // "FILE:LINE:COLUMN: "; empty: of the command line
  std::string path_place;
};

// The times of recovery; 0: not said, then times_of() has the default.
struct server_times {
  std::uint32_t lease_seconds = 0;
  std::uint32_t evict_seconds = 0;        // a client silent for so long is evicted for others
  std::uint32_t window_soft_seconds = 0;  // after a start, a client that has not come by then
  std::uint32_t window_hard_seconds = 0;  // ... that has come, but is not done
  std::uint32_t commit_interval_ms = 0;
  bool operator==(const server_times&) const = default;
};

struct server_config {
  std::string name = "default";
  std::string listen = "127.0.0.1:7471";
  fabric_choice fabric = fabric_choice::automatic;
  std::uint32_t busy_poll_us = 0;
  std::vector<volume_config> volumes;
  std::string secret_file;  // empty: whoever reaches us is let in, so loopback only
  std::string metrics;      // ADDRESS:PORT of this machine; empty: nobody is told
  bool standby = false;
  server_times times;  // as written
  std::string run_dir;  // empty: no server.json
  std::string user;     // empty: stays who it is
  std::map<std::string, std::string, std::less<>> places;  // of the file's keys, as of a volume
  std::string place(std::string_view key) const;  // empty: not from the file
  // Of the test program only.
  bool audit = false;
  bool keep_reply_records = true;
  bool flush = true;
  std::uint64_t slow_us = 0;
};

inline constexpr std::uint32_t busy_poll_us_max = 10'000;

outcome<server_config> read_server_config(const std::string& path);
// With the defaults filled in: 30 s; 5, 1.5 and 4 leases; 50 ms.
server_times times_of(const server_config& config);
// What is wrong with it as a whole, if something is: no volume, names twice, listening abroad,
// times that contradict each other (recovery needs lease <= evict, lease <= soft <= hard).
outcome<bool> check_config(const server_config& config);

}  // namespace tangelo
