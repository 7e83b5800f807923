// SPDX-License-Identifier: LGPL-2.1-or-later
// Two images that are to become alike while one of them is written to.
#include "engine-bed.hh"
#include "vhdx-rig.hh"

extern "C" {
#include "engine/engine-mirror.h"
}

namespace
{

using vd_sim::Image;

constexpr uint64_t block = 65536, blocks = 64, size = block * blocks; // eight chunks of the copy

class Mirror : public testing::Test
{
protected:
  std::unique_ptr<vd_sim::Io> sim;
  std::unique_ptr<MockLayer> leaves[2];
  VdEngine *engines[2] = {};
  VdMirror *mirror = nullptr;
  std::vector<VdMirrorState> states;

  void TearDown() override
  {
    if (mirror && !vd_mirror_is_idle(mirror))
      sim->run_until([this] { return vd_mirror_is_idle(mirror); });
    vd_mirror_free(mirror);
    for (VdEngine *engine : engines)
      vd_engine_free(engine);
  }
  void make(uint64_t seed = 0, uint64_t target_size = size, uint64_t source_size = size)
  {
    vd_sim::Options options;

    options.seed = seed;
    sim = std::make_unique<vd_sim::Io>(options);
    for (unsigned i = 0; i < 2; i++) {
      uint64_t length = i == 0 ? source_size : target_size;
      VdLayer *layer;

      sim->add(Image::of_size(length), true);
      leaves[i] = std::make_unique<MockLayer>(sim->io(), length, block, i);
      layer = leaves[i]->layer();
      engines[i] = vd_engine_new(sim->io(), &layer, 1, nullptr);
      ASSERT_TRUE(engines[i]);
    }
  }
  void begin(VdMirrorTarget over = VD_MIRROR_OVER_NEW)
  {
    mirror = vd_mirror_new(
        engines[0], engines[1], over,
        [](VdMirror *self, void *user) {
          static_cast<Mirror *>(user)->states.push_back(vd_mirror_state(self, nullptr, nullptr));
        },
        this);
    ASSERT_TRUE(mirror);
  }
  int run(VdEngine *engine, VdOp op, uint64_t offset, uint64_t length, uint8_t fill = 0)
  {
    Request request(op, offset, length, fill);

    vd_engine_submit(engine, &request);
    EXPECT_TRUE(sim->run_until([&] { return request.is_done(); })) << "stuck";
    return request.result;
  }
  int change(VdOp op, uint64_t offset, uint64_t length, uint8_t fill = 0)
  {
    Request request(op, offset, length, fill);

    vd_mirror_submit(mirror, &request);
    EXPECT_FALSE(request.is_done()) << "completed inside submit";
    EXPECT_TRUE(sim->run_until([&] { return request.is_done(); })) << "stuck";
    return request.result;
  }
  bool settle()
  {
    return sim->run_until([this] {
      return vd_mirror_state(mirror, nullptr, nullptr) != VD_MIRROR_COPYING && vd_mirror_is_idle(mirror);
    });
  }
  std::vector<uint8_t> read(unsigned which, uint64_t offset = 0, uint64_t length = size)
  {
    Request request(VD_OP_READ, offset, length, 0xee);

    vd_engine_submit(engines[which], &request);
    EXPECT_TRUE(sim->run_until([&] { return request.is_done(); }));
    EXPECT_EQ(request.result, 0);
    return {request.buffer, request.buffer + length};
  }
  VdMirrorState state(uint64_t *copied = nullptr, int *error = nullptr)
  {
    return vd_mirror_state(mirror, copied, error);
  }
};

TEST_F(Mirror, WhatIsThereIsCopiedAndWhatIsNotIsNot)
{
  uint64_t copied = 0;

  make();
  ASSERT_EQ(run(engines[0], VD_OP_WRITE, 3 * block + 512, 2 * block, 7), 0);
  ASSERT_EQ(run(engines[0], VD_OP_WRITE, size - 512, 512, 8), 0);
  begin();
  EXPECT_EQ(state(), VD_MIRROR_COPYING);
  vd_mirror_start(mirror);
  ASSERT_TRUE(settle());
  EXPECT_EQ(states, std::vector<VdMirrorState>{VD_MIRROR_MIRRORED});
  EXPECT_EQ(state(&copied), VD_MIRROR_MIRRORED);
  EXPECT_EQ(copied, size);
  EXPECT_EQ(read(0), read(1));
  EXPECT_EQ(vd_engine_counters(engines[1]).updates, vd_engine_counters(engines[0]).updates);
}

TEST_F(Mirror, WritesGoToBothOnceItIsMirrored)
{
  make();
  begin();
  vd_mirror_start(mirror);
  ASSERT_TRUE(settle());
  EXPECT_EQ(change(VD_OP_WRITE, block - 512, 1024, 5), 0);
  EXPECT_EQ(change(VD_OP_WRITE, 9 * block, 3 * block, 6), 0);
  EXPECT_EQ(change(VD_OP_DISCARD, 10 * block, block), 0);
  EXPECT_EQ(change(VD_OP_WRITE_ZEROES, 11 * block, 512), 0);
  EXPECT_EQ(read(1), read(0));
  EXPECT_EQ(read(1, block, 512), std::vector<uint8_t>(512, 5));
}

TEST_F(Mirror, NothingGoesToATargetThatIsNotStarted)
{
  make();
  begin();
  EXPECT_EQ(change(VD_OP_WRITE, 0, block, 5), 0);
  EXPECT_EQ(vd_engine_counters(engines[1]).writes, 0u);
  vd_mirror_start(mirror);
  ASSERT_TRUE(settle());
  EXPECT_EQ(read(1), read(0));
}

TEST_F(Mirror, WhatAnEarlierMirrorLeftBecomesZeros)
{
  make();
  ASSERT_EQ(run(engines[1], VD_OP_WRITE, 5 * block, block, 9), 0);
  begin(VD_MIRROR_OVER_OLD);
  vd_mirror_start(mirror);
  ASSERT_TRUE(settle());
  EXPECT_EQ(read(1), std::vector<uint8_t>(size, 0));
}

TEST_F(Mirror, ASourceThatFailsAWriteIsNoLongerMirrored)
{
  int error = 0;

  make();
  begin();
  vd_mirror_start(mirror);
  ASSERT_TRUE(settle());
  leaves[0]->place_error = -EIO;
  EXPECT_EQ(change(VD_OP_WRITE, block, block, 5), -EIO);
  EXPECT_TRUE(state(nullptr, &error) == VD_MIRROR_FAILED || read(0) == read(1));
  EXPECT_EQ(error, -EIO);
}

// The chunks before it are alike as soon as they are looked at, those behind it are not claimed yet.
TEST_F(Mirror, AWriteAcrossTheEdgeOfTheCopyLeavesNothingBehindIt)
{
  constexpr uint64_t large = uint64_t{12} << 20, mib = 1 << 20;
  Request first(VD_OP_WRITE, 3 * mib, 512, 1), across(VD_OP_WRITE, mib, 8 * mib, 2),
      zeroes(VD_OP_WRITE_ZEROES, 6 * mib, mib);

  make(0, large, large);
  leaves[0]->ops.unused = nullptr;
  begin();
  first.then = [&] {
    vd_mirror_start(mirror);
    vd_mirror_submit(mirror, &zeroes);
  };
  vd_mirror_submit(mirror, &first);
  vd_mirror_submit(mirror, &across);
  ASSERT_TRUE(settle());
  EXPECT_EQ(across.result, 0);
  EXPECT_EQ(zeroes.result, 0);
  ASSERT_EQ(state(), VD_MIRROR_MIRRORED);
  EXPECT_TRUE(read(0, 0, large) == read(1, 0, large));
}

// Real images, with or without a parent, under whatever order the seed chooses.
class VhdxMirror : public testing::Test
{
protected:
  static constexpr uint64_t disk = 9 << 20;
  std::mt19937_64 random;
  std::unique_ptr<vd_sim::Io> sim;
  VdPages *pages = nullptr;
  VdEngine *engines[2] = {};
  VdMirror *mirror = nullptr;

