// SPDX-License-Identifier: LGPL-2.1-or-later
// The files in memory that other tests rest on: what a flush keeps, what a power cut may take.
#include <gtest/gtest.h>

#include <cerrno>
#include <set>

#include <unistd.h>

#include "sim-io.hh"

namespace
{

using vd_sim::Cut;
using vd_sim::Image;

struct Op : VdIoOp {
  std::vector<uint8_t> bytes;
  int got = 1;

  Op(VdIoKind what, uint64_t at, size_t n, uint8_t fill = 0) : VdIoOp(), bytes(n, fill)
  {
    kind = what;
    offset = at;
    length = n;
    buffer = bytes.data();
    user = this;
    done = [](VdIoOp *op, int result) { static_cast<Op *>(op->user)->got = result; };
  }
  Op(const Op &) = delete;
};

TEST(SimIo, ReadsWhatWasWrittenAndFailsBehindTheEnd)
{
  vd_sim::Io sim;
  sim.add(Image::of_size(1000), true);
  Op write(VD_IO_WRITE, 512, 1024, 7), past(VD_IO_READ, 1024, 1024), padded(VD_IO_READ_PADDED, 1024, 1024);

  EXPECT_EQ(vd_io_run(sim.io(), &write), 0);
  EXPECT_EQ(vd_io_run(sim.io(), &past), -EIO);
  EXPECT_EQ(vd_io_run(sim.io(), &padded), 0);
  EXPECT_EQ(padded.bytes[511], 7);
  EXPECT_EQ(padded.bytes[512], 0);
  EXPECT_EQ(sim.image(0).size(), 1536u);
}

TEST(SimIo, NothingInFlightIsADeadlock)
{
  vd_sim::Io sim;

  EXPECT_EQ(sim.io()->ops->wait(sim.io()), -EDEADLK);
}

TEST(SimIo, AFlushKeepsOnlyWhatCompletedBeforeItWasSubmitted)
{
  vd_sim::Io sim;
  sim.add(Image::of_size(8192), true);
  Op before(VD_IO_WRITE, 0, 512, 1), during(VD_IO_WRITE, 512, 512, 2), flush(VD_IO_FLUSH, 0, 0);

  vd_io_run(sim.io(), &before);
  vd_io_submit(sim.io(), &during);
  vd_io_submit(sim.io(), &flush);
  sim.run_until_quiet();
  Image durable = sim.state({sim.log().size(), Cut::Kept::durable, 0, 0})[0];
  Image completed = sim.state({sim.log().size(), Cut::Kept::completed, 0, 0})[0];
  EXPECT_EQ(durable.read(0, 1)[0], 1);
  EXPECT_EQ(durable.read(512, 1)[0], 0);
  EXPECT_EQ(completed.read(512, 1)[0], 2);
}

TEST(SimIo, AFailedFlushKeepsNothing)
{
  vd_sim::Io sim;
  sim.add(Image::of_size(8192), true);
  Op write(VD_IO_WRITE, 0, 512, 1), flush(VD_IO_FLUSH, 0, 0);

  sim.fail(0, EIO, VD_IO_FLUSH);
  vd_io_run(sim.io(), &write);
  EXPECT_EQ(vd_io_run(sim.io(), &flush), -EIO);
  EXPECT_EQ(sim.state({sim.log().size(), Cut::Kept::durable, 0, 0})[0].read(0, 1)[0], 0);
}

// As the kernel has it: the page is taken for clean.
TEST(SimIo, WhatAFailedFlushLostNoOtherOneKeeps)
{
  vd_sim::Io sim;
  sim.add(Image::of_size(8192), true);
  Op write(VD_IO_WRITE, 0, 512, 1), flush(VD_IO_FLUSH, 0, 0), other(VD_IO_WRITE, 512, 512, 1);

  sim.fail(0, EIO, VD_IO_FLUSH);
  vd_io_run(sim.io(), &write);
  EXPECT_EQ(vd_io_run(sim.io(), &flush), -EIO);
  vd_io_run(sim.io(), &other);
  sim.io()->flushers[0].failed = false; // as if nobody remembered
  EXPECT_EQ(vd_io_run(sim.io(), &flush), 0);
  Image durable = sim.state({sim.log().size(), Cut::Kept::durable, 0, 0})[0];
  EXPECT_EQ(durable.read(0, 1)[0], 0);
  EXPECT_EQ(durable.read(512, 1)[0], 1);
}

TEST(Io, FlushesOfAFileGoOneAtATimeAndThoseThatWaitShareTheNext)
{
  vd_sim::Io sim;
  sim.add(Image::of_size(8192), true);
  Op write(VD_IO_WRITE, 0, 512, 1), one(VD_IO_FLUSH, 0, 0), two(VD_IO_FLUSH, 0, 0), three(VD_IO_FLUSH, 0, 0);
  bool holding = true;

  sim.hold = [&](const VdIoOp &op) { return holding && op.kind == VD_IO_FLUSH; };
  vd_io_submit(sim.io(), &one);
  vd_io_run(sim.io(), &write);
  vd_io_submit(sim.io(), &two);
  vd_io_submit(sim.io(), &three);
  EXPECT_EQ(sim.in_flight(), 1u);
  holding = false;
  sim.run_until_quiet();
  EXPECT_EQ(sim.count(VD_IO_FLUSH), 2u);
  EXPECT_EQ(one.result | two.result | three.result, 0);
  EXPECT_EQ(sim.state({sim.log().size(), Cut::Kept::durable, 0, 0})[0].read(0, 1)[0], 1);
}

// Of two that run at once only one would be told of what was lost.
TEST(Io, AFlushThatFailsFailsThoseThatWait)
{
  vd_sim::Io sim;
  sim.add(Image::of_size(8192), true);
  sim.add(Image::of_size(8192), true);
  Op one(VD_IO_FLUSH, 0, 0), two(VD_IO_FLUSH, 0, 0), other(VD_IO_FLUSH, 0, 0);

  other.file = 1;
  sim.fail(0, ENOSPC, VD_IO_FLUSH);
  vd_io_submit(sim.io(), &one);
  vd_io_submit(sim.io(), &two);
  sim.run_until_quiet();
  EXPECT_EQ(one.result, -ENOSPC);
  EXPECT_EQ(two.result, -EIO);
  EXPECT_EQ(vd_io_run(sim.io(), &two), -EIO);
  EXPECT_EQ(vd_io_run(sim.io(), &other), 0) << "another file knows nothing of it";
}

TEST(SimIo, ChosenStatesTearWritesAtAtomsOnly)
{
  vd_sim::Io sim;
  sim.add(Image::of_size(8192), true);
  Op write(VD_IO_WRITE, 0, 2048, 1);
  std::set<std::vector<uint8_t>> seen;

  vd_io_run(sim.io(), &write);
  for (uint64_t seed = 0; seed < 400; seed++) {
    std::vector<uint8_t> bytes = sim.state({2, Cut::Kept::chosen, seed, 512})[0].read(0, 2048);

    for (size_t at = 0; at < bytes.size(); at++)
      ASSERT_EQ(bytes[at], bytes[at / 512 * 512]);
    seen.insert(bytes);
  }
  EXPECT_EQ(seen.size(), 16u);
}

TEST(SimIo, CutsCoverEachPositionAndStayBelowTheCeiling)
{
  vd_sim::Io sim;
  sim.add(Image::of_size(8192), true);
  std::set<size_t> positions;
  size_t states = 0;

  for (int i = 0; i < 10; i++) {
    Op write(VD_IO_WRITE, 0, 512, 1);
    vd_io_run(sim.io(), &write);
  }
  vd_sim::Cuts cuts;
  sim.for_each_cut(cuts, [&](const Cut &cut, std::vector<Image> &) { positions.insert(cut.position); });
  EXPECT_EQ(positions.size(), 21u);
  cuts.most = 40;
  sim.for_each_cut(cuts, [&](const Cut &, std::vector<Image> &) { states++; });
  EXPECT_LE(states, 44u);
}

TEST(SimIo, FailsTheNthOfAKind)
{
  vd_sim::Io sim;
  sim.add(Image::of_size(8192), true);
  Op one(VD_IO_WRITE, 0, 512, 1), two(VD_IO_WRITE, 512, 512, 2), read(VD_IO_READ, 0, 512);

  sim.fail(1, ENOSPC, VD_IO_WRITE);
  EXPECT_EQ(vd_io_run(sim.io(), &one), 0);
  EXPECT_EQ(vd_io_run(sim.io(), &read), 0);
  EXPECT_EQ(vd_io_run(sim.io(), &two), -ENOSPC);
  EXPECT_EQ(vd_io_run(sim.io(), &two), 0);
  EXPECT_EQ(sim.count(VD_IO_WRITE), 3u);
}

TEST(SimIo, HeldOperationsStay)
{
  vd_sim::Io sim;
  sim.add(Image::of_size(8192), true);
  Op write(VD_IO_WRITE, 0, 512, 1), read(VD_IO_READ, 0, 512);
  bool holding = true;

  sim.hold = [&](const VdIoOp &op) { return holding && op.kind == VD_IO_WRITE; };
  vd_io_submit(sim.io(), &write);
  vd_io_submit(sim.io(), &read);
  sim.run_until_quiet();
  EXPECT_EQ(read.got, 0);
  EXPECT_EQ(write.got, 1);
  holding = false;
  sim.run_until_quiet();
  EXPECT_EQ(write.got, 0);
}

TEST(SimIo, NoticesABufferThatChangesInFlight)
{
  vd_sim::Io sim;
  sim.add(Image::of_size(8192), true);
  Op write(VD_IO_WRITE, 0, 512, 1);

  vd_io_submit(sim.io(), &write);
  write.bytes[3] = 9;
  sim.run_until_quiet();
  EXPECT_EQ(sim.changed_in_flight(), 1u);
}

TEST(SimImage, PunchTruncateAndMemoryFilesAgree)
{
  std::vector<uint8_t> bytes(20000, 5);
  Image image = Image::from_bytes(bytes);
  Image copy = image;

  image.punch(100, 9000);
  image.truncate(15000);
  image.truncate(18000);
  std::fill(bytes.begin() + 100, bytes.begin() + 9100, 0);
  std::fill(bytes.begin() + 15000, bytes.end(), 0);
  bytes.resize(18000);
  EXPECT_EQ(image.read(0, 18000), bytes);
  EXPECT_EQ(copy.read(0, 20000), std::vector<uint8_t>(20000, 5));
  int fd = image.to_memfd();
  Image back = Image::from_fd(fd);
  close(fd);
  EXPECT_EQ(back.size(), 18000u);
  EXPECT_EQ(back.read(0, 18000), bytes);
}

} // namespace
