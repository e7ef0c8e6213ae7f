// tangelo fabric: the RDMA devices of this machine, and over which one a server would be reached.
#include <cstdio>

#include "cli/commands.h"
#include "rdma/fabric.h"

namespace tangelo {

outcome<void> run_fabric(const fabric_arguments& words) {
  const outcome<std::string> text = describe_fabric(words.address);
  if (!text) return failure{text.error()};
  std::fputs(text->c_str(), stdout);
  return {};
}

}  // namespace tangelo
