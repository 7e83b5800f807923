// SPDX-License-Identifier: LGPL-2.1-or-later
// A VHD at run time: what is where, how it grows, what failures leave behind.
#include "vhd-rig.hh"

using namespace vhd;

namespace
{

constexpr uint64_t kib = 1 << 10;
constexpr uint64_t block = 512 * kib;
constexpr uint64_t size = 8 * mib;

Image dynamic()
{
  return create(VIRTDISK_SUBTYPE_DYNAMIC, size);
}

std::vector<Image> child()
{
  Chain parent({create(VIRTDISK_SUBTYPE_DYNAMIC, size, 2 << 20, 8)}, true);

  EXPECT_EQ(parent.write(mib, 2 * mib, 0x11), 0);
  EXPECT_EQ(vd_engine_close(parent.engine), 0);
  return {create(VIRTDISK_SUBTYPE_DIFFERENCING, size), parent.image()};
}

// An image of another program: nothing aligned, the first block right behind the table.
images::SparseVhd foreign(uint32_t type)
{
  images::SparseVhd image(type);

  image.footer.hidden = 1;
  image.footer.features = 0x12;
  image.footer.creator = "xyz ";
  image.table[1] = 0x800 / 512;
  image.pieces.push_back({0x800, Bytes(512, 0xff)});
  image.pieces.push_back({0xa00, Bytes(block, 0x22)});
  image.trailer_offset = 0xa00 + block;
  return image;
}

Image of(const images::SparseVhd &image)
{
  return Image::from_bytes(image.build());
}

} // namespace

#define OPENED(chain) ASSERT_NE((chain).engine, nullptr) << (chain).error.text

TEST(VhdLayer, EmptyDynamicReadsAsZeros)
{
  Chain chain({dynamic()}, false);

  OPENED(chain);
  EXPECT_EQ(vd_engine_size(chain.engine), size);
  EXPECT_EQ(vd_engine_block_size(chain.engine), block);
  EXPECT_EQ(chain.all(), Bytes(size));
  EXPECT_EQ(chain.sim.count(VD_IO_READ), 0u);
}

TEST(VhdLayer, IdentityAndParent)
{
  std::vector<Image> files = child();
  Chain chain(files, false);

  OPENED(chain);
  EXPECT_EQ(chain.leaf->identity[3], 7);
  EXPECT_EQ(chain.leaf->parent_id[3], 8);
  EXPECT_EQ(chain.leaf->parent_id2[3], 0);
  EXPECT_TRUE(chain.leaf->has_parent);
  Chain orphan({files[0]}, false);
  EXPECT_EQ(orphan.engine, nullptr);
  EXPECT_EQ(orphan.error.code, VIRTDISK_ERROR_VHD_PARENT_VHD_NOT_FOUND);
  Chain stranger({files[0], create(VIRTDISK_SUBTYPE_DYNAMIC, size, 512 << 10, 9)}, false);
  EXPECT_EQ(stranger.error.code, VIRTDISK_ERROR_VHD_CHILD_PARENT_ID_MISMATCH);
}

TEST(VhdLayer, FixedIsWrittenInPlace)
{
  Chain chain({create(VIRTDISK_SUBTYPE_FIXED, 3 * mib)}, true);

  OPENED(chain);
  EXPECT_EQ(chain.write(mib + 512, 1024, 0x5a), 0);
  EXPECT_TRUE(chain.holds(mib + 512, 1024, 0x5a));
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  EXPECT_EQ(chain.sim.count(VD_IO_WRITE), 1u);
  EXPECT_EQ(chain.image().read(mib + 512, 1024), Bytes(1024, 0x5a));
  EXPECT_EQ(chain.image().size(), 3 * mib + 512);
}

TEST(VhdLayer, WhatWasWrittenIsThereInTheNextSession)
{
  Chain first({dynamic()}, true);

  OPENED(first);
  EXPECT_EQ(first.write(block - 4096, 8192, 0x33), 0);
  EXPECT_EQ(first.write(size - 512, 512, 0x44), 0);
  EXPECT_TRUE(first.holds(block - 4096, 8192, 0x33));
  EXPECT_TRUE(first.holds(0, block - 4096, 0));
  EXPECT_EQ(vd_engine_close(first.engine), 0);
  Structure structure(first.image());
  EXPECT_TRUE(structure.clean()) << structure.error.text;
  EXPECT_EQ(structure.use.allocated, 3u);
  Chain second({first.image()}, false);
  OPENED(second);
  EXPECT_EQ(second.all(), first.all());
}

