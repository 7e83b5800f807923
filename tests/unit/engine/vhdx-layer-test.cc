// SPDX-License-Identifier: LGPL-2.1-or-later
// One VHDX through the engine: what each kind of write does to the map and to the file.
#include "vhdx-rig.hh"

using namespace vhdx;

namespace
{

constexpr uint64_t mib = 1 << 20;

uint64_t entry_of(const Image &image, uint64_t index)
{
  VdVhdx vhdx = read_structure(image);
  std::vector<uint8_t> bytes = image.read(vhdx.bat.offset + index * 8, 8);
  uint64_t entry = 0;

  for (unsigned i = 0; i < 8; i++)
    entry |= static_cast<uint64_t>(bytes[i]) << (8 * i);
  return entry;
}

std::vector<uint8_t> pattern(uint64_t length, uint8_t seed)
{
  std::vector<uint8_t> bytes(length);

  for (uint64_t i = 0; i < length; i++)
    bytes[i] = static_cast<uint8_t>(seed + i / 512 + i * 7);
  return bytes;
}

} // namespace

TEST(VhdxLayer, EmptyReadsAsZeros)
{
  Image image = create({});
  Chain chain({image}, false);

  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  EXPECT_EQ(vd_engine_size(chain.engine), 48 * mib);
  EXPECT_EQ(difference(chain.all(), std::vector<uint8_t>(48 * mib)), "");
}

TEST(VhdxLayer, ASessionWithoutAChangeWritesNothing)
{
  Image image = create({});
  Chain chain({image}, true);

  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  chain.read(0, 4096);
  EXPECT_EQ(chain.flush(), 0);
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  EXPECT_EQ(chain.sim.count(VD_IO_WRITE) + chain.sim.count(VD_IO_TRUNCATE), 0u);
}

// A log to replay, and space that was taken ahead.
TEST(VhdxLayer, TheEndThatAKilledSessionLeftIsCutByTheNextThoughItWritesNothing)
{
  Chain killed({create({})}, true);
  ASSERT_NE(killed.engine, nullptr) << killed.error.text;
  EXPECT_EQ(killed.fill(5 * mib, 4096, 1), 0);
  Image left = killed.sim.image(0);
  EXPECT_GT(left.size(), 16 * mib);

  Chain next({left}, true);
  ASSERT_NE(next.engine, nullptr) << next.error.text;
  EXPECT_EQ(vd_engine_close(next.engine), 0);
  Image image = next.sim.image(0);
  EXPECT_EQ(faults(image), "");
  EXPECT_EQ(image.size(), 5 * mib);
  EXPECT_EQ(image.read(4 * mib, 1)[0], 1);
}

// The first change of an open file, whatever it is for.
TEST(VhdxLayer, ReplayingTheLogNamesANewFileWriteGuid)
{
  Chain killed({create({})}, true);
  ASSERT_NE(killed.engine, nullptr) << killed.error.text;
  EXPECT_EQ(killed.fill(5 * mib, 4096, 1), 0);
  VdVhdx before = read_structure(killed.sim.image(0));

  Chain next({killed.sim.image(0)}, true);
  ASSERT_NE(next.engine, nullptr) << next.error.text;
  VdVhdx after = read_structure(next.sim.image(0));
  EXPECT_TRUE(vd_vhdx_guid_is_zero(after.header.log_guid));
  EXPECT_NE(memcmp(after.header.file_write_guid, before.header.file_write_guid, 16), 0);
  EXPECT_EQ(memcmp(after.header.data_write_guid, before.header.data_write_guid, 16), 0);
}

// With an empty log: every change of the file needs a new FileWriteGuid, but the disk is as it was.
TEST(VhdxLayer, AnEndThatBelongsToNothingIsCut)
{
  Image image = create({});
  VdVhdx before = read_structure(image);

  image.truncate(40 * mib);
  Chain chain({image}, true);
  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  EXPECT_EQ(chain.sim.image(0).size(), 4 * mib);
  VdVhdx after = read_structure(chain.sim.image(0));
  EXPECT_EQ(faults(chain.sim.image(0)), "");
  EXPECT_EQ(after.header.sequence, before.header.sequence + 1);
  EXPECT_NE(memcmp(after.header.file_write_guid, before.header.file_write_guid, 16), 0);
  EXPECT_EQ(memcmp(after.header.data_write_guid, before.header.data_write_guid, 16), 0);
}

