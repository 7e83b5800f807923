// SPDX-License-Identifier: LGPL-2.1-or-later
// Making an image smaller: the power is cut at every moment, each operation fails once, and it is told to end
// at any time. What is left holds the same bytes each time, pleases the checker, and goes on to the same end.
//
// VIRTDISK_CRASH_STATES: sixths of the states of one format (default 18).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "workloads.hh"

extern "C" {
#include "engine/compact.h"
#include "formats/check.h"
#include "virtdisk-enums.h"
}

using namespace vd_crash;

namespace
{

size_t states_wanted()
{
  const char *wish = getenv("VIRTDISK_CRASH_STATES");

  return (wish != nullptr ? static_cast<size_t>(atol(wish)) : 18);
}

std::string faults(int fd, const Format &format, unsigned kinds)
{
  struct Said {
    unsigned kinds;
    std::string text;
  } said = {kinds, ""};
  VdReader reader;
  VdCheckSummary summary = {};
  VdFormatError error = {};
  auto sink = [](void *user, const VdFault *fault) {
    Said *to = static_cast<Said *>(user);

    if (to->kinds >> fault->kind & 1)
      to->text += std::string(fault->error.text) + "; ";
  };

  if (!vd_reader_init(&reader, fd, &error) ||
      !vd_check(&reader, format.device_id, sink, &said, &summary, &error))
    said.text += error.text;
  return said.text;
}

unsigned bad_kinds(const Format &format)
{
  return format.device_id == VIRTDISK_DEVICE_VHD ? ~(1U << VD_FAULT_LEAK) : 1U << VD_FAULT_SERIOUS;
}

// 0 or an error of the request.
int request(vd_sim::Io &sim, Disk &disk, VdOp op, uint64_t offset, std::vector<uint8_t> bytes)
{
  size_t aligned = (bytes.size() + VD_IO_ALIGNMENT - 1) / VD_IO_ALIGNMENT * VD_IO_ALIGNMENT;
  std::unique_ptr<uint8_t, decltype(&free)> buffer(
      static_cast<uint8_t *>(aligned_alloc(VD_IO_ALIGNMENT, aligned)), free);
  VdRequest one = {};
  int result = 1;

  memcpy(buffer.get(), bytes.data(), bytes.size());
  one.op = op;
  one.offset = offset;
  one.length = bytes.size();
  one.buffer = buffer.get();
  one.user = &result;
  one.done = [](VdRequest *done, int value) { *static_cast<int *>(done->user) = value; };
  vd_engine_submit(disk.engine(), &one);
  EXPECT_TRUE(sim.run_until([&] { return result != 1; }));
  return result;
}

std::vector<uint8_t> words(uint64_t length, uint64_t word)
{
  std::vector<uint8_t> bytes(length);

  for (uint64_t at = 0; word != 0 && at < length; at += sector)
    Model::fill(word + at, bytes.data() + at);
  return bytes;
}

struct Subject {
  std::vector<vd_sim::Image> files;
  std::vector<uint8_t> content;
};

// Blocks in an order of the file that is not theirs: with something at the beginning or at the end, with
// zeros that were written, or given back.
Subject make_subject(const Format &format)
{
  Subject subject;
  vd_sim::Io sim;
  Images images = make_images(format);
  uint64_t blocks = format.size / format.block_size;

  for (size_t i = 0; i < images.files.size(); i++)
    sim.add(images.files[i], i == 0);
  Disk disk(sim, format, static_cast<unsigned>(images.files.size()), true);
  EXPECT_TRUE(disk.ok()) << disk.error();
  for (uint64_t n = 0; n < blocks; n++) {
    uint64_t block = (n * 5 + 3) % blocks, start = block * format.block_size;
    uint64_t tail = std::min<uint64_t>(format.block_size, 64 * KiB), far = start + format.block_size - tail;

    switch (block % 4) {
    case 0:
      EXPECT_EQ(request(sim, disk, VD_OP_WRITE, start, words(tail, 1 + block)), 0);
      break;
    case 1:
      for (uint64_t at = 0; at < format.block_size; at += 256 * KiB)
        EXPECT_EQ(request(sim, disk, VD_OP_WRITE, start + at, words(256 * KiB, 0)), 0);
      break;
    case 2:
      EXPECT_EQ(request(sim, disk, VD_OP_WRITE, start, words(tail, 2 + block)), 0);
      EXPECT_EQ(request(sim, disk, VD_OP_WRITE, far, words(tail, 3 + block)), 0);
      break;
    default:
      EXPECT_EQ(request(sim, disk, VD_OP_WRITE, far, words(tail, 4 + block)), 0);
    }
  }
  uint64_t gone = (blocks - 2) / 4 * 4 * format.block_size;
  EXPECT_EQ(request(sim, disk, VD_OP_WRITE_ZEROES, gone, words(format.block_size, 0)), 0);
  subject.content = disk.read_all();
  EXPECT_EQ(disk.close(), 0);
  for (size_t i = 0; i < images.files.size(); i++)
    subject.files.push_back(sim.image(static_cast<unsigned>(i)));
  return subject;
}

struct Plan : VdCompactPlan {
  uint64_t steps = 0, most = UINT64_MAX;

