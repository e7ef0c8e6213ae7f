// operation: one call (or piece of the volume's own work) on its way through the volume.
//
// Owned by the volume from execute() until it has ended. A handler may be run several times: after
// warm reads, after a gate was entered, and after object I/O it had begun (then with `stage`
// raised). Two things follow the handler, in this order and each when its batch is committed: the
// answer, and the object action. Having both, or none to wait for, the operation ends.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <vector>

#include "rdma/service.h"
#include "server/dirty_regions.h"
#include "server/quotas.h"
#include "server/records.h"

namespace tangelo {

class transaction;

enum class answer_form : std::uint8_t { bytes, entry, attr, write };

// What is done to an object once the transaction is durable, inside the inode's gate.
struct object_action {
  redo_kind kind{};
  std::uint64_t inode = 0;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  std::uint64_t blocks = 0;  // that the inode's record says it will have
};

struct operation {
  inbound_call* call = nullptr;  // null: the volume's own work
  client_key client;
  opcode op = opcode::none;
  std::list<operation>::iterator place;
  bool replay = false;        // the call was answered before a crash and is made again
  std::int64_t time_ns = 0;   // what this attempt takes for now; of a replay: its old time

  std::array<std::uint64_t, 2> noted{};  // handles that it has named

  // How far it is.
  int stage = 0;
  unsigned warm_count = 0;
  std::uint64_t gate = 0;         // the inode whose gate it holds; 0: none
  std::uint64_t wanted_gate = 0;  // set by the handler, with again_later
  bool working = false;           // set by the handler, with again_later: object I/O will resume it
  error_code io_error = error_code::ok;
  std::uint64_t io_count = 0;

  // What it answers.
  error_code status = error_code::ok;
  std::uint64_t transno = 0;
  std::uint64_t batch = 0;       // its number; 0: there is none
  std::uint64_t wait_until = 0;  // answered when this batch is committed
  bool answered = false;
  answer_form form = answer_form::bytes;
  std::uint64_t subject = 0;  // whose attributes the answer carries
  write_answer written;
  std::vector<std::byte> body;
  std::size_t payload_size = 0;

  // A data operation's state between its stages.
  std::uint64_t offset = 0;
  std::vector<std::byte> staging;  // an inline file's bytes on their way to its object

  // What it may yet take of its file's owner's room: its object I/O has been allowed (need_room).
  bool has_room = false;
  std::uint64_t room_blocks = 0;
  std::array<quota_key, 3> room_of{};
  std::optional<std::uint64_t> blocks_inside;  // of its range, that the object has already

  // The same of the disk (need_space).
  bool has_space = false;
  std::uint64_t space_taken = 0;
  std::optional<std::uint64_t> writable_inside;  // of its range, without a new block

  // Protection (guarded_file.h).
  std::optional<protection_trailer> protection;  // of the payload that it answers
  std::optional<protection_fault> fault;         // why it is answered `integrity`
  struct block_copy {
    std::uint64_t block = 0;
    bool ready = false;
    std::vector<std::byte> bytes;  // of the whole block
  };
  std::array<block_copy, 2> edges;  // the blocks that it reads or changes a part of
  unsigned rereads = 0;
  std::vector<dirty_region> marked;  // held, because it writes over guarded blocks:
  std::uint64_t marked_first = 0, marked_end = 0;  // these
  std::uint64_t compared = 0;  // bytes of a copy's source that fit their guards
  bool source_read = false;    // the next of them are in `staging`

  // What follows.
  std::function<void()> after_write;  // volatile state follows the batch
  std::uint64_t supersedes = 0;  // this inode's earlier redo records are not needed any more
  std::uint64_t dirties = 0;     // this inode's object: to be flushed before the batch is durable
  bool has_action = false;
  object_action action;

  // The volume's own work: its handler, and who wants to know.
  std::function<error_code(operation&, transaction&)> own;
  std::function<void(error_code)> own_done;
};

}  // namespace tangelo
