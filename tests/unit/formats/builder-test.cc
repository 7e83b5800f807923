// SPDX-License-Identifier: LGPL-2.1-or-later
// Images that are filled while they are made: where the data goes, and that the whole of it is an image.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "images/vhdx.hh"
#include "virtdisk-enums.h"

extern "C" {
#include "formats/builder.h"
#include "formats/check.h"
#include "formats/registry.h"
#include "formats/vhd-bat.h"
#include "formats/vhdx.h"
}

using images::Bytes;

namespace
{

constexpr uint64_t kMiB = 1 << 20;

VdCreateSpec spec_of(uint32_t device_id, uint32_t subtype, uint64_t size, uint32_t block_size)
{
  VdCreateSpec spec = {};

  spec.device_id = device_id;
  spec.subtype = subtype;
  spec.size = size;
  spec.block_size = block_size;
  memset(spec.identifier, 1, 16);
  memset(spec.guids, 2, sizeof spec.guids);
  return spec;
}

struct Built {
  images::File file{Bytes()};
  VdFormatError error = {};
  VdBuilder *builder;

  explicit Built(const VdCreateSpec &spec) : builder(vd_builder_new(file.fd(), &spec, &error))
  {
    EXPECT_NE(builder, nullptr) << error.text;
  }
  ~Built()
  {
    vd_builder_free(builder);
  }
  uint64_t place(uint64_t offset)
  {
    uint64_t at = UINT64_MAX;

    EXPECT_TRUE(vd_builder_place(builder, offset, &at, &error)) << error.text;
    return at;
  }
  void write(uint64_t offset, const Bytes &bytes)
  {
    EXPECT_EQ(pwrite(file.fd(), bytes.data(), bytes.size(), static_cast<off_t>(place(offset))),
              static_cast<ssize_t>(bytes.size()));
  }
  void finish()
  {
    EXPECT_TRUE(vd_builder_finish(builder, &error)) << error.text;
  }
  bool is_image(uint32_t device_id, VdFacts *facts = nullptr)
  {
    VdFacts found;

    return vd_format_probe(file.fd(), device_id, VD_CONTENT_SKIP, facts ? facts : &found, &error);
  }
  uint64_t le64(uint64_t offset) const
  {
    uint64_t value = 0;

    EXPECT_EQ(pread(file.fd(), &value, 8, static_cast<off_t>(offset)), 8);
    return value;
  }
  struct stat stat() const
  {
    struct stat st = {};

    fstat(file.fd(), &st);
    return st;
  }
};

} // namespace

TEST(Builder, AVhdxIsNoneBeforeItIsFinished)
{
  Built built(spec_of(VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_DYNAMIC, 64 * kMiB, kMiB));

  built.write(5 * kMiB + 4096, Bytes(4096, 7));
  EXPECT_FALSE(built.is_image(VIRTDISK_DEVICE_VHDX));
  built.finish();
  EXPECT_TRUE(built.is_image(VIRTDISK_DEVICE_VHDX)) << built.error.text;
}

TEST(Builder, BlocksOfAVhdxFollowEachOtherInTheFile)
{
  Built built(spec_of(VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_DYNAMIC, 64 * kMiB, kMiB));
  uint64_t first = built.place(3 * kMiB);

  EXPECT_EQ(first % kMiB, 0u);
  EXPECT_EQ(built.place(3 * kMiB + 8192), first + 8192);
  EXPECT_EQ(built.place(40 * kMiB), first + kMiB);
  EXPECT_EQ(built.builder->block_size, kMiB);
  built.finish();
  EXPECT_EQ(static_cast<uint64_t>(built.stat().st_size), first + 2 * kMiB);
  EXPECT_EQ(built.le64(3 * kMiB + 3 * 8), first | 6);
  EXPECT_EQ(built.le64(3 * kMiB + 40 * 8), (first + kMiB) | 6);
  EXPECT_EQ(built.le64(3 * kMiB + 4 * 8), 0u);
}

// A table of more than one piece, and bitmap entries in between.
TEST(Builder, ALongTableOfAVhdxIsWrittenInPieces)
{
  Built built(spec_of(VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_DYNAMIC, UINT64_C(1) << 40, kMiB));
  uint64_t first = built.place(0), last;

  built.place(9000 * kMiB);
  last = built.place((UINT64_C(1) << 40) - 512);
  EXPECT_EQ(last, first + 3 * kMiB - 512);
  built.finish();
  EXPECT_EQ(built.le64(3 * kMiB), first | 6);
  EXPECT_EQ(built.le64(3 * kMiB + (9000 + 9000 / 4096) * 8), (first + kMiB) | 6);
  EXPECT_TRUE(built.is_image(VIRTDISK_DEVICE_VHDX)) << built.error.text;
}

