// SPDX-License-Identifier: LGPL-2.1-or-later
// What each sector of a disk may hold: the history of requests, and what a power cut at some moment must have
// kept of it. Requests that are in flight at the same time never touch the same sector, so that the writes of
// a sector have an order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace vd_crash
{

constexpr uint64_t sector = 512;
constexpr size_t never = SIZE_MAX;

// One request and when it happened, as positions in the log of the simulated I/O: all events before that
// position had happened.
struct Step {
  size_t submitted = never, completed = never;
  uint64_t turn_submitted = 0, turn_completed = 0; // a clock that tells equal positions apart
  int result = 0;
  bool durable = false; // as soon as it has completed (FUA)
};

class Model
{
public:
  explicit Model(uint64_t size);

  // What a sector holds is one 64-bit word, repeated; 0 is zeros.
  static void fill(uint64_t word, uint8_t *bytes);
  // The word of these 512 bytes; false: they are not one.
  static bool word_of(const uint8_t *bytes, uint64_t *ret_word);

  void set_initial(uint64_t number, uint64_t word);

  // Each returns the step's number. advisory: the request may also leave the sectors as they are (DISCARD).
  size_t begin_write(uint64_t offset, uint64_t length, const std::vector<uint64_t> &words, bool advisory,
                     size_t position);
  size_t begin_flush(size_t position);
  void set_durable(size_t step);
  void end(size_t step, int result, size_t position);

  // After everything ended and no power was lost: what the disk must hold, failed requests old or new.
  // position never: now. unreadable: sectors that are not judged; may be NULL. Returns "" or what is wrong.
  std::string judge(const std::vector<uint8_t> &disk, size_t position,
                    const std::vector<bool> *unreadable = nullptr) const;

  uint64_t size() const
  {
    return size_;
  }

private:
  struct Change {
    size_t step;
    uint64_t word;
    bool advisory;
  };

  bool begun(const Step &step, size_t position) const;
  uint64_t last_guarantee(size_t position) const;
  bool may_hold(uint64_t number, uint64_t word, size_t position, uint64_t guarantee) const;

  uint64_t size_, clock_ = 1;
  std::vector<uint64_t> initial_;
  std::vector<std::vector<Change>> changes_; // by sector
  std::vector<Step> steps_;
  std::vector<size_t> flushes_;
};

} // namespace vd_crash
