// SPDX-License-Identifier: LGPL-2.1-or-later
// What the engine makes of requests: each step of a write, what it does when that step fails, who shares a
// flush, who is alone.
#include "engine-bed.hh"

namespace
{

using vd_sim::Image;

constexpr uint64_t block = 8192, blocks = 16, size = block * blocks - 512;

class Engine : public testing::Test
{
protected:
  vd_sim::Io sim;
  std::unique_ptr<MockLayer> leaf;
  VdEngine *engine = nullptr;

  void SetUp() override
  {
    sim.add(Image::of_size(size), true);
    leaf = std::make_unique<MockLayer>(sim.io(), size, block);
  }
  void TearDown() override
  {
    vd_engine_free(engine);
  }
  void make(bool read_only = false)
  {
    VdEngineOptions options = {read_only, nullptr};
    VdLayer *layer = leaf->layer();

    engine = vd_engine_new(sim.io(), &layer, 1, &options);
    ASSERT_TRUE(engine);
  }
  void submit(Request &request)
  {
    vd_engine_submit(engine, &request);
  }
  int run(Request &request)
  {
    submit(request);
    EXPECT_FALSE(request.is_done()) << "completed inside submit";
    EXPECT_TRUE(sim.run_until([&] { return request.is_done(); })) << "stuck";
    return request.result;
  }
  int run(VdOp op, uint64_t offset = 0, uint64_t length = 0, uint8_t fill = 0, uint32_t flags = 0)
  {
    Request request(op, offset, length, fill, flags);

    return run(request);
  }
  std::vector<uint8_t> read(uint64_t offset, uint64_t length)
  {
    Request request(VD_OP_READ, offset, length, 0xee);

    EXPECT_EQ(run(request), 0);
    return {request.buffer, request.buffer + length};
  }
  static std::vector<uint8_t> bytes(size_t n, uint8_t fill)
  {
    return std::vector<uint8_t>(n, fill);
  }
};

TEST_F(Engine, TellsWhatTheLeafIs)
{
  make();
  EXPECT_EQ(vd_engine_size(engine), size);
  EXPECT_EQ(vd_engine_sector_size(engine), 512u);
  EXPECT_EQ(vd_engine_block_size(engine), block);
  EXPECT_EQ(vd_engine_discard_granularity(engine), block);
  EXPECT_TRUE(vd_engine_is_idle(engine));
}

TEST_F(Engine, ZerosAreReadWithoutTheFile)
{
  make();
  EXPECT_EQ(read(512, 2 * block), bytes(2 * block, 0));
  EXPECT_EQ(sim.count(VD_IO_READ), 0u);
}

TEST_F(Engine, AWriteBeginsTheSessionOnceAndRecordsEachBlockOnce)
{
  make();
  EXPECT_EQ(run(VD_OP_WRITE, block - 512, 1024, 1), 0);
  EXPECT_EQ(run(VD_OP_WRITE, block, 512, 2), 0);
  EXPECT_EQ(leaf->begins, 1u);
  EXPECT_EQ(vd_engine_counters(engine).updates, 2u);
  EXPECT_EQ(leaf->commits.size(), 1u) << "one commit for both blocks of the request";
  EXPECT_EQ(read(block - 512, 512), bytes(512, 1));
  EXPECT_EQ(read(block, 512), bytes(512, 2));
}

TEST_F(Engine, AWriteIsNotCompleteBeforeItIsRecorded)
{
  Request write(VD_OP_WRITE, 0, 512, 1);

  leaf->hold_commit = true;
  make();
  submit(write);
  sim.run_until_quiet();
  EXPECT_FALSE(write.is_done());
  leaf->held_commit();
  EXPECT_EQ(write.result, 0);
}

TEST_F(Engine, BlocksThatFollowInTheFileAreOneTransfer)
{
  make();
  EXPECT_EQ(run(VD_OP_WRITE, 0, 3 * block, 1), 0);
  uint64_t writes = sim.count(VD_IO_WRITE), reads = sim.count(VD_IO_READ);
  EXPECT_EQ(run(VD_OP_WRITE, 512, 2 * block, 2), 0);
  EXPECT_EQ(sim.count(VD_IO_WRITE), writes + 1);
  EXPECT_EQ(read(512, 2 * block), bytes(2 * block, 2));
  EXPECT_EQ(sim.count(VD_IO_READ), reads + 1);
}

TEST_F(Engine, BlocksThatLieApartAreTransfersOfTheirOwn)
{
  leaf->scattered = true;
  make();
  EXPECT_EQ(run(VD_OP_WRITE, 0, 4 * block, 1), 0);
  EXPECT_EQ(run(VD_OP_WRITE, 512, 2 * block, 2), 0);
  EXPECT_EQ(read(0, 512), bytes(512, 1));
  EXPECT_EQ(read(512, 2 * block), bytes(2 * block, 2));
  EXPECT_EQ(read(512 + 2 * block, 2 * block - 512), bytes(2 * block - 512, 1));
  EXPECT_EQ(sim.image(0).read(14 * block, block), bytes(block, 2));
}

TEST_F(Engine, WhoWaitsIsNotAskedAgainBeforeItIsWoken)
{
  Request first(VD_OP_WRITE, block, 512, 1), both(VD_OP_WRITE, 0, 2 * block, 2);

  make();
  EXPECT_EQ(run(VD_OP_WRITE, 0, block, 1), 0);
  leaf->hold_commit = true;
  submit(first);
  sim.run_until_quiet();
  unsigned places = leaf->places;
  submit(both);
  sim.run_until_quiet();
  EXPECT_EQ(leaf->places, places + 2) << "its first part has completed meanwhile";
  leaf->hold_commit = false;
  leaf->held_commit();
  sim.run_until_quiet();
  EXPECT_EQ(both.result, 0);
  EXPECT_EQ(both.dones, 1u);
}

TEST_F(Engine, ABlockThatIsEmptyInPartIsDiscarded)
{
  leaf->half_full.insert(2);
  make();
  EXPECT_EQ(run(VD_OP_DISCARD, 0, 4 * block), 0);
  EXPECT_EQ(leaf->zeroed, (std::vector<std::pair<uint64_t, uint64_t>>{{2, 1}}));
}

TEST_F(Engine, ARequestOfMorePartsThanFitGoesOn)
{
  make();
  EXPECT_EQ(run(VD_OP_WRITE, 0, 15 * block, 3), 0);
  EXPECT_EQ(vd_engine_counters(engine).updates, 15u);
  EXPECT_EQ(read(0, 15 * block), bytes(15 * block, 3));
}

TEST_F(Engine, FailingToBeginFailsThoseWhoWaitAndIsTriedAgain)
{
  Request one(VD_OP_WRITE, 0, 512, 1), two(VD_OP_WRITE, block, 512, 1);
  int result = -ENOSPC;

  leaf->begin_result = [&] { return result; };
  make();
  submit(one);
  submit(two);
  sim.run_until_quiet();
  EXPECT_EQ(one.result, -ENOSPC);
  EXPECT_EQ(two.result, -ENOSPC);
  EXPECT_EQ(leaf->begins, 1u);
  result = 0;
  EXPECT_EQ(run(VD_OP_WRITE, 0, 512, 1), 0);
  EXPECT_EQ(leaf->begins, 2u);
}

TEST_F(Engine, PayloadThatCannotBeWrittenCancelsItsUpdate)
{
  make();
  sim.fail(0, ENOSPC, VD_IO_WRITE);
  EXPECT_EQ(run(VD_OP_WRITE, 0, 512, 1), -ENOSPC);
  EXPECT_EQ(leaf->cancels, 1u);
  EXPECT_TRUE(leaf->commits.empty());
  EXPECT_EQ(read(0, 512), bytes(512, 0));
  EXPECT_EQ(run(VD_OP_WRITE, 0, 512, 1), 0);
}

TEST_F(Engine, OnePartThatFailsFailsTheRequestWhenAllAreThrough)
{
  Request write(VD_OP_WRITE, 0, 3 * block, 1);
  bool holding = true;

  make();
  sim.fail(0, EIO, VD_IO_WRITE);
  sim.hold = [&](const VdIoOp &op) { return holding && op.kind == VD_IO_WRITE && op.offset == 2 * block; };
  submit(write);
  sim.run_until_quiet();
  EXPECT_FALSE(write.is_done());
  holding = false;
  sim.run_until_quiet();
  EXPECT_EQ(write.result, -EIO);
  EXPECT_EQ(write.dones, 1u);
  EXPECT_TRUE(vd_engine_is_idle(engine));
}

TEST_F(Engine, ACommitThatFailsFailsItsBatch)
{
  Request one(VD_OP_WRITE, 0, 512, 1), two(VD_OP_WRITE, block, 512, 1);

  leaf->commit_result = [] { return -EIO; };
  make();
  submit(one);
  submit(two);
  sim.run_until_quiet();
  EXPECT_EQ(one.result, -EIO);
  EXPECT_EQ(two.result, -EIO);
  leaf->commit_result = nullptr;
  EXPECT_EQ(run(VD_OP_WRITE, 0, 512, 1), 0);
}

TEST_F(Engine, WhatComesDuringACommitIsTheNextBatch)
{
  std::vector<std::unique_ptr<Request>> writes;

  leaf->hold_commit = true;
  make();
  for (uint64_t i = 0; i < 5; i++) {
    writes.push_back(std::make_unique<Request>(VD_OP_WRITE, i * block, 512, 1));
    submit(*writes.back());
    if (i == 0)
      sim.run_until_quiet();
  }
  sim.run_until_quiet();
  ASSERT_EQ(leaf->commits.size(), 1u);
  leaf->hold_commit = false;
  leaf->held_commit();
  sim.run_until_quiet();
  ASSERT_EQ(leaf->commits.size(), 2u);
  EXPECT_EQ(leaf->commits[1].size(), 4u);
  for (const auto &write : writes)
    EXPECT_EQ(write->result, 0);
}

TEST_F(Engine, ABarrierFlushesOnceForTheBatchBeforeItIsRecorded)
{
  Request one(VD_OP_WRITE, 0, 512, 1), two(VD_OP_WRITE, block, 512, 1);
  bool holding = true;

  leaf->barrier = true;
  make();
  sim.hold = [&](const VdIoOp &op) { return holding && op.kind == VD_IO_FLUSH; };
  submit(one);
  submit(two);
  sim.run_until_quiet();
  EXPECT_TRUE(leaf->commits.empty());
  EXPECT_EQ(sim.in_flight(), 1u);
  holding = false;
  sim.run_until_quiet();
  EXPECT_EQ(one.result, 0);
  EXPECT_EQ(two.result, 0);
  EXPECT_EQ(sim.count(VD_IO_FLUSH), 1u);
  EXPECT_EQ(leaf->commits.size(), 1u);
  EXPECT_EQ(leaf->flushed.size(), 1u);
}

TEST_F(Engine, ABarrierThatFailsCancelsTheBatch)
{
  leaf->barrier = true;
  make();
  sim.fail(0, EIO, VD_IO_FLUSH);
  EXPECT_EQ(run(VD_OP_WRITE, 0, 2 * block, 1), -EIO);
  EXPECT_EQ(leaf->cancels, 2u);
  EXPECT_TRUE(leaf->commits.empty());
  EXPECT_TRUE(leaf->flushed.empty());
  leaf->barrier = false;
  EXPECT_EQ(run(VD_OP_WRITE, 0, 512, 1), 0);
  EXPECT_EQ(run(VD_OP_FLUSH), -EIO) << "a barrier that failed may have lost anybody's data";
}

TEST_F(Engine, WritersOfABlockThatIsBeingChangedWait)
{
  Request one(VD_OP_WRITE, 0, 512, 1), two(VD_OP_WRITE, 512, 512, 2);

  leaf->hold_commit = true;
  make();
  submit(one);
  submit(two);
  sim.run_until_quiet();
  EXPECT_EQ(sim.count(VD_IO_WRITE), 1u);
  leaf->held_commit();
  sim.run_until_quiet();
  EXPECT_EQ(one.result, 0);
  EXPECT_EQ(two.result, 0);
  EXPECT_EQ(leaf->commits.size(), 1u);
}

TEST_F(Engine, AWaitForMetadataIsAskedAgain)
{
  leaf->waits = 3;
  make();
  EXPECT_EQ(read(0, 512), bytes(512, 0));
  EXPECT_EQ(leaf->waits, 0u);
}

TEST_F(Engine, ErrorsOfTheMapReachTheRequest)
{
  make();
  leaf->find_error = -ENOMEM;
  EXPECT_EQ(run(VD_OP_READ, 0, 512), -EIO) << "a block device knows no ENOMEM";
  leaf->find_error = 0;
  leaf->place_error = -ENOSPC;
  EXPECT_EQ(run(VD_OP_WRITE, 0, 512, 1), -ENOSPC);
}

TEST_F(Engine, AFileThatEndsEarlyIsAnError)
{
  make();
  EXPECT_EQ(run(VD_OP_WRITE, 0, 2 * block, 1), 0);
  sim.shorten(0, block);
  EXPECT_EQ(run(VD_OP_READ, block, 512), -EIO);
  EXPECT_EQ(run(VD_OP_READ, 0, 512), 0);
}

TEST_F(Engine, FlushesThatComeWhileOneRunsShareTheNext)
{
  Request flushes[4] = {{VD_OP_FLUSH}, {VD_OP_FLUSH}, {VD_OP_FLUSH}, {VD_OP_FLUSH}};
  bool holding = true;

  make();
  sim.hold = [&](const VdIoOp &op) { return holding && op.kind == VD_IO_FLUSH; };
  submit(flushes[0]);
  sim.run_until_quiet();
  for (int i = 1; i < 4; i++)
    submit(flushes[i]);
  sim.run_until_quiet();
  EXPECT_EQ(sim.in_flight(), 1u);
  holding = false;
  sim.run_until_quiet();
  for (const Request &flush : flushes)
    EXPECT_EQ(flush.result, 0);
  EXPECT_EQ(sim.count(VD_IO_FLUSH), 2u);
  EXPECT_EQ(vd_engine_counters(engine).flushes_shared, 2u);
  EXPECT_EQ(leaf->flushed, (std::vector<uint64_t>{1, 2}));
}

TEST_F(Engine, AFlushCoversWritesThatCompletedBeforeItAlsoWhileAnotherRuns)
{
  Request first(VD_OP_FLUSH), write(VD_OP_WRITE, 0, 512, 7), second(VD_OP_FLUSH);
  bool holding = true;

  make();
  sim.hold = [&](const VdIoOp &op) { return holding && op.kind == VD_IO_FLUSH; };
  submit(first);
  sim.run_until_quiet();
  EXPECT_EQ(run(write), 0);
  submit(second);
  holding = false;
  EXPECT_TRUE(sim.run_until([&] { return second.is_done(); }));
  Image durable = sim.state({sim.log().size(), vd_sim::Cut::Kept::durable, 0, 0})[0];
  EXPECT_EQ(durable.read(0, 512), bytes(512, 7));
}

TEST_F(Engine, AFlushThatFailsFailsAllWhoShareIt)
{
  Request one(VD_OP_FLUSH), two(VD_OP_FLUSH);

  make();
  sim.fail(0, EIO, VD_IO_FLUSH);
  submit(one);
  submit(two);
  sim.run_until_quiet();
  EXPECT_EQ(one.result, -EIO);
  EXPECT_EQ(two.result, -EIO);
  EXPECT_TRUE(leaf->flushed.empty());
}

// The kernel tells of data that it lost once, and lets the next flush succeed.
TEST_F(Engine, AfterAFlushThatFailedNoneSucceeds)
{
  make();
  EXPECT_EQ(run(VD_OP_WRITE, 0, 512, 1), 0);
  sim.fail(0, ENOSPC, VD_IO_FLUSH);
  EXPECT_EQ(run(VD_OP_FLUSH), -ENOSPC);
  EXPECT_EQ(run(VD_OP_FLUSH), -EIO);
  EXPECT_EQ(run(VD_OP_WRITE, 0, 512, 2, VD_REQUEST_FUA), -EIO);
  EXPECT_EQ(run(VD_OP_WRITE, 0, 512, 3), 0) << "what asks for no promise goes on";
  EXPECT_EQ(run(VD_OP_FLUSH), -EIO);
  EXPECT_EQ(sim.count(VD_IO_FLUSH), 1u) << "the kernel is not asked again";
  EXPECT_TRUE(leaf->flushed.empty());
}

TEST_F(Engine, AWriteWithFuaIsDurableWhenItCompletes)
{
  make();
  EXPECT_EQ(run(VD_OP_WRITE, 0, 512, 9, VD_REQUEST_FUA), 0);
  Image durable = sim.state({sim.log().size(), vd_sim::Cut::Kept::durable, 0, 0})[0];
  EXPECT_EQ(durable.read(0, 512), bytes(512, 9));
  sim.fail(0, EIO, VD_IO_FLUSH);
  EXPECT_EQ(run(VD_OP_WRITE, 0, 512, 9, VD_REQUEST_FUA), -EIO);
  EXPECT_EQ(run(VD_OP_WRITE, 0, 512, 9), 0);
  EXPECT_EQ(sim.count(VD_IO_FLUSH), 2u);
}

TEST_F(Engine, DiscardGivesBackWholeBlocksAndNoOthers)
{
  make();
  EXPECT_EQ(run(VD_OP_WRITE, 0, 6 * block, 1), 0);
  EXPECT_EQ(run(VD_OP_DISCARD, block - 512, 3 * block), 0);
  ASSERT_EQ(leaf->zeroed.size(), 1u);
  EXPECT_EQ(leaf->zeroed[0], (std::pair<uint64_t, uint64_t>{1, 2}));
  EXPECT_EQ(read(0, block), bytes(block, 1));
  EXPECT_EQ(read(block, 2 * block), bytes(2 * block, 0));
  EXPECT_EQ(read(3 * block, 512), bytes(512, 1));
}

TEST_F(Engine, DiscardLeavesOutWhatIsEmpty)
{
  make();
  EXPECT_EQ(run(VD_OP_DISCARD, 0, size), 0);
  EXPECT_EQ(leaf->zeros, 0u);
  EXPECT_EQ(leaf->begins, 0u) << "nothing was changed";
  EXPECT_EQ(run(VD_OP_WRITE, 2 * block, 512, 1), 0);
  EXPECT_EQ(run(VD_OP_WRITE, 5 * block, 2 * block, 1), 0);
  EXPECT_EQ(run(VD_OP_WRITE, 15 * block, 512, 1), 0);
  EXPECT_EQ(run(VD_OP_DISCARD, 0, size), 0);
  EXPECT_EQ(leaf->zeroed, (std::vector<std::pair<uint64_t, uint64_t>>{{2, 1}, {5, 2}, {15, 1}}));
}

TEST_F(Engine, PartsOfABlockAreNotDiscarded)
{
  make();
  EXPECT_EQ(run(VD_OP_WRITE, 0, block, 1), 0);
  EXPECT_EQ(run(VD_OP_DISCARD, 512, block - 512), 0);
  EXPECT_EQ(leaf->zeros, 0u);
}

TEST_F(Engine, DiscardIsAloneAndWhoComesMeanwhileFollowsInOrder)
{
  Request write(VD_OP_WRITE, block, 512, 5), discard(VD_OP_DISCARD, 0, block), late(VD_OP_READ, 0, 512);
  bool holding = true;

  make();
  EXPECT_EQ(run(VD_OP_WRITE, 0, block, 1), 0);
  leaf->hold_zero = true;
  sim.hold = [&](const VdIoOp &op) { return holding && op.kind == VD_IO_WRITE; };
  submit(write);
  submit(discard);
  submit(late);
  sim.run_until_quiet();
  EXPECT_EQ(leaf->zeros, 0u) << "a write is in flight";
  holding = false;
  sim.run_until_quiet();
  EXPECT_EQ(write.result, 0);
  EXPECT_EQ(leaf->zeros, 1u);
  EXPECT_FALSE(late.is_done()) << "held back meanwhile";
  leaf->held_zero();
  sim.run_until_quiet();
  EXPECT_EQ(discard.result, 0);
  EXPECT_EQ(late.result, 0);
  EXPECT_EQ(late.buffer[0], 0);
}

TEST_F(Engine, ManyDiscardsAtOnceAllComeThrough)
{
  std::vector<std::unique_ptr<Request>> requests;

  make();
  EXPECT_EQ(run(VD_OP_WRITE, 0, 15 * block, 1), 0);
  for (uint64_t i = 0; i < 15; i++) {
    requests.push_back(std::make_unique<Request>(VD_OP_DISCARD, i * block, block));
    submit(*requests.back());
    requests.push_back(std::make_unique<Request>(VD_OP_READ, i * block, block));
    submit(*requests.back());
  }
  sim.run_until_quiet();
  for (const auto &request : requests)
    EXPECT_EQ(request->result, 0);
  EXPECT_EQ(leaf->zeros, 15u);
}

TEST_F(Engine, ADiscardThatTheFileSystemRefusesIsNoError)
{
  make();
  EXPECT_EQ(run(VD_OP_WRITE, 0, block, 1), 0);
  leaf->zero_result = [] { return -EOPNOTSUPP; };
  EXPECT_EQ(run(VD_OP_DISCARD, 0, block), 0);
  EXPECT_EQ(run(VD_OP_DISCARD, 0, block), 0);
  EXPECT_EQ(leaf->zeros, 1u) << "asked once";
  EXPECT_EQ(read(0, 512), bytes(512, 1));
}

TEST_F(Engine, ADiscardThatFailsLetsOthersGoOn)
{
  Request discard(VD_OP_DISCARD, 0, block), read(VD_OP_READ, 0, 512);

  make();
  EXPECT_EQ(run(VD_OP_WRITE, 0, block, 1), 0);
  leaf->zero_result = [] { return -EIO; };
  submit(discard);
  submit(read);
  sim.run_until_quiet();
  EXPECT_EQ(discard.result, -EIO);
  EXPECT_EQ(read.result, 0);
  EXPECT_TRUE(vd_engine_is_idle(engine));
}

TEST_F(Engine, WriteZeroesGivesBackTheMiddleAndWritesTheBorders)
{
  make();
  EXPECT_EQ(run(VD_OP_WRITE, 0, 5 * block, 1), 0);
  EXPECT_EQ(run(VD_OP_WRITE_ZEROES, block - 512, 3 * block), 0);
  EXPECT_EQ(leaf->zeroed, (std::vector<std::pair<uint64_t, uint64_t>>{{1, 2}}));
  EXPECT_EQ(read(0, block - 512), bytes(block - 512, 1));
  EXPECT_EQ(read(block - 512, 3 * block), bytes(3 * block, 0));
  EXPECT_EQ(read(4 * block - 512, 512), bytes(512, 1));
}

TEST_F(Engine, WriteZeroesLeavesZerosAloneUnlessTheSpaceIsToStay)
{
  make();
  EXPECT_EQ(run(VD_OP_WRITE_ZEROES, 512, 4 * block), 0);
  EXPECT_EQ(sim.count(VD_IO_WRITE), 0u);
  EXPECT_EQ(leaf->zeros, 0u);
  EXPECT_EQ(run(VD_OP_WRITE_ZEROES, 0, 4 * block, 0, VD_REQUEST_NO_UNMAP), 0);
  EXPECT_EQ(vd_engine_counters(engine).updates, 4u);
  EXPECT_EQ(leaf->zeros, 0u);
}

TEST_F(Engine, WriteZeroesIsWrittenWhereBlocksCannotBeGivenBack)
{
  make();
  EXPECT_EQ(run(VD_OP_WRITE, 0, 3 * block, 1), 0);
  leaf->zero_result = [] { return -EOPNOTSUPP; };
  EXPECT_EQ(run(VD_OP_WRITE_ZEROES, 512, 2 * block + 512), 0);
  EXPECT_EQ(read(512, 2 * block + 512), bytes(2 * block + 512, 0));
  EXPECT_EQ(read(2 * block + 1024, 512), bytes(512, 1));
  EXPECT_EQ(read(0, 512), bytes(512, 1));
}

TEST_F(Engine, WithoutZeroOfTheLayerZerosAreWritten)
{
  leaf->ops.zero = nullptr;
  make();
  EXPECT_EQ(vd_engine_discard_granularity(engine), 0u);
  EXPECT_EQ(run(VD_OP_WRITE, 0, 3 * block, 1), 0);
  EXPECT_EQ(run(VD_OP_DISCARD, 0, block), 0);
  EXPECT_EQ(read(0, 512), bytes(512, 1));
  EXPECT_EQ(run(VD_OP_WRITE_ZEROES, 0, block), 0);
  EXPECT_EQ(read(0, block), bytes(block, 0));
}

TEST_F(Engine, BadArgumentsAreRefused)
{
  make();
  EXPECT_EQ(run(VD_OP_READ, 100, 512), -EINVAL);
  EXPECT_EQ(run(VD_OP_READ, 0, 100), -EINVAL);
  EXPECT_EQ(run(VD_OP_READ, 0, 0), -EINVAL);
  EXPECT_EQ(run(VD_OP_READ, size, 512), -EINVAL);
  EXPECT_EQ(run(VD_OP_READ, size - 512, 1024), -EINVAL);
  EXPECT_EQ(run(VD_OP_DISCARD, UINT64_MAX - 511, 512), -EINVAL);
  EXPECT_EQ(run(static_cast<VdOp>(7), 0, 512), -EINVAL);
}

TEST_F(Engine, AReadOnlyEngineChangesNothing)
{
  leaf->base.writable = false;
  make(true);
  EXPECT_EQ(run(VD_OP_WRITE, 0, 512, 1), -EROFS);
  EXPECT_EQ(run(VD_OP_DISCARD, 0, block), -EROFS);
  EXPECT_EQ(run(VD_OP_WRITE_ZEROES, 0, block), -EROFS);
  EXPECT_EQ(run(VD_OP_FLUSH), 0);
  EXPECT_EQ(run(VD_OP_READ, 0, 512), 0);
  EXPECT_EQ(vd_engine_close(engine), 0);
  EXPECT_EQ(leaf->closes, 0u);
  EXPECT_TRUE(sim.log().empty());
}

TEST_F(Engine, MoreRequestsThanFitWaitInOrder)
{
  std::vector<std::unique_ptr<Request>> requests;
  unsigned done = 0;
  bool holding = true;

  make();
  EXPECT_EQ(run(VD_OP_WRITE, 0, block, 1), 0);
  sim.hold = [&](const VdIoOp &) { return holding; };
  for (int i = 0; i < 3 * VD_ENGINE_MAX_REQUESTS; i++) {
    requests.push_back(std::make_unique<Request>(VD_OP_READ, 0, 512));
    requests.back()->then = [&] { done++; };
    submit(*requests.back());
  }
  sim.run_until_quiet();
  EXPECT_EQ(sim.in_flight(), static_cast<size_t>(VD_ENGINE_MAX_REQUESTS));
  holding = false;
  sim.run_until_quiet();
  EXPECT_EQ(done, 3u * VD_ENGINE_MAX_REQUESTS);
}

TEST_F(Engine, ARequestMayBeSubmittedAgainFromItsOwnEnd)
{
  Request read(VD_OP_READ, 0, 512);
  int left = 1000;

  make();
  read.then = [&] {
    if (--left > 0)
      submit(read);
  };
  submit(read);
  sim.run_until_quiet();
  EXPECT_EQ(left, 0);
}

TEST_F(Engine, CloseClosesTheLeafWhenIdle)
{
  Request read(VD_OP_READ, 0, 512);

  make();
  submit(read);
  EXPECT_EQ(vd_engine_close(engine), -EBUSY);
  sim.run_until_quiet();
  EXPECT_EQ(vd_engine_close(engine), 0);
  EXPECT_EQ(leaf->closes, 1u);
}

TEST_F(Engine, TakesItsLayersOverAlsoOnFailure)
{
  int freed = 0;
  VdEngineOptions options = {};
  VdLayer *layer = leaf->layer();

  leaf->freed = &freed;
  leaf->base.writable = false;
  EXPECT_FALSE(vd_engine_new(sim.io(), &layer, 1, &options));
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(freed, 1);
}

class Chain : public testing::Test
{
protected:
  vd_sim::Io sim;
  std::unique_ptr<MockLayer> leaf, middle, root;
  VdEngine *engine = nullptr;

