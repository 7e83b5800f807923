// SPDX-License-Identifier: LGPL-2.1-or-later
// The access model as tables: what each mask, flag and parameter grants or is refused with.
#include <gtest/gtest.h>
#include <string>

extern "C" {
#include "access.h"
#include "util/identity.h"
}

namespace
{

VdOpenParams open_params(guint32 mask, guint32 flags = 0, guint32 version = 1)
{
  VdOpenParams p = {};

  p.mask = mask;
  p.flags = flags;
  p.version = version;
  return p;
}

int open_code(const VdOpenParams &p, const char *path, VdRights *rights = nullptr)
{
  g_autoptr(GError) error = nullptr;
  VdRights mine;
  guint32 device_id;

  if (vd_access_open(&p, path, &device_id, rights != nullptr ? rights : &mine, &error))
    return -1;
  EXPECT_EQ(error->domain, VIRTDISK_ERROR);
  return error->code;
}

struct OpenRow {
  const char *what;
  const char *path;
  guint32 mask, flags, version;
  int code; // -1: granted
};

const OpenRow open_rows[] = {
    {"all on vhd", "/x.vhd", VIRTDISK_ACCESS_ALL, 0, 1, -1},
    {"none on vhd", "/x.vhd", 0, 0, 1, -1},
    {"avhd is vhd", "/x.AVHD", VIRTDISK_ACCESS_READ, 0, 1, -1},
    {"bit below", "/x.vhd", 0x00008000, 0, 1, VIRTDISK_ERROR_INVALID_PARAMETER},
    {"bit above", "/x.vhd", 0x00400000, 0, 1, VIRTDISK_ERROR_INVALID_PARAMETER},
    {"top bit", "/x.vhd", 0x80000000, 0, 1, VIRTDISK_ERROR_INVALID_PARAMETER},
    {"unknown flag", "/x.vhd", VIRTDISK_ACCESS_READ, 0x1000, 1, VIRTDISK_ERROR_INVALID_PARAMETER},
    {"version 0", "/x.vhd", VIRTDISK_ACCESS_READ, 0, 0, VIRTDISK_ERROR_INVALID_PARAMETER},
    {"version 4", "/x.vhd", 0, 0, 4, VIRTDISK_ERROR_INVALID_PARAMETER},
    {"version 2 with mask", "/x.vhd", VIRTDISK_ACCESS_READ, 0, 2, VIRTDISK_ERROR_INVALID_PARAMETER},
    {"version 2", "/x.vhd", 0, 0, 2, -1},
    {"version 3", "/x.vhd", 0, 0, 3, -1},
    {"no parents", "/x.vhd", VIRTDISK_ACCESS_READ, VIRTDISK_OPEN_NO_PARENTS, 1, -1},
    {"cached", "/x.vhd", VIRTDISK_ACCESS_READ, VIRTDISK_OPEN_CACHED_IO, 1, -1},
    {"blank file", "/x.vhd", VIRTDISK_ACCESS_READ, VIRTDISK_OPEN_BLANK_FILE, 1, VIRTDISK_ERROR_NOT_SUPPORTED},
    {"boot drive", "/x.vhd", VIRTDISK_ACCESS_READ, VIRTDISK_OPEN_BOOT_DRIVE, 1, VIRTDISK_ERROR_NOT_SUPPORTED},
    {"vhdset only", "/x.vhd", VIRTDISK_ACCESS_READ, VIRTDISK_OPEN_VHDSET_FILE_ONLY, 1,
     VIRTDISK_ERROR_NOT_SUPPORTED},
    {"custom chain, writing", "/x.vhd", VIRTDISK_ACCESS_ALL, VIRTDISK_OPEN_CUSTOM_DIFF_CHAIN, 1,
     VIRTDISK_ERROR_INVALID_PARAMETER},
    {"custom chain, reading", "/x.vhd", VIRTDISK_ACCESS_READ, VIRTDISK_OPEN_CUSTOM_DIFF_CHAIN, 1, -1},
    {"iso read", "/x.iso", VIRTDISK_ACCESS_READ, 0, 1, -1},
    {"iso subset", "/x.iso", VIRTDISK_ACCESS_GET_INFO, 0, 1, -1},
    {"iso rw", "/x.iso", VIRTDISK_ACCESS_ATTACH_RW, 0, 1, VIRTDISK_ERROR_NOT_SUPPORTED},
    {"iso metaops", "/x.iso", VIRTDISK_ACCESS_METAOPS, 0, 1, VIRTDISK_ERROR_NOT_SUPPORTED},
    {"iso create", "/x.iso", VIRTDISK_ACCESS_CREATE, 0, 1, VIRTDISK_ERROR_NOT_SUPPORTED},
    {"iso all", "/x.iso", VIRTDISK_ACCESS_ALL, 0, 1, VIRTDISK_ERROR_NOT_SUPPORTED},
    {"iso version 2", "/x.iso", 0, 0, 2, VIRTDISK_ERROR_INVALID_PARAMETER},
    {"iso no parents", "/x.iso", VIRTDISK_ACCESS_READ, VIRTDISK_OPEN_NO_PARENTS, 1,
     VIRTDISK_ERROR_INVALID_PARAMETER},
    {"iso custom chain", "/x.iso", VIRTDISK_ACCESS_READ, VIRTDISK_OPEN_CUSTOM_DIFF_CHAIN, 1,
     VIRTDISK_ERROR_INVALID_PARAMETER},
    {"raw", "/x.img", VIRTDISK_ACCESS_ALL, 0, 1, -1},
    {"no extension", "/x", VIRTDISK_ACCESS_READ, 0, 1, VIRTDISK_ERROR_PROVIDER_NOT_FOUND},
    {"vhd set", "/x.vhds", VIRTDISK_ACCESS_READ, 0, 1, VIRTDISK_ERROR_PROVIDER_NOT_FOUND},
};

TEST(Open, TableOfMasksFlagsAndVersions)
{
  for (const OpenRow &row : open_rows)
    EXPECT_EQ(open_code(open_params(row.mask, row.flags, row.version), row.path), row.code) << row.what;
}

TEST(Open, FieldsBelongToTheirVersion)
{
  VdOpenParams depth = open_params(0, 0, 2), info = open_params(VIRTDISK_ACCESS_READ),
               snapshot = open_params(0, 0, 2), guid = open_params(0, 0, 2);

  depth.has_rw_depth = TRUE;
  info.has_get_info_only = TRUE;
  snapshot.has_snapshot_id = TRUE;
  guid.has_resiliency_guid = TRUE;
  guid.resiliency_guid = "nonsense";
  EXPECT_EQ(open_code(depth, "/x.vhd"), VIRTDISK_ERROR_INVALID_PARAMETER);
  EXPECT_EQ(open_code(info, "/x.vhd"), VIRTDISK_ERROR_INVALID_PARAMETER);
  EXPECT_EQ(open_code(snapshot, "/x.vhd"), VIRTDISK_ERROR_INVALID_PARAMETER);
  EXPECT_EQ(open_code(guid, "/x.vhd"), VIRTDISK_ERROR_INVALID_PARAMETER);
  guid.resiliency_guid = VIRTDISK_VENDOR_MICROSOFT;
  EXPECT_EQ(open_code(guid, "/x.vhd"), -1);
}

TEST(Open, SnapshotBelongsToVhdSets)
{
  VdOpenParams p = open_params(0, 0, 3);

  p.has_snapshot_id = TRUE;
  p.snapshot_id = VIRTDISK_VENDOR_UNKNOWN;
  EXPECT_EQ(open_code(p, "/x.vhd"), -1);
  p.snapshot_id = VIRTDISK_VENDOR_MICROSOFT;
  EXPECT_EQ(open_code(p, "/x.vhd"), VIRTDISK_ERROR_NOT_SUPPORTED);
}

TEST(Open, WritingFollowsMaskAndDepth)
{
  VdRights rights;
  VdOpenParams p = open_params(VIRTDISK_ACCESS_ALL);

  EXPECT_EQ(open_code(p, "/x.vhd", &rights), -1);
  EXPECT_TRUE(rights.write);
  p.has_rw_depth = TRUE;
  p.rw_depth = 0;
  EXPECT_EQ(open_code(p, "/x.vhd", &rights), -1);
  EXPECT_FALSE(rights.write);
  p = open_params(VIRTDISK_ACCESS_READ);
  EXPECT_EQ(open_code(p, "/x.vhd", &rights), -1);
  EXPECT_FALSE(rights.write);
}

TEST(Open, VersionTwoBooleansGrant)
{
  VdRights rights;
  VdOpenParams p = open_params(0, 0, 2);

  EXPECT_EQ(open_code(p, "/x.vhd", &rights), -1);
  EXPECT_EQ(rights.mask, static_cast<guint32>(VIRTDISK_ACCESS_ALL));
  EXPECT_TRUE(rights.write);
  p.has_read_only = p.read_only = TRUE;
  EXPECT_EQ(open_code(p, "/x.vhd", &rights), -1);
  EXPECT_EQ(rights.mask, static_cast<guint32>(VIRTDISK_ACCESS_READ));
  EXPECT_FALSE(rights.write);
  p.has_get_info_only = p.get_info_only = TRUE;
  EXPECT_EQ(open_code(p, "/x.vhd", &rights), -1);
  EXPECT_EQ(rights.mask, static_cast<guint32>(VIRTDISK_ACCESS_GET_INFO));
}

// "All other handles may hold only DETACH and/or GET_INFO": the whole matrix of single bits.
TEST(Sharing, Matrix)
{
  const guint32 bits[] = {VIRTDISK_ACCESS_ATTACH_RO, VIRTDISK_ACCESS_ATTACH_RW, VIRTDISK_ACCESS_DETACH,
                          VIRTDISK_ACCESS_GET_INFO,  VIRTDISK_ACCESS_CREATE,    VIRTDISK_ACCESS_METAOPS};
  const guint32 harmless = VIRTDISK_ACCESS_DETACH | VIRTDISK_ACCESS_GET_INFO;

  for (guint32 open_bit : bits)
    for (guint32 wanted_bit : bits) {
      VdRights open = {}, wanted = {};
      const VdRights *others[] = {&open};
      g_autoptr(GError) error = nullptr;
      bool expected = (open_bit & harmless) != 0 || (wanted_bit & harmless) != 0;

      open.mask = open_bit;
      wanted.mask = wanted_bit;
      EXPECT_EQ(vd_access_share(&wanted, others, 1, &error), expected)
          << open_bit << " beside " << wanted_bit;
      EXPECT_EQ(g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_SHARING_VIOLATION), !expected);
    }
}