TEST(VhdLayer, ASessionWithoutAWriteChangesNothing)
{
  Chain chain({dynamic()}, true);

  OPENED(chain);
  EXPECT_TRUE(chain.holds(0, 4096, 0));
  EXPECT_EQ(chain.flush(), 0);
  EXPECT_EQ(chain.run(VD_OP_DISCARD, 0, size), 0);
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  EXPECT_EQ(chain.sim.count(VD_IO_WRITE) + chain.sim.count(VD_IO_TRUNCATE), 0u);
}

// 2.7, 2.8 of the format: data at multiples of 4096, the trailer where the next block goes.
TEST(VhdLayer, GrowsAlignedAndClosesTight)
{
  Chain chain({dynamic()}, true);

  OPENED(chain);
  uint64_t before = chain.image().size();
  EXPECT_EQ(chain.write(0, 512, 1), 0);
  EXPECT_GE(chain.image().size(), before + 32 * mib) << "by a step, not by a block";
  Structure growing(chain.image());
  EXPECT_TRUE(growing.clean()) << growing.error.text;
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  EXPECT_EQ(chain.image().size(), before + block + 4096);
  Structure closed(chain.image());
  ASSERT_TRUE(closed.clean()) << closed.error.text;
  EXPECT_EQ(uint64_t{closed.entry(0)} * 512, before - 512) << "over the old trailer";
  EXPECT_EQ((closed.entry(0) + 1) % 8, 0u);
  EXPECT_EQ(chain.image().read(before - 512, 512), Bytes(512, 0xff)) << "all bits of a dynamic image's block";
}

TEST(VhdLayer, BlocksThatAreReadyCostNoFlush)
{
  Chain chain({dynamic()}, true);

  OPENED(chain);
  EXPECT_EQ(chain.write(0, 512, 1), 0);
  uint64_t flushes = chain.sim.count(VD_IO_FLUSH), writes = chain.sim.count(VD_IO_WRITE);
  EXPECT_EQ(chain.write(block, 512, 2), 0);
  EXPECT_EQ(chain.sim.count(VD_IO_FLUSH), flushes);
  EXPECT_EQ(chain.sim.count(VD_IO_WRITE), writes + 2) << "the payload, and a sector of the table";
}

TEST(VhdLayer, ABatchWritesASectorOfTheTableOnce)
{
  Chain chain({dynamic()}, true);
  std::vector<std::unique_ptr<Chain::Request>> requests;

  OPENED(chain);
  EXPECT_EQ(chain.write(0, 512, 1), 0);
  uint64_t writes = chain.sim.count(VD_IO_WRITE);
  for (uint64_t i = 1; i < 16; i++) {
    requests.push_back(std::make_unique<Chain::Request>(VD_OP_WRITE, i * block, 512));
    chain.submit(*requests.back());
  }
  for (auto &request : requests)
    EXPECT_EQ(chain.wait(*request), 0);
  EXPECT_EQ(chain.sim.count(VD_IO_WRITE), writes + 15 + 1);
}

TEST(VhdLayer, ManyWritesToOneNewBlock)
{
  for (uint64_t seed : {0, 1, 2, 3}) {
    Chain chain({dynamic()}, true, {.seed = seed});
    std::vector<std::unique_ptr<Chain::Request>> requests;

    OPENED(chain);
    for (uint64_t i = 0; i < 32; i++) {
      requests.push_back(std::make_unique<Chain::Request>(VD_OP_WRITE, i * 4096, 4096));
      memset(requests.back()->memory, static_cast<int>(i + 1), 4096);
      chain.submit(*requests.back());
    }
    for (auto &request : requests)
      EXPECT_EQ(chain.wait(*request), 0);
    for (uint64_t i = 0; i < 32; i++)
      EXPECT_TRUE(chain.holds(i * 4096, 4096, static_cast<uint8_t>(i + 1)));
    EXPECT_EQ(vd_engine_close(chain.engine), 0);
    EXPECT_EQ(Structure(chain.image()).use.allocated, 1u);
    EXPECT_EQ(chain.sim.changed_in_flight(), 0u);
  }
}

TEST(VhdLayer, ForeignStyleAndForeignFieldsAreKept)
{
  images::SparseVhd foreign_image = foreign(3);
  Chain chain({of(foreign_image)}, true);

  OPENED(chain);
  EXPECT_TRUE(chain.holds(block, block, 0x22));
  EXPECT_EQ(chain.write(0, 512, 1), 0);
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  Structure structure(chain.image());
  ASSERT_TRUE(structure.clean()) << structure.error.text;
  EXPECT_EQ(uint64_t{structure.entry(0)} * 512, 0xa00 + block) << "where the trailer was, unaligned";
  EXPECT_EQ(chain.image().read(chain.image().size() - 512, 512), foreign_image.footer.build());
}

