// SPDX-License-Identifier: LGPL-2.1-or-later
// The checker: nothing to say of good images, every fault of bad ones with its place; and what a repair does.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "images/iso.hh"
#include "images/vhd.hh"
#include "images/vhdx.hh"
#include "virtdisk-enums.h"

extern "C" {
#include "formats/check.h"
#include "formats/create.h"
}

using images::bat_entry;
using images::Bytes;
using images::File;
using images::SparseVhd;
using images::Vhdx;

namespace
{

constexpr uint64_t kMiB = 1 << 20, kBat = 3 * kMiB;
constexpr uint64_t kHeader1 = 64 << 10, kHeader2 = 128 << 10, kRegions1 = 192 << 10, kRegions2 = 256 << 10;

struct Found {
  bool checked = false;
  std::vector<VdFault> faults;
  VdCheckSummary summary = {};
  VdFormatError error = {};

  uint64_t bad() const
  {
    return summary.counts[VD_FAULT_LEAK] + summary.counts[VD_FAULT_MINOR] + summary.counts[VD_FAULT_SERIOUS];
  }
};

std::ostream &operator<<(std::ostream &out, const Found &found)
{
  for (const VdFault &fault : found.faults)
    out << "\n  kind " << fault.kind << " at " << fault.error.offset << ": " << fault.error.text;
  return out;
}

void collect(void *user, const VdFault *fault)
{
  static_cast<Found *>(user)->faults.push_back(*fault);
}

Found check(const File &file, uint32_t device_id)
{
  Found found;
  VdReader reader;

  EXPECT_TRUE(vd_reader_init(&reader, file.fd(), &found.error));
  found.checked = vd_check(&reader, device_id, collect, &found, &found.summary, &found.error);
  return found;
}

Found check_vhd(const File &file)
{
  return check(file, VIRTDISK_DEVICE_VHD);
}

Found check_vhdx(const File &file)
{
  return check(file, VIRTDISK_DEVICE_VHDX);
}

struct Expected {
  VdFaultKind kind;
  uint64_t offset;
  bool repairable;
};

void expect_faults(const Found &found, const std::vector<Expected> &expected)
{
  std::array<uint64_t, VD_FAULT_SERIOUS + 1> counts = {};
  uint32_t repairable = 0;

  ASSERT_TRUE(found.checked) << found.error.text;
  ASSERT_EQ(found.faults.size(), expected.size()) << found;
  for (size_t i = 0; i < expected.size(); i++) {
    EXPECT_EQ(found.faults[i].kind, static_cast<uint32_t>(expected[i].kind)) << found;
    EXPECT_EQ(found.faults[i].error.offset, expected[i].offset) << found;
    EXPECT_EQ(found.faults[i].repairable, expected[i].repairable ? 1U : 0U) << found;
    EXPECT_NE(found.faults[i].error.text[0], '\0');
    counts[expected[i].kind]++;
    repairable += expected[i].repairable;
  }
  for (size_t kind = 0; kind < counts.size(); kind++)
    EXPECT_EQ(found.summary.counts[kind], counts[kind]) << kind;
  EXPECT_EQ(found.summary.repairable, repairable);
}

Bytes contents(const File &file)
{
  struct stat st = {};

  EXPECT_EQ(fstat(file.fd(), &st), 0);
  Bytes bytes(static_cast<size_t>(st.st_size));
  EXPECT_EQ(pread(file.fd(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  return bytes;
}

void repair(const File &file, uint32_t device_id)
{
  VdFormatError error = {};

  EXPECT_TRUE(vd_check_repair(file.fd(), device_id, &error)) << error.text;
}

} // namespace

// Good images

struct Kind {
  const char *name;
  uint32_t device_id, subtype;
};

class CheckCreated : public testing::TestWithParam<Kind>
{
protected:
  CheckCreated()
  {
    VdCreateSpec spec = {};

    spec.device_id = GetParam().device_id;
    spec.subtype = GetParam().subtype;
    spec.size = 16 * kMiB;
    for (auto *id : {spec.identifier, spec.guids[0], spec.guids[1], spec.parent_linkage})
      memset(id, 0x31, 16);
    strcpy(spec.parent_relative, "parent");
    EXPECT_TRUE(vd_create(file_.fd(), &spec, &error_)) << error_.text;
  }

  File file_{Bytes()};
  VdFormatError error_ = {};
};

TEST_P(CheckCreated, HasNoFault)
{
  Found found = check(file_, GetParam().device_id);

  expect_faults(found, {});
  if (GetParam().subtype == VIRTDISK_SUBTYPE_FIXED && GetParam().device_id == VIRTDISK_DEVICE_VHDX) {
    EXPECT_EQ(found.summary.allocated_blocks, found.summary.blocks);
    EXPECT_GT(found.summary.blocks, 0u);
  } else {
    EXPECT_EQ(found.summary.allocated_blocks, 0u);
  }
}

TEST_P(CheckCreated, IsNotTouchedByARepair)
{
  Bytes before = contents(file_);
  struct stat was = {}, is = {};

  EXPECT_EQ(fstat(file_.fd(), &was), 0);
  repair(file_, GetParam().device_id);
  EXPECT_EQ(fstat(file_.fd(), &is), 0);
  EXPECT_TRUE(contents(file_) == before);
  EXPECT_EQ(was.st_mtim.tv_nsec, is.st_mtim.tv_nsec) << "it was written, if with the same bytes";
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, CheckCreated,
    testing::Values(Kind{"vhd_fixed", VIRTDISK_DEVICE_VHD, VIRTDISK_SUBTYPE_FIXED},
                    Kind{"vhd_dynamic", VIRTDISK_DEVICE_VHD, VIRTDISK_SUBTYPE_DYNAMIC},
                    Kind{"vhd_child", VIRTDISK_DEVICE_VHD, VIRTDISK_SUBTYPE_DIFFERENCING},
                    Kind{"vhdx_fixed", VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_FIXED},
                    Kind{"vhdx_dynamic", VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_DYNAMIC},
                    Kind{"vhdx_child", VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_DIFFERENCING}),
    [](const auto &info) { return info.param.name; });

TEST(Check, FormatsOfOnePiece)
{
  VdFormatError error = {};

  expect_faults(check(File(Bytes(4096)), VIRTDISK_DEVICE_RAW), {});
  Found iso = check(File(Bytes(65536)), VIRTDISK_DEVICE_ISO);
  ASSERT_EQ(iso.faults.size(), 1u);
  EXPECT_EQ(iso.faults[0].kind, static_cast<uint32_t>(VD_FAULT_SERIOUS));
  EXPECT_FALSE(vd_check_repair(File(Bytes(4096)).fd(), VIRTDISK_DEVICE_RAW, &error));
  EXPECT_EQ(error.code, VIRTDISK_ERROR_NOT_SUPPORTED);
  Found unknown = check(File(Bytes(4096)), VIRTDISK_DEVICE_VHDSET);
  EXPECT_FALSE(unknown.checked);
  EXPECT_EQ(unknown.error.code, VIRTDISK_ERROR_PROVIDER_NOT_FOUND);
}

// VHDX

TEST(CheckVhdx, GoodImage)
{
  Found found = check_vhdx(*Vhdx().make());

  expect_faults(found, {});
  EXPECT_EQ(found.summary.blocks, 8u);
  EXPECT_EQ(found.summary.allocated_blocks, 1u);
  EXPECT_EQ(found.summary.leaked, 0u);
}

struct Copy {
  const char *name;
  uint64_t offset;
};

class CheckVhdxCopy : public testing::TestWithParam<Copy>
{
};

TEST_P(CheckVhdxCopy, IsFoundAndMended)
{
  Vhdx image;

  image.patches[GetParam().offset + 100] = {0xaa};
  auto file = image.make();
  // Where the checksum lies.
  expect_faults(check_vhdx(*file), {{VD_FAULT_MINOR, GetParam().offset + 4, true}});
  repair(*file, VIRTDISK_DEVICE_VHDX);
  expect_faults(check_vhdx(*file), {});
  Bytes mended = contents(*file);
  repair(*file, VIRTDISK_DEVICE_VHDX);
  EXPECT_TRUE(contents(*file) == mended);
}

INSTANTIATE_TEST_SUITE_P(Copies, CheckVhdxCopy,
                         testing::Values(Copy{"header1", kHeader1}, Copy{"header2", kHeader2},
                                         Copy{"regions1", kRegions1}, Copy{"regions2", kRegions2}),
                         [](const auto &info) { return info.param.name; });

TEST(CheckVhdx, OneHeaderAndOneTableAreMendedTogether)
{
  Vhdx image;

  image.patches[kHeader2] = {'x'};
  image.patches[kRegions1] = {'x'};
  auto file = image.make();
  expect_faults(check_vhdx(*file), {{VD_FAULT_MINOR, kRegions1, true}, {VD_FAULT_MINOR, kHeader2, true}});
  repair(*file, VIRTDISK_DEVICE_VHDX);
  expect_faults(check_vhdx(*file), {});
}

TEST(CheckVhdx, CopiesThatDiffer)
{
  Vhdx image;

  image.regions[1].entries[1].offset = 4 * kMiB;
  auto file = image.make();
  expect_faults(check_vhdx(*file), {{VD_FAULT_MINOR, kRegions2, true}});
  repair(*file, VIRTDISK_DEVICE_VHDX);
  expect_faults(check_vhdx(*file), {});
  Bytes bytes = contents(*file);
  EXPECT_TRUE(
      std::equal(bytes.begin() + kRegions1, bytes.begin() + kRegions1 + 65536, bytes.begin() + kRegions2));
}

TEST(CheckVhdx, AllBadEntriesAreTold)
{
  Vhdx image;

  image.bat = {
      {0, bat_entry(4, 6)}, {1, bat_entry(9, 6)}, {2, 4}, {3, bat_entry(5, 7)}, {5, bat_entry(3, 6)}};
  auto file = image.make();
  Found found = check_vhdx(*file);
  expect_faults(found, {{VD_FAULT_SERIOUS, kBat + 8, false},
                        {VD_FAULT_SERIOUS, kBat + 16, false},
                        {VD_FAULT_SERIOUS, kBat + 24, false},
                        {VD_FAULT_SERIOUS, kBat + 40, false}});
  EXPECT_EQ(found.summary.allocated_blocks, 1u);
}

TEST(CheckVhdx, BlocksOverEachOther)
{
  Vhdx image;

  image.bat[4] = bat_entry(4, 6);
  expect_faults(check_vhdx(*image.make()), {{VD_FAULT_SERIOUS, kBat + 32, false}});
}

TEST(CheckVhdx, SpaceThatBelongsToNothing)
{
  Vhdx image;

  image.bat[0] = bat_entry(5, 6);
  image.file_size = 8 * kMiB;
  Found found = check_vhdx(*image.make());
  expect_faults(found, {{VD_FAULT_LEAK, 4 * kMiB, false}});
  EXPECT_EQ(found.summary.leaked, 3 * kMiB);
}

TEST(CheckVhdx, BlockOfZerosWithAnOffset)
{
  Vhdx image;

  image.bat[1] = bat_entry(4, 2);
  expect_faults(check_vhdx(*image.make()), {{VD_FAULT_NOTE, kBat + 8, false}});
}

TEST(CheckVhdx, LogToReplay)
{
  Vhdx image;
  images::VhdxLogEntry entry;
  images::VhdxDescriptor one;

  one.offset = kBat;
  one.page = Bytes(4096);
  images::put_le(*one.page, 0, bat_entry(4, 6), 8);
  images::put_le(*one.page, 8, bat_entry(5, 6), 8);
  image.file_size = 6 * kMiB;
  image.for_both_headers([&](images::VhdxHeader &header) { header.log_guid = entry.log_guid; });
  entry.flushed = entry.last = image.file_size;
  entry.descriptors = {one};
  image.log = {entry};
  Found found = check_vhdx(*image.make());
  expect_faults(found, {{VD_FAULT_NOTE, kMiB, true}});
  EXPECT_EQ(found.summary.allocated_blocks, 2u) << "what the log says counts";
}

TEST(CheckVhdx, NothingCanBeSaidWithoutHeaders)
{
  Vhdx image;

  image.patches[kHeader1] = image.patches[kHeader2] = {'x'};
  auto file = image.make();
  Found found = check_vhdx(*file);
  ASSERT_EQ(found.faults.size(), 1u) << found;
  EXPECT_EQ(found.faults[0].kind, static_cast<uint32_t>(VD_FAULT_SERIOUS));
  EXPECT_EQ(found.summary.repairable, 0u);
  VdFormatError error = {};
  Bytes before = contents(*file);
  EXPECT_FALSE(vd_check_repair(file->fd(), VIRTDISK_DEVICE_VHDX, &error));
  EXPECT_TRUE(contents(*file) == before) << "a guess was written";
}

TEST(CheckVhdx, BeyondTheCeilingIsCounted)
{
  constexpr uint64_t kBad = VD_CHECK_MAX_FAULTS + 234;
  Vhdx image;

  image.set_size(4096 * kMiB);
  for (uint64_t i = 1; i <= kBad; i++)
    image.bat[i] = bat_entry(4, 6);
  Found found = check_vhdx(*image.make());
  ASSERT_TRUE(found.checked);
  EXPECT_EQ(found.faults.size(), static_cast<size_t>(VD_CHECK_MAX_FAULTS));
  EXPECT_EQ(found.summary.counts[VD_FAULT_SERIOUS], kBad);
}

// VHD

TEST(CheckVhd, GoodImages)
{
  expect_faults(check_vhd(File(images::fixed_vhd(Bytes(kMiB)))), {});
  Found found = check_vhd(File(SparseVhd().build()));
  expect_faults(found, {});
  EXPECT_EQ(found.summary.blocks, 2u);
}

TEST(CheckVhd, FixedDiskThatWasCutShort)
{
  images::VhdFooter footer;

  footer.current_size = footer.original_size = kMiB;
  expect_faults(check_vhd(File(images::joined(Bytes(kMiB / 2), footer.build()))),
                {{VD_FAULT_SERIOUS, kMiB / 2 + 48, false}});
}

TEST(CheckVhd, LostTrailer)
{
  SparseVhd image;

  image.end = SparseVhd::MISSING;
  File file(image.build());
  expect_faults(check_vhd(file), {{VD_FAULT_MINOR, image.trailer_offset, true}});
}

TEST(CheckVhd, TrailerOf511Bytes)
{
  SparseVhd image;

  image.end = SparseVhd::SHORT;
  expect_faults(check_vhd(File(image.build())), {{VD_FAULT_NOTE, image.trailer_offset, true}});
}

TEST(CheckVhd, FrontCopyIsMendedFromTheTrailer)
{
  for (bool damaged : {false, true}) {
    SparseVhd image;

    image.front = image.footer;
    image.front->timestamp++;
    if (damaged)
      image.front->checksum = 1;
    File file(image.build());
    expect_faults(check_vhd(file), {{VD_FAULT_MINOR, 0, true}});
    repair(file, VIRTDISK_DEVICE_VHD);
    expect_faults(check_vhd(file), {});
    Bytes bytes = contents(file);
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.begin() + 512, bytes.end() - 512));
  }
}

TEST(CheckVhd, SavedState)
{
  SparseVhd image;

  image.footer.saved_state = 1;
  expect_faults(check_vhd(File(image.build())), {{VD_FAULT_NOTE, image.trailer_offset + 84, false}});
}

// Blocks of 512 KiB behind a bitmap sector: the first lies at 0xe00.
constexpr uint64_t kBlock = 512 + (512 << 10);

SparseVhd with_blocks(uint32_t first, uint32_t second)
{
  SparseVhd image;

  image.table = {first, second};
  image.trailer_offset = 0xe00 + 2 * kBlock;
  for (uint32_t sector : {first, second})
    if (sector != UINT32_MAX)
      image.pieces.push_back({UINT64_C(512) * sector, Bytes(512, 0xff)});
  return image;
}

TEST(CheckVhd, Blocks)
{
  Found found = check_vhd(File(with_blocks(7, 7 + kBlock / 512).build()));

  expect_faults(found, {});
  EXPECT_EQ(found.summary.allocated_blocks, 2u);
  EXPECT_EQ(found.summary.leaked, 0u);
}

TEST(CheckVhd, AllBadEntriesAreTold)
{
  SparseVhd image = with_blocks(UINT32_MAX, UINT32_MAX);

  image.table = {2, 0x10000};
  expect_faults(
      check_vhd(File(image.build())),
      {{VD_FAULT_SERIOUS, 0x600, false}, {VD_FAULT_SERIOUS, 0x604, false}, {VD_FAULT_LEAK, 0x800, false}});
}

TEST(CheckVhd, BlocksOverEachOther)
{
  SparseVhd image = with_blocks(7, 17);

  image.pieces.push_back({512 * 18, Bytes(512 << 10)});
  Found found = check_vhd(File(image.build()));
  ASSERT_FALSE(found.faults.empty());
  std::vector<uint64_t> serious;
  for (const VdFault &fault : found.faults)
    if (fault.kind == VD_FAULT_SERIOUS)
      serious.push_back(fault.error.offset);
  EXPECT_EQ(serious, (std::vector<uint64_t>{17 * 512})) << found;
}

TEST(CheckVhd, SpaceThatBelongsToNothing)
{
  Found found = check_vhd(File(with_blocks(7, UINT32_MAX).build()));

  expect_faults(found, {{VD_FAULT_LEAK, 0xe00 + kBlock, false}});
  EXPECT_EQ(found.summary.leaked, kBlock);
}

TEST(CheckVhd, DataUnderAClearBit)
{
  SparseVhd image = with_blocks(7, 7 + kBlock / 512);
  Bytes bitmap(512, 0xff);

  bitmap[1] = 0x7f; // sector 8
  image.pieces.push_back({0xe00, bitmap});
  expect_faults(check_vhd(File(image.build())), {});
  image.pieces.push_back({0xe00 + 512 + 8 * 512, {1}});
  expect_faults(check_vhd(File(image.build())), {{VD_FAULT_NOTE, 0xe00 + 512 + 8 * 512, false}});
}

TEST(CheckVhd, EveryClearSectorIsLookedAt)
{
  for (uint64_t sector : {0, 1, 7, 127, 128, 500, 1022, 1023}) {
    SparseVhd image = with_blocks(7, 7 + kBlock / 512);

    image.pieces.push_back({0xe00, Bytes(512)});
    image.pieces.push_back({0xe00 + 512 + sector * 512 + 511, {1}});
    expect_faults(check_vhd(File(image.build())), {{VD_FAULT_NOTE, 0xe00 + 512 + sector * 512, false}});
    // Every other sector is said to be there, but this one.
    Bytes bitmap(512, sector % 2 != 0 ? 0xaa : 0x55);
    image.pieces.push_back({0xe00, bitmap});
    expect_faults(check_vhd(File(image.build())), {{VD_FAULT_NOTE, 0xe00 + 512 + sector * 512, false}});
    bitmap[sector / 8] |= static_cast<uint8_t>(0x80 >> sector % 8);
    image.pieces.push_back({0xe00, bitmap});
    expect_faults(check_vhd(File(image.build())), {});
  }
}

TEST(CheckVhd, BitmapsOfSeveralSectors)
{
  SparseVhd image;
  constexpr uint64_t kSectors = 16384; // 8 MiB, four sectors of bitmap

  image.footer.current_size = image.footer.original_size = 8 * kMiB;
  image.header.block_size = 8 * kMiB;
  image.header.max_entries = 1;
  image.table = {7};
  image.trailer_offset = 0xe00 + 4 * 512 + kSectors * 512;
  for (uint64_t sector : {UINT64_C(4095), UINT64_C(4096), UINT64_C(8191), UINT64_C(16383)}) {
    SparseVhd one = image;

    one.pieces.push_back({0xe00 + 4 * 512 + sector * 512, {1}});
    expect_faults(check_vhd(File(one.build())), {{VD_FAULT_NOTE, 0xe00 + 4 * 512 + sector * 512, false}});
  }
}

TEST(CheckVhd, NothingCanBeSaidWithoutFooters)
{
  File file(Bytes(4096));
  VdFormatError error = {};
  Found found = check_vhd(file);

  ASSERT_EQ(found.faults.size(), 1u);
  EXPECT_EQ(found.faults[0].kind, static_cast<uint32_t>(VD_FAULT_SERIOUS));
  EXPECT_FALSE(vd_check_repair(file.fd(), VIRTDISK_DEVICE_VHD, &error));
  EXPECT_TRUE(contents(file) == Bytes(4096));
}