  void SetUp() override
  {
    sim.add(Image::of_size(size), true);
    sim.add(Image::from_bytes(std::vector<uint8_t>(size, 2)), false);
    sim.add(Image::from_bytes(std::vector<uint8_t>(size, 3)), false);
    leaf = std::make_unique<MockLayer>(sim.io(), size, block, 0, true);
    middle = std::make_unique<MockLayer>(sim.io(), size, block / 4, 1, true);
    root = std::make_unique<MockLayer>(sim.io(), size, block * 4, 2, false);
    VdEngineOptions options = {};
    VdLayer *layers[] = {leaf->layer(), middle->layer(), root->layer()};
    engine = vd_engine_new(sim.io(), layers, 3, &options);
  }
  void TearDown() override
  {
    vd_engine_free(engine);
  }
  int run(Request &request)
  {
    vd_engine_submit(engine, &request);
    EXPECT_TRUE(sim.run_until([&] { return request.is_done(); }));
    return request.result;
  }
};

TEST_F(Chain, EachPartComesFromTheLayerThatHasIt)
{
  Request write(VD_OP_WRITE, block, block, 1), read(VD_OP_READ, 0, 4 * block, 0xee);

  middle->map[0] = VD_RUN_HERE; // [0, block/4) from the middle
  middle->map[1] = VD_RUN_ZERO; // zeros that hide the root
  root->map[0] = VD_RUN_HERE;   // the rest of [0, 4 * block) from the root
  ASSERT_EQ(run(write), 0);
  ASSERT_EQ(run(read), 0);
  EXPECT_EQ(read.buffer[0], 2);
  EXPECT_EQ(read.buffer[block / 4], 0);
  EXPECT_EQ(read.buffer[block / 2], 3);
  EXPECT_EQ(read.buffer[block], 1);
  EXPECT_EQ(read.buffer[2 * block - 1], 1);
  EXPECT_EQ(read.buffer[2 * block], 3);
}

TEST_F(Chain, TheLastLayerCannotPointToAParent)
{
  Request read(VD_OP_READ, 0, 512);

  root->map[0] = VD_RUN_PARENT;
  EXPECT_EQ(run(read), -EIO);
}

TEST_F(Chain, BehindTheEndOfAParentThereAreZeros)
{
  Request read(VD_OP_READ, block - 512, 1024, 0xee);

  root->map[0] = VD_RUN_HERE;
  root->base.size = middle->base.size = block;
  EXPECT_EQ(run(read), 0);
  EXPECT_EQ(read.buffer[511], 3);
  EXPECT_EQ(read.buffer[512], 0);
}

TEST_F(Chain, DiscardLeavesWhatTheParentShowsAndWriteZeroesHidesIt)
{
  Request discard(VD_OP_DISCARD, 0, block), zeroes(VD_OP_WRITE_ZEROES, 0, block), read(VD_OP_READ, 0, 512);

  root->map[0] = VD_RUN_HERE;
  EXPECT_EQ(run(discard), 0);
  EXPECT_EQ(leaf->zeros, 0u);
  EXPECT_EQ(run(zeroes), 0);
  EXPECT_EQ(leaf->zeros, 1u);
  EXPECT_EQ(run(read), 0);
  EXPECT_EQ(read.buffer[0], 0);
}

} // namespace