TEST(VhdLayer, ABitmapOfADynamicImageIsNotBelieved)
{
  images::SparseVhd image = foreign(3);

  image.pieces[0].second = Bytes(512, 0);
  Chain chain({of(image)}, false);
  OPENED(chain);
  EXPECT_TRUE(chain.holds(block, block, 0x22));
}

TEST(VhdLayer, LargeBlocks)
{
  images::SparseVhd image(3);

  image.footer.current_size = 64 * mib;
  image.header.block_size = 32 << 20; // a bitmap of 8 KiB
  image.trailer_offset = 0x1000;
  Chain chain({of(image)}, true);
  OPENED(chain);
  EXPECT_EQ(chain.write(40 * mib, mib, 0x77), 0);
  EXPECT_TRUE(chain.holds(40 * mib, mib, 0x77));
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  Structure structure(chain.image());
  ASSERT_TRUE(structure.clean()) << structure.error.text;
  EXPECT_EQ((uint64_t{structure.entry(1)} * 512 + 8192) % 4096, 0u);
  EXPECT_EQ(chain.image().read(uint64_t{structure.entry(1)} * 512 + 8192 + 8 * mib, mib), Bytes(mib, 0x77));
}

TEST(VhdLayer, SmallBlocks)
{
  images::SparseVhd image(3);

  image.footer.current_size = 64 * kib;
  image.header.block_size = 4 << 10;
  image.header.max_entries = 16;
  image.table = std::vector<uint32_t>(16, UINT32_MAX);
  Chain chain({of(image)}, true);
  OPENED(chain);
  EXPECT_EQ(chain.write(0, 64 * kib, 0x66), 0);
  EXPECT_TRUE(chain.holds(0, 64 * kib, 0x66));
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  Structure structure(chain.image());
  ASSERT_TRUE(structure.clean()) << structure.error.text;
  EXPECT_EQ(structure.use.allocated, 16u);
}

// The parent shows through wherever the child has no bit.
TEST(VhdLayer, ChildOverItsParent)
{
  std::vector<Image> files = child();
  Chain chain(files, true);

  OPENED(chain);
  EXPECT_TRUE(chain.holds(mib, 2 * mib, 0x11));
  EXPECT_EQ(chain.write(mib + 4096, 512, 0x99), 0);
  EXPECT_EQ(chain.write(mib + 8192, 4096, 0x98), 0);
  EXPECT_EQ(chain.write(4 * mib, 1536, 0x97), 0);
  auto check = [](Chain &one) {
    EXPECT_TRUE(one.holds(mib, 4096, 0x11));
    EXPECT_TRUE(one.holds(mib + 4096, 512, 0x99));
    EXPECT_TRUE(one.holds(mib + 4608, 3584, 0x11));
    EXPECT_TRUE(one.holds(mib + 8192, 4096, 0x98));
    EXPECT_TRUE(one.holds(mib + 12288, 2 * mib - 12288, 0x11));
    EXPECT_TRUE(one.holds(4 * mib, 1536, 0x97));
    EXPECT_TRUE(one.holds(4 * mib + 1536, mib, 0));
  };
  check(chain);
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  Structure structure(chain.image());
  ASSERT_TRUE(structure.clean()) << structure.error.text;
  EXPECT_EQ(structure.use.allocated, 2u);
  Bytes bitmap = chain.image().read(uint64_t{structure.entry(2)} * 512, 512);
  Bytes expected(512);
  expected[1] = 0x80;
  expected[2] = 0xff;
  EXPECT_EQ(bitmap, expected) << "the first sector is the highest bit";
  Chain again({chain.image(), files[1]}, false);
  OPENED(again);
  check(again);
}

TEST(VhdLayer, OverwritesInAChildNeedNoUpdate)
{
  Chain chain(child(), true);

  OPENED(chain);
  EXPECT_EQ(chain.write(0, 8192, 1), 0);
  uint64_t updates = vd_engine_counters(chain.engine).updates;
  uint64_t flushes = chain.sim.count(VD_IO_FLUSH);
  EXPECT_EQ(chain.write(512, 4096, 2), 0);
  EXPECT_EQ(vd_engine_counters(chain.engine).updates, updates);
  EXPECT_EQ(chain.sim.count(VD_IO_FLUSH), flushes);
  EXPECT_TRUE(chain.holds(512, 4096, 2));
  EXPECT_EQ(chain.write(4096, 8192, 3), 0) << "half of it is there";
  EXPECT_EQ(vd_engine_counters(chain.engine).updates, updates + 1);
  EXPECT_TRUE(chain.holds(4096, 8192, 3));
}

