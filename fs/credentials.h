// credentials: who the caller of a request is, beyond what the request says: supplementary groups
// and capabilities, from /proc/TID/status. Front end's loop thread only; allocates at the start.
//
// What was read is used for as long as it is young, and only for the same thread, uid and gid.
// Nothing tells cheaply that the thread has changed them since (setgroups, capset, exec), but the
// server must not refuse what the kernel has allowed. So what was refused is asked once more when
// its caller has changed (front_end::ask_again), and what the server does in another way instead of
// refusing it, like taking setgid away, is asked with what was read for it (of_now). Whose groups
// cannot be told, or are more than a body has room for, is marked power::unknown_groups.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "fs/kernel_port.h"
#include "protocol/ops.h"

namespace tangelo {

class credentials {
 public:
  explicit credentials(caller_inspector& callers);
  // Of root nothing has to be known: the server lets it pass, or counts it as somebody else.
  credential of(std::uint32_t tid, std::uint32_t uid, std::uint32_t gid,
                std::uint64_t now_ns) noexcept;
  // The same, read while its caller waited for this very request, which came at `now_ns`.
  credential of_now(std::uint32_t tid, std::uint32_t uid, std::uint32_t gid,
                    std::uint64_t now_ns) noexcept;
  // Whether the caller of a request that came at `arrived_ns`, and was made for `who`, has other
  // groups or powers: `who` has them then. False, too, when it is not there any more.
  bool renew(std::uint32_t tid, credential& who, std::uint64_t arrived_ns,
             std::uint64_t now_ns) noexcept;
  // CAP_SYS_ADMIN, which root may lack, too; read anew.
  bool is_administrator(std::uint32_t tid, std::uint32_t uid, std::uint32_t gid) noexcept;

 private:
  struct entry {
    std::uint32_t tid = 0;  // 0: none
    std::uint64_t read_ns = 0;
    credential who;
  };
  // What was read at `since_ns` or later, or is read now.
  credential read_since(std::uint64_t since_ns, std::uint32_t tid, std::uint32_t uid,
                        std::uint32_t gid, std::uint64_t now_ns) noexcept;
  entry& place_of(std::uint32_t tid) noexcept { return entries_[tid % entries_.size()]; }

  caller_inspector& callers_;
  std::vector<entry> entries_;
};

// Whether an operation of the kernel depends on more than the caller's uid and gid.
bool wants_groups(std::uint32_t kernel_opcode) noexcept;

// Adds groups and powers to `who`, whose uid and gid are known; false, and then nothing is added,
// when the text does not have them, or is of somebody else.
bool add_groups(std::string_view status, credential& who) noexcept;

}  // namespace tangelo
