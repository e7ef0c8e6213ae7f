#include "server/served_volume.h"

#include <unistd.h>

#include "base/log.h"
#include "server/held_kv.h"
#include "server/rocks_kv.h"
#include "server/uring_objects.h"

namespace tangelo {

namespace {

constexpr std::uint64_t watch_period_ns = ns_per_s;

// Without any clean-up: that would write into what is another's now.
[[noreturn]] void end_without_the_volume(const std::string& directory) {
  log_error("{}: taken over by another server while this one stood still: this one ends here",
            directory);
  ::_exit(static_cast<int>(exit_code::store));
}

}  // namespace

outcome<std::optional<opened_store>> try_open_store(const std::string& directory) {
  outcome<std::optional<volume_hold>> hold = try_hold_volume(directory);
  if (!hold) return failure{hold.error()};
  if (!*hold) return std::optional<opened_store>();
  opened_store store;
  store.hold = std::make_unique<volume_hold>(std::move(**hold));
  outcome<std::unique_ptr<kv_store>> kv = open_rocks_kv(metadata_path(directory), false);
  if (!kv) return failure{kv.error()};
  store.kv = make_held_kv(std::move(*kv), [h = store.hold.get()] { return h->still_held(); },
                          [directory] { end_without_the_volume(directory); });
  return std::optional<opened_store>(std::move(store));
}

outcome<opened_store> open_store(const std::string& directory) {
  outcome<std::optional<opened_store>> store = try_open_store(directory);
  if (!store) return failure{store.error()};
  if (*store) return std::move(**store);
  return failure{held_by_another(directory)};
}

served_volume::served_volume(const volume_config& what, opened_store store, loop& home,
                             workers& pool)
    : what_(what), home_(home), pool_(pool), store_(std::move(store)) {}

served_volume::~served_volume() {
  home_.cancel(watch_timer_);
  committer_.reset();  // its jobs use the store
}

outcome<std::unique_ptr<served_volume>> served_volume::start(const volume_config& what,
                                                             opened_store store,
                                                             volume_options options, loop& home,
                                                             workers& pool) {
  std::unique_ptr<served_volume> v(new served_volume(what, std::move(store), home, pool));
  outcome<std::unique_ptr<object_store>> objects =
      open_uring_objects(objects_path(what.path), home, pool);
  if (!objects) return failure{objects.error()};
  v->objects_ = std::move(*objects);
  v->committer_ = std::make_unique<thread_workers>(home, "commit", 1);
  superblock& block = v->store_.hold->block;
  if ((block.incompatible & superblock_feature::protection) == 0) {
    block.incompatible |= superblock_feature::protection;
    if (const outcome<bool> written = write_superblock(what.path, block); !written)
      return failure{written.error()};
  }
  options.id = v->store_.hold->block.volume_id;
  options.where = what.path;
  outcome<std::unique_ptr<volume>> files = volume::open(
      std::move(options), {home, *v->store_.kv, *v->objects_, pool, *v->committer_});
  if (!files) return failure{files.error()};
  v->files_ = std::move(*files);
  v->watch_hold();
  return v;
}

// A server that only answers from what it knows must find out, too.
void served_volume::watch_hold() {
  watch_timer_ = home_.call_after(watch_period_ns, [this] {
    pool_.submit(
        [hold = store_.hold.get()] {
          if (!hold->still_held()) end_without_the_volume(hold->directory);
        },
        [] {});
    watch_hold();
  });
}

}  // namespace tangelo