TEST(VhdLayer, ZerosInAChildHideTheParent)
{
  std::vector<Image> files = child();
  Chain chain(files, true);

  OPENED(chain);
  EXPECT_EQ(vd_engine_discard_granularity(chain.engine), 0u);
  EXPECT_EQ(chain.run(VD_OP_WRITE_ZEROES, mib, block), 0);
  EXPECT_TRUE(chain.holds(mib, block, 0));
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  Chain again({chain.image(), files[1]}, false);
  EXPECT_TRUE(again.holds(mib, block, 0));
}

TEST(VhdLayer, BlocksOfParentAndChildMayDiffer)
{
  std::vector<Image> files = child(); // 2 MiB under 512 KiB
  Chain chain(files, true);

  OPENED(chain);
  EXPECT_EQ(chain.write(2 * mib - 512, 1024, 5), 0);
  EXPECT_TRUE(chain.holds(2 * mib - 1024, 512, 0x11));
  EXPECT_TRUE(chain.holds(2 * mib - 512, 1024, 5));
  EXPECT_TRUE(chain.holds(2 * mib + 512, mib - 512, 0x11));
}

// A bitmap of more than one sector: a range is cut where the next one begins.
TEST(VhdLayer, ChildInLargeBlocks)
{
  images::SparseVhd leaf(4);

  leaf.footer.current_size = size;
  leaf.header.block_size = 8 << 20;
  leaf.header.max_entries = 1;
  leaf.table = {UINT32_MAX};
  leaf.header.parent_id.fill(8);
  Chain chain({of(leaf), child()[1]}, true);
  OPENED(chain);
  EXPECT_EQ(chain.write(2 * mib - 4096, 8192, 6), 0);
  EXPECT_TRUE(chain.holds(2 * mib - 8192, 4096, 0x11));
  EXPECT_TRUE(chain.holds(2 * mib - 4096, 8192, 6));
  EXPECT_TRUE(chain.holds(2 * mib + 4096, 4096, 0x11));
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  Structure structure(chain.image());
  ASSERT_TRUE(structure.clean()) << structure.error.text;
  Chain again({chain.image(), child()[1]}, false);
  EXPECT_EQ(again.all(), chain.all());
}

TEST(VhdLayer, DiscardGivesSpaceBackForTheNextBlock)
{
  Chain chain({dynamic()}, true);

  OPENED(chain);
  EXPECT_EQ(vd_engine_discard_granularity(chain.engine), block);
  EXPECT_EQ(chain.write(0, size, 0x55), 0);
  EXPECT_EQ(chain.run(VD_OP_DISCARD, block, 4 * block), 0);
  EXPECT_TRUE(chain.holds(block, 4 * block, 0));
  EXPECT_TRUE(chain.holds(0, block, 0x55));
  EXPECT_TRUE(chain.holds(5 * block, block, 0x55));
  EXPECT_EQ(chain.sim.count(VD_IO_PUNCH), 4u);
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  Structure structure(chain.image());
  ASSERT_TRUE(structure.clean()) << structure.error.text;
  EXPECT_EQ(structure.use.allocated, 12u);
}

// Until then a power cut leaves the block, with a bitmap that others believe.
TEST(VhdLayer, SpaceBecomesAHoleOnlyWhenTheTableIsDurable)
{
  Chain chain({dynamic()}, true);
  OPENED(chain);
  EXPECT_EQ(chain.write(0, 4096, 1), 0);
  EXPECT_EQ(chain.flush(), 0);
  chain.sim.run_until_quiet();
  chain.sim.hold = [](const VdIoOp &op) { return op.kind == VD_IO_FLUSH; };
  Chain::Request discard(VD_OP_DISCARD, 0, block);
  chain.submit(discard);
  chain.sim.run_until_quiet();
  EXPECT_FALSE(discard.finished);
  EXPECT_EQ(chain.sim.count(VD_IO_PUNCH), 0u);
  chain.sim.hold = nullptr;
  EXPECT_EQ(chain.wait(discard), 0);
  EXPECT_EQ(chain.sim.count(VD_IO_PUNCH), 1u);
}