// The block is behind all others, and of a state in which its old content may still be asked for.
TEST(VhdxLayer, SpaceOfABlockThatIsUnmappedIsNotCut)
{
  Image image = create({});
  VdVhdx structure = read_structure(image);
  uint64_t entry = htole64(9 * mib | VD_VHDX_UNMAPPED);

  image.write(structure.bat.offset + 3 * sizeof entry, reinterpret_cast<uint8_t *>(&entry), sizeof entry);
  image.truncate(40 * mib);
  Chain chain({image}, true);
  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  EXPECT_EQ(chain.sim.image(0).size(), 10 * mib);
}

// Nothing of the disk is at stake.
TEST(VhdxLayer, AnEndThatCannotBeCutIsNoError)
{
  for (uint64_t nth = 0; nth < 4; nth++) {
    Image image = create({});

    image.truncate(40 * mib);
    Chain chain({image}, true);
    ASSERT_NE(chain.engine, nullptr) << chain.error.text;
    chain.sim.fail(nth, EIO);
    EXPECT_EQ(vd_engine_close(chain.engine), 0) << "operation " << nth;
    EXPECT_EQ(chain.sim.image(0).size(), nth < 3 ? 40 * mib : 4 * mib) << "operation " << nth;
    EXPECT_EQ(faults(chain.sim.image(0)), "") << "operation " << nth;
  }
}

TEST(VhdxLayer, AWriteIsReadBackAlsoAfterTheImageWasOpenedAgain)
{
  Image image = create({});
  std::vector<uint8_t> bytes = pattern(3 * mib, 1);
  std::vector<uint8_t> should(48 * mib);
  Image left = image;

  std::copy(bytes.begin(), bytes.end(), should.begin() + mib / 2);
  {
    Chain chain({image}, true);

    ASSERT_NE(chain.engine, nullptr) << chain.error.text;
    EXPECT_EQ(chain.write(mib / 2, bytes), 0);
    EXPECT_EQ(difference(chain.all(), should), "");
    EXPECT_EQ(vd_engine_close(chain.engine), 0);
    left = chain.sim.image(0);
  }
  EXPECT_EQ(faults(left), "");
  Chain again({left}, false);
  ASSERT_NE(again.engine, nullptr) << again.error.text;
  EXPECT_EQ(difference(again.all(), should), "");
}

TEST(VhdxLayer, TheFirstWriteNamesANewSessionAndCloseEndsIt)
{
  Image image = create({});
  VdVhdx before = read_structure(image);
  Chain chain({image}, true);

  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  EXPECT_EQ(chain.fill(0, 4096, 1), 0);
  File file(chain.sim.image(0).to_memfd());
  VdReader reader;
  VdVhdxHeader header;
  VdFormatError error;
  ASSERT_TRUE(vd_reader_init(&reader, file.fd(), &error) && vd_vhdx_header_choose(&reader, &header, &error));
  EXPECT_FALSE(vd_vhdx_guid_is_zero(header.log_guid));
  EXPECT_NE(memcmp(header.data_write_guid, before.header.data_write_guid, 16), 0);
  EXPECT_NE(memcmp(header.file_write_guid, before.header.file_write_guid, 16), 0);
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  EXPECT_EQ(faults(chain.sim.image(0)), "");
  VdVhdx after = read_structure(chain.sim.image(0));
  EXPECT_TRUE(vd_vhdx_guid_is_zero(after.header.log_guid));
  EXPECT_EQ(memcmp(after.header.data_write_guid, header.data_write_guid, 16), 0);
  EXPECT_EQ(after.header.sequence, before.header.sequence + 4);
}

TEST(VhdxLayer, ABlockIsAllocatedOnceAndThenWrittenInPlace)
{
  Chain chain({create({})}, true);

  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  EXPECT_EQ(chain.fill(5 * mib, 4096, 1), 0);
  uint64_t entry = entry_of(chain.sim.image(0), 5);
  EXPECT_EQ(entry, 0u) << "the map is in the log, not at home yet";
  uint64_t commits = vd_engine_counters(chain.engine).commits;
  EXPECT_EQ(chain.fill(5 * mib + 8192, 4096, 2), 0);
  EXPECT_EQ(vd_engine_counters(chain.engine).commits, commits);
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  Image image = chain.sim.image(0);
  EXPECT_EQ(entry_of(image, 5), 4 * mib | VD_VHDX_FULLY_PRESENT);
  EXPECT_EQ(image.size(), 5 * mib);
  EXPECT_EQ(image.read(4 * mib + 8192, 1)[0], 2);
}

