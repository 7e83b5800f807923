// SPDX-License-Identifier: LGPL-2.1-or-later
// A worker that checks or repairs: what it says, in which order, and what it leaves in the file.
#include "serve-fixture.h"

#include "images/vhd.hh"
#include "images/vhdx.hh"

extern "C" {
#include "virtdisk-error.h"
}

namespace
{

using images::Bytes;
using images::File;
using serving::Fd;
using serving::Message;
using serving::Worker;

constexpr uint64_t kMiB = 1 << 20, kBat = 3 * kMiB, kHeader1 = 64 << 10;

struct Told {
  std::vector<VdFault> faults;
  VdServeChecked checked = {};
  VdServeReport failed = {};
  bool ready = false;
};

std::ostream &operator<<(std::ostream &out, const Told &told)
{
  for (const VdFault &fault : told.faults)
    out << "\n  kind " << fault.kind << " at " << fault.error.offset << ": " << fault.error.text;
  return out << "\n  " << told.failed.error.text;
}

Told run_task(int fd, uint32_t task, uint32_t device_id)
{
  Worker worker;
  VdServeSetup setup = {};
  Told told;

  setup.task = task;
  setup.flags = task == VD_TASK_CHECK ? 0 : VD_SERVE_WRITABLE;
  setup.device_id = device_id;
  EXPECT_TRUE(worker.order(setup, -1, {fd}));
  for (;;) {
    Message message = serving::receive(worker.line());

    switch (message.kind()) {
    case VD_SERVE_FAULT:
      EXPECT_EQ(message.length, static_cast<ssize_t>(sizeof(VdServeFault)));
      EXPECT_EQ(told.checked.header.kind, 0u) << "a fault after the last one";
      told.faults.push_back(message.fault.fault);
      break;
    case VD_SERVE_CHECKED:
      EXPECT_EQ(message.length, static_cast<ssize_t>(sizeof(VdServeChecked)));
      told.checked = message.checked;
      break;
    case VD_SERVE_READY:
      told.ready = true;
      EXPECT_EQ(serving::receive(worker.line()).kind(), VD_SERVE_CLOSED);
      EXPECT_EQ(worker.wait(), 0);
      return told;
    default:
      told.failed = message.report;
      worker.wait();
      return told;
    }
  }
}

Bytes contents(int fd)
{
  struct stat st = {};

  EXPECT_EQ(fstat(fd, &st), 0);
  Bytes bytes(static_cast<size_t>(st.st_size));
  EXPECT_EQ(pread(fd, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  return bytes;
}

// As the daemon has it for a check.
Fd reopened(const File &file)
{
  return Fd(open(("/proc/self/fd/" + std::to_string(file.fd())).c_str(), O_RDONLY | O_CLOEXEC));
}

images::Vhdx unclean()
{
  images::Vhdx image;
  images::VhdxLogEntry entry;
  images::VhdxDescriptor one;

  one.offset = kBat;
  one.page = Bytes(4096);
  images::put_le(*one.page, 0, images::bat_entry(4, 6), 8);
  images::put_le(*one.page, 8, images::bat_entry(5, 6), 8);
  image.file_size = 6 * kMiB;
  image.for_both_headers([&](images::VhdxHeader &header) { header.log_guid = entry.log_guid; });
  entry.flushed = entry.last = image.file_size;
  entry.descriptors = {one};
  image.log = {entry};
  return image;
}

uint64_t bad(const Told &told)
{
  const uint64_t *counts = told.checked.summary.counts;

  return counts[VD_FAULT_LEAK] + counts[VD_FAULT_MINOR] + counts[VD_FAULT_SERIOUS];
}

} // namespace

TEST(ServeCheck, TellsEachFaultAndReadsOnly)
{
  images::Vhdx image = unclean();

  image.patches[kHeader1 + 100] = {1};
  auto file = image.make();
  Bytes before = contents(file->fd());
  Told told = run_task(reopened(*file).get(), VD_TASK_CHECK, VIRTDISK_DEVICE_VHDX);
  ASSERT_TRUE(told.ready) << told;
  ASSERT_EQ(told.faults.size(), 2u) << told;
  EXPECT_EQ(told.faults[0].kind, static_cast<uint32_t>(VD_FAULT_MINOR));
  EXPECT_EQ(told.faults[0].error.offset, kHeader1 + 4);
  EXPECT_EQ(told.faults[1].kind, static_cast<uint32_t>(VD_FAULT_NOTE));
  EXPECT_EQ(told.checked.summary.repairable, 2u);
  EXPECT_EQ(told.checked.summary.allocated_blocks, 2u);
  EXPECT_EQ(told.checked.repaired, 0u);
  EXPECT_TRUE(contents(file->fd()) == before);
}

TEST(ServeCheck, WhatIsNoImageIsAFault)
{
  File file(Bytes(4096));
  Told told = run_task(reopened(file).get(), VD_TASK_CHECK, VIRTDISK_DEVICE_VHD);

  ASSERT_TRUE(told.ready) << told;
  ASSERT_EQ(told.faults.size(), 1u);
  EXPECT_EQ(told.faults[0].kind, static_cast<uint32_t>(VD_FAULT_SERIOUS));
}

TEST(ServeCheck, WhatCannotBeCheckedFails)
{
  File file(Bytes(4096));
  Told told = run_task(reopened(file).get(), VD_TASK_CHECK, VIRTDISK_DEVICE_VHDSET);

  EXPECT_FALSE(told.ready);
  EXPECT_EQ(told.failed.error.code, VIRTDISK_ERROR_PROVIDER_NOT_FOUND) << told;
}

TEST(ServeCheck, ThousandsOfFaultsAreTakenUpToTheCeiling)
{
  images::Vhdx image;

  image.set_size(4096 * kMiB);
  for (uint64_t i = 1; i <= VD_CHECK_MAX_FAULTS + 1000; i++)
    image.bat[i] = images::bat_entry(4, 6);
  auto file = image.make();
  Told told = run_task(reopened(*file).get(), VD_TASK_CHECK, VIRTDISK_DEVICE_VHDX);
  ASSERT_TRUE(told.ready) << told.failed.error.text;
  EXPECT_EQ(told.faults.size(), static_cast<size_t>(VD_CHECK_MAX_FAULTS));
  EXPECT_EQ(told.checked.summary.counts[VD_FAULT_SERIOUS], static_cast<uint64_t>(VD_CHECK_MAX_FAULTS) + 1000);
}

TEST(ServeRepair, AGoodImageIsNotWritten)
{
  auto file = images::Vhdx().make();
  Bytes before = contents(file->fd());
  Told told = run_task(file->fd(), VD_TASK_REPAIR, VIRTDISK_DEVICE_VHDX);

  ASSERT_TRUE(told.ready) << told;
  EXPECT_EQ(told.checked.repaired, 0u);
  EXPECT_TRUE(contents(file->fd()) == before);
}

TEST(ServeRepair, CopiesAndLogOfAVhdx)
{
  images::Vhdx image = unclean();

  image.patches[kHeader1 + 100] = {1};
  image.patches[(256 << 10) + 100] = {1};
  auto file = image.make();
  Told told = run_task(file->fd(), VD_TASK_REPAIR, VIRTDISK_DEVICE_VHDX);
  ASSERT_TRUE(told.ready) << told;
  EXPECT_TRUE(told.faults.empty()) << told;
  EXPECT_EQ(told.checked.repaired, 1u);
  EXPECT_EQ(told.checked.summary.allocated_blocks, 2u);
  // Children know it by this.
  Bytes bytes = contents(file->fd());
  for (uint64_t header : {kHeader1, 2 * kHeader1})
    EXPECT_TRUE(std::equal(image.headers[1].data_write_guid.begin(), image.headers[1].data_write_guid.end(),
                           bytes.begin() + static_cast<long>(header) + 32));
  Told again = run_task(file->fd(), VD_TASK_REPAIR, VIRTDISK_DEVICE_VHDX);
  EXPECT_EQ(again.checked.repaired, 0u);
  EXPECT_TRUE(contents(file->fd()) == bytes);
}

TEST(ServeRepair, WhatIsSeriousStaysAndTheCopiesAreMended)
{
  images::Vhdx image;

  image.patches[kHeader1 + 100] = {1};
  image.bat[1] = images::bat_entry(4, 6);
  auto file = image.make();
  Told told = run_task(file->fd(), VD_TASK_REPAIR, VIRTDISK_DEVICE_VHDX);
  ASSERT_TRUE(told.ready) << told;
  EXPECT_EQ(told.checked.repaired, 1u);
  ASSERT_EQ(told.faults.size(), 1u) << told;
  EXPECT_EQ(told.faults[0].error.offset, kBat + 8);
  EXPECT_EQ(told.checked.summary.repairable, 0u);
}

TEST(ServeRepair, WhatIsBeyondRepairIsNotWritten)
{
  File file(Bytes(4096));
  Told told = run_task(file.fd(), VD_TASK_REPAIR, VIRTDISK_DEVICE_VHD);

  ASSERT_TRUE(told.ready) << told;
  EXPECT_EQ(told.checked.repaired, 0u);
  EXPECT_EQ(told.checked.summary.counts[VD_FAULT_SERIOUS], 1u);
  EXPECT_TRUE(contents(file.fd()) == Bytes(4096));
}

TEST(ServeRepair, TrailersOfAVhd)
{
  for (auto end : {images::SparseVhd::MISSING, images::SparseVhd::SHORT}) {
    images::SparseVhd image;

    image.end = end;
    File file(image.build());
    Told told = run_task(file.fd(), VD_TASK_REPAIR, VIRTDISK_DEVICE_VHD);
    ASSERT_TRUE(told.ready) << told;
    EXPECT_EQ(told.checked.repaired, 1u);
    EXPECT_TRUE(told.faults.empty()) << told;
    EXPECT_EQ(bad(told), 0u);
    Bytes bytes = contents(file.fd());
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.begin() + 512, bytes.end() - 512));
  }
}

