// SPDX-License-Identifier: LGPL-2.1-or-later
// What the parameters of CreateVirtualDisk come to, or are refused with.
#include <cstring>
#include <gtest/gtest.h>
#include <string>

extern "C" {
#include "create.h"
#include "virtdisk-error.h"
}

namespace
{

const guint64 GIB = 1 << 30, MIB = 1 << 20;
const guint32 FIXED = VIRTDISK_CREATE_FULL_PHYSICAL_ALLOCATION;

struct Params {
  VdCreateParams p = {};
  VdCreateSpec spec = {};
  VdOpenParams open = {};
  VdRights rights = {};
  const char *path;

  explicit Params(const char *path_ = "/d/x.vhdx", guint32 version = 2) : path(path_)
  {
    p.version = version;
    p.maximum_size = GIB;
    p.mask = version == 1 ? VIRTDISK_ACCESS_ALL : VIRTDISK_ACCESS_NONE;
  }

  int code()
  {
    g_autoptr(GError) error = nullptr;

    return vd_create_check(&p, path, &spec, &open, &rights, &error) ? -1 : error->code;
  }
};

enum { DONE = -1, INVALID = VIRTDISK_ERROR_INVALID_PARAMETER, UNSUPPORTED = VIRTDISK_ERROR_NOT_SUPPORTED };

TEST(Create, SubtypeFollowsFlagsAndParent)
{
  Params dynamic, fixed, sparse, child;

  EXPECT_EQ(dynamic.code(), DONE);
  EXPECT_EQ(dynamic.spec.subtype, static_cast<guint32>(VIRTDISK_SUBTYPE_DYNAMIC));
  EXPECT_EQ(dynamic.spec.device_id, static_cast<guint32>(VIRTDISK_DEVICE_VHDX));
  fixed.p.flags = FIXED;
  EXPECT_EQ(fixed.code(), DONE);
  EXPECT_EQ(fixed.spec.subtype, static_cast<guint32>(VIRTDISK_SUBTYPE_FIXED));
  EXPECT_EQ(fixed.spec.whole, 1u);
  sparse.p.flags = FIXED | VIRTDISK_CREATE_SPARSE_FILE;
  EXPECT_EQ(sparse.code(), DONE);
  EXPECT_EQ(sparse.spec.whole, 0u);
  child.p.parent_path = "/d/p.vhdx";
  child.p.maximum_size = 0;
  EXPECT_EQ(child.code(), DONE);
  EXPECT_EQ(child.spec.subtype, static_cast<guint32>(VIRTDISK_SUBTYPE_DIFFERENCING));
}

TEST(Create, Formats)
{
  EXPECT_EQ(Params("/x.vhd").code(), DONE);
  EXPECT_EQ(Params("/x.avhdx").code(), DONE);
  EXPECT_EQ(Params("/x.iso", 1).code(), UNSUPPORTED);
  EXPECT_EQ(Params("/x.img").code(), DONE);
  EXPECT_EQ(Params("/x.vhds").code(), VIRTDISK_ERROR_PROVIDER_NOT_FOUND);
  EXPECT_EQ(Params("/x").code(), VIRTDISK_ERROR_PROVIDER_NOT_FOUND);
}

TEST(Create, VersionsAndFlags)
{
  Params mask, three, zero, flag, set, provider, hole, field;

  EXPECT_EQ(Params("/x.vhdx", 1).code(), DONE);
  mask.p.mask = VIRTDISK_ACCESS_READ;
  EXPECT_EQ(mask.code(), INVALID);
  three.p.version = 3;
  EXPECT_EQ(three.code(), INVALID);
  zero.p.version = 0;
  EXPECT_EQ(zero.code(), INVALID);
  flag.p.flags = 0x800;
  EXPECT_EQ(flag.code(), INVALID);
  set.p.flags = VIRTDISK_CREATE_CREATE_BACKING_STORAGE;
  EXPECT_EQ(set.code(), UNSUPPORTED);
  provider.p.provider_flags = 1;
  EXPECT_EQ(provider.code(), INVALID);
  hole.p.flags = VIRTDISK_CREATE_SPARSE_FILE;
  EXPECT_EQ(hole.code(), INVALID);
  for (gboolean VdCreateParams::*has :
       {&VdCreateParams::has_physical_sector_size, &VdCreateParams::has_open_flags,
        &VdCreateParams::has_parent_type, &VdCreateParams::has_resiliency_guid}) {
    Params one("/x.vhdx", 1);

    one.p.*has = TRUE;
    EXPECT_EQ(one.code(), INVALID);
  }
}

struct SizeRow {
  const char *path;
  guint32 flags;
  guint64 size;
  guint32 block, sector, physical;
  int code;
};

const SizeRow sizes[] = {
    {"/x.vhdx", 0, 3 * MIB, 0, 0, 0, DONE},
    {"/x.vhdx", 0, 3 * MIB - 512, 0, 0, 0, INVALID},
    {"/x.vhdx", 0, 0, 0, 0, 0, INVALID},
    {"/x.vhdx", 0, GIB + 1, 0, 0, 0, INVALID},
    {"/x.vhdx", 0, GIB + 512, 0, 0, 0, DONE},
    {"/x.vhdx", 0, GIB + 512, 0, 4096, 0, INVALID},
    {"/x.vhdx", 0, VD_MAX_VIRTUAL_SIZE, 0, 0, 0, DONE},
    {"/x.vhdx", 0, VD_MAX_VIRTUAL_SIZE + 512, 0, 0, 0, VIRTDISK_ERROR_VHD_INVALID_SIZE},
    {"/x.vhd", 0, VD_CREATE_MAX_VHD_SIZE, 0, 0, 0, DONE},
    {"/x.vhd", 0, VD_CREATE_MAX_VHD_SIZE + 512, 0, 0, 0, VIRTDISK_ERROR_VHD_INVALID_SIZE},
    {"/x.vhdx", 0, GIB, 1 << 20, 0, 0, DONE},
    {"/x.vhdx", 0, GIB, 256 << 20, 0, 0, DONE},
    {"/x.vhdx", 0, GIB, 512 << 20, 0, 0, INVALID},
    {"/x.vhdx", 0, GIB, 512 << 10, 0, 0, INVALID},
    {"/x.vhdx", 0, GIB, 3 << 20, 0, 0, INVALID},
    {"/x.vhd", 0, GIB, 512 << 10, 0, 0, DONE},
    {"/x.vhd", 0, GIB, 2 << 20, 0, 0, DONE},
    {"/x.vhd", 0, GIB, 1 << 20, 0, 0, INVALID},
    {"/x.vhd", FIXED, GIB, 0, 0, 0, DONE},
    {"/x.vhd", FIXED, GIB, 2 << 20, 0, 0, INVALID},
    {"/x.vhdx", 0, GIB, 0, 512, 4096, DONE},
    {"/x.vhdx", 0, GIB, 0, 4096, 4096, DONE},
    {"/x.vhdx", 0, GIB, 0, 4096, 512, INVALID},
    {"/x.vhdx", 0, GIB, 0, 1024, 0, INVALID},
    {"/x.vhdx", 0, GIB, 0, 512, 2048, INVALID},
    {"/x.vhd", 0, GIB, 0, 512, 512, DONE},
    {"/x.vhd", 0, GIB, 0, 4096, 0, INVALID},
    {"/x.vhd", 0, GIB, 0, 512, 4096, INVALID},
};

TEST(Create, SizesBlocksAndSectors)
{
  for (const SizeRow &row : sizes) {
    Params params(row.path);

    params.p.flags = row.flags;
    params.p.maximum_size = row.size;
    params.p.block_size = row.block;
    params.p.sector_size = row.sector;
    params.p.physical_sector_size = row.physical;
    EXPECT_EQ(params.code(), row.code)
        << row.path << " " << row.size << " " << row.block << " " << row.sector << " " << row.physical;
  }
}

TEST(Create, Parents)
{
  Params size, fixed, relative, other, type;

  size.p.parent_path = fixed.p.parent_path = "/d/p.vhdx";
  EXPECT_EQ(size.code(), INVALID);
  fixed.p.maximum_size = relative.p.maximum_size = other.p.maximum_size = 0;
  fixed.p.flags = FIXED;
  EXPECT_EQ(fixed.code(), INVALID);
  relative.p.parent_path = "p.vhdx";
  EXPECT_EQ(relative.code(), INVALID);
  other.p.parent_path = "/d/p.vhd";
  EXPECT_EQ(other.code(), INVALID);
  type.p.has_parent_type = TRUE;
  EXPECT_EQ(type.code(), INVALID);
}

TEST(Create, IdsAreTheCallersOrRandom)
{
  Params given, zero, wrong, first, second;
  const uint8_t head[] = {0x01, 0x23, 0x45, 0x67};
  const uint8_t stored[] = {0x67, 0x45, 0x23, 0x01, 0xab, 0x89, 0xef, 0xcd, 0x01, 0x23};

  given.p.unique_id = "01234567-89ab-cdef-0123-456789abcdef";
  ASSERT_EQ(given.code(), DONE);
  EXPECT_EQ(memcmp(given.spec.identifier, head, 4), 0);
  EXPECT_EQ(memcmp(given.spec.guids[1], stored, sizeof stored), 0);
  EXPECT_NE(memcmp(given.spec.identifier, given.spec.guids[0], 16), 0);
  zero.p.unique_id = VIRTDISK_VENDOR_UNKNOWN;
  ASSERT_EQ(zero.code(), DONE);
  EXPECT_NE(zero.spec.identifier[0] | zero.spec.identifier[1] | zero.spec.identifier[8], 0);
  wrong.p.unique_id = "{01234567-89ab-cdef-0123-456789abcdef}";
  EXPECT_EQ(wrong.code(), INVALID);
  ASSERT_EQ(first.code(), DONE);
  ASSERT_EQ(second.code(), DONE);
  EXPECT_NE(memcmp(first.spec.identifier, second.spec.identifier, 16), 0);
  EXPECT_NE(memcmp(first.spec.identifier, first.spec.guids[1], 16), 0);
}

TEST(Create, AChildIsItsParentsSize)
{
  g_autoptr(VdPathMap) map = vd_path_map_new();
  g_autoptr(GError) error = nullptr;
  VdFacts parent = {};
  Params child;

  parent.virtual_size = 5 * GIB;
  parent.sector_size = parent.physical_sector_size = 4096;
  parent.has_identifier = parent.has_linkage = 1;
  memset(parent.identifier, 7, 16);
  memset(parent.linkage, 8, 16);
  child.p.parent_path = "/a/b/p.vhdx";
  child.p.maximum_size = 0;
  ASSERT_EQ(child.code(), DONE);
  ASSERT_TRUE(vd_create_from_parent(&child.p, &parent, "/a/c", "/a/b/p.vhdx", map, &child.spec, &error));
  EXPECT_EQ(child.spec.size, 5 * GIB);
  EXPECT_EQ(child.spec.sector_size, 4096u);
  EXPECT_EQ(child.spec.physical_sector_size, 4096u);
  EXPECT_EQ(child.spec.block_size, 2 * MIB);
  EXPECT_EQ(memcmp(child.spec.identifier, parent.identifier, 16), 0);
  EXPECT_EQ(memcmp(child.spec.parent_linkage, parent.linkage, 16), 0);
  EXPECT_STREQ(child.spec.parent_relative, "../b/p.vhdx");
  EXPECT_STREQ(child.spec.parent_absolute, "");
  child.p.sector_size = 512;
  EXPECT_FALSE(vd_create_from_parent(&child.p, &parent, "/a/c", "/a/b/p.vhdx", map, &child.spec, &error));
}

TEST(Create, AStandInDoesNotGiveItsIdentity)
{
  g_autoptr(VdPathMap) map = vd_path_map_new();
  VdFacts parent = {};
  Params child;

  parent.virtual_size = GIB;
  parent.sector_size = parent.physical_sector_size = 512;
  parent.has_identifier = parent.has_linkage = 1;
  memset(parent.identifier, 7, 16);
  child.p.parent_path = "/p.vhdx";
  child.p.maximum_size = 0;
  child.p.flags = VIRTDISK_CREATE_DO_NOT_COPY_METADATA_FROM_PARENT;
  ASSERT_EQ(child.code(), DONE);
  ASSERT_TRUE(vd_create_from_parent(&child.p, &parent, "/", "/p.vhdx", map, &child.spec, nullptr));
  EXPECT_NE(memcmp(child.spec.identifier, parent.identifier, 16), 0);
  EXPECT_EQ(child.spec.size, GIB);
}

TEST(Create, WhatAnImageCannotHoldIsSaid)
{
  g_autoptr(VdPathMap) map = vd_path_map_new();
  VdFacts parent = {};
  Params child;

  child.p.parent_path = "/a/p.vhdx";
  child.p.maximum_size = 0;
  ASSERT_EQ(child.code(), DONE);
  for (const std::string &path :
       {std::string("/a/p\\q.vhdx"), std::string("/a/p\xff.vhdx"), "/a/" + std::string(1100, 'x')}) {
    g_autoptr(GError) error = nullptr;

    EXPECT_FALSE(vd_create_from_parent(&child.p, &parent, "/a", path.c_str(), map, &child.spec, &error));
    EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER));
  }
}