TEST(VhdxLayer, ADiscardedBlockGivesItsSpaceToTheNext)
{
  Chain chain({create({})}, true);

  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  EXPECT_EQ(chain.write(0, pattern(3 * mib, 3)), 0);
  EXPECT_EQ(chain.discard(mib, mib), 0);
  EXPECT_EQ(difference(chain.read(mib, mib), std::vector<uint8_t>(mib)), "");
  EXPECT_EQ(chain.fill(9 * mib, 512, 9), 0);
  EXPECT_EQ(chain.read(9 * mib + 512, 512), std::vector<uint8_t>(512)) << "the old block shows";
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  Image image = chain.sim.image(0);
  EXPECT_EQ(faults(image), "");
  EXPECT_EQ(entry_of(image, 1), static_cast<uint64_t>(VD_VHDX_ZERO));
  EXPECT_EQ(entry_of(image, 9), 5 * mib | VD_VHDX_FULLY_PRESENT);
  EXPECT_EQ(image.size(), 7 * mib);
}

TEST(VhdxLayer, WithoutHolesOnTheHostFreedSpaceIsNotGivenOut)
{
  Chain chain({create({})}, true);

  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  chain.sim.fail(0, -EOPNOTSUPP, VD_IO_PUNCH, true);
  EXPECT_EQ(chain.write(0, pattern(3 * mib, 3)), 0);
  EXPECT_EQ(chain.discard(mib, mib), 0);
  EXPECT_EQ(chain.fill(9 * mib, 512, 9), 0);
  EXPECT_EQ(chain.read(9 * mib + 512, 512), std::vector<uint8_t>(512));
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  EXPECT_EQ(entry_of(chain.sim.image(0), 9), 7 * mib | VD_VHDX_FULLY_PRESENT);
}

TEST(VhdxLayer, AFixedDiskKeepsItsSpace)
{
  Shape shape;
  shape.subtype = VIRTDISK_SUBTYPE_FIXED;
  shape.size = 8 * mib;
  shape.block_size = 2 * mib;
  Image image = create(shape);
  Chain chain({image}, true);

  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  EXPECT_EQ(chain.write(0, pattern(8 * mib, 5)), 0);
  EXPECT_EQ(chain.discard(0, 2 * mib), 0);
  EXPECT_EQ(chain.zeroes(2 * mib, 2 * mib), 0);
  EXPECT_EQ(difference(chain.read(2 * mib, 2 * mib), std::vector<uint8_t>(2 * mib)), "");
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  EXPECT_EQ(entry_of(chain.sim.image(0), 1), entry_of(image, 1));
  EXPECT_EQ(chain.sim.image(0).size(), image.size());
  EXPECT_EQ(vd_engine_counters(chain.engine).commits, 0u);
}

class VhdxChild : public ::testing::Test
{
protected:
  Shape shape;
  Image parent = Image::of_size(0), child = Image::of_size(0);
  std::vector<uint8_t> should;

  void SetUp() override
  {
    shape.size = 12 * mib;
    shape.block_size = 2 * mib;
    should = pattern(shape.size, 11);
    Chain chain({create(shape)}, true);
    ASSERT_NE(chain.engine, nullptr) << chain.error.text;
    ASSERT_EQ(chain.write(0, should), 0);
    ASSERT_EQ(vd_engine_close(chain.engine), 0);
    parent = chain.sim.image(0);
    shape.subtype = VIRTDISK_SUBTYPE_DIFFERENCING;
    child = create(shape, &parent);
  }
  void write(Chain &chain, uint64_t offset, uint64_t length, uint8_t byte)
  {
    EXPECT_EQ(chain.fill(offset, length, byte), 0);
    std::fill_n(should.begin() + static_cast<long>(offset), length, byte);
  }
  // Closes, opens again, compares both times.
  Image compare(Chain &chain)
  {
    EXPECT_EQ(difference(chain.all(), should), "");
    EXPECT_EQ(vd_engine_close(chain.engine), 0);
    Image image = chain.sim.image(0);
    EXPECT_EQ(faults(image), "");
    Chain again({image, parent}, false);
    EXPECT_NE(again.engine, nullptr) << again.error.text;
    EXPECT_EQ(difference(again.engine ? again.all() : std::vector<uint8_t>(), should), "");
    return image;
  }
};

