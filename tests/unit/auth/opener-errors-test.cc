// SPDX-License-Identifier: LGPL-2.1-or-later
// Each answer of the opener, and the error it becomes.
#include <gtest/gtest.h>
#include <cerrno>
#include <string>
#include <sys/stat.h>

extern "C" {
#include "auth/opener-errors.h"
#include "virtdisk-error.h"
}

struct Row {
  VdOpenerStage stage;
  int error_number;
  uint32_t detail;
  VirtdiskError code;
  const char *text;
};

static const Row rows[] = {
    {VD_OPENER_AT_FILE, EACCES, 0, VIRTDISK_ERROR_ACCESS_DENIED, "permission"},
    {VD_OPENER_AT_FILE, EPERM, 0, VIRTDISK_ERROR_ACCESS_DENIED, "permission"},
    {VD_OPENER_AT_PARENT, EACCES, 0, VIRTDISK_ERROR_ACCESS_DENIED, "permission"},
    {VD_OPENER_AT_FILE, ENOENT, 0, VIRTDISK_ERROR_FILE_NOT_FOUND, "does not exist"},
    {VD_OPENER_AT_PARENT, ENOENT, 0, VIRTDISK_ERROR_PATH_NOT_FOUND, "directory"},
    {VD_OPENER_AT_PARENT, ENOTDIR, 0, VIRTDISK_ERROR_PATH_NOT_FOUND, "not a directory"},
    {VD_OPENER_AT_FILE, ENOTDIR, 0, VIRTDISK_ERROR_PATH_NOT_FOUND, "not a directory"},
    {VD_OPENER_AT_FILE, ELOOP, 0, VIRTDISK_ERROR_PATH_NOT_FOUND, "symbolic links"},
    {VD_OPENER_AT_FILE, ENAMETOOLONG, 0, VIRTDISK_ERROR_NAME_TOO_LONG, "too long"},
    {VD_OPENER_AT_FILE, EROFS, 0, VIRTDISK_ERROR_WRITE_PROTECT, "read-only"},
    {VD_OPENER_AT_FILE, ETXTBSY, 0, VIRTDISK_ERROR_SHARING_VIOLATION, "program"},
    {VD_OPENER_AT_FILE, EAGAIN, 0, VIRTDISK_ERROR_SHARING_VIOLATION, "lease"},
    {VD_OPENER_AT_FILE, EISDIR, 0, VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "directory"},
    {VD_OPENER_AT_FILE, ENXIO, 0, VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "device"},
    {VD_OPENER_AT_FILE, ESTALE, 0, VIRTDISK_ERROR_FILE_CHANGED, "replaced"},
    {VD_OPENER_AT_FILE, ENOMEM, 0, VIRTDISK_ERROR_NO_RESOURCES, "memory"},
    {VD_OPENER_AT_FILE, ENOSYS, 0, VIRTDISK_ERROR_NOT_SUPPORTED, "openat2"},
    {VD_OPENER_AT_FILE, EIO, 0, VIRTDISK_ERROR_IO, "errno 5"},
    {VD_OPENER_AT_FILE, 4000, 0, VIRTDISK_ERROR_IO, "errno 4000"},
    {VD_OPENER_AT_TYPE, 0, S_IFDIR, VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "is a directory"},
    {VD_OPENER_AT_TYPE, 0, S_IFIFO, VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "is a FIFO"},
    {VD_OPENER_AT_TYPE, 0, S_IFSOCK, VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "is a socket"},
    {VD_OPENER_AT_TYPE, 0, S_IFBLK, VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "is a block device"},
    {VD_OPENER_AT_TYPE, 0, S_IFCHR, VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "is a character device"},
    {VD_OPENER_AT_TYPE, 0, 7, VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "unknown type"},
    {VD_OPENER_AT_USER, EIO, 0, VIRTDISK_ERROR_IO, "user 4242"},
    {VD_OPENER_AT_IDENTITY, EPERM, 0, VIRTDISK_ERROR_ACCESS_DENIED, "user 4242"},
    {VD_OPENER_AT_REQUEST, EINVAL, 0, VIRTDISK_ERROR_INTERNAL, "request"},
};

struct OpenerErrors : testing::TestWithParam<Row> {
};

TEST_P(OpenerErrors, HasItsCodeAndSaysWhy)
{
  const Row &row = GetParam();
  VdOpenerReply answer = {VD_OPENER_MAGIC, row.stage, row.error_number, row.detail};
  g_autoptr(GError) error = vd_opener_error(&answer, "/srv/x.iso", 4242);

  EXPECT_STREQ(virtdisk_error_to_dbus_name(static_cast<VirtdiskError>(error->code)),
               virtdisk_error_to_dbus_name(row.code));
  EXPECT_NE(strstr(error->message, row.text), nullptr) << error->message;
}

INSTANTIATE_TEST_SUITE_P(Answers, OpenerErrors, testing::ValuesIn(rows));

TEST(OpenerErrorText, DeniedHasOneText)
{
  VdOpenerReply at_file = {VD_OPENER_MAGIC, VD_OPENER_AT_FILE, EACCES, 0};
  VdOpenerReply at_parent = {VD_OPENER_MAGIC, VD_OPENER_AT_PARENT, EACCES, 0};
  g_autoptr(GError) file = vd_opener_error(&at_file, "/srv/x\n", 4242);
  g_autoptr(GError) parent = vd_opener_error(&at_parent, "/srv/x\n", 4242);

  EXPECT_STREQ(file->message, parent->message);
  EXPECT_EQ(strchr(file->message, '\n'), nullptr);
}
