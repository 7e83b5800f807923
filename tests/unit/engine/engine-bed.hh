// SPDX-License-Identifier: LGPL-2.1-or-later
// Requests for the tests of the engine, and a layer that does what a test tells it.
#pragma once

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <set>
#include <vector>

#include "sim-io.hh"

extern "C" {
#include "engine/engine.h"
#include "engine/pages.h"
}

struct Request : VdRequest {
  int result = 1; // 1: not done
  unsigned dones = 0;
  std::function<void()> then;
  std::unique_ptr<uint8_t, decltype(&free)> memory{nullptr, free};

  Request(VdOp what, uint64_t at = 0, uint64_t n = 0, uint8_t fill = 0, uint32_t with = 0) : VdRequest()
  {
    op = what;
    flags = with;
    offset = at;
    length = n;
    if (n > 0 && (what == VD_OP_READ || what == VD_OP_WRITE)) {
      memory.reset(static_cast<uint8_t *>(aligned_alloc(VD_IO_ALIGNMENT, (n + 4095) / 4096 * 4096)));
      buffer = memory.get();
      memset(buffer, fill, n);
    }
    user = this;
    done = [](VdRequest *request, int result) {
      Request *self = static_cast<Request *>(request->user);

      self->result = result;
      self->dones++;
      if (self->then)
        self->then();
    };
  }
  Request(const Request &) = delete;
  bool is_done() const
  {
    return dones > 0;
  }
};

// Blocks that lie in the file in the order of their numbers, once they are allocated; a map in memory. As a
// real layer it lets a block be changed by one update at a time.
struct MockLayer {
  VdLayer base = {}; // first
  std::vector<VdRunKind> map;
  std::set<uint64_t> busy; // blocks with an update
  std::map<uint64_t, VdWaiters> waiters;
  uint64_t data_offset = 0;
  bool barrier = false;
  bool scattered = false;       // the last block lies first in the file
  std::set<uint64_t> half_full; // of these the second half is in the file, whatever the map says
  int *freed = nullptr;

  // What happens, and what is to go wrong.
  std::vector<std::vector<uint64_t>> commits; // blocks of each batch
  unsigned places = 0, cancels = 0, begins = 0, zeros = 0, closes = 0, begun_flushes = 0;
  std::vector<std::pair<uint64_t, uint64_t>> zeroed; // first, count
  std::vector<uint64_t> flushed;
  std::function<int()> begin_result, commit_result, zero_result;
  int place_error = 0, find_error = 0;
  unsigned waits = 0;                      // the next calls of find() wait first
  std::mt19937_64 *random_waits = nullptr; // one in eight does

  // Completions that are under way, to be let go by the test or at once in the next round.
  struct Later {
    VdIoTask task;
    MockLayer *layer;
    std::function<void()> run;
  };
  bool hold_begin = false, hold_commit = false, hold_zero = false;
  std::function<void()> held_begin, held_commit, held_zero;

  explicit MockLayer(VdIo *io, uint64_t size, uint32_t block_size, unsigned file = 0, bool parent = false);
  MockLayer(const MockLayer &) = delete;

  static MockLayer *of(VdLayer *layer)
  {
    return reinterpret_cast<MockLayer *>(layer);
  }
  static const MockLayer *of(const VdLayer *layer)
  {
    return reinterpret_cast<const MockLayer *>(layer);
  }
  VdLayer *layer()
  {
    return &base;
  }
  void later(std::function<void()> run, bool hold, std::function<void()> *ret_held);
  void wake(uint64_t block);
  uint64_t file_offset(uint64_t offset) const;
  VdLayerOps ops = {};
};
