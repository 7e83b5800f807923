// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>
#include <fcntl.h>
#include <glib.h>
#include <sys/stat.h>

#include "images/vhd.hh"
#include "virtdisk-enums.h"

extern "C" {
#include "formats/create.h"
#include "formats/registry.h"
#include "formats/vhd-bat.h"
}

using images::Bytes;

namespace
{

constexpr uint64_t kMiB = 1 << 20;

VdCreateSpec spec_of(uint32_t subtype, uint64_t size)
{
  VdCreateSpec spec = {};

  spec.device_id = VIRTDISK_DEVICE_VHD;
  spec.subtype = subtype;
  spec.size = size;
  spec.unix_time = VD_VHD_EPOCH + 5;
  for (uint8_t i = 0; i < 16; i++)
    spec.identifier[i] = static_cast<uint8_t>(0x30 + i);
  return spec;
}

VdCreateSpec child_spec()
{
  VdCreateSpec spec = spec_of(VIRTDISK_SUBTYPE_DIFFERENCING, 10 * kMiB);

  spec.parent_linkage[0] = 0x77;
  strcpy(spec.parent_relative, "../base/parent.vhd");
  return spec;
}

class VhdCreate : public testing::Test
{
protected:
  VhdCreate() : file_({}) {}
  bool create(const VdCreateSpec &spec)
  {
    return vd_vhd_create(file_.fd(), &spec, &error_);
  }
  void create_and_probe(const VdCreateSpec &spec)
  {
    ASSERT_TRUE(create(spec)) << error_.text;
    ASSERT_TRUE(vd_format_probe(file_.fd(), VIRTDISK_DEVICE_VHD, VD_CONTENT_SKIP, &facts_, &error_))
        << error_.text;
    EXPECT_EQ(facts_.virtual_size, spec.size);
    EXPECT_EQ(facts_.subtype, spec.subtype);
    EXPECT_EQ(memcmp(facts_.identifier, spec.identifier, 16), 0);
    EXPECT_EQ(facts_.is_4k_aligned, 1u);
    EXPECT_EQ(facts_.needs_repair, 0u);
    EXPECT_EQ(facts_.timestamp, 5u);
  }
  void expect_refused(const VdCreateSpec &spec, VirtdiskError code, const char *field)
  {
    struct stat st;

    ASSERT_FALSE(create(spec));
    EXPECT_EQ(error_.code, code) << error_.text;
    EXPECT_STREQ(error_.field, field);
    ASSERT_EQ(fstat(file_.fd(), &st), 0);
    EXPECT_EQ(st.st_size, 0);
  }
  Bytes read(uint64_t offset, size_t length)
  {
    Bytes bytes(length);

    EXPECT_EQ(pread(file_.fd(), bytes.data(), length, static_cast<off_t>(offset)),
              static_cast<ssize_t>(length));
    return bytes;
  }

  images::File file_;
  VdFacts facts_ = {};
  VdFormatError error_ = {};
};

} // namespace

TEST_F(VhdCreate, Fixed)
{
  create_and_probe(spec_of(VIRTDISK_SUBTYPE_FIXED, 3 * kMiB));
  EXPECT_EQ(facts_.file_size, 3 * kMiB + 512);
  EXPECT_EQ(facts_.linear, 1u);
}

TEST_F(VhdCreate, FixedWithAllItsSpace)
{
  VdCreateSpec spec = spec_of(VIRTDISK_SUBTYPE_FIXED, 3 * kMiB);
  struct stat st;

  spec.whole = 1;
  create_and_probe(spec);
  ASSERT_EQ(fstat(file_.fd(), &st), 0);
  EXPECT_GE(st.st_blocks * 512, static_cast<off_t>(3 * kMiB));
}

// The layout of an empty 127 GiB disk that Hyper-V made.
TEST_F(VhdCreate, DynamicAsWindowsHasIt)
{
  create_and_probe(spec_of(VIRTDISK_SUBTYPE_DYNAMIC, 127 * 1024 * kMiB));
  EXPECT_EQ(facts_.file_size, 0x41000u);
  EXPECT_EQ(facts_.block_size, 2 * kMiB);
  EXPECT_EQ(read(0, 512), read(0x40e00, 512)) << "front copy and trailer";
  EXPECT_EQ(read(0x600, 0x40000 - 0x600), Bytes(0x40000 - 0x600, 0xff)) << "the table and its padding";
  EXPECT_EQ(read(0x40000, 0xe00), Bytes(0xe00));
}

TEST_F(VhdCreate, DynamicInSmallBlocks)
{
  VdCreateSpec spec = spec_of(VIRTDISK_SUBTYPE_DYNAMIC, VD_VHD_MAX_SIZE);

  spec.block_size = 512 << 10;
  create_and_probe(spec);
  EXPECT_EQ(facts_.block_size, 512u << 10);
}

TEST_F(VhdCreate, TheLastBlockMayBePartOfTheDisk)
{
  create_and_probe(spec_of(VIRTDISK_SUBTYPE_DYNAMIC, 4 * kMiB + 512));
}

TEST_F(VhdCreate, Differencing)
{
  create_and_probe(child_spec());
  EXPECT_EQ(facts_.has_parent, 1u);
  EXPECT_EQ(facts_.parent_id[0], 0x77);
  EXPECT_EQ(facts_.parent_timestamp, 0u);
  ASSERT_EQ(facts_.n_parent_places, 2u);
  EXPECT_EQ(facts_.parent_places[0].kind, static_cast<uint32_t>(VD_PLACE_RELATIVE));
  EXPECT_STREQ(facts_.parent_places[0].path, "..\\base\\parent.vhd");
  EXPECT_STREQ(facts_.parent_places[1].path, "parent.vhd");
}

