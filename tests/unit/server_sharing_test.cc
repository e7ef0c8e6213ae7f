// Commit-on-share: which answers wait for another client's change that is not committed yet.
#include <functional>

#include "tests/unit/server_volume_fixture.h"

namespace tangelo::testing_volume {
namespace {

class Sharing : public volume_fixture {
 protected:
  using maker = std::function<call_ptr(const client_key&)>;

  Sharing() {
    remember(bob_);
    dir_ = mkdir(root_inode, "dir");
    sub_ = mkdir(dir_, "sub");
    file_ = create(dir_, "file");
    write(file_, 0, "old");
    EXPECT_EQ(call(opcode::link, link_call{{}, file_, dir_, "link"})->status, error_code::ok);
    range(bob_);
    bobs_next_ = next_inode_;
    range(alice_);
    early_ = true;
  }
  make_call new_one(const client_key& who, std::uint64_t parent, std::string_view name) {
    make_call m;
    m.parent = parent, m.name = name, m.mode = 0755;
    m.inode = who == bob_ ? bobs_next_++ : next_inode_++;
    return m;
  }
  maker mkdir_of(std::string_view name) {
    return [this, name](const client_key& k) {
      return begin(k, opcode::mkdir, new_one(k, dir_, name));
    };
  }
  maker name_op(opcode op, std::string_view name) {
    return [this, op, name](const client_key& k) {
      return begin(k, op, name_call{{}, dir_, name});
    };
  }
  maker chmod_of(std::uint64_t inode) {
    return [this, inode](const client_key& k) {
      setattr_call s;
      s.inode = inode;
      s.which = set_attr::mode;
      s.mode = 0700;
      return begin(k, opcode::setattr, s);
    };
  }
  maker write_of(std::string_view data) {
    return [this, data](const client_key& k) {
      return begin(k, opcode::write,
                   write_call{{}, file_, 0, 0, static_cast<std::uint32_t>(data.size()), 0}, data);
    };
  }
  maker rename_of(std::string_view from, std::string_view to) {
    return [this, from, to](const client_key& k) {
      return begin(k, opcode::rename, rename_call{{}, dir_, dir_, 0, from, to});
    };
  }
  maker getattr_of(std::uint64_t inode) {
    return [this, inode](const client_key& k) {
      return begin(k, opcode::getattr, inode_call{{}, inode, 0, 0});
    };
  }
  maker readdir_of(std::uint64_t inode, std::uint8_t plus) {
    return [this, inode, plus](const client_key& k) {
      return begin(k, opcode::readdir, read_call{{}, inode, 0, 0, 4096, plus}, {}, 4096);
    };
  }
  maker read_file() {
    return [this](const client_key& k) {
      return begin(k, opcode::read, read_call{{}, file_, 0, 0, 100, 0}, {}, 100);
    };
  }
  maker make_xattr() {
    return [this](const client_key& k) {
      return begin(k, opcode::setxattr, xattr_call{{}, file_, 0, 0, "user.a"}, "v");
    };
  }

  // Whether bob's second answer is held until alice's first change is committed. Alice's own never
  // is, and what is held is answered by a commit that begins at once.
  bool held(const maker& first, const maker& second) {
    const call_ptr own_first = first(alice_);
    EXPECT_TRUE(own_first->completed);
    EXPECT_EQ(own_first->status, error_code::ok);
    const std::uint64_t held_before = volume_->status().held_answers;
    const call_ptr other = second(bob_);
    const bool waits = !other->completed;
    EXPECT_EQ(volume_->status().held_answers - held_before, waits ? 1u : 0u);
    EXPECT_GT(own_first->answered_transno, volume_->last_committed());
    time_.advance(ns_per_ms);
    EXPECT_TRUE(other->completed);
    if (waits) {
      EXPECT_LE(own_first->answered_transno, volume_->last_committed());
    }
    settle();
    EXPECT_TRUE(second(bob_)->completed) << "now it is committed";
    settle();
    return waits;
  }
  bool held_by_itself(const maker& first, const maker& second) {
    first(alice_);
    const bool waits = !second(alice_)->completed;
    settle();
    return waits;
  }

