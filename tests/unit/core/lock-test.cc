// SPDX-License-Identifier: LGPL-2.1-or-later
// Against QEMU itself where it is installed, else against its bytes alone.
#include <sys/file.h>
#include <sys/wait.h>

#include "scratch.h"

extern "C" {
#include "image.h"
#include "util/cleanup.h"
#include "virtdisk-error.h"
}

namespace
{

/* qemu-io with the image open until the end of the scope; ends with its input, so also when the test dies. */
class QemuHolder
{
public:
  QemuHolder(const std::string &path, bool read_only, const char *format = "raw")
  {
    const char *argv[] = {"qemu-io", "-f", format, path.c_str(), read_only ? "-r" : nullptr, nullptr};
    std::string heard;
    char c;

    if (!g_spawn_async_with_pipes(nullptr, const_cast<char **>(argv), nullptr,
                                  static_cast<GSpawnFlags>(G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD |
                                                           G_SPAWN_STDERR_TO_DEV_NULL),
                                  nullptr, nullptr, &pid, &input, &output, nullptr, nullptr))
      return;
    /* The prompt comes once the image is open; the end of file if it is refused. */
    while (heard.find("qemu-io>") == std::string::npos && read(output, &c, 1) == 1)
      heard += c;
    open = heard.find("qemu-io>") != std::string::npos;
  }

  ~QemuHolder()
  {
    vd_clear_fd(&input);
    vd_clear_fd(&output);
    if (pid > 0)
      waitpid(pid, nullptr, 0);
  }

  bool open = false;
  GPid pid = 0;

private:
  int input = -1, output = -1;
};

class Lock : public Scratch
{
protected:
  std::string path;
  GError *error = nullptr;

  void SetUp() override
  {
    Scratch::SetUp();
    path = file("disk.raw", 1 << 20);
  }

  ~Lock() override
  {
    g_clear_error(&error);
  }

  VdImage *make(bool write)
  {
    VdImage *image =
        vd_image_new(open(path.c_str(), write ? O_RDWR : O_RDONLY), nullptr, 0, nullptr, write, 0, nullptr);

    EXPECT_NE(image, nullptr);
    return image;
  }

  bool lock(VdImage *image, bool write)
  {
    g_clear_error(&error);
    return vd_image_lock(image, write, &error);
  }

  /* Lines of /proc/locks about the file. */
  int count_locks()
  {
    g_autofree char *text = nullptr;
    struct stat st;
    int count = 0;

    EXPECT_EQ(stat(path.c_str(), &st), 0);
    std::string inode = ":" + std::to_string(st.st_ino) + " ";
    EXPECT_TRUE(g_file_get_contents("/proc/locks", &text, nullptr, nullptr));
    for (const char *p = text; (p = strstr(p, inode.c_str())); p++)
      count++;
    return count;
  }

  /* What another program's probe of one byte for writing finds: F_UNLCK or F_RDLCK. */
  int probe(off_t byte)
  {
    vd_autofd fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
    struct flock lock = {};

    lock.l_type = F_WRLCK;
    lock.l_start = byte;
    lock.l_len = 1;
    EXPECT_EQ(fcntl(fd, F_OFD_GETLK, &lock), 0);
    return lock.l_type;
  }
};

TEST_F(Lock, LaysQemusBytes)
{
  const struct {
    bool write;
    std::vector<off_t> held;
  } rows[] = {{false, {100, 201, 203}}, {true, {100, 101, 103, 201, 203}}};

  for (auto &row : rows) {
    g_autoptr(VdImage) image = make(row.write);

    ASSERT_TRUE(lock(image, row.write)) << error->message;
    for (off_t byte : {99, 100, 101, 102, 103, 104, 199, 200, 201, 202, 203, 204}) {
      bool held = std::find(row.held.begin(), row.held.end(), byte) != row.held.end();

      EXPECT_EQ(probe(byte), held ? F_RDLCK : F_UNLCK) << "byte " << byte << " write " << row.write;
    }
    vd_image_unlock(image);
    EXPECT_EQ(count_locks(), 0);
  }
}

TEST_F(Lock, Matrix)
{
  for (bool first : {false, true})
    for (bool second : {false, true}) {
      g_autoptr(VdImage) one = make(first), two = make(second);
      bool fits = !first && !second;

      ASSERT_TRUE(lock(one, first));
      int before = count_locks();
      EXPECT_EQ(lock(two, second), fits) << first << second;
      if (!fits) {
        EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_SHARING_VIOLATION));
        EXPECT_EQ(count_locks(), before) << "something of the loser's stayed";
      }
      vd_image_unlock(one);
      EXPECT_TRUE(lock(two, second)) << "after the first went";
    }
}

TEST_F(Lock, ChangesItsMode)
{
  g_autoptr(VdImage) image = make(true), other = make(false);

  ASSERT_TRUE(lock(image, true));
  EXPECT_FALSE(lock(other, false));
  ASSERT_TRUE(lock(image, false));
  EXPECT_TRUE(lock(other, false)) << error->message;
  int before = count_locks();
  EXPECT_FALSE(lock(image, true)) << "a reader is there";
  EXPECT_EQ(count_locks(), before) << "a failed change keeps what was held";
  vd_image_unlock(other);
  EXPECT_TRUE(lock(image, true));
  EXPECT_TRUE(lock(image, true)) << "again";
}

