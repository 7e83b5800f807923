// SPDX-License-Identifier: LGPL-2.1-or-later
// What libblkid says, as it arrives in the facts.
#include <gtest/gtest.h>

#include "images/cost.hh"
#include "images/iso.hh"
#include "images/partitions.hh"
#include "images/vhd.hh"
#include "virtdisk-enums.h"

extern "C" {
#include "formats/content.h"
}

using images::Bytes;

namespace
{

constexpr uint64_t kMiB = 1 << 20;

VdFacts look(const Bytes &bytes, uint32_t device = VIRTDISK_DEVICE_RAW)
{
  images::File file(bytes);
  VdFacts facts;
  VdFormatError error = {};

  EXPECT_TRUE(vd_format_probe(file.fd(), device, VD_CONTENT_LOOK, &facts, &error)) << error.text;
  return facts;
}

const VdContent *find(const VdFacts &facts, uint32_t partition)
{
  for (uint32_t i = 0; i < facts.n_contents; i++)
    if (facts.contents[i].partition == partition)
      return &facts.contents[i];
  return nullptr;
}

std::string copied(const char *text, size_t size = 16)
{
  std::vector<char> buffer(size, 'x');

  vd_content_copy_text(buffer.data(), size, text);
  EXPECT_EQ(buffer.back(), '\0');
  return buffer.data();
}

} // namespace

TEST(Content, NothingInside)
{
  VdFacts facts = look(Bytes(kMiB));

  EXPECT_EQ(facts.n_contents, 0u);
  EXPECT_STREQ(facts.pt_type, "");
  EXPECT_EQ(facts.smallest_safe_size, 0u);
}

TEST(Content, NotAskedForNotLookedAt)
{
  Bytes disk(kMiB);
  VdFacts facts;
  VdFormatError error;

  images::put_swap(disk, 0, "swapped");
  images::File file(disk);
  ASSERT_TRUE(vd_format_probe(file.fd(), VIRTDISK_DEVICE_RAW, VD_CONTENT_SKIP, &facts, &error));
  EXPECT_EQ(facts.n_contents, 0u);
}

TEST(Content, WholeDisk)
{
  Bytes disk(kMiB);

  images::put_swap(disk, 0, "swapped");
  VdFacts facts = look(disk);
  ASSERT_EQ(facts.n_contents, 1u);
  EXPECT_EQ(facts.contents[0].partition, 0u);
  EXPECT_EQ(facts.contents[0].size, kMiB);
  EXPECT_STREQ(facts.contents[0].type, "swap");
  EXPECT_STREQ(facts.contents[0].usage, "other");
  EXPECT_STREQ(facts.contents[0].label, "swapped");
  EXPECT_STREQ(facts.contents[0].uuid, "42000000-0000-0000-0000-000000000000");
}

TEST(Content, IsoHasALabelAndNoPartitions)
{
  images::Iso iso;

  iso.size = kMiB;
  Bytes bytes = iso.build();
  images::put_mbr(bytes, 0, {{0x83, 64, 1024}}, 0x1234);
  VdFacts facts = look(bytes, VIRTDISK_DEVICE_ISO);
  ASSERT_EQ(facts.n_contents, 1u);
  EXPECT_STREQ(facts.contents[0].type, "iso9660");
  EXPECT_STREQ(facts.contents[0].label, "LABEL");
  EXPECT_STREQ(facts.pt_type, "") << "an isohybrid's table is for another sector size";
}

TEST(Content, MbrWithLogicalDrives)
{
  Bytes disk(8 * kMiB);

  images::put_mbr(disk, 0, {{0x83, 2048, 2048}, {0x05, 4096, 8192}}, 0xcafe0001);
  images::put_mbr(disk, 4096, {{0x83, 2048, 2048}, {0x05, 4096, 4096}});
  images::put_mbr(disk, 8192, {{0x82, 2048, 1024}});
  images::put_swap(disk, 6144 * 512, "logical");
  VdFacts facts = look(disk);
  EXPECT_STREQ(facts.pt_type, "dos");
  ASSERT_EQ(facts.n_contents, 4u);
  ASSERT_NE(find(facts, 5), nullptr);
  EXPECT_EQ(find(facts, 5)->offset, 6144u * 512);
  EXPECT_EQ(find(facts, 5)->size, kMiB);
  EXPECT_STREQ(find(facts, 5)->type, "swap");
  EXPECT_STREQ(find(facts, 5)->label, "logical");
  EXPECT_STREQ(find(facts, 5)->part_uuid, "cafe0001-05");
  ASSERT_NE(find(facts, 6), nullptr);
  EXPECT_STREQ(find(facts, 6)->part_type, "0x82");
  EXPECT_STREQ(find(facts, 1)->part_type, "0x83");
  EXPECT_STREQ(find(facts, 2)->part_type, "0x5");
  EXPECT_EQ(facts.smallest_safe_size, (4096u + 8192) * 512) << "the extended partition ends last";
}

