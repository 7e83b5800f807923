// SPDX-License-Identifier: LGPL-2.1-or-later
// Marks of changes, and a power cut at every moment: whatever is in the image is marked.
#include "engine-bed.hh"

extern "C" {
#include "engine/tracker.h"
#include "virtdisk-enums.h"
}

namespace
{

using vd_sim::Image;

constexpr uint64_t granule = 65536, granules = 16, size = granule * granules;

Image new_log(VdCtlog *ret_log)
{
  const uint8_t id[16] = {5};
  std::vector<uint16_t> marks(granules);
  std::vector<uint8_t> page(VD_CTLOG_PAGE);

  vd_ctlog_init(ret_log, VIRTDISK_DEVICE_RAW, size, id);
  Image image = Image::of_size(vd_ctlog_file_size(ret_log));
  vd_ctlog_build(ret_log, page.data());
  image.write(0, page.data(), page.size());
  vd_ctlog_build_page(ret_log, 0, marks.data(), page.data());
  image.write(vd_ctlog_page_offset(0), page.data(), page.size());
  return image;
}

struct Seen {
  bool good;
  VdCtlog log;
  std::vector<uint16_t> marks;
};

Seen see(const Image &image)
{
  Seen seen = {};
  VdFormatError error;
  VdReader reader;
  int fd = image.to_memfd();

  EXPECT_TRUE(vd_reader_init(&reader, fd, &error));
  seen.good = vd_ctlog_read(&reader, &seen.log, &error);
  if (seen.good) {
    seen.marks.resize(vd_ctlog_count_granules(&seen.log));
    EXPECT_TRUE(vd_ctlog_read_marks(&reader, &seen.log, seen.marks.data(), &error));
  }
  close(fd);
  return seen;
}

class Tracker : public testing::Test
{
protected:
  std::unique_ptr<vd_sim::Io> sim;
  VdLayer *layer = nullptr;
  VdEngine *engine = nullptr;
  VdPages *pages = nullptr;
  VdTracker *tracker = nullptr;
  unsigned file = 0;

