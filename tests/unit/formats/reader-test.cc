// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>
#include <fcntl.h>

#include "images/image.hh"

extern "C" {
#include "formats/reader.h"
}

TEST(Reader, ReadsToTheLastByte)
{
  images::File file({1, 2, 3, 4});
  VdReader reader;
  VdFormatError error;
  uint8_t buffer[4];
  VdSpan span;

  ASSERT_TRUE(vd_reader_init(&reader, file.fd(), &error));
  EXPECT_EQ(reader.size, 4u);
  ASSERT_TRUE(vd_reader_read(&reader, "head", 1, buffer, 3, &span, &error));
  EXPECT_EQ(span.file_offset, 1u);
  EXPECT_EQ(span.length, 3u);
  EXPECT_EQ(span.data[2], 4);
  EXPECT_EQ(lseek(file.fd(), 0, SEEK_CUR), 0) << "the shared position moved";
}

TEST(Reader, RangeOutsideIsAnError)
{
  images::File file({1, 2, 3, 4});
  VdReader reader;
  VdFormatError error;
  uint8_t buffer[VD_READER_MAX_LENGTH + 1];
  VdSpan span;

  ASSERT_TRUE(vd_reader_init(&reader, file.fd(), &error));
  EXPECT_FALSE(vd_reader_read(&reader, "head", 2, buffer, 3, &span, &error));
  EXPECT_EQ(error.code, VIRTDISK_ERROR_IO);
  EXPECT_EQ(error.offset, 2u);
  EXPECT_FALSE(vd_reader_read(&reader, "head", UINT64_MAX, buffer, 2, &span, &error));
  file.resize(1 << 20);
  ASSERT_TRUE(vd_reader_init(&reader, file.fd(), &error));
  EXPECT_FALSE(vd_reader_read(&reader, "head", 0, buffer, sizeof buffer, &span, &error))
      << "over the ceiling";
}

TEST(Reader, FileThatShrankIsAnErrorNotZeros)
{
  images::File file(images::Bytes(4096, 7));
  VdReader reader;
  VdFormatError error;
  uint8_t buffer[1024];
  VdSpan span;

  ASSERT_TRUE(vd_reader_init(&reader, file.fd(), &error));
  file.resize(3100);
  EXPECT_FALSE(vd_reader_read(&reader, "tail", 3072, buffer, 1024, &span, &error));
  EXPECT_EQ(error.code, VIRTDISK_ERROR_IO);
  EXPECT_NE(strstr(error.text, "read 28 of 1024 bytes at offset 3072"), nullptr) << error.text;
}

TEST(Reader, OnlyRegularFiles)
{
  int ends[2];
  VdReader reader;
  VdFormatError error;

  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  EXPECT_FALSE(vd_reader_init(&reader, ends[0], &error));
  EXPECT_EQ(error.code, VIRTDISK_ERROR_NOT_A_REGULAR_FILE);
  close(ends[0]);
  close(ends[1]);
  EXPECT_FALSE(vd_reader_init(&reader, ends[0], &error));
  EXPECT_EQ(error.code, VIRTDISK_ERROR_IO);
}

TEST(Reader, HolesAreSkipped)
{
  images::File file(images::Bytes(4096, 1), 1 << 20);
  VdFormatError error;
  VdReader reader;

  file.put(512 << 10, images::Bytes(4096, 1));
  ASSERT_TRUE(vd_reader_init(&reader, file.fd(), &error));
  EXPECT_EQ(vd_reader_next_data(&reader, 0), 0u);
  EXPECT_EQ(vd_reader_next_data(&reader, 8192), 512u << 10);
  EXPECT_EQ(vd_reader_next_data(&reader, 520 << 10), UINT64_MAX);
  EXPECT_EQ(vd_reader_next_data(&reader, 1 << 20), UINT64_MAX);
}
