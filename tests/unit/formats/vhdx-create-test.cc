// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "images/vhdx.hh"
#include "virtdisk-enums.h"

extern "C" {
#include "formats/create.h"
#include "formats/registry.h"
#include "formats/vhdx.h"
}

using images::Bytes;

namespace
{

constexpr uint64_t kMiB = 1 << 20, kGiB = 1 << 30, kTiB = UINT64_C(1) << 40;

VdCreateSpec spec_of(uint32_t subtype, uint64_t size)
{
  VdCreateSpec spec = {};

  spec.device_id = VIRTDISK_DEVICE_VHDX;
  spec.subtype = subtype;
  spec.size = size;
  for (uint8_t i = 0; i < 16; i++) {
    spec.identifier[i] = i;
    spec.guids[0][i] = static_cast<uint8_t>(0x20 + i);
    spec.guids[1][i] = static_cast<uint8_t>(0x40 + i);
    spec.parent_linkage[i] = static_cast<uint8_t>(0x60 + i);
  }
  return spec;
}

struct Made {
  images::File file{Bytes()};
  VdFormatError error = {};
  bool good;
  VdFacts facts = {};
  VdVhdx vhdx = {};

  explicit Made(const VdCreateSpec &spec) : good(vd_vhdx_create(file.fd(), &spec, &error))
  {
    VdReader reader;

    if (!good)
      return;
    EXPECT_TRUE(vd_format_probe(file.fd(), VIRTDISK_DEVICE_VHDX, VD_CONTENT_SKIP, &facts, &error))
        << error.text;
    EXPECT_TRUE(vd_reader_init(&reader, file.fd(), &error));
    EXPECT_TRUE(vd_vhdx_read(&reader, &vhdx, &error)) << error.text;
  }
  ~Made()
  {
    vd_vhdx_clear(&vhdx);
  }
  struct stat stat() const
  {
    struct stat st = {};

    EXPECT_EQ(fstat(file.fd(), &st), 0);
    return st;
  }
};

void expect_refused(const VdCreateSpec &spec, VirtdiskError code, const char *field)
{
  auto made = std::make_unique<Made>(spec);

  ASSERT_FALSE(made->good) << field;
  EXPECT_EQ(made->error.code, code) << made->error.text;
  EXPECT_STREQ(made->error.field, field);
  EXPECT_EQ(made->stat().st_size, 0);
}

} // namespace

TEST(VhdxCreate, DynamicHasWindowsDefaults)
{
  auto made = std::make_unique<Made>(spec_of(VIRTDISK_SUBTYPE_DYNAMIC, kGiB));

  ASSERT_TRUE(made->good) << made->error.text;
  EXPECT_EQ(made->facts.subtype, static_cast<uint32_t>(VIRTDISK_SUBTYPE_DYNAMIC));
  EXPECT_EQ(made->facts.virtual_size, kGiB);
  EXPECT_EQ(made->facts.block_size, 32 * kMiB);
  EXPECT_EQ(made->facts.sector_size, 512u);
  EXPECT_EQ(made->facts.physical_sector_size, 4096u);
  EXPECT_EQ(memcmp(made->facts.identifier, spec_of(0, 0).identifier, 16), 0);
  EXPECT_EQ(made->stat().st_size, static_cast<off_t>(4 * kMiB));
  EXPECT_EQ(made->vhdx.header.log_offset, kMiB);
  EXPECT_EQ(made->vhdx.header.log_length, kMiB);
  EXPECT_EQ(made->vhdx.metadata.offset, 2 * kMiB);
  EXPECT_EQ(made->vhdx.bat.offset, 3 * kMiB);
  // As on disk, whatever order they were given in: random they are.
  EXPECT_EQ(memcmp(made->vhdx.header.file_write_guid, spec_of(0, 0).guids[0], 16), 0);
  EXPECT_EQ(memcmp(made->vhdx.header.data_write_guid, spec_of(0, 0).guids[1], 16), 0);
}

TEST(VhdxCreate, BothCopiesAreGood)
{
  auto made = std::make_unique<Made>(spec_of(VIRTDISK_SUBTYPE_DYNAMIC, kGiB));

  for (uint64_t offset : {64, 128, 192, 256}) {
    VdFormatError error;
    VdFacts facts;
    Bytes saved(512);

    ASSERT_EQ(pread(made->file.fd(), saved.data(), 512, static_cast<off_t>(offset << 10)), 512);
    made->file.put(offset << 10, Bytes(512));
    EXPECT_TRUE(vd_format_probe(made->file.fd(), VIRTDISK_DEVICE_VHDX, VD_CONTENT_SKIP, &facts, &error))
        << offset << ": " << error.text;
    made->file.put(offset << 10, saved);
  }
}

