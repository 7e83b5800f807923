// SPDX-License-Identifier: LGPL-2.1-or-later
// A whole image through the engine: opened for reading or writing, requests, closed. What the engine takes
// it must also serve: a range that was written reads back, now and when the image is opened again, and the
// checker has nothing serious to say of what was closed. Of a child the parent is zeros.
#include <sys/stat.h>

#include "fuzz/sparse.hh"
#include "fuzz/vhd-sums.hh"
#include "fuzz/vhdx-sums.hh"
#include "sim-io.hh"
#include "virtdisk-enums.h"

extern "C" {
#include "engine/engine.h"
#include "engine/pages.h"
#include "formats/check.h"
}

namespace
{

enum Flags : uint64_t { kVhdx = 1, kMend = 2, kWritable = 4 };
constexpr uint64_t kMostSectors = 32, kMostOps = 6;
// Of larger blocks only parts become zeros: they may have to be written.
constexpr uint64_t kMostWhole = 2 << 20;

struct Op {
  uint64_t kind, at, length;
};

// A parent of zeros.
VdLayer *new_parent(const VdLayer *child)
{
  static const VdLayerOps ops = [] {
    VdLayerOps made = {};

    made.free = [](VdLayer *self) { delete self; };
    made.find = [](VdLayer *, uint64_t offset, uint64_t length, VdRun *run, VdWaiter *, int *) {
      *run = {VD_RUN_ZERO, length, offset, false};
      return VD_STEP_DONE;
    };
    return made;
  }();
  auto *self = new VdLayer(*child);

  self->ops = &ops;
  self->has_parent = self->writable = false;
  return self;
}

class Disk
{
public:
  Disk(const vd_sim::Image &image, uint32_t device_id, bool writable) : device_id_(device_id)
  {
    VdFormatError error;
    VdEngineOptions options = {};
    unsigned file = sim_.add(image, writable);

    pages_ = vd_pages_new(sim_.io(), 4096, 1 << 20);
    VdLayerSource source = sim_.source(file, pages_, writable);
    VdLayer *layers[2] = {vd_layer_open(&source, device_id, &error), nullptr};
    if (layers[0] == nullptr)
      return;
    if (layers[0]->has_parent)
      layers[1] = new_parent(layers[0]);
    options.read_only = !writable;
    engine = vd_engine_new(sim_.io(), layers, layers[1] != nullptr ? 2 : 1, &options);
    must(engine != nullptr);
  }
  ~Disk()
  {
    vd_engine_free(engine);
    vd_pages_free(pages_);
  }
  Disk(const Disk &) = delete;

  int run(VdOp op, uint64_t offset, uint64_t length, uint8_t *buffer)
  {
    VdRequest request = {};
    int result = 1;

    request.op = op;
    request.offset = offset;
    request.length = length;
    request.buffer = buffer;
    request.user = &result;
    request.done = [](VdRequest *one, int value) { *static_cast<int *>(one->user) = value; };
    vd_engine_submit(engine, &request);
    must(sim_.run_until([&] { return result != 1; }));
    return result;
  }
  // Closed, and with nothing wrong.
  vd_sim::Image closed()
  {
    VdCheckSummary summary = {};
    VdFormatError error;
    VdReader reader;

    must(vd_engine_close(engine) == 0);
    must(vd_reader_init(&reader, sim_.fd(0), &error));
    must(vd_check(
        &reader, device_id_, [](void *, const VdFault *fault) { must(fault->kind != VD_FAULT_SERIOUS); },
        nullptr, &summary, &error));
    return sim_.image(0);
  }

  VdEngine *engine = nullptr;

private:
  uint32_t device_id_;
  vd_sim::Io sim_;
  VdPages *pages_ = nullptr;
};

// What was written last, with which byte.
struct Written {
  uint64_t offset = 0, length = 0;
  uint8_t byte = 0;
};

class Session
{
public:
  explicit Session(Disk &disk)
      : disk_(disk), size_(vd_engine_size(disk.engine)), sector_(vd_engine_sector_size(disk.engine)),
        buffer_(static_cast<uint8_t *>(aligned_alloc(VD_IO_ALIGNMENT, kMostSectors * 4096)))
  {
  }
  ~Session()
  {
    free(buffer_);
  }
  Session(const Session &) = delete;

