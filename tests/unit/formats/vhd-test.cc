// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

#include "images/cost.hh"
#include "images/vhd.hh"
#include "virtdisk-enums.h"

extern "C" {
#include "formats/registry.h"
}

using images::Bytes;
using images::VhdFooter;

namespace
{

struct Answer {
  bool good;
  VdFacts facts;
  VdFormatError error;
};

Answer probe(const images::File &file)
{
  Answer answer = {};

  answer.good =
      vd_format_probe(file.fd(), VIRTDISK_DEVICE_VHD, VD_CONTENT_SKIP, &answer.facts, &answer.error);
  return answer;
}

VhdFooter footer_of_size(uint64_t size)
{
  VhdFooter footer;

  footer.current_size = size;
  return footer;
}

VhdFooter sparse_footer(uint32_t type)
{
  VhdFooter footer;

  footer.type = type;
  footer.data_offset = 512;
  return footer;
}

} // namespace

TEST(Vhd, FixedIsLinear)
{
  images::File file(images::fixed_vhd(Bytes(1 << 20)));
  Answer answer = probe(file);

  ASSERT_TRUE(answer.good) << answer.error.text;
  EXPECT_EQ(answer.facts.device_id, static_cast<uint32_t>(VIRTDISK_DEVICE_VHD));
  EXPECT_EQ(answer.facts.subtype, static_cast<uint32_t>(VIRTDISK_SUBTYPE_FIXED));
  EXPECT_EQ(answer.facts.virtual_size, 1u << 20);
  EXPECT_EQ(answer.facts.file_size, (1u << 20) + 512);
  EXPECT_EQ(answer.facts.payload_offset, 0u);
  EXPECT_EQ(answer.facts.linear, 1u);
  EXPECT_EQ(answer.facts.sector_size, 512u);
  EXPECT_EQ(answer.facts.physical_sector_size, 512u);
  EXPECT_EQ(answer.facts.has_identifier, 1u);
  EXPECT_EQ(answer.facts.identifier[0], 0x10);
  EXPECT_EQ(answer.facts.identifier[15], 0x1f);
  EXPECT_EQ(answer.facts.is_4k_aligned, 1u);
  EXPECT_EQ(answer.facts.saved_state, 0u);
}

TEST(Vhd, FooterOf511Bytes)
{
  images::File file(images::joined(Bytes(1 << 20), VhdFooter().build_short()));
  Answer answer = probe(file);

  ASSERT_TRUE(answer.good) << answer.error.text;
  EXPECT_EQ(answer.facts.virtual_size, 1u << 20);
}

TEST(Vhd, SmallerThanItsRoomIsAllowed)
{
  images::File file(images::joined(Bytes((1 << 20) + 4096), VhdFooter().build()));
  Answer answer = probe(file);

  ASSERT_TRUE(answer.good) << answer.error.text;
  EXPECT_EQ(answer.facts.virtual_size, 1u << 20);
}

TEST(Vhd, SavedStateIsToldNotRefused)
{
  VhdFooter footer;

  footer.saved_state = 1;
  images::File file(images::joined(Bytes(1 << 20), footer.build()));
  Answer answer = probe(file);

  ASSERT_TRUE(answer.good) << answer.error.text;
  EXPECT_EQ(answer.facts.saved_state, 1u);
}

TEST(Vhd, LargerThanItsRoomIsRefused)
{
  images::File file(images::joined(Bytes((1 << 20) - 512), VhdFooter().build()));
  Answer answer = probe(file);

  ASSERT_FALSE(answer.good);
  EXPECT_EQ(answer.error.code, VIRTDISK_ERROR_VHD_INVALID_FILE_SIZE) << answer.error.text;
  EXPECT_STREQ(answer.error.field, "current_size");
  EXPECT_EQ(answer.error.offset, (1u << 20) - 512 + 48);
}

TEST(Vhd, DiskThatReachesIntoItsOwnFooterIsRefused)
{
  images::File file(images::joined(Bytes(1 << 20), footer_of_size((1 << 20) + 512).build()));

  EXPECT_EQ(probe(file).error.code, VIRTDISK_ERROR_VHD_INVALID_FILE_SIZE);
}

TEST(Vhd, GiantDiskInATinyFileIsRefused)
{
  images::File file(images::joined(Bytes(4096), footer_of_size(UINT64_C(2040) << 30).build()));

  EXPECT_EQ(probe(file).error.code, VIRTDISK_ERROR_VHD_INVALID_FILE_SIZE);
}

TEST(Vhd, FilesTooShortForAFooter)
{
  for (uint64_t size : {0, 1, 510}) {
    images::File file(Bytes(size, 0));

    EXPECT_EQ(probe(file).error.code, VIRTDISK_ERROR_VHD_DRIVE_FOOTER_MISSING) << size;
  }
}

TEST(Vhd, FileOfJustAFooter)
{
  images::File full(VhdFooter().build());
  images::File cut(VhdFooter().build_short());
  images::File empty(footer_of_size(0).build());

  EXPECT_EQ(probe(full).error.code, VIRTDISK_ERROR_VHD_INVALID_FILE_SIZE);
  EXPECT_EQ(probe(cut).error.code, VIRTDISK_ERROR_VHD_INVALID_FILE_SIZE);
  EXPECT_EQ(probe(empty).error.code, VIRTDISK_ERROR_VHD_INVALID_SIZE);
}

TEST(Vhd, NoFooterAtAll)
{
  images::File file(Bytes(1 << 20));
  Answer answer = probe(file);

  EXPECT_EQ(answer.error.code, VIRTDISK_ERROR_VHD_DRIVE_FOOTER_MISSING);
  EXPECT_STREQ(answer.error.field, "cookie");
  EXPECT_EQ(answer.error.offset, (1u << 20) - 512);
}

TEST(Vhd, TruncatedByOneSector)
{
  Bytes bytes = images::fixed_vhd(Bytes(1 << 20));

  bytes.resize(bytes.size() - 512);
  images::File file(bytes);
  EXPECT_EQ(probe(file).error.code, VIRTDISK_ERROR_VHD_DRIVE_FOOTER_MISSING);
}

TEST(Vhd, SparseFooterWithoutItsHeader)
{
  for (uint32_t type : {3, 4}) {
    Bytes footer = sparse_footer(type).build();
    images::File file(images::joined(images::joined(footer, Bytes(4096)), footer));
    Answer answer = probe(file);

    EXPECT_EQ(answer.error.code, VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT);
    EXPECT_STREQ(answer.error.field, "cookie");
    EXPECT_EQ(answer.error.offset, 512u);
  }
}

TEST(Vhd, FixedCopyInFrontIsNoFooter)
{
  images::File file(images::joined(VhdFooter().build(), Bytes(2 << 20)));

  EXPECT_EQ(probe(file).error.code, VIRTDISK_ERROR_VHD_DRIVE_FOOTER_MISSING);
}

// What a guest writes into its first sector must not change what its image is.
TEST(Vhd, TrailerWinsOverTheGuestsSectorZero)
{
  Bytes payload = images::joined(sparse_footer(3).build(), Bytes((1 << 20) - 512));
  images::File dynamic_inside(images::fixed_vhd(payload));

  EXPECT_TRUE(probe(dynamic_inside).good);
  images::put_text(payload, 0, "vhdxfile");
  images::File vhdx_inside(images::fixed_vhd(payload));
  EXPECT_TRUE(probe(vhdx_inside).good);
}

TEST(Vhd, FileOfUnevenLength)
{
  images::File file(images::joined(Bytes((1 << 20) + 100), VhdFooter().build()));

  EXPECT_TRUE(probe(file).good);
}