TEST(Reopen, PermanentNeedsDetachAndRespectsReadOnly)
{
  VdRights wanted = {};

  wanted.version = 1;
  wanted.mask = VIRTDISK_ACCESS_GET_INFO;
  EXPECT_FALSE(vd_access_reopen(&wanted, VD_LIFETIME_PERMANENT, FALSE, nullptr));
  EXPECT_TRUE(vd_access_reopen(&wanted, VD_LIFETIME_HANDLE, FALSE, nullptr));
  wanted.mask |= VIRTDISK_ACCESS_DETACH;
  EXPECT_TRUE(vd_access_reopen(&wanted, VD_LIFETIME_PERMANENT, TRUE, nullptr));
  wanted.write = TRUE;
  EXPECT_FALSE(vd_access_reopen(&wanted, VD_LIFETIME_PERMANENT, TRUE, nullptr));
  EXPECT_TRUE(vd_access_reopen(&wanted, VD_LIFETIME_PERMANENT, FALSE, nullptr));
  wanted = {};
  wanted.version = 2;
  wanted.mask = VIRTDISK_ACCESS_GET_INFO;
  EXPECT_TRUE(vd_access_reopen(&wanted, VD_LIFETIME_BOOT, FALSE, nullptr));
}

class Attach : public testing::Test
{
protected:
  Attach()
  {
    facts.device_id = VIRTDISK_DEVICE_VHD;
    facts.subtype = VIRTDISK_SUBTYPE_FIXED;
    facts.virtual_size = 8 << 20;
    facts.file_size = facts.virtual_size + 512;
    facts.linear = 1;
    facts.sector_size = facts.physical_sector_size = 512;
    rights.version = 1;
    rights.mask = VIRTDISK_ACCESS_ALL;
    rights.write = TRUE;
    params.version = 1;
  }
  int code(uid_t caller = 1000)
  {
    g_autoptr(GError) error = nullptr;

    if (vd_access_attach(&params, &rights, &facts, caller, 1000, 1001, 0100644, &plan, &error))
      return -1;
    text = error->message;
    return error->code;
  }
  std::string text; // of the last error
  VdFacts facts = {};
  VdRights rights = {};
  VdAttachParams params = {};
  VdAttachPlan plan = {};
};