TEST(ServeRepair, FrontCopyOfAVhd)
{
  images::SparseVhd image;

  image.front = image.footer;
  image.front->checksum = 1;
  File file(image.build());
  Told told = run_task(file.fd(), VD_TASK_REPAIR, VIRTDISK_DEVICE_VHD);
  ASSERT_TRUE(told.ready) << told;
  EXPECT_TRUE(told.faults.empty()) << told;
}

// A fixed VHDX that somebody else writes in place: children and others see that it is not what it was, and
// nothing of its log is left.
TEST(ServeBegin, AnnouncesASessionAndLeavesTheImageClosed)
{
  images::Vhdx image;

  image.set_parameters(kMiB, 1);
  auto file = image.make();
  Bytes before = contents(file->fd());
  Told told = run_task(file->fd(), VD_TASK_BEGIN, VIRTDISK_DEVICE_VHDX);
  ASSERT_TRUE(told.ready) << told;
  EXPECT_TRUE(told.faults.empty()) << told;
  Bytes after = contents(file->fd());
  ASSERT_EQ(after.size(), before.size());
  const Bytes no_log(16);
  for (size_t header : {kHeader1, 2 * kHeader1}) {
    auto at = [header](const Bytes &bytes, size_t field) {
      return Bytes(bytes.begin() + static_cast<long>(header + field),
                   bytes.begin() + static_cast<long>(header + field + 16));
    };

    EXPECT_NE(at(after, 16), at(before, 16)) << "FileWriteGuid of the header at " << header;
    EXPECT_NE(at(after, 32), at(before, 32)) << "DataWriteGuid of the header at " << header;
    EXPECT_EQ(at(after, 48), no_log) << "LogGuid of the header at " << header;
  }
  EXPECT_TRUE(std::equal(before.begin() + 2 * kMiB, before.end(), after.begin() + 2 * kMiB))
      << "metadata, table or blocks were changed";
  Told checked = run_task(reopened(*file).get(), VD_TASK_CHECK, VIRTDISK_DEVICE_VHDX);
  EXPECT_EQ(bad(checked), 0u) << checked;
}

TEST(ServeBegin, WhatIsNoImageIsAnError)
{
  File file(Bytes(8192, 7));
  Told told = run_task(file.fd(), VD_TASK_BEGIN, VIRTDISK_DEVICE_VHDX);

  EXPECT_FALSE(told.ready);
  EXPECT_STRNE(told.failed.error.text, "");
  EXPECT_TRUE(contents(file.fd()) == Bytes(8192, 7));
}
