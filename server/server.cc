#include "server/server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/log.h"
#include "base/open_files.h"
#include "base/notify.h"
#include "server/volume_owner.h"

namespace tangelo {

namespace {

constexpr unsigned loop_entry_count = 1024;
constexpr std::size_t pool_thread_count = 2;
constexpr std::uint64_t verbs_again_ns = ns_per_s;
constexpr std::uint64_t stop_time_max_ns = 10 * ns_per_s;

export_options options_of(const server_times& t) {
  export_options o;
  o.lease_ms = t.lease_seconds * 1000;
  o.evict_ms = t.evict_seconds * 1000;
  o.window_soft_ms = t.window_soft_seconds * 1000;
  o.window_hard_ms = t.window_hard_seconds * 1000;
  return o;
}

std::string holder_text(const std::string& directory) {
  const outcome<superblock> block = read_superblock(directory);
  return text_of_holder(read_holder(directory, block ? block->lock_generation : 0));
}

}  // namespace

outcome<std::unique_ptr<server>> server::make(server_config config, unique_fd passed) {
  if (passed) {
    outcome<std::string> address = listening_address(passed.get());
    if (!address) return failure{address.error()};
    if (*address != config.listen)
      log_notice("listening on {}, which systemd has bound, not on {}", *address, config.listen);
    config.listen = *std::move(address);
  }
  if (const outcome<bool> checked = check_config(config); !checked)
    return failure{checked.error()};
  std::unique_ptr<server> s(new server(config, std::move(passed)));
  if (const outcome<bool> started = s->start(); !started) return failure{started.error()};
  return s;
}

server::~server() {
  metrics_.reset();
  control_.reset();
  listener_.reset();
  verbs_listener_.reset();
  exports_.reset();
  standby_.reset();
  opener_.reset();
  pool_.reset();  // its jobs use the volumes
  volumes_.clear();
}

outcome<bool> server::serve(const volume_config& v, opened_store store) {
  const std::uint64_t begin_ns = loop_->now_ns();
  volume_options options;
  options.audit = config_.audit;
  options.keep_reply_records = config_.keep_reply_records;
  options.flush = config_.flush;
  options.slow_us = config_.slow_us;
  options.rules = v.rules;
  options.commit_interval_ms = times_of(config_).commit_interval_ms;
  outcome<std::unique_ptr<served_volume>> s =
      served_volume::start(v, std::move(store), std::move(options), *loop_, *pool_);
  if (!s) return failure{s.error()};
  volume& files = (*s)->files();
  volumes_.push_back(std::move(*s));
  log_notice("{}: serving {}, boot generation {}, after {} ms", v.name, v.path,
             files.boot_generation(), (loop_->now_ns() - begin_ns) / ns_per_ms);
  exports_->add_volume(v.name, files);
  return true;
}

outcome<bool> server::stand_by() {
  for (const volume_config& v : config_.volumes) {
    const outcome<superblock> block = read_superblock(v.path);
    if (!block) return failure{block.error()};
    exports_->add_standby(v.name, block->volume_id);
  }
  opener_ = std::make_unique<thread_workers>(*loop_, "open", 1);
  standby_actions actions;
  actions.open = [](const volume_config& v) { return try_open_store(v.path); };
  actions.holder = [](const volume_config& v) { return holder_text(v.path); };
  actions.serve = [this](const volume_config& v, opened_store store) {
    const outcome<bool> served = serve(v, std::move(store));
    if (served) notify_status(standing());
    return served;
  };
  standby_ = std::make_unique<standby>(*loop_, *opener_, std::move(actions));
  for (const volume_config& v : config_.volumes) standby_->wait_for(v);
  return true;
}

outcome<bool> server::start() {
  if (!config_.user.empty())
    if (const outcome<void> changed = become_user(config_.user); !changed)
      return failure{changed.error()};
  (void)raise_open_files();  // object files and sockets; best effort
  outcome<std::unique_ptr<loop>> made = loop::make(loop_entry_count);
  if (!made) return failure{made.error()};
  loop_ = std::move(*made);
  loop_->set_busy_poll(config_.busy_poll_us * ns_per_us);
  pool_ = std::make_unique<thread_workers>(*loop_, "store", pool_thread_count);
  export_options options = options_of(times_of(config_));
  if (!config_.secret_file.empty()) {
    outcome<secret> shared = read_secret(config_.secret_file);
    if (!shared) return failure{shared.error()};
    options.shared_secret = *std::move(shared);
  }
  options.meter = &calls_;
  fabric_ = std::make_unique<tcp_provider>(*loop_);
  if (const outcome<bool> made_verbs = find_verbs(); !made_verbs)
    return failure{made_verbs.error()};
  options.fabric = verbs_.get();
  exports_ = export_host::make(std::move(options), *loop_);
  if (config_.standby) {
    if (const outcome<bool> waits = stand_by(); !waits) return failure{waits.error()};
  } else {
    for (const volume_config& v : config_.volumes) {
      outcome<opened_store> store = open_store(v.path);
      if (!store) return failure{store.error()};
      if (const outcome<bool> served = serve(v, std::move(*store)); !served)
        return failure{served.error()};
    }
  }
  if (const outcome<bool> listens = listen(); !listens) return failure{listens.error()};
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC));
  signal_room_ = std::make_unique<std::byte[]>(sizeof(signalfd_siginfo));
  arm_signal();
  if (const outcome<bool> opened = open_control(); !opened) return failure{opened.error()};
  if (const outcome<bool> opened = open_metrics(); !opened) return failure{opened.error()};
  return write_run_file();
}