TEST_F(VhdxChild, ShowsItsParentAndKeepsWhatIsWrittenBySector)
{
  Chain chain({child, parent}, true);

  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  EXPECT_EQ(difference(chain.all(), should), "");
  write(chain, 3 * mib + 512, 1024, 0xAA);
  write(chain, 2 * mib, 512, 0xBB);
  Image image = compare(chain);
  VdVhdx vhdx = read_structure(image);
  EXPECT_EQ(vd_vhdx_bat_state(entry_of(image, 1)), static_cast<unsigned>(VD_VHDX_PARTIALLY_PRESENT));
  uint64_t bitmap = entry_of(image, vhdx.shape.chunk_ratio);
  EXPECT_EQ(vd_vhdx_bat_state(bitmap), static_cast<unsigned>(VD_VHDX_FULLY_PRESENT));
  std::vector<uint8_t> bits = image.read(vd_vhdx_bat_offset(bitmap) + 512, 512);
  EXPECT_EQ(bits[0], 1);
  EXPECT_EQ(bits[256], 6);
}

// The file ends within the second block of the child, whose bitmap lies before that.
TEST_F(VhdxChild, AFileThatWasCutLosesOnlyTheSectorsThatWereItsOwn)
{
  Chain chain({child, parent}, true);

  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  write(chain, 0, 512, 0xAA);
  write(chain, 4 * mib + 512, 512, 0xBB);
  write(chain, 6 * mib - 512, 512, 0xCC);
  ASSERT_EQ(vd_engine_close(chain.engine), 0);
  Image cut = chain.sim.image(0);
  cut.truncate((entry_of(cut, 2) / mib + 1) * mib);
  Chain reader({cut, parent}, false);
  ASSERT_NE(reader.engine, nullptr) << reader.error.text;
  int result = 0;
  reader.read(6 * mib - 512, 512, &result);
  EXPECT_EQ(result, -EIO);
  std::vector<uint8_t> before(should.begin(), should.begin() + 6 * mib - 512);
  EXPECT_EQ(difference(reader.read(0, 6 * mib - 512), before), "");
  EXPECT_EQ(reader.read(6 * mib, 6 * mib),
            std::vector<uint8_t>(should.begin() + 6 * mib, should.begin() + 12 * mib));
}

TEST_F(VhdxChild, AWholeBlockIsFullyPresentAtOnce)
{
  Chain chain({child, parent}, true);

  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  write(chain, 4 * mib, 2 * mib, 0x11);
  EXPECT_EQ(vd_vhdx_bat_state(entry_of(compare(chain), 2)), static_cast<unsigned>(VD_VHDX_FULLY_PRESENT));
}

TEST_F(VhdxChild, TheLastSectorMakesABlockFullyPresent)
{
  Chain chain({child, parent}, true);

  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  write(chain, 4 * mib + 512, 2 * mib - 512, 0x22);
  write(chain, 4 * mib, 512, 0x33);
  EXPECT_EQ(vd_vhdx_bat_state(entry_of(compare(chain), 2)), static_cast<unsigned>(VD_VHDX_FULLY_PRESENT));
}

TEST_F(VhdxChild, ZeroedBlocksDoNotShowTheParentAgain)
{
  Chain chain({child, parent}, true);

  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  write(chain, 2 * mib, 512, 0x44);
  EXPECT_EQ(chain.zeroes(0, 8 * mib), 0);
  std::fill_n(should.begin(), 8 * mib, 0);
  EXPECT_EQ(difference(chain.all(), should), "");
  write(chain, 6 * mib + 512, 512, 0x55);
  Image image = compare(chain);
  EXPECT_EQ(entry_of(image, 1), static_cast<uint64_t>(VD_VHDX_ZERO));
  EXPECT_EQ(vd_vhdx_bat_state(entry_of(image, 3)), static_cast<unsigned>(VD_VHDX_FULLY_PRESENT));
}

TEST_F(VhdxChild, StaleBitsOfAnEarlierLifeDoNotCount)
{
  VdVhdx vhdx = read_structure(child);
  std::vector<uint8_t> ones(512, 0xFF);
  Image image = child;

  {
    Chain chain({child, parent}, true);
    ASSERT_NE(chain.engine, nullptr) << chain.error.text;
    write(chain, 0, 512, 0x66);
    ASSERT_EQ(vd_engine_close(chain.engine), 0);
    image = chain.sim.image(0);
  }
  image.write(vd_vhdx_bat_offset(entry_of(image, vhdx.shape.chunk_ratio)) + 3 * 512, ones.data(), 512);
  Chain chain({image, parent}, true);
  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  write(chain, 7 * mib, 512, 0x77);
  compare(chain);
}

