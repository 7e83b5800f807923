// SPDX-License-Identifier: LGPL-2.1-or-later
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <linux/fs.h>

#include "scratch.h"

extern "C" {
#include "image.h"
#include "virtdisk-error.h"
}

namespace
{

struct TypeCase {
  guint32 device_id;
  const char *vendor;
  const char *path;
  int expected; /* device id, or minus one minus the error */
};

constexpr int fails(VirtdiskError code)
{
  return -1 - static_cast<int>(code);
}

const int no_provider = fails(VIRTDISK_ERROR_PROVIDER_NOT_FOUND);
const int bad_parameter = fails(VIRTDISK_ERROR_INVALID_PARAMETER);

const TypeCase type_cases[] = {
    {0, nullptr, "/a/b.iso", VIRTDISK_DEVICE_ISO},
    {0, nullptr, "/a/B.ISO", VIRTDISK_DEVICE_ISO},
    {0, nullptr, "/a/b.vhd", VIRTDISK_DEVICE_VHD},
    {0, nullptr, "/a/b.aVhD", VIRTDISK_DEVICE_VHD},
    {0, nullptr, "/a/b.img", VIRTDISK_DEVICE_RAW},
    {0, nullptr, "/a/b.raw", VIRTDISK_DEVICE_RAW},
    {0, nullptr, "/a/b\xff.raw", VIRTDISK_DEVICE_RAW},
    {0, nullptr, "/a/b.vhdx", VIRTDISK_DEVICE_VHDX},
    {0, nullptr, "/a/b.avhdx", VIRTDISK_DEVICE_VHDX},
    {0, nullptr, "/a/b.vhds", no_provider},
    {0, nullptr, "/a/b.vhd (deleted)", no_provider},
    {0, nullptr, "/a/biso", no_provider},
    {0, nullptr, "/a.iso/b", no_provider},
    {0, nullptr, "", no_provider},
    {0, VIRTDISK_VENDOR_UNKNOWN, "/a/b.iso", VIRTDISK_DEVICE_ISO},
    {0, VIRTDISK_VENDOR_MICROSOFT, "/a/b.iso", VIRTDISK_DEVICE_ISO},
    {0, "EC984AEC-A0F9-47E9-901F-71415A66345B", "/a/b.iso", VIRTDISK_DEVICE_ISO},
    {0, VIRTDISK_VENDOR_MICROSOFT, "/a/b.raw", no_provider},
    {0, VIRTDISK_VENDOR_VIRTDISK, "/a/b.raw", VIRTDISK_DEVICE_RAW},
    {VIRTDISK_DEVICE_VHD, nullptr, "/a/b.iso", VIRTDISK_DEVICE_VHD},
    {VIRTDISK_DEVICE_RAW, nullptr, nullptr, VIRTDISK_DEVICE_RAW},
    {VIRTDISK_DEVICE_ISO, VIRTDISK_VENDOR_VIRTDISK, "/a/b.iso", no_provider},
    {VIRTDISK_DEVICE_ISO, "01234567-89ab-cdef-0123-456789abcdef", "/a/b.iso", no_provider},
    {VIRTDISK_DEVICE_ISO, "", "/a/b.iso", bad_parameter},
    {VIRTDISK_DEVICE_ISO, "{ec984aec-a0f9-47e9-901f-71415a66345b}", "/a/b.iso", bad_parameter},
    {77, "rubbish", "/a/b.iso", bad_parameter},
    {VIRTDISK_DEVICE_VHDX, nullptr, "/a/b.vhdx", VIRTDISK_DEVICE_VHDX},
    {VIRTDISK_DEVICE_VHDSET, nullptr, "/a/b.vhds", no_provider},
    {5, nullptr, "/a/b.iso", no_provider},
    {99, nullptr, "/a/b.iso", no_provider},
    {G_MAXUINT32, nullptr, "/a/b.iso", no_provider},
};

TEST(ImageType, Table)
{
  for (const TypeCase &row : type_cases) {
    g_autoptr(GError) error = nullptr;
    guint32 resolved = 0;
    gboolean ok = vd_image_resolve_type(row.device_id, row.vendor, row.path, &resolved, &error);
    int outcome = ok ? static_cast<int>(resolved) : fails(static_cast<VirtdiskError>(error->code));

    EXPECT_EQ(outcome, row.expected) << row.device_id << " " << (row.vendor ? row.vendor : "-") << " "
                                     << (row.path ? row.path : "-") << (error ? error->message : "");
  }
}

TEST(ImageType, NamesOfFormats)
{
  EXPECT_STREQ(vd_device_id_to_format(VIRTDISK_DEVICE_ISO), "iso");
  EXPECT_STREQ(vd_device_id_to_format(VIRTDISK_DEVICE_RAW), "raw");
  EXPECT_EQ(vd_device_id_to_format(VIRTDISK_DEVICE_UNKNOWN), nullptr);
  EXPECT_STREQ(vd_device_id_to_vendor(VIRTDISK_DEVICE_VHD), VIRTDISK_VENDOR_MICROSOFT);
  EXPECT_STREQ(vd_device_id_to_vendor(VIRTDISK_DEVICE_RAW), VIRTDISK_VENDOR_VIRTDISK);
  EXPECT_EQ(vd_device_id_to_vendor(6), nullptr);
}

TEST(ImageDisplay, Table)
{
  const char *const rows[][2] = {
      {"/home/ä/日本.iso", "/home/ä/日本.iso"},
      {"/a b", "/a b"},
      {"", ""},
      {"/a\nDec 01 sshd: accepted", "/a\\x0aDec 01 sshd: accepted"},
      {"/a\r\t\x1b[31m\x7f", "/a\\x0d\\x09\\x1b[31m\\x7f"},
      {"/a\xc2\x9b"
       "31m",
       "/a\\xc2\\x9b31m"}, /* CSI as one character */
      {"/a\xe2\x80\xae"
       "osi",
       "/a\\xe2\\x80\\xaeosi"},                /* right to left */
      {"/a\xe2\x80\xa8", "/a\\xe2\\x80\\xa8"}, /* line separator */
      {"/a\xff\xfe", "/a\\xff\\xfe"},
      {"/a\xc3", "/a\\xc3"},
      {"/a\xed\xa0\x80", "/a\\xed\\xa0\\x80"}, /* half a surrogate */
      {"/a\xc0\xaf", "/a\\xc0\\xaf"},          /* overlong */
      {"/a\\x0a", "/a\\\\x0a"},
      {"/\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb", "/\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb"},
  };

  for (auto &row : rows) {
    g_autofree char *display = vd_path_to_display(row[0]);

    EXPECT_STREQ(display, row[1]);
    EXPECT_TRUE(g_utf8_validate(display, -1, nullptr));
  }
}

class Image : public Scratch
{
protected:
  GError *error = nullptr;