acceptor server::to_exports() {
  return [this](std::unique_ptr<endpoint> peer) { exports_->accept(std::move(peer)); };
}

namespace {

// The system itself says no more than "Permission denied".
problem not_listening(problem why) {
  if (why.text.ends_with(std::strerror(EACCES)))
    why.hint = "a port below 1024 is not permitted to users (it needs CAP_NET_BIND_SERVICE): "
               "take another one";
  return why;
}

}  // namespace

outcome<bool> server::listen() {
  outcome<std::unique_ptr<listener>> l =
      passed_ ? fabric_->listen_at(std::move(passed_), to_exports())
              : fabric_->listen(config_.listen, to_exports());
  if (!l) return failure{not_listening(l.error())};
  listener_ = std::move(*l);
  if (verbs_ == nullptr) return true;
  const outcome<bool> too = listen_with_verbs();
  if (!too && config_.fabric == fabric_choice::verbs) return too;
  if (!too) {
    log_notice("{}: tcp alone, until that can be", too.error().text);
    try_verbs_again();
  }
  return true;
}

outcome<bool> server::listen_with_verbs() {
  outcome<std::unique_ptr<listener>> l = verbs_->listen(listener_->address(), to_exports());
  if (!l) return failure{l.error()};
  verbs_listener_ = std::move(*l);
  log_notice("listening on {} with tcp and verbs", listener_->address());
  return true;
}

// RDMA and its devices may come later, and a server that was killed keeps its port for a moment.
void server::try_verbs_again() {
  (void)loop_->call_after(verbs_again_ns, [this] {
    if (!stopping_ && !listen_with_verbs()) try_verbs_again();
  });
}

outcome<bool> server::find_verbs() {
  if (config_.fabric == fabric_choice::tcp) return true;
  const bool only = config_.fabric == fabric_choice::verbs;
  outcome<std::unique_ptr<provider>> made =
      make_verbs(*loop_, only ? rdma_needed::now : rdma_needed::later);
  if (made) {
    verbs_ = std::move(*made);
    return true;
  }
  if (only) return failure{made.error()};
  log_info("{}: tcp alone", made.error().text);
  return true;
}

outcome<bool> server::open_metrics() {
  if (config_.metrics.empty()) return true;
  outcome<std::unique_ptr<server_metrics>> metrics =
      server_metrics::open(config_.metrics, *loop_, calls_, [this] { return figures(); });
  if (!metrics) return failure{metrics.error()};
  metrics_ = std::move(*metrics);
  return true;
}