  Plan() : VdCompactPlan{VD_COMPACT_SCAN, VD_COMPACT_MOVE, nullptr, on_step, this} {}

  static bool on_step(void *user, uint64_t current, uint64_t completion)
  {
    EXPECT_LE(current, completion);
    return static_cast<Plan *>(user)->steps++ < static_cast<Plan *>(user)->most;
  }
};

class Compact : public testing::TestWithParam<Format>
{
protected:
  const Format &format() const
  {
    return GetParam();
  }

  static unsigned add_all(vd_sim::Io &sim, const std::vector<vd_sim::Image> &files)
  {
    for (size_t i = 0; i < files.size(); i++)
      sim.add(files[i], i == 0);
    return static_cast<unsigned>(files.size());
  }

  // The result of the run; what closing says is in *ret_closed.
  int compact(vd_sim::Io &sim, unsigned n, Plan &plan, VdCompactResult *ret_result, int *ret_closed)
  {
    Disk disk(sim, format(), n, true);

    EXPECT_TRUE(disk.ok()) << disk.error();
    if (!disk.ok())
      return -EIO;
    int result = vd_engine_compact(disk.engine(), &plan, ret_result);
    *ret_closed = disk.close();
    return result;
  }

  std::string judge(const Subject &subject, const std::vector<vd_sim::Image> &files)
  {
    vd_sim::Io sim;
    unsigned n = add_all(sim, files);
    std::string said = faults(sim.fd(0), format(), bad_kinds(format()));

    if (!said.empty())
      return "the checker says: " + said;
    Disk disk(sim, format(), n, false);
    if (!disk.ok())
      return "it does not open: " + disk.error();
    return disk.read_all() == subject.content ? "" : "it holds something else";
  }

