// fake_kernel: the kernel's half of /dev/fuse, as Linux does it (fs/fuse/dev.c), for tests.
//
// It keeps each request from the application's call to its answer, so that a front end may die and
// another one go on. Requests are `queued`, then `sent` (read and not answered), then `done`. An
// answer is filed under the request's first id, whatever id it was sent under.
//
// Loop thread of the test; owned by the fixture or the simulator, outlives the front ends.
//
// Invariants, all the kernel's:
//   1. RESEND puts all that is sent back in front of the queue, in any order, under ids with bit
//      63; the old ids are dead. A second RESEND does the same again.
//   2. An answer is taken only for an id that is sent now; to all others it says ENOENT.
//   3. An interrupt names its request by the id of the moment. A request that was interrupted has
//      its interrupt sent behind it each time that it is read.
//   4. A killed caller takes its request back while that is queued; nobody hears of it again. Later
//      than that it waits for the answer.
//   5. Interrupts come before everything, FORGETs in between.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/prng.h"
#include "fs/kernel_port.h"
#include "protocol/device.h"
#include "tests/unit/fuse_requests.h"

namespace tangelo {

class fake_kernel final : public kernel_port {
 public:
  struct answer {
    int error = 0;
    std::vector<std::byte> body;
    template <class T>
    T as() const {
      T value{};
      copy_bytes(writable_bytes(value), body);
      return value;
    }
  };
  enum class call : std::uint8_t { read, write, resend };
  enum class moment : std::uint8_t { before, after };
  // Ways in which it can lie about RESEND, to show that tests are not blind.
  enum class flaw : std::uint8_t {
    none,
    repeats_nothing,  // says that it repeats requests, and repeats none
    hides_repeats,    // repeats them without bit 63
  };

