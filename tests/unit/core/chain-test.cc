// SPDX-License-Identifier: LGPL-2.1-or-later
// Where a parent is looked for, and what is one.
#include <cstring>

#include "scratch.h"

extern "C" {
#include "chain.h"
#include "virtdisk-error.h"
}

namespace
{

using Paths = std::vector<std::string>;

VdFacts child_with(const std::vector<std::pair<VdPlaceKind, std::string>> &places)
{
  VdFacts facts = {};

  facts.has_parent = 1;
  for (const auto &place : places) {
    VdParentPlace *p = &facts.parent_places[facts.n_parent_places++];

    p->kind = place.first;
    g_strlcpy(p->path, place.second.c_str(), sizeof p->path);
  }
  return facts;
}

class Candidates : public Scratch
{
protected:
  VdPathMap *map = nullptr;

  void SetUp() override
  {
    g_autoptr(GError) error = nullptr;

    Scratch::SetUp();
    write_map("[drives]\nC=/mnt/c\n[volumes]\nAABBCCDD-0000-1111-2222-333344445555=/mnt/v\n"
              "[shares]\nSrv/Images=/mnt/s\n");
    map = vd_path_map_load((folder + "/paths.conf").c_str(), &error);
    ASSERT_NE(map, nullptr) << error->message;
  }

  void TearDown() override
  {
    vd_path_map_free(map);
    Scratch::TearDown();
  }

  void write_map(const char *text, mode_t mode = 0644)
  {
    std::string path = folder + "/paths.conf";

    ASSERT_TRUE(g_file_set_contents(path.c_str(), text, -1, nullptr));
    ASSERT_EQ(chmod(path.c_str(), mode), 0);
  }

  int load_code()
  {
    g_autoptr(GError) error = nullptr;
    g_autoptr(VdPathMap) loaded = vd_path_map_load((folder + "/paths.conf").c_str(), &error);

    return loaded != nullptr ? -1 : error->code;
  }

