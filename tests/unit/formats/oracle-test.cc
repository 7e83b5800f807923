// SPDX-License-Identifier: LGPL-2.1-or-later
// Images that other people's tools made: what they wrote must be read as they meant it.
#include <gtest/gtest.h>
#include <fcntl.h>
#include <fstream>
#include <glib.h>
#include <sys/stat.h>

#include "images/image.hh"
#include "virtdisk-enums.h"

extern "C" {
#include "formats/registry.h"
}

namespace
{

constexpr uint64_t kMiB = 1 << 20;

std::string find_program(const std::string &name)
{
  // mkfs and sfdisk lie where an ordinary user's PATH does not reach.
  for (std::string directory : {"/usr/bin", "/usr/sbin", "/bin", "/sbin"})
    if (g_file_test((directory + "/" + name).c_str(), G_FILE_TEST_IS_EXECUTABLE))
      return directory + "/" + name;
  return "";
}

#define REQUIRE_PROGRAM(name)                                                                                \
  if (find_program(name).empty())                                                                            \
  GTEST_SKIP() << name << " is not installed"

// Runs it to its end, quietly; input: a file that is its standard input.
void run(const std::string &program, const std::string &arguments, const std::string &input = "/dev/null")
{
  std::string line = find_program(program) + " " + arguments + " <'" + input + "' >/dev/null 2>&1";

  ASSERT_EQ(system(line.c_str()), 0) << line;
}

class Oracle : public testing::Test
{
protected:
  std::string path(const std::string &name)
  {
    return directory_.file(name);
  }
  std::string quoted(const std::string &name)
  {
    return "'" + path(name) + "'";
  }
  void write_text(const std::string &name, const std::string &text)
  {
    std::ofstream(path(name)) << text;
  }
  void make_file(const std::string &name, uint64_t size)
  {
    write_text(name, "");
    ASSERT_EQ(truncate(path(name).c_str(), static_cast<off_t>(size)), 0);
  }
  VdFacts probe(const std::string &name, uint32_t device)
  {
    int fd = open(path(name).c_str(), O_RDONLY | O_CLOEXEC);
    VdFacts facts = {};
    VdFormatError error = {};

    EXPECT_TRUE(vd_format_probe(fd, device, VD_CONTENT_LOOK, &facts, &error)) << error.text;
    close(fd);
    return facts;
  }
  images::Directory directory_;
};

uint32_t partition_at(const VdFacts &facts, uint64_t offset)
{
  for (uint32_t i = 0; i < facts.n_contents; i++)
    if (facts.contents[i].partition != 0 && facts.contents[i].offset == offset)
      return i;
  ADD_FAILURE() << "no partition at " << offset;
  return 0;
}

} // namespace

TEST_F(Oracle, QemuFixedVhdOfExactSize)
{
  REQUIRE_PROGRAM("qemu-img");
  run("qemu-img", "create -f vpc -o subformat=fixed,force_size=on " + quoted("a.vhd") + " 10M");
  VdFacts facts = probe("a.vhd", VIRTDISK_DEVICE_VHD);
  EXPECT_EQ(facts.virtual_size, 10 * kMiB);
  EXPECT_EQ(facts.file_size, 10 * kMiB + 512);
}

TEST_F(Oracle, QemuFixedVhdOfGeometrySize)
{
  REQUIRE_PROGRAM("qemu-img");
  run("qemu-img", "create -f vpc -o subformat=fixed " + quoted("a.vhd") + " 10M");
  VdFacts facts = probe("a.vhd", VIRTDISK_DEVICE_VHD);
  EXPECT_GE(facts.virtual_size, 10 * kMiB) << "rounded up to cylinders";
  EXPECT_EQ(facts.virtual_size, facts.file_size - 512);
}

