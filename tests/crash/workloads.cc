// SPDX-License-Identifier: LGPL-2.1-or-later
#include "workloads.hh"

#include <algorithm>
#include <deque>
#include <ostream>

extern "C" {
#include "virtdisk-enums.h"
}

namespace vd_crash
{

static uint64_t grain(const Format &format)
{
  return std::max<uint64_t>(sector, format.sector_size);
}

static uint64_t anywhere(Driver &driver, const Format &format, uint64_t length)
{
  return driver.random() % ((format.size - length) / grain(format)) * grain(format);
}

void allocate(Driver &driver, const Format &format)
{
  for (int i = 0; i < 40; i++) {
    uint64_t length = (1 + driver.random() % 16) * grain(format);

    driver.write(anywhere(driver, format, length), length);
    if (i % 9 == 8)
      driver.flush();
  }
  driver.flush();
}

static void overwrite(Driver &driver, const Format &format)
{
  for (int round = 0; round < 4; round++) {
    for (int i = 0; i < 8; i++)
      driver.write(static_cast<uint64_t>(i) * 16 * KiB, 8 * KiB);
    driver.flush();
  }
}

// Single sectors here and there in few blocks: bits of a child's bitmap.
static void scattered(Driver &driver, const Format &format)
{
  for (int i = 0; i < 60; i++) {
    driver.write(driver.random() % (2 * MiB / grain(format)) * grain(format), grain(format));
    if (i % 7 == 6)
      driver.flush();
  }
}

static void discard(Driver &driver, const Format &format)
{
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 6; i++)
      driver.write(anywhere(driver, format, 64 * KiB), 64 * KiB);
    driver.flush();
    uint64_t block = std::max<uint64_t>(format.block_size, 64 * KiB), blocks = format.size / block;
    uint64_t first = driver.random() % (blocks - 1);

    driver.zero(first * block, 2 * block, round == 1 ? VD_OP_WRITE_ZEROES : VD_OP_DISCARD);
    driver.zero(anywhere(driver, format, 96 * KiB), 96 * KiB, VD_OP_WRITE_ZEROES);
    if (round != 0)
      driver.flush();
    driver.write(first * block, 16 * KiB);
  }
  driver.flush();
}

// So many changes of the map, each made durable, that a log of 1 MiB goes round.
static void log_wrap(Driver &driver, const Format &format)
{
  uint64_t blocks = format.size / std::max<uint64_t>(format.block_size, 64 * KiB);
  uint64_t block = format.size / blocks;

  for (int i = 0; i < 140; i++) {
    uint64_t at = static_cast<uint64_t>(i) % blocks * block;

    if (i % 12 == 11)
      driver.zero(at, block, VD_OP_WRITE_ZEROES);
    else
      driver.write(at + static_cast<uint64_t>(i) / blocks * grain(format) % block, grain(format));
    driver.flush();
  }
}

// Every block, one after the other, whole: the file grows to its end.
void growth(Driver &driver, const Format &format)
{
  for (uint64_t at = 0; at < std::min(format.size, 8 * MiB); at += 256 * KiB) {
    driver.write(at, 256 * KiB);
    if (at % (2 * MiB) == 0)
      driver.flush();
  }
}

static void durable(Driver &driver, const Format &format)
{
  for (int i = 0; i < 16; i++)
    driver.write(anywhere(driver, format, 4 * KiB), 4 * KiB, VD_REQUEST_FUA);
  driver.flush();
}

// The two ends of a session and little between them.
void once(Driver &driver, const Format &format)
{
  driver.write(0, grain(format));
  driver.flush();
}

// The space of blocks that were given back goes to others, which are written in part.
static void recycle(Driver &driver, const Format &format)
{
  uint64_t block = std::max<uint64_t>(format.block_size, 512 * KiB), blocks = format.size / block;
  std::deque<uint64_t> there, gone;

  for (uint64_t i = 0; i < blocks; i++)
    (i < blocks / 2 ? there : gone).push_back(i);
  for (uint64_t number : there)
    driver.write(number * block, std::min<uint64_t>(block, MiB));
  driver.flush();
  for (int round = 0; round < 6; round++) {
    uint64_t old = there.front(), fresh = gone.front();

    there.pop_front();
    gone.pop_front();
    driver.zero(old * block, block, round % 2 ? VD_OP_DISCARD : VD_OP_WRITE_ZEROES);
    driver.write(fresh * block + driver.random() % 32 * grain(format), 2 * grain(format));
    if (round % 3 == 2)
      driver.flush();
    driver.write(fresh * block + 64 * KiB, 4 * grain(format));
    if (round % 2)
      driver.write(old * block + 128 * KiB, grain(format));
    for (int i = 0; i < 3 && driver.drain(); i++)
      driver.write(fresh * block + 256 * KiB, grain(format));
    there.push_back(fresh);
    gone.push_back(old);
  }
  driver.flush();
}

