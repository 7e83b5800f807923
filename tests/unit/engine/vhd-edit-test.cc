// SPDX-License-Identifier: LGPL-2.1-or-later
// Changes of VHDs: what is there afterwards, and what a power cut at any moment leaves: the old image or the
// new one, with its data.
#include <gtest/gtest.h>

#include "vhd-rig.hh"

extern "C" {
#include "engine/edit.h"
#include "formats/check.h"
#include "formats/vhd-bytes.h"
#include "formats/vhd-parent.h"
}

using namespace vhd;

namespace
{

constexpr uint64_t kib = 1024, gib = 1024 * mib;
constexpr uint64_t data_size = 3 * mib;

using Edit = std::function<bool(const VdLayerSource &source, VdFormatError *ret_error)>;

// The edit on an image that is alone in its simulation.
bool apply(vd_sim::Io &sim, const Edit &edit, VdFormatError *ret_error)
{
  VdPages *pages = vd_pages_new(sim.io(), 4096, 64 * 4096);
  bool good = edit(sim.source(0, pages, true), ret_error);

  vd_pages_free(pages);
  return good;
}

Image edited(const Image &image, const Edit &edit)
{
  vd_sim::Io sim;
  VdFormatError error = {};

  sim.add(image, true);
  EXPECT_TRUE(apply(sim, edit, &error)) << error.text;
  return sim.image(0);
}

int refusal(const Image &image, const Edit &edit)
{
  vd_sim::Io sim;
  VdFormatError error = {};

  sim.add(image, true);
  EXPECT_FALSE(apply(sim, edit, &error));
  EXPECT_TRUE(sim.log().empty());
  return error.code;
}

// With data at both ends of its first data_size bytes and between.
Image filled(const Image &empty, const std::vector<Image> &parents = {})
{
  std::vector<Image> files = {empty};

  files.insert(files.end(), parents.begin(), parents.end());
  Chain chain(files, true);
  EXPECT_NE(chain.engine, nullptr) << chain.error.text;
  EXPECT_EQ(chain.write(0, 700 * kib, 0xa1), 0);
  EXPECT_EQ(chain.write(mib + 512, 5 * 512, 0xa2), 0);
  EXPECT_EQ(chain.write(data_size - 4096, 4096, 0xa3), 0);
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  return chain.image();
}

// The first block right behind the table, as most programs have it.
Image unaligned(Image image)
{
  Structure structure(image);
  uint64_t end = structure.shape.table_offset + vd_vhd_table_length(structure.sparse.max_entries);
  Bytes footer = image.read(0, 512);

  image.truncate(end);
  image.write(end, footer.data(), footer.size());
  return image;
}

// Space that belongs to nothing is no fault: where a block was that was in the way.
std::string faults(const Image &image)
{
  std::string said;
  VdReader reader;
  VdCheckSummary summary = {};
  VdFormatError error = {};
  auto fd = image.own_fd();
  auto sink = [](void *user, const VdFault *fault) {
    if (fault->kind != VD_FAULT_LEAK)
      *static_cast<std::string *>(user) += std::string(fault->error.text) + "; ";
  };

  if (!vd_reader_init(&reader, *fd, &error) ||
      !vd_check(&reader, VIRTDISK_DEVICE_VHD, sink, &said, &summary, &error))
    said += error.text;
  return said;
}

Edit identifier(uint8_t byte)
{
  return [byte](const VdLayerSource &source, VdFormatError *ret_error) {
    uint8_t id[16];

    memset(id, byte, sizeof id);
    return vd_edit_identifier(&source, VIRTDISK_DEVICE_VHD, id, ret_error);
  };
}

Edit parent(uint8_t byte, const std::string &relative, const std::string &absolute)
{
  return [=](const VdLayerSource &source, VdFormatError *ret_error) {
    VdEditParent parent = {};

    memset(parent.linkage, byte, sizeof parent.linkage);
    parent.timestamp = 1234;
    parent.relative = relative.c_str();
    parent.absolute = absolute.c_str();
    return vd_edit_parent(&source, VIRTDISK_DEVICE_VHD, &parent, ret_error);
  };
}

Edit size(uint64_t bytes)
{
  return [bytes](const VdLayerSource &source, VdFormatError *ret_error) {
    return vd_edit_size(&source, VIRTDISK_DEVICE_VHD, bytes, ret_error);
  };
}

// Where an image says its parent lies.
std::vector<std::string> places(const Image &image)
{
  std::vector<std::string> found;
  Structure structure(image);
  auto facts = std::make_unique<VdFacts>();
  VdFormatError error = {};
  VdReader reader;
  auto fd = image.own_fd();

  EXPECT_TRUE(vd_reader_init(&reader, *fd, &error) &&
              vd_vhd_locators_read(&reader, structure.sparse.locators, structure.sparse.parent_name,
                                   facts.get(), &error))
      << error.text;
  for (uint32_t i = 0; i < facts->n_parent_places; i++)
    found.push_back(facts->parent_places[i].path);
  return found;
}

const std::string long_name = std::string(90, 'a') + "/" + std::string(90, 'b') + "/" + std::string(90, 'c');

// An image, a change, and which of both is there by the id, parent or size that it has.
struct Case {
  std::string name;
  std::function<std::vector<Image>()> make; // the leaf and what is behind it
  Edit edit;
  uint64_t new_size = data_size;
};

void PrintTo(const Case &one, std::ostream *out)
{
  *out << one.name;
}

std::vector<Image> fixed()
{
  return {filled(create(VIRTDISK_SUBTYPE_FIXED, data_size))};
}

std::vector<Image> dynamic()
{
  return {filled(create(VIRTDISK_SUBTYPE_DYNAMIC, data_size))};
}

std::vector<Image> dynamic_unaligned()
{
  return {filled(unaligned(create(VIRTDISK_SUBTYPE_DYNAMIC, data_size)))};
}

std::vector<Image> dynamic_empty()
{
  return {create(VIRTDISK_SUBTYPE_DYNAMIC, data_size)};
}

// The new parent is a copy of the old one.
std::vector<Image> child()
{
  Image base = filled(create(VIRTDISK_SUBTYPE_DYNAMIC, data_size, 512 << 10, 8));
  Image leaf = create(VIRTDISK_SUBTYPE_DIFFERENCING, data_size);
  Chain chain({leaf, base}, true);

  EXPECT_EQ(chain.write(2 * mib, 3 * 512, 0xb1), 0);
  EXPECT_EQ(chain.write(512, 512, 0xb2), 0);
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  return {chain.image(), base};
}

// Its locators have no room but for what they hold.
std::vector<Image> tight_child()
{
  std::vector<Image> files = child();
  Bytes header = files[0].read(512, 1024);
  uint32_t sum = 0;

  images::put_be(header, 576 + 4, 512, 4);
  images::put_be(header, 36, 0, 4);
  for (uint8_t byte : header)
    sum += byte;
  images::put_be(header, 36, ~sum, 4);
  files[0].write(512, header.data(), header.size());
  return files;
}

const std::vector<Case> cases = {
    {"identifier_fixed", fixed, identifier(0x33)},
    {"identifier_dynamic", dynamic, identifier(0x33)},
    {"identifier_child", child, identifier(0x33)},
    {"parent", child, parent(9, "other/parent.vhd", "C:\\disks\\parent.vhd")},
    {"parent_relative", child, parent(9, "../x.vhd", "")},
    {"parent_far_away", child, parent(9, long_name, "C:\\" + std::string(200, 'd'))},
    {"parent_no_room", tight_child, parent(9, long_name, "C:\\parent.vhd")},
    {"size_fixed", fixed, size(5 * mib), 5 * mib},
    {"size_fixed_by_a_sector", fixed, size(data_size + 512), data_size + 512},
    {"size_dynamic", dynamic, size(90 * mib), 90 * mib},
    {"size_dynamic_table", dynamic, size(gib), gib},
    {"size_dynamic_many", dynamic, size(300 * gib), 300 * gib},
    {"size_dynamic_unaligned", dynamic_unaligned, size(100 * mib), 100 * mib},
    {"size_dynamic_unaligned_many", dynamic_unaligned, size(300 * gib), 300 * gib},
    {"size_dynamic_empty", dynamic_empty, size(300 * gib), 300 * gib},
    {"size_dynamic_largest", dynamic, size(2040 * gib), 2040 * gib},
};

class VhdEdit : public testing::TestWithParam<Case>
{
protected:
  void SetUp() override
  {
    files_ = GetParam().make();
    Chain chain(files_, false);
    ASSERT_NE(chain.engine, nullptr) << chain.error.text;
    data_ = chain.all();
  }