TEST(Create, RawImages)
{
  Params sparse("/x.img"), fixed("/x.raw"), block("/x.img"), sector("/x.img"), child("/x.img"),
      small("/x.img");

  EXPECT_EQ(sparse.code(), DONE);
  EXPECT_EQ(sparse.spec.subtype, static_cast<guint32>(VIRTDISK_SUBTYPE_DYNAMIC));
  EXPECT_EQ(sparse.spec.whole, 0u);
  fixed.p.flags = FIXED;
  EXPECT_EQ(fixed.code(), DONE);
  EXPECT_EQ(fixed.spec.whole, 1u);
  block.p.block_size = MIB;
  EXPECT_EQ(block.code(), INVALID);
  sector.p.sector_size = 4096;
  EXPECT_EQ(sector.code(), INVALID);
  child.p.parent_path = "/p.img";
  child.p.maximum_size = 0;
  EXPECT_EQ(child.code(), INVALID);
  small.p.maximum_size = 512;
  EXPECT_EQ(small.code(), DONE);
  small.p.maximum_size = 511;
  EXPECT_EQ(small.code(), INVALID);
}

TEST(Create, SourcesAreCheckedBeforeTheyAreLookedAt)
{
  Params good, both, relative_path, type, old_type("/x.vhdx", 1), verify, mode, owner;

  good.p.source_path = "/s.img";
  good.p.maximum_size = 0;
  good.p.verify = TRUE;
  EXPECT_EQ(good.code(), DONE);
  both.p.source_path = both.p.parent_path = "/s.vhdx";
  both.p.maximum_size = 0;
  EXPECT_EQ(both.code(), INVALID);
  relative_path.p.source_path = "s.img";
  EXPECT_EQ(relative_path.code(), INVALID);
  type.p.has_source_type = TRUE;
  EXPECT_EQ(type.code(), INVALID);
  old_type.p.source_path = "/s.img";
  EXPECT_EQ(old_type.code(), DONE);
  old_type.p.has_source_type = TRUE;
  EXPECT_EQ(old_type.code(), INVALID);
  verify.p.verify = TRUE;
  EXPECT_EQ(verify.code(), INVALID);
  mode.p.has_mode = TRUE;
  mode.p.mode = 04755;
  EXPECT_EQ(mode.code(), INVALID);
  owner.p.has_owner_uid = TRUE;
  owner.p.owner_uid = G_MAXUINT32;
  EXPECT_EQ(owner.code(), INVALID);
}

