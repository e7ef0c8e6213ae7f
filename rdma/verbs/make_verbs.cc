#include "rdma/fabric.h"
#include "rdma/verbs/verbs_provider.h"

namespace tangelo {

outcome<std::unique_ptr<provider>> make_verbs(loop& l) {
  outcome<std::unique_ptr<verbs_provider>> made = verbs_provider::make(l);
  if (!made) return failure{made.error()};
  return std::unique_ptr<provider>(std::move(*made));
}

}  // namespace tangelo
