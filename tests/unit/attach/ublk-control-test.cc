// SPDX-License-Identifier: LGPL-2.1-or-later
// What goes to the ublk driver, byte by byte, and what is made of its answers.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <liburing.h>
#include <vector>

extern "C" {
#include "attach/ublk-control.h"
}

namespace
{

uint64_t At(const unsigned char *bytes, size_t offset, size_t size)
{
  uint64_t value = 0;

  memcpy(&value, bytes + offset, size);
  return value;
}

TEST(UblkEncode, PutsTheCommandWhereTheKernelLooks)
{
  alignas(8) unsigned char bytes[128];
  VdUblkCommand command = {};

  memset(bytes, 0xa5, sizeof bytes);
  command.dev_id = 0x01020304;
  command.queue_id = VD_UBLK_NO_QUEUE;
  command.len = 64;
  command.addr = 0x1122334455667788;
  command.data = 4711;
  vd_ublk_encode(reinterpret_cast<struct io_uring_sqe *>(bytes), 9, VD_UBLK_CMD_START_DEV, &command);
  EXPECT_EQ(bytes[0], 46u) << "opcode";
  EXPECT_EQ(At(bytes, 4, 4), 9u) << "descriptor";
  EXPECT_EQ(At(bytes, 8, 4), 0xc0207506u) << "cmd_op";
  EXPECT_EQ(At(bytes, 48, 4), 0x01020304u) << "dev_id";
  EXPECT_EQ(At(bytes, 52, 2), 0xffffu) << "queue_id";
  EXPECT_EQ(At(bytes, 54, 2), 64u) << "len";
  EXPECT_EQ(At(bytes, 56, 8), 0x1122334455667788u) << "addr";
  EXPECT_EQ(At(bytes, 64, 8), 4711u) << "data[0]";
  for (size_t i = 72; i < sizeof bytes; i++)
    EXPECT_EQ(bytes[i], 0) << "byte " << i << " is left from before";
}

// Stands in for the driver.
struct Driver {
  std::vector<guint32> seen;
  guint32 unknown = 0; // operation that this kernel does not have
  int unknown_result = 0;
  guint64 features = 0x1fe;
  VdUblkInfo info = {};
  VdUblkCommand last = {};
};
Driver *driver;

int Answer(guint32 operation, VdUblkCommand *command)
{
  driver->seen.push_back(operation);
  driver->last = *command;
  if (operation == driver->unknown)
    return driver->unknown_result;
  if (operation == VD_UBLK_CMD_GET_FEATURES)
    memcpy(reinterpret_cast<void *>(command->addr), &driver->features, 8);
  if (operation == VD_UBLK_CMD_ADD_DEV) {
    auto *info = reinterpret_cast<VdUblkInfo *>(command->addr);
    EXPECT_EQ(command->dev_id, info->dev_id);
    EXPECT_EQ(command->len, sizeof *info);
    info->dev_id = 5;
    info->flags &= driver->features;
  }
  if (operation == VD_UBLK_CMD_GET_DEV_INFO)
    memcpy(reinterpret_cast<void *>(command->addr), &driver->info, sizeof driver->info);
  return 0;
}

class UblkControl : public testing::Test
{
protected:
  void SetUp() override
  {
    driver = &kernel;
    vd_ublk_command_hook = Answer;
  }
  void TearDown() override
  {
    vd_ublk_control_free(control);
    vd_ublk_command_hook = nullptr;
  }
  void Open()
  {
    control = vd_ublk_control_open(nullptr);
    ASSERT_NE(control, nullptr);
  }

