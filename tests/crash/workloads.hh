// SPDX-License-Identifier: LGPL-2.1-or-later
// What is done to a disk while it is recorded, and on which formats.
#pragma once

#include <iosfwd>
#include <string>
#include <tuple>
#include <vector>

#include "subject.hh"

namespace vd_crash
{

constexpr uint64_t KiB = 1024, MiB = 1024 * KiB;

struct Workload {
  std::string name;
  void (*run)(Driver &driver, const Format &format);
  bool changes_map; // makes no sense for raw images
  bool small;       // done for large disks too
  bool frees;       // leaves holes in the file
};

// These make sense for few formats alone, or are run by themselves.
void allocate(Driver &driver, const Format &format);
void first_touch(Driver &driver, const Format &format);
void growth(Driver &driver, const Format &format);
void once(Driver &driver, const Format &format);

extern const std::vector<Workload> workloads;
extern const std::vector<Format> formats;

// For messages of GoogleTest.
void PrintTo(const std::tuple<Format, Workload> &pair, std::ostream *out);

} // namespace vd_crash
