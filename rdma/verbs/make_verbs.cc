#include "rdma/fabric.h"
#include "rdma/verbs/verbs_provider.h"

namespace tangelo {

outcome<std::unique_ptr<provider>> make_verbs(loop& l, rdma_needed when) {
  auto made = std::make_unique<verbs_provider>(l);
  if (const outcome<void> begun = made->begin(); !begun && when == rdma_needed::now)
    return failure{begun.error()};
  return std::unique_ptr<provider>(std::move(made));
}

}  // namespace tangelo