  VdLayer *open(const Image &image, bool writable)
  {
    VdLayerSource source = sim->source(sim->add(image, writable), pages, writable);
    VdFormatError error = {};
    VdLayer *layer = vd_vhdx_layer_open(&source, &error);

    EXPECT_TRUE(layer) << error.text;
    return layer;
  }
  static Image parent_with_data(const vhdx::Shape &shape)
  {
    vd_sim::Io sim;
    VdPages *pages = vd_pages_new(sim.io(), 4096, 1 << 20);
    VdLayerSource source = sim.source(sim.add(vhdx::create(shape), true), pages, true);
    VdFormatError error = {};
    VdLayer *layer = vd_vhdx_layer_open(&source, &error);
    VdEngine *engine = vd_engine_new(sim.io(), &layer, 1, nullptr);
    Request write(VD_OP_WRITE, 512, disk - 1024, 0xaa);

    vd_engine_submit(engine, &write);
    EXPECT_TRUE(sim.run_until([&] { return write.is_done(); }));
    EXPECT_EQ(vd_engine_close(engine), 0);
    vd_engine_free(engine);
    vd_pages_free(pages);
    return sim.image(0);
  }
  void make(unsigned seed, VdMirrorTarget over = VD_MIRROR_OVER_NEW)
  {
    vhdx::Shape shape = {VIRTDISK_SUBTYPE_DYNAMIC, disk, 1 << 20, 512};
    std::unique_ptr<Image> parent;
    vd_sim::Options options;

    options.seed = seed;
    random.seed(seed);
    sim = std::make_unique<vd_sim::Io>(options);
    pages = vd_pages_new(sim->io(), 4096, 1 << 20);
    if (seed % 2 == 0) {
      parent = std::make_unique<Image>(parent_with_data(shape));
      shape.subtype = VIRTDISK_SUBTYPE_DIFFERENCING;
    }
    for (VdEngine *&engine : engines) {
      VdLayer *layers[2] = {open(vhdx::create(shape, parent.get()), true), nullptr};

      if (parent)
        layers[1] = open(*parent, false);
      engine = vd_engine_new(sim->io(), layers, parent ? 2 : 1, nullptr);
      ASSERT_TRUE(engine);
    }
    mirror = vd_mirror_new(engines[0], engines[1], over, nullptr, nullptr);
    ASSERT_TRUE(mirror);
  }
  void TearDown() override
  {
    vd_mirror_free(mirror);
    for (VdEngine *engine : engines)
      vd_engine_free(engine);
    vd_pages_free(pages);
  }
  std::unique_ptr<Request> some_request()
  {
    static const VdOp ops[] = {VD_OP_WRITE,        VD_OP_WRITE, VD_OP_DISCARD,
                               VD_OP_WRITE_ZEROES, VD_OP_FLUSH, VD_OP_READ};
    VdOp op = ops[random() % 6];
    uint64_t start = random() % (disk / 512), most = std::min<uint64_t>(disk / 512 - start, 5000);
    bool moves = op != VD_OP_FLUSH;

    return std::make_unique<Request>(op, moves ? start * 512 : 0, moves ? (1 + random() % most) * 512 : 0,
                                     uint8_t(random()));
  }
  bool wait(const Request &request)
  {
    return sim->run_until([&] { return request.is_done(); });
  }
  bool settle()
  {
    return sim->run_until([this] {
      return vd_mirror_state(mirror, nullptr, nullptr) != VD_MIRROR_COPYING && vd_mirror_is_idle(mirror);
    });
  }
  std::vector<uint8_t> read(VdEngine *engine)
  {
    Request request(VD_OP_READ, 0, disk, 0xee);

    vd_engine_submit(engine, &request);
    EXPECT_TRUE(wait(request));
    EXPECT_EQ(request.result, 0);
    return {request.buffer, request.buffer + disk};
  }
};

class VhdxMirrors : public VhdxMirror, public testing::WithParamInterface<unsigned>
{
};

// Nothing is recorded of it yet when the mirror begins, and the layer calls its place unused.
TEST_F(VhdxMirror, AWriteThatWasUnderWayWhenItBeganIsCopied)
{
  Request write(VD_OP_WRITE, 5 << 20, 4096, 7);

  make(1);
  vd_mirror_submit(mirror, &write);
  vd_mirror_start(mirror);
  ASSERT_TRUE(settle());
  EXPECT_EQ(write.result, 0);
  EXPECT_TRUE(read(engines[0]) == read(engines[1]));
}

// The power was cut when only the target had recorded it: the guest knows the parent's bytes.
TEST_F(VhdxMirror, AWriteThatOnlyAnEarlierTargetHasIsTakenBack)
{
  Request lost(VD_OP_WRITE, 3 << 20, 1 << 20, 7), half(VD_OP_WRITE, (6 << 20) + 4096, 8192, 9);

  make(2, VD_MIRROR_OVER_OLD);
  vd_engine_submit(engines[1], &lost);
  vd_engine_submit(engines[1], &half);
  ASSERT_TRUE(wait(lost));
  ASSERT_TRUE(wait(half));
  vd_mirror_start(mirror);
  ASSERT_TRUE(settle());
  ASSERT_EQ(vd_mirror_state(mirror, nullptr, nullptr), VD_MIRROR_MIRRORED);
  EXPECT_TRUE(read(engines[0]) == read(engines[1]));
}

TEST_P(VhdxMirrors, WhateverIsWrittenMeanwhileTheyAreAlikeAtTheEnd)
{
  std::vector<std::unique_ptr<Request>> requests;

  make(GetParam());
  for (unsigned i = 0; i < 12; i++) {
    std::unique_ptr<Request> request = some_request();

    vd_mirror_submit(mirror, request.get());
    ASSERT_TRUE(wait(*request));
  }
  vd_mirror_start(mirror);
  for (unsigned i = 0; i < 80; i++) {
    requests.push_back(some_request());
    vd_mirror_submit(mirror, requests.back().get());
    if (random() % 3 == 0) {
      ASSERT_TRUE(wait(*requests[random() % requests.size()])) << "stuck";
    }
  }
  ASSERT_TRUE(settle());
  for (auto &request : requests) {
    ASSERT_TRUE(wait(*request));
    ASSERT_EQ(request->dones, 1u);
    ASSERT_EQ(request->result, 0);
  }
  ASSERT_EQ(vd_mirror_state(mirror, nullptr, nullptr), VD_MIRROR_MIRRORED);
  EXPECT_TRUE(read(engines[0]) == read(engines[1]));
  for (VdEngine *engine : engines)
    EXPECT_EQ(vd_engine_close(engine), 0);
}

INSTANTIATE_TEST_SUITE_P(Seeds, VhdxMirrors, testing::Range(1u, 21u));

TEST_F(Mirror, ATargetThatFailsEndsTheMirrorAndNothingElse)
{
  int error = 0;

  make();
  ASSERT_EQ(run(engines[0], VD_OP_WRITE, 0, size, 3), 0);
  leaves[1]->place_error = -ENOSPC;
  begin();
  vd_mirror_start(mirror);
  EXPECT_EQ(change(VD_OP_WRITE, 512, 512, 4), 0);
  ASSERT_TRUE(settle());
  EXPECT_EQ(state(nullptr, &error), VD_MIRROR_FAILED);
  EXPECT_EQ(error, -ENOSPC);
  EXPECT_EQ(change(VD_OP_WRITE, 1024, 512, 5), 0);
  EXPECT_EQ(read(0, 1024, 512), std::vector<uint8_t>(512, 5));
  EXPECT_EQ(states, std::vector<VdMirrorState>{VD_MIRROR_FAILED});
}

TEST_F(Mirror, ASourceThatCannotBeReadFailsTheMirror)
{
  int error = 0;

  make();
  ASSERT_EQ(run(engines[0], VD_OP_WRITE, 0, size, 3), 0);
  begin();
  leaves[0]->find_error = -EIO;
  vd_mirror_start(mirror);
  ASSERT_TRUE(settle());
  EXPECT_EQ(state(nullptr, &error), VD_MIRROR_FAILED);
  EXPECT_EQ(error, -EIO);
}

TEST_F(Mirror, OneThatIsStoppedLetsWhoWaitsGo)
{
  Request write(VD_OP_WRITE, 0, block, 4);

  make();
  ASSERT_EQ(run(engines[0], VD_OP_WRITE, 0, size, 3), 0);
  begin();
  vd_mirror_start(mirror);
  vd_mirror_submit(mirror, &write);
  vd_mirror_stop(mirror);
  ASSERT_TRUE(settle());
  EXPECT_EQ(write.result, 0);
  EXPECT_EQ(read(0, 0, block), std::vector<uint8_t>(block, 4));
}

TEST_F(Mirror, RequestsThatMakeNoSenseAreTheEnginesToRefuse)
{
  make();
  begin();
  vd_mirror_start(mirror);
  ASSERT_TRUE(settle());
  EXPECT_EQ(change(VD_OP_WRITE, size, 512, 1), -EINVAL);
  EXPECT_EQ(change(VD_OP_DISCARD, UINT64_MAX - 511, 1024), -EINVAL);
  EXPECT_EQ(state(), VD_MIRROR_MIRRORED);
}

TEST_F(Mirror, ATargetOfAnotherSizeIsNone)
{
  make(0, size - block);
  EXPECT_EQ(vd_mirror_new(engines[0], engines[1], VD_MIRROR_OVER_NEW, nullptr, nullptr), nullptr);
  EXPECT_EQ(errno, EINVAL);
}

} // namespace