  VdImage *make(int fd, gboolean want_write = FALSE, guint32 flags = 0)
  {
    g_clear_error(&error);
    EXPECT_GE(fd, 0);
    return vd_image_new(fd, nullptr, VIRTDISK_DEVICE_RAW, nullptr, want_write, flags, &error);
  }

  /* The descriptor is refused with code, and closed. */
  void refuse(int fd, VirtdiskError code, const char *words, gboolean want_write = FALSE)
  {
    g_autoptr(VdImage) image = make(fd, want_write);

    ASSERT_EQ(image, nullptr) << words;
    EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, code)) << words << ": " << error->message;
    EXPECT_NE(strstr(error->message, words), nullptr) << error->message;
    EXPECT_EQ(fcntl(fd, F_GETFD), -1) << words << ": descriptor left open";
  }

  ~Image() override
  {
    g_clear_error(&error);
  }
};

TEST_F(Image, TakesARegularFile)
{
  std::string path = file("disk.RAW", 8192);
  int fd = open(path.c_str(), O_RDWR);
  g_autoptr(VdImage) image = vd_image_new(fd, nullptr, 0, nullptr, TRUE, 0, &error);

  ASSERT_NE(image, nullptr) << error->message;
  EXPECT_EQ(image->fd, fd);
  EXPECT_EQ(image->path, path);
  EXPECT_EQ(image->display, path);
  EXPECT_TRUE(image->writable);
  EXPECT_FALSE(image->remote);
  EXPECT_EQ(image->st.st_size, 8192);
  EXPECT_EQ(image->device_id, static_cast<guint32>(VIRTDISK_DEVICE_RAW));
  EXPECT_EQ(image->origin_url, nullptr);
  EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
}

