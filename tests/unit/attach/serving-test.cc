// SPDX-License-Identifier: LGPL-2.1-or-later
// Where the next worker's images are looked for when a worker and the service ended together.
#include <gtest/gtest.h>
#include <filesystem>
#include <fcntl.h>
#include <fstream>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

extern "C" {
#include "attach/serving.h"
#include "virtdisk-error.h"
}

namespace
{

namespace fs = std::filesystem;

struct Serving : testing::Test {
  fs::path dir;

  Serving()
  {
    g_autofree char *made = g_dir_make_tmp("virtdisk-serving-XXXXXX", nullptr);

    dir = fs::canonical(made);
    fs::create_directories(dir / "workers");
    fs::create_directories(dir / "folder");
    std::ofstream(image()) << "an image";
  }
  ~Serving() override
  {
    fs::remove_all(dir);
  }
  fs::path image() const
  {
    return dir / "folder" / "image";
  }
  void record() const
  {
    struct stat st = {};

    ASSERT_EQ(stat(image().c_str(), &st), 0);
    std::ofstream(dir / "workers" / "0123.conf")
        << "[Worker]\nTransport=1\nFlags=0\nDeviceId=3\nDepth=1\nMaxIo=4096\nSectorSize=512\nSize=512\n"
           "Offset=0\nUblkId=0\nDiskSeq=1\nPid=0\nImages=1\nProgram=/bin/false\n"
           "[Image 0]\nPath="
        << image().string() << "\nDev=" << st.st_dev << "\nIno=" << st.st_ino << "\n";
  }
  // The program ends at once: what matters is whether it came to that. -1: nothing failed.
  int code_of_start() const
  {
    g_autoptr(GPtrArray) loaded = vd_serving_load(dir.c_str(), VD_TRANSPORT_UBLK);
    g_autoptr(GError) error = nullptr;

    if (loaded->len != 1) {
      ADD_FAILURE() << "the record was not loaded";
      return -1;
    }
    vd_serving_start_worker(static_cast<VdServing *>(g_ptr_array_index(loaded, 0)), -1, 0, nullptr, &error);
    return error != nullptr ? error->code : -1;
  }
};

} // namespace

TEST_F(Serving, ImageIsOpenedAgainWhereItWas)
{
  record();
  EXPECT_EQ(code_of_start(), VIRTDISK_ERROR_WORKER_LOST);
}

TEST_F(Serving, RecordsOfAnotherTransportAreNotLoaded)
{
  record();
  g_autoptr(GPtrArray) loaded = vd_serving_load(dir.c_str(), VD_TRANSPORT_FUSE);

  EXPECT_EQ(loaded->len, 0u);
  EXPECT_TRUE(fs::exists(dir / "workers" / "0123.conf"));
}

TEST_F(Serving, AnotherFileIsNotTheImage)
{
  record();
  fs::rename(image(), dir / "kept");
  std::ofstream(image()) << "another";
  EXPECT_EQ(code_of_start(), VIRTDISK_ERROR_FILE_CHANGED);
}

// The same file, so that the link alone is what is refused.
TEST_F(Serving, LinksAreNotFollowed)
{
  record();
  fs::rename(dir / "folder", dir / "elsewhere");
  fs::create_symlink(dir / "elsewhere", dir / "folder");
  EXPECT_EQ(code_of_start(), VIRTDISK_ERROR_FILE_CHANGED);
  fs::remove(dir / "folder");
  fs::rename(dir / "elsewhere", dir / "folder");
  EXPECT_EQ(code_of_start(), VIRTDISK_ERROR_WORKER_LOST);
  fs::rename(image(), dir / "image");
  fs::create_symlink(dir / "image", image());
  EXPECT_EQ(code_of_start(), VIRTDISK_ERROR_FILE_CHANGED);
}

TEST_F(Serving, NorIsAFolder)
{
  fs::remove(image());
  fs::create_directory(image());
  record();
  EXPECT_EQ(code_of_start(), VIRTDISK_ERROR_FILE_CHANGED);
}

TEST_F(Serving, ASecondMirrorIsRefused)
{
  record();
  g_autoptr(GPtrArray) loaded = vd_serving_load(dir.c_str(), VD_TRANSPORT_UBLK);
  ASSERT_EQ(loaded->len, 1u);
  auto *serving = static_cast<VdServing *>(g_ptr_array_index(loaded, 0));
  g_autoptr(GError) error = nullptr;
  int fd = open(image().c_str(), O_RDWR | O_CLOEXEC);

  ASSERT_TRUE(vd_serving_add_mirror(serving, fd, VD_MIRROR_TO_NEW, &error)) << error->message;
  EXPECT_FALSE(vd_serving_add_mirror(serving, fd, VD_MIRROR_TO_NEW, &error));
  EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_BUSY));
  EXPECT_EQ(serving->n_images, 2u);
  vd_serving_drop_mirror(serving);
  EXPECT_EQ(serving->n_images, 1u);
  close(fd);
}