TEST(VhdxLayer, AfterAFlushThatFailedTheImageIsAsAfterAPowerCut)
{
  Chain chain({create({})}, true);

  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  EXPECT_EQ(chain.fill(0, 2 * mib, 1), 0);
  EXPECT_EQ(chain.flush(), 0);
  chain.sim.fail(0, -EIO, VD_IO_FLUSH);
  EXPECT_EQ(chain.discard(0, mib), -EIO);
  EXPECT_EQ(chain.fill(5 * mib, 512, 2), 0);
  EXPECT_EQ(chain.flush(), -EIO);
  EXPECT_NE(vd_engine_close(chain.engine), 0) << "it would forget the log";
  Image durable = chain.sim.state({chain.sim.log().size(), vd_sim::Cut::Kept::durable, 0, 0})[0];
  Chain after_power_cut({durable}, true), again({chain.sim.image(0)}, true);
  ASSERT_NE(after_power_cut.engine, nullptr) << after_power_cut.error.text;
  EXPECT_EQ(after_power_cut.read(0, 2 * mib), std::vector<uint8_t>(2 * mib, 1));
  ASSERT_NE(again.engine, nullptr) << again.error.text;
  EXPECT_EQ(again.read(5 * mib, 512), std::vector<uint8_t>(512, 2));
  EXPECT_EQ(again.flush(), 0);
}

// mkfs does it. The table of such a disk has 64 Mi entries.
TEST(VhdxLayer, ADiscardOfAHugeDiskLooksOnlyAtWhatIsUsed)
{
  Shape shape;
  shape.size = 64 * 1024 * 1024 * mib;
  Chain chain({create(shape)}, true);

  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  EXPECT_EQ(chain.fill(0, 512, 1), 0);
  EXPECT_EQ(chain.fill(shape.size / 2, 512, 2), 0);
  uint64_t loads = vd_engine_counters(chain.engine).page_loads;
  EXPECT_EQ(chain.discard(0, shape.size), 0);
  EXPECT_LE(vd_engine_counters(chain.engine).page_loads, loads + 4);
  EXPECT_EQ(chain.read(0, 512), std::vector<uint8_t>(512));
  EXPECT_EQ(chain.read(shape.size / 2, 512), std::vector<uint8_t>(512));
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
}

// A page of the table that is all zeros is none any more once it has an entry; here the first after 511
// blocks.
TEST(VhdxLayer, BlocksBehindUnusedPagesAreFound)
{
  Shape shape;
  shape.size = 4096 * mib;
  Chain chain({create(shape)}, true);

  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  for (uint64_t block : {511, 512, 1023, 2048, 4095})
    EXPECT_EQ(chain.fill(block * mib, 512, 7), 0);
  for (uint64_t block : {511, 512, 1023, 2048, 4095})
    EXPECT_EQ(chain.read(block * mib, 512), std::vector<uint8_t>(512, 7)) << block;
  EXPECT_EQ(chain.discard(512 * mib, 3584 * mib), 0);
  EXPECT_EQ(chain.read(511 * mib, 512), std::vector<uint8_t>(512, 7));
  for (uint64_t block : {512, 1023, 2048, 4095})
    EXPECT_EQ(chain.read(block * mib, 512), std::vector<uint8_t>(512)) << block;
}

TEST(VhdxLayer, WithoutRoomOnTheHostAWriteFailsAndLaterOnesWork)
{
  Chain chain({create({})}, true);

  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  EXPECT_EQ(chain.fill(0, 512, 1), 0);
  chain.sim.fail(0, -ENOSPC, VD_IO_WRITE, true);
  EXPECT_EQ(chain.fill(40 * mib, 512, 2), -ENOSPC);
  EXPECT_EQ(chain.fill(0, 512, 3), -ENOSPC);
  EXPECT_EQ(chain.read(40 * mib, 512), std::vector<uint8_t>(512));
  chain.sim.clear_faults();
  EXPECT_EQ(chain.fill(40 * mib, 512, 4), 0);
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  EXPECT_EQ(faults(chain.sim.image(0)), "");
  Chain again({chain.sim.image(0)}, false);
  EXPECT_EQ(again.read(40 * mib, 512), std::vector<uint8_t>(512, 4));
}