  void run(const Op &op, bool writable)
  {
    uint64_t offset = op.at % (size_ / sector_) * sector_;
    uint64_t length = std::min((1 + op.length % kMostSectors) * sector_, size_ - offset);

    if (!writable || op.kind % 4 == 0)
      disk_.run(VD_OP_READ, offset, length, buffer_);
    else if (op.kind % 4 == 1)
      write(offset, length);
    else
      zero(op.kind % 4 == 2 ? VD_OP_DISCARD : VD_OP_WRITE_ZEROES, op, offset, length);
  }
  void must_hold(Disk &disk)
  {
    if (last_.length == 0)
      return;
    must(disk.run(VD_OP_READ, last_.offset, last_.length, buffer_) == 0);
    must(std::all_of(buffer_, buffer_ + last_.length, [this](uint8_t is) { return is == last_.byte; }));
  }

private:
  void write(uint64_t offset, uint64_t length)
  {
    memset(buffer_, ++byte_, length);
    done(disk_.run(VD_OP_WRITE, offset, length, buffer_), offset, length, byte_);
  }
  // Whole blocks too, where these are small.
  void zero(VdOp kind, const Op &op, uint64_t offset, uint64_t length)
  {
    uint64_t block = vd_engine_block_size(disk_.engine);
    bool whole = op.length & 0x80 && block != 0 && block <= kMostWhole;

    if (whole) {
      offset -= offset % block;
      length = std::min(block, size_ - offset);
    }
    int result = disk_.run(kind, offset, length, nullptr);
    last_ = {};
    if (kind == VD_OP_WRITE_ZEROES)
      done(result, offset, std::min(length, kMostSectors * 512), 0);
  }
  void done(int result, uint64_t offset, uint64_t length, uint8_t byte)
  {
    last_ = {};
    if (result == 0)
      last_ = {offset, length, byte};
    must_hold(disk_);
  }

  Disk &disk_;
  uint64_t size_, sector_;
  uint8_t *buffer_;
  uint8_t byte_ = 0;
  Written last_;
};

images::Bytes seed(uint64_t flags, const std::vector<Op> &ops, const images::File &file)
{
  images::Bytes head(2 + ops.size() * 6);

  images::put_le(head, 0, flags, 1);
  images::put_le(head, 1, ops.size(), 1);
  for (size_t i = 0; i < ops.size(); i++) {
    images::put_le(head, 2 + i * 6, ops[i].kind, 1);
    images::put_le(head, 3 + i * 6, ops[i].at, 4);
    images::put_le(head, 7 + i * 6, ops[i].length, 1);
  }
  return images::joined(head, pack(file));
}

} // namespace

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  Input input(data, size);
  uint64_t flags = input.number(1);
  uint32_t device_id = flags & kVhdx ? VIRTDISK_DEVICE_VHDX : VIRTDISK_DEVICE_VHD;
  std::vector<Op> ops(input.number(1) % (kMostOps + 1));

  for (Op &op : ops)
    op = {input.number(1), input.number(4), input.number(1)};
  auto file = unpack(input);
  if (flags & kMend)
    flags &kVhdx ? mend_vhdx(*file) : mend_vhd(*file);
  Disk disk(vd_sim::Image::from_fd(file->fd()), device_id, (flags & kWritable) != 0);
  if (disk.engine == nullptr || vd_engine_size(disk.engine) == 0)
    return 0;
  Session session(disk);
  for (const Op &op : ops)
    session.run(op, (flags & kWritable) != 0);
  if (!(flags & kWritable))
    return 0;
  Disk again(disk.closed(), device_id, false);
  must(again.engine != nullptr);
  session.must_hold(again);
  return 0;
}

Seeds fuzz_seeds()
{
  const std::vector<Op> reads = {{0, 0, 31}, {0, 1000, 1}, {0, 4095, 7}};
  const std::vector<Op> writes = {{1, 3000, 8}, {2, 2048, 0x80}, {1, 0, 3}, {3, 1, 0}, {1, 1025, 31}};
  Seeds seeds;

  for (const auto &[name, image] : vhdx_images()) {
    seeds["vhdx-" + name] = seed(kVhdx | kMend, reads, *image.make());
    seeds["vhdx-written-" + name] = seed(kVhdx | kMend | kWritable, writes, *image.make());
  }
  for (const auto &[name, bytes] : vhd_images()) {
    seeds["vhd-" + name] = seed(kMend, reads, images::File(bytes));
    seeds["vhd-written-" + name] = seed(kMend | kWritable, writes, images::File(bytes));
  }
  return seeds;
}
