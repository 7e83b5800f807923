// SPDX-License-Identifier: LGPL-2.1-or-later
// Each workload on each format: the power is cut at every moment, with every prefix of what was written, and
// with choices of it that are reordered and torn within what no flush has made durable. Every state that is
// left must open, hold what was flushed, hold nothing that was never written there, and please our checker
// and, where it knows the format, qemu-img. Then the same workload with each of its operations failing once.
//
// VIRTDISK_CRASH_STATES: states of one workload on one format (default 60).
#include <gtest/gtest.h>

#include <cstdlib>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "subject.hh"

extern "C" {
#include "formats/check.h"
#include "virtdisk-enums.h"
}

using namespace vd_crash;

namespace
{

constexpr uint64_t KiB = 1024, MiB = 1024 * KiB;

struct Workload {
  std::string name;
  void (*run)(Driver &driver, const Format &format);
  bool changes_map; // makes no sense for raw images
};

uint64_t grain(const Format &format)
{
  return std::max<uint64_t>(sector, format.sector_size);
}

uint64_t anywhere(Driver &driver, const Format &format, uint64_t length)
{
  return driver.random() % ((format.size - length) / grain(format)) * grain(format);
}

void allocate(Driver &driver, const Format &format)
{
  for (int i = 0; i < 40; i++) {
    uint64_t length = (1 + driver.random() % 16) * grain(format);

    driver.write(anywhere(driver, format, length), length);
    if (i % 9 == 8)
      driver.flush();
  }
  driver.flush();
}

void overwrite(Driver &driver, const Format &format)
{
  for (int round = 0; round < 4; round++) {
    for (int i = 0; i < 8; i++)
      driver.write(static_cast<uint64_t>(i) * 16 * KiB, 8 * KiB);
    driver.flush();
  }
}

// Single sectors here and there in few blocks: bits of a child's bitmap.
void scattered(Driver &driver, const Format &format)
{
  for (int i = 0; i < 60; i++) {
    driver.write(driver.random() % (2 * MiB / grain(format)) * grain(format), grain(format));
    if (i % 7 == 6)
      driver.flush();
  }
}

void discard(Driver &driver, const Format &format)
{
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 6; i++)
      driver.write(anywhere(driver, format, 64 * KiB), 64 * KiB);
    driver.flush();
    uint64_t block = std::max<uint64_t>(format.block_size, 64 * KiB), blocks = format.size / block;
    uint64_t first = driver.random() % (blocks - 1);

    driver.zero(first * block, 2 * block, round == 1 ? VD_OP_WRITE_ZEROES : VD_OP_DISCARD);
    driver.zero(anywhere(driver, format, 96 * KiB), 96 * KiB, VD_OP_WRITE_ZEROES);
    if (round != 0)
      driver.flush();
    driver.write(first * block, 16 * KiB);
  }
  driver.flush();
}

// So many changes of the map, each made durable, that a log of 1 MiB goes round.
void log_wrap(Driver &driver, const Format &format)
{
  uint64_t blocks = format.size / std::max<uint64_t>(format.block_size, 64 * KiB);
  uint64_t block = format.size / blocks;

  for (int i = 0; i < 140; i++) {
    uint64_t at = static_cast<uint64_t>(i) % blocks * block;

    if (i % 12 == 11)
      driver.zero(at, block, VD_OP_WRITE_ZEROES);
    else
      driver.write(at + static_cast<uint64_t>(i) / blocks * grain(format) % block, grain(format));
    driver.flush();
  }
}

// Every block, one after the other, whole: the file grows to its end.
void growth(Driver &driver, const Format &format)
{
  for (uint64_t at = 0; at < format.size; at += 256 * KiB) {
    driver.write(at, std::min(format.size - at, 256 * KiB));
    if (at % (2 * MiB) == 0)
      driver.flush();
  }
}

void durable(Driver &driver, const Format &format)
{
  for (int i = 0; i < 16; i++)
    driver.write(anywhere(driver, format, 4 * KiB), 4 * KiB, VD_REQUEST_FUA);
  driver.flush();
}

const Workload workloads[] = {
    {"Allocate", allocate, true}, {"Overwrite", overwrite, false}, {"Scattered", scattered, false},
    {"Discard", discard, false},  {"LogWrap", log_wrap, true},     {"Growth", growth, true},
    {"Durable", durable, false},
};

