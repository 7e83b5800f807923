// SPDX-License-Identifier: LGPL-2.1-or-later
// Random requests, many at a time, completed in random order, beside a byte array. (tests/crash cuts the
// power of such runs, and lets their operations fail.)
#include "vhdx-rig.hh"

#include <deque>

using namespace vhdx;

namespace
{

constexpr uint64_t mib = 1 << 20;

struct Case {
  const char *name;
  uint32_t subtype;
  uint32_t block_size, sector_size;
  uint64_t size;
};

std::ostream &operator<<(std::ostream &out, const Case &one)
{
  return out << one.name;
}

const Case cases[] = {
    {"Dynamic512", VIRTDISK_SUBTYPE_DYNAMIC, 1 << 20, 512, 40 * mib + 512},
    {"Dynamic4096", VIRTDISK_SUBTYPE_DYNAMIC, 2 << 20, 4096, 40 * mib + 4096},
    {"DynamicLarge", VIRTDISK_SUBTYPE_DYNAMIC, 8 << 20, 512, 40 * mib},
    {"Fixed", VIRTDISK_SUBTYPE_FIXED, 1 << 20, 512, 8 * mib},
    {"Child512", VIRTDISK_SUBTYPE_DIFFERENCING, 1 << 20, 512, 24 * mib + 1024},
    {"Child2M", VIRTDISK_SUBTYPE_DIFFERENCING, 2 << 20, 512, 24 * mib},
    {"Child4096", VIRTDISK_SUBTYPE_DIFFERENCING, 1 << 20, 4096, 24 * mib},
    {"ChildLarge", VIRTDISK_SUBTYPE_DIFFERENCING, 32 << 20, 512, 40 * mib},
};

// What a sector may hold: what a completed request has left, or what one in flight or failed may leave.
struct Model {
  explicit Model(const std::vector<uint8_t> &start, uint32_t sector) : bytes(start), sector_size(sector) {}
  bool is_free(uint64_t offset, uint64_t length) const
  {
    for (const auto &one : flying)
      if (offset < one.first + one.second && one.first < offset + length)
        return false;
    return true;
  }
  std::vector<uint8_t> bytes;
  uint32_t sector_size;
  std::set<std::pair<uint64_t, uint64_t>> flying;
};

struct Running {
  Pending pending;
  uint64_t offset, length;
  Running(VdOp op, uint64_t at, uint64_t n, uint32_t flags) : pending(op, at, n, flags), offset(at), length(n)
  {
  }
};

class Driver
{
public:
  Driver(Chain &to, Model &beside, uint64_t seed) : chain(to), model(beside), random(seed) {}

  // Writes, zeroes, discards of whole blocks (which a model can tell), reads, flushes.
  void go(unsigned n, unsigned depth, uint64_t block_size)
  {
    for (unsigned i = 0; i < n; i++) {
      while (running.size() >= depth)
        settle_one();
      start(block_size);
    }
    while (!running.empty())
      settle_one();
  }

private:
  uint64_t pick(uint64_t below)
  {
    return random() % below;
  }
  void start(uint64_t block_size)
  {
    uint64_t sectors = model.bytes.size() / model.sector_size;
    uint64_t first = pick(sectors), count = 1 + pick(pick(8) == 0 ? 600 : 16);
    unsigned what = static_cast<unsigned>(pick(20));
    VdOp op = what < 11 ? VD_OP_WRITE : what < 15 ? VD_OP_READ : what < 17 ? VD_OP_FLUSH : VD_OP_WRITE_ZEROES;

    if (op == VD_OP_WRITE_ZEROES && pick(2) == 0) {
      first = first * model.sector_size / block_size * block_size / model.sector_size;
      count = block_size / model.sector_size * (1 + pick(2));
    }
    count = std::min(count, sectors - first);
    submit(op, first * model.sector_size, op == VD_OP_FLUSH ? 0 : count * model.sector_size);
  }
  void submit(VdOp op, uint64_t offset, uint64_t length)
  {
    if (!model.is_free(offset, length))
      return;
    running.push_back(std::make_unique<Running>(op, offset, length, pick(10) == 0 ? VD_REQUEST_FUA : 0));
    Running &one = *running.back();
    if (op == VD_OP_READ || op == VD_OP_FLUSH)
      one.pending.request.flags = 0;
    if (op == VD_OP_WRITE)
      for (uint64_t i = 0; i < length; i += 8) {
        uint64_t value = random();
        memcpy(one.pending.memory.data + i, &value, 8);
      }
    if (op != VD_OP_FLUSH)
      model.flying.insert({offset, length});
    vd_engine_submit(chain.engine, &one.pending.request);
  }
  void settle_one()
  {
    Running &one = *running.front();
    auto at = model.bytes.begin() + static_cast<long>(one.offset);

    ASSERT_EQ(chain.wait(one.pending), 0);
    switch (one.pending.request.op) {
    case VD_OP_WRITE:
      std::copy_n(one.pending.memory.data, one.length, at);
      break;
    case VD_OP_WRITE_ZEROES:
      std::fill_n(at, one.length, 0);
      break;
    case VD_OP_READ:
      ASSERT_EQ(memcmp(one.pending.memory.data, &*at, one.length), 0) << "read at " << one.offset;
      break;
    default:
      break;
    }
    if (one.pending.request.op != VD_OP_FLUSH)
      model.flying.erase({one.offset, one.length});
    running.pop_front();
  }

