// SPDX-License-Identifier: LGPL-2.1-or-later
// Thousands of random requests in random order of completion against a plain array of bytes. Each sector that
// is written carries its own number, so that another place's data is known wherever it turns up.
#include "engine-bed.hh"

#include <algorithm>
#include <list>

#include <fcntl.h>

namespace
{

using vd_sim::Image;

constexpr uint64_t sector = 512;

struct Setting {
  uint64_t seed;
  bool blocks;   // a layer with blocks and updates, else the raw one
  bool overlaps; // requests may overlap: then only whose data it is can be told
  bool faults;
};

struct Stamp {
  uint64_t magic, number, generation;
};

class Model : public testing::TestWithParam<Setting>
{
protected:
  static constexpr uint64_t block = 16384, size = 40 * block - 3 * sector;

  std::mt19937_64 random;
  std::unique_ptr<vd_sim::Io> sim;
  std::unique_ptr<MockLayer> mock;
  VdEngine *engine = nullptr;
  std::vector<uint8_t> model = std::vector<uint8_t>(size);
  std::list<std::unique_ptr<Request>> flying;
  uint64_t generation = 0, completed = 0, failed = 0;

  void SetUp() override
  {
    vd_sim::Options options;

    random.seed(GetParam().seed);
    options.seed = GetParam().seed;
    sim = std::make_unique<vd_sim::Io>(options);
    sim->add(Image::of_size(size), true);
    VdLayer *layer = GetParam().blocks ? make_blocks() : make_raw();
    VdEngineOptions engine_options = {};
    engine = vd_engine_new(sim->io(), &layer, 1, &engine_options);
    ASSERT_TRUE(engine);
  }
  void TearDown() override
  {
    vd_engine_free(engine);
  }

  VdLayer *make_raw()
  {
    VdLayerSource source = sim->source(0, nullptr, true);
    VdFormatError error = {};

    return vd_raw_layer_open(&source, &error);
  }
  VdLayer *make_blocks()
  {
    mock = std::make_unique<MockLayer>(sim->io(), size, block);
    mock->random_waits = &random;
    // Blocks that are given back are zeros in the file too: the next one to be allocated there begins so.
    mock->zero_result = [this] {
      auto range = mock->zeroed.back();

      return fallocate(sim->fd(0), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                       static_cast<off_t>(range.first * block), static_cast<off_t>(range.second * block));
    };
    return mock->layer();
  }

  void stamp(uint8_t *bytes, uint64_t offset, uint64_t length)
  {
    generation++;
    for (uint64_t at = 0; at < length; at += sector) {
      Stamp value = {0x766474657374ULL, (offset + at) / sector, generation};

      memset(bytes + at, static_cast<int>(generation), sector);
      memcpy(bytes + at, &value, sizeof value);
    }
  }
  static bool is_own(const uint8_t *bytes, uint64_t offset)
  {
    static const uint8_t zeros[sector] = {};
    Stamp value;

    memcpy(&value, bytes, sizeof value);
    return memcmp(bytes, zeros, sector) == 0 ||
           (value.number == offset / sector && bytes[sector - 1] == static_cast<uint8_t>(value.generation));
  }