  // The chain with the leaf given, behind it a parent that has the id it wants.
  std::vector<Image> chain_of(const Image &leaf)
  {
    std::vector<Image> files = {leaf};
    Structure structure(leaf);

    for (size_t i = 1; i < files_.size(); i++)
      files.push_back(structure.sparse.parent_id[0] == 9 ? edited(files_[i], identifier(9)) : files_[i]);
    return files;
  }

  // The image has the old content, and zeros behind it; "" or what is wrong.
  std::string judge(const Image &leaf, bool finished)
  {
    std::vector<Image> files = chain_of(leaf);
    Chain chain(files, false);

    if (chain.engine == nullptr)
      return std::string("it does not open: ") + chain.error.text;
    uint64_t size = vd_engine_size(chain.engine);
    if (size != GetParam().new_size && (finished || size != data_size))
      return "its size is " + std::to_string(size);
    if (chain.read(0, data_size) != data_)
      return "its data is another";
    for (uint64_t at : {data_size, (data_size + size) / 2 / 4096 * 4096, size - 512})
      if (at >= data_size && at < size && !chain.holds(at, std::min(mib, size - at), 0))
        return "there is something at " + std::to_string(at);
    return "";
  }

  // And can be written, also where it is new.
  std::string use(const Image &leaf)
  {
    std::vector<Image> files = chain_of(leaf);
    uint64_t end = GetParam().new_size - 512;

    if (leaf.size() > 8 * mib && GetParam().new_size > 1024 * gib)
      return ""; // its table alone is larger than what is tested here
    {
      Chain chain(files, true);

      if (chain.engine == nullptr)
        return chain.error.text;
      if (chain.write(end, 512, 0xc1) != 0 || chain.write(2 * mib + 512 * kib, 512, 0xc2) != 0 ||
          vd_engine_close(chain.engine) != 0)
        return "it cannot be written";
      files[0] = chain.image();
    }
    Chain chain(files, false);
    Bytes expected = data_;

    std::fill_n(expected.begin() + 2 * mib + 512 * kib, 512, 0xc2);
    if (end + 512 == data_size)
      std::fill_n(expected.begin() + static_cast<long>(end), 512, 0xc1);
    if (chain.engine == nullptr || !chain.holds(end, 512, 0xc1) || chain.read(0, data_size) != expected)
      return "it is not what was written";
    return faults(files[0]);
  }

