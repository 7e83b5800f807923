// SPDX-License-Identifier: LGPL-2.1-or-later
// What the registry says of good images, and how reading fails.
#include <gtest/gtest.h>
#include <errno.h>

#include "images/cost.hh"
#include "images/partitions.hh"
#include "images/vhdx.hh"
#include "virtdisk-enums.h"

extern "C" {
#include "formats/registry.h"
#include "formats/vhdx.h"
}

using images::bat_entry;
using images::Bytes;
using images::Vhdx;
using images::VhdxHeader;
using images::VhdxRegionTable;

namespace
{

constexpr uint64_t kMiB = 1 << 20;

std::unique_ptr<VdFacts> probe(const Vhdx &image, VdContentWish wish = VD_CONTENT_LOOK)
{
  auto facts = std::make_unique<VdFacts>();
  auto file = image.make();
  VdFormatError error = {};

  EXPECT_TRUE(vd_format_probe(file->fd(), VIRTDISK_DEVICE_VHDX, wish, facts.get(), &error)) << error.text;
  return facts;
}

// Every block in its place.
Vhdx fixed(uint64_t blocks = 8)
{
  Vhdx image;

  image.set_parameters(kMiB, 1);
  image.set_size(blocks * kMiB);
  image.file_size = (4 + blocks) * kMiB;
  for (uint64_t i = 0; i < blocks; i++)
    image.bat[i] = bat_entry(4 + i, 6);
  return image;
}

// As Windows 2012 left it: 1 GiB in blocks of 32 MiB, three of them there, and a log full of what was once.
Vhdx as_windows_writes()
{
  images::VhdxLogEntry empty, one;
  Vhdx image;

  image.for_both_headers([](VhdxHeader &header) { header.data_write_guid = {0xb2, 0xcb, 0x47, 0xd2}; });
  image.headers[0].sequence = 14;
  image.headers[1].sequence = 15;
  image.set_size(1024 * kMiB);
  image.set_parameters(32 * kMiB, 0);
  image.bat = {{0, bat_entry(4, 6)}, {1, bat_entry(0x24, 6)}, {2, bat_entry(0x44, 6)}};
  for (uint64_t i = 3; i < 32; i++)
    image.bat[i] = bat_entry(0, 2);
  image.file_size = 100 * kMiB;
  empty.sequence = UINT64_C(4371089312299158167);
  empty.flushed = empty.last = 4 * kMiB;
  one.position = one.tail = 4096;
  one.sequence = empty.sequence + 1;
  one.last = 100 * kMiB;
  one.descriptors.resize(1);
  one.descriptors[0].offset = 3 * kMiB;
  one.descriptors[0].page = Bytes(4096, 0xff);
  image.log = {empty, one};
  return image;
}

} // namespace

TEST(Vhdx, Dynamic)
{
  auto facts = probe(Vhdx());

  EXPECT_EQ(facts->device_id, static_cast<uint32_t>(VIRTDISK_DEVICE_VHDX));
  EXPECT_EQ(facts->subtype, static_cast<uint32_t>(VIRTDISK_SUBTYPE_DYNAMIC));
  EXPECT_EQ(facts->virtual_size, 8 * kMiB);
  EXPECT_EQ(facts->block_size, kMiB);
  EXPECT_EQ(facts->sector_size, 512u);
  EXPECT_EQ(facts->physical_sector_size, 4096u);
  EXPECT_EQ(facts->linear, 0u);
  EXPECT_EQ(facts->payload_offset, 0u);
  EXPECT_EQ(facts->is_4k_aligned, 1u);
  EXPECT_EQ(facts->needs_repair, 0u);
  EXPECT_EQ(facts->has_parent, 0u);
  EXPECT_EQ(facts->n_contents, 0u);
  EXPECT_EQ(facts->has_identifier, 1u);
  EXPECT_EQ(facts->has_linkage, 1u);
  // On disk 00 01 02 03 04 05 06 07 08.., and d0 d1 d2 d3..: as printed.
  EXPECT_EQ(Bytes(facts->identifier, facts->identifier + 10), (Bytes{3, 2, 1, 0, 5, 4, 7, 6, 8, 9}));
  EXPECT_EQ(Bytes(facts->linkage, facts->linkage + 4), (Bytes{0xd3, 0xd2, 0xd1, 0xd0}));
}