  bool overlaps(uint64_t offset, uint64_t length)
  {
    return std::any_of(flying.begin(), flying.end(), [&](const auto &other) {
      return other->op != VD_OP_FLUSH && offset < other->offset + other->length &&
             other->offset < offset + length;
    });
  }
  void expect_zeros(uint64_t from, uint64_t to)
  {
    if (from < to)
      std::fill(model.begin() + static_cast<ptrdiff_t>(from), model.begin() + static_cast<ptrdiff_t>(to), 0);
  }
  // What the array holds when the request is through.
  void apply(const Request &request)
  {
    uint64_t unit = vd_engine_discard_granularity(engine);
    uint64_t offset = request.offset, end = offset + request.length;

    if (request.op == VD_OP_WRITE)
      std::copy(request.buffer, request.buffer + request.length,
                model.begin() + static_cast<ptrdiff_t>(offset));
    else if (request.op == VD_OP_WRITE_ZEROES)
      expect_zeros(offset, end);
    else if (request.op == VD_OP_DISCARD)
      expect_zeros((offset + unit - 1) / unit * unit, end == size ? end : end / unit * unit);
  }
  void check_read(const Request &request)
  {
    bool exact = !GetParam().overlaps && !GetParam().faults;

    ASSERT_TRUE(!exact || memcmp(request.buffer, model.data() + request.offset, request.length) == 0)
        << request.offset << " " << request.length;
    for (uint64_t at = 0; at < request.length; at += sector)
      ASSERT_TRUE(is_own(request.buffer + at, request.offset + at)) << "sector at " << request.offset + at;
  }
  void on_done(Request *request)
  {
    completed++;
    EXPECT_EQ(request->dones, 1u);
    if (request->result < 0) {
      failed++;
      EXPECT_TRUE(GetParam().faults) << request->op << " " << request->result;
    } else if (request->op == VD_OP_READ) {
      check_read(*request);
    } else {
      apply(*request);
    }
  }
  void submit_one()
  {
    static const VdOp ops[] = {VD_OP_READ,  VD_OP_READ,  VD_OP_READ,    VD_OP_WRITE,       VD_OP_WRITE,
                               VD_OP_WRITE, VD_OP_FLUSH, VD_OP_DISCARD, VD_OP_WRITE_ZEROES};
    VdOp op = ops[random() % 9];
    uint64_t most = random() % 8 == 0 ? size / sector : 64;
    uint64_t offset = random() % (size / sector) * sector;
    uint64_t length = std::min((1 + random() % most) * sector, size - offset);

    if (op == VD_OP_FLUSH)
      offset = length = 0;
    else if (!GetParam().overlaps && overlaps(offset, length))
      return;
    uint32_t flags = (random() % 8 == 0 ? VD_REQUEST_FUA : 0) | (random() % 2 ? VD_REQUEST_NO_UNMAP : 0);
    auto request = std::make_unique<Request>(op, offset, length, 0xee, flags);
    if (op == VD_OP_WRITE)
      stamp(request->buffer, offset, length);
    Request *raw = request.get();
    raw->then = [this, raw] { on_done(raw); };
    flying.push_back(std::move(request));
    vd_engine_submit(engine, raw);
  }
  void forget_done()
  {
    flying.remove_if([](const auto &request) { return request->is_done(); });
  }
  void drain()
  {
    ASSERT_TRUE(sim->run_until([&] { return vd_engine_is_idle(engine); })) << "stuck";
    forget_done();
    ASSERT_TRUE(flying.empty());
  }
};

TEST_P(Model, AgreesWithAnArray)
{
  uint64_t submitted = 0;

  for (int round = 0; round < 1500 && !HasFatalFailure(); round++) {
    for (uint64_t n = random() % 12; n > 0; n--)
      submit_one();
    if (GetParam().faults && random() % 10 == 0)
      sim->fail(random() % 5, random() % 2 ? EIO : ENOSPC);
    if (mock && random() % 20 == 0)
      mock->barrier = !mock->barrier;
    ASSERT_TRUE(flying.empty() || sim->io()->ops->wait(sim->io()) == 0) << "stuck with " << flying.size();
    forget_done();
    if (random() % 50 == 0)
      drain();
  }
  drain();
  submitted = completed;
  EXPECT_GT(submitted, 4000u);
  sim->clear_faults();
  Request all(VD_OP_READ, 0, size, 0xee);
  vd_engine_submit(engine, &all);
  drain();
  EXPECT_EQ(all.result, 0);
  check_read(all);
  EXPECT_EQ(vd_engine_close(engine), 0);
  EXPECT_EQ(sim->changed_in_flight(), 0u);
  EXPECT_TRUE(!GetParam().faults || failed > 10);
}

INSTANTIATE_TEST_SUITE_P(Seeds, Model,
                         testing::Values(Setting{1, false, false, false}, Setting{2, false, true, false},
                                         Setting{3, false, true, true}, Setting{4, true, false, false},
                                         Setting{5, true, false, false}, Setting{6, true, true, false},
                                         Setting{7, true, true, false}, Setting{8, true, true, true},
                                         Setting{9, true, false, true}, Setting{10, true, true, true}),
                         [](const auto &info) {
                           const Setting &setting = info.param;
                           return std::string(setting.blocks ? "blocks" : "raw") +
                                  (setting.overlaps ? "_overlaps" : "") + (setting.faults ? "_faults" : "") +
                                  "_" + std::to_string(setting.seed);
                         });

} // namespace