TEST(VhdLayer, FreedSpaceIsZeroWhenItIsUsedAgain)
{
  images::SparseVhd image(3);

  image.footer.current_size = 256 * mib;
  image.header.block_size = 64 << 20; // one block for each step of growth
  image.header.max_entries = 4;
  image.trailer_offset = 0x1000;
  image.table = std::vector<uint32_t>(4, UINT32_MAX);
  Chain chain({of(image)}, true);
  OPENED(chain);
  EXPECT_EQ(chain.write(0, 2 * mib, 0x55), 0);
  EXPECT_EQ(chain.run(VD_OP_DISCARD, 0, 64 * mib), 0);
  EXPECT_EQ(chain.write(128 * mib + mib, 4096, 0x44), 0);
  EXPECT_TRUE(chain.holds(128 * mib, mib, 0));
  EXPECT_TRUE(chain.holds(128 * mib + mib, 4096, 0x44));
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  Structure structure(chain.image());
  ASSERT_TRUE(structure.clean()) << structure.error.text;
  EXPECT_EQ(uint64_t{structure.entry(2)} * 512 + 16384, 4096u * 5) << "where the first block was";
}

TEST(VhdLayer, WithoutHolesFreedSpaceIsNotUsedAgain)
{
  Chain chain({dynamic()}, true);

  OPENED(chain);
  EXPECT_EQ(chain.write(0, block, 0x55), 0);
  uint32_t before = Structure(chain.image()).entry(0);
  chain.sim.fail(0, EOPNOTSUPP, VD_IO_PUNCH, true);
  EXPECT_EQ(chain.run(VD_OP_DISCARD, 0, size), 0);
  EXPECT_TRUE(chain.holds(0, block, 0));
  EXPECT_EQ(chain.write(0, 512, 0x66), 0);
  EXPECT_TRUE(chain.holds(512, block - 512, 0));
  EXPECT_NE(Structure(chain.image()).entry(0), before);
}

TEST(VhdLayer, DiscardThatCannotBeRecorded)
{
  Chain chain({dynamic()}, true);

  OPENED(chain);
  EXPECT_EQ(chain.write(0, 2 * block, 0x55), 0);
  chain.sim.fail(0, EIO, VD_IO_WRITE);
  EXPECT_EQ(chain.run(VD_OP_DISCARD, 0, block), -EIO);
  EXPECT_TRUE(chain.holds(0, 2 * block, 0x55));
  EXPECT_EQ(chain.run(VD_OP_DISCARD, 0, block), 0);
  EXPECT_TRUE(chain.holds(0, block, 0));
  EXPECT_TRUE(chain.holds(block, block, 0x55));
}

// The table in the file may say that the block is gone; what is written there now must not be lost by that.
TEST(VhdLayer, DiscardThatCannotBeTakenBackEither)
{
  Chain chain({dynamic()}, true);

  OPENED(chain);
  EXPECT_EQ(chain.write(0, block, 0x55), 0);
  chain.sim.fail(0, EIO, VD_IO_FLUSH);
  chain.sim.fail(1, EIO, VD_IO_WRITE);
  EXPECT_EQ(chain.run(VD_OP_DISCARD, 0, block), -EIO);
  EXPECT_EQ(Structure(chain.image()).entry(0), UINT32_MAX);
  EXPECT_TRUE(chain.holds(0, block, 0x55)) << "in memory it is there";
  EXPECT_EQ(chain.write(4096, 512, 0x56), 0);
  EXPECT_NE(Structure(chain.image()).entry(0), UINT32_MAX) << "written again";
  uint64_t updates = vd_engine_counters(chain.engine).updates;
  EXPECT_EQ(chain.write(8192, 512, 0x57), 0);
  EXPECT_EQ(vd_engine_counters(chain.engine).updates, updates);
}

TEST(VhdLayer, PayloadThatCannotBeWritten)
{
  Chain chain({dynamic()}, true);

  OPENED(chain);
  EXPECT_EQ(chain.write(0, 512, 1), 0);
  chain.sim.fail(0, ENOSPC, VD_IO_WRITE);
  EXPECT_EQ(chain.write(block, 4096, 2), -ENOSPC);
  EXPECT_TRUE(chain.holds(block, block, 0));
  EXPECT_EQ(chain.write(block, 4096, 3), 0);
  EXPECT_TRUE(chain.holds(block, 4096, 3));
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  Structure structure(chain.image());
  EXPECT_TRUE(structure.clean()) << structure.error.text;
}

// A write that failed is neither there nor comes back after others have been through.
TEST(VhdLayer, WhatFailedDoesNotComeBack)
{
  for (uint64_t nth : {0, 1}) {
    Chain chain({dynamic()}, true);

    OPENED(chain);
    EXPECT_EQ(chain.write(0, 512, 1), 0);
    chain.sim.fail(nth, EIO, VD_IO_WRITE); // the payload, or the table
    EXPECT_EQ(chain.write(block, 64 * kib, 2), -EIO);
    EXPECT_EQ(chain.run(VD_OP_WRITE_ZEROES, block, block), 0);
    for (uint64_t i = 2; i < 16; i++)
      EXPECT_EQ(chain.write(i * block + 128 * kib, 512, 3), 0);
    EXPECT_EQ(chain.write(block + 128 * kib, 512, 3), 0);
    for (uint64_t i = 1; i < 16; i++)
      EXPECT_TRUE(chain.holds(i * block, 128 * kib, 0)) << nth << ", block " << i;
  }
}