TEST_F(VhdCreate, DifferencingWithBothPaths)
{
  VdCreateSpec spec = child_spec();

  strcpy(spec.parent_relative, "./parent.vhd");
  strcpy(spec.parent_absolute, "C:\\base\\parent.vhd");
  create_and_probe(spec);
  ASSERT_EQ(facts_.n_parent_places, 2u) << "the name is the absolute path";
  EXPECT_STREQ(facts_.parent_places[0].path, ".\\parent.vhd");
  EXPECT_EQ(facts_.parent_places[1].kind, static_cast<uint32_t>(VD_PLACE_ABSOLUTE));
  EXPECT_STREQ(facts_.parent_places[1].path, "C:\\base\\parent.vhd");
}

TEST_F(VhdCreate, ALongerPathThanTheNameHasRoomFor)
{
  VdCreateSpec spec = child_spec();

  strcpy(spec.parent_absolute, ("C:\\" + std::string(300, 'x') + "\\parent.vhd").c_str());
  create_and_probe(spec);
  ASSERT_EQ(facts_.n_parent_places, 3u);
  EXPECT_STREQ(facts_.parent_places[2].path, "parent.vhd");
}

TEST_F(VhdCreate, TimesBeforeTheEpochAreNone)
{
  EXPECT_EQ(vd_vhd_timestamp(0), 0u);
  EXPECT_EQ(vd_vhd_timestamp(VD_VHD_EPOCH - 1), 0u);
  EXPECT_EQ(vd_vhd_timestamp(VD_VHD_EPOCH + 1), 1u);
  EXPECT_EQ(vd_vhd_timestamp(UINT64_MAX), 0u);
}

TEST_F(VhdCreate, SizesThatCannotBe)
{
  for (uint64_t size : {UINT64_C(0), 3 * kMiB - 512, 3 * kMiB + 1, VD_VHD_MAX_SIZE + 512, UINT64_MAX})
    expect_refused(spec_of(VIRTDISK_SUBTYPE_DYNAMIC, size), VIRTDISK_ERROR_VHD_INVALID_SIZE, "size");
}

TEST_F(VhdCreate, ParametersThatCannotBe)
{
  VdCreateSpec spec = spec_of(VIRTDISK_SUBTYPE_DYNAMIC, 3 * kMiB);

  spec.sector_size = 4096;
  expect_refused(spec, VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE, "sector_size");
  spec.sector_size = 512;
  spec.physical_sector_size = 4096;
  expect_refused(spec, VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE, "sector_size");
  spec.physical_sector_size = 0;
  spec.block_size = 1 << 20;
  expect_refused(spec, VIRTDISK_ERROR_INVALID_PARAMETER, "block_size");
  spec.block_size = 0;
  spec.subtype = 0;
  expect_refused(spec, VIRTDISK_ERROR_INVALID_PARAMETER, "subtype");
  spec.subtype = VIRTDISK_SUBTYPE_FIXED;
  spec.block_size = 2 << 20;
  expect_refused(spec, VIRTDISK_ERROR_INVALID_PARAMETER, "block_size");
}

TEST_F(VhdCreate, ParentsThatCannotBeNamed)
{
  for (std::string path :
       {std::string(""), std::string("/abs/parent.vhd"), std::string("a\\b.vhd"), std::string("\xff.vhd"),
        std::string(300, 'n'), std::string("line\nbreak.vhd"), std::string(1023, 'x')}) {
    VdCreateSpec spec = child_spec();

    memset(spec.parent_relative, 0, sizeof spec.parent_relative);
    memcpy(spec.parent_relative, path.data(), path.size());
    expect_refused(spec, VIRTDISK_ERROR_INVALID_PARAMETER, "parent_relative");
  }
  VdCreateSpec spec = child_spec();
  memset(spec.parent_relative, 'a', sizeof spec.parent_relative);
  expect_refused(spec, VIRTDISK_ERROR_INVALID_PARAMETER, "parent_relative");
}

TEST_F(VhdCreate, NoSpaceIsToldAsSuch)
{
  int full = open("/dev/full", O_RDWR | O_CLOEXEC);
  VdCreateSpec spec = spec_of(VIRTDISK_SUBTYPE_DYNAMIC, 3 * kMiB);

  ASSERT_GE(full, 0);
  EXPECT_FALSE(vd_vhd_create(full, &spec, &error_));
  EXPECT_EQ(error_.code, VIRTDISK_ERROR_DISK_FULL) << error_.text;
  close(full);
}

// Its size must be read back exactly by those who believe the geometry, too.
TEST_F(VhdCreate, QemuSeesTheSameSize)
{
  g_autofree char *qemu = g_find_program_in_path("qemu-img");

  if (qemu == nullptr)
    GTEST_SKIP() << "qemu-img is not installed";
  for (uint32_t subtype : {VIRTDISK_SUBTYPE_FIXED, VIRTDISK_SUBTYPE_DYNAMIC})
    for (uint64_t size : {3 * kMiB, 10 * kMiB + 512, 504 * kMiB, 127 * 1024 * kMiB, VD_VHD_MAX_SIZE}) {
      images::Directory directory;
      std::string path = directory.file("a.vhd");
      int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
      VdCreateSpec spec = spec_of(subtype, size);
      g_autofree char *output = nullptr;
      std::string command = std::string(qemu) + " info -f vpc --output=json " + path;
      std::string expected = "\"virtual-size\": " + std::to_string(size);

      ASSERT_TRUE(vd_vhd_create(fd, &spec, &error_)) << error_.text;
      close(fd);
      ASSERT_TRUE(g_spawn_command_line_sync(command.c_str(), &output, nullptr, nullptr, nullptr));
      EXPECT_NE(strstr(output, expected.c_str()), nullptr) << expected << " in " << output;
    }
}