TEST_F(Image, ReaderHasNoDescriptorThatWrites)
{
  int fd = open(file("a").c_str(), O_RDWR);
  struct stat given = {}, kept = {};

  ASSERT_EQ(fstat(fd, &given), 0);
  g_autoptr(VdImage) image = make(fd);
  ASSERT_NE(image, nullptr) << error->message;
  EXPECT_EQ(fcntl(image->fd, F_GETFL) & O_ACCMODE, O_RDONLY);
  EXPECT_EQ(fcntl(image->fd, F_GETFD), FD_CLOEXEC);
  EXPECT_FALSE(image->writable);
  ASSERT_EQ(fstat(image->fd, &kept), 0);
  EXPECT_EQ(kept.st_ino, given.st_ino);
}

TEST_F(Image, LastUnrefCloses)
{
  int fd = open(file("a").c_str(), O_RDONLY);
  VdImage *image = make(fd);

  ASSERT_NE(image, nullptr);
  EXPECT_FALSE(image->writable);
  vd_image_ref(image);
  vd_image_unref(image);
  EXPECT_NE(fcntl(fd, F_GETFD), -1);
  vd_image_unref(image);
  EXPECT_EQ(fcntl(fd, F_GETFD), -1);
}

TEST_F(Image, LeavesTheSharedFlagsAlone)
{
  int fd = open(file("a").c_str(), O_RDWR | O_NONBLOCK), shared = dup(fd);
  int before = fcntl(shared, F_GETFL);
  g_autoptr(VdImage) image = make(fd);

  ASSERT_NE(image, nullptr);
  EXPECT_EQ(fcntl(shared, F_GETFL), before);
  close(shared);
}

TEST_F(Image, RefusesWhatIsNoFile)
{
  int ends[2];
  std::string fifo = folder + "/fifo";

  refuse(open(folder.c_str(), O_RDONLY), VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "a folder");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  refuse(open(fifo.c_str(), O_RDWR), VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "a pipe");
  ASSERT_EQ(pipe(ends), 0);
  refuse(ends[0], VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "a pipe");
  close(ends[1]);
  refuse(socket(AF_UNIX, SOCK_STREAM, 0), VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "a socket");
  refuse(open("/dev/null", O_RDWR), VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "a character device");
  refuse(epoll_create1(0), VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "an object of the kernel");
}

TEST_F(Image, RefusesABlockDevice)
{
  std::string node = folder + "/node";

  if (mknod(node.c_str(), S_IFBLK | 0600, makedev(7, 0)) < 0)
    GTEST_SKIP() << "no right to make a device node";
  refuse(open(node.c_str(), O_PATH), VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "a block device");
}

TEST_F(Image, RefusesASymbolicLinkItself)
{
  std::string link = folder + "/link";

  ASSERT_EQ(symlink("nowhere", link.c_str()), 0);
  refuse(open(link.c_str(), O_PATH | O_NOFOLLOW), VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "a symbolic link");
}

TEST_F(Image, RefusesWindowsIntoTheKernel)
{
  refuse(open("/proc/self/status", O_RDONLY), VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "window into the kernel");
  refuse(open("/proc/version", O_RDONLY), VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "window into the kernel");
  if (access("/sys/kernel/uevent_seqnum", R_OK) == 0)
    refuse(open("/sys/kernel/uevent_seqnum", O_RDONLY), VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "window into");
  refuse(open("/proc/self/ns/mnt", O_RDONLY), VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "window into the kernel");
}

