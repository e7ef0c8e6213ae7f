// server: one process that serves volumes: the wiring of loop, stores, volumes, sessions, fabric.
//
// make() blocks and does everything that can be refused, in the order: hold the volume (flock),
// stores, boot generation and redo, listen. As a standby it only listens, and run() takes each
// volume, in the same order, once nobody else holds it. run() is the loop thread's life; it ends
// after SIGTERM or SIGINT, when no call runs any more and everything is flushed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/loop.h"
#include "base/problem.h"
#include "protocol/op_metrics.h"
#include "rdma/export.h"
#include "rdma/provider.h"
#include "rdma/tcp/tcp_provider.h"
#include "server/config.h"
#include "server/served_volume.h"
#include "server/server_control.h"
#include "server/server_metrics.h"
#include "server/standby.h"
#include "server/thread_workers.h"

namespace tangelo {

class server {
 public:
  // SIGTERM and SIGINT must be blocked already.
  // `passed` is a socket that listens already, instead of config.listen.
  static outcome<std::unique_ptr<server>> make(server_config config, unique_fd passed = {});
  ~server();
  server(const server&) = delete;
  server& operator=(const server&) = delete;

  void run();
  void stop();  // begins the orderly end; loop thread
  std::string address() const { return listener_->address(); }
  loop& home() noexcept { return *loop_; }
  std::size_t volume_count() const noexcept { return volumes_.size(); }  // that it serves
  volume_status status_of(std::size_t volume_index) const;

 private:
  server(const server_config& config, unique_fd passed)
      : config_(config), passed_(std::move(passed)) {}
  outcome<bool> start();
  outcome<bool> serve(const volume_config& v, opened_store store);
  outcome<bool> stand_by();
  acceptor to_exports();
  outcome<bool> listen();
  outcome<bool> listen_with_verbs();
  void try_verbs_again();
  outcome<bool> find_verbs();
  outcome<bool> open_control();
  outcome<bool> open_metrics();
  server_figures figures() const;
  std::vector<server_volume_row> volume_rows() const;
  std::string standing() const;  // what it does, for people
  outcome<bool> write_run_file() const;
  void on_signal(int res, std::uint32_t flags) noexcept;
  void arm_signal();
  void stop_volume(std::size_t index);

  const server_config config_;
  unique_fd passed_;  // until it is the listener's
  op_metrics calls_;  // written by exports_
  std::unique_ptr<loop> loop_;
  std::unique_ptr<thread_workers> pool_;
  std::unique_ptr<thread_workers> opener_;  // of standby_
  std::vector<std::unique_ptr<served_volume>> volumes_;
  std::unique_ptr<standby> standby_;
  std::unique_ptr<tcp_provider> fabric_;
  std::unique_ptr<provider> verbs_;  // null where none is wanted or built in
  std::unique_ptr<export_host> exports_;
  std::unique_ptr<listener> listener_;
  std::unique_ptr<listener> verbs_listener_;
  std::unique_ptr<server_control> control_;
  std::unique_ptr<server_metrics> metrics_;
  unique_fd signals_;
  std::unique_ptr<std::byte[]> signal_room_;
  member_completion<server, &server::on_signal> signal_completion_{*this};
  bool stopping_ = false;
};

}  // namespace tangelo
