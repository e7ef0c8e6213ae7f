// mount_helper: what mount(8) runs for `mount -t tangelo`:
//
//   mount.tangelo SOURCE DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]
//
// Its options are those of /etc/fstab, of which many are for mount(8) or systemd alone, and its
// exit codes are those of mount(8).
#pragma once

#include <string>
#include <vector>

#include "base/problem.h"
#include "cli/arguments.h"

namespace tangelo {

struct helper_call {
  mount_arguments mount;  // options: what is left for us
  std::string mount_namespace;
  bool fake = false;
  bool remount = false;
  bool show_help = false;
};
outcome<helper_call> parse_helper_call(const std::vector<std::string>& words);

// What a remount changes, of a mount that was made with the words `before`.
struct remount_change {
  unsigned long flags = 0;          // MS_*, all of them anew
  std::vector<std::string> policy;  // words for `tangelo set`
};
outcome<remount_change> remount_of(const std::vector<std::string>& options,
                                   const std::vector<std::string>& before);
// The words of `options` in a mount.toml as the watchdog writes it.
std::vector<std::string> words_in_mount_file(std::string_view text);

// Exit codes of mount(8): 0; 1 usage or permission; 2 system; 32 it did not work.
int mount_exit_code(const problem& p);

// The option `remount` of `tangelo mount`: what mount(8) has done through us, too.
outcome<void> run_remount(const mount_arguments& words);
outcome<void> run_mount_helper(const helper_call& call);

}  // namespace tangelo