TEST(Builder, BlocksOfAVhdBeginAlignedBehindTheirBits)
{
  Built built(spec_of(VIRTDISK_DEVICE_VHD, VIRTDISK_SUBTYPE_DYNAMIC, 64 * kMiB, 0));
  uint64_t first = built.place(2 * kMiB), second;
  uint8_t bits[512], table[4 * 32], ones[512];
  VdFacts facts;

  memset(ones, 0xff, sizeof ones);
  second = built.place(63 * kMiB);
  EXPECT_EQ(first % 4096, 0u);
  EXPECT_EQ((second - kMiB) % 4096, 0u);
  EXPECT_GE(second - kMiB, first + 2 * kMiB + 512);
  built.write(63 * kMiB, Bytes(512, 9));
  built.finish();
  ASSERT_TRUE(built.is_image(VIRTDISK_DEVICE_VHD, &facts)) << built.error.text;
  EXPECT_EQ(facts.is_4k_aligned, 1u);
  ASSERT_EQ(pread(built.file.fd(), bits, 512, static_cast<off_t>(first - 512)), 512);
  EXPECT_EQ(memcmp(bits, ones, 512), 0);
  ASSERT_EQ(pread(built.file.fd(), table, sizeof table, 0x600), static_cast<ssize_t>(sizeof table));
  EXPECT_EQ(vd_vhd_bat_entry(table, 1), (first - 512) / 512);
  EXPECT_EQ(vd_vhd_bat_entry(table, 31), (second - kMiB - 512) / 512);
  EXPECT_EQ(vd_vhd_bat_entry(table, 0), VD_VHD_BLOCK_NONE);
  EXPECT_EQ(vd_vhd_bat_entry(table, 30), VD_VHD_BLOCK_NONE);
}

TEST(Builder, FixedImagesAreLinear)
{
  struct {
    uint32_t device_id;
    uint64_t start;
  } rows[] = {{VIRTDISK_DEVICE_VHD, 0}, {VIRTDISK_DEVICE_VHDX, 4 * kMiB}, {VIRTDISK_DEVICE_RAW, 0}};

  for (const auto &row : rows) {
    VdCreateSpec spec = spec_of(row.device_id, VIRTDISK_SUBTYPE_FIXED, 16 * kMiB, 0);

    for (uint32_t whole : {0U, 1U}) {
      spec.whole = whole;
      Built built(spec);

      EXPECT_EQ(built.builder->block_size, 0u);
      EXPECT_EQ(built.builder->whole, whole != 0);
      EXPECT_EQ(built.place(5 * kMiB), row.start + 5 * kMiB);
      EXPECT_EQ(built.place(0), row.start);
      built.finish();
      EXPECT_TRUE(built.is_image(row.device_id)) << built.error.text;
      EXPECT_EQ(static_cast<uint64_t>(built.stat().st_blocks) * 512 >= 16 * kMiB, whole != 0);
    }
  }
}

TEST(Builder, RawIsAsLargeAsItsDisk)
{
  Built built(spec_of(VIRTDISK_DEVICE_RAW, VIRTDISK_SUBTYPE_DYNAMIC, 512, 0));

  built.finish();
  EXPECT_EQ(built.stat().st_size, 512);
}

TEST(Builder, WhatARawImageCannotBeIsRefused)
{
  images::File file{Bytes()};
  VdFormatError error = {};
  VdCreateSpec spec = spec_of(VIRTDISK_DEVICE_RAW, VIRTDISK_SUBTYPE_DYNAMIC, 511, 0);

  EXPECT_EQ(vd_builder_new(file.fd(), &spec, &error), nullptr);
  EXPECT_EQ(error.code, VIRTDISK_ERROR_VHD_INVALID_SIZE);
  spec.size = 512;
  spec.block_size = 4096;
  EXPECT_EQ(vd_builder_new(file.fd(), &spec, &error), nullptr);
  EXPECT_EQ(error.code, VIRTDISK_ERROR_INVALID_PARAMETER);
  spec.block_size = 0;
  spec.subtype = VIRTDISK_SUBTYPE_DIFFERENCING;
  EXPECT_EQ(vd_builder_new(file.fd(), &spec, &error), nullptr);
  EXPECT_EQ(error.code, VIRTDISK_ERROR_INVALID_PARAMETER);
}