TEST(Content, Gpt)
{
  Bytes disk(4 * kMiB);
  images::Gpt gpt;

  gpt.entries = {{2048, 4095, "first"}, {4096, 6143, "second"}};
  gpt.put(disk);
  images::put_swap(disk, 4096 * 512, "inside");
  VdFacts facts = look(disk);
  EXPECT_STREQ(facts.pt_type, "gpt");
  ASSERT_EQ(facts.n_contents, 2u);
  ASSERT_NE(find(facts, 2), nullptr);
  EXPECT_STREQ(find(facts, 1)->part_name, "first");
  EXPECT_STREQ(find(facts, 1)->part_type, "0fc63daf-8483-4772-8e79-3d69d8477de4");
  EXPECT_EQ(find(facts, 2)->offset, 2 * kMiB);
  EXPECT_EQ(find(facts, 2)->size, kMiB);
  EXPECT_STREQ(find(facts, 2)->label, "inside");
  EXPECT_EQ(facts.smallest_safe_size, 3 * kMiB + 33 * 512);
}

TEST(Content, GptInsideAFixedVhd)
{
  Bytes disk(4 * kMiB);
  images::Gpt gpt;

  gpt.entries = {{2048, 4095, "first"}};
  gpt.put(disk);
  VdFacts facts = look(images::fixed_vhd(disk), VIRTDISK_DEVICE_VHD);
  EXPECT_STREQ(facts.pt_type, "gpt");
  EXPECT_EQ(facts.n_contents, 1u);
}

// The footer lies outside the disk, and so must what libblkid finds.
TEST(Content, ReadsThePayloadOnly)
{
  images::VhdFooter footer;
  Bytes room(2 * kMiB);
  images::Gpt gpt;

  gpt.entries = {{2048, 3000, "beyond"}};
  gpt.put(room);
  footer.current_size = kMiB / 2;
  VdFacts facts = look(images::joined(room, footer.build()), VIRTDISK_DEVICE_VHD);
  EXPECT_EQ(facts.virtual_size, kMiB / 2);
  EXPECT_EQ(facts.n_contents, 0u);
}

TEST(Content, EmptyTablesNeedTheirOwnRoom)
{
  Bytes mbr(kMiB), gpt(kMiB);

  images::put_mbr(mbr, 0, {}, 0x1234);
  images::Gpt().put(gpt);
  EXPECT_EQ(look(mbr).smallest_safe_size, look(mbr).pt_type[0] == '\0' ? 0u : 512u);
  EXPECT_EQ(look(gpt).smallest_safe_size, (34u + 33) * 512);
}

TEST(Content, PartitionBeyondTheDisk)
{
  Bytes disk(2 * kMiB);

  images::put_mbr(disk, 0, {{0x83, 2048, 1 << 20}, {0x83, 1 << 20, 2048}, {0x83, 0xffffffff, 0xffffffff}}, 1);
  VdFacts facts = look(disk);
  ASSERT_EQ(facts.n_contents, 1u);
  EXPECT_EQ(facts.contents[0].size, kMiB);
  EXPECT_EQ(facts.contents[0].flags, VD_CONTENT_CUT);
  EXPECT_EQ(facts.smallest_safe_size, 2 * kMiB);
}

TEST(Content, LoopOfExtendedPartitionsEnds)
{
  Bytes disk(8 * kMiB);

  images::put_mbr(disk, 0, {{0x05, 4096, 8192}}, 0xcafe0001);
  images::put_mbr(disk, 4096, {{0x83, 2048, 16}, {0x05, 0, 8192}});
  EXPECT_LE(look(disk).n_contents, VD_MAX_PARTITIONS + 1u);
}

TEST(Content, GptTableOfManyEntriesKeepsTheCeiling)
{
  Bytes disk(4 * kMiB);
  images::Gpt gpt;

  gpt.table_size = 256;
  for (uint64_t i = 0; i < 200; i++)
    gpt.entries.push_back({2048 + i * 8, 2048 + i * 8 + 7, "p"});
  gpt.put(disk);
  EXPECT_LE(look(disk).n_contents, VD_MAX_PARTITIONS + 1u);
  EXPECT_GE(look(disk).n_contents, 100u);
}

TEST(Content, TextIsCleaned)
{
  EXPECT_EQ(copied("plain"), "plain");
  EXPECT_EQ(copied(nullptr), "");
  EXPECT_EQ(copied("a\nb\x1b[1mc\x7f"), "ab[1mc");
  EXPECT_EQ(copied("\xc2\x85"
                   "C1"),
            "C1");
  EXPECT_EQ(copied("\xc3\xa4\xe2\x82\xac\xf0\x9f\x92\xbf"), "\xc3\xa4\xe2\x82\xac\xf0\x9f\x92\xbf");
  EXPECT_EQ(copied("a\xff\xc3"), "a");
  EXPECT_EQ(copied("\xc0\xaf\xe0\x80\xaf"), "") << "overlong";
  EXPECT_EQ(copied("\xed\xa0\x80x"), "x") << "surrogate";
  EXPECT_EQ(copied("\xf4\x90\x80\x80x"), "x") << "beyond Unicode";
  EXPECT_EQ(copied("12345678", 5), "1234");
  EXPECT_EQ(copied("123\xc3\xa4", 5), "123") << "cut at a whole character";
}
