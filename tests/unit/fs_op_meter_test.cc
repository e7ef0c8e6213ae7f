// op_meter: what the metrics say of ops between a kernel and a core played by the test.
#include <gtest/gtest.h>

#include <chrono>

#include "fs/op_meter.h"
#include "protocol/op_metrics.h"
#include "tests/unit/front_end_fixture.h"

namespace tangelo {
namespace {

class OpMeter : public testing::Test, protected front_end_world {
 protected:
  const op_metrics& metrics() const { return metrics_of(*arenas.fs); }
  const op_counts& of(opcode op) const { return metrics().ops[static_cast<std::size_t>(op)]; }
  const op_latency& latency(op_class c) const {
    return metrics().latencies[static_cast<std::size_t>(c)];
  }
  static std::uint64_t total(const op_latency& l) {
    std::uint64_t n = 0;
    for (const atomic_u64& b : l.buckets) n += b.load();
    return n;
  }
};

TEST(LatencyBuckets, HoldTimesUpToTheirLimitAndAboveTheOneBefore) {
  EXPECT_EQ(latency_bucket_of(0), 0u);
  for (std::size_t k = 0; k + 1 < latency_bucket_count; ++k) {
    EXPECT_EQ(latency_bucket_of(latency_limit_us(k) * 1000), k);
    EXPECT_EQ(latency_bucket_of(latency_limit_us(k) * 1000 + 1), k + 1);
  }
  EXPECT_EQ(latency_bucket_of(~std::uint64_t{0}), latency_bucket_count - 1);
}

TEST_F(OpMeter, CountsAnOpWhenItBeginsAndMeasuresItWhenItIsAnswered) {
  attach_settled();
  kernel.submit(fuse_request::getattr(5, 2));
  run();
  EXPECT_EQ(of(opcode::getattr).started, 1u);
  EXPECT_EQ(of(opcode::getattr).answered, 0u);
  time.advance(3 * ns_per_ms);
  core->answer(core->take_kernel_op().value(), attr_of(5));
  run();
  EXPECT_EQ(of(opcode::getattr).answered, 1u);
  EXPECT_EQ(of(opcode::getattr).failed, 0u);
  EXPECT_EQ(latency(op_class::getattr).sum_ns, 3 * ns_per_ms);
  EXPECT_EQ(latency(op_class::getattr).buckets[latency_bucket_of(3 * ns_per_ms)], 1u);
  EXPECT_EQ(total(latency(op_class::lookup)), 0u);
}

TEST_F(OpMeter, AnErrorIsAFailureAndEioIsToldApart) {
  attach_settled();
  for (const error_code e : {error_code::no_entry, error_code::io}) {
    kernel.submit(fuse_request::getattr(5, e == error_code::io ? 4 : 2));
    run();
    core->fail(core->take_kernel_op().value(), e);
    run();
  }
  EXPECT_EQ(of(opcode::getattr).answered, 2u);
  EXPECT_EQ(of(opcode::getattr).failed, 2u);
  EXPECT_EQ(metrics().io_errors, 1u);
}

TEST_F(OpMeter, WhoIsLetGoBeforeTheEndIsAnsweredOnceAndTheEndCountsNotAgain) {
  attach_settled();
  kernel.submit(fuse_request::getattr(5, 2));
  run();
  const std::uint32_t i = core->take_kernel_op().value();
  fs->abort_callers();
  EXPECT_EQ(of(opcode::getattr).answered, 1u);
  EXPECT_EQ(of(opcode::getattr).failed, 1u);
  core->answer(i, attr_of(5));
  run();
  EXPECT_EQ(of(opcode::getattr).answered, 1u);
  EXPECT_EQ(total(latency(op_class::getattr)), 1u);
}

TEST_F(OpMeter, WhatWasNeverOfferedAndIsRefusedIsAnswered) {
  kernel.submit(fuse_request::getattr(5, 2));
  run();
  fs->abort_callers();
  EXPECT_EQ(of(opcode::getattr).answered, 1u);
  EXPECT_EQ(of(opcode::getattr).failed, 1u);
}

TEST_F(OpMeter, GoesOnInTheNextFrontEndWithTheTimeFromTheFirstRequest) {
  attach_settled();
  kernel.submit(fuse_request::getattr(5, 2));
  run();
  time.advance(ns_per_s);
  restart();
  attach();
  run();
  core->answer(core->take_kernel_op().value(), attr_of(5));
  run();
  EXPECT_EQ(of(opcode::getattr).started, 1u);
  EXPECT_EQ(of(opcode::getattr).answered, 1u);
  EXPECT_EQ(latency(op_class::getattr).sum_ns, ns_per_s);
}

TEST_F(OpMeter, CountsBytesOfReadsAndWritesThatSucceed) {
  op_cell cell;
  cell.op = opcode::read;
  meter_answered(*arenas.fs, cell, error_code::ok, 4096, 0);
  meter_answered(*arenas.fs, cell, error_code::io, 4096, 0);
  EXPECT_EQ(of(opcode::read).bytes, 4096u);
}

TEST_F(OpMeter, LeavesHeaderAndWatchdogsPageAlone) {
  arena_header before;
  std::memcpy(static_cast<void*>(&before), &arenas.fs->header, sizeof before);
  op_cell cell;
  for (std::uint16_t op = 0; op < 200; ++op) {
    cell.op = static_cast<opcode>(op);
    meter_begun(*arenas.fs, cell.op);
    meter_answered(*arenas.fs, cell, error_code::io, 1, ~std::uint64_t{0});
  }
  EXPECT_EQ(std::memcmp(&before, &arenas.fs->header, sizeof before), 0);
  EXPECT_EQ(arenas.fs->watchdog.incarnation, 0u);
}

TEST_F(OpMeter, CostsLittle) {
  op_cell cell;
  cell.op = opcode::write;
  constexpr int rounds = 200'000;
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < rounds; ++i) {
    meter_begun(*arenas.fs, cell.op);
    meter_answered(*arenas.fs, cell, error_code::ok, 4096, static_cast<std::uint64_t>(i) * 100);
  }
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begin;
  RecordProperty("ns_per_op", static_cast<int>(took.count() / rounds));
  std::printf("%.1f ns for each op\n", took.count() / rounds);
  EXPECT_LT(took.count() / rounds, 2000) << "sanitizers and busy machines included";
}

}  // namespace
}  // namespace tangelo