TEST_F(Oracle, QemuDynamicVhd)
{
  REQUIRE_PROGRAM("qemu-img");
  run("qemu-img", "create -f vpc -o subformat=dynamic,force_size=on " + quoted("a.vhd") + " 10M");
  VdFacts facts = probe("a.vhd", VIRTDISK_DEVICE_VHD);
  EXPECT_EQ(facts.subtype, static_cast<uint32_t>(VIRTDISK_SUBTYPE_DYNAMIC));
  EXPECT_EQ(facts.virtual_size, 10 * kMiB);
  EXPECT_EQ(facts.block_size, 2 * kMiB);
  EXPECT_EQ(facts.needs_repair, 0u);
}

TEST_F(Oracle, QemuConvertsAPartitionedDisk)
{
  REQUIRE_PROGRAM("qemu-img");
  REQUIRE_PROGRAM("sfdisk");
  make_file("a.raw", 16 * kMiB);
  write_text("table", "label: gpt\nsize=4M, name=\"data\"\n");
  run("sfdisk", quoted("a.raw"), path("table"));
  run("qemu-img",
      "convert -f raw -O vpc -o subformat=fixed,force_size=on " + quoted("a.raw") + " " + quoted("a.vhd"));
  VdFacts facts = probe("a.vhd", VIRTDISK_DEVICE_VHD);
  EXPECT_STREQ(facts.pt_type, "gpt");
  ASSERT_EQ(facts.n_contents, 1u);
  EXPECT_STREQ(facts.contents[0].part_name, "data");
}

TEST_F(Oracle, XorrisoDisc)
{
  REQUIRE_PROGRAM("xorriso");
  write_text("readme", "hello\n");
  run("xorriso", "-as mkisofs -V 'A DISC' -J -R -o " + quoted("a.iso") + " " + quoted("readme"));
  VdFacts facts = probe("a.iso", VIRTDISK_DEVICE_ISO);
  EXPECT_EQ(facts.sector_size, 2048u);
  EXPECT_EQ(facts.virtual_size, facts.file_size);
  ASSERT_EQ(facts.n_contents, 1u);
  EXPECT_STREQ(facts.contents[0].type, "iso9660");
  EXPECT_STREQ(facts.contents[0].label, "A DISC");
  EXPECT_STREQ(facts.contents[0].usage, "filesystem");
}

TEST_F(Oracle, GenisoimageBridgeDisc)
{
  REQUIRE_PROGRAM("genisoimage");
  write_text("readme", "hello\n");
  run("genisoimage", "-udf -V BRIDGE -o " + quoted("a.iso") + " " + quoted("readme"));
  VdFacts facts = probe("a.iso", VIRTDISK_DEVICE_ISO);
  ASSERT_EQ(facts.n_contents, 1u);
  EXPECT_STREQ(facts.contents[0].label, "BRIDGE");
}

TEST_F(Oracle, MkudffsDisc)
{
  REQUIRE_PROGRAM("mkudffs");
  for (const char *block : {"2048", "4096"}) {
    make_file("a.iso", 16 * kMiB);
    run("mkudffs", "--media-type=hd --label=PLAIN --blocksize=" + std::string(block) + " " + quoted("a.iso"));
    VdFacts facts = probe("a.iso", VIRTDISK_DEVICE_ISO);
    ASSERT_EQ(facts.n_contents, 1u) << block;
    EXPECT_STREQ(facts.contents[0].type, "udf") << block;
    EXPECT_STREQ(facts.contents[0].label, "PLAIN") << block;
  }
}

TEST_F(Oracle, SfdiskGpt)
{
  REQUIRE_PROGRAM("sfdisk");
  make_file("a.raw", 32 * kMiB);
  write_text("table", "label: gpt\nunit: sectors\nstart=2048, size=8192, name=\"first\"\n"
                      "start=20480, size=8192, name=\"sec\xc3\xb6nd\"\n");
  run("sfdisk", quoted("a.raw"), path("table"));
  VdFacts facts = probe("a.raw", VIRTDISK_DEVICE_RAW);
  EXPECT_STREQ(facts.pt_type, "gpt");
  ASSERT_EQ(facts.n_contents, 2u);
  EXPECT_STREQ(facts.contents[partition_at(facts, 20480 * 512)].part_name, "sec\xc3\xb6nd");
  EXPECT_EQ(facts.smallest_safe_size, (20480u + 8192 + 33) * 512);
}