  std::uint64_t dir_ = 0, sub_ = 0, file_ = 0, bobs_next_ = 0;
};

TEST_F(Sharing, DifferentNamesInOneDirectoryDoNot) {
  EXPECT_FALSE(held(mkdir_of("a"), mkdir_of("b")));
  EXPECT_FALSE(held(mkdir_of("c"), name_op(opcode::unlink, "link")));
  EXPECT_FALSE(held(mkdir_of("d"), name_op(opcode::lookup, "nothing")));
  EXPECT_FALSE(held(mkdir_of("e"), name_op(opcode::lookup, "file")));
  EXPECT_FALSE(held(mkdir_of("f"), chmod_of(file_)));
  EXPECT_FALSE(held(mkdir_of("g"), write_of("new")));
  EXPECT_FALSE(held(mkdir_of("h"), rename_of("file", "elif")));
  EXPECT_EQ(volume_->status().held_answers, 0u);
}

TEST_F(Sharing, OneNameDoes) {
  EXPECT_TRUE(held(mkdir_of("a"), mkdir_of("a")));
  EXPECT_TRUE(held(mkdir_of("b"), name_op(opcode::lookup, "b")));
  EXPECT_TRUE(held(mkdir_of("c"), name_op(opcode::unlink, "c"))) << "a failure shows it, too";
  EXPECT_TRUE(held(name_op(opcode::rmdir, "c"), name_op(opcode::lookup, "c")));
  EXPECT_TRUE(held(rename_of("link", "other"), name_op(opcode::lookup, "link")));
  EXPECT_TRUE(held(rename_of("other", "link"), name_op(opcode::lookup, "link")));
  EXPECT_TRUE(held(name_op(opcode::unlink, "link"), mkdir_of("link")));
}

TEST_F(Sharing, AListShowsEveryNameOfItsDirectory) {
  EXPECT_TRUE(held(mkdir_of("a"), readdir_of(dir_, 0)));
  EXPECT_TRUE(held(name_op(opcode::unlink, "link"), readdir_of(dir_, 0)));
  EXPECT_FALSE(held(mkdir_of("b"), readdir_of(root_inode, 0)));
  EXPECT_FALSE(held(write_of("new"), readdir_of(dir_, 0)));
  EXPECT_TRUE(held(write_of("new"), readdir_of(dir_, 1))) << "with attributes it shows them";
}

TEST_F(Sharing, AttributesShowEverything) {
  EXPECT_TRUE(held(mkdir_of("a"), getattr_of(dir_)));
  EXPECT_TRUE(held(write_of("new"), getattr_of(file_)));
  EXPECT_TRUE(held(write_of("new"), name_op(opcode::lookup, "file")));
  EXPECT_TRUE(held(chmod_of(file_), getattr_of(file_)));
  EXPECT_TRUE(held(name_op(opcode::unlink, "link"), getattr_of(file_)));
  EXPECT_FALSE(held(write_of("new"), getattr_of(sub_)));
}

TEST_F(Sharing, BytesOfAFile) {
  EXPECT_TRUE(held(write_of("new"), read_file()));
  EXPECT_TRUE(held(write_of("one"), write_of("two")));
  EXPECT_TRUE(held(write_of("one"), chmod_of(file_))) << "its answer shows the size";
  EXPECT_TRUE(held(chmod_of(file_), read_file()));
  EXPECT_TRUE(held(make_xattr(), read_file()));
}

TEST_F(Sharing, WhatADirectoryMustBeFor) {
  EXPECT_TRUE(held([this](const client_key& k) {
    return begin(k, opcode::mkdir, new_one(k, sub_, "x"));
  }, name_op(opcode::rmdir, "sub"))) << "it is not empty";
  EXPECT_TRUE(held([this](const client_key& k) {
    return begin(k, opcode::rmdir, name_call{{}, sub_, "x"});
  }, name_op(opcode::rmdir, "sub"))) << "now it is";
  const std::uint64_t gone = mkdir(dir_, "gone");
  EXPECT_TRUE(held(name_op(opcode::rmdir, "gone"), [this, gone](const client_key& k) {
    return begin(k, opcode::mkdir, new_one(k, gone, "x"));
  }));
}

TEST_F(Sharing, AClientDoesNotWaitForItself) {
  EXPECT_FALSE(held_by_itself(mkdir_of("a"), name_op(opcode::lookup, "a")));
  EXPECT_FALSE(held_by_itself(mkdir_of("b"), name_op(opcode::rmdir, "b")));
  EXPECT_FALSE(held_by_itself(write_of("new"), read_file()));
  EXPECT_FALSE(held_by_itself(write_of("new"), getattr_of(file_)));
  EXPECT_FALSE(held_by_itself(mkdir_of("c"), readdir_of(dir_, 1)));
}

// Both have made a name here: the directory's time is whoever's came last, its links are of both.
TEST_F(Sharing, WhatBothHaveChangedIsHeldFromBoth) {
  mkdir_of("a")(alice_);
  mkdir_of("b")(bob_);
  const call_ptr first = getattr_of(dir_)(alice_), second = getattr_of(dir_)(bob_);
  EXPECT_FALSE(first->completed);
  EXPECT_FALSE(second->completed);
  time_.advance(ns_per_ms);
  EXPECT_TRUE(first->completed);
  EXPECT_TRUE(second->completed);
}

// Bob's rename is held, since alice has made that name. Until then he may not see his own new name
// either: should alice's be lost, there would be nothing to rename.
TEST_F(Sharing, AChangeThatIsHeldIsHeldFromItsMakerToo) {
  committer_->set_delay_ns(5 * ns_per_ms);
  mkdir_of("a")(alice_);
  const call_ptr moved = rename_of("a", "b")(bob_);
  EXPECT_FALSE(moved->completed);
  EXPECT_FALSE(name_op(opcode::lookup, "b")(bob_)->completed);
  EXPECT_FALSE(mkdir_of("b")(bob_)->completed);
  settle();
  EXPECT_TRUE(moved->completed);
}

}  // namespace
}  // namespace tangelo::testing_volume