TEST(VhdLayer, TableThatCannotBeWritten)
{
  for (int error : {EIO, ENOSPC}) {
    Chain chain({dynamic()}, true);

    OPENED(chain);
    EXPECT_EQ(chain.write(0, 512, 1), 0);
    chain.sim.fail(1, error, VD_IO_WRITE);
    EXPECT_EQ(chain.write(block, 4096, 2), -error);
    EXPECT_TRUE(chain.holds(block, block, 0));
    EXPECT_EQ(Structure(chain.image()).use.allocated, 1u);
    EXPECT_EQ(chain.write(2 * block, 4096, 3), 0);
    EXPECT_EQ(chain.write(block, 4096, 4), 0);
    EXPECT_TRUE(chain.holds(block, 4096, 4));
    EXPECT_TRUE(chain.holds(2 * block, 4096, 3));
    EXPECT_EQ(vd_engine_close(chain.engine), 0);
    EXPECT_EQ(Structure(chain.image()).use.allocated, 3u);
  }
}

TEST(VhdLayer, BitmapThatCannotBeWritten)
{
  Chain chain(child(), true);

  OPENED(chain);
  EXPECT_EQ(chain.write(mib, 512, 1), 0);
  chain.sim.fail(1, EIO, VD_IO_WRITE);
  EXPECT_EQ(chain.write(mib + 4096, 512, 2), -EIO);
  EXPECT_TRUE(chain.holds(mib + 4096, 512, 0x11)) << "the parent still shows";
  EXPECT_EQ(chain.write(mib + 4096, 512, 3), 0);
  EXPECT_TRUE(chain.holds(mib + 4096, 512, 3));
  chain.sim.fail(1, EIO, VD_IO_WRITE); // of a new block
  EXPECT_EQ(chain.write(2 * mib, 512, 4), -EIO);
  EXPECT_TRUE(chain.holds(2 * mib, 512, 0x11));
  EXPECT_EQ(chain.write(2 * mib + 512, 512, 5), 0);
  EXPECT_TRUE(chain.holds(2 * mib, 512, 0x11)) << "bits of a write that failed do not come to light";
  EXPECT_TRUE(chain.holds(2 * mib + 512, 512, 5));
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  EXPECT_TRUE(Structure(chain.image()).clean());
}

TEST(VhdLayer, NoSpaceToGrowThenSpace)
{
  Chain chain({dynamic()}, true);
  Image before = chain.image();

  OPENED(chain);
  chain.sim.fail(0, ENOSPC, VD_IO_WRITE, true);
  EXPECT_EQ(chain.write(0, 512, 1), -ENOSPC);
  EXPECT_EQ(chain.write(0, 2 * mib, 1), -ENOSPC);
  EXPECT_EQ(chain.all(), Bytes(size));
  EXPECT_EQ(chain.image().size(), before.size());
  chain.sim.clear_faults();
  EXPECT_EQ(chain.write(0, 512, 1), 0);
  EXPECT_TRUE(chain.holds(0, 512, 1));
}

// Whatever fails, once: the error is told, the image stays intact, and afterwards all works; after a flush
// that failed, when the image was opened anew.
TEST(VhdLayer, AFailureAtEveryOperation)
{
  auto all_works = [](Chain &chain, uint64_t nth) {
    EXPECT_EQ(chain.write(mib, 2 * mib, 0x31), 0) << nth;
    EXPECT_EQ(chain.write(6 * mib + 512, 4096, 0x32), 0) << nth;
    EXPECT_TRUE(chain.holds(mib, 2 * mib, 0x31)) << nth;
    EXPECT_TRUE(chain.holds(6 * mib + 512, 4096, 0x32)) << nth;
    EXPECT_TRUE(chain.holds(6 * mib, 512, 0)) << nth;
    EXPECT_EQ(vd_engine_close(chain.engine), 0) << nth;
    Structure structure(chain.image());
    EXPECT_TRUE(structure.clean()) << nth << ": " << structure.error.text;
  };

  for (bool differencing : {false, true}) {
    std::vector<Image> files = differencing ? child() : std::vector<Image>{dynamic()};
    unsigned failures = 0;

    for (uint64_t nth = 0; nth < 60; nth++) {
      Chain chain(files, true);
      OPENED(chain);
      chain.sim.fail(nth, nth % 2 ? EIO : ENOSPC);
      int first = chain.write(mib, 2 * mib, 0x21);
      int second = chain.write(6 * mib + 512, 4096, 0x22);
      int third = chain.run(VD_OP_WRITE_ZEROES, 2 * mib, mib);
      failures += first != 0 || second != 0 || third != 0;
      chain.sim.clear_faults();
      if (chain.flush() == 0) {
        all_works(chain, nth);
        continue;
      }
      std::vector<Image> left = files;
      left[0] = chain.image();
      Chain again(left, true);
      OPENED(again);
      all_works(again, nth);
    }
    EXPECT_GT(failures, 10u);
  }
}