TEST(Vhdx, SectorsOf4096)
{
  Vhdx image;

  image.set_sectors(4096, 4096);
  auto facts = probe(image);
  EXPECT_EQ(facts->sector_size, 4096u);
  EXPECT_EQ(facts->physical_sector_size, 4096u);
}

TEST(Vhdx, Differencing)
{
  Vhdx image;

  image.set_parent();
  image.bat = {{0, bat_entry(4, 7)}, {4096, bat_entry(5, 6)}};
  image.file_size = 6 * kMiB;
  auto facts = probe(image);
  EXPECT_EQ(facts->subtype, static_cast<uint32_t>(VIRTDISK_SUBTYPE_DIFFERENCING));
  EXPECT_EQ(facts->has_parent, 1u);
  EXPECT_EQ(Bytes(facts->parent_id, facts->parent_id + 4), (Bytes{0xa3, 0xa2, 0xa1, 0xa0}));
  EXPECT_EQ(Bytes(facts->parent_id2, facts->parent_id2 + 16), Bytes(16));
  ASSERT_EQ(facts->n_parent_places, 2u);
  EXPECT_EQ(facts->parent_places[0].kind, static_cast<uint32_t>(VD_PLACE_RELATIVE));
  EXPECT_STREQ(facts->parent_places[0].path, ".\\parent.vhdx");
  EXPECT_EQ(facts->parent_places[1].kind, static_cast<uint32_t>(VD_PLACE_ABSOLUTE));
  EXPECT_STREQ(facts->parent_places[1].path, "C:\\disks\\parent.vhdx");
}

TEST(Vhdx, PlacesInTheOrderInWhichTheyAreTried)
{
  images::VhdxLocator locator;
  Vhdx image;

  locator.pairs = {{"volume_path", "v", {}, {}, {}, {}, {}},
                   {"absolute_win32_path", "a", {}, {}, {}, {}, {}},
                   {"relative_path", "r", {}, {}, {}, {}, {}},
                   locator.pairs[0]};
  image.set_parent(locator);
  auto facts = probe(image);
  ASSERT_EQ(facts->n_parent_places, 3u);
  EXPECT_STREQ(facts->parent_places[0].path, "r");
  EXPECT_STREQ(facts->parent_places[1].path, "v");
  EXPECT_STREQ(facts->parent_places[2].path, "a");
  EXPECT_EQ(facts->parent_places[1].kind, static_cast<uint32_t>(VD_PLACE_VOLUME));
}

TEST(Vhdx, TheCurrentHeaderSaysWhoItIs)
{
  Vhdx image;

  image.headers[0].data_write_guid = images::guid_of(0x55);
  EXPECT_EQ(probe(image)->linkage[0], 0xd3);
  image.headers[0].sequence = 3;
  EXPECT_EQ(probe(image)->linkage[0], 0x55);
}

TEST(Vhdx, FixedInOneRunIsLinear)
{
  auto facts = probe(fixed());

  EXPECT_EQ(facts->subtype, static_cast<uint32_t>(VIRTDISK_SUBTYPE_FIXED));
  EXPECT_EQ(facts->linear, 1u);
  EXPECT_EQ(facts->payload_offset, 4 * kMiB);
  EXPECT_EQ(facts->is_4k_aligned, 1u);
}

TEST(Vhdx, AnEntryOfABitmapDoesNotBreakARun)
{
  Vhdx image = fixed();

  image.set_parameters(256 * kMiB, 1);
  image.set_size(17 * 256 * kMiB);
  image.bat.clear();
  for (uint64_t i = 0; i < 17; i++)
    image.bat[i < 16 ? i : i + 1] = bat_entry(4 + i * 256, 6);
  image.file_size = (4 + 17 * 256) * kMiB;
  EXPECT_EQ(probe(image, VD_CONTENT_SKIP)->linear, 1u);
}