// What a copy of that many bytes and sectors of that size becomes; or the code of the error.
int copied(const char *path, guint64 maximum_size, guint32 sector_size, const VdFacts &source,
           VdCreateSpec *ret)
{
  g_autoptr(GError) error = nullptr;
  Params copy(path);

  copy.p.source_path = "/s.img";
  copy.p.maximum_size = maximum_size;
  copy.p.sector_size = sector_size;
  EXPECT_EQ(copy.code(), DONE);
  if (!vd_create_from_source(&copy.p, &source, &copy.spec, &error))
    return error->code;
  *ret = copy.spec;
  return DONE;
}

VdFacts source_of(guint64 size, guint32 sector_size, guint32 device_id = VIRTDISK_DEVICE_RAW)
{
  VdFacts facts = {};

  facts.device_id = device_id;
  facts.virtual_size = size;
  facts.sector_size = facts.physical_sector_size = sector_size;
  return facts;
}

TEST(Create, ACopyIsAsLargeAsItsSource)
{
  VdCreateSpec spec;

  EXPECT_EQ(copied("/x.vhdx", 0, 0, source_of(5 * MIB + 512, 512), &spec), DONE);
  EXPECT_EQ(spec.size, 5 * MIB + 512);
  EXPECT_EQ(copied("/x.vhdx", 6 * MIB, 0, source_of(5 * MIB, 512), &spec), DONE);
  EXPECT_EQ(spec.size, 6 * MIB);
  EXPECT_EQ(copied("/x.vhdx", 4 * MIB, 0, source_of(5 * MIB, 512), &spec), INVALID);
  // The smallest that the format has.
  EXPECT_EQ(copied("/x.vhd", 0, 0, source_of(MIB, 512), &spec), DONE);
  EXPECT_EQ(spec.size, 3 * MIB);
  EXPECT_EQ(copied("/x.img", 0, 0, source_of(512, 512), &spec), DONE);
  EXPECT_EQ(spec.size, 512u);
  EXPECT_EQ(copied("/x.vhd", 0, 0, source_of(2041 * GIB, 512), &spec), VIRTDISK_ERROR_VHD_INVALID_SIZE);
  EXPECT_EQ(copied("/x.vhdx", 0, 4096, source_of(5 * MIB + 512, 512), &spec), DONE);
  EXPECT_EQ(spec.size, 5 * MIB + 4096);
}