server_figures server::figures() const {
  server_figures f;
  for (const volume_config& v : config_.volumes) f.volumes.push_back({v.name, "", false, 0, {}});
  for (const auto& served : volumes_)
    for (volume_figures& v : f.volumes)
      if (v.name == served->name())
        v = {served->name(), served->directory(), true, served->files().boot_generation(),
             served->files().status()};
  f.clients = exports_->status();
  f.recovering = exports_->recovering();
  return f;
}

outcome<bool> server::open_control() {
  if (config_.run_dir.empty()) return true;
  std::error_code e;
  std::filesystem::create_directories(config_.run_dir, e);  // opening says what is wrong
  outcome<std::unique_ptr<server_control>> control =
      server_control::open(config_.run_dir + "/control.sock", *loop_, *exports_,
                           [this] { return volume_rows(); });
  if (!control) return failure{control.error()};
  control_ = std::move(*control);
  return true;
}

std::vector<server_volume_row> server::volume_rows() const {
  std::vector<server_volume_row> rows;
  for (const volume_config& v : config_.volumes) {
    server_volume_row& r = rows.emplace_back();
    copy_text(r.name, v.name);
    copy_text(r.directory, v.path);
    copy_text(r.state, "standby");
    copy_text(r.holder, holder_text(v.path));
    for (const auto& served : volumes_) {
      if (served->name() != v.name) continue;
      const volume_status s = served->files().status();
      copy_text(r.state, "serving");
      r.boot_generation = served->files().boot_generation();
      r.last_committed = s.last_committed;
      r.executed = s.executed;
      r.commits = s.commits;
      r.running = s.running;
      r.open_handles = s.open_handles;
      r.redo_size = s.redo_size;
    }
  }
  return rows;
}

outcome<bool> server::write_run_file() const {
  if (config_.run_dir.empty()) return true;
  const std::string path = config_.run_dir + "/server.json";
  const std::string fresh = path + ".new";
  const std::string text =
      fmt::format("{{\"pid\":{},\"listen\":\"{}\"}}\n", ::getpid(), address());
  const unique_fd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd || ::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::rename(fresh.c_str(), path.c_str()) != 0)
    return failure{problem{exit_code::failed, path + ": " + std::strerror(errno),
                           "choose a --run-dir that this user may write to"}};
  return true;
}

void server::arm_signal() {
  io_uring_sqe* sqe = loop_->entry(&signal_completion_);
  io_uring_prep_read(sqe, signals_.get(), signal_room_.get(), sizeof(signalfd_siginfo), 0);
  io_uring_sqe_set_data(sqe, static_cast<completion*>(&signal_completion_));
}

void server::on_signal(int res, std::uint32_t) noexcept {
  if (res > 0) {
    log_notice("asked to stop");
    stop();
  }
  arm_signal();
}

std::string server::standing() const {
  std::string names, awaited;
  for (const volume_config& v : config_.volumes) {
    const bool served = std::any_of(volumes_.begin(), volumes_.end(),
                                    [&v](const auto& s) { return s->name() == v.name; });
    std::string& list = served ? names : awaited;
    list += (list.empty() ? "" : ",") + v.name;
  }
  std::string text;
  if (!names.empty()) text = fmt::format("serving {} on {}", names, address());
  if (!awaited.empty())
    text += fmt::format("{}standby for {} on {}", text.empty() ? "" : "; ", awaited, address());
  return text;
}

void server::run() {
  const std::string text = standing();
  log_notice("ready: {}", text);
  notify_ready(text);
  loop_->run();
}

void server::stop() {
  if (std::exchange(stopping_, true)) return;
  notify_stopping("flushing");
  if (standby_) standby_->stop();
  (void)loop_->call_after(stop_time_max_ns, [this] {
    log_error("stop: not done after {} s; what is committed is safe", stop_time_max_ns / ns_per_s);
    loop_->stop();
  });
  exports_->stop([this] { stop_volume(0); });
}

void server::stop_volume(std::size_t index) {
  if (index == volumes_.size()) return loop_->stop();
  volumes_[index]->files().stop([this, index] { stop_volume(index + 1); });
}

volume_status server::status_of(std::size_t volume_index) const {
  return volumes_.at(volume_index)->files().status();
}

}  // namespace tangelo
