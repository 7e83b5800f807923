// SPDX-License-Identifier: LGPL-2.1-or-later
// What a fuzz target is: one file that takes any bytes whatever and must neither crash nor go on for long,
// and has seeds to begin with. libFuzzer runs it with -Dfuzz=enabled; tests/unit/fuzz replays its seeds, with
// mutations, in every build. Checksums are put right by the target, since no mutation would.
#pragma once

#include <map>

#include "images/image.hh"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

using Seeds = std::map<std::string, images::Bytes>; // by name
Seeds fuzz_seeds();

// Numbers and bytes from the front of the input; zeros where it ends.
class Input
{
public:
  Input(const uint8_t *data, size_t size) : data_(data), size_(size) {}
  uint64_t number(size_t length)
  {
    uint64_t value = 0;

    for (size_t i = 0; i < length; i++)
      value |= static_cast<uint64_t>(byte()) << (8 * i);
    return value;
  }
  images::Bytes bytes(size_t length)
  {
    size_t n = length < size_ ? length : size_;
    images::Bytes taken(data_, data_ + n);

    data_ += n;
    size_ -= n;
    return taken;
  }
  bool empty() const
  {
    return size_ == 0;
  }
  size_t left() const
  {
    return size_;
  }

private:
  uint8_t byte()
  {
    if (size_ == 0)
      return 0;
    size_--;
    return *data_++;
  }

  const uint8_t *data_;
  size_t size_;
};

inline void must(bool condition)
{
  if (!condition)
    abort();
}