TEST_F(Oracle, SfdiskMbrWithLogicalDrives)
{
  REQUIRE_PROGRAM("sfdisk");
  make_file("a.raw", 32 * kMiB);
  write_text("table", "label: dos\nlabel-id: 0xcafe0001\nunit: sectors\n"
                      "start=2048, size=8192, type=83\nstart=10240, size=40960, type=5\n"
                      "start=12288, size=8192, type=7\nstart=22528, size=8192, type=82\n");
  run("sfdisk", quoted("a.raw"), path("table"));
  VdFacts facts = probe("a.raw", VIRTDISK_DEVICE_RAW);
  EXPECT_STREQ(facts.pt_type, "dos");
  ASSERT_EQ(facts.n_contents, 4u);
  const VdContent &logical = facts.contents[partition_at(facts, 22528 * 512)];
  EXPECT_EQ(logical.partition, 6u);
  EXPECT_STREQ(logical.part_type, "0x82");
  EXPECT_STREQ(logical.part_uuid, "cafe0001-06");
  EXPECT_EQ(facts.smallest_safe_size, (10240u + 40960) * 512);
}

TEST_F(Oracle, Ext4OnTheWholeDisk)
{
  REQUIRE_PROGRAM("mkfs.ext4");
  make_file("a.raw", 16 * kMiB);
  run("mkfs.ext4", "-q -F -L whole -U 01234567-89ab-cdef-0123-456789abcdef " + quoted("a.raw"));
  VdFacts facts = probe("a.raw", VIRTDISK_DEVICE_RAW);
  ASSERT_EQ(facts.n_contents, 1u);
  EXPECT_EQ(facts.contents[0].partition, 0u);
  EXPECT_STREQ(facts.contents[0].type, "ext4");
  EXPECT_STREQ(facts.contents[0].label, "whole");
  EXPECT_STREQ(facts.contents[0].uuid, "01234567-89ab-cdef-0123-456789abcdef");
  EXPECT_STREQ(facts.pt_type, "");
}

// A FAT boot sector ends like an MBR; it must not be taken for one.
TEST_F(Oracle, FatOnTheWholeDisk)
{
  REQUIRE_PROGRAM("mkfs.vfat");
  make_file("a.raw", 16 * kMiB);
  run("mkfs.vfat", "-n FATTY " + quoted("a.raw"));
  VdFacts facts = probe("a.raw", VIRTDISK_DEVICE_RAW);
  ASSERT_EQ(facts.n_contents, 1u);
  EXPECT_STREQ(facts.contents[0].type, "vfat");
  EXPECT_STREQ(facts.contents[0].label, "FATTY");
  EXPECT_STREQ(facts.pt_type, "");
}

TEST_F(Oracle, Ext4InAPartition)
{
  REQUIRE_PROGRAM("sfdisk");
  REQUIRE_PROGRAM("mkfs.ext4");
  make_file("a.raw", 32 * kMiB);
  write_text("table", "label: gpt\nunit: sectors\nstart=2048, size=32768\n");
  run("sfdisk", quoted("a.raw"), path("table"));
  run("mkfs.ext4", "-q -F -L inside -E offset=1048576 " + quoted("a.raw") + " 16M");
  VdFacts facts = probe("a.raw", VIRTDISK_DEVICE_RAW);
  ASSERT_EQ(facts.n_contents, 1u);
  EXPECT_EQ(facts.contents[0].partition, 1u);
  EXPECT_STREQ(facts.contents[0].type, "ext4");
  EXPECT_STREQ(facts.contents[0].label, "inside");
}
