// SPDX-License-Identifier: LGPL-2.1-or-later
// Chains of both formats are merged while the power is cut at any moment: the chain that is left always
// opens and shows what it showed, and the merge that is done once more finishes. The same when an operation
// fails, and when somebody wants it to end.
//
// VIRTDISK_CRASH_STATES: states of one chain (default 24).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <ostream>

#include <sys/mman.h>
#include <unistd.h>

#include "subject.hh"

extern "C" {
#include "engine/merge.h"
#include "formats/check.h"
#include "formats/create.h"
#include "virtdisk-enums.h"
}

using namespace vd_crash;

namespace
{

constexpr uint64_t KiB = 1024, MiB = 1024 * KiB;

struct Case {
  std::string name;
  uint32_t device_id;
  uint32_t sector_size;
  uint32_t base;                     // subtype of the last image
  std::vector<uint32_t> block_sizes; // leaf first
  unsigned source, target;           // depths
  uint64_t size = 6 * MiB;
};

void PrintTo(const Case &one, std::ostream *out)
{
  *out << one.name;
}

constexpr uint32_t K512 = 512 * KiB, M1 = MiB, M2 = 2 * MiB;

const std::vector<Case> cases = {
    {"vhdx_same_blocks", VIRTDISK_DEVICE_VHDX, 512, VIRTDISK_SUBTYPE_DYNAMIC, {M1, M1}, 1, 2},
    {"vhdx_larger_blocks", VIRTDISK_DEVICE_VHDX, 512, VIRTDISK_SUBTYPE_DYNAMIC, {M1, M2}, 1, 2},
    {"vhdx_smaller_blocks", VIRTDISK_DEVICE_VHDX, 512, VIRTDISK_SUBTYPE_DYNAMIC, {M2, M1}, 1, 2},
    {"vhdx_4k_sectors", VIRTDISK_DEVICE_VHDX, 4096, VIRTDISK_SUBTYPE_DYNAMIC, {M1, M1}, 1, 2},
    {"vhdx_fixed", VIRTDISK_DEVICE_VHDX, 512, VIRTDISK_SUBTYPE_FIXED, {M1, M1}, 1, 2},
    {"vhdx_into_child", VIRTDISK_DEVICE_VHDX, 512, VIRTDISK_SUBTYPE_DYNAMIC, {M1, M2, M1}, 1, 2},
    {"vhdx_two_levels", VIRTDISK_DEVICE_VHDX, 512, VIRTDISK_SUBTYPE_DYNAMIC, {M1, M1, M1}, 1, 3},
    {"vhdx_below_leaf", VIRTDISK_DEVICE_VHDX, 512, VIRTDISK_SUBTYPE_DYNAMIC, {M1, M1, M1}, 2, 3},
    {"vhd_same_blocks", VIRTDISK_DEVICE_VHD, 512, VIRTDISK_SUBTYPE_DYNAMIC, {K512, K512}, 1, 2},
    {"vhd_larger_blocks", VIRTDISK_DEVICE_VHD, 512, VIRTDISK_SUBTYPE_DYNAMIC, {K512, M2}, 1, 2},
    {"vhd_smaller_blocks", VIRTDISK_DEVICE_VHD, 512, VIRTDISK_SUBTYPE_DYNAMIC, {M2, K512}, 1, 2},
    {"vhd_fixed", VIRTDISK_DEVICE_VHD, 512, VIRTDISK_SUBTYPE_FIXED, {K512, 0}, 1, 2},
    {"vhd_into_child", VIRTDISK_DEVICE_VHD, 512, VIRTDISK_SUBTYPE_DYNAMIC, {K512, M2, K512}, 1, 2},
    {"vhd_two_levels", VIRTDISK_DEVICE_VHD, 512, VIRTDISK_SUBTYPE_DYNAMIC, {K512, M2, K512}, 1, 3},
    {"vhd_below_leaf", VIRTDISK_DEVICE_VHD, 512, VIRTDISK_SUBTYPE_DYNAMIC, {K512, K512, M2}, 2, 3},
};

using Files = std::vector<vd_sim::Image>;

Format format_of(const Case &one)
{
  return {one.name, one.device_id, one.base, one.size, one.block_sizes[0], one.sector_size};
}

// As printed, first byte first.
std::array<uint8_t, 16> identity(const vd_sim::Image &image, uint32_t device_id, bool has_parent)
{
  vd_sim::Io sim;
  VdFormatError error = {};
  std::array<uint8_t, 16> id;
  VdPages *pages = vd_pages_new(sim.io(), 4096, 1 << 20);
  VdLayerSource source = sim.source(sim.add(image, false), pages, false);
  VdLayer *layer = vd_layer_open(&source, device_id, &error);

  if (layer == nullptr)
    throw std::runtime_error(error.text);
  EXPECT_EQ(layer->has_parent, has_parent);
  memcpy(id.data(), layer->identity, 16);
  vd_layer_free(layer);
  vd_pages_free(pages);
  if (device_id == VIRTDISK_DEVICE_VHDX) {
    std::reverse(id.begin(), id.begin() + 4);
    std::reverse(id.begin() + 4, id.begin() + 6);
    std::reverse(id.begin() + 6, id.begin() + 8);
  }
  return id;
}

// What it takes for its parent, besides the one that it names first.
bool names_another_parent(const vd_sim::Image &image, uint32_t device_id)
{
  static const uint8_t none[16] = {};
  vd_sim::Io sim;
  VdFormatError error = {};
  VdPages *pages = vd_pages_new(sim.io(), 4096, 1 << 20);
  VdLayerSource source = sim.source(sim.add(image, false), pages, false);
  VdLayer *layer = vd_layer_open(&source, device_id, &error);

  if (layer == nullptr)
    throw std::runtime_error(error.text);
  bool names = memcmp(layer->parent_id2, none, sizeof none) != 0;
  vd_layer_free(layer);
  vd_pages_free(pages);
  return names;
}

// An empty image on top of a chain.
vd_sim::Image create(const Case &one, size_t depth, const vd_sim::Image *parent)
{
  VdCreateSpec spec = {};
  VdFormatError error = {};
  int fd = memfd_create("image", MFD_CLOEXEC);

  spec.device_id = one.device_id;
  spec.subtype = parent != nullptr ? static_cast<uint32_t>(VIRTDISK_SUBTYPE_DIFFERENCING) : one.base;
  spec.size = one.size;
  spec.block_size = one.block_sizes[depth];
  spec.sector_size = one.sector_size;
  for (size_t i = 0; i < 16; i++)
    spec.identifier[i] = spec.guids[0][i] = spec.guids[1][i] = static_cast<uint8_t>(0x20 * depth + i + 1);
  if (parent != nullptr) {
    auto id = identity(*parent, one.device_id, depth + 2 < one.block_sizes.size());

    memcpy(spec.parent_linkage, id.data(), 16);
    strcpy(spec.parent_relative, "parent");
  }
  if (!vd_create(fd, &spec, &error))
    throw std::runtime_error(std::string("vd_create: ") + error.text);
  vd_sim::Image image = vd_sim::Image::from_fd(fd);
  close(fd);
  return image;
}

// Something in every kind of place: whole blocks, single sectors, zeros over data, nothing.
void fill(Driver &driver, const Case &one)
{
  uint64_t grain = one.sector_size;

  driver.write(driver.random() % 2 * MiB, 2 * MiB);
  driver.flush();
  for (int i = 0; i < 24; i++) {
    uint64_t length = (1 + driver.random() % 24) * grain;

    driver.write(driver.random() % ((one.size - length) / grain) * grain, length);
  }
  driver.zero(MiB / 2, MiB, VD_OP_WRITE_ZEROES);
  driver.zero(3 * MiB, 2 * MiB, VD_OP_DISCARD);
  driver.flush();
}

Files make_chain(const Case &one)
{
  Files files;

  for (size_t depth = one.block_sizes.size(); depth-- > 0;) {
    vd_sim::Io sim;
    Model model(one.size);

    files.insert(files.begin(), create(one, depth, files.empty() ? nullptr : &files[0]));
    for (size_t i = 0; i < files.size(); i++)
      sim.add(files[i], i == 0);
    Disk disk(sim, format_of(one), static_cast<unsigned>(files.size()), true);
    if (!disk.ok())
      throw std::runtime_error("a new image does not open: " + disk.error());
    Driver driver(sim, disk, model, 31 * depth + 7, 4);
    fill(driver, one);
    if (!driver.drain() || driver.failures != 0 || disk.close() != 0)
      throw std::runtime_error("a new image cannot be written");
    files[0] = sim.image(0);
  }
  return files;
}

// The disk as the images from first on show it; empty, with an explanation, if they do not.
std::vector<uint8_t> show(const Case &one, const Files &files, size_t first, std::string *ret_error)
{
  vd_sim::Io sim;

  for (size_t i = first; i < files.size(); i++)
    sim.add(files[i], false);
  Disk disk(sim, format_of(one), static_cast<unsigned>(files.size() - first), false);
  if (!disk.ok()) {
    *ret_error = disk.error();
    return {};
  }
  std::vector<uint8_t> all = disk.read_all();
  if (all.empty())
    *ret_error = "cannot be read";
  return all;
}

struct Ending {
  uint64_t after = UINT64_MAX; // steps
  uint64_t steps = 0;
};

bool on_step(void *user, uint64_t current, uint64_t completion, VdFormatError *ret_error)
{
  Ending *ending = static_cast<Ending *>(user);

  EXPECT_LE(current, completion);
  return ending->steps++ < ending->after ||
         vd_format_error_set(ret_error, VIRTDISK_ERROR_OPERATION_ABORTED, 0, "", "enough");
}

bool merge(vd_sim::Io &sim, const Case &one, unsigned n, VdFormatError *ret_error, Ending *ending = nullptr,
           uint64_t *ret_copied = nullptr)
{
  std::vector<int> fds;
  Ending never_ends;
  uint64_t copied;

  for (unsigned i = 0; i < n; i++)
    fds.push_back(sim.fd(i));
  VdMerge merge = {};
  merge.io = sim.io();
  merge.fds = fds.data();
  merge.n_images = n;
  merge.device_id = one.device_id;
  merge.source_depth = one.source;
  merge.target_depth = one.target;
  merge.cache_size = 1 << 20;
  merge.step = on_step;
  merge.user = ending != nullptr ? ending : &never_ends;
  return vd_merge(&merge, ret_copied != nullptr ? ret_copied : &copied, ret_error);
}

void add_all(vd_sim::Io &sim, const Case &one, const Files &files)
{
  for (size_t i = 0; i < files.size(); i++)
    sim.add(files[i], i < one.target);
}

Files files_of(vd_sim::Io &sim, size_t n)
{
  Files files;

  for (unsigned i = 0; i < n; i++)
    files.push_back(sim.image(i));
  return files;
}

// What our checker finds in an image that nothing happened to.
std::string checked(const vd_sim::Image &image, uint32_t device_id)
{
  std::string said;
  VdReader reader;
  VdCheckSummary summary = {};
  VdFormatError error = {};
  std::shared_ptr<int> fd = image.own_fd();

  auto sink = [](void *user, const VdFault *fault) {
    if (fault->kind != VD_FAULT_LEAK)
      *static_cast<std::string *>(user) += std::string(fault->error.text) + "; ";
  };
  if (!vd_reader_init(&reader, *fd, &error) || !vd_check(&reader, device_id, sink, &said, &summary, &error))
    said += error.text;
  return said;
}

size_t states_wanted()
{
  const char *wish = getenv("VIRTDISK_CRASH_STATES");

  return wish != nullptr ? static_cast<size_t>(atol(wish)) : 24;
}

class Merge : public testing::TestWithParam<Case>
{
protected:
  void SetUp() override
  {
    files_ = chain_of(GetParam());
    leaf_ = show(GetParam(), files_, 0, &error_);
    ASSERT_EQ(error_, "");
    source_ = show(GetParam(), files_, GetParam().source - 1, &error_);
    ASSERT_NE(source_, show(GetParam(), files_, GetParam().target - 1, &error_));
    ASSERT_EQ(error_, "");
  }

