// volume_owner: whose files a new volume is made of, when root makes it for a service.
//
// A server runs as a user of its own, and has to be able to write what root made with
// `tangelo-server init`. So root becomes that user before the volume is made: the one named, else
// the owner of the directory, else (when it is made as well) of the directory around it. The root
// directory *inside* the volume stays root's. For a process that makes a volume and ends.
#pragma once

#include <string>

#include "base/problem.h"

namespace tangelo {

// Makes `directory` if need be and becomes its owner. Does nothing for anybody but root, who may
// not name a `user`.
outcome<void> become_volume_owner(const std::string& directory, const std::string& user);

// Becomes `user`, for good.
outcome<void> become_user(const std::string& user);

}  // namespace tangelo
