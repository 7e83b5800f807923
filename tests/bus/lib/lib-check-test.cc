// SPDX-License-Identifier: LGPL-2.1-or-later
// CheckImage through the library.
#include "lib-fixture.h"

namespace
{

const char kAnswer[] =
    "({'faults': <[('minor', true, uint64 65540, 'checksum', 'header 1 is bad'),"
    " ('unheard', false, 18446744073709551615, '', 'odd')]>,"
    " 'notes': <uint64 1>, 'leaks': <uint64 2>, 'minor': <uint64 3>, 'serious': <uint64 4>,"
    " 'blocks': <uint64 8>, 'allocated-blocks': <uint64 5>, 'leaked': <uint64 1048576>,"
    " 'repairable': <uint32 6>, 'repaired': <true>},)";

}

TEST_F(Lib, CheckImage)
{
  service->answer_next(kAnswer);
  g_autoptr(VirtdiskCheck) check =
      virtdisk_client_check_image(need_client(), "/a.vhdx", VIRTDISK_CHECK_NONE, nullptr, nullptr, &error);

  ASSERT_NE(check, nullptr) << error->message;
  EXPECT_EQ(service->last().method, "CheckImage");
  EXPECT_EQ(service->last().arguments, "'/a.vhdx'");
  EXPECT_TRUE(service->last().options.empty());
  GPtrArray *faults = virtdisk_check_get_faults(check);
  ASSERT_EQ(faults->len, 2u);
  auto fault = static_cast<VirtdiskFault *>(g_ptr_array_index(faults, 0));
  EXPECT_EQ(fault->kind, VIRTDISK_FAULT_MINOR);
  EXPECT_TRUE(fault->repairable);
  EXPECT_EQ(fault->offset, 65540u);
  EXPECT_STREQ(fault->field, "checksum");
  EXPECT_STREQ(fault->message, "header 1 is bad");
  fault = static_cast<VirtdiskFault *>(g_ptr_array_index(faults, 1));
  EXPECT_EQ(fault->kind, VIRTDISK_FAULT_SERIOUS) << "what is not known is not taken lightly";
  EXPECT_EQ(fault->offset, G_MAXUINT64);
  EXPECT_EQ(virtdisk_check_get_count(check, VIRTDISK_FAULT_NOTE), 1u);
  EXPECT_EQ(virtdisk_check_get_count(check, VIRTDISK_FAULT_LEAK), 2u);
  EXPECT_EQ(virtdisk_check_get_count(check, VIRTDISK_FAULT_MINOR), 3u);
  EXPECT_EQ(virtdisk_check_get_count(check, VIRTDISK_FAULT_SERIOUS), 4u);
  EXPECT_EQ(virtdisk_check_get_blocks(check), 8u);
  EXPECT_EQ(virtdisk_check_get_allocated_blocks(check), 5u);
  EXPECT_EQ(virtdisk_check_get_leaked(check), 1048576u);
  EXPECT_EQ(virtdisk_check_get_repairable(check), 6u);
  EXPECT_TRUE(virtdisk_check_get_repaired(check));
}

TEST_F(Lib, CheckImageRepairs)
{
  g_autoptr(VirtdiskOpenParameters) parameters = virtdisk_open_parameters_new();
  Await await;

  virtdisk_open_parameters_set_device_id(parameters, VIRTDISK_DEVICE_VHDX);
  service->answer_next("({'notes': <uint64 0>},)");
  virtdisk_client_check_image_async(need_client(), "/a", VIRTDISK_CHECK_REPAIR, parameters, nullptr,
                                    on_result, &await);
  g_autoptr(VirtdiskCheck) check = virtdisk_client_check_image_finish(client, await.get(), &error);
  ASSERT_NE(check, nullptr) << error->message;
  EXPECT_EQ(service->last().options, (Options{{"device-id", "uint32 3"}, {"repair", "true"}}));
  EXPECT_EQ(virtdisk_check_get_faults(check)->len, 0u);
  EXPECT_EQ(virtdisk_check_get_count(check, VIRTDISK_FAULT_SERIOUS), 0u);
  EXPECT_FALSE(virtdisk_check_get_repaired(check));
}

TEST_F(Lib, CheckImageRefusesHere)
{
  EXPECT_EQ(
      virtdisk_client_check_image(need_client(), "/\xff.vhdx", VIRTDISK_CHECK_NONE, nullptr, nullptr, &error),
      nullptr);
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED);
  EXPECT_EQ(virtdisk_client_check_image(need_client(), "/a.vhdx", static_cast<VirtdiskCheckFlags>(2), nullptr,
                                        nullptr, &error),
            nullptr);
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER);
}

TEST_F(Lib, CheckImageFails)
{
  service->fail_next("org.virtdisk1.Error.SharingViolation", "it is attached");
  EXPECT_EQ(
      virtdisk_client_check_image(need_client(), "/a.vhdx", VIRTDISK_CHECK_NONE, nullptr, nullptr, &error),
      nullptr);
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_SHARING_VIOLATION);
}