TEST_F(Image, RefusesFilesWithoutAName)
{
  std::string path = file("gone");
  int fd = open(path.c_str(), O_RDWR);

  unlink(path.c_str());
  refuse(fd, VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "without a name");
  refuse(memfd_create("m", MFD_ALLOW_SEALING), VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "without a name");
  fd = open(folder.c_str(), O_TMPFILE | O_RDWR, 0600);
  if (fd >= 0)
    refuse(fd, VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "without a name");
}

TEST_F(Image, RefusesModesThatLie)
{
  std::string path = file("a");

  refuse(open(path.c_str(), O_PATH), VIRTDISK_ERROR_INVALID_PARAMETER, "O_PATH");
  refuse(open(path.c_str(), O_WRONLY), VIRTDISK_ERROR_INVALID_PARAMETER, "write-only");
  refuse(open(path.c_str(), O_WRONLY | O_APPEND), VIRTDISK_ERROR_INVALID_PARAMETER, "write-only");
  refuse(open(path.c_str(), O_RDWR | O_APPEND), VIRTDISK_ERROR_INVALID_PARAMETER, "O_APPEND");
  refuse(open(path.c_str(), O_RDONLY | O_APPEND), VIRTDISK_ERROR_INVALID_PARAMETER, "O_APPEND");
  refuse(open(path.c_str(), O_ACCMODE), VIRTDISK_ERROR_INVALID_PARAMETER, "neither");
  refuse(open(path.c_str(), O_RDONLY), VIRTDISK_ERROR_ACCESS_DENIED, "for reading only", TRUE);
}

TEST_F(Image, RefusesDirectDescriptors)
{
  int fd = open(file("a").c_str(), O_RDWR | O_DIRECT);

  if (fd < 0)
    GTEST_SKIP() << "the file system of " << folder << " knows no O_DIRECT";
  refuse(fd, VIRTDISK_ERROR_INVALID_PARAMETER, "O_DIRECT");
}

TEST_F(Image, RefusesNumbersThatAreNoDescriptor)
{
  for (int fd : {-1, G_MININT, G_MAXINT}) {
    g_clear_error(&error);
    EXPECT_EQ(vd_image_new(fd, nullptr, VIRTDISK_DEVICE_RAW, nullptr, FALSE, 0, &error), nullptr);
    EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER));
  }
}

TEST_F(Image, RefusesToWriteWhatTheFileForbids)
{
  std::string path = file("a");

  for (int flag : {FS_IMMUTABLE_FL, FS_APPEND_FL}) {
    int fd = open(path.c_str(), O_RDWR), keep = dup(fd), none = 0;

    if (ioctl(keep, FS_IOC_SETFLAGS, &flag) < 0) {
      close(fd);
      close(keep);
      GTEST_SKIP() << "no right or no way to set inode flags on " << folder;
    }
    refuse(fd, VIRTDISK_ERROR_WRITE_PROTECT, flag == FS_IMMUTABLE_FL ? "immutable" : "append-only", TRUE);
    {
      g_autoptr(VdImage) image = make(dup(keep), FALSE);

      EXPECT_NE(image, nullptr) << "reading is fine";
    }
    EXPECT_EQ(ioctl(keep, FS_IOC_SETFLAGS, &none), 0);
    close(keep);
  }
}

TEST_F(Image, KeepsTheNameItIsGiven)
{
  g_autoptr(VdImage) image =
      vd_image_new(open(file("a").c_str(), O_RDONLY), "/x\n\xff.img", 0, nullptr, FALSE, 0, &error);

  ASSERT_NE(image, nullptr) << error->message;
  EXPECT_STREQ(image->path, "/x\n\xff.img");
  EXPECT_STREQ(image->display, "/x\\x0a\\xff.img");
  EXPECT_EQ(image->device_id, static_cast<guint32>(VIRTDISK_DEVICE_RAW));
}

