// mount_options: the words of `-o`, checked and sorted into flags of mount(2) and options of ours.
//
// Pure; used by the watchdog while it starts. Words that belong to fstab and mount(8) alone
// (defaults, _netdev, x-..., ...) are accepted and mean nothing here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/problem.h"
#include "protocol/policy.h"

namespace tangelo {

// What the core is started with.
struct core_options {
  std::string fabric = "auto";     // or "verbs", "tcp": rdma/fabric.h
  std::uint32_t busy_poll_us = 0;  // see base/loop.h
  std::string secret_file;         // absolute; empty: none
};

struct mount_options {
  unsigned long flags = 0;            // MS_*
  std::vector<std::string> words;     // as given, for mount.toml
  mount_policy policy;                // sound
  cache_policy caching;               // sound
  core_options core;
  bool allow_other = false;           // asked for; a mount of root's always does
  bool locks = true;                  // false (nolock): locks are those of this machine's kernel
};

// `words` are single options, "ro" or "key=value".
outcome<mount_options> parse_mount_options(const std::vector<std::string>& words);

}  // namespace tangelo