// A copy that lost its end, as QEMU's fixed images have it.
TEST(VhdxLayer, AShortLastBlockReadsAsZerosAndIsMadeWholeBeforeTheFirstWrite)
{
  Shape shape;
  shape.size = 5 * mib + mib / 2;
  Image image = Image::of_size(0);
  {
    Chain chain({create(shape)}, true);
    ASSERT_NE(chain.engine, nullptr) << chain.error.text;
    EXPECT_EQ(chain.fill(5 * mib, mib / 2, 6), 0);
    EXPECT_EQ(vd_engine_close(chain.engine), 0);
    image = chain.sim.image(0);
  }
  image.truncate(image.size() - mib / 2);
  Chain chain({image}, true);
  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  EXPECT_EQ(chain.read(5 * mib, mib / 2), std::vector<uint8_t>(mib / 2, 6));
  EXPECT_EQ(chain.fill(5 * mib, 512, 7), 0);
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  EXPECT_EQ(chain.sim.image(0).size() % mib, 0u);
}

TEST(VhdxLayer, WhatCannotBeWrittenIsRefusedByName)
{
  Image image = create({});
  VdVhdxHeader header = read_structure(image).header;
  std::vector<uint8_t> bytes(VD_VHDX_HEADER_LENGTH);

  header.sequence = UINT64_MAX;
  vd_vhdx_header_build(&header, bytes.data());
  image.write(header.slot == 0 ? VD_VHDX_HEADER_1 : VD_VHDX_HEADER_2, bytes.data(), bytes.size());
  Chain reader({image}, false), writer({image}, true);
  EXPECT_NE(reader.engine, nullptr) << reader.error.text;
  EXPECT_EQ(writer.engine, nullptr);
  EXPECT_STREQ(writer.error.field, "sequence_number");
}

// A bit says that a sector is here only when it is: else a power cut would show zeros in the parent's place.
TEST_F(VhdxChild, AfterAPowerCutASectorIsTheParentsOrTheNewOne)
{
  Chain chain({child, parent}, true, {.seed = 4});
  std::vector<uint8_t> fresh(512, 0xEE);
  std::vector<uint64_t> written;

  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  for (uint64_t at = 512; at < shape.size; at += 2 * mib) {
    EXPECT_EQ(chain.write(at, fresh), 0);
    written.push_back(at);
  }
  vd_sim::Cuts cuts;
  cuts.choices = 4;
  cuts.most = 200;
  chain.sim.for_each_cut(cuts, [&](const vd_sim::Cut &cut, std::vector<Image> &images) {
    Chain reader({images[0], parent}, false);

    ASSERT_NE(reader.engine, nullptr) << reader.error.text << vd_sim::describe(cut);
    for (uint64_t at : written) {
      std::vector<uint8_t> old(should.begin() + static_cast<long>(at),
                               should.begin() + static_cast<long>(at) + 512);
      std::vector<uint8_t> is = HasFailure() ? fresh : reader.read(at, 512);

      EXPECT_TRUE(is == old || is == fresh) << "at " << at << ", " << vd_sim::describe(cut);
    }
  });
}

// What is read of a page's home while the log gets that page is not taken for its newest content afterwards,
// when the log has let go of it.
TEST(VhdxLayer, APageThatIsWantedWhileItIsLoggedIsNotForgotten)
{
  constexpr unsigned n_pages = 80; // more than there is room for
  constexpr uint64_t per_page = 512 * mib;
  Shape shape;
  shape.size = n_pages * per_page;
  Chain first({create(shape)}, true);
  ASSERT_NE(first.engine, nullptr) << first.error.text;
  for (unsigned i = 0; i < n_pages; i++)
    ASSERT_EQ(first.fill(i * per_page, 512, static_cast<uint8_t>(i + 1)), 0);
  ASSERT_EQ(vd_engine_close(first.engine), 0);
  Image image = first.sim.image(0);
  VdVhdx vhdx = read_structure(image);
  Chain chain({image}, true);
  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  ASSERT_EQ(chain.fill(per_page, 512, 2), 0); // the session is begun
  bool hold_log = true, hold_page = false;
  chain.sim.hold = [&](const VdIoOp &op) {
    bool in_log = op.offset - vhdx.header.log_offset < vhdx.header.log_length;

    return op.kind == VD_IO_WRITE ? hold_log && in_log : hold_page && op.offset == vhdx.bat.offset;
  };

  Pending write(VD_OP_WRITE, mib, 512);
  memset(write.memory.data, 0x5A, 512);
  vd_engine_submit(chain.engine, &write.request);
  chain.sim.run_until_quiet();
  ASSERT_FALSE(write.finished);
  for (unsigned i = 1; i < n_pages; i++)
    ASSERT_EQ(chain.read(i * per_page, 512)[0], i + 1);
  Pending read(VD_OP_READ, 0, 512);
  hold_page = true;
  vd_engine_submit(chain.engine, &read.request);
  chain.sim.run_until_quiet();
  hold_log = false;
  ASSERT_EQ(chain.wait(write), 0);
  hold_page = false;
  ASSERT_EQ(chain.wait(read), 0);
  EXPECT_EQ(read.memory.data[0], 1);
  for (unsigned i = 1; i < 100; i++)
    ASSERT_EQ(chain.fill(2 * per_page + i * mib, 512, 9), 0);
  chain.sim.run_until_quiet();
  EXPECT_EQ(chain.read(mib, 512)[0], 0x5A);
  ASSERT_EQ(chain.fill(2 * mib, 512, 3), 0);
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  Chain again({chain.sim.image(0)}, false);
  EXPECT_EQ(again.read(mib, 512)[0], 0x5A);
}