TEST(VhdLayer, FailuresWhileItIsClosedLoseNothing)
{
  for (uint64_t nth = 0; nth < 7; nth++) {
    Chain chain({dynamic()}, true);
    OPENED(chain);
    EXPECT_EQ(chain.write(0, 4096, 7), 0);
    EXPECT_EQ(chain.flush(), 0);
    chain.sim.fail(nth, EIO);
    int result = vd_engine_close(chain.engine);
    EXPECT_EQ(result, nth < 5 ? -EIO : 0) << nth;
    Chain again({chain.image()}, true);
    OPENED(again);
    EXPECT_TRUE(again.holds(0, 4096, 7));
  }
}

TEST(VhdLayer, LostTrailerIsMendedByAWriter)
{
  images::SparseVhd image = foreign(3);

  image.end = images::SparseVhd::MISSING;
  Chain reader({of(image)}, false);
  OPENED(reader);
  EXPECT_TRUE(reader.holds(block, block, 0x22));
  EXPECT_EQ(reader.image().size(), image.trailer_offset) << "a reader changes nothing";
  Chain writer({of(image)}, true);
  OPENED(writer);
  EXPECT_EQ(writer.image().size(), image.trailer_offset + 512);
  EXPECT_TRUE(Structure(writer.image()).clean());
  EXPECT_TRUE(writer.holds(block, block, 0x22));
}

TEST(VhdLayer, LastBlockCutShort)
{
  images::SparseVhd image = foreign(3);
  Bytes bytes = image.build();

  bytes.resize(0xa00 + 4096 + 100);
  Chain reader({Image::from_bytes(bytes)}, false);
  OPENED(reader);
  EXPECT_TRUE(reader.holds(block, 4096, 0x22));
  EXPECT_TRUE(reader.holds(block + 4096, block - 4096, 0));
  Chain writer({Image::from_bytes(bytes)}, true);
  OPENED(writer);
  EXPECT_TRUE(writer.holds(block, 4096 + 100 - 100, 0x22));
  EXPECT_TRUE(writer.holds(block + 4608, block - 4608, 0));
  EXPECT_EQ(writer.image().size(), 0xa00 + block + 512);
}

TEST(VhdLayer, TrailerOf511BytesIsMadeWhole)
{
  images::SparseVhd image = foreign(3);

  image.end = images::SparseVhd::SHORT;
  Chain reader({of(image)}, false);
  OPENED(reader);
  EXPECT_EQ(reader.image().size() % 512, 511u);
  Chain writer({of(image)}, true);
  OPENED(writer);
  EXPECT_EQ(writer.image().size(), image.trailer_offset + 512);
  EXPECT_TRUE(Structure(writer.image()).clean());
  Chain fixed({Image::from_bytes(images::joined(Bytes(mib), images::VhdFooter().build_short()))}, true);
  OPENED(fixed);
  EXPECT_EQ(fixed.image().size(), mib + 512);
}

TEST(VhdLayer, TrailerAtAnUnevenPlace)
{
  images::SparseVhd image = foreign(3);

  image.trailer_offset += 100;
  Chain writer({of(image)}, true);
  OPENED(writer);
  EXPECT_EQ(writer.image().size(), 0xa00 + block + 512);
  EXPECT_TRUE(Structure(writer.image()).clean());
  EXPECT_TRUE(writer.holds(block, block, 0x22));
}

TEST(VhdLayer, StaleFrontCopyIsMended)
{
  images::SparseVhd image = foreign(3);

  image.front = image.footer;
  image.front->checksum = 5;
  Chain writer({of(image)}, true);
  OPENED(writer);
  EXPECT_TRUE(Structure(writer.image()).clean());
  EXPECT_EQ(writer.image().read(0, 512), image.footer.build());
}