// What a descriptor of another mount namespace is called there may be nothing, or another file, here.
TEST_F(Image, NameThatLeadsNowhereIsMarked)
{
  if (!mount_tmpfs("away"))
    GTEST_SKIP() << "no right to mount";
  int fd = open(file("away/disk.raw", 8192).c_str(), O_RDONLY);
  ASSERT_EQ(umount2((folder + "/away").c_str(), MNT_DETACH), 0);
  g_autoptr(VdImage) image = make(fd);

  ASSERT_NE(image, nullptr) << error->message;
  EXPECT_EQ(std::string(image->path).rfind("(unreachable)/", 0), 0u) << image->path;
}

TEST_F(Image, NoticesChanges)
{
  std::string path = file("a");
  g_autoptr(VdImage) image = make(open(path.c_str(), O_RDWR), TRUE);
  const struct timespec epoch[2] = {{1, 0}, {1, 0}};

  ASSERT_NE(image, nullptr);
  EXPECT_TRUE(vd_image_unchanged(image, &error));
  ASSERT_EQ(truncate(path.c_str(), 8192), 0);
  EXPECT_FALSE(vd_image_unchanged(image, &error));
  EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_CHANGED));
  EXPECT_NE(strstr(error->message, "its size"), nullptr);

  g_clear_error(&error);
  ASSERT_EQ(fstat(image->fd, &image->st), 0);
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), epoch, 0), 0);
  EXPECT_FALSE(vd_image_unchanged(image, &error));
  EXPECT_NE(strstr(error->message, "its contents"), nullptr) << error->message;

  g_clear_error(&error);
  ASSERT_EQ(fstat(image->fd, &image->st), 0);
  unlink(path.c_str());
  EXPECT_FALSE(vd_image_unchanged(image, &error));
  EXPECT_NE(strstr(error->message, "its identity"), nullptr) << error->message;
}

TEST_F(Image, OriginUrlIsPresentable)
{
  const std::string longest = "https://example.org/" + std::string(4096 - 20, 'a');
  const std::string longer = longest + "a";
  const struct {
    std::string value;
    const char *expected;
  } rows[] = {
      {"https://example.org/a.iso", "https://example.org/a.iso"},
      {"https://example.org/ä b.iso", "https://example.org/ä b.iso"},
      {"ftp://someone:secret@example.org/a.iso", "ftp://example.org/a.iso"},
      {"", nullptr},
      {"not a url", nullptr},
      {"https://example.org/\n", nullptr},
      {"https://example.org/\xe2\x80\xae", nullptr},
      {"https://example.org/\xff", nullptr},
      {std::string("https://example.org/\0b", 22), nullptr},
      {longest, longest.c_str()},
      {longer, nullptr},
  };
  std::string path = file("a");

  for (auto &row : rows) {
    if (setxattr(path.c_str(), "user.xdg.origin.url", row.value.data(), row.value.size(), 0) < 0) {
      if (errno == ENOSPC)
        continue; /* ext4 keeps extended attributes in one block */
      GTEST_SKIP() << "no user attributes on " << folder << ": " << g_strerror(errno);
    }
    g_autoptr(VdImage) image = make(open(path.c_str(), O_RDONLY));

    ASSERT_NE(image, nullptr) << error->message;
    EXPECT_STREQ(image->origin_url, row.expected) << row.value;
  }
}

TEST_F(Image, ThePageThatLedToADownloadStandsForItsAddress)
{
  std::string path = file("a");
  const char referrer[] = "https://example.org/downloads", origin[] = "https://cdn.example.net/a.iso";

  if (setxattr(path.c_str(), "user.xdg.referrer.url", referrer, strlen(referrer), 0) < 0)
    GTEST_SKIP() << "no user attributes on " << folder << ": " << g_strerror(errno);
  g_autoptr(VdImage) page = make(open(path.c_str(), O_RDONLY));
  ASSERT_NE(page, nullptr) << error->message;
  EXPECT_STREQ(page->origin_url, referrer);

  ASSERT_EQ(setxattr(path.c_str(), "user.xdg.origin.url", origin, strlen(origin), 0), 0);
  g_autoptr(VdImage) both = make(open(path.c_str(), O_RDONLY));
  ASSERT_NE(both, nullptr) << error->message;
  EXPECT_STREQ(both->origin_url, origin);
}

} // namespace