  void TearDown() override
  {
    vd_tracker_free(tracker);
    vd_engine_free(engine);
    vd_pages_free(pages);
  }
  void make(uint64_t seed = 0)
  {
    vd_sim::Options options;
    VdFormatError error;
    VdCtlog log;

    options.seed = seed;
    sim = std::make_unique<vd_sim::Io>(options);
    sim->add(Image::of_size(size), true);
    file = sim->add(new_log(&log), true);
    pages = vd_pages_new(sim->io(), 4096, 1 << 20);
    VdLayerSource source = sim->source(0, pages, true);
    layer = vd_raw_layer_open(&source, &error);
    ASSERT_TRUE(layer) << error.text;
    engine = vd_engine_new(sim->io(), &layer, 1, nullptr);
    ASSERT_TRUE(engine);
    begin(log);
  }
  void begin(const VdCtlog &log)
  {
    VdTrackerOptions options = {};

    options.io = sim->io();
    options.file = file;
    options.log = log;
    options.marks = static_cast<uint16_t *>(calloc(granules, sizeof *options.marks));
    options.forward = [](VdRequest *request, void *user) {
      vd_engine_submit(static_cast<Tracker *>(user)->engine, request);
    };
    options.user = this;
    tracker = vd_tracker_new(&options);
    ASSERT_TRUE(tracker);
  }
  std::unique_ptr<Request> start(VdOp op, uint64_t offset, uint64_t length, uint8_t fill = 1)
  {
    auto request = std::make_unique<Request>(op, offset, length, fill);

    vd_tracker_submit(tracker, request.get());
    EXPECT_FALSE(request->is_done()) << "completed inside submit";
    return request;
  }
  int run(VdOp op, uint64_t offset, uint64_t length, uint8_t fill = 1)
  {
    auto request = start(op, offset, length, fill);

    EXPECT_TRUE(sim->run_until([&] { return request->is_done(); })) << "stuck";
    return request->result;
  }
};

TEST_F(Tracker, WhatIsWrittenIsMarked)
{
  make();
  EXPECT_EQ(run(VD_OP_READ, 0, 4096), 0);
  EXPECT_EQ(sim->count(VD_IO_WRITE), 0u);
  EXPECT_EQ(run(VD_OP_WRITE, granule - 512, 1024), 0);
  EXPECT_EQ(run(VD_OP_WRITE_ZEROES, 5 * granule, 512), 0);
  EXPECT_EQ(run(VD_OP_DISCARD, 7 * granule, granule), 0);
  Seen seen = see(sim->image(file));
  ASSERT_TRUE(seen.good);
  EXPECT_EQ(seen.log.state, VD_CTLOG_DIRTY);
  for (uint64_t i = 0; i < granules; i++)
    EXPECT_EQ(seen.marks[i], i == 0 || i == 1 || i == 5 || i == 7) << i;
  uint64_t flushes = sim->count(VD_IO_FLUSH);
  EXPECT_EQ(run(VD_OP_WRITE, 512, 512), 0);
  EXPECT_EQ(sim->count(VD_IO_FLUSH), flushes) << "a granule that is marked costs nothing";
  VdCtlogTie tie = {{1}, 2, 3, 4, 5, 6};
  EXPECT_EQ(vd_tracker_close(tracker, &tie), 0);
  seen = see(sim->image(file));
  EXPECT_EQ(seen.log.state, VD_CTLOG_CLEAN);
  EXPECT_EQ(seen.log.tie.inode, 6u);
}

TEST_F(Tracker, WhatIsNoneOfTheDiskIsTheEngines)
{
  make();
  EXPECT_EQ(run(VD_OP_WRITE, size, 512), -EINVAL);
  EXPECT_EQ(run(VD_OP_DISCARD, size - 512, UINT64_MAX - 1023), -EINVAL);
  EXPECT_EQ(run(VD_OP_FLUSH, 0, 0), 0);
  EXPECT_EQ(see(sim->image(file)).log.state, VD_CTLOG_CLEAN);
}

TEST_F(Tracker, ThoseThatComeTogetherWaitTogether)
{
  std::vector<std::unique_ptr<Request>> requests;

  make();
  for (uint64_t i = 0; i < 16; i++)
    requests.push_back(start(VD_OP_WRITE, i * granule, 4096));
  ASSERT_TRUE(sim->run_until([&] {
    return std::all_of(requests.begin(), requests.end(),
                       [](const auto &request) { return request->is_done(); });
  }));
  EXPECT_EQ(sim->count(VD_IO_FLUSH), 1u);
}

TEST_F(Tracker, ALogThatCannotBeWritten)
{
  for (uint64_t nth = 0; nth < 3; nth++) {
    make(nth + 1);
    sim->fail(nth, nth == 1 ? ENOSPC : EIO);
    EXPECT_EQ(run(VD_OP_WRITE, granule, 512), nth == 1 ? -ENOSPC : -EIO) << nth;
    sim->clear_faults();
    EXPECT_EQ(run(VD_OP_READ, 0, 512), 0);
    EXPECT_EQ(run(VD_OP_WRITE, 0, 512), sim->has_lost() ? -EIO : 0);
    TearDown();
    tracker = nullptr;
    engine = nullptr;
    pages = nullptr;
  }
}

TEST_F(Tracker, NothingInTheImageIsNotMarkedWheneverThePowerIsCut)
{
  for (uint64_t seed : {1, 2, 3}) {
    std::vector<std::unique_ptr<Request>> requests;
    std::mt19937_64 random(seed);

    make(seed);
    for (unsigned i = 0; i < 60; i++) {
      requests.push_back(start(VD_OP_WRITE, random() % (2 * granules - 1) * (granule / 2) + 512,
                               1024 + random() % 8 * 8192));
      if (i % 8 == 7) {
        auto last = requests.back().get();
        requests.push_back(start(VD_OP_FLUSH, 0, 0));
        ASSERT_TRUE(sim->run_until([&] { return last->is_done(); }));
      }
    }
    ASSERT_TRUE(sim->run_until([&] {
      return std::all_of(requests.begin(), requests.end(),
                         [](const auto &request) { return request->is_done(); });
    }));
    EXPECT_EQ(sim->changed_in_flight(), 0u);
    vd_sim::Cuts cuts;
    unsigned states = 0;
    cuts.most = 120;
    sim->for_each_cut(cuts, [&](const vd_sim::Cut &cut, std::vector<Image> &images) {
      Seen seen = see(images[file]);

      states++;
      ASSERT_TRUE(seen.good) << vd_sim::describe(cut);
      for (uint64_t i = 0; i < granules; i++) {
        if (seen.marks[i] == 1 && seen.log.state == VD_CTLOG_DIRTY)
          continue;
        std::vector<uint8_t> found = images[0].read(i * granule, granule);
        bool changed = std::any_of(found.begin(), found.end(), [](uint8_t byte) { return byte != 0; });

        ASSERT_FALSE(changed) << "granule " << i << ", " << vd_sim::describe(cut);
      }
    });
    EXPECT_GT(states, 50u);
    TearDown();
    tracker = nullptr;
    engine = nullptr;
    pages = nullptr;
  }
}

} // namespace