TEST(Create, ACopyHasTheSectorsOfItsSource)
{
  VdCreateSpec spec;

  EXPECT_EQ(copied("/x.vhdx", 0, 0, source_of(GIB, 4096), &spec), DONE);
  EXPECT_EQ(spec.sector_size, 4096u);
  EXPECT_EQ(copied("/x.vhdx", 0, 0, source_of(GIB, 2048, VIRTDISK_DEVICE_ISO), &spec), DONE);
  EXPECT_EQ(spec.sector_size, 0u);
  EXPECT_EQ(copied("/x.vhdx", 0, 0, source_of(GIB, 512, VIRTDISK_DEVICE_VHDX), &spec), DONE);
  EXPECT_EQ(spec.physical_sector_size, 512u);
  EXPECT_EQ(copied("/x.vhd", 0, 0, source_of(GIB, 4096), &spec), VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE);
  EXPECT_EQ(copied("/x.vhd", 0, 512, source_of(GIB, 4096), &spec), DONE);
  EXPECT_EQ(copied("/x.img", 0, 0, source_of(GIB, 4096), &spec), DONE);
  EXPECT_EQ(copied("/x.vhdx", 5 * MIB + 512, 0, source_of(MIB, 4096), &spec), INVALID);
}

std::string relative(const char *folder, const char *path)
{
  g_autofree char *text = vd_relative_path(folder, path);

  return text;
}

TEST(RelativePath, FromFolderToFile)
{
  EXPECT_EQ(relative("/a", "/a/p"), "p");
  EXPECT_EQ(relative("/a", "/a/b/p"), "b/p");
  EXPECT_EQ(relative("/a/b", "/a/p"), "../p");
  EXPECT_EQ(relative("/a/b/c", "/a/x/p"), "../../x/p");
  EXPECT_EQ(relative("/", "/p"), "p");
  EXPECT_EQ(relative("/a", "/p"), "../p");
  EXPECT_EQ(relative("/a/p", "/a/p"), "../p");
}

} // namespace