// One sector of each block, one after the other, and nobody asks for a flush: of many blocks the log goes
// round.
void first_touch(Driver &driver, const Format &format)
{
  uint64_t block = std::max<uint64_t>(format.block_size, 64 * KiB), blocks = format.size / block;

  for (uint64_t number = 0; number < std::min<uint64_t>(blocks, 150); number++) {
    driver.write(number * block + number * grain(format), grain(format));
    driver.drain();
  }
}

// Changes of the map of all kinds, without a flush that anybody asked for.
static void unflushed(Driver &driver, const Format &format)
{
  uint64_t block = std::max<uint64_t>(format.block_size, 64 * KiB), blocks = format.size / block;

  driver.write(0, 64 * KiB);
  driver.flush();
  for (int i = 0; i < 300; i++) {
    uint64_t number = 1 + static_cast<uint64_t>(i) % (blocks - 1);

    if (i % 2)
      driver.write(number * block + static_cast<uint64_t>(i) * grain(format) % block, grain(format));
    else if (i % 4 == 0)
      driver.zero((number + 2) % (blocks - 1) * block + block, block, VD_OP_WRITE_ZEROES);
    driver.drain();
  }
}

const std::vector<Workload> workloads = {
    {"Allocate", allocate, true, true, false},
    {"Overwrite", overwrite, false, false, false},
    {"Scattered", scattered, false, true, false},
    {"Discard", discard, false, false, true},
    {"Recycle", recycle, true, true, true},
    {"LogWrap", log_wrap, true, false, true},
    {"Growth", growth, true, false, false},
    {"Unflushed", unflushed, true, false, true},
    {"Once", once, false, false, false},
    {"Durable", durable, false, false, false},
    {"FirstTouch", first_touch, true, false, false},
};

const std::vector<Format> formats = {
    {"Raw", VIRTDISK_DEVICE_RAW, VIRTDISK_SUBTYPE_FIXED, 6 * MiB, 0, 512},
    {"VhdDynamic", VIRTDISK_DEVICE_VHD, VIRTDISK_SUBTYPE_DYNAMIC, 6 * MiB, 512 * KiB, 512},
    {"VhdChild", VIRTDISK_DEVICE_VHD, VIRTDISK_SUBTYPE_DIFFERENCING, 6 * MiB, 512 * KiB, 512},
    {"VhdUnaligned", VIRTDISK_DEVICE_VHD, VIRTDISK_SUBTYPE_DYNAMIC, 6 * MiB, 512 * KiB, 512, true},
    {"VhdChild2M", VIRTDISK_DEVICE_VHD, VIRTDISK_SUBTYPE_DIFFERENCING, 8 * MiB, 2 * MiB, 512},
    {"VhdxDynamic", VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_DYNAMIC, 8 * MiB, 1 * MiB, 512},
    {"VhdxDynamic4k", VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_DYNAMIC, 8 * MiB, 2 * MiB, 4096},
    {"VhdxManyBlocks", VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_DYNAMIC, 160 * MiB, 1 * MiB, 512},
    {"VhdxDynamic32M", VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_DYNAMIC, 64 * MiB, 32 * MiB, 512},
    {"VhdxChild32M", VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_DIFFERENCING, 64 * MiB, 32 * MiB, 512},
    {"VhdxFixed", VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_FIXED, 6 * MiB, 1 * MiB, 512},
    {"VhdxChild", VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_DIFFERENCING, 8 * MiB, 1 * MiB, 512},
    {"VhdxChild4k", VIRTDISK_DEVICE_VHDX, VIRTDISK_SUBTYPE_DIFFERENCING, 8 * MiB, 2 * MiB, 4096},
};

void PrintTo(const std::tuple<Format, Workload> &pair, std::ostream *out)
{
  *out << std::get<1>(pair).name << " on " << std::get<0>(pair).name;
}

} // namespace vd_crash
