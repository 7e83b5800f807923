// SPDX-License-Identifier: LGPL-2.1-or-later
// The input is the log's ring, as pieces.
#include "fuzz/sparse.hh"
#include "fuzz/vhdx-sums.hh"

extern "C" {
#include "formats/vhdx-log.h"
}

static constexpr uint64_t kRing = 1 << 20;

static bool check_effect(void *user, uint64_t offset, uint64_t length, const uint8_t *data, VdFormatError *)
{
  must(offset % 4096 == 0 && offset >= 192 << 10 && length % 4096 == 0 &&
       (data == nullptr || length == 4096));
  must(offset + length > offset && offset + length <= VD_VHDX_MAX_FILE_SIZE);
  must(offset + length <= kRing || offset >= 2 * kRing);
  return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  Input input(data, size);
  auto file = unpack(input);
  VdVhdxLogSummary summary;
  VdVhdxHeader header = {};
  VdFormatError error;
  VdReader reader;

  file->resize(8 * kRing);
  mend_log(*file, kRing, kRing);
  memset(header.log_guid, 0x10, sizeof header.log_guid);
  header.log_offset = header.log_length = kRing;
  must(vd_reader_init(&reader, file->fd(), &error));
  if (vd_vhdx_log_replay(&reader, &header, check_effect, nullptr, &summary, &error))
    must(summary.n_entries > 0 && summary.last_file_offset <= VD_VHDX_MAX_FILE_SIZE);
  return 0;
}

Seeds fuzz_seeds()
{
  images::File ring((images::Bytes()), 8 * kRing), wrapped((images::Bytes()), 8 * kRing);
  images::VhdxLogEntry entry = vhdx_images()["log"].log[0];
  images::Bytes bytes = entry.build();
  Seeds seeds;

  ring.put(kRing, bytes);
  entry.position = 8192;
  entry.sequence = 2;
  ring.put(kRing + entry.position, entry.build());
  entry.tail = static_cast<uint32_t>(kRing - 4096);
  bytes = entry.build();
  wrapped.put(2 * kRing - 4096, images::Bytes(bytes.begin(), bytes.begin() + 4096));
  wrapped.put(kRing, images::Bytes(bytes.begin() + 4096, bytes.end()));
  seeds["two"] = pack(ring);
  seeds["wrapped"] = pack(wrapped);
  return seeds;
}