const Format formats[] = {
    {"Raw", VIRTDISK_DEVICE_RAW, VIRTDISK_SUBTYPE_FIXED, 6 * MiB, 0, 512},
    {"VhdDynamic", VIRTDISK_DEVICE_VHD, VIRTDISK_SUBTYPE_DYNAMIC, 6 * MiB, 512 * KiB, 512},
    {"VhdChild", VIRTDISK_DEVICE_VHD, VIRTDISK_SUBTYPE_DIFFERENCING, 6 * MiB, 512 * KiB, 512},
    {"VhdxDynamic", VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_DYNAMIC, 8 * MiB, 1 * MiB, 512},
    {"VhdxDynamic4k", VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_DYNAMIC, 8 * MiB, 2 * MiB, 4096},
    {"VhdxFixed", VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_FIXED, 6 * MiB, 1 * MiB, 512},
    {"VhdxChild", VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_DIFFERENCING, 8 * MiB, 1 * MiB, 512},
    {"VhdxChild4k", VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_DIFFERENCING, 8 * MiB, 2 * MiB, 4096},
};

size_t states_wanted()
{
  const char *wish = getenv("VIRTDISK_CRASH_STATES");

  return wish != nullptr ? static_cast<size_t>(atol(wish)) : 60;
}

bool is_child(const Format &format)
{
  return format.subtype == VIRTDISK_SUBTYPE_DIFFERENCING;
}

const Images &images_of(const Format &format)
{
  static std::map<std::string, Images> made;

  if (made.find(format.name) == made.end())
    made[format.name] = make_images(format);
  return made[format.name];
}

// Our checker: nothing that is worse than a log to replay, a leak, or a damaged second copy.
std::string checked(const vd_sim::Image &leaf, const Format &format)
{
  int fd = leaf.to_memfd();
  VdReader reader;
  VdCheckSummary summary = {};
  VdFormatError error = {};
  std::string said;

  if (format.device_id == VIRTDISK_DEVICE_RAW) {
    close(fd);
    return "";
  }
  auto sink = [](void *user, const VdFault *fault) {
    if (fault->kind == VD_FAULT_SERIOUS)
      *static_cast<std::string *>(user) += std::string(fault->error.text) + "; ";
  };
  if (!vd_reader_init(&reader, fd, &error) ||
      !vd_check(&reader, format.device_id, sink, &said, &summary, &error))
    said += error.text;
  close(fd);
  return said;
}

// qemu-img on a file; it knows no children, and of a VHD no check.
std::string qemu_checked(const vd_sim::Image &leaf, const Format &format)
{
  if (format.device_id != VIRTDISK_DEVICE_VHDX || is_child(format) || format.sector_size != 512)
    return "";
  char path[] = "/tmp/virtdisk-crash.XXXXXX";
  int fd = mkstemp(path);

  close(fd);
  leaf.to_file(path);
  std::string command = std::string("qemu-img check -q -f vhdx -r all ") + path + " >/dev/null 2>&1";
  int status = system(command.c_str());
  unlink(path);
  // 63: no checks for the format; 127: no qemu-img.
  int code = WEXITSTATUS(status);
  return code == 0 || code == 63 || code == 127 ? "" : "qemu-img check ends with " + std::to_string(code);
}

class Crash : public testing::TestWithParam<std::tuple<Format, Workload>>
{
protected:
  const Format &format() const
  {
    return std::get<0>(GetParam());
  }
  const Workload &workload() const
  {
    return std::get<1>(GetParam());
  }

  void set_initial(Model &model)
  {
    for (auto [number, word] : images_of(format()).initial)
      model.set_initial(number, word);
  }

  unsigned add_all(vd_sim::Io &sim, const std::vector<vd_sim::Image> &files)
  {
    for (size_t i = 0; i < files.size(); i++)
      sim.add(files[i], i == 0);
    return static_cast<unsigned>(files.size());
  }

  // Opens what is left and compares. Returns "" or what is wrong.
  std::string judge(const Model &model, const std::vector<vd_sim::Image> &files, size_t position,
                    bool writable)
  {
    vd_sim::Io sim;
    unsigned n = add_all(sim, files);
    Disk disk(sim, format(), n, writable);

    if (!disk.ok())
      return "it does not open: " + disk.error();
    std::vector<uint8_t> all = disk.read_all();
    if (all.empty())
      return "it cannot be read";
    std::string said = model.judge(all, position);
    if (said.empty() && writable && disk.close() != 0)
      said = "it cannot be closed";
    if (said.empty() && writable)
      said = checked(sim.image(0), format());
    return said;
  }
};