  std::vector<Image> files_;
  Bytes data_;
};

TEST_P(VhdEdit, Whole)
{
  Image after = edited(files_[0], GetParam().edit);

  EXPECT_NE(after.read(0, after.size()), files_[0].read(0, files_[0].size()));
  EXPECT_TRUE(Structure(after).clean());
  EXPECT_EQ(judge(after, true), "");
  EXPECT_EQ(faults(after), "");
  EXPECT_EQ(use(after), "");
  // Once more is the same.
  Image again = edited(after, GetParam().edit);
  EXPECT_EQ(judge(again, true), "");
  EXPECT_EQ(faults(again), "");
}

TEST_P(VhdEdit, PowerCutAtEveryMoment)
{
  for (uint64_t seed : {uint64_t(0), uint64_t(3)}) {
    vd_sim::Io sim({seed});
    VdFormatError error = {};
    vd_sim::Cuts cuts;

    sim.add(files_[0], true);
    ASSERT_TRUE(apply(sim, GetParam().edit, &error)) << error.text;
    cuts.most = GetParam().new_size > 1024 * gib ? 2 : GetParam().new_size > gib ? 8 : 40;
    EXPECT_EQ(judge(sim.state({sim.log().size(), vd_sim::Cut::Kept::durable, 0, 512})[0], true), "");
    sim.for_each_cut(cuts, [&](const vd_sim::Cut &cut, std::vector<Image> &left) {
      if (HasFailure())
        return;
      EXPECT_EQ(judge(left[0], false), "") << vd_sim::describe(cut);
      Image finished = edited(left[0], GetParam().edit);
      EXPECT_EQ(judge(finished, true), "") << vd_sim::describe(cut);
      EXPECT_TRUE(Structure(finished).clean()) << vd_sim::describe(cut);
      EXPECT_EQ(faults(finished), "") << vd_sim::describe(cut);
    });
  }
}

TEST_P(VhdEdit, EachOperationFailsOnce)
{
  for (uint64_t nth = 0;; nth++) {
    vd_sim::Io sim({nth + 1});
    VdFormatError error = {};

    sim.add(files_[0], true);
    sim.fail(nth, nth % 2 != 0 ? ENOSPC : EIO);
    if (apply(sim, GetParam().edit, &error))
      break;
    EXPECT_TRUE(error.code == VIRTDISK_ERROR_IO || error.code == VIRTDISK_ERROR_DISK_FULL) << error.text;
    ASSERT_EQ(judge(sim.image(0), false), "") << "operation " << nth;
    if (nth > 60 || (nth > 10 && GetParam().new_size > gib))
      nth += 20;
  }
}

INSTANTIATE_TEST_SUITE_P(Changes, VhdEdit, testing::ValuesIn(cases),
                         [](const auto &info) { return info.param.name; });

TEST(VhdEditIdentifier, IsInBothFooters)
{
  Image after = edited(dynamic()[0], identifier(0x33));
  Structure structure(after);

  EXPECT_EQ(Bytes(structure.footers.footer.unique_id, structure.footers.footer.unique_id + 16),
            Bytes(16, 0x33));
  EXPECT_EQ(after.read(0, 512), after.read(after.size() - 512, 512));
}

TEST(VhdEditParent, IsWhereItWasSaidToBe)
{
  std::vector<Image> files = child();
  Image after = edited(files[0], parent(9, "other/parent.vhd", "C:\\disks\\parent.vhd"));
  Structure structure(after);

  EXPECT_EQ(after.size(), files[0].size());
  EXPECT_EQ(structure.sparse.offset, 512u);
  EXPECT_EQ(structure.sparse.parent_timestamp, 1234u);
  EXPECT_EQ(Bytes(structure.sparse.parent_id, structure.sparse.parent_id + 16), Bytes(16, 9));
  EXPECT_EQ(places(after), (std::vector<std::string>{".\\other\\parent.vhd", "C:\\disks\\parent.vhd"}));
  EXPECT_EQ(structure.footers.footer.unique_id[0], 7);
}

TEST(VhdEditParent, TextsThatDoNotFitStayAtTheEnd)
{
  std::vector<Image> files = tight_child();
  Image after = edited(files[0], parent(9, long_name, "C:\\parent.vhd"));
  std::string windows = ".\\" + long_name;

  std::replace(windows.begin(), windows.end(), '/', '\\');
  EXPECT_GT(after.size(), files[0].size());
  EXPECT_EQ(Structure(after).sparse.offset, 512u);
  EXPECT_EQ(places(after), (std::vector<std::string>{windows, "C:\\parent.vhd"}));
}

TEST(VhdEditParent, BadPathsAreRefused)
{
  Image leaf = child()[0];

  for (const char *relative : {"", "/absolute", "back\\slash", "no\xfftext"})
    EXPECT_EQ(refusal(leaf, parent(9, relative, "")), VIRTDISK_ERROR_INVALID_PARAMETER) << relative;
  EXPECT_EQ(refusal(leaf, parent(9, "x", "no\xfftext")), VIRTDISK_ERROR_INVALID_PARAMETER);
}

TEST(VhdEditParent, IsOfDifferencingImagesAlone)
{
  EXPECT_EQ(refusal(dynamic()[0], parent(9, "x", "")), VIRTDISK_ERROR_VHD_INVALID_TYPE);
  EXPECT_EQ(refusal(fixed()[0], parent(9, "x", "")), VIRTDISK_ERROR_VHD_INVALID_TYPE);
}

TEST(VhdEditSize, IsInBothFootersWithTheOriginalOne)
{
  Image after = edited(dynamic()[0], size(90 * mib));

  EXPECT_EQ(after.read(0, 512), after.read(after.size() - 512, 512));
  Bytes footer = after.read(0, 512);
  EXPECT_EQ(vd_get_be32(&footer[44]), data_size);
  EXPECT_EQ(vd_get_be32(&footer[52]), 90 * mib);
}

TEST(VhdEditSize, WhatIsNewIsZeroWhateverWasThere)
{
  // A disk that ends within its last block, of which the rest is not zeros.
  Image image = filled(create(VIRTDISK_SUBTYPE_DYNAMIC, data_size + 512));
  {
    Chain chain({image}, true);
    EXPECT_EQ(chain.write(data_size, 512, 0xd1), 0);
    EXPECT_EQ(vd_engine_close(chain.engine), 0);
    image = chain.image();
  }
  Structure structure(image);
  uint64_t at = structure.entry(6) * uint64_t(512) + 512 + 512;
  Bytes junk(4096, 0xee);
  image.write(at, junk.data(), junk.size());
  Chain chain({edited(image, size(4 * mib))}, false);
  EXPECT_TRUE(chain.holds(data_size, 512, 0xd1));
  EXPECT_TRUE(chain.holds(data_size + 512, 4096, 0));
}

TEST(VhdEditSize, TheSameSizeIsNoChange)
{
  vd_sim::Io sim;
  VdFormatError error = {};

  sim.add(dynamic()[0], true);
  EXPECT_TRUE(apply(sim, size(data_size), &error));
  EXPECT_TRUE(sim.log().empty());
}

TEST(VhdEditSize, Limits)
{
  Image image = dynamic()[0];

  EXPECT_EQ(refusal(image, size(data_size - 512)), VIRTDISK_ERROR_VHD_INVALID_TYPE);
  EXPECT_EQ(refusal(image, size(data_size + 1)), VIRTDISK_ERROR_VHD_INVALID_SIZE);
  EXPECT_EQ(refusal(image, size(2040 * gib + 512)), VIRTDISK_ERROR_VHD_INVALID_SIZE);
  EXPECT_EQ(refusal(fixed()[0], size(2040 * gib + 512)), VIRTDISK_ERROR_VHD_INVALID_SIZE);
  EXPECT_EQ(refusal(child()[0], size(4 * mib)), VIRTDISK_ERROR_VHD_INVALID_TYPE);
}

TEST(VhdEditSize, NotOfAnImageWithASavedMachine)
{
  Image image = fixed()[0];
  Bytes footer = image.read(data_size, 512);
  uint32_t sum = 0;

  footer[84] = 1;
  images::put_be(footer, 64, 0, 4);
  for (uint8_t byte : footer)
    sum += byte;
  images::put_be(footer, 64, ~sum, 4);
  image.write(data_size, footer.data(), footer.size());
  EXPECT_EQ(refusal(image, size(5 * mib)), VIRTDISK_ERROR_VHD_INVALID_STATE);
}

TEST(VhdEditOthers, AVhdHasNoneOfThem)
{
  Image image = dynamic()[0];
  uint8_t id[16] = {1};

  EXPECT_EQ(refusal(image,
                    [&](const VdLayerSource &source, VdFormatError *error) {
                      return vd_edit_physical_sector_size(&source, VIRTDISK_DEVICE_VHD, 4096, error);
                    }),
            VIRTDISK_ERROR_VHD_INVALID_TYPE);
  EXPECT_EQ(refusal(image,
                    [&](const VdLayerSource &source, VdFormatError *error) {
                      return vd_edit_virtual_disk_id(&source, VIRTDISK_DEVICE_VHD, id, error);
                    }),
            VIRTDISK_ERROR_VHD_INVALID_TYPE);
  EXPECT_EQ(refusal(image,
                    [&](const VdLayerSource &source, VdFormatError *error) {
                      return vd_metadata_delete(&source, VIRTDISK_DEVICE_VHD, id, error);
                    }),
            VIRTDISK_ERROR_VHD_INVALID_TYPE);
}

} // namespace