  // Runs to its end on what is left; the length of the file.
  uint64_t finish(const Subject &subject, std::vector<vd_sim::Image> files,
                  uint64_t *ret_operations = nullptr)
  {
    vd_sim::Io sim({5});
    unsigned n = add_all(sim, files);
    Plan plan;
    VdCompactResult result;
    int closed = 1;

    EXPECT_EQ(compact(sim, n, plan, &result, &closed), 0);
    EXPECT_EQ(closed, 0);
    if (ret_operations != nullptr)
      *ret_operations = sim.operations();
    files[0] = sim.image(0);
    EXPECT_EQ(judge(subject, files), "");
    EXPECT_EQ(faults(sim.fd(0), format(), ~0U), "");
    return files[0].size();
  }
};

TEST_P(Compact, PowerCutAtEveryMoment)
{
  Subject subject = make_subject(format());
  vd_sim::Io sim({11});
  unsigned n = add_all(sim, subject.files), count = 0;
  Plan plan;
  VdCompactResult result;
  int closed = 1;

  ASSERT_EQ(judge(subject, subject.files), "");
  ASSERT_EQ(compact(sim, n, plan, &result, &closed), 0);
  EXPECT_EQ(closed, 0);
  EXPECT_GT(result.blocks, 0u);
  EXPECT_GT(result.moved, 0u);
  EXPECT_EQ(sim.changed_in_flight(), 0u);
  uint64_t size = sim.image(0).size();
  EXPECT_LT(size, subject.files[0].size());
  EXPECT_EQ(finish(subject, {subject.files}), size);
  vd_sim::Cuts cuts;
  cuts.most = 6 * states_wanted();
  sim.for_each_cut(cuts, [&](const vd_sim::Cut &cut, std::vector<vd_sim::Image> &files) {
    if (HasFailure())
      return;
    EXPECT_EQ(judge(subject, files), "") << vd_sim::describe(cut);
    if (count++ % 8 == 0) {
      EXPECT_EQ(finish(subject, files), size) << vd_sim::describe(cut);
    }
  });
  EXPECT_GT(count, 8u);
}

TEST_P(Compact, EveryOperationFails)
{
  const int errors[] = {ENOSPC, EIO};
  Subject subject = make_subject(format());
  uint64_t operations = 0, size = finish(subject, subject.files, &operations);
  uint64_t stride = std::max<uint64_t>(1, operations / (2 * states_wanted()));
  unsigned failed = 0;

  for (uint64_t nth = 0; nth < operations && !HasFailure(); nth += stride) {
    vd_sim::Io sim({nth + 1});
    unsigned n = add_all(sim, subject.files);
    std::vector<vd_sim::Image> left = subject.files;
    Plan plan;
    VdCompactResult result;

    {
      Disk disk(sim, format(), n, true);
      ASSERT_TRUE(disk.ok()) << disk.error();
      sim.fail(nth, errors[nth % 2], {}, nth % 5 == 4);
      failed += vd_engine_compact(disk.engine(), &plan, &result) < 0;
      disk.close();
    }
    left[0] = sim.image(0);
    EXPECT_EQ(judge(subject, left), "") << "operation " << nth << " failed";
    EXPECT_EQ(finish(subject, left), size) << "operation " << nth << " failed";
    left[0] = sim.state({sim.log().size(), vd_sim::Cut::Kept::chosen, nth, 512})[0];
    EXPECT_EQ(judge(subject, left), "") << "operation " << nth << " failed, and then the power";
  }
  EXPECT_GT(failed, 4u);
}

TEST_P(Compact, ItIsToldToEnd)
{
  Subject subject = make_subject(format());
  uint64_t size = finish(subject, subject.files), all = 1;
  unsigned ended = 0;

  for (uint64_t most = 0; most < all && !HasFailure(); most += std::max<uint64_t>(1, all / 12)) {
    vd_sim::Io sim({most + 1});
    unsigned n = add_all(sim, subject.files);
    std::vector<vd_sim::Image> left = subject.files;
    Plan plan;
    VdCompactResult result;
    int closed = 1, said;

    plan.most = most;
    said = compact(sim, n, plan, &result, &closed);
    all = std::max(all, plan.steps + 12);
    EXPECT_TRUE(said == 0 || said == -ECANCELED) << said;
    ended += said == -ECANCELED;
    EXPECT_EQ(closed, 0);
    left[0] = sim.image(0);
    EXPECT_EQ(judge(subject, left), "") << "after " << most;
    EXPECT_EQ(finish(subject, left), size) << "after " << most;
    if (said == 0)
      break;
  }
  EXPECT_GT(ended, 3u);
}

// DataWriteGuid, or the footer's unique id.
std::vector<uint8_t> identity(const vd_sim::Image &image, const Format &format)
{
  vd_sim::Io sim;
  VdFormatError error = {};

  sim.add(image, false);
  VdPages *pages = vd_pages_new(sim.io(), 4096, 1 << 20);
  VdLayerSource source = sim.source(0, pages, false);
  VdLayer *layer = vd_layer_open(&source, format.device_id, &error);
  EXPECT_NE(layer, nullptr) << error.text;
  std::vector<uint8_t> id(layer->identity, layer->identity + sizeof layer->identity);
  vd_layer_free(layer);
  vd_pages_free(pages);
  return id;
}

// Children go on matching an image of which no byte changes.
TEST_P(Compact, TheIdentityStays)
{
  Subject subject = make_subject(format());
  vd_sim::Io sim;
  unsigned n = add_all(sim, subject.files);
  Plan plan;
  VdCompactResult result;
  int closed = 1;

  ASSERT_EQ(compact(sim, n, plan, &result, &closed), 0);
  EXPECT_EQ(closed, 0);
  EXPECT_EQ(identity(sim.image(0), format()), identity(subject.files[0], format()));
}

TEST_P(Compact, BlocksThatNobodyNeedsGo)
{
  Subject subject = make_subject(format());
  std::vector<uint8_t> bits(format().size / format().block_size / 8 + 1);
  VdFreeBlocks unneeded = {bits.data(), format().size / format().block_size};
  vd_sim::Io sim, after;
  unsigned n = add_all(sim, subject.files);
  Plan plan;
  VdCompactResult result;
  int closed = 1;

  bits[0] = 1 << 4;
  plan.unneeded = &unneeded;
  plan.zeros = VD_COMPACT_TRUST_MAP;
  ASSERT_EQ(compact(sim, n, plan, &result, &closed), 0);
  EXPECT_EQ(closed, 0);
  EXPECT_EQ(result.blocks, 1u);
  EXPECT_LE(sim.image(0).size() + format().block_size, subject.files[0].size());
  if (format().device_id == VIRTDISK_DEVICE_VHDX) {
    EXPECT_NE(identity(sim.image(0), format()), identity(subject.files[0], format()));
  }
  subject.files[0] = sim.image(0);
  add_all(after, subject.files);
  Disk disk(after, format(), n, false);
  ASSERT_TRUE(disk.ok()) << disk.error();
  std::vector<uint8_t> content = disk.read_all();
  auto start = static_cast<std::ptrdiff_t>(4 * format().block_size);
  auto end = start + static_cast<std::ptrdiff_t>(format().block_size);
  EXPECT_TRUE(std::equal(content.begin(), content.begin() + start, subject.content.begin()));
  EXPECT_TRUE(std::equal(content.begin() + end, content.end(), subject.content.begin() + end));
  EXPECT_FALSE(std::equal(content.begin() + start, content.begin() + end, subject.content.begin() + start));
}

TEST(CompactFixed, ItIsRefused)
{
  const Format fixed = {"Fixed", VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_FIXED, 6 * MiB, 1 * MiB, 512};
  vd_sim::Io sim;
  Plan plan;
  VdCompactResult result;

  sim.add(make_images(fixed).files[0], true);
  Disk disk(sim, fixed, 1, true);
  ASSERT_TRUE(disk.ok()) << disk.error();
  EXPECT_EQ(vd_engine_compact(disk.engine(), &plan, &result), -EMEDIUMTYPE);
}

std::vector<Format> compact_formats()
{
  return {
      {"VhdDynamic", VIRTDISK_DEVICE_VHD, VIRTDISK_SUBTYPE_DYNAMIC, 8 * MiB, 512 * KiB, 512},
      {"VhdUnaligned", VIRTDISK_DEVICE_VHD, VIRTDISK_SUBTYPE_DYNAMIC, 8 * MiB, 512 * KiB, 512, true},
      {"VhdChild", VIRTDISK_DEVICE_VHD, VIRTDISK_SUBTYPE_DIFFERENCING, 16 * MiB, 512 * KiB, 512},
      {"Vhd2M", VIRTDISK_DEVICE_VHD, VIRTDISK_SUBTYPE_DYNAMIC, 24 * MiB, 2 * MiB, 512},
      {"VhdxDynamic", VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_DYNAMIC, 16 * MiB, 1 * MiB, 512},
      {"VhdxDynamic4k", VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_DYNAMIC, 24 * MiB, 2 * MiB, 4096},
      {"VhdxChild", VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_DIFFERENCING, 16 * MiB, 1 * MiB, 512},
      {"VhdxChild4k", VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_DIFFERENCING, 24 * MiB, 2 * MiB, 4096},
  };
}

INSTANTIATE_TEST_SUITE_P(All, Compact, testing::ValuesIn(compact_formats()),
                         [](const auto &info) { return info.param.name; });

} // namespace
