// SPDX-License-Identifier: LGPL-2.1-or-later
// File systems inside of a disk: the input says what is where on it, everything else is zeros. Nothing is
// read outside of it, nothing is told outside of it, and what was told is settled.
#include "fuzz/fuzz.hh"
#include "images/partitions.hh"

#include <sys/mman.h>

extern "C" {
#include "formats/crc32c.h"
#include "formats/free-space.h"
}

namespace
{

constexpr uint64_t kDisk = UINT64_C(1) << 40;
constexpr size_t kLongest = 1 << 20;
constexpr unsigned kMostReads = 20000;

struct Disk {
  std::map<uint64_t, images::Bytes> pieces; // by offset; later ones lie over earlier ones
  uint64_t size = 0, pending = 0;
  unsigned reads = 0;
};

bool read_disk(void *user, uint64_t offset, void *to, size_t length)
{
  Disk &disk = *static_cast<Disk *>(user);

  must(offset <= disk.size && length <= disk.size - offset);
  memset(to, 0, length);
  for (const auto &[at, bytes] : disk.pieces) {
    uint64_t start = std::max(at, offset), end = std::min(at + bytes.size(), offset + length);

    if (start < end)
      memcpy(static_cast<uint8_t *>(to) + (start - offset), &bytes[start - at], end - start);
  }
  return ++disk.reads < kMostReads;
}

bool found(void *user, uint64_t offset, uint64_t length)
{
  Disk &disk = *static_cast<Disk *>(user);

  must(length > 0 && offset <= disk.size && length <= disk.size - offset);
  disk.pending += length;
  return true;
}

void settle(void *user, VdFreeSpaceVerdict)
{
  static_cast<Disk *>(user)->pending = 0;
}

// Sums of superblocks, of ext and XFS, are put right.
void put_sums(images::Bytes &bytes)
{
  if (bytes.size() >= 2048 && bytes[1024 + 56] == 0x53)
    images::put_le(bytes, 1024 + 0x3FC, ~vd_crc32c(0, &bytes[1024], 0x3FC), 4);
  if (bytes.size() >= 512 && memcmp(&bytes[0], "XFSB", 4) == 0) {
    images::put_le(bytes, 224, 0, 4);
    images::put_le(bytes, 224, vd_crc32c(0, &bytes[0], 512), 4);
  }
}

images::Bytes piece(uint64_t offset, const images::Bytes &bytes)
{
  images::Bytes out(8);

  images::put_le(out, 0, offset, 6);
  images::put_le(out, 6, bytes.size(), 2);
  out.insert(out.end(), bytes.begin(), bytes.end());
  return out;
}

images::Bytes seed(uint64_t size, const std::vector<std::pair<uint64_t, images::Bytes>> &pieces)
{
  images::Bytes out(6);

  images::put_le(out, 0, size, 6);
  for (const auto &[offset, bytes] : pieces) {
    images::Bytes one = piece(offset, bytes);

    out.insert(out.end(), one.begin(), one.end());
  }
  return out;
}

} // namespace

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static int scratch = memfd_create("scratch", MFD_CLOEXEC);
  Input input(data, std::min(size, kLongest));
  Disk disk;
  VdFreeSpaceReport report;

  disk.size = input.number(6) % kDisk / 512 * 512;
  while (!input.empty()) {
    uint64_t offset = input.number(6);
    images::Bytes bytes = input.bytes(input.number(2));

    put_sums(bytes);
    disk.pieces[offset % (disk.size + 1)] = bytes;
  }
  VdFreeSpaceDisk how = {read_disk, found, settle, &disk, disk.size, 512, scratch};
  vd_free_space_find(&how, &report);
  must(disk.pending == 0);
  must(memchr(report.note, 0, sizeof report.note) != nullptr);
  return 0;
}

// The places by which each is known, and numbers that make sense.
Seeds fuzz_seeds()
{
  images::Bytes ext(2048), fat(512), ntfs(512), exfat(512), xfs(512), mbr(512);

  images::put_le(ext, 1024 + 0, 1024, 4);
  images::put_le(ext, 1024 + 4, 8192, 4);
  images::put_le(ext, 1024 + 0x14, 1, 4);
  images::put_le(ext, 1024 + 0x20, 8192, 4);
  images::put_le(ext, 1024 + 0x24, 8192, 4);
  images::put_le(ext, 1024 + 0x28, 1024, 4);
  images::put_le(ext, 1024 + 0x38, 0xEF53, 2);
  images::put_le(ext, 1024 + 0x3A, 1, 2);
  images::put_le(ext, 1024 + 0x4C, 1, 4);
  images::put_le(ext, 1024 + 0x58, 128, 2);
  images::put_le(ext, 1024 + 0x60, 2, 4);
  images::put_text(fat, 0, std::string("\xEB\x3C\x90mkfs.fat", 11));
  images::put_le(fat, 11, 512, 2);
  fat[13] = 1;
  images::put_le(fat, 14, 1, 2);
  fat[16] = 2;
  images::put_le(fat, 17, 512, 2);
  images::put_le(fat, 19, 2048, 2);
  fat[21] = 0xF8;
  images::put_le(fat, 22, 6, 2);
  images::put_text(fat, 54, "FAT12   ");
  images::put_le(fat, 510, 0xAA55, 2);
  images::put_text(ntfs, 3, "NTFS    ");
  images::put_le(ntfs, 11, 512, 2);
  ntfs[13] = 8;
  images::put_le(ntfs, 40, 16383, 8);
  images::put_le(ntfs, 48, 4, 8);
  images::put_le(ntfs, 56, 1023, 8);
  ntfs[64] = 0xF6;
  images::put_le(ntfs, 510, 0xAA55, 2);
  images::put_text(exfat, 3, "EXFAT   ");
  images::put_le(exfat, 72, 65536, 8);
  images::put_le(exfat, 80, 128, 4);
  images::put_le(exfat, 84, 128, 4);
  images::put_le(exfat, 88, 256, 4);
  images::put_le(exfat, 92, 8000, 4);
  images::put_le(exfat, 96, 5, 4);
  exfat[105] = 1;
  exfat[108] = 9;
  exfat[109] = 3;
  exfat[110] = 1;
  images::put_le(exfat, 510, 0xAA55, 2);
  images::put_text(xfs, 0, "XFSB");
  xfs[6] = 16; // blocks of 4 KiB
  xfs[14] = 1;
  xfs[86] = 64;
  xfs[91] = 4;
  xfs[101] = 0xB5;
  xfs[102] = 2;
  images::put_mbr(mbr, 0, {{0x83, 2048, 16384}, {0x05, 20480, 16384}, {0x07, 40960, 4096}});
  return {{"ext", seed(8 << 20, {{0, ext}})},
          {"fat", seed(1 << 20, {{0, fat}, {512, {0xF8, 0xFF, 0xFF}}, {3584, {0xF8, 0xFF, 0xFF}}})},
          {"ntfs", seed(64 << 20, {{0, ntfs}})},
          {"exfat", seed(32 << 20, {{0, exfat}})},
          {"xfs", seed(256 << 20, {{0, xfs}})},
          {"table", seed(64 << 20, {{0, mbr}, {1 << 20, ext}, {20480 * 512, mbr}, {40960 * 512, ntfs}})}};
}
