// passed_socket: the listening socket that systemd has bound for us (tangelo-server@NAME.socket).
//
// It is systemd's, too, so it goes on taking connections while a server ends and the next one
// starts: nobody is refused. Once, while the process starts.
#pragma once

#include <string>

#include "base/fd.h"
#include "base/problem.h"

namespace tangelo {

// Empty when there is none. More than one, or one that takes no TCP connections, is a mistake.
outcome<unique_fd> take_passed_socket();

}  // namespace tangelo