TEST_F(Attach, DefaultsFollowTheApi)
{
  ASSERT_EQ(code(), -1);
  EXPECT_EQ(plan.lifetime, VD_LIFETIME_HANDLE);
  EXPECT_FALSE(plan.read_only);
  EXPECT_TRUE(plan.direct_io);
  EXPECT_TRUE(plan.partition_scan);
  EXPECT_EQ(plan.size, facts.virtual_size);
  EXPECT_TRUE(plan.whole);
  EXPECT_EQ(plan.mode, 0600u) << "a group that may not write to the image could do more with its device";
  EXPECT_EQ(plan.uid, 1000u);
  EXPECT_EQ(plan.gid, 1001u);
}

TEST_F(Attach, FlagTable)
{
  const struct {
    guint32 flags;
    int code;
  } rows[] = {
      {0, -1},
      {VIRTDISK_ATTACH_READ_ONLY, -1},
      {VIRTDISK_ATTACH_NO_DRIVE_LETTER, -1},
      {VIRTDISK_ATTACH_PERMANENT_LIFETIME, -1},
      {VIRTDISK_ATTACH_NO_LOCAL_HOST, -1},
      {VIRTDISK_ATTACH_NO_LOCAL_HOST | VIRTDISK_ATTACH_PERMANENT_LIFETIME, VIRTDISK_ERROR_INVALID_PARAMETER},
      {VIRTDISK_ATTACH_NO_LOCAL_HOST | VIRTDISK_ATTACH_AT_BOOT, VIRTDISK_ERROR_INVALID_PARAMETER},
      {VIRTDISK_ATTACH_NO_SECURITY_DESCRIPTOR, -1},
      {VIRTDISK_ATTACH_BYPASS_DEFAULT_ENCRYPTION_POLICY, -1},
      {VIRTDISK_ATTACH_NON_PNP, VIRTDISK_ERROR_NOT_SUPPORTED},
      {VIRTDISK_ATTACH_RESTRICTED_RANGE, VIRTDISK_ERROR_INVALID_PARAMETER},
      {VIRTDISK_ATTACH_SINGLE_PARTITION, VIRTDISK_ERROR_NOT_SUPPORTED}, // no partition on this disk
      {VIRTDISK_ATTACH_REGISTER_VOLUME, VIRTDISK_ERROR_NOT_SUPPORTED},
      {VIRTDISK_ATTACH_AT_BOOT, -1},
      {0x800, VIRTDISK_ERROR_INVALID_PARAMETER},
      {0x80000000, VIRTDISK_ERROR_INVALID_PARAMETER},
  };

  for (const auto &row : rows) {
    params.flags = row.flags;
    EXPECT_EQ(code(), row.code) << row.flags;
  }
}