TEST(VhdxCreate, FixedIsOneRun)
{
  VdCreateSpec spec = spec_of(VIRTDISK_SUBTYPE_FIXED, 5 * kMiB);
  auto sparse = std::make_unique<Made>(spec);

  spec.whole = 1;
  auto whole = std::make_unique<Made>(spec);
  ASSERT_TRUE(sparse->good && whole->good) << whole->error.text;
  EXPECT_EQ(whole->facts.subtype, static_cast<uint32_t>(VIRTDISK_SUBTYPE_FIXED));
  EXPECT_EQ(whole->facts.block_size, 2 * kMiB);
  EXPECT_EQ(whole->facts.linear, 1u);
  EXPECT_EQ(whole->facts.payload_offset, 4 * kMiB);
  EXPECT_EQ(whole->stat().st_size, static_cast<off_t>(10 * kMiB)) << "the last block is whole";
  EXPECT_GE(whole->stat().st_blocks, static_cast<blkcnt_t>(6 * kMiB / 512));
  EXPECT_LT(sparse->stat().st_blocks, static_cast<blkcnt_t>(2 * kMiB / 512));
}

// So many that entries of bitmaps lie between, and more than are written in one go.
TEST(VhdxCreate, LargeFixedIsOneRun)
{
  VdCreateSpec spec = spec_of(VIRTDISK_SUBTYPE_FIXED, 200 * kGiB);

  spec.block_size = kMiB;
  auto made = std::make_unique<Made>(spec);
  ASSERT_TRUE(made->good) << made->error.text;
  EXPECT_EQ(made->facts.linear, 1u);
  EXPECT_EQ(made->facts.payload_offset, 5 * kMiB);
}

TEST(VhdxCreate, TheLargest)
{
  VdCreateSpec spec = spec_of(VIRTDISK_SUBTYPE_DYNAMIC, 64 * kTiB);

  spec.block_size = kMiB;
  auto made = std::make_unique<Made>(spec);
  ASSERT_TRUE(made->good) << made->error.text;
  EXPECT_EQ(made->facts.virtual_size, 64 * kTiB);
  EXPECT_EQ(made->vhdx.bat.length, 513 * kMiB);
  EXPECT_LT(made->stat().st_blocks, static_cast<blkcnt_t>(kMiB / 512));
}

TEST(VhdxCreate, AllBlocksAndSectors)
{
  for (uint32_t mib = 1; mib <= 256; mib *= 2)
    for (uint32_t sector : {512, 4096}) {
      VdCreateSpec spec = spec_of(VIRTDISK_SUBTYPE_DYNAMIC, 10 * kGiB);

      spec.block_size = static_cast<uint32_t>(mib * kMiB);
      spec.sector_size = sector;
      spec.physical_sector_size = sector;
      auto made = std::make_unique<Made>(spec);
      ASSERT_TRUE(made->good) << made->error.text;
      EXPECT_EQ(made->facts.block_size, spec.block_size);
      EXPECT_EQ(made->facts.sector_size, sector);
      EXPECT_EQ(made->facts.physical_sector_size, sector);
    }
}

TEST(VhdxCreate, Differencing)
{
  VdCreateSpec spec = spec_of(VIRTDISK_SUBTYPE_DIFFERENCING, 3 * kMiB);

  strcpy(spec.parent_relative, "sub/p\xc3\xa4.vhdx");
  strcpy(spec.parent_absolute, "C:\\sub\\p.vhdx");
  auto made = std::make_unique<Made>(spec);
  ASSERT_TRUE(made->good) << made->error.text;
  EXPECT_EQ(made->facts.subtype, static_cast<uint32_t>(VIRTDISK_SUBTYPE_DIFFERENCING));
  EXPECT_EQ(made->facts.block_size, 2 * kMiB);
  EXPECT_EQ(memcmp(made->facts.parent_id, spec.parent_linkage, 16), 0);
  ASSERT_EQ(made->facts.n_parent_places, 2u);
  EXPECT_STREQ(made->facts.parent_places[0].path, ".\\sub\\p\xc3\xa4.vhdx");
  EXPECT_STREQ(made->facts.parent_places[1].path, "C:\\sub\\p.vhdx");
}

TEST(VhdxCreate, RelativePathsTheWayOfWindows)
{
  for (const auto &[given, written] :
       std::map<std::string, std::string>{{"p", ".\\p"}, {"./p", ".\\p"}, {"../a/p", "..\\a\\p"}}) {
    VdCreateSpec spec = spec_of(VIRTDISK_SUBTYPE_DIFFERENCING, 3 * kMiB);

    strcpy(spec.parent_relative, given.c_str());
    auto made = std::make_unique<Made>(spec);
    ASSERT_EQ(made->facts.n_parent_places, 1u) << made->error.text;
    EXPECT_EQ(made->facts.parent_places[0].path, written);
  }
}