TEST(Vhdx, WhatBreaksARun)
{
  Vhdx image = fixed();

  std::swap(image.bat[3], image.bat[4]);
  EXPECT_EQ(probe(image)->linear, 0u) << "order";
  image = fixed();
  image.bat[7] = bat_entry(0, 2);
  EXPECT_EQ(probe(image)->linear, 0u) << "a block that is not there";
  image = fixed();
  image.bat[7] = bat_entry(11, 3);
  EXPECT_EQ(probe(image)->linear, 0u) << "an unmapped block";
  image = fixed();
  image.bat[7] = bat_entry(12, 6);
  image.file_size += kMiB;
  EXPECT_EQ(probe(image)->linear, 0u) << "a gap";
  image = fixed();
  image.bat.erase(0);
  EXPECT_EQ(probe(image)->linear, 0u) << "no first block";
  image = fixed();
  image.set_parent();
  EXPECT_EQ(probe(image)->linear, 0u) << "a child";
  image = fixed();
  image.set_log({{}});
  EXPECT_EQ(probe(image)->linear, 0u) << "a log to replay";
}

TEST(Vhdx, TheContentOfALinearOneIsSeen)
{
  Vhdx image = fixed(16);
  Bytes disk(16 * kMiB);

  images::put_mbr(disk, 0, {{0x83, 2048, 4096}});
  images::put_swap(disk, 2048 * 512, "swap");
  image.patches[4 * kMiB] = disk;
  auto facts = probe(image);
  EXPECT_STREQ(facts->pt_type, "dos");
  ASSERT_EQ(facts->n_contents, 1u);
  EXPECT_STREQ(facts->contents[0].type, "swap");
  std::swap(image.bat[3], image.bat[4]);
  facts = probe(image);
  EXPECT_STREQ(facts->pt_type, "");
  EXPECT_EQ(facts->n_contents, 0u);
}

TEST(Vhdx, AsWindowsWrites)
{
  auto facts = probe(as_windows_writes());

  EXPECT_EQ(facts->virtual_size, 1024 * kMiB);
  EXPECT_EQ(facts->block_size, 32 * kMiB);
  EXPECT_EQ(facts->needs_repair, 0u) << "a log without a GUID is empty, whatever it holds";
  EXPECT_EQ(facts->linkage[0], 0xd2);
}

TEST(Vhdx, ALogToReplayIsReadAsIfItHadBeen)
{
  images::VhdxLogEntry entry;
  Vhdx image;
  Bytes page(4096);

  // The size of the disk, in the second page of the metadata's items.
  page = image.metadata();
  page.erase(page.begin(), page.begin() + 65536);
  page.resize(4096);
  images::put_le(page, 8, 4 * kMiB, 8);
  entry.descriptors.resize(1);
  entry.descriptors[0].offset = 2 * kMiB + 65536;
  entry.descriptors[0].page = page;
  image.set_log({entry});
  auto facts = probe(image);
  EXPECT_EQ(facts->needs_repair, 1u);
  EXPECT_EQ(facts->virtual_size, 4 * kMiB);
}

// A crash between the log and the file's growth: the block lies where the file will be.
TEST(Vhdx, BlocksInSpaceThatTheLogAnnounces)
{
  images::VhdxLogEntry entry;
  Vhdx image;
  Bytes page(4096);

  images::put_le(page, 0, bat_entry(6, 6), 8);
  entry.descriptors.resize(1);
  entry.descriptors[0].offset = 3 * kMiB;
  entry.descriptors[0].page = page;
  entry.last = 7 * kMiB;
  image.set_log({entry});
  EXPECT_EQ(probe(image)->needs_repair, 1u);
}

TEST(Vhdx, TheSecondRegionTableHelpsOut)
{
  Vhdx image;

  image.regions[0].checksum = 1;
  EXPECT_EQ(probe(image)->virtual_size, 8 * kMiB);
}

