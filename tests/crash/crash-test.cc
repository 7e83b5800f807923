// SPDX-License-Identifier: LGPL-2.1-or-later
// Each workload on each format: the power is cut at every moment, with every prefix of what was written, and
// with choices of it that are reordered and torn within what no flush has made durable. Every state that is
// left must open, hold what was flushed, hold nothing that was never written there, and please our checker
// and, where it knows the format, qemu-img. The same once more while such a state is opened. Then the same
// workload with each of its operations failing once, and files that end too early.
//
// VIRTDISK_CRASH_STATES: states of one workload on one format (default 18).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workloads.hh"

extern "C" {
#include "formats/check.h"
#include "formats/vhdx.h"
#include "virtdisk-enums.h"
}

using namespace vd_crash;

namespace
{

// Of a large disk each state costs more: there are fewer of them.
size_t states_wanted(const Format &format)
{
  const char *wish = getenv("VIRTDISK_CRASH_STATES");
  size_t states = wish != nullptr ? static_cast<size_t>(atol(wish)) : 18;

  return std::max<size_t>(8, states * 8 * MiB / std::max<size_t>(8 * MiB, format.size));
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

// What our checker says of these kinds (bits).
std::string faults(int fd, const Format &format, unsigned kinds)
{
  struct Said {
    unsigned kinds;
    std::string text;
  } said = {kinds, ""};
  VdReader reader;
  VdCheckSummary summary = {};
  VdFormatError error = {};

  if (format.device_id == VIRTDISK_DEVICE_RAW)
    return "";
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

// Of a VHDX nothing that is worse than a log to replay, a leak, or a damaged second copy; of a VHD leaks
// alone: its trailer is there at each moment, and bitmaps that others believe.
std::string checked(int fd, const Format &format)
{
  return faults(fd, format,
                format.device_id == VIRTDISK_DEVICE_VHD ? ~(1U << VD_FAULT_LEAK) : 1U << VD_FAULT_SERIOUS);
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

// A VHD says nothing of its end when the trailer is gone: blocks that are cut off read as zeros. A raw image
// is as long as it is.
bool tells_of_lost_blocks(const Format &format)
{
  return format.device_id == VIRTDISK_DEVICE_VHDX;
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

  std::vector<vd_sim::Image> files_of(vd_sim::Io &sim)
  {
    std::vector<vd_sim::Image> files;

    for (unsigned i = 0; i < images_of(format()).files.size(); i++)
      files.push_back(sim.image(i));
    return files;
  }

  // Opens what is left and compares. Returns "" or what is wrong.
  std::string judge(const Model &model, const std::vector<vd_sim::Image> &files, size_t position,
                    bool writable)
  {
    vd_sim::Io sim;
    unsigned n = add_all(sim, files);
    std::string said = checked(sim.fd(0), format());
    if (!said.empty())
      return "the checker says: " + said;
    Disk disk(sim, format(), n, writable);

    if (!disk.ok())
      return "it does not open: " + disk.error();
    std::vector<uint8_t> all = disk.read_all();
    if (all.empty())
      return "it cannot be read";
    said = model.judge(all, position);
    if (said.empty() && writable && disk.close() != 0)
      said = "it cannot be closed";
    if (said.empty() && writable)
      said = checked(sim.fd(0), format());
    return said;
  }

  // Runs the workload; closed: to the end of the session.
  void record(vd_sim::Io &sim, Model &model, bool closed)
  {
    const Images &images = images_of(format());
    unsigned n = add_all(sim, images.files);

    set_initial(model);
    Disk disk(sim, format(), n, true);
    ASSERT_TRUE(disk.ok()) << disk.error();
    Driver driver(sim, disk, model, 3, 12);
    workload().run(driver, format());
    ASSERT_TRUE(driver.drain());
    if (closed) {
      EXPECT_EQ(driver.failures, 0u);
      EXPECT_EQ(disk.close(), 0);
    }
  }
};

TEST_P(Crash, PowerCutAtEveryMoment)
{
  vd_sim::Io sim({11});
  Model model(format().size);
  unsigned count = 0;

  ASSERT_NO_FATAL_FAILURE(record(sim, model, true));
  EXPECT_EQ(sim.changed_in_flight(), 0u);
  ASSERT_EQ(judge(model, files_of(sim), never, false), "");
  vd_sim::Cuts cuts;
  cuts.most = states_wanted(format()) * (workload().run == once ? 8 : 1);
  sim.for_each_cut(cuts, [&](const vd_sim::Cut &cut, std::vector<vd_sim::Image> &files) {
    if (HasFailure())
      return;
    std::string said = judge(model, files, cut.position, count % 3 != 0);
    if (said.empty() && count % 24 == 5)
      said = qemu_checked(files[0], format());
    EXPECT_EQ(said, "") << vd_sim::describe(cut) << ", state " << count;
    count++;
  });
  EXPECT_GE(count, std::min<size_t>(8, states_wanted(format())));
}

// The last write before the power cut arrives but for one sector: an entry of the log, a table, a bitmap.
TEST_P(Crash, AWriteThatIsTorn)
{
  vd_sim::Io sim({11});
  Model model(format().size);
  std::vector<size_t> positions;
  size_t n = states_wanted(format());

  ASSERT_NO_FATAL_FAILURE(record(sim, model, true));
  for (size_t i = 0; i < sim.log().size(); i++) {
    const vd_sim::Event &event = sim.log()[i];

    if (event.what == vd_sim::Event::What::submitted && event.kind == VD_IO_WRITE && event.length > sector)
      positions.push_back(i + 1);
  }
  std::mt19937_64 random(19);
  for (size_t i = 0; i < std::min(n, positions.size()) && !HasFailure(); i++) {
    vd_sim::Cut cut = {positions[i * positions.size() / std::min(n, positions.size())],
                       vd_sim::Cut::Kept::torn, random(), 512};

    EXPECT_EQ(judge(model, sim.state(cut), cut.position, i % 2 == 0), "") << vd_sim::describe(cut);
  }
}

// Where log and table of a VHDX lie in its file; else nowhere.
struct Places {
  uint64_t log = 0, log_end = 0, table = 0, table_end = 0;

  Places(int fd, const Format &format)
  {
    VdReader reader;
    VdFormatError error;
    VdVhdx vhdx;

    if (format.device_id != VIRTDISK_DEVICE_VHDX || !vd_reader_init(&reader, fd, &error) ||
        !vd_vhdx_read(&reader, &vhdx, &error))
      return;
    log = vhdx.header.log_offset;
    log_end = log + vhdx.header.log_length;
    table = vhdx.bat.offset;
    table_end = table + vhdx.bat.length;
    vd_vhdx_clear(&vhdx);
  }
};

// What happens seldom, each kind by itself: the log begins anew, its pages go home, the file grows or is cut,
// space is made a hole, and is written anew. As positions in the log of events.
std::vector<std::vector<size_t>> rare_moments(const vd_sim::Io &sim, const Places &places)
{
  enum { ROUND, HOME, END, HOLE, ANEW };
  std::vector<std::vector<size_t>> moments(5);
  std::vector<std::pair<uint64_t, uint64_t>> holes;
  uint64_t end = 0, head = 0;

  for (size_t i = 0; i < sim.log().size(); i++) {
    const vd_sim::Event &event = sim.log()[i];
    uint64_t event_end = event.offset + event.length;
    auto overlaps = [&](const auto &hole) { return hole.first < event_end && event.offset < hole.second; };

    if (event.what != vd_sim::Event::What::completed || event.kind == VD_IO_FLUSH)
      continue;
    if (event.kind == VD_IO_PUNCH) {
      moments[HOLE].push_back(i + 1);
      holes.emplace_back(event.offset, event_end);
    } else if (event.kind == VD_IO_TRUNCATE || event_end > end) {
      moments[END].push_back(i + 1);
      end = event_end;
    } else if (event.offset >= places.log && event.offset < places.log_end) {
      if (event.offset < head)
        moments[ROUND].push_back(i + 1);
      head = event.offset;
    } else if (event.offset >= places.table && event.offset < places.table_end) {
      moments[HOME].push_back(i + 1);
    } else if (std::any_of(holes.begin(), holes.end(), overlaps)) {
      moments[ANEW].push_back(i + 1);
    }
  }
  moments.erase(std::remove_if(moments.begin(), moments.end(), [](const auto &kind) { return kind.empty(); }),
                moments.end());
  return moments;
}

TEST_P(Crash, PowerCutAtRareMoments)
{
  vd_sim::Io sim({11});
  Model model(format().size);
  std::mt19937_64 random(23);

  if (!workload().changes_map && !workload().frees)
    return;
  ASSERT_NO_FATAL_FAILURE(record(sim, model, true));
  std::vector<std::vector<size_t>> moments = rare_moments(sim, Places(sim.fd(0), format()));
  size_t n = states_wanted(format());
  for (const std::vector<size_t> &kind : moments)
    for (size_t i = 0; i < n && !HasFailure(); i++) {
      size_t moment = kind[(i * kind.size() / n + random() % 2) % kind.size()];
      size_t position = std::min(moment + random() % 6, sim.log().size());
      vd_sim::Cut cut = {position, vd_sim::Cut::Kept::chosen, random(), 512};

      EXPECT_EQ(judge(model, sim.state(cut), position, i % 2 == 0), "") << vd_sim::describe(cut);
    }
}

// What a power cut left is being mended (the log replayed, the trailer put in its place) when it is cut
// again.
TEST_P(Crash, PowerCutWhileItIsOpened)
{
  vd_sim::Io sim({11});
  Model model(format().size);
  size_t outer = std::max<size_t>(2, states_wanted(format()) / 12);

  ASSERT_NO_FATAL_FAILURE(record(sim, model, false));
  std::mt19937_64 random(17);
  for (size_t i = 0; i < outer && !HasFailure(); i++) {
    size_t position = sim.log().size() * (i + 1) / outer;
    vd_sim::Cut cut = {position, vd_sim::Cut::Kept::chosen, random(), 512};
    vd_sim::Io opening({i + 1});
    unsigned n = add_all(opening, sim.state(cut)), count = 0;
    Disk disk(opening, format(), n, true);

    ASSERT_TRUE(disk.ok()) << disk.error() << ", " << vd_sim::describe(cut);
    vd_sim::Cuts cuts;
    cuts.most = states_wanted(format()) / 4;
    opening.for_each_cut(cuts, [&](const vd_sim::Cut &second, std::vector<vd_sim::Image> &files) {
      if (HasFailure())
        return;
      EXPECT_EQ(judge(model, files, position, count++ % 2 == 0), "")
          << vd_sim::describe(cut) << "; then, while it is opened, " << vd_sim::describe(second);
    });
  }
}

// What a power cut left is written on: new blocks show nothing of what the file still holds behind its end or
// in its holes, and nothing else changes.
TEST_P(Crash, ASessionAfterAPowerCut)
{
  const size_t n = format().size > 8 * MiB ? 1 : 3;
  vd_sim::Io sim({11});
  Model model(format().size);
  std::mt19937_64 random(29);

  if (!workload().changes_map)
    return;
  ASSERT_NO_FATAL_FAILURE(record(sim, model, false));
  for (size_t i = 0; i < n && !HasFailure(); i++) {
    size_t position = 2 * sim.log().size() / 5 + random() % (sim.log().size() / 2);
    vd_sim::Cut cut = {position, vd_sim::Cut::Kept::completed, 0, 512};
    vd_sim::Io next({i + 1});
    Model found(format().size);
    Disk disk(next, format(), add_all(next, sim.state(cut)), true);

    ASSERT_TRUE(disk.ok()) << disk.error() << ", " << vd_sim::describe(cut);
    std::vector<uint8_t> all = disk.read_all();
    ASSERT_EQ(model.judge(all, position), "") << vd_sim::describe(cut);
    for (uint64_t number = 0; number < all.size() / sector; number++) {
      uint64_t word = 0;

      ASSERT_TRUE(Model::word_of(all.data() + number * sector, &word));
      found.set_initial(number, word);
    }
    Driver driver(next, disk, found, 5 + i, 12);
    allocate(driver, format());
    ASSERT_TRUE(driver.drain());
    EXPECT_EQ(found.judge(disk.read_all(), never), "") << "after " << vd_sim::describe(cut);
    EXPECT_EQ(disk.close(), 0);
    EXPECT_EQ(judge(found, files_of(next), never, false), "") << "closed, after " << vd_sim::describe(cut);
  }
}

// Nobody closes the image, but nothing is lost. The next who opens it for writing, and writes nothing, leaves
// it as if it had been closed; and the power may be cut meanwhile.
TEST_P(Crash, AfterAKillTheNextSessionMakesItWhole)
{
  const unsigned all = ~0U, no_leaks = ~(1U << VD_FAULT_LEAK);
  vd_sim::Io sim({11}), next({12});
  Model model(format().size);

  ASSERT_NO_FATAL_FAILURE(record(sim, model, false));
  unsigned n = add_all(next, files_of(sim));
  {
    Disk disk(next, format(), n, true);
    ASSERT_TRUE(disk.ok()) << disk.error();
    EXPECT_EQ(disk.close(), 0);
  }
  EXPECT_EQ(faults(next.fd(0), format(), workload().frees ? no_leaks : all), "");
  vd_sim::Cuts cuts;
  cuts.most = std::max<size_t>(4, states_wanted(format()) / 4);
  next.for_each_cut(cuts, [&](const vd_sim::Cut &cut, std::vector<vd_sim::Image> &files) {
    if (HasFailure())
      return;
    EXPECT_EQ(judge(model, files, never, true), "") << vd_sim::describe(cut);
  });
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
    bool forever = nth % 5 == 4;
    sim.fail(nth, errors[nth % 2], {}, forever);
    workload().run(driver, format());
    ASSERT_TRUE(driver.drain()) << "requests hang after operation " << nth << " failed";
    failed_somewhere += driver.failures > 0;
    operations = std::max(operations, sim.operations());
    stride = std::max<uint64_t>(1, operations / std::max<size_t>(1, states_wanted(format()) / 3));
    sim.clear_faults();
    // It works again: what is written now is there. But after a flush that failed nothing is promised; and a
    // log that could not be put right either is not written any more until the image is opened anew.
    unsigned before = driver.failures;
    if (!sim.has_lost())
      driver.write(0, 64 * KiB);
    ASSERT_TRUE(driver.drain());
    bool works = driver.failures == before;
    EXPECT_TRUE(works || (forever && workload().frees && format().device_id == VIRTDISK_DEVICE_VHDX))
        << "operation " << nth << " failed, and it does not work again";
    driver.flush();
    ASSERT_TRUE(driver.drain());
    if (works) {
      EXPECT_EQ(driver.failures, before + sim.has_lost()) << "operation " << nth << " failed";
    }
    std::vector<uint8_t> all = disk.read_all();
    ASSERT_FALSE(all.empty()) << "operation " << nth;
    EXPECT_EQ(model.judge(all, never), "") << "operation " << nth << " failed";
    if (!sim.has_lost()) {
      EXPECT_EQ(disk.close(), 0) << "operation " << nth;
    }
    std::vector<vd_sim::Image> files = files_of(sim);
    EXPECT_EQ(judge(model, files, never, sim.has_lost() || nth % 2 == 0), "")
        << "operation " << nth << " failed";
    if (HasFailure())
      return;
  }
  EXPECT_GT(failed_somewhere, 0u) << "no failure reached a request";
}

// What a flush that failed has lost is lost; later ones must not say that it is there.
TEST_P(Crash, PowerCutAfterAFlushThatFailed)
{
  const size_t step = format().size > 8 * MiB ? 4 : 1;

  for (size_t nth = 0; nth < 14; nth += step + nth) {
    vd_sim::Io sim({nth + 1});
    Model model(format().size);

    sim.fail(nth, EIO, VD_IO_FLUSH);
    ASSERT_NO_FATAL_FAILURE(record(sim, model, false));
    if (!sim.has_lost())
      return;
    vd_sim::Cuts cuts;
    cuts.choices = 1;
    cuts.most = std::max<size_t>(3, states_wanted(format()) / 8);
    sim.for_each_cut(cuts, [&](const vd_sim::Cut &cut, std::vector<vd_sim::Image> &files) {
      if (HasFailure())
        return;
      EXPECT_EQ(judge(model, files, cut.position, true), "")
          << "flush " << nth << " failed; " << vd_sim::describe(cut);
    });
  }
}

// Each operation of mending what a power cut left fails once: the image opens the next time.
TEST_P(Crash, EveryOperationOfOpeningFails)
{
  const int errors[] = {EIO, ENOSPC};
  vd_sim::Io sim({11});
  Model model(format().size);

  ASSERT_NO_FATAL_FAILURE(record(sim, model, false));
  size_t position = sim.log().size() * 2 / 3;
  std::vector<vd_sim::Image> left = sim.state({position, vd_sim::Cut::Kept::completed, 0, 512});
  uint64_t operations = 1, stride = 1;
  for (uint64_t nth = 0; nth < operations && !HasFailure(); nth += stride) {
    vd_sim::Io opening({nth + 1});
    unsigned n = add_all(opening, left);

    if (nth > 0)
      opening.fail(nth - 1, errors[nth % 2]);
    Disk disk(opening, format(), n, true);
    EXPECT_TRUE(disk.ok() || !disk.error().empty());
    operations = std::max(operations, opening.operations() + 1);
    stride = std::max<uint64_t>(1, operations / (states_wanted(format()) / 6 + 1));
    EXPECT_EQ(judge(model, files_of(opening), position, true), "") << "operation " << nth << " failed";
    vd_sim::Cut cut = {opening.log().size(), vd_sim::Cut::Kept::chosen, nth, 512};
    EXPECT_EQ(judge(model, opening.state(cut), position, true), "")
        << "operation " << nth << " failed, then " << vd_sim::describe(cut);
  }
}

// The file is cut short behind our back: errors, but nothing that is wrong.
TEST_P(Crash, AFileThatIsCutWhileItIsRead)
{
  const Images &images = images_of(format());
  unsigned unreadable_somewhere = 0;

  for (uint64_t eighth = 1; eighth < 8 && !HasFailure(); eighth += 3) {
    vd_sim::Io sim({eighth + 1});
    Model model(format().size);
    unsigned n = add_all(sim, images.files);
    std::vector<bool> unreadable;

    set_initial(model);
    Disk disk(sim, format(), n, true);
    ASSERT_TRUE(disk.ok()) << disk.error();
    Driver driver(sim, disk, model, 3, 12);
    workload().run(driver, format());
    ASSERT_TRUE(driver.drain());
    uint64_t end = sim.image(0).size() * eighth / 8 + eighth * 512;
    sim.shorten(0, end);
    std::vector<uint8_t> all = disk.read_all(&unreadable);
    EXPECT_EQ(model.judge(all, never, &unreadable), "") << "cut to " << end;
    unreadable_somewhere += std::count(unreadable.begin(), unreadable.end(), true) > 0;
  }
  if (workload().run == growth) {
    EXPECT_GT(unreadable_somewhere, 0u);
  }
}

// The same while nobody has it open. Of an image with a log nobody can tell: that may be meant to make it
// longer.
TEST_P(Crash, AFileThatWasCut)
{
  vd_sim::Io sim({11});
  Model model(format().size);
  unsigned opened = 0;

  if (!tells_of_lost_blocks(format()))
    return;
  ASSERT_NO_FATAL_FAILURE(record(sim, model, true));
  for (uint64_t eighth = 1; eighth < 8 && !HasFailure(); eighth += 3) {
    std::vector<vd_sim::Image> files = files_of(sim);
    std::vector<bool> unreadable;
    vd_sim::Io cut;

    files[0].truncate(files[0].size() * eighth / 8 + eighth * 512);
    unsigned n = add_all(cut, files);
    {
      Disk writer(cut, format(), n, true);
      EXPECT_FALSE(writer.ok()) << "cut to " << files[0].size();
    }
    Disk reader(cut, format(), n, false);
    opened += reader.ok();
    if (!reader.ok())
      continue;
    std::vector<uint8_t> all = reader.read_all(&unreadable);
    EXPECT_EQ(model.judge(all, never, &unreadable), "") << "cut to " << files[0].size();
    // Of a child's block that is lost the parent may have every sector.
    if (!is_child(format())) {
      EXPECT_GT(std::count(unreadable.begin(), unreadable.end(), true), 0) << "cut to " << files[0].size();
    }
  }
  if (workload().run == growth) {
    EXPECT_GT(opened, 0u);
  }
}

bool makes_sense(const Format &format, const Workload &workload)
{
  if (format.size > 100 * MiB)
    return workload.run == first_touch;
  if (format.size > 8 * MiB)
    return workload.small;
  return format.device_id != VIRTDISK_DEVICE_RAW || !workload.changes_map;
}

std::vector<std::tuple<Format, Workload>> pairs()
{
  std::vector<std::tuple<Format, Workload>> all;

  for (const Format &format : formats)
    for (const Workload &workload : workloads)
      if (makes_sense(format, workload))
        all.emplace_back(format, workload);
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, Crash, testing::ValuesIn(pairs()), [](const auto &info) {
  return std::get<0>(info.param).name + std::get<1>(info.param).name;
});

} // namespace