  Driver kernel;
  VdUblkControl *control = nullptr;
};

TEST_F(UblkControl, FeaturesAreAskedForOnce)
{
  kernel.features = 0xfffff;
  Open();
  EXPECT_EQ(vd_ublk_control_features(control), 0xfffffu);
  EXPECT_EQ(kernel.seen, std::vector<guint32>{VD_UBLK_CMD_GET_FEATURES});
  EXPECT_EQ(kernel.last.len, 8);
}

TEST_F(UblkControl, AKernelThatCannotSayIsAskedByTheDevice)
{
  kernel.unknown = VD_UBLK_CMD_GET_FEATURES;
  kernel.unknown_result = -EOPNOTSUPP;
  Open();
  EXPECT_NE(vd_ublk_control_features(control) & VD_UBLK_F_USER_RECOVERY, 0u);
  EXPECT_EQ(vd_ublk_control_features(control) & VD_UBLK_F_AUTO_BUF_REG, 0u);
}

TEST_F(UblkControl, FlagsThatWereNotGrantedComeBackCleared)
{
  VdUblkInfo info = {};

  kernel.features = VD_UBLK_F_USER_RECOVERY;
  Open();
  info.dev_id = VD_UBLK_ANY_ID;
  info.flags = VD_UBLK_F_USER_RECOVERY | VD_UBLK_F_AUTO_BUF_REG;
  EXPECT_EQ(vd_ublk_add(control, &info), 0);
  EXPECT_EQ(info.dev_id, 5u);
  EXPECT_EQ(info.flags, VD_UBLK_F_USER_RECOVERY);
}

TEST_F(UblkControl, TheOpenersPidGoesAlong)
{
  Open();
  EXPECT_EQ(vd_ublk_start(control, 5, 4711), 0);
  EXPECT_EQ(kernel.seen.back(), VD_UBLK_CMD_START_DEV);
  EXPECT_EQ(kernel.last.data, 4711u);
  EXPECT_EQ(vd_ublk_end_recovery(control, 5, 4712), 0);
  EXPECT_EQ(kernel.last.data, 4712u);
}

TEST_F(UblkControl, ASizeGoesInSectors)
{
  Open();
  EXPECT_EQ(vd_ublk_update_size(control, 5, UINT64_C(3) << 40), 0);
  EXPECT_EQ(kernel.seen.back(), VD_UBLK_CMD_UPDATE_SIZE);
  EXPECT_EQ(kernel.last.dev_id, 5u);
  EXPECT_EQ(kernel.last.data, UINT64_C(3) << 31);
}

TEST_F(UblkControl, QuietComesWithinADeadline)
{
  Open();
  EXPECT_EQ(vd_ublk_quiesce(control, 5), 0);
  EXPECT_EQ(kernel.seen.back(), VD_UBLK_CMD_QUIESCE_DEV);
  EXPECT_EQ(kernel.last.data, guint64{VD_UBLK_QUIESCE_MS}) << "0 is for ever";
  kernel.unknown = VD_UBLK_CMD_QUIESCE_DEV;
  kernel.unknown_result = -EBUSY;
  EXPECT_EQ(vd_ublk_quiesce(control, 5), -EBUSY);
}

TEST_F(UblkControl, DeletingWaitsOnlyWhereTheKernelKnowsNoOtherWay)
{
  Open();
  EXPECT_EQ(vd_ublk_delete(control, 5), 0);
  EXPECT_EQ(kernel.seen.back(), VD_UBLK_CMD_DEL_DEV_ASYNC);
  for (int unknown : {-EOPNOTSUPP, -524, -EINVAL}) {
    kernel.unknown = VD_UBLK_CMD_DEL_DEV_ASYNC;
    kernel.unknown_result = unknown;
    EXPECT_EQ(vd_ublk_delete(control, 5), 0) << unknown;
    EXPECT_EQ(kernel.seen.back(), VD_UBLK_CMD_DEL_DEV) << unknown;
  }
  kernel.unknown_result = -ENODEV;
  EXPECT_EQ(vd_ublk_delete(control, 5), -ENODEV);
  EXPECT_EQ(kernel.seen.back(), VD_UBLK_CMD_DEL_DEV_ASYNC);
}

TEST_F(UblkControl, AFailedQuestionLeavesNoAnswer)
{
  VdUblkInfo info;

  Open();
  kernel.unknown = VD_UBLK_CMD_GET_DEV_INFO;
  kernel.unknown_result = -ENODEV;
  memset(&info, 0xff, sizeof info);
  EXPECT_EQ(vd_ublk_get_info(control, 7, &info), -ENODEV);
  EXPECT_EQ(info.flags, 0u);
  EXPECT_EQ(kernel.last.dev_id, 7u);
}

TEST(UblkMark, KnowsOursAndKeepsTagsApart)
{
  EXPECT_EQ(vd_ublk_mark("0123abcd") >> 48, VD_UBLK_MAGIC);
  EXPECT_EQ(vd_ublk_mark("0123abcd"), vd_ublk_mark("0123abcd"));
  EXPECT_NE(vd_ublk_mark("0123abcd"), vd_ublk_mark("0123abce"));
}

} // namespace
