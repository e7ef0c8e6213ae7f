// server_metrics: tells Prometheus how a server does, on a port of this machine.
//
// A thread of its own answers; for each answer it asks the loop once for its figures, and goes on
// without when the loop does not say them within 2 s. Who asks slowly, or often, costs the loop no
// more than that.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/loop.h"
#include "base/problem.h"
#include "protocol/op_metrics.h"
#include "protocol/text_endpoint.h"
#include "rdma/export.h"
#include "server/volume_options.h"

namespace tangelo {

struct volume_figures {
  std::string name;
  std::string directory;
  bool serving = false;  // else it waits for another server's end, and the rest is empty
  std::uint64_t boot_generation = 0;
  volume_status status;
};
struct server_figures {
  std::vector<volume_figures> volumes;
  std::vector<export_status> clients;
  bool recovering = false;
};

// `calls` may be written meanwhile. Without figures (nullptr): the loop did not answer.
std::string metrics_of_server(const server_figures* figures, const op_metrics& calls);

class server_metrics {
 public:
  // `look` is called on the loop's thread; all must outlive it.
  static outcome<std::unique_ptr<server_metrics>> open(const std::string& where, loop& home,
                                                       const op_metrics& calls,
                                                       std::function<server_figures()> look);
  ~server_metrics();
  server_metrics(const server_metrics&) = delete;
  server_metrics& operator=(const server_metrics&) = delete;

 private:
  struct question;
  server_metrics(text_endpoint endpoint, loop& home, const op_metrics& calls,
                 std::function<server_figures()> look);
  std::string text();

  text_endpoint endpoint_;
  loop& home_;
  const op_metrics& calls_;
  const std::function<server_figures()> look_;
  std::thread thread_;
};

}  // namespace tangelo