  Paths paths(const std::vector<std::pair<VdPlaceKind, std::string>> &places,
              const char *child = "/d/child.vhdx", VdRelativePlaces relative = VD_RELATIVE_USE)
  {
    VdFacts facts = child_with(places);
    g_autoptr(GPtrArray) found = vd_chain_candidates(&facts, child, map, relative);
    Paths out;

    for (guint i = 0; i < found->len; i++)
      out.push_back(static_cast<char *>(found->pdata[i]));
    return out;
  }
};

TEST_F(Candidates, RelativeOnesCountFromTheChildsFolder)
{
  EXPECT_EQ(paths({{VD_PLACE_RELATIVE, ".\\p.vhdx"}}), Paths({"/d/p.vhdx"}));
  EXPECT_EQ(paths({{VD_PLACE_RELATIVE, "p.vhdx"}}), Paths({"/d/p.vhdx"}));
  EXPECT_EQ(paths({{VD_PLACE_RELATIVE, "sub\\p.vhdx"}}), Paths({"/d/sub/p.vhdx", "/d/p.vhdx"}));
  EXPECT_EQ(paths({{VD_PLACE_RELATIVE, "..\\e\\p.vhdx"}}), Paths({"/d/../e/p.vhdx", "/d/p.vhdx"}));
}

TEST_F(Candidates, DrivesVolumesAndSharesAreWhatTheMapSays)
{
  EXPECT_EQ(paths({{VD_PLACE_ABSOLUTE, "c:\\x\\p.vhdx"}}), Paths({"/mnt/c/x/p.vhdx", "/d/p.vhdx"}));
  EXPECT_EQ(paths({{VD_PLACE_ABSOLUTE, "\\\\?\\C:\\p.vhdx"}}), Paths({"/mnt/c/p.vhdx", "/d/p.vhdx"}));
  EXPECT_EQ(paths({{VD_PLACE_VOLUME, "\\\\?\\Volume{aabbccdd-0000-1111-2222-333344445555}\\x\\p.vhdx"}}),
            Paths({"/mnt/v/x/p.vhdx", "/d/p.vhdx"}));
  EXPECT_EQ(paths({{VD_PLACE_ABSOLUTE, "\\\\SRV\\images\\p.vhdx"}}), Paths({"/mnt/s/p.vhdx", "/d/p.vhdx"}));
  EXPECT_EQ(paths({{VD_PLACE_ABSOLUTE, "\\\\?\\UNC\\srv\\images\\p.vhdx"}}),
            Paths({"/mnt/s/p.vhdx", "/d/p.vhdx"}));
}

TEST_F(Candidates, WhatTheMapDoesNotKnowLeavesTheBareName)
{
  EXPECT_EQ(paths({{VD_PLACE_ABSOLUTE, "d:\\x\\p.vhdx"}}), Paths({"/d/p.vhdx"}));
  EXPECT_EQ(paths({{VD_PLACE_ABSOLUTE, "\\\\other\\images\\p.vhdx"}}), Paths({"/d/p.vhdx"}));
  EXPECT_EQ(paths({{VD_PLACE_ABSOLUTE, "c:\\..\\etc\\p.vhdx"}}), Paths({"/d/p.vhdx"}));
  EXPECT_EQ(paths({{VD_PLACE_ABSOLUTE, "p.vhd"}}), Paths({"/d/p.vhd"}));
}

TEST_F(Candidates, NoFileOfAnImage)
{
  EXPECT_EQ(paths({{VD_PLACE_ABSOLUTE, "\\\\.\\PhysicalDrive0"}}), Paths({"/d/PhysicalDrive0"}));
  EXPECT_EQ(paths({{VD_PLACE_RELATIVE, "p.vhdx:stream"}}), Paths());
  EXPECT_EQ(paths({{VD_PLACE_RELATIVE, "a\np.vhdx"}}), Paths());
  EXPECT_EQ(paths({{VD_PLACE_RELATIVE, "\\etc\\shadow"}}), Paths({"/d/shadow"}));
  EXPECT_EQ(paths({{VD_PLACE_RELATIVE, "x\\.."}}), Paths({"/d/x/.."}));
  EXPECT_EQ(paths({{VD_PLACE_RELATIVE, ""}}), Paths());
  EXPECT_EQ(paths({{VD_PLACE_UNIX, "etc/p.vhd"}}), Paths({"/d/p.vhd"}));
}

TEST_F(Candidates, OrderAndOnce)
{
  EXPECT_EQ(paths({{VD_PLACE_RELATIVE, ".\\p.vhdx"},
                   {VD_PLACE_VOLUME, "\\\\?\\Volume{aabbccdd-0000-1111-2222-333344445555}\\p.vhdx"},
                   {VD_PLACE_ABSOLUTE, "C:\\p.vhdx"}}),
            Paths({"/d/p.vhdx", "/mnt/v/p.vhdx", "/mnt/c/p.vhdx"}));
}

TEST_F(Candidates, WithoutRelativeOnes)
{
  EXPECT_EQ(paths({{VD_PLACE_RELATIVE, ".\\p.vhdx"}, {VD_PLACE_ABSOLUTE, "C:\\p.vhdx"}}, "/d/c.vhdx",
                  VD_RELATIVE_IGNORE),
            Paths({"/mnt/c/p.vhdx"}));
}

TEST_F(Candidates, TheChildItselfIsNotItsParentByName)
{
  EXPECT_EQ(paths({{VD_PLACE_RELATIVE, "..\\base\\child.vhdx"}}), Paths({"/d/../base/child.vhdx"}));
}

TEST_F(Candidates, AChildWithoutAFolderHasAbsoluteOnesOnly)
{
  EXPECT_EQ(
      paths({{VD_PLACE_RELATIVE, "p.vhdx"}, {VD_PLACE_ABSOLUTE, "C:\\p.vhdx"}}, "(unreachable)/d/c.vhdx"),
      Paths({"/mnt/c/p.vhdx"}));
}

TEST_F(Candidates, MapsOfOthersAndBrokenOnesAreRefused)
{
  write_map("[drives]\nC=/mnt/c\n", 0666);
  EXPECT_EQ(load_code(), VIRTDISK_ERROR_ACCESS_DENIED);
  write_map("[drives]\nCC=/mnt/c\n");
  EXPECT_EQ(load_code(), VIRTDISK_ERROR_INVALID_PARAMETER);
  write_map("[drives]\nC=mnt\n");
  EXPECT_EQ(load_code(), VIRTDISK_ERROR_INVALID_PARAMETER);
  write_map("[shares]\nsrv=/mnt\n");
  EXPECT_EQ(load_code(), VIRTDISK_ERROR_INVALID_PARAMETER);
  write_map("nonsense");
  EXPECT_EQ(load_code(), VIRTDISK_ERROR_INVALID_PARAMETER);
  write_map("");
  EXPECT_EQ(load_code(), -1);
  ASSERT_EQ(unlink((folder + "/paths.conf").c_str()), 0);
  EXPECT_EQ(load_code(), -1);
}

struct Pair {
  VdFacts child = {}, parent = {};