TEST(VhdxCreate, WhatCannotBe)
{
  VdCreateSpec good = spec_of(VIRTDISK_SUBTYPE_DYNAMIC, kGiB), spec = good;

  for (uint64_t size : {UINT64_C(0), 3 * kMiB - 512, kGiB + 1, 64 * kTiB + 512, UINT64_MAX}) {
    spec.size = size;
    expect_refused(spec, VIRTDISK_ERROR_VHD_INVALID_SIZE, "size");
  }
  spec = good;
  spec.sector_size = 4096;
  spec.size = kGiB + 512;
  expect_refused(spec, VIRTDISK_ERROR_VHD_INVALID_SIZE, "size");
  for (uint32_t block : {uint32_t(kMiB / 2), uint32_t(3 * kMiB), uint32_t(512 * kMiB), 1u}) {
    spec = good;
    spec.block_size = block;
    expect_refused(spec, VIRTDISK_ERROR_INVALID_PARAMETER, "block_size");
  }
  for (uint32_t sector : {1u, 513u, 2048u, 8192u}) {
    spec = good;
    spec.sector_size = sector;
    expect_refused(spec, VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE, "sector_size");
    spec = good;
    spec.physical_sector_size = sector;
    expect_refused(spec, VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE, "physical_sector_size");
  }
  spec = good;
  spec.sector_size = 4096;
  spec.physical_sector_size = 512;
  expect_refused(spec, VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE, "physical_sector_size");
  spec = good;
  spec.subtype = VIRTDISK_SUBTYPE_NONE;
  expect_refused(spec, VIRTDISK_ERROR_INVALID_PARAMETER, "subtype");
}

TEST(VhdxCreate, ParentsThatCannotBeWritten)
{
  VdCreateSpec good = spec_of(VIRTDISK_SUBTYPE_DIFFERENCING, kGiB), spec = good;

  for (const char *path : {"a\\b", "/a"}) {
    strcpy(spec.parent_relative, path);
    expect_refused(spec, VIRTDISK_ERROR_INVALID_PARAMETER, "parent_relative");
  }
  memset(spec.parent_relative, 'a', sizeof spec.parent_relative);
  expect_refused(spec, VIRTDISK_ERROR_INVALID_PARAMETER, "parent_relative");
  spec = good;
  memset(spec.parent_absolute, 'a', sizeof spec.parent_absolute);
  expect_refused(spec, VIRTDISK_ERROR_INVALID_PARAMETER, "parent_absolute");
  strcpy(spec.parent_absolute, "\xff");
  expect_refused(spec, VIRTDISK_ERROR_INVALID_PARAMETER, "parent_absolute");
}

TEST(VhdxCreate, OnlyAnEmptyFileIsWritten)
{
  VdCreateSpec spec = spec_of(VIRTDISK_SUBTYPE_DYNAMIC, kGiB);
  images::File file(Bytes(512, 7));
  VdFormatError error;

  EXPECT_FALSE(vd_vhdx_create(file.fd(), &spec, &error));
  EXPECT_EQ(error.code, VIRTDISK_ERROR_INVALID_PARAMETER);
}

TEST(VhdxCreate, ADiskThatIsFullIsNamed)
{
  VdCreateSpec spec = spec_of(VIRTDISK_SUBTYPE_DYNAMIC, kGiB);
  images::Directory directory;
  VdFormatError error;
  int fd = open("/dev/full", O_RDWR | O_CLOEXEC);

  if (fd < 0)
    GTEST_SKIP() << "no /dev/full";
  EXPECT_FALSE(vd_vhdx_create(fd, &spec, &error)) << "no regular file";
  EXPECT_EQ(error.code, VIRTDISK_ERROR_INVALID_PARAMETER);
  close(fd);
  // A seal against growth is the nearest to a full disk that a file in memory has.
  images::File file((Bytes()));
  int sealed = memfd_create("image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ASSERT_EQ(fcntl(sealed, F_ADD_SEALS, F_SEAL_GROW), 0);
  EXPECT_FALSE(vd_vhdx_create(sealed, &spec, &error));
  EXPECT_EQ(error.code, VIRTDISK_ERROR_IO) << error.text;
  close(sealed);
}

TEST(Create, ByFormat)
{
  VdCreateSpec spec = spec_of(VIRTDISK_SUBTYPE_DYNAMIC, kGiB);
  images::File file((Bytes()));
  VdFormatError error;

  spec.device_id = VIRTDISK_DEVICE_ISO;
  EXPECT_FALSE(vd_create(file.fd(), &spec, &error));
  EXPECT_EQ(error.code, VIRTDISK_ERROR_NOT_SUPPORTED);
  spec.device_id = VIRTDISK_DEVICE_VHDX;
  EXPECT_TRUE(vd_create(file.fd(), &spec, &error)) << error.text;
}