TEST_F(Attach, RightsDecide)
{
  rights.mask = VIRTDISK_ACCESS_READ;
  rights.write = FALSE;
  EXPECT_EQ(code(), VIRTDISK_ERROR_ACCESS_DENIED);
  params.flags = VIRTDISK_ATTACH_READ_ONLY;
  EXPECT_EQ(code(), -1);
  rights.mask = VIRTDISK_ACCESS_DETACH | VIRTDISK_ACCESS_GET_INFO;
  EXPECT_EQ(code(), VIRTDISK_ERROR_ACCESS_DENIED);
  rights.mask = VIRTDISK_ACCESS_ATTACH_RW;
  rights.write = TRUE;
  EXPECT_EQ(code(), VIRTDISK_ERROR_ACCESS_DENIED) << "ATTACH_RO is asked for read-only";
  rights.mask = VIRTDISK_ACCESS_ALL;
  rights.write = FALSE; // RWDepth 0
  params.flags = 0;
  EXPECT_EQ(code(), VIRTDISK_ERROR_ACCESS_DENIED);
}

TEST_F(Attach, IsoNeedsReadOnlyAndIsACd)
{
  facts.device_id = VIRTDISK_DEVICE_ISO;
  facts.sector_size = 2048;
  rights.mask = VIRTDISK_ACCESS_READ;
  rights.write = FALSE;
  EXPECT_EQ(code(), VIRTDISK_ERROR_NOT_SUPPORTED);
  params.flags = VIRTDISK_ATTACH_READ_ONLY;
  ASSERT_EQ(code(), -1);
  EXPECT_EQ(plan.sector_size, 2048u);
  EXPECT_FALSE(plan.partition_scan);
  EXPECT_EQ(plan.mode, 0400u);
}

TEST_F(Attach, LifetimeWordsAndFlagsAgree)
{
  const struct {
    guint32 flags;
    const char *word;
    int code;
    VdLifetime lifetime;
  } rows[] = {
      {0, "session", -1, VD_LIFETIME_SESSION},
      {0, "boot", -1, VD_LIFETIME_BOOT},
      {VIRTDISK_ATTACH_PERMANENT_LIFETIME, "permanent", -1, VD_LIFETIME_PERMANENT},
      {VIRTDISK_ATTACH_PERMANENT_LIFETIME | VIRTDISK_ATTACH_AT_BOOT, nullptr, -1, VD_LIFETIME_BOOT},
      {VIRTDISK_ATTACH_PERMANENT_LIFETIME, "session", VIRTDISK_ERROR_INVALID_PARAMETER, VD_LIFETIME_HANDLE},
      {0, "forever", VIRTDISK_ERROR_INVALID_PARAMETER, VD_LIFETIME_HANDLE},
  };

  for (const auto &row : rows) {
    params.flags = row.flags;
    params.lifetime = row.word;
    ASSERT_EQ(code(), row.code) << (row.word != nullptr ? row.word : "-");
    EXPECT_TRUE(row.code != -1 || plan.lifetime == row.lifetime) << plan.lifetime;
  }
}

