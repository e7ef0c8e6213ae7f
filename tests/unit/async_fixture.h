// A front end with a core that answers before it commits, and that can be evicted.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "tests/unit/front_end_fixture.h"

namespace tangelo {

class async_test : public testing::Test, protected front_end_world {
 protected:
  using call = fake_kernel::call;
  using moment = fake_kernel::moment;
  async_test() { attach_settled(); }
  ~async_test() override { EXPECT_EQ(kernel.repeated(), 0u) << "something was answered twice"; }
  int error_of(std::uint64_t id) const {
    const auto a = kernel.answer_to(id);
    return a ? a->error : -1;
  }
  std::uint32_t offered(const fuse_request& r) {
    kernel.submit(r);
    run();
    return core->take_kernel_op().value();
  }
  void answer_early(std::uint32_t i, const auto& body, std::uint64_t transno) {
    downcall_cell d = core->downcall(i);
    const std::size_t size = encode(body, d.body).value();
    wire_writer stamp({d.body + size, answer_time_size});
    stamp(std::int64_t{777});
    d.body_size = static_cast<std::uint16_t>(size + answer_time_size);
    d.transno = transno;
    core->write(i, d);
    core->hint(i, d.slot_seq);
  }
  std::uint32_t mkdir(std::uint64_t id, std::uint64_t transno) {
    const std::uint32_t i = offered(fuse_request::mkdir(1, id, "d" + std::to_string(id)));
    answer_early(i, entry_of(core->body<make_call>(i).inode), transno);
    run();
    return i;
  }
  void write_file(std::uint64_t inode, std::uint64_t id, std::uint64_t handle,
                  const std::vector<std::byte>& data, std::uint64_t transno) {
    const std::uint32_t i = offered(fuse_request::write(inode, id, handle, 0, data));
    write_answer a;
    a.written = static_cast<std::uint32_t>(data.size());
    a.attr.inode = inode;
    answer_early(i, a, transno);
    run();
  }
  std::uint64_t open_file(std::uint64_t inode, std::uint64_t id, std::uint32_t flags = 0) {
    const std::uint32_t i = offered(fuse_request::open(inode, id, flags));
    core->answer(i, attr_of(inode));
    run();
    return kernel.answer_to(id)->as<fuse_open_out>().fh;
  }
  int flush(std::uint64_t inode, std::uint64_t id, std::uint64_t handle) {
    fuse_flush_in in{};
    in.fh = handle;
    kernel.submit(fuse_request(FUSE_FLUSH, inode, id).add(in));
    run();
    return error_of(id);
  }
  // A close may be one that nobody looks at (of a dup, of a child): the loss stays to be told, to
  // the next fsync, and to nobody behind that. What the fsync says; uses ids from `id` on.
  int told_by_fsync(std::uint64_t inode, std::uint64_t id, std::uint64_t handle) {
    EXPECT_EQ(flush(inode, 10'000 + id, handle), EIO);
    const int told = fsync(inode, id, handle);
    EXPECT_EQ(fsync(inode, 20'000 + id, handle), 0);
    EXPECT_EQ(flush(inode, 30'000 + id, handle), 0);
    return told;
  }
  fuse_request fsync_of(std::uint64_t inode, std::uint64_t id, std::uint64_t handle,
                        std::uint32_t opcode = FUSE_FSYNC) {
    fuse_fsync_in in{};
    in.fh = handle;
    return fuse_request(opcode, inode, id).add(in);
  }
  int fsync(std::uint64_t inode, std::uint64_t id, std::uint64_t handle,
            std::uint32_t opcode = FUSE_FSYNC) {
    core->answer(offered(fsync_of(inode, id, handle, opcode)), empty_answer{});
    run();
    return error_of(id);
  }
  void commit(std::uint64_t transno) {
    arenas.shared->core.last_committed.store(transno);
    run();
  }
  void publish_eviction(std::uint64_t sequence, std::uint64_t kept_through) {
    eviction_cell e;
    e.sequence = sequence;
    e.kept_through = kept_through;
    std::strcpy(e.text.data(), "silent");
    arenas.shared->core.last_committed.store(0);
    publish(arenas.shared->core.eviction, e, 1, 0, 0);
  }
  std::vector<replay_cell> records() const {
    std::vector<replay_cell> all;
    for (const replay_slot& s : arenas.fs->replays) {
      const control_word w = control_of(s);
      if (w.sequence == 0) break;
      if (w.state != 0) all.push_back(s.cells[w.cell]);
    }
    return all;
  }
  std::uint16_t flags_of(const fuse_request& r) {
    const std::uint32_t i = offered(r);
    const std::uint16_t flags = core->op(i).call_flags;
    core->fail(i, error_code::no_space);
    run();
    return flags;
  }
};

}  // namespace tangelo
