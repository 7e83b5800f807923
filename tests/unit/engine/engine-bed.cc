// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine-bed.hh"

#include <algorithm>

namespace
{

using Done = void (*)(void *user, int result);

void start(VdIo *io, MockLayer::Later *later)
{
  later->task.run = [](VdIoTask *task) {
    std::unique_ptr<MockLayer::Later> self(reinterpret_cast<MockLayer::Later *>(task));

    self->run();
  };
  vd_io_defer(io, &later->task);
}

VdStep find(VdLayer *layer, uint64_t offset, uint64_t length, VdRun *ret_run, VdWaiter *waiter,
            int *ret_error)
{
  MockLayer *self = MockLayer::of(layer);
  uint64_t block = offset / layer->block_size;

  EXPECT_LE(offset % layer->block_size + length, layer->block_size);
  EXPECT_LE(offset + length, layer->size);
  if (self->find_error) {
    *ret_error = self->find_error;
    return VD_STEP_FAILED;
  }
  if (self->random_waits && (*self->random_waits)() % 8 == 0)
    self->waits++;
  if (self->waits > 0) {
    self->waits--;
    self->later([waiter] { waiter->wake(waiter); }, false, nullptr);
    return VD_STEP_WAIT;
  }
  *ret_run = {self->map[block], length, self->file_offset(offset)};
  if (self->half_full.count(block)) {
    uint64_t half = layer->block_size / 2, within = offset % layer->block_size;

    ret_run->kind = within < half ? self->map[block] : VD_RUN_HERE;
    ret_run->length = within < half ? std::min(length, half - within) : length;
  }
  return VD_STEP_DONE;
}

VdStep place(VdLayer *layer, uint64_t offset, uint64_t length, VdPlace *ret_place, VdUpdate *update,
             VdWaiter *waiter, int *ret_error)
{
  MockLayer *self = MockLayer::of(layer);
  uint64_t block = offset / layer->block_size;

  self->places++;
  EXPECT_TRUE(!layer->ops->begin || self->begins > 0);
  if (self->place_error) {
    *ret_error = self->place_error;
    return VD_STEP_FAILED;
  }
  if (self->busy.count(block)) {
    vd_waiters_add(&self->waiters[block], waiter);
    return VD_STEP_WAIT;
  }
  *ret_place = {length, self->file_offset(offset), self->map[block] != VD_RUN_HERE};
  if (ret_place->update) {
    self->busy.insert(block);
    update->offset = offset;
    update->length = length;
    update->block = block;
    update->barrier = self->barrier;
  }
  return VD_STEP_DONE;
}

void cancel(VdLayer *layer, VdUpdate *update)
{
  MockLayer::of(layer)->cancels++;
  MockLayer::of(layer)->wake(update->block);
}

void commit(VdLayer *layer, VdUpdate *batch, Done done, void *user)
{
  MockLayer *self = MockLayer::of(layer);
  std::vector<uint64_t> blocks;

  for (VdUpdate *update = batch; update; update = update->next)
    blocks.push_back(update->block);
  self->commits.push_back(blocks);
  self->later(
      [=] {
        int result = self->commit_result ? self->commit_result() : 0;

        for (uint64_t block : blocks) {
          if (result == 0)
            self->map[block] = VD_RUN_HERE;
          self->busy.erase(block);
        }
        done(user, result);
        for (uint64_t block : blocks)
          self->wake(block);
      },
      self->hold_commit, &self->held_commit);
}

void begin(VdLayer *layer, Done done, void *user)
{
  MockLayer *self = MockLayer::of(layer);

  self->begins++;
  self->later([=] { done(user, self->begin_result ? self->begin_result() : 0); }, self->hold_begin,
              &self->held_begin);
}

void zero(VdLayer *layer, uint64_t first, uint64_t count, Done done, void *user)
{
  MockLayer *self = MockLayer::of(layer);

  self->zeros++;
  self->zeroed.push_back({first, count});
  EXPECT_TRUE(self->busy.empty());
  self->later(
      [=] {
        int result = self->zero_result ? self->zero_result() : 0;

        for (uint64_t block = first; result == 0 && block < first + count; block++)
          self->map[block] = VD_RUN_ZERO;
        done(user, result);
      },
      self->hold_zero, &self->held_zero);
}

uint64_t on_begin_flush(VdLayer *layer)
{
  return ++MockLayer::of(layer)->begun_flushes;
}

void on_flushed(VdLayer *layer, uint64_t mark)
{
  MockLayer::of(layer)->flushed.push_back(mark);
}

void close_layer(VdLayer *layer, Done done, void *user)
{
  MockLayer *self = MockLayer::of(layer);

  self->closes++;
  self->later([=] { done(user, 0); }, false, nullptr);
}

void free_layer(VdLayer *layer)
{
  MockLayer *self = MockLayer::of(layer);

  if (self->freed)
    (*self->freed)++;
}

} // namespace

void MockLayer::later(std::function<void()> run, bool hold, std::function<void()> *ret_held)
{
  if (hold)
    *ret_held = run;
  else
    start(base.io, new Later{{}, this, run});
}

uint64_t MockLayer::file_offset(uint64_t offset) const
{
  uint64_t block = offset / base.block_size, within = offset % base.block_size;

  return data_offset + (scattered ? map.size() - 1 - block : block) * base.block_size + within;
}

void MockLayer::wake(uint64_t block)
{
  busy.erase(block);
  auto found = waiters.find(block);
  if (found == waiters.end())
    return;
  VdWaiters list = found->second;
  waiters.erase(found);
  vd_waiters_wake(&list);
}

MockLayer::MockLayer(VdIo *io, uint64_t size, uint32_t block_size, unsigned file, bool parent)
{
  ops.free = free_layer;
  ops.find = find;
  ops.begin = begin;
  ops.place = place;
  ops.cancel = cancel;
  ops.commit = commit;
  ops.zero = zero;
  ops.begin_flush = on_begin_flush;
  ops.flushed = on_flushed;
  ops.close = close_layer;
  base.ops = &ops;
  base.io = io;
  base.file = file;
  base.size = size;
  base.sector_size = 512;
  base.block_size = block_size;
  base.has_parent = parent;
  base.writable = true;
  map.assign((size + block_size - 1) / block_size, parent ? VD_RUN_PARENT : VD_RUN_ZERO);
}