  Pair()
  {
    child.has_parent = 1;
    child.virtual_size = parent.virtual_size = 1 << 30;
    child.sector_size = parent.sector_size = 512;
    parent.has_linkage = 1;
    memset(child.parent_id, 0x11, 16);
    memset(parent.linkage, 0x11, 16);
  }

  int code(gint64 mtime = 0, VdTimestampCheck check = VD_TIMESTAMP_CHECK)
  {
    g_autoptr(GError) error = nullptr;

    return vd_chain_match(&child, &parent, mtime, check, "c", "p", &error) ? -1 : error->code;
  }
};

TEST(Match, ById)
{
  Pair pair;

  EXPECT_EQ(pair.code(), -1);
  pair.parent.linkage[15] = 0;
  EXPECT_EQ(pair.code(), VIRTDISK_ERROR_VHD_CHILD_PARENT_ID_MISMATCH);
  memcpy(pair.child.parent_id2, pair.parent.linkage, 16);
  EXPECT_EQ(pair.code(), -1);
  pair.parent.has_linkage = 0;
  EXPECT_EQ(pair.code(), VIRTDISK_ERROR_VHD_CHILD_PARENT_ID_MISMATCH);
}

TEST(Match, ZerosFitNothing)
{
  Pair pair;

  memset(pair.child.parent_id, 0, 16);
  memset(pair.parent.linkage, 0, 16);
  EXPECT_EQ(pair.code(), VIRTDISK_ERROR_VHD_CHILD_PARENT_ID_MISMATCH);
}

TEST(Match, SizesAndSectors)
{
  Pair size, sector;

  size.parent.virtual_size += 512;
  EXPECT_EQ(size.code(), VIRTDISK_ERROR_VHD_CHILD_PARENT_SIZE_MISMATCH);
  sector.parent.sector_size = 4096;
  EXPECT_EQ(sector.code(), VIRTDISK_ERROR_VHD_DIFFERENCING_CHAIN_ERROR_IN_PARENT);
}

TEST(Match, TimeOfTheFooterOrOfTheFileOrNone)
{
  const gint64 year_2000 = 946684800;
  Pair pair;

  pair.parent.timestamp = 1000;
  EXPECT_EQ(pair.code(), -1);
  pair.child.parent_timestamp = 1000;
  EXPECT_EQ(pair.code(), -1);
  pair.child.parent_timestamp = 5000;
  EXPECT_EQ(pair.code(), VIRTDISK_ERROR_VHD_CHILD_PARENT_TIMESTAMP_MISMATCH);
  EXPECT_EQ(pair.code(year_2000 + 5001), -1);
  EXPECT_EQ(pair.code(year_2000 + 5010), VIRTDISK_ERROR_VHD_CHILD_PARENT_TIMESTAMP_MISMATCH);
  EXPECT_EQ(pair.code(0, VD_TIMESTAMP_IGNORE), -1);
}

} // namespace