// What a session that was killed had taken is given back by the next, and is zeros again.
TEST(VhdLayer, SpaceOfASessionThatWasCutOff)
{
  Chain killed({dynamic()}, true);
  Image fresh = killed.image();

  OPENED(killed);
  EXPECT_EQ(killed.write(0, 4096, 1), 0);
  Chain next({killed.image()}, true);
  OPENED(next);
  EXPECT_EQ(next.image().size(), fresh.size() + block + 4096);
  EXPECT_TRUE(next.holds(0, 4096, 1));
  EXPECT_EQ(next.write(block, 512, 2), 0);
  EXPECT_TRUE(next.holds(block + 512, block - 512, 0));
}

TEST(VhdLayer, SavedStateIsNeverChanged)
{
  images::SparseVhd image = foreign(3);

  image.footer.saved_state = 1;
  Chain chain({of(image)}, true);
  OPENED(chain);
  EXPECT_EQ(chain.write(0, 512, 1), 0);
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  EXPECT_EQ(chain.image().read(chain.image().size() - 512, 512), image.footer.build());
}

TEST(VhdLayer, DirectIoIsAlignedToSectors)
{
  std::vector<Image> files = child();
  Chain chain(files, true, {.alignment = 512});

  OPENED(chain);
  EXPECT_EQ(chain.write(mib, 4096, 1), 0);
  EXPECT_TRUE(chain.holds(mib, 4096, 1));
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  EXPECT_TRUE(Structure(chain.image()).clean());
}

TEST(VhdLayer, TablesThatLieAreRefused)
{
  struct {
    const char *name;
    std::vector<uint32_t> table;
    uint64_t offset;
  } cases[] = {
      {"overlap", {0x800 / 512 + 1, 0x800 / 512}, 0x600},
      {"twice", {0x800 / 512, 0x800 / 512}, 0x604},
      {"front footer", {0, 0x800 / 512}, 0x600},
      {"header", {1, 0x800 / 512}, 0x600},
      {"table", {3, 0x800 / 512}, 0x600},
      {"trailer", {(0xa00 + block) / 512, 0x800 / 512}, 0x600},
      {"outside", {0x7fffffff, 0x800 / 512}, 0x600},
  };

  for (const auto &one : cases)
    for (bool writable : {false, true}) {
      images::SparseVhd image = foreign(3);

      image.table = one.table;
      Chain chain({of(image)}, writable);
      EXPECT_EQ(chain.engine, nullptr) << one.name;
      EXPECT_EQ(chain.error.code, VIRTDISK_ERROR_VHD_BLOCK_ALLOCATION_TABLE_CORRUPT) << chain.error.text;
      EXPECT_STREQ(chain.error.field, "block_allocation_table");
      EXPECT_EQ(chain.error.offset, one.offset) << chain.error.text;
      EXPECT_EQ(chain.sim.count(VD_IO_WRITE), 0u);
    }
}

// An entry of the table that was taken back is gone before the trailer comes to where its block would be: the
// trailer's bytes are no bitmap.
TEST(VhdLayer, APowerCutWhileItIsClosedBringsNoBlockBack)
{
  constexpr uint64_t child_block = 512 << 10, size = 300 * child_block;
  Chain parent({create(VIRTDISK_SUBTYPE_DYNAMIC, size, child_block, 8, 9)}, true);
  OPENED(parent);
  ASSERT_EQ(parent.write(200 * child_block, child_block, 9), 0);
  ASSERT_EQ(vd_engine_close(parent.engine), 0);
  Chain chain({create(VIRTDISK_SUBTYPE_DIFFERENCING, size, child_block, 7, 8), parent.image()}, true);
  OPENED(chain);
  Chain::Request first(VD_OP_WRITE, 200 * child_block, 512), second(VD_OP_WRITE, child_block, 512);

  ASSERT_EQ(chain.write(0, 512, 1), 0);
  memset(first.memory, 2, 512);
  memset(second.memory, 3, 512);
  chain.sim.fail(5, EIO, VD_IO_WRITE);
  chain.submit(first);
  chain.submit(second);
  EXPECT_EQ(chain.wait(first), -EIO);
  EXPECT_EQ(chain.wait(second), -EIO);
  size_t begin = chain.sim.log().size();
  ASSERT_EQ(vd_engine_close(chain.engine), 0);
  chain.sim.for_each_cut(
      {.choices = 30, .first_position = begin}, [&](const vd_sim::Cut &cut, std::vector<Image> &images) {
        Chain after(images, false);

        if (HasFailure())
          return;
        OPENED(after);
        EXPECT_TRUE(after.holds(200 * child_block + 512, child_block - 512, 9)) << vd_sim::describe(cut);
      });
}
