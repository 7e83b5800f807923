// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

#include "images/vhd.hh"
#include "virtdisk-enums.h"

extern "C" {
#include "formats/registry.h"
}

namespace
{

bool probe(const images::File &file, VdFacts *facts, VdFormatError *error)
{
  return vd_format_probe(file.fd(), VIRTDISK_DEVICE_RAW, VD_CONTENT_SKIP, facts, error);
}

} // namespace

TEST(Raw, IsItsFile)
{
  images::File file({}, 5 << 20);
  VdFacts facts;
  VdFormatError error = {};

  ASSERT_TRUE(probe(file, &facts, &error)) << error.text;
  EXPECT_EQ(facts.virtual_size, 5u << 20);
  EXPECT_EQ(facts.linear, 1u);
  EXPECT_EQ(facts.payload_offset, 0u);
  EXPECT_EQ(facts.sector_size, 512u);
  EXPECT_EQ(facts.subtype, 0u);
  EXPECT_EQ(facts.has_identifier, 0u);
}

TEST(Raw, SizeMustBeWholeSectors)
{
  for (uint64_t size : {0, 1, 511, 513, 1535}) {
    images::File file({}, size);
    VdFacts facts;
    VdFormatError error = {};

    EXPECT_FALSE(probe(file, &facts, &error)) << size;
    EXPECT_EQ(error.code, VIRTDISK_ERROR_VHD_INVALID_SIZE) << size;
    EXPECT_STREQ(error.field, "file size");
    EXPECT_NE(strstr(error.text, std::to_string(size).c_str()), nullptr) << error.text;
  }
}

TEST(Raw, StaysRawWhateverItCarries)
{
  images::Bytes vhdx(4096);
  VdFacts facts;
  VdFormatError error = {};

  images::put_text(vhdx, 0, "vhdxfile");
  images::File head(vhdx);
  EXPECT_TRUE(probe(head, &facts, &error)) << error.text;
  EXPECT_EQ(facts.virtual_size, 4096u);
  images::File trailer(images::fixed_vhd(images::Bytes(1 << 20)));
  EXPECT_TRUE(probe(trailer, &facts, &error)) << error.text;
  EXPECT_EQ(facts.virtual_size, (1u << 20) + 512) << "the footer is part of a raw disk";
}