TEST_P(Crash, PowerCutAtEveryMoment)
{
  const Images &images = images_of(format());
  vd_sim::Io sim({11});
  Model model(format().size);
  unsigned n = add_all(sim, images.files), count = 0;

  set_initial(model);
  {
    Disk disk(sim, format(), n, true);
    ASSERT_TRUE(disk.ok()) << disk.error();
    Driver driver(sim, disk, model, 3, 12);
    workload().run(driver, format());
    ASSERT_TRUE(driver.drain());
    EXPECT_EQ(driver.failures, 0u);
    EXPECT_EQ(disk.close(), 0);
  }
  EXPECT_EQ(sim.changed_in_flight(), 0u);
  ASSERT_EQ(judge(model, {[&] {
                    std::vector<vd_sim::Image> files;
                    for (unsigned i = 0; i < n; i++)
                      files.push_back(sim.image(i));
                    return files;
                  }()},
                  never, false),
            "");
  vd_sim::Cuts cuts;
  cuts.most = states_wanted();
  sim.for_each_cut(cuts, [&](const vd_sim::Cut &cut, std::vector<vd_sim::Image> &files) {
    if (HasFailure())
      return;
    std::string said = judge(model, files, cut.position, count % 3 != 0);
    if (said.empty())
      said = checked(files[0], format());
    if (said.empty() && count % 24 == 5)
      said = qemu_checked(files[0], format());
    EXPECT_EQ(said, "") << vd_sim::describe(cut) << ", state " << count;
    count++;
  });
  EXPECT_GT(count, 10u);
}

// A fault at the nth operation; afterwards there is room again.
TEST_P(Crash, EveryOperationFailsOnce)
{
  const Images &images = images_of(format());
  const int errors[] = {ENOSPC, EIO};
  uint64_t operations = 1, stride = 1;
  unsigned failed_somewhere = 0;

  for (uint64_t nth = 0; nth < operations; nth += stride) {
    vd_sim::Io sim({nth + 1});
    Model model(format().size);
    unsigned n = add_all(sim, images.files);

    set_initial(model);
    Disk disk(sim, format(), n, true);
    ASSERT_TRUE(disk.ok()) << disk.error();
    Driver driver(sim, disk, model, 3, 12);
    sim.fail(nth, errors[nth % 2], {}, nth % 5 == 4);
    workload().run(driver, format());
    ASSERT_TRUE(driver.drain()) << "requests hang after operation " << nth << " failed";
    failed_somewhere += driver.failures > 0;
    operations = std::max(operations, sim.operations());
    stride = std::max<uint64_t>(1, operations / std::max<size_t>(1, states_wanted() / 2));
    sim.clear_faults();
    // It works again: what is written now is there.
    unsigned before = driver.failures;
    driver.write(0, 64 * KiB);
    driver.flush();
    ASSERT_TRUE(driver.drain());
    EXPECT_EQ(driver.failures, before) << "operation " << nth << " failed, and it does not work again";
    std::vector<uint8_t> all = disk.read_all();
    ASSERT_FALSE(all.empty()) << "operation " << nth;
    EXPECT_EQ(model.judge(all, never), "") << "operation " << nth << " failed";
    EXPECT_EQ(disk.close(), 0) << "operation " << nth;
    std::vector<vd_sim::Image> files;
    for (unsigned i = 0; i < n; i++)
      files.push_back(sim.image(i));
    EXPECT_EQ(judge(model, files, never, nth % 2 == 0), "") << "operation " << nth << " failed";
    EXPECT_EQ(checked(files[0], format()), "") << "operation " << nth << " failed";
    if (HasFailure())
      return;
  }
  EXPECT_GT(failed_somewhere, 0u) << "no failure reached a request";
}

std::vector<std::tuple<Format, Workload>> pairs()
{
  std::vector<std::tuple<Format, Workload>> all;

  for (const Format &format : formats)
    for (const Workload &workload : workloads)
      if (format.device_id != VIRTDISK_DEVICE_RAW || !workload.changes_map)
        all.emplace_back(format, workload);
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, Crash, testing::ValuesIn(pairs()), [](const auto &info) {
  return std::get<0>(info.param).name + std::get<1>(info.param).name;
});

} // namespace