TEST_F(Lock, StaysWithTheDescription)
{
  VdImage *image = make(true);
  g_autoptr(VdImage) other = make(true);
  int device = dup(image->fd); /* as a loop device holds it */

  ASSERT_TRUE(lock(image, true));
  vd_image_unref(image);
  EXPECT_FALSE(lock(other, true));
  close(device);
  EXPECT_TRUE(lock(other, true));
}

TEST_F(Lock, AnUnlockedImageGivesNothingBack)
{
  g_autoptr(VdImage) image = make(true);
  g_autoptr(VdImage) twin = vd_image_new(dup(image->fd), nullptr, 0, nullptr, TRUE, 0, nullptr);
  int before;

  ASSERT_TRUE(lock(image, true));
  before = count_locks();
  vd_image_unlock(twin);
  EXPECT_EQ(count_locks(), before);
}

TEST_F(Lock, BsdLocksCount)
{
  g_autoptr(VdImage) reader = make(false), writer = make(true);
  vd_autofd fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);

  ASSERT_EQ(flock(fd, LOCK_SH | LOCK_NB), 0);
  EXPECT_FALSE(lock(writer, true));
  EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_SHARING_VIOLATION));
  EXPECT_NE(strstr(error->message, ("(process " + std::to_string(getpid()) + ") holds a lock").c_str()),
            nullptr)
      << error->message;
  EXPECT_TRUE(lock(reader, false));
  EXPECT_EQ(flock(fd, LOCK_EX | LOCK_NB), -1);
  vd_image_unlock(reader);
  ASSERT_EQ(flock(fd, LOCK_EX | LOCK_NB), 0);
  EXPECT_FALSE(lock(reader, false));
  EXPECT_EQ(probe(100), F_UNLCK) << "refused by the BSD lock, the bytes are given back";
}

TEST_F(Lock, AnExclusiveRecordLockExcludes)
{
  g_autoptr(VdImage) image = make(false);
  vd_autofd fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  struct flock whole = {};

  whole.l_type = F_WRLCK;
  ASSERT_EQ(fcntl(fd, F_OFD_SETLK, &whole), 0);
  EXPECT_FALSE(lock(image, false));
  EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_SHARING_VIOLATION));
}

TEST_F(Lock, RefusesBesideQemu)
{
  if (!have_program("qemu-io"))
    GTEST_SKIP() << "qemu-io is not installed";
  for (bool read_only : {false, true})
    for (bool write : {false, true}) {
      QemuHolder qemu(path, read_only);
      g_autoptr(VdImage) image = make(write);
      std::string words = "qemu-io (process " + std::to_string(qemu.pid) + ") writes to it";

      ASSERT_TRUE(qemu.open);
      /* A reader of a raw image grants others to write, by QEMU's own choice. */
      EXPECT_EQ(lock(image, write), read_only) << "write " << write;
      if (error) {
        EXPECT_NE(strstr(error->message, words.c_str()), nullptr) << error->message;
      }
    }
}

TEST_F(Lock, QemuRefusesBesideUs)
{
  if (!have_program("qemu-io") || !have_program("qemu-img"))
    GTEST_SKIP() << "qemu-io and qemu-img are not installed";
  for (bool write : {false, true}) {
    g_autoptr(VdImage) image = make(write);

    ASSERT_TRUE(lock(image, write));
    EXPECT_FALSE(QemuHolder(path, false).open) << "a second writer, write " << write;
    EXPECT_FALSE(run({"qemu-img", "resize", "-f", "raw", path, "2M"}));
    vd_image_unlock(image);
    EXPECT_TRUE(QemuHolder(path, false).open);
    EXPECT_TRUE(run({"qemu-img", "resize", "-f", "raw", path, "2M"}));
  }
}

/* QEMU keeps writers away from what it reads as a VHD, as it does not for raw. */
TEST_F(Lock, ReadersOfAVhd)
{
  if (!have_program("qemu-io") || !have_program("qemu-img"))
    GTEST_SKIP() << "qemu-io and qemu-img are not installed";
  ASSERT_TRUE(run({"qemu-img", "create", "-f", "vpc", "-o", "subformat=fixed,force_size=on", path, "4M"}));
  for (bool write : {false, true}) {
    g_autoptr(VdImage) image = make(write);

    {
      QemuHolder qemu(path, true, "vpc");

      ASSERT_TRUE(qemu.open);
      EXPECT_EQ(lock(image, write), !write) << "beside a reader, write " << write;
      vd_image_unlock(image);
    }
    ASSERT_TRUE(lock(image, write)) << error->message;
    EXPECT_EQ(QemuHolder(path, true, "vpc").open, !write);
    EXPECT_FALSE(QemuHolder(path, false, "vpc").open);
  }
}

} // namespace
