// SPDX-License-Identifier: LGPL-2.1-or-later
// Random requests to VHDs with blocks of all sizes, beside what each sector must hold; then the power is cut
// at every moment of such a run.
#include "vhd-rig.hh"

#include <map>
#include <random>

using namespace vhd;

namespace
{

struct Shape {
  const char *name;
  uint32_t type;
  uint64_t size;
  uint32_t block_size;
  uint64_t trailer; // of the empty image: tells how blocks are aligned
};

const Shape kShapes[] = {
    {"Dynamic4K", 3, 256 << 10, 4 << 10, 0xe00},
    {"Dynamic512K", 3, 3 * mib + 512, 512 << 10, 0xe00},
    {"Dynamic512KUnaligned", 3, 3 * mib, 512 << 10, 0x1000},
    {"Dynamic8M", 3, 9 * mib, 8 << 20, 0x1000},
    {"Child4K", 4, 256 << 10, 4 << 10, 0x1200},
    {"Child512K", 4, 3 * mib + 512, 512 << 10, 0xe00},
    {"Child2M", 4, 5 * mib, 2 << 20, 0x1200},
    {"Child8M", 4, 9 * mib, 8 << 20, 0x1000},
};

constexpr uint64_t kSector = 512;

// One write to a sector: what it wrote, and where in the log it began and ended.
struct Change {
  uint64_t word;
  size_t begin, end;
  bool good;
};

struct History {
  std::map<uint64_t, std::vector<Change>> sectors;
  std::vector<std::pair<size_t, size_t>> flushes; // begin, end

  // What a sector may hold after a cut; position SIZE_MAX: without one.
  bool may_hold(uint64_t sector, uint64_t initial, uint64_t word, size_t position) const
  {
    auto found = sectors.find(sector);
    size_t durable = 0; // a write that ended before this must not be lost
    bool allowed = word == initial;

    for (const auto &[begin, end] : flushes)
      if (end <= position)
        durable = std::max(durable, begin);
    if (position == SIZE_MAX)
      durable = SIZE_MAX;
    if (found == sectors.end())
      return allowed;
    for (const Change &change : found->second) {
      if (change.begin >= position)
        break;
      if (change.good && change.end <= durable)
        allowed = false; // all before this one is gone
      allowed = allowed || change.word == word;
    }
    return allowed;
  }
};

class Workload
{
public:
  Workload(const Shape &shape, uint64_t seed) : shape_(shape), random_(seed) {}

  std::vector<Image> make()
  {
    images::SparseVhd leaf(shape_.type);
    uint32_t blocks = static_cast<uint32_t>((shape_.size + shape_.block_size - 1) / shape_.block_size);

    leaf.footer.current_size = shape_.size;
    leaf.header.block_size = shape_.block_size;
    leaf.header.max_entries = blocks;
    leaf.table = std::vector<uint32_t>(blocks, UINT32_MAX);
    leaf.header.parent_id.fill(8);
    leaf.trailer_offset = shape_.trailer;
    if (shape_.type == 3)
      return {Image::from_bytes(leaf.build())};
    Bytes payload(shape_.size);
    for (uint64_t at = 0; at < shape_.size; at += kSector)
      fill(initial(at / kSector), &payload[at]);
    images::VhdFooter footer;
    footer.unique_id.fill(8);
    return {Image::from_bytes(leaf.build()), Image::from_bytes(images::fixed_vhd(payload, footer))};
  }

  // Some requests at a time, no two of them to one sector; then perhaps a flush.
  void go(Chain &chain, unsigned rounds)
  {
    for (unsigned round = 0; round < rounds; round++) {
      std::vector<std::unique_ptr<Chain::Request>> requests;
      std::vector<std::pair<uint64_t, size_t>> touched; // sector, index of the change

      for (unsigned i = 0; i < 1 + random_() % 12; i++)
        start(chain, requests, touched);
      for (auto &request : requests)
        EXPECT_EQ(chain.wait(*request), 0);
      for (const auto &[sector, index] : touched) {
        history_.sectors[sector][index].end = chain.sim.log().size();
        history_.sectors[sector][index].good = true;
      }
      if (random_() % 3 == 0) {
        size_t begin = chain.sim.log().size();
        EXPECT_EQ(chain.flush(), 0);
        history_.flushes.push_back({begin, chain.sim.log().size()});
      }
    }
  }

