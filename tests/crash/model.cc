// SPDX-License-Identifier: LGPL-2.1-or-later
#include "model.hh"

#include <algorithm>
#include <cstring>
#include <sstream>

namespace vd_crash
{

Model::Model(uint64_t size) : size_(size), initial_(size / sector), changes_(size / sector) {}

void Model::fill(uint64_t word, uint8_t *bytes)
{
  for (size_t i = 0; i < sector; i += sizeof word)
    memcpy(bytes + i, &word, sizeof word);
}

bool Model::word_of(const uint8_t *bytes, uint64_t *ret_word)
{
  memcpy(ret_word, bytes, sizeof *ret_word);
  return memcmp(bytes, bytes + sizeof *ret_word, sector - sizeof *ret_word) == 0;
}

void Model::set_initial(uint64_t number, uint64_t word)
{
  initial_[number] = word;
}

size_t Model::begin_write(uint64_t offset, uint64_t length, const std::vector<uint64_t> &words, bool advisory,
                          size_t position)
{
  Step step;

  step.submitted = position;
  step.turn_submitted = clock_++;
  steps_.push_back(step);
  for (uint64_t i = 0; i < length / sector; i++)
    changes_[offset / sector + i].push_back({steps_.size() - 1, words.empty() ? 0 : words[i], advisory});
  return steps_.size() - 1;
}

size_t Model::begin_flush(size_t position)
{
  size_t step = begin_write(0, 0, {}, false, position);

  flushes_.push_back(step);
  return step;
}

void Model::set_durable(size_t step)
{
  steps_[step].durable = true;
}

void Model::end(size_t step, int result, size_t position)
{
  steps_[step].result = result;
  steps_[step].completed = position;
  steps_[step].turn_completed = clock_++;
}

bool Model::begun(const Step &step, size_t position) const
{
  return step.submitted <= position;
}

// The clock before which everything that had completed is durable.
uint64_t Model::last_guarantee(size_t position) const
{
  uint64_t guarantee = 0;

  if (position == never)
    return UINT64_MAX;
  for (size_t number : flushes_) {
    const Step &flush = steps_[number];

    if (flush.completed != never && flush.completed <= position && flush.result == 0)
      guarantee = std::max(guarantee, flush.turn_submitted);
  }
  return guarantee;
}

bool Model::may_hold(uint64_t number, uint64_t word, size_t position, uint64_t guarantee) const
{
  const std::vector<Change> &changes = changes_[number];

  // From the newest: each that was begun may be there; the first one that must be there ends it.
  for (auto change = changes.rbegin(); change != changes.rend(); ++change) {
    const Step &step = steps_[change->step];

    if (!begun(step, position))
      continue;
    if (word == change->word)
      return true;
    if (step.completed != never && step.result == 0 && (step.durable || step.turn_completed < guarantee) &&
        !change->advisory && (position == never || step.completed <= position))
      return false;
  }
  return word == initial_[number];
}

std::string Model::judge(const std::vector<uint8_t> &disk, size_t position,
                         const std::vector<bool> *unreadable) const
{
  uint64_t guarantee = last_guarantee(position), word = 0;

  for (uint64_t number = 0; number < size_ / sector; number++) {
    const uint8_t *bytes = disk.data() + number * sector;

    if (unreadable != nullptr && (*unreadable)[number])
      continue;
    if (Model::word_of(bytes, &word) && may_hold(number, word, position, guarantee))
      continue;
    std::ostringstream text;
    text << "sector " << number << " holds " << std::hex << word << std::dec
         << (Model::word_of(bytes, &word) ? "" : " and other things (torn)") << "; its history:";
    text << " initially " << std::hex << initial_[number] << std::dec;
    for (const Change &change : changes_[number]) {
      const Step &step = steps_[change.step];

      text << ", " << std::hex << change.word << std::dec << " (begun at " << step.submitted << ", ended "
           << (step.completed == never ? -1 : static_cast<long>(step.completed)) << " with " << step.result
           << (change.advisory ? ", advisory" : "")
           << (step.completed != never && step.turn_completed < guarantee ? ", flushed" : "") << ")";
    }
    return text.str();
  }
  return "";
}

} // namespace vd_crash