  static const Files &chain_of(const Case &one)
  {
    static std::map<std::string, Files> made;

    if (made.find(one.name) == made.end())
      made[one.name] = make_chain(one);
    return made[one.name];
  }

  // The chain shows what it did. finished: so does the target alone.
  std::string judge(const Files &files, bool finished)
  {
    std::string error;

    if (show(GetParam(), files, 0, &error) != leaf_)
      return "the chain is another: " + error;
    if (finished && show(GetParam(), files, GetParam().target - 1, &error) != source_)
      return "the target is another than its source was: " + error;
    return "";
  }

  std::string finish(const Files &files)
  {
    vd_sim::Io sim;
    VdFormatError error = {};

    add_all(sim, GetParam(), files);
    if (!merge(sim, GetParam(), static_cast<unsigned>(files.size()), &error))
      return std::string("the merge fails: ") + error.text;
    Files after = files_of(sim, files.size());
    std::string said = judge(after, true);
    for (size_t i = 0; said.empty() && i < after.size(); i++)
      said = checked(after[i], GetParam().device_id);
    return said;
  }

  Files files_;
  std::vector<uint8_t> leaf_, source_;
  std::string error_;
};

TEST_P(Merge, Whole)
{
  vd_sim::Io sim({5});
  VdFormatError error = {};
  uint64_t copied = 0;

  add_all(sim, GetParam(), files_);
  ASSERT_TRUE(merge(sim, GetParam(), static_cast<unsigned>(files_.size()), &error, nullptr, &copied))
      << error.text;
  EXPECT_GT(copied, 0u);
  EXPECT_EQ(sim.changed_in_flight(), 0u);
  Files after = files_of(sim, files_.size());
  EXPECT_EQ(judge(after, true), "");
  EXPECT_EQ(judge(sim.state({sim.log().size(), vd_sim::Cut::Kept::durable, 0, 512}), true), "");
  for (const vd_sim::Image &image : after)
    EXPECT_EQ(checked(image, GetParam().device_id), "");
  EXPECT_FALSE(names_another_parent(after[GetParam().target - 2], GetParam().device_id));
  // Those above the target's child are as they were.
  for (size_t i = 0; i + 2 < GetParam().target; i++)
    EXPECT_EQ(after[i].read(0, after[i].size()), files_[i].read(0, files_[i].size()));
}

// Those of a VHD are, because it keeps its id.
TEST_P(Merge, SiblingsOfAVhdxAreNotTakenForChildrenAnyMore)
{
  vd_sim::Io sim;
  VdFormatError error = {};
  std::string said;
  size_t child = GetParam().target - 2;

  add_all(sim, GetParam(), files_);
  ASSERT_TRUE(merge(sim, GetParam(), static_cast<unsigned>(files_.size()), &error)) << error.text;
  Files after = files_of(sim, files_.size());
  // As it was before: such is a sibling.
  after[child] = files_[child];
  bool kept = GetParam().device_id == VIRTDISK_DEVICE_VHD;
  EXPECT_EQ(show(GetParam(), after, child, &said).empty(), !kept);
  EXPECT_EQ(said.find("another parent") == std::string::npos, kept) << said;
}

TEST_P(Merge, PowerCutAtEveryMoment)
{
  vd_sim::Io sim({13});
  VdFormatError error = {};
  unsigned count = 0;

  add_all(sim, GetParam(), files_);
  ASSERT_TRUE(merge(sim, GetParam(), static_cast<unsigned>(files_.size()), &error)) << error.text;
  vd_sim::Cuts cuts;
  cuts.most = states_wanted();
  sim.for_each_cut(cuts, [&](const vd_sim::Cut &cut, Files &files) {
    if (HasFailure())
      return;
    EXPECT_EQ(judge(files, false), "") << vd_sim::describe(cut);
    EXPECT_EQ(finish(files), "") << vd_sim::describe(cut);
    count++;
  });
  EXPECT_GT(count, 1u);
}

TEST_P(Merge, EndedByWhoeverWaits)
{
  Ending whole;
  VdFormatError error = {};
  {
    vd_sim::Io sim;
    add_all(sim, GetParam(), files_);
    ASSERT_TRUE(merge(sim, GetParam(), static_cast<unsigned>(files_.size()), &error, &whole));
  }
  ASSERT_GT(whole.steps, 3u);
  for (uint64_t after : {uint64_t(0), whole.steps / 2, whole.steps - 1}) {
    vd_sim::Io sim({after + 1});
    Ending ending = {after};

    add_all(sim, GetParam(), files_);
    ASSERT_FALSE(merge(sim, GetParam(), static_cast<unsigned>(files_.size()), &error, &ending));
    EXPECT_EQ(error.code, VIRTDISK_ERROR_OPERATION_ABORTED) << error.text;
    EXPECT_EQ(sim.in_flight(), 0u);
    Files files = files_of(sim, files_.size());
    EXPECT_EQ(judge(files, false), "");
    EXPECT_EQ(finish(files), "");
  }
}

TEST_P(Merge, EachOperationFailsOnce)
{
  uint64_t all;
  VdFormatError error = {};
  {
    vd_sim::Io sim;
    add_all(sim, GetParam(), files_);
    ASSERT_TRUE(merge(sim, GetParam(), static_cast<unsigned>(files_.size()), &error));
    all = sim.operations();
  }
  uint64_t step = std::max<uint64_t>(1, all / states_wanted());
  for (uint64_t nth = 0; nth < all && !HasFailure(); nth += step) {
    int code = nth / step % 2 != 0 ? ENOSPC : EIO;
    vd_sim::Io sim({nth + 1});

    add_all(sim, GetParam(), files_);
    sim.fail(nth, code);
    error = {};
    // What is not needed may fail: a hole that could not be made.
    bool good = merge(sim, GetParam(), static_cast<unsigned>(files_.size()), &error);
    EXPECT_TRUE(good || error.code == VIRTDISK_ERROR_IO || error.code == VIRTDISK_ERROR_DISK_FULL)
        << error.code << " " << error.text;
    Files files = files_of(sim, files_.size());
    EXPECT_EQ(judge(files, false), "") << "operation " << nth;
    EXPECT_EQ(finish(files), "") << "operation " << nth;
  }
}

INSTANTIATE_TEST_SUITE_P(Chains, Merge, testing::ValuesIn(cases),
                         [](const auto &info) { return info.param.name; });

TEST(MergeArguments, DepthsThatAreNone)
{
  static const std::vector<std::pair<unsigned, unsigned>> depths = {{0, 1}, {1, 1}, {2, 1}, {1, 3}, {2, 3}};
  Files files = make_chain(cases[0]);

  for (auto [source, target] : depths) {
    Case one = cases[0];
    vd_sim::Io sim;
    VdFormatError error = {};

    one.source = source;
    one.target = target;
    add_all(sim, one, files);
    EXPECT_FALSE(merge(sim, one, 2, &error)) << source << " " << target;
    EXPECT_EQ(error.code, VIRTDISK_ERROR_INVALID_PARAMETER);
    EXPECT_TRUE(sim.log().empty());
  }
}

TEST(MergeArguments, FilesThatAreNotWritten)
{
  Files files = make_chain(cases[0]);

  for (unsigned read_only : {0u, 1u}) {
    vd_sim::Io sim;
    VdFormatError error = {};

    for (unsigned i = 0; i < 2; i++)
      sim.add(files[i], i != read_only);
    EXPECT_FALSE(merge(sim, cases[0], 2, &error));
    EXPECT_EQ(error.code, VIRTDISK_ERROR_WRITE_PROTECT);
    EXPECT_TRUE(sim.log().empty());
  }
}

} // namespace
