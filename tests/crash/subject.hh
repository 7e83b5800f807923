// SPDX-License-Identifier: LGPL-2.1-or-later
// An image of some format on simulated I/O, with the engine over it, and a queue of requests whose effects a
// model follows.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "model.hh"
#include "sim-io.hh"

extern "C" {
#include "engine/engine.h"
#include "engine/pages.h"
}

namespace vd_crash
{

struct Format {
  std::string name;
  uint32_t device_id, subtype;
  uint64_t size;
  uint32_t block_size, sector_size;
  bool unaligned = false; // VHD: blocks lie where the table ends, as most programs have it
};

// The images of a chain, leaf first: empty, or a child whose parent holds words in some sectors.
struct Images {
  std::vector<vd_sim::Image> files;
  std::vector<std::pair<uint64_t, uint64_t>> initial; // sector, word
};

Images make_images(const Format &format);

// Layers and engine over files of an Io; closes nothing by itself.
class Disk
{
public:
  // Opening may fail: then ok() is false and error says why.
  Disk(vd_sim::Io &sim, const Format &format, unsigned n_files, bool writable);
  ~Disk();
  Disk(const Disk &) = delete;
  Disk &operator=(const Disk &) = delete;

  bool ok() const
  {
    return engine_ != nullptr;
  }
  VdEngine *engine()
  {
    return engine_;
  }
  std::string error() const;
  // The whole disk; an empty vector when a read failed, unless it is asked what cannot be read.
  std::vector<uint8_t> read_all(std::vector<bool> *ret_unreadable = nullptr);
  int close();

private:
  vd_sim::Io &sim_;
  VdPages *pages_ = nullptr;
  VdEngine *engine_ = nullptr;
  VdFormatError error_ = {};
};

// Submits requests to a disk and tells the model. At most `depth` are in flight, never two on one sector.
class Driver
{
public:
  Driver(vd_sim::Io &sim, Disk &disk, Model &model, uint64_t seed, unsigned depth);
  ~Driver();

  void write(uint64_t offset, uint64_t length, uint32_t flags = 0);
  void zero(uint64_t offset, uint64_t length, VdOp op);
  void flush();
  // All that was submitted has ended, or nothing moves any more (false).
  bool drain();

  std::mt19937_64 random;
  unsigned failures = 0; // requests that ended with an error

private:
  struct Request;

  Request *take();
  void wait_for_room(uint64_t offset, uint64_t length);
  void submit(Request *request);
  static void on_done(VdRequest *request, int result);

  vd_sim::Io &sim_;
  Disk &disk_;
  Model &model_;
  unsigned depth_, in_flight_ = 0;
  std::vector<std::unique_ptr<Request>> requests_;
};

} // namespace vd_crash
