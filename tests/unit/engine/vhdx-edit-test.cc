// SPDX-License-Identifier: LGPL-2.1-or-later
// Changes of a VHDX: each does what it says, and every state that a power cut leaves of it is the old image
// or the new one, to all who read it: our parsers, the checker, and the engine, which replays the log.
#include "vhdx-edit-rig.hh"

using namespace vhdx_edit;

namespace
{

TEST(VhdxEdit, IdentifierIsTheDataWriteGuid)
{
  Bed bed(filled({}));

  ASSERT_TRUE(vd_edit_identifier(&bed.source, VIRTDISK_DEVICE_VHDX, guid(9).data(), &bed.error))
      << bed.error.text;
  Facts facts = facts_of(bed.image());
  uint8_t printed[16];
  vd_vhdx_guid_swap(facts.vhdx.header.data_write_guid, printed);
  EXPECT_EQ(memcmp(printed, guid(9).data(), 16), 0);
  EXPECT_EQ(vhdx::faults(bed.image()), "");
}

TEST(VhdxEdit, EveryChangeHasANewFileWriteGuid)
{
  Bed bed(filled({}));
  VdVhdx before = vhdx::read_structure(bed.image());

  ASSERT_TRUE(vd_edit_identifier(&bed.source, VIRTDISK_DEVICE_VHDX, guid(9).data(), &bed.error));
  VdVhdx after = vhdx::read_structure(bed.image());
  EXPECT_NE(memcmp(before.header.file_write_guid, after.header.file_write_guid, 16), 0);
  EXPECT_GT(after.header.sequence, before.header.sequence);
}

TEST(VhdxEdit, PhysicalSectorSize)
{
  Bed bed(filled({}));
  VdVhdx before = vhdx::read_structure(bed.image());

  ASSERT_TRUE(vd_edit_physical_sector_size(&bed.source, VIRTDISK_DEVICE_VHDX, 512, &bed.error))
      << bed.error.text;
  VdVhdx after = vhdx::read_structure(bed.image());
  EXPECT_EQ(after.physical_sector_size, 512u);
  // What a reader of the disk sees has changed.
  EXPECT_NE(memcmp(before.header.data_write_guid, after.header.data_write_guid, 16), 0);
}

TEST(VhdxEdit, PhysicalSectorSizeIsNotBelowTheLogicalOne)
{
  vhdx::Shape shape;
  shape.sector_size = 4096;
  Bed bed(filled(shape));

  for (uint32_t size : {0u, 512u, 1024u, 8192u}) {
    EXPECT_FALSE(vd_edit_physical_sector_size(&bed.source, VIRTDISK_DEVICE_VHDX, size, &bed.error));
    EXPECT_EQ(bed.error.code, VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE);
  }
  EXPECT_EQ(bed.sim.count(VD_IO_WRITE), 0u);
}

TEST(VhdxEdit, WhatIsTheSameAlreadyIsNotWritten)
{
  Bed bed(filled({}));

  EXPECT_TRUE(vd_edit_physical_sector_size(&bed.source, VIRTDISK_DEVICE_VHDX, 4096, &bed.error));
  EXPECT_TRUE(vd_edit_size(&bed.source, VIRTDISK_DEVICE_VHDX, 48 * MiB, &bed.error));
  EXPECT_EQ(bed.sim.operations(), 0u);
}

TEST(VhdxEdit, VirtualDiskId)
{
  Bed bed(filled({}));
  uint8_t printed[16];

  ASSERT_TRUE(vd_edit_virtual_disk_id(&bed.source, VIRTDISK_DEVICE_VHDX, guid(77).data(), &bed.error));
  vd_vhdx_guid_swap(vhdx::read_structure(bed.image()).disk_id, printed);
  EXPECT_EQ(memcmp(printed, guid(77).data(), 16), 0);
}

TEST(VhdxEdit, ParentWithALongerPath)
{
  vhdx::Image parent = filled({});
  Bed bed(child_of(parent));
  std::string relative = "../" + std::string(900, 'x') + "/base.vhdx";
  VdEditParent edit = {};
  VdVhdx before = vhdx::read_structure(bed.image());

  memcpy(edit.linkage, guid(3).data(), 16);
  edit.relative = relative.c_str();
  edit.absolute = "\\\\?\\C:\\base.vhdx";
  ASSERT_TRUE(vd_edit_parent(&bed.source, VIRTDISK_DEVICE_VHDX, &edit, &bed.error)) << bed.error.text;
  VdVhdx after = vhdx::read_structure(bed.image());
  EXPECT_EQ(std::string(after.locator.relative_path), "..\\" + std::string(900, 'x') + "\\base.vhdx");
  EXPECT_STREQ(after.locator.absolute_path, "\\\\?\\C:\\base.vhdx");
  // Children of this image still know it.
  EXPECT_EQ(memcmp(before.header.data_write_guid, after.header.data_write_guid, 16), 0);
  EXPECT_EQ(vhdx::faults(bed.image()), "");
}

TEST(VhdxEdit, LinkageKeepsThePaths)
{
  Bed bed(child_of(filled({})));
  VdVhdx before = vhdx::read_structure(bed.image());
  uint8_t printed[16];

  ASSERT_TRUE(vd_edit_linkage(&bed.source, VIRTDISK_DEVICE_VHDX, guid(5).data(), guid(6).data(), &bed.error));
  VdVhdx after = vhdx::read_structure(bed.image());
  vd_vhdx_guid_swap(after.locator.linkage2, printed);
  EXPECT_EQ(memcmp(printed, guid(6).data(), 16), 0);
  EXPECT_STREQ(before.locator.relative_path, after.locator.relative_path);

  ASSERT_TRUE(vd_edit_linkage(&bed.source, VIRTDISK_DEVICE_VHDX, guid(5).data(), nullptr, &bed.error));
  after = vhdx::read_structure(bed.image());
  EXPECT_TRUE(vd_vhdx_guid_is_zero(after.locator.linkage2));
  vd_vhdx_guid_swap(after.locator.linkage, printed);
  EXPECT_EQ(memcmp(printed, guid(5).data(), 16), 0);
}

TEST(VhdxEdit, AnImageWithoutParentHasNone)
{
  Bed bed(filled({}));
  VdEditParent edit = {};

  EXPECT_FALSE(vd_edit_parent(&bed.source, VIRTDISK_DEVICE_VHDX, &edit, &bed.error));
  EXPECT_EQ(bed.error.code, VIRTDISK_ERROR_VHD_INVALID_TYPE);
  EXPECT_EQ(bed.sim.count(VD_IO_WRITE), 0u);
}

TEST(VhdxEdit, PathsThatWindowsCannotHave)
{
  Bed bed(child_of(filled({})));
  std::string too_long(1100, 'y');

  for (const char *path : {"/absolute", "back\\slash", too_long.c_str(), "\xff\xfe"}) {
    VdEditParent edit = {};

    edit.relative = path;
    EXPECT_FALSE(vd_edit_parent(&bed.source, VIRTDISK_DEVICE_VHDX, &edit, &bed.error)) << path;
    EXPECT_EQ(bed.error.code, VIRTDISK_ERROR_INVALID_PARAMETER);
  }
}

TEST(VhdxEdit, AllItemsTogetherHaveAnEnd)
{
  vhdx::Image image = filled({});

  for (unsigned number = 0; number < 40; number++) {
    Bed bed(image);
    ASSERT_TRUE(set_item(bed, number, 1 << 20)) << number << ": " << bed.error.text;
    image = bed.image();
  }
  Bed bed(image);
  EXPECT_FALSE(set_item(bed, 40, 1));
  EXPECT_EQ(bed.error.code, VIRTDISK_ERROR_VHD_METADATA_FULL);
  EXPECT_TRUE(set_item(bed, 40, 0));
  // In the place of another one, and with room that is left.
  EXPECT_TRUE(set_item(bed, 7, 1 << 10)) << bed.error.text;
  EXPECT_TRUE(set_item(bed, 41, (1 << 20) - (1 << 10))) << bed.error.text;
  EXPECT_EQ(vhdx::faults(bed.image()), "");
}

TEST(VhdxEdit, ItemsOfUsersHaveACeiling)
{
  static uint8_t ids[VD_METADATA_MAX_ITEMS][16];
  Bed bed(filled({}));
  unsigned n = 0;

  for (unsigned number = 0; number < VD_METADATA_MAX_ITEMS; number++)
    ASSERT_TRUE(set_item(bed, number, number % 5 * 7)) << number << ": " << bed.error.text;
  EXPECT_FALSE(set_item(bed, VD_METADATA_MAX_ITEMS, 1));
  EXPECT_EQ(bed.error.code, VIRTDISK_ERROR_VHD_METADATA_FULL);
  ASSERT_TRUE(vd_metadata_enumerate(&bed.source, VIRTDISK_DEVICE_VHDX, ids, &n, &bed.error));
  EXPECT_EQ(n, static_cast<unsigned>(VD_METADATA_MAX_ITEMS));
  EXPECT_EQ(memcmp(ids[VD_METADATA_MAX_ITEMS - 1], guid(VD_METADATA_MAX_ITEMS - 1).data(), 16), 0);
  EXPECT_EQ(vhdx::faults(bed.image()), "");
}

TEST(VhdxEdit, ADirtyLogIsReplayedFirst)
{
  Bed dirty(filled({}));
  std::vector<vd_sim::Image> images;

  ASSERT_TRUE(vd_edit_size(&dirty.source, VIRTDISK_DEVICE_VHDX, 60 * MiB, &dirty.error));
  dirty.sim.for_each_cut({}, [&](const vd_sim::Cut &, std::vector<vd_sim::Image> &state) {
    VdVhdx vhdx = vhdx::read_structure(state[0]);
    if (!vd_vhdx_guid_is_zero(vhdx.header.log_guid))
      images.push_back(state[0]);
  });
  ASSERT_FALSE(images.empty());
  Bed bed(images.front());
  ASSERT_TRUE(vd_edit_physical_sector_size(&bed.source, VIRTDISK_DEVICE_VHDX, 512, &bed.error));
  EXPECT_EQ(vhdx::read_structure(bed.image()).virtual_size, 60 * MiB);
  EXPECT_EQ(vhdx::faults(bed.image()), "");
}

TEST(VhdxEdit, OtherFormatsHaveNoSuchThing)
{
  Bed bed(vd_sim::Image::of_size(8 * MiB));
  unsigned n = 0;
  uint8_t items[1][16];

  EXPECT_FALSE(vd_metadata_enumerate(&bed.source, VIRTDISK_DEVICE_RAW, items, &n, &bed.error));
  EXPECT_EQ(bed.error.code, VIRTDISK_ERROR_VHD_INVALID_TYPE);
  EXPECT_FALSE(vd_edit_virtual_disk_id(&bed.source, VIRTDISK_DEVICE_VHD, guid(1).data(), &bed.error));
  EXPECT_EQ(bed.error.code, VIRTDISK_ERROR_VHD_INVALID_TYPE);
}

// Where the offered bytes are nonsense there is an error with a name, or the change is there in an image that
// holds.
TEST(VhdxEdit, HostileImages)
{
  const vhdx::Image images[] = {with_items({5000, 300, 9000}), child_of(filled({}))};
  std::mt19937_64 random(7);
  unsigned refused = 0;

  for (unsigned round = 0; round < 300; round++) {
    vhdx::Image image = images[round % 2];
    // Region tables, headers' neighbours, metadata table and items, the first page of the BAT.
    const uint64_t places[] = {192 * KiB, 256 * KiB, 2 * MiB, 2 * MiB + 64 * KiB, 3 * MiB};
    for (unsigned flips = 0; flips < 1 + round % 3; flips++) {
      uint8_t byte = static_cast<uint8_t>(random());
      image.write(places[random() % 5] + random() % 160, &byte, 1);
    }
    Bed bed(image);
    bool good = round % 4 < 2   ? set_item(bed, 101, 6000)
                : round % 4 < 3 ? vd_edit_size(&bed.source, VIRTDISK_DEVICE_VHDX, 300 * GiB, &bed.error)
                                : vd_edit_linkage(&bed.source, VIRTDISK_DEVICE_VHDX, guid(5).data(),
                                                  guid(6).data(), &bed.error);

    if (!good) {
      EXPECT_GE(bed.error.code, 0);
      EXPECT_NE(std::string(bed.error.text), "");
      refused++;
    }
  }
  EXPECT_GT(refused, 100u);
  EXPECT_LT(refused, 300u);
}

// Every operation fails once: an error, or the change is there; the image is whole.
TEST(VhdxEdit, NoSpaceAtAnyMoment)
{
  for (const Change &change : changes()) {
    const vhdx::Image image = change.make();
    std::string before = facts_of(image).text;
    uint64_t operations = 1;

    for (uint64_t nth = 0; nth < operations; nth++) {
      Bed bed(image);
      bed.sim.fail(nth, -ENOSPC);
      bool good = change.run(bed);

      operations = nth + 2 > bed.sim.operations() ? operations : nth + 2;
      ASSERT_EQ(vhdx::faults(bed.image(), true), "") << change.name << " " << nth;
      if (good)
        EXPECT_NE(facts_of(bed.image()).text, before) << change.name << " " << nth;
      else
        EXPECT_EQ(bed.error.code, VIRTDISK_ERROR_DISK_FULL) << change.name << " " << nth;
    }
  }
}

class Cuts : public testing::TestWithParam<Change>
{
};

TEST_P(Cuts, OldOrNew)
{
  const Change &change = GetParam();
  Bed bed(change.make());
  Facts before = facts_of(bed.image());
  unsigned n_old = 0, n_new = 0, n = 0;

  ASSERT_TRUE(change.run(bed)) << bed.error.text;
  Facts after = facts_of(bed.image());
  ASSERT_NE(before.text, after.text);
  EXPECT_EQ(vhdx::faults(bed.image()), "");
  EXPECT_EQ(checked(bed.image(), ~(1U << VD_FAULT_LEAK)), "");
  EXPECT_EQ(bed.sim.changed_in_flight(), 0u);

  vd_sim::Cuts cuts;
  cuts.most = 140;
  cuts.choices = 4;
  const unsigned looked_at = 13;
  bed.sim.for_each_cut(cuts, [&](const vd_sim::Cut &cut, std::vector<vd_sim::Image> &state) {
    if (testing::Test::HasFailure())
      return;
    Facts facts = head_of(state[0]);
    ASSERT_TRUE(facts.head == before.head || facts.head == after.head)
        << vd_sim::describe(cut) << "\nis  " << facts.head << "\nwas " << before.head << "\nnew "
        << after.head;
    (facts.head == before.head ? n_old : n_new)++;
    // Of some states all is looked at, which takes long.
    if (n++ % looked_at != 0)
      return;
    facts = facts_of(state[0]);
    ASSERT_TRUE(facts.text == before.text || facts.text == after.text)
        << vd_sim::describe(cut) << "\nis  " << facts.text << "\nwas " << before.text << "\nnew "
        << after.text;
    ASSERT_EQ(checked(state[0], 1U << VD_FAULT_SERIOUS), "") << vd_sim::describe(cut);
    // Whoever writes replays the log.
    vhdx::Image replayed = reopened(state[0]);
    ASSERT_EQ(facts_of(replayed).text, facts.text) << vd_sim::describe(cut);
    ASSERT_EQ(vhdx::faults(replayed, true), "") << vd_sim::describe(cut);
  });
  EXPECT_GT(n_old, 0u);
  EXPECT_GT(n_new, 0u);
  // Durable when the call returns.
  vd_sim::Cut end = {bed.sim.log().size(), vd_sim::Cut::Kept::durable, 0, 0};
  EXPECT_EQ(facts_of(bed.sim.state(end)[0]).text, after.text);
}

INSTANTIATE_TEST_SUITE_P(Edit, Cuts, testing::ValuesIn(changes()),
                         [](const auto &info) { return info.param.name; });

} // namespace