// Each reader on its way down the chain needs some pages of each layer, and all of them together many more
// than there is room for.
TEST(VhdxLayer, ManyReadersOfALongChainAllComeToItsEnd)
{
  constexpr unsigned n_readers = 32, depth = 7;
  constexpr uint64_t per_page = 512 * mib;
  Shape shape;
  shape.size = n_readers * per_page;
  std::vector<Image> images = {create(shape)};
  shape.subtype = VIRTDISK_SUBTYPE_DIFFERENCING;
  while (images.size() < depth) {
    images.insert(images.begin(), create(shape, &images[0]));
    Chain chain(images, true);
    ASSERT_NE(chain.engine, nullptr) << chain.error.text;
    for (unsigned i = 0; i < n_readers; i++)
      ASSERT_EQ(chain.fill(i * per_page + images.size() * 512, 512, 1), 0);
    ASSERT_EQ(vd_engine_close(chain.engine), 0);
    images[0] = chain.sim.image(0);
  }
  Chain chain(images, false);
  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  std::vector<std::unique_ptr<Pending>> reads;
  for (unsigned i = 0; i < n_readers; i++) {
    reads.push_back(std::make_unique<Pending>(VD_OP_READ, i * per_page, 4096));
    vd_engine_submit(chain.engine, &reads.back()->request);
  }
  unsigned rounds = 0;
  auto is_finished = [](const std::unique_ptr<Pending> &one) { return one->finished; };
  chain.sim.run_until(
      [&] { return rounds++ == 5000 || std::all_of(reads.begin(), reads.end(), is_finished); });
  for (const auto &one : reads) {
    EXPECT_TRUE(one->finished && one->result == 0) << "at " << one->request.offset;
    for (unsigned i = 2; i <= depth; i++)
      EXPECT_EQ(one->memory.data[i * 512], 1) << "of layer " << i;
  }
}

// An entry of the log that "could not be written" may be there all the same: a power cut must not bring the
// zeros back that were refused, over what was written and flushed since.
TEST(VhdxLayer, ADiscardThatFailedDoesNotComeBackAfterAPowerCut)
{
  for (unsigned seed = 1; seed <= 60; seed++) {
    Chain chain({create({})}, true, {.seed = seed});
    ASSERT_NE(chain.engine, nullptr) << chain.error.text;
    ASSERT_EQ(chain.fill(0, 4096, 1), 0);
    ASSERT_EQ(chain.flush(), 0);
    chain.sim.fail(0, EIO, VD_IO_WRITE);
    EXPECT_EQ(chain.discard(0, mib), -EIO);
    ASSERT_EQ(chain.fill(0, 4096, 2), 0);
    ASSERT_EQ(chain.flush(), 0);
    Image durable = chain.sim.state({chain.sim.log().size(), vd_sim::Cut::Kept::durable, 0, 0})[0];
    Chain again({durable}, false);
    ASSERT_NE(again.engine, nullptr) << again.error.text;
    EXPECT_EQ(again.read(0, 4096)[0], 2) << "seed " << seed;
  }
}

TEST(VhdxLayer, NothingIsWrittenAnyMoreIfADiscardThatFailedCannotBeTakenBack)
{
  Chain chain({create({})}, true);
  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  ASSERT_EQ(chain.fill(0, 4096, 1), 0);
  chain.sim.fail(0, EIO, VD_IO_WRITE);
  chain.sim.fail(1, EIO, VD_IO_WRITE);
  EXPECT_EQ(chain.discard(0, mib), -EIO);
  chain.sim.clear_faults();
  EXPECT_EQ(chain.fill(0, 4096, 2), -EIO);
  EXPECT_EQ(chain.discard(0, mib), -EIO);
  EXPECT_EQ(chain.read(0, 4096)[0], 1);
}