  fake_kernel() {
    // So that no call of the front end allocates.
    requests_.reserve(40'000);
    interrupts_.reserve(1000);
  }

  // ---- applications
  void submit(const fuse_request& r) { submit(r.bytes()); }
  void submit(std::vector<std::byte> bytes);
  // A signal for the caller of `unique`; one that it does not die of.
  void interrupt(std::uint64_t unique);
  void kill_caller(std::uint64_t unique);
  void unmount() { unmounted_ = true; }
  // Another kernel from here on, that knows of no request.
  void forget_all() {
    requests_.clear();
    queue_.clear();
    interrupts_.clear();
    forgets_.clear();
  }

  // ---- what became of it
  std::size_t unread() const { return queue_.size() + forgets_.size() + interrupts_.size(); }
  // Callers whose request a front end has read and not answered. Nobody waits for a RELEASE.
  std::size_t waiting_count() const {
    return static_cast<std::size_t>(
        std::count_if(requests_.begin(), requests_.end(), [](const auto& entry) {
          return entry.second.at == place::sent && !entry.second.forced;
        }));
  }
  // The answer to `unique`; nothing while it has none.
  std::optional<answer> answer_to(std::uint64_t unique) const {
    const auto it = answers_.find(unique);
    return it == answers_.end() ? std::nullopt : std::optional(it->second);
  }
  std::size_t answer_count() const { return answers_.size(); }
  // Answers to what had an answer already. A front end may repeat those of the one before it
  // (note_successor): only so does it learn which of them arrived.
  std::size_t repeated() const { return repeated_; }
  // Answers under ids that were not sent.
  std::size_t refused() const { return refused_; }
  std::size_t taken_back() const { return taken_back_; }
  // Where the tail of the request read last was to go.
  const std::byte* last_tail() const { return last_tail_; }

  // ---- how it behaves
  // A kernel older than 6.9 knows no RESEND.
  void set_resends(bool on) { resends_ = on; }
  bool resends() const { return resends_; }
  void set_flaw(flaw f) { flaw_ = f; }
  void set_seed(std::uint64_t seed) { random_ = prng(seed); }
  // Off: write_reply() only counts, for tests that forbid memory to be allocated.
  void keep_answers(bool on) { keep_ = on; }
  std::size_t counted() const { return counted_; }
  // Told of each call, twice. It may freeze().
  void observe(std::function<void(call, moment)> f) { observer_ = std::move(f); }
  // From here on calls have no effect: who makes them is dead, he only does not know it.
  void freeze() { frozen_ = true; }
  bool frozen() const { return frozen_; }
  // Another front end serves it now.
  void note_successor() {
    frozen_ = false;
    ++successors_;
  }

  ssize_t read_request(mutable_byte_span head, mutable_byte_span tail) noexcept override {
    tell(call::read, moment::before);
    if (frozen_) return -ENODEV;
    const ssize_t rc = read_next(head, tail);
    tell(call::read, moment::after);
    return rc;
  }
  int write_reply(const iovec* parts, int count) noexcept override {
    tell(call::write, moment::before);
    if (frozen_) return -ENODEV;
    const int rc = take_reply(parts, count);
    tell(call::write, moment::after);
    return rc;
  }
  int resend() noexcept override {
    tell(call::resend, moment::before);
    if (frozen_) return -ENODEV;
    const int rc = resends_ ? put_back_all() : -EINVAL;
    tell(call::resend, moment::after);
    return rc;
  }
  void populate(mutable_byte_span) noexcept override {}
  void forget_attributes(std::uint64_t inode) noexcept override {
    if (frozen_) return;
    forgotten_ = inode;
    ++forgotten_count_;
  }
  // Of which file attributes were called stale last, and how often that was.
  std::uint64_t forgotten() const { return forgotten_; }
  std::size_t forgotten_count() const { return forgotten_count_; }
  void drop_caches(std::span<const std::uint64_t> inodes) noexcept override {
    if (frozen_) return;
    batch_size_ = inodes.size();
    std::copy(inodes.begin(), inodes.end(), batch_.begin());
    if (!slow_dropping_) drop_batch();
  }
  bool take_back(std::size_t i) noexcept override {
    return i < batch_size_ && std::exchange(batch_[i], 0) != 0;
  }
  bool is_dropping() const noexcept override { return batch_size_ != 0; }
  // Inodes whose caches were dropped, in the order of asking.
  const std::vector<std::uint64_t>& dropped() const { return dropped_; }
  // While on, what is asked for is not begun.
  void drop_slowly(bool on) {
    slow_dropping_ = on;
    if (!on) drop_batch();
  }
  // Those of them that had a request which was read and not answered: it would wait for the answer.
  std::size_t stuck() const { return stuck_; }

 private:
  enum class place : std::uint8_t { queued, sent, done };
  struct request {
    std::vector<std::byte> bytes;
    place at = place::queued;
    bool resent = false;
    bool interrupted = false;
    bool dying = false;    // its caller was killed too late to take it back
    bool forced = false;   // the kernel waits for its answer whatever happens
    std::uint32_t answered_by = 0;
  };

  // A batch that is taken over by nobody, as the front end has died, is dropped all the same.
  void drop_batch() {
    for (std::size_t i = 0; i < batch_size_; ++i) {
      if (batch_[i] == 0) continue;
      if (locks_pages_of(batch_[i])) ++stuck_;
      if (keep_) dropped_.push_back(batch_[i]);
    }
    batch_size_ = 0;
  }
  bool locks_pages_of(std::uint64_t inode) const {
    return std::any_of(requests_.begin(), requests_.end(), [inode](const auto& entry) {
      fuse_in_header h{};
      if (entry.second.at == place::done) return false;
      copy_bytes(writable_bytes(h), entry.second.bytes);
      return h.nodeid == inode && (h.opcode == FUSE_READ || h.opcode == FUSE_WRITE);
    });
  }
  void tell(call c, moment m) {
    if (observer_ && !frozen_) observer_(c, m);
  }
  static std::uint64_t first_id(std::uint64_t id) { return id & ~kernel_id_resent_bit; }
  std::uint64_t present_id(std::uint64_t first) const {
    return requests_.at(first).resent ? resent_id(first) : first;
  }
  request* find(std::uint64_t first) {
    const auto it = requests_.find(first);
    return it == requests_.end() ? nullptr : &it->second;
  }
  void queue_interrupt(std::uint64_t first) {
    if (std::find(interrupts_.begin(), interrupts_.end(), first) == interrupts_.end())
      interrupts_.push_back(first);
  }
  void finish(std::uint64_t first, request& r) {
    r.at = place::done;
    r.answered_by = successors_;
    std::erase(interrupts_, first);
  }

  ssize_t read_next(mutable_byte_span head, mutable_byte_span tail);
  ssize_t deliver(byte_span bytes, mutable_byte_span head, mutable_byte_span tail);
  int take_reply(const iovec* parts, int count);
  int refuse(const request* r);
  int put_back_all();

  std::unordered_map<std::uint64_t, request> requests_;  // by first id
  std::deque<std::uint64_t> queue_;                      // first ids
  std::vector<std::uint64_t> interrupts_;                // first ids of what they interrupt
  std::deque<std::vector<std::byte>> forgets_;
  int forget_batch_ = 0;
  std::map<std::uint64_t, answer> answers_;
  std::function<void(call, moment)> observer_;
  prng random_{1};
  flaw flaw_ = flaw::none;
  std::uint32_t successors_ = 0;
  std::size_t repeated_ = 0;
  std::size_t refused_ = 0;
  std::size_t taken_back_ = 0;
  std::size_t counted_ = 0;
  const std::byte* last_tail_ = nullptr;
  std::vector<std::uint64_t> dropped_;
  std::uint64_t forgotten_ = 0;
  std::size_t forgotten_count_ = 0;
  std::array<std::uint64_t, drop_batch_max> batch_{};  // 0: taken back
  std::size_t batch_size_ = 0;
  std::size_t stuck_ = 0;
  bool slow_dropping_ = false;
  bool keep_ = true;
  bool resends_ = true;
  bool frozen_ = false;
  bool unmounted_ = false;
};

inline void fake_kernel::submit(std::vector<std::byte> bytes) {
  fuse_in_header h{};
  copy_bytes(writable_bytes(h), bytes);
  if (h.opcode == FUSE_INTERRUPT) {
    fuse_interrupt_in in{};
    copy_bytes(writable_bytes(in), byte_span(bytes).subspan(sizeof h));
    interrupt(in.unique);
    return;
  }
  if (h.opcode == FUSE_FORGET || h.opcode == FUSE_BATCH_FORGET) {
    forgets_.push_back(std::move(bytes));
    return;
  }
  request r;
  r.bytes = std::move(bytes);
  r.forced = h.opcode == FUSE_RELEASE || h.opcode == FUSE_RELEASEDIR || h.opcode == FUSE_FLUSH;
  requests_.insert_or_assign(h.unique, std::move(r));
  queue_.push_back(h.unique);
}

inline void fake_kernel::interrupt(std::uint64_t unique) {
  request* r = find(unique);
  if (r == nullptr || r->at == place::done || r->interrupted) return;
  r->interrupted = true;
  if (r->at == place::sent) queue_interrupt(unique);
}

inline void fake_kernel::kill_caller(std::uint64_t unique) {
  request* r = find(unique);
  if (r == nullptr || r->at == place::done) return;
  if (r->at == place::queued && !r->forced && !r->dying) {
    std::erase(queue_, unique);
    finish(unique, *r);
    answers_.emplace(unique, answer{EINTR, {}});
    ++taken_back_;
    return;
  }
  r->dying = true;
  interrupt(unique);
}

inline ssize_t fake_kernel::read_next(mutable_byte_span head, mutable_byte_span tail) {
  if (!interrupts_.empty()) {
    struct {
      fuse_in_header header{};
      fuse_interrupt_in in{};
    } message;
    message.in.unique = present_id(interrupts_.front());
    message.header.unique = message.in.unique | 1;
    message.header.opcode = FUSE_INTERRUPT;
    message.header.len = sizeof message;
    interrupts_.erase(interrupts_.begin());
    return deliver(object_bytes(message), head, tail);
  }
  if (!forgets_.empty()) {
    if (queue_.empty() || forget_batch_-- > 0) {
      const std::vector<std::byte> forget = std::move(forgets_.front());
      forgets_.pop_front();
      return deliver(forget, head, tail);
    }
    if (forget_batch_ <= -8) forget_batch_ = 16;
  }
  if (queue_.empty()) return unmounted_ ? -ENODEV : -EAGAIN;
  const std::uint64_t first = queue_.front();
  queue_.pop_front();
  request& r = requests_.at(first);
  r.at = place::sent;
  if (r.resent && flaw_ != flaw::hides_repeats) {
    const std::uint64_t id = resent_id(first);
    std::memcpy(r.bytes.data() + offsetof(fuse_in_header, unique), &id, sizeof id);
  }
  if (r.interrupted) queue_interrupt(first);
  return deliver(r.bytes, head, tail);
}

inline ssize_t fake_kernel::deliver(byte_span bytes, mutable_byte_span head,
                                    mutable_byte_span tail) {
  last_tail_ = tail.data();
  const std::size_t in_head = copy_bytes(head, bytes);
  copy_bytes(tail, bytes.subspan(in_head));
  return static_cast<ssize_t>(bytes.size());
}

inline int fake_kernel::take_reply(const iovec* parts, int count) {
  ++counted_;
  fuse_out_header h{};
  std::size_t size = 0;
  for (int i = 0; i < count; ++i) size += parts[i].iov_len;
  if (count == 0 || parts[0].iov_len < sizeof h) return -EINVAL;
  std::memcpy(&h, parts[0].iov_base, sizeof h);
  if (h.len != size || h.error > 0) return -EINVAL;
  const std::uint64_t first = first_id(h.unique);
  request* r = find(first);
  if (r == nullptr || r->at != place::sent || present_id(first) != h.unique) return refuse(r);
  finish(first, *r);
  if (!keep_) return 0;
  std::vector<std::byte> all;
  for (int i = 0; i < count; ++i) {
    const auto* p = static_cast<const std::byte*>(parts[i].iov_base);
    all.insert(all.end(), p, p + parts[i].iov_len);
  }
  answers_.emplace(first, answer{-h.error, {all.begin() + sizeof h, all.end()}});
  r->bytes = {};
  return 0;
}

inline int fake_kernel::refuse(const request* r) {
  ++refused_;
  if (r != nullptr && r->at == place::done && r->answered_by == successors_) ++repeated_;
  return -ENOENT;
}

inline int fake_kernel::put_back_all() {
  if (flaw_ == flaw::repeats_nothing) return 0;
  std::vector<std::uint64_t> back;
  for (auto& [first, r] : requests_) {
    if (r.at != place::sent) continue;
    r.at = place::queued;
    r.resent = true;
    back.push_back(first);
  }
  std::sort(back.begin(), back.end());
  for (std::size_t i = back.size(); i > 1; --i) std::swap(back[i - 1], back[random_.below(i)]);
  queue_.insert(queue_.begin(), back.begin(), back.end());
  return 0;
}

}  // namespace tangelo
