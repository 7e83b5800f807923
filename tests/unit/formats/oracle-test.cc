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
#include "formats/create.h"
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

TEST_F(Oracle, QemuVhdxOfAllSizes)
{
  REQUIRE_PROGRAM("qemu-img");
  for (const char *size : {"3M", "1G", "100G", "64T"})
    for (const char *block : {"0", "1M", "256M"}) {
      // qemu-img fills the whole table: half a gigabyte in this case.
      if (strcmp(size, "64T") == 0 && strcmp(block, "1M") == 0)
        continue;
      run("qemu-img", "create -f vhdx -o subformat=dynamic,block_size=" + std::string(block) + " " +
                          quoted("a.vhdx") + " " + size);
      VdFacts facts = probe("a.vhdx", VIRTDISK_DEVICE_VHDX);
      EXPECT_EQ(facts.subtype, static_cast<uint32_t>(VIRTDISK_SUBTYPE_DYNAMIC));
      EXPECT_EQ(facts.virtual_size, strtoull(size, nullptr, 10) << (strchr(size, 'M')   ? 20
                                                                    : strchr(size, 'G') ? 30
                                                                                        : 40));
      EXPECT_EQ(facts.needs_repair, 0u);
      EXPECT_TRUE(*block == '0' || facts.block_size == strtoull(block, nullptr, 10) << 20) << block;
    }
}

// Its blocks are there to be allocated, but no entry names them: what is fixed need not be one run.
TEST_F(Oracle, QemuFixedVhdx)
{
  REQUIRE_PROGRAM("qemu-img");
  run("qemu-img", "create -f vhdx -o subformat=fixed " + quoted("a.vhdx") + " 20M");
  VdFacts facts = probe("a.vhdx", VIRTDISK_DEVICE_VHDX);
  EXPECT_EQ(facts.subtype, static_cast<uint32_t>(VIRTDISK_SUBTYPE_FIXED));
  EXPECT_EQ(facts.linear, 0u);
}

TEST_F(Oracle, QemuConvertsToVhdx)
{
  REQUIRE_PROGRAM("qemu-img");
  write_text("a.raw", std::string(5 * kMiB, 'x'));
  run("qemu-img", "convert -f raw -O vhdx -o subformat=dynamic,block_size=1M " + quoted("a.raw") + " " +
                      quoted("a.vhdx"));
  VdFacts facts = probe("a.vhdx", VIRTDISK_DEVICE_VHDX);
  EXPECT_EQ(facts.virtual_size, 5 * kMiB);
}

namespace
{

VdCreateSpec vhdx_spec(uint32_t subtype, uint64_t size, uint32_t block_size)
{
  VdCreateSpec spec = {};

  spec.device_id = VIRTDISK_DEVICE_VHDX;
  spec.subtype = subtype;
  spec.size = size;
  spec.block_size = block_size;
  memset(spec.identifier, 1, sizeof spec.identifier);
  memset(spec.guids, 2, sizeof spec.guids);
  return spec;
}

void make_vhdx(const std::string &path, const VdCreateSpec &spec)
{
  int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  VdFormatError error = {};

  EXPECT_TRUE(vd_vhdx_create(fd, &spec, &error)) << error.text;
  close(fd);
}

} // namespace

TEST_F(Oracle, QemuChecksVhdxMadeHere)
{
  REQUIRE_PROGRAM("qemu-img");
  for (uint32_t subtype : {VIRTDISK_SUBTYPE_FIXED, VIRTDISK_SUBTYPE_DYNAMIC})
    for (uint32_t block_mib : {0, 1, 256})
      for (uint64_t size : {3 * kMiB, 5 * kMiB + 512, 1024 * kMiB}) {
        make_vhdx(path("a.vhdx"), vhdx_spec(subtype, size, static_cast<uint32_t>(block_mib * kMiB)));
        run("qemu-img", "check -f vhdx " + quoted("a.vhdx"));
        run("qemu-img", "info -f vhdx " + quoted("a.vhdx"));
      }
  make_vhdx(path("a.vhdx"), vhdx_spec(VIRTDISK_SUBTYPE_DYNAMIC, UINT64_C(64) << 40, kMiB));
  run("qemu-img", "info -f vhdx " + quoted("a.vhdx"));
}

// What qemu-img writes through the map that was made here lies where the run says it does.
TEST_F(Oracle, QemuWritesIntoAFixedVhdxMadeHere)
{
  REQUIRE_PROGRAM("qemu-img");
  REQUIRE_PROGRAM("cmp");
  write_text("a.raw", "first" + std::string(5 * kMiB - 10, 'y') + "last.");
  make_vhdx(path("a.vhdx"), vhdx_spec(VIRTDISK_SUBTYPE_FIXED, 5 * kMiB, kMiB));
  run("qemu-img", "convert -n -f raw -O vhdx " + quoted("a.raw") + " " + quoted("a.vhdx"));
  VdFacts facts = probe("a.vhdx", VIRTDISK_DEVICE_VHDX);
  ASSERT_EQ(facts.linear, 1u);
  run("cmp", "-n " + std::to_string(5 * kMiB) + " -i 0:" + std::to_string(facts.payload_offset) + " " +
                 quoted("a.raw") + " " + quoted("a.vhdx"));
}

TEST_F(Oracle, QemuWritesIntoADynamicVhdxMadeHere)
{
  REQUIRE_PROGRAM("qemu-img");
  write_text("a.raw", "first" + std::string(5 * kMiB - 10, 'y') + "last.");
  make_vhdx(path("a.vhdx"), vhdx_spec(VIRTDISK_SUBTYPE_DYNAMIC, 5 * kMiB, kMiB));
  run("qemu-img", "convert -n -f raw -O vhdx " + quoted("a.raw") + " " + quoted("a.vhdx"));
  run("qemu-img", "compare -f raw -F vhdx " + quoted("a.raw") + " " + quoted("a.vhdx"));
  EXPECT_EQ(probe("a.vhdx", VIRTDISK_DEVICE_VHDX).virtual_size, 5 * kMiB);
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
