// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

#include "images/cost.hh"
#include "images/iso.hh"
#include "virtdisk-enums.h"

extern "C" {
#include "formats/registry.h"
}

using images::Iso;
using images::IsoDescriptor;

namespace
{

bool probe(const images::Bytes &bytes, VdFacts *facts, VdFormatError *error)
{
  images::File file(bytes);

  return vd_format_probe(file.fd(), VIRTDISK_DEVICE_ISO, VD_CONTENT_SKIP, facts, error);
}

std::vector<IsoDescriptor> many(size_t count, const IsoDescriptor &descriptor, const IsoDescriptor &last)
{
  std::vector<IsoDescriptor> descriptors(count, descriptor);

  descriptors.push_back(last);
  return descriptors;
}

struct Case {
  const char *name;
  std::vector<IsoDescriptor> descriptors;
  bool good;
  uint64_t stride = 2048;
};

const Case kCases[] = {
    {"iso9660", {{"CD001", 1}, {"CD001", 255}}, true},
    {"without_terminator", {{"CD001", 1}}, true},
    {"boot_record_first", {{"CD001", 0}, {"CD001", 1}, {"CD001", 255}}, true},
    {"udf_2nd_edition", {{"BEA01", 0}, {"NSR02", 0}, {"TEA01", 0}}, true},
    {"udf_3rd_edition", {{"BEA01", 0}, {"NSR03", 0}, {"TEA01", 0}}, true},
    {"udf_without_begin", {{"NSR02", 0}}, true},
    {"udf_after_end_of_area", {{"BEA01", 0}, {"TEA01", 0}, {"NSR02", 0}}, true},
    {"udf_boot_before", {{"BEA01", 0}, {"BOOT2", 0}, {"NSR03", 0}, {"TEA01", 0}}, true},
    {"udf_4096", {{"BEA01", 0}, {"NSR03", 0}, {"TEA01", 0}}, true, 4096},
    {"bridge_behind_terminator", {{"CD001", 2}, {"CD001", 255}, {"BEA01", 0}, {"NSR02", 0}}, true},
    {"high_sierra", {{"CDROM", 1}}, true},
    {"the_64th", many(63, {"CD001", 0}, {"CD001", 1}), true},
    {"the_65th", many(64, {"CD001", 0}, {"CD001", 1}), false},
    {"nothing", {}, false},
    {"unknown", {{"CD002", 1}}, false},
    {"lower_case", {{"cd001", 1}}, false},
    {"boot_record_only", {{"CD001", 0}, {"CD001", 255}}, false},
    {"supplementary_only", {{"CD001", 2}, {"CD001", 255}}, false},
    {"area_without_volume", {{"BEA01", 0}, {"TEA01", 0}}, false},
    {"behind_a_gap", {{"CD001", 0}, {"xxxxx", 0}, {"CD001", 1}}, false},
    {"high_sierra_terminator_only", {{"CDROM", 255}}, false},
    {"udf_1st_edition", {{"BEA01", 0}, {"NSR01", 0}}, false},
};

class IsoSequence : public testing::TestWithParam<Case>
{
};

TEST_P(IsoSequence, IsJudged)
{
  Iso iso;
  VdFacts facts;
  VdFormatError error = {};

  iso.descriptors = GetParam().descriptors;
  iso.stride = GetParam().stride;
  iso.size = 200 * 2048;
  EXPECT_EQ(probe(iso.build(), &facts, &error), GetParam().good) << error.text;
  if (GetParam().good)
    return;
  EXPECT_EQ(error.code, VIRTDISK_ERROR_FILE_CORRUPT);
  EXPECT_EQ(error.offset, 32768u);
  EXPECT_STREQ(error.field, "identifier");
}

INSTANTIATE_TEST_SUITE_P(Sequences, IsoSequence, testing::ValuesIn(kCases),
                         [](const auto &info) { return std::string(info.param.name); });

} // namespace

TEST(Iso, Facts)
{
  VdFacts facts;
  VdFormatError error = {};

  ASSERT_TRUE(probe(Iso().build(), &facts, &error)) << error.text;
  EXPECT_EQ(facts.virtual_size, 40u * 2048);
  EXPECT_EQ(facts.sector_size, 2048u);
  EXPECT_EQ(facts.physical_sector_size, 2048u);
  EXPECT_EQ(facts.subtype, 0u);
  EXPECT_EQ(facts.linear, 1u);
  EXPECT_EQ(facts.has_identifier, 0u);
}

TEST(Iso, SmallestDisc)
{
  Iso iso;
  VdFacts facts;
  VdFormatError error = {};

  iso.descriptors = {{"CD001", 1}};
  iso.size = 34816;
  EXPECT_TRUE(probe(iso.build(), &facts, &error)) << error.text;
}

TEST(Iso, SizesThatNoDiscHas)
{
  for (uint64_t size : {0, 2048, 32768, 34815, 34817, 34816 + 512, 34816 + 2047}) {
    Iso iso;
    VdFacts facts;
    VdFormatError error = {};

    iso.size = size == 0 ? 1 : size;
    EXPECT_FALSE(probe(size == 0 ? images::Bytes() : iso.build(), &facts, &error)) << size;
    EXPECT_EQ(error.code, VIRTDISK_ERROR_FILE_CORRUPT) << size;
    EXPECT_STREQ(error.field, "file size") << size;
    EXPECT_EQ(error.offset, size);
  }
}

// Identifiers are looked for where descriptors begin, and nowhere else.
TEST(Iso, IdentifierInTheLastBytes)
{
  images::Bytes bytes(34816);
  VdFacts facts;
  VdFormatError error = {};

  images::put_text(bytes, bytes.size() - 5, "CD001");
  EXPECT_FALSE(probe(bytes, &facts, &error));
}

// 2352-byte sectors: sync bytes, header, then the descriptor.
TEST(Iso, RawCdSectorsAreNotCooked)
{
  images::Bytes bytes(2352 * 128);
  VdFacts facts;
  VdFormatError error = {};

  ASSERT_EQ(bytes.size() % 2048, 0u);
  images::put_text(bytes, 16 * 2352 + 16, "\001CD001");
  EXPECT_FALSE(probe(bytes, &facts, &error));
  EXPECT_EQ(error.code, VIRTDISK_ERROR_FILE_CORRUPT);
}