  Chain &chain;
  Model &model;
  std::mt19937_64 random;
  std::deque<std::unique_ptr<Running>> running;
};

struct Setting {
  std::vector<Image> images; // leaf first
  std::vector<uint8_t> bytes;
};

Setting make(const Case &one)
{
  Setting setting;
  Shape shape = {one.subtype, one.size, one.block_size, one.sector_size};

  setting.bytes.resize(one.size);
  if (one.subtype != VIRTDISK_SUBTYPE_DIFFERENCING) {
    setting.images = {create(shape)};
    return setting;
  }
  shape.subtype = VIRTDISK_SUBTYPE_DYNAMIC;
  Chain chain({create(shape)}, true);
  EXPECT_NE(chain.engine, nullptr) << chain.error.text;
  for (uint64_t at = mib; at + mib < one.size; at += 3 * mib) {
    std::vector<uint8_t> bytes(mib, static_cast<uint8_t>(1 + at / mib));
    EXPECT_EQ(chain.write(at, bytes), 0);
    std::copy(bytes.begin(), bytes.end(), setting.bytes.begin() + static_cast<long>(at));
  }
  EXPECT_EQ(vd_engine_close(chain.engine), 0);
  shape.subtype = VIRTDISK_SUBTYPE_DIFFERENCING;
  Image parent = chain.sim.image(0);
  setting.images = {create(shape, &parent), parent};
  return setting;
}

} // namespace

class VhdxModel : public ::testing::TestWithParam<Case>
{
};

TEST_P(VhdxModel, HoldsWhatWasWrittenThroughSeveralSessions)
{
  Setting setting = make(GetParam());
  Model model(setting.bytes, GetParam().sector_size);
  unsigned seed = 1;

  for (unsigned depth : {1u, 16u, 48u}) {
    Chain chain(setting.images, true, {.seed = seed});
    ASSERT_NE(chain.engine, nullptr) << chain.error.text;
    Driver(chain, model, seed++).go(400, depth, GetParam().block_size);
    ASSERT_EQ(difference(chain.all(), model.bytes), "") << "depth " << depth;
    ASSERT_EQ(vd_engine_close(chain.engine), 0);
    EXPECT_EQ(chain.sim.changed_in_flight(), 0u);
    setting.images[0] = chain.sim.image(0);
    ASSERT_EQ(faults(setting.images[0]), "");
    Chain again(setting.images, false);
    ASSERT_NE(again.engine, nullptr) << again.error.text;
    ASSERT_EQ(difference(again.all(), model.bytes), "") << "opened again";
  }
}

// The log is replayed in memory for a reader, and for good for a writer.
TEST_P(VhdxModel, AKilledSessionLosesNothingThatCompleted)
{
  Setting setting = make(GetParam());
  Model model(setting.bytes, GetParam().sector_size);

  for (unsigned seed = 1; seed < 4; seed++) {
    {
      Chain chain(setting.images, true, {.seed = seed});
      ASSERT_NE(chain.engine, nullptr) << chain.error.text;
      Driver(chain, model, seed).go(300, 16, GetParam().block_size);
      setting.images[0] = chain.sim.image(0);
    }
    Chain reader(setting.images, false);
    ASSERT_NE(reader.engine, nullptr) << reader.error.text;
    ASSERT_EQ(difference(reader.all(), model.bytes), "");
    EXPECT_EQ(reader.sim.operations(), reader.sim.count(VD_IO_READ) + reader.sim.count(VD_IO_READ_PADDED));
  }
}

INSTANTIATE_TEST_SUITE_P(All, VhdxModel, ::testing::ValuesIn(cases),
                         [](const auto &info) { return std::string(info.param.name); });

// Nobody flushes but the layer itself: the log goes round, and its space is used again only when an entry
// that allows it is durable.
TEST(VhdxLog, GoesRoundWithoutAFlushAndEveryPowerCutLeavesAnImage)
{
  Shape shape;
  shape.size = 400 * mib;
  Chain chain({create(shape)}, true);
  size_t begin = 0;

  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  for (unsigned i = 0; i < 400; i++) {
    if (i == 100)
      begin = chain.sim.log().size();
    ASSERT_EQ(chain.fill(i * mib, 512, static_cast<uint8_t>(i + 1)), 0);
  }
  vd_sim::Cuts cuts;
  cuts.most = 500;
  cuts.first_position = begin;
  unsigned count = 0;
  chain.sim.for_each_cut(cuts, [&](const vd_sim::Cut &cut, std::vector<Image> &images) {
    std::string what = HasFailure() ? "" : faults(images[0], true);

    EXPECT_EQ(what, "") << vd_sim::describe(cut);
    count++;
  });
  EXPECT_GT(count, 300u);
}
