#include "server/server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/log.h"
#include "base/notify.h"
#include "server/rocks_kv.h"
#include "server/uring_objects.h"

namespace tangelo {

namespace {

constexpr unsigned loop_entry_count = 1024;
constexpr std::size_t pool_thread_count = 2;
constexpr std::uint64_t stop_time_max_ns = 10 * ns_per_s;

outcome<bool> become(const std::string& user) {
  const passwd* p = ::getpwnam(user.c_str());
  if (p == nullptr)
    return failure{problem{exit_code::usage, "--user " + user + ": no such user", {}}};
  if (::initgroups(user.c_str(), p->pw_gid) != 0 || ::setgid(p->pw_gid) != 0 ||
      ::setuid(p->pw_uid) != 0)
    return failure{problem{exit_code::failed, "--user " + user + ": " + std::strerror(errno),
                           "start the server as root, or without --user"}};
  (void)::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);  // best effort
  return true;
}

// Object files and sockets; best effort.
void raise_open_files() {
  rlimit r{};
  if (::getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur >= r.rlim_max) return;
  r.rlim_cur = r.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &r) != 0) log_notice("open files: limit stays low");
}

}  // namespace

outcome<std::unique_ptr<server>> server::make(const server_config& config) {
  if (const outcome<bool> checked = check_config(config); !checked)
    return failure{checked.error()};
  std::unique_ptr<server> s(new server(config));
  if (const outcome<bool> started = s->start(); !started) return failure{started.error()};
  return s;
}

server::~server() {
  listener_.reset();
  exports_.reset();
  committers_.clear();  // their jobs use the stores
  pool_.reset();
}

outcome<bool> server::open_volume(const volume_config& v) {
  outcome<volume_hold> hold = hold_volume(v.path);
  if (!hold) return failure{hold.error()};
  auto s = std::make_unique<served>();
  s->name = v.name;
  s->hold = std::move(*hold);
  outcome<std::unique_ptr<kv_store>> kv = open_rocks_kv(metadata_path(v.path), false);
  if (!kv) return failure{kv.error()};
  s->kv = std::move(*kv);
  outcome<std::unique_ptr<object_store>> objects =
      open_uring_objects(objects_path(v.path), *loop_, *pool_);
  if (!objects) return failure{objects.error()};
  s->objects = std::move(*objects);
  committers_.push_back(std::make_unique<thread_workers>(*loop_, "commit", 1));
  volume_options options;
  options.id = s->hold.block.volume_id;
  options.where = v.path;
  options.audit = config_.audit;
  options.keep_reply_records = config_.keep_reply_records;
  options.flush = config_.flush;
  options.slow_us = config_.slow_us;
  outcome<std::unique_ptr<volume>> files = volume::open(
      std::move(options), {*loop_, *s->kv, *s->objects, *pool_, *committers_.back()});
  if (!files) return failure{files.error()};
  s->files = std::move(*files);
  exports_->add_volume(v.name, *s->files);
  volumes_.push_back(std::move(s));
  return true;
}

outcome<bool> server::start() {
  if (!config_.user.empty())
    if (const outcome<bool> changed = become(config_.user); !changed)
      return failure{changed.error()};
  raise_open_files();
  outcome<std::unique_ptr<loop>> made = loop::make(loop_entry_count);
  if (!made) return failure{made.error()};
  loop_ = std::move(*made);
  pool_ = std::make_unique<thread_workers>(*loop_, "store", pool_thread_count);
  exports_ = export_host::make(export_options{}, *loop_);
  fabric_ = std::make_unique<tcp_provider>(*loop_);
  for (const volume_config& v : config_.volumes)
    if (const outcome<bool> opened = open_volume(v); !opened) return failure{opened.error()};
  outcome<std::unique_ptr<listener>> l = fabric_->listen(
      config_.listen,
      [this](std::unique_ptr<endpoint> peer) { exports_->accept(std::move(peer)); });
  if (!l) return failure{l.error()};
  listener_ = std::move(*l);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC));
  signal_room_ = std::make_unique<std::byte[]>(sizeof(signalfd_siginfo));
  arm_signal();
  return write_run_file();
}

outcome<bool> server::write_run_file() const {
  if (config_.run_dir.empty()) return true;
  std::error_code e;
  std::filesystem::create_directories(config_.run_dir, e);
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

void server::run() {
  std::string names;
  for (const auto& v : volumes_) names += (names.empty() ? "" : ",") + v->name;
  log_notice("ready: serving {} on {}", names, address());
  notify_ready(fmt::format("serving {} on {}", names, address()));
  loop_->run();
}

void server::stop() {
  if (std::exchange(stopping_, true)) return;
  notify_stopping("flushing");
  (void)loop_->call_after(stop_time_max_ns, [this] {
    log_error("stop: not done after {} s; what is committed is safe", stop_time_max_ns / ns_per_s);
    loop_->stop();
  });
  exports_->stop([this] { stop_volume(0); });
}

void server::stop_volume(std::size_t index) {
  if (index == volumes_.size()) return loop_->stop();
  volumes_[index]->files->stop([this, index] { stop_volume(index + 1); });
}

volume_status server::status_of(std::size_t volume_index) const {
  return volumes_.at(volume_index)->files->status();
}

}  // namespace tangelo