// A log that writes into a block, as none should: who only reads must not see what is gone after a replay.
TEST(VhdxLayer, WhatALogWritesIntoABlockIsNotReadFromTheFile)
{
  Chain first({create({})}, true);
  ASSERT_NE(first.engine, nullptr) << first.error.text;
  ASSERT_EQ(first.fill(0, mib, 1), 0);
  ASSERT_EQ(vd_engine_close(first.engine), 0);
  Image image = first.sim.image(0);
  VdVhdxHeader header = read_structure(image).header;
  uint64_t block = vd_vhdx_bat_offset(entry_of(image, 0));
  std::vector<uint8_t> page(4096, 2), bytes(4096);
  std::vector<VdVhdxLogWrite> writes = {{block + 4096, nullptr, 8192}, {block + 65536, page.data(), 4096}};
  VdVhdxLogStamp stamp = {1, 0, {}, 0, image.size()};

  memset(stamp.log_guid, 7, sizeof stamp.log_guid);
  memset(header.log_guid, 7, sizeof header.log_guid);
  header.sequence++;
  vd_vhdx_header_build(&header, bytes.data());
  image.write(header.slot == 0 ? VD_VHDX_HEADER_1 : VD_VHDX_HEADER_2, bytes.data(), bytes.size());
  bytes.resize(vd_vhdx_log_entry_length(1, 1));
  vd_vhdx_log_entry_build(&stamp, writes.data(), 2, bytes.data());
  image.write(header.log_offset, bytes.data(), bytes.size());

  Chain reader({image}, false), writer({image}, true);
  ASSERT_NE(reader.engine, nullptr) << reader.error.text;
  ASSERT_NE(writer.engine, nullptr) << writer.error.text;
  EXPECT_EQ(difference(reader.read(0, 65536), writer.read(0, 65536)), "");
  EXPECT_EQ(reader.read(0, 65536)[8192], 0);
  EXPECT_EQ(reader.read(65536 + 4096, 4096), std::vector<uint8_t>(4096, 1));
  EXPECT_EQ(writer.read(65536, 4096), page);
  int result = 0;
  reader.read(65536, 4096, &result);
  EXPECT_EQ(result, -EIO);
}

// The other part of a write fails while one waits for space that is not to be had: the error is that write's,
// and not the next one's.
TEST(VhdxLayer, AnErrorThatNobodyAsksForIsNoOnesElse)
{
  Chain chain({create({})}, true);
  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  for (unsigned i = 0; i < 32; i++)
    ASSERT_EQ(chain.fill(i * mib, 512, 1), 0);
  bool hold = true;
  chain.sim.hold = [&](const VdIoOp &op) { return hold && op.kind == VD_IO_WRITE && op.length == 4096; };
  Pending both(VD_OP_WRITE, 31 * mib, 2 * mib);
  memset(both.memory.data, 3, 2 * mib);
  chain.sim.fail(0, ENOSPC, VD_IO_WRITE, true);
  vd_engine_submit(chain.engine, &both.request);
  chain.sim.run_until_quiet();
  hold = false;
  EXPECT_EQ(chain.wait(both), -ENOSPC);
  chain.sim.clear_faults();
  EXPECT_EQ(chain.fill(40 * mib, 512, 4), 0);
}

TEST(VhdxLayer, AHoleThatCannotBeMadeNowIsNotTheLast)
{
  Chain chain({create({})}, true);
  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  for (unsigned i = 0; i < 8; i++)
    ASSERT_EQ(chain.fill(i * mib, 512, 1), 0);
  ASSERT_EQ(chain.discard(0, 2 * mib), 0);
  chain.sim.fail(0, ENOSPC, VD_IO_PUNCH);
  EXPECT_EQ(chain.fill(20 * mib, 512, 2), 0);
  ASSERT_EQ(chain.discard(2 * mib, mib), 0);
  uint64_t punches = chain.sim.count(VD_IO_PUNCH);
  EXPECT_EQ(chain.fill(21 * mib, 512, 3), 0);
  EXPECT_EQ(chain.sim.count(VD_IO_PUNCH), punches + 1);
  EXPECT_EQ(chain.read(21 * mib, 1024)[512], 0);
}
