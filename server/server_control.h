// server_control: a server's control.sock (protocol/server_control.h): who is connected, what is
// served, evicting a client by command, and what is logged. Loop thread only; nothing waits.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/loop.h"
#include "base/problem.h"
#include "protocol/control_server.h"
#include "protocol/server_control.h"
#include "rdma/export.h"

namespace tangelo {

class server_control final : private control_events {
 public:
  using volume_rows = std::function<std::vector<server_volume_row>()>;

  // Listens at `path`, replacing what is there; all must outlive it.
  static outcome<std::unique_ptr<server_control>> open(const std::string& path, loop& home,
                                                       export_host& exports, volume_rows volumes);

 private:
  server_control(loop& home, export_host& exports, volume_rows volumes)
      : exports_(exports),
        volumes_(std::move(volumes)),
        server_(home, *this, sizeof(server_request)) {}
  bool on_request(byte_span packet, control_ticket ticket) noexcept override;
  void evict(const server_request& request, control_ticket ticket);
  void set_log(const server_request& request, control_ticket ticket);
  std::vector<server_client_row> client_rows() const;
  template <class Row>
  void answer_rows(const std::vector<Row>& rows, control_ticket ticket);

  export_host& exports_;
  const volume_rows volumes_;
  control_server server_;
};

// Cut to what fits, zero-terminated.
template <std::size_t Size>
void copy_text(std::array<char, Size>& to, std::string_view from) {
  to.fill(0);
  from.copy(to.data(), Size - 1);
}

}  // namespace tangelo