  // Empty: all sectors hold what they may.
  std::string judge(const Bytes &disk, size_t position)
  {
    for (uint64_t sector = 0; sector < disk.size() / kSector; sector++) {
      uint64_t word;

      memcpy(&word, &disk[sector * kSector], 8);
      if (memcmp(&disk[sector * kSector], &disk[sector * kSector + 8], kSector - 8) != 0)
        return "sector " + std::to_string(sector) + " is torn";
      if (!history_.may_hold(sector, initial(sector), word, position))
        return "sector " + std::to_string(sector) + " holds " + std::to_string(word);
    }
    return "";
  }

private:
  uint64_t initial(uint64_t sector) const
  {
    return shape_.type == 4 && sector % 5 != 0 ? sector | UINT64_C(1) << 60 : 0;
  }
  static void fill(uint64_t word, uint8_t *sector)
  {
    for (unsigned i = 0; i < kSector; i += 8)
      memcpy(sector + i, &word, 8);
  }
  void start(Chain &chain, std::vector<std::unique_ptr<Chain::Request>> &requests,
             std::vector<std::pair<uint64_t, size_t>> &touched)
  {
    uint64_t sectors = shape_.size / kSector, first = random_() % sectors, count = 1 + random_() % 24;
    bool zero = random_() % 6 == 0;

    if (zero && random_() % 2 == 0) {
      count = 2 * shape_.block_size / kSector;
      first = first / count * count;
    }
    count = std::min(count, sectors - first);
    for (const auto &one : touched)
      if (one.first >= first && one.first < first + count)
        return;
    requests.push_back(std::make_unique<Chain::Request>(zero ? VD_OP_WRITE_ZEROES : VD_OP_WRITE,
                                                        first * kSector, count * kSector));
    for (uint64_t i = 0; i < count; i++) {
      auto &changes = history_.sectors[first + i];
      uint64_t word = zero ? 0 : ++next_word_;

      fill(word, requests.back()->memory + i * kSector);
      touched.push_back({first + i, changes.size()});
      changes.push_back({word, chain.sim.log().size(), SIZE_MAX, false});
    }
    chain.submit(*requests.back());
  }

  Shape shape_;
  std::mt19937_64 random_;
  uint64_t next_word_ = 0;
  History history_;
};

class VhdModel : public testing::TestWithParam<Shape>
{
};

} // namespace

TEST_P(VhdModel, HoldsWhatWasWrittenInSeveralSessions)
{
  Workload run(GetParam(), 1);
  std::vector<Image> files = run.make();

  for (uint64_t session = 0; session < 4; session++) {
    Chain chain(files, true, {.seed = session});
    ASSERT_NE(chain.engine, nullptr) << chain.error.text;
    run.go(chain, 40);
    EXPECT_EQ(run.judge(chain.all(), SIZE_MAX), "");
    EXPECT_EQ(vd_engine_close(chain.engine), 0);
    EXPECT_EQ(chain.sim.changed_in_flight(), 0u);
    files[0] = chain.image();
    Structure structure(files[0]);
    ASSERT_TRUE(structure.clean()) << structure.error.text;
    Chain again(files, false);
    ASSERT_NE(again.engine, nullptr) << again.error.text;
    ASSERT_EQ(run.judge(again.all(), SIZE_MAX), "") << "session " << session;
  }
}

TEST_P(VhdModel, SurvivesPowerCuts)
{
  for (uint64_t seed : {0, 5}) {
    Workload run(GetParam(), seed + 3);
    std::vector<Image> files = run.make();
    Chain chain(files, true, {.seed = seed});
    unsigned states = 0;

    ASSERT_NE(chain.engine, nullptr) << chain.error.text;
    run.go(chain, 12);
    ASSERT_EQ(vd_engine_close(chain.engine), 0);
    chain.sim.for_each_cut(
        {.seed = seed + 1, .most = 30}, [&](const vd_sim::Cut &cut, std::vector<Image> &images) {
          if (HasFailure())
            return;
          Structure structure(images[0]);
          EXPECT_TRUE(structure.clean()) << structure.error.text << ", " << vd_sim::describe(cut);
          // Every other state is opened by a writer.
          Chain after(images, states++ % 2 == 0);
          ASSERT_NE(after.engine, nullptr) << after.error.text << ", " << vd_sim::describe(cut);
          EXPECT_EQ(run.judge(after.all(), cut.position), "") << vd_sim::describe(cut);
        });
    EXPECT_GT(states, 12u);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, VhdModel, testing::ValuesIn(kShapes),
                         [](const auto &info) { return std::string(info.param.name); });