TEST(Vhdx, RegionsInAnyOrderAndNotRequired)
{
  Vhdx image;

  image.for_both_tables([](VhdxRegionTable &table) {
    std::swap(table.entries[0], table.entries[1]);
    table.entries[0].flags = table.entries[1].flags = 0;
    table.entries.push_back({images::guid_of(9), 5 * kMiB, kMiB, 0});
  });
  image.file_size = 6 * kMiB;
  EXPECT_EQ(probe(image)->virtual_size, 8 * kMiB);
}

TEST(Vhdx, ItemsOfOthersAreLeftAlone)
{
  Vhdx image;

  image.items.push_back({images::kDiskSize, 70000, 1, Bytes(8), {}}); // a user's
  image.items.push_back({images::guid_of(5), 80000, 0, Bytes(100), {}});
  image.items.push_back({images::guid_of(6), 0, 2, {}, {}});
  EXPECT_EQ(probe(image)->virtual_size, 8 * kMiB);
}

TEST(Vhdx, ItemsInAnyOrderAndUnaligned)
{
  Vhdx image;

  std::reverse(image.items.begin(), image.items.end());
  for (size_t i = 0; i < image.items.size(); i++)
    image.items[i].offset = static_cast<uint32_t>(65536 + 1 + 33 * (7 * i % 5));
  EXPECT_EQ(probe(image)->virtual_size, 8 * kMiB);
}

TEST(Vhdx, JunkBehindTheEndIsAllowed)
{
  Vhdx image;

  image.file_size += 512;
  EXPECT_EQ(probe(image)->file_size, 5 * kMiB + 512);
}

namespace
{

// A reader that fails at its n-th read, or gives one byte at a time.
struct Faulty {
  VdReader reader; // first: what the hook is given
  unsigned reads, fail_at;
  bool bytewise, ends_early;
};

ssize_t faulty_read(const VdReader *self, void *buffer, size_t length, uint64_t offset)
{
  auto *faulty = reinterpret_cast<Faulty *>(const_cast<VdReader *>(self));

  if (faulty->reads++ == faulty->fail_at) {
    errno = EIO;
    return faulty->ends_early ? 0 : -1;
  }
  return pread(self->fd, buffer, faulty->bytewise ? std::min<size_t>(length, 1000) : length,
               static_cast<off_t>(offset));
}

bool read_all(Faulty &faulty, const images::File &file, VdFormatError *error)
{
  VdVhdx vhdx;
  bool good;

  EXPECT_TRUE(vd_reader_init(&faulty.reader, file.fd(), error));
  faulty.reader.read = faulty_read;
  faulty.reads = 0;
  if (!vd_vhdx_read(&faulty.reader, &vhdx, error))
    return false;
  good = vd_vhdx_check_bat(&faulty.reader, &vhdx, nullptr, nullptr, nullptr, error);
  vd_vhdx_clear(&vhdx);
  return good;
}

} // namespace

TEST(VhdxReading, AnErrorAtEachRead)
{
  images::VhdxLogEntry entry;
  Vhdx image;
  VdFormatError error;

  entry.descriptors.resize(1);
  entry.descriptors[0].offset = 4 * kMiB;
  entry.descriptors[0].page = Bytes(4096, 1);
  image.set_parent();
  image.set_log({entry});
  auto file = image.make();
  Faulty faulty = {{}, 0, UINT32_MAX, false, false};
  ASSERT_TRUE(read_all(faulty, *file, &error)) << error.text;
  unsigned n = faulty.reads;
  ASSERT_GT(n, 8u);
  for (bool ends_early : {false, true})
    for (unsigned i = 0; i < n; i++) {
      faulty.fail_at = i;
      faulty.ends_early = ends_early;
      ASSERT_FALSE(read_all(faulty, *file, &error)) << i;
      EXPECT_EQ(error.code, VIRTDISK_ERROR_IO) << i << ": " << error.text;
    }
}

TEST(VhdxReading, ShortReadsAreContinued)
{
  Vhdx image;
  VdFormatError error;
  auto file = image.make();
  Faulty faulty = {{}, 0, UINT32_MAX, true, false};

  EXPECT_TRUE(read_all(faulty, *file, &error)) << error.text;
}