TEST_F(Attach, RangeLiesOnSectorsWithinTheDisk)
{
  const struct {
    guint64 offset, length;
    int code;
  } rows[] = {
      {0, 8 << 20, -1},
      {512, 512, -1},
      {0, 0, VIRTDISK_ERROR_INVALID_PARAMETER},
      {1, 512, VIRTDISK_ERROR_INVALID_PARAMETER},
      {0, 513, VIRTDISK_ERROR_INVALID_PARAMETER},
      {512, 8 << 20, VIRTDISK_ERROR_INVALID_PARAMETER},
      {UINT64_MAX - 511, 512, VIRTDISK_ERROR_INVALID_PARAMETER},
      {512, UINT64_MAX - 511, VIRTDISK_ERROR_INVALID_PARAMETER},
  };

  params.version = 2;
  params.flags = VIRTDISK_ATTACH_RESTRICTED_RANGE;
  params.has_range = TRUE;
  for (const auto &row : rows) {
    params.restricted_offset = row.offset;
    params.restricted_length = row.length;
    EXPECT_EQ(code(), row.code) << row.offset << "+" << row.length;
  }
  params.restricted_offset = 0;
  params.restricted_length = 512;
  params.version = 1;
  EXPECT_EQ(code(), VIRTDISK_ERROR_INVALID_PARAMETER);
}

TEST_F(Attach, SinglePartition)
{
  facts.n_contents = 2;
  facts.contents[0].partition = 0;
  facts.contents[1].partition = 1;
  facts.contents[1].offset = 1 << 20;
  facts.contents[1].size = 4 << 20;
  params.flags = VIRTDISK_ATTACH_SINGLE_PARTITION;
  ASSERT_EQ(code(), -1);
  EXPECT_EQ(plan.offset, 1u << 20);
  EXPECT_EQ(plan.size, 4u << 20);
  EXPECT_FALSE(plan.whole);
  facts.n_contents = 3;
  facts.contents[2].partition = 2;
  EXPECT_EQ(code(), VIRTDISK_ERROR_NOT_SUPPORTED);
}

// Nobody has looked into what no reader of the file alone can find.
TEST_F(Attach, SinglePartitionOfADynamicImage)
{
  params.flags = VIRTDISK_ATTACH_SINGLE_PARTITION;
  facts.linear = 0;
  facts.n_contents = 0;
  EXPECT_EQ(code(), VIRTDISK_ERROR_NOT_SUPPORTED);
  EXPECT_NE(text.find("RESTRICTED_RANGE"), std::string::npos) << text;
}

TEST_F(Attach, OnlyRootGivesTheNodeAway)
{
  params.has_uid = TRUE;
  params.uid = 4242;
  EXPECT_EQ(code(1000), VIRTDISK_ERROR_ACCESS_DENIED);
  EXPECT_EQ(code(1002), VIRTDISK_ERROR_ACCESS_DENIED);
  EXPECT_EQ(code(0), -1);
  EXPECT_EQ(plan.uid, 4242u);
  params.has_uid = FALSE;
  params.has_mode = TRUE;
  params.mode = 0666;
  EXPECT_EQ(code(1000), VIRTDISK_ERROR_ACCESS_DENIED);
  params.mode = 0600;
  EXPECT_EQ(code(1000), -1);
  params.mode = 0100600;
  EXPECT_EQ(code(0), VIRTDISK_ERROR_INVALID_PARAMETER);
}

TEST_F(Attach, ProviderFlagsAndVersion)
{
  params.provider_flags = 1;
  EXPECT_EQ(code(), VIRTDISK_ERROR_INVALID_PARAMETER);
  params.provider_flags = 0;
  params.version = 3;
  EXPECT_EQ(code(), VIRTDISK_ERROR_INVALID_PARAMETER);
  params.version = 0;
  EXPECT_EQ(code(), VIRTDISK_ERROR_INVALID_PARAMETER);
}

} // namespace
