#include "server/fence_command.h"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

namespace tangelo {

outcome<int> run_fence_command(const std::string& command, const std::string& directory,
                               const volume_holder& holder) {
  std::vector<std::string> added = {fmt::format("TANGELO_HOLDER_PID={}", holder.pid),
                                    "TANGELO_HOLDER_HOST=" + holder.host,
                                    "TANGELO_VOLUME_DIR=" + directory};
  std::vector<char*> environment;
  for (char** e = ::environ; *e != nullptr; ++e)
    if (std::strncmp(*e, "TANGELO_HOLDER_", 15) != 0) environment.push_back(*e);
  for (std::string& a : added) environment.push_back(a.data());
  environment.push_back(nullptr);
  std::string shell = "sh", option = "-c", text = command;
  char* words[] = {shell.data(), option.data(), text.data(), nullptr};
  pid_t pid = 0;
  int error = ::posix_spawn(&pid, "/bin/sh", nullptr, nullptr, words, environment.data());
  int status = 0;
  while (error == 0 && ::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) error = errno;
  if (error != 0)
    return failure{problem{exit_code::failed,
                           std::string("the fence command cannot be run: ") +
                               std::strerror(error), {}}};
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace tangelo
