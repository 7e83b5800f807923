// SPDX-License-Identifier: LGPL-2.1-or-later
#include <linux/fs.h>
#include <linux/fscrypt.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include "scratch.h"

extern "C" {
#include "hostfile.h"
#include "util/cleanup.h"
#include "virtdisk-enums.h"
#include "virtdisk-error.h"
}

namespace
{

const char *const own[] = {"192.168.7.4", "fe80::1%eth0", "2001:db8::4", "Nas", nullptr};

struct ShareCase {
  const char *tail; /* of a line of mountinfo, from the file system's type on */
  bool loopback;
};

const ShareCase shares[] = {
    {"nfs nas:/export rw,vers=3,addr=192.168.7.4", true},
    {"nfs4 elsewhere:/export rw,vers=4.2,clientaddr=192.168.7.4,local_lock=none,addr=192.168.7.4", true},
    {"nfs4 elsewhere:/export rw,vers=4.2,clientaddr=192.168.7.4,addr=192.168.7.5", false},
    {"nfs4 elsewhere:/export rw,mountaddr=192.168.7.4,addr=192.168.7.5", false},
    {"nfs4 localhost:/export rw,addr=127.0.0.1", true},
    {"nfs4 x:/export rw,addr=127.3.2.1", true},
    {"nfs4 [::1]:/export rw,addr=::1", true},
    {"nfs4 x:/export rw,addr=fe80::1%eth0", true},
    {"nfs4 x:/export rw,addr=2001:0db8:0:0::4", true},
    {"nfs4 x:/export rw,addr=::ffff:192.168.7.4", true},
    {"nfs4 x:/export rw,addr=2001:db8::5", false},
    {"nfs4 nas:/export rw", true},
    {"nfs4 [2001:db8::4]:/export rw", true},
    {"nfs4 other:/export rw", false},
    {"cifs //nas/share rw,vers=3.1.1,addr=192.168.7.4,file_mode=0755", true},
    {"cifs //nas/share rw,vers=3.1.1,addr=192.168.7.40", false},
    {"smb3 //127.0.0.1/share rw,addr=127.0.0.1", true},
    {"cifs //NAS/share rw", true},
    {"cifs //192.168.7.4/share rw", true},
    {"cifs //other/share rw", false},
    {"9p 192.168.7.4 rw,access=client,trans=tcp,port=564", true},
    {"9p 192.168.7.9 rw,access=client,trans=tcp,port=564", false},
    {"9p hostshare rw,access=client,trans=virtio", false},
    {"9p /run/server.sock rw,access=client,trans=unix", true},
    {"fuse.sshfs me@localhost:/ rw,user_id=0", false},
    {"ceph 192.168.7.4:6789:/ rw,name=admin", false},
    {"ext4 /dev/sda1 rw,addr=127.0.0.1", false},
    {"tmpfs localhost:/x rw", false},
};

TEST(LoopbackShare, Table)
{
  for (const ShareCase &row : shares) {
    std::string text = std::string("21 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"
                                   "40 21 0:50 / /mnt/with\\040space rw,relatime shared:7 master:2 - ") +
                       row.tail + "\n41 21 0:51 / /mnt/b rw - tmpfs tmpfs rw\n";

    EXPECT_EQ(vd_hostfile_is_loopback_share(text.c_str(), makedev(0, 50), own), row.loopback) << row.tail;
    EXPECT_FALSE(vd_hostfile_is_loopback_share(text.c_str(), makedev(0, 51), own)) << row.tail;
    EXPECT_FALSE(vd_hostfile_is_loopback_share(text.c_str(), makedev(0, 5), own)) << row.tail;
  }
}

TEST(LoopbackShare, LinesThatDoNotParse)
{
  for (const char *text : {"", "\n", "40", "40 21 0:50", "40 21 0:50 / /m rw", "40 21 0:50 / /m rw - nfs",
                           "40 21 0:50 / /m rw - nfs x:/", "40 21 0:50 / /m rw shared:1", "     \n - - - -"})
    EXPECT_FALSE(vd_hostfile_is_loopback_share(text, makedev(0, 50), own)) << text;
}

class Hostfile : public Scratch
{
protected:
  /* The check of a fresh file at path says code with flags, and nothing with relax. */
  void expect_refusal(const std::string &path, VirtdiskError code, guint32 relax)
  {
    vd_autofd fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
    g_autoptr(GError) error = nullptr;

    ASSERT_GE(fd, 0) << path << ": " << g_strerror(errno);
    EXPECT_FALSE(vd_hostfile_check(fd, ~relax & VIRTDISK_OPEN_ALL_FLAGS, &error));
    EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, code)) << (error ? error->message : "no error");
    EXPECT_TRUE(vd_hostfile_check(fd, relax, nullptr));
  }
};

TEST_F(Hostfile, PlainFilePasses)
{
  vd_autofd fd = open(file("a").c_str(), O_RDONLY | O_CLOEXEC);

  EXPECT_TRUE(vd_hostfile_check(fd, 0, nullptr));
  EXPECT_FALSE(vd_hostfile_is_remote(fd));
  EXPECT_FALSE(vd_hostfile_is_pseudo(fd));
}

TEST_F(Hostfile, CompressedOnBtrfs)
{
  int flags = FS_COMPR_FL;

  if (!have_program("mkfs.btrfs"))
    GTEST_SKIP() << "mkfs.btrfs is not installed";
  if (!mount_new("btrfs", {"mkfs.btrfs", "-q"}, 128 << 20))
    GTEST_SKIP() << "no right to mount, or no btrfs in this kernel";
  std::string path = file("btrfs/a", 0), plain = file("btrfs/plain", 0);
  vd_autofd fd = open(path.c_str(), O_RDWR | O_CLOEXEC), plain_fd = open(plain.c_str(), O_RDONLY | O_CLOEXEC);

  ASSERT_EQ(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0) << g_strerror(errno);
  expect_refusal(path, VIRTDISK_ERROR_UNSUPPORTED_COMPRESSION, VIRTDISK_OPEN_SUPPORT_COMPRESSED_VOLUMES);
  EXPECT_TRUE(vd_hostfile_check(plain_fd, 0, nullptr));
}

/* A version 2 policy on folder, with a key of zeros. */
bool encrypt_folder(const char *root, const char *folder)
{
  const guint32 key_size = 64;
  g_autofree fscrypt_add_key_arg *key =
      static_cast<fscrypt_add_key_arg *>(g_malloc0(sizeof(fscrypt_add_key_arg) + key_size));
  fscrypt_policy_v2 policy = {};
  vd_autofd root_fd = open(root, O_RDONLY | O_CLOEXEC), fd = -1;

  key->key_spec.type = FSCRYPT_KEY_SPEC_TYPE_IDENTIFIER;
  key->raw_size = key_size;
  if (ioctl(root_fd, FS_IOC_ADD_ENCRYPTION_KEY, key) < 0 || mkdir(folder, 0755) < 0)
    return false;
  policy.version = FSCRYPT_POLICY_V2;
  policy.contents_encryption_mode = FSCRYPT_MODE_AES_256_XTS;
  policy.filenames_encryption_mode = FSCRYPT_MODE_AES_256_CTS;
  policy.flags = FSCRYPT_POLICY_FLAGS_PAD_32;
  memcpy(policy.master_key_identifier, key->key_spec.u.identifier, sizeof policy.master_key_identifier);
  fd = open(folder, O_RDONLY | O_CLOEXEC);
  return ioctl(fd, FS_IOC_SET_ENCRYPTION_POLICY, &policy) == 0;
}

TEST_F(Hostfile, EncryptedOnExt4)
{
  if (!have_program("mkfs.ext4"))
    GTEST_SKIP() << "mkfs.ext4 is not installed";
  if (!mount_new("ext4", {"mkfs.ext4", "-q", "-O", "encrypt"}, 16 << 20))
    GTEST_SKIP() << "no right to mount, or no ext4 in this kernel";
  if (!encrypt_folder((folder + "/ext4").c_str(), (folder + "/ext4/secret").c_str()))
    GTEST_SKIP() << "no fscrypt in this kernel: " << g_strerror(errno);
  std::string path = folder + "/ext4/secret/a";
  vd_autofd fd = open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);

  if (fd < 0)
    GTEST_SKIP() << "no cipher for fscrypt in this kernel: " << g_strerror(errno);
  expect_refusal(path, VIRTDISK_ERROR_FILE_ENCRYPTED, VIRTDISK_OPEN_SUPPORT_ENCRYPTED_FILES);
}

TEST_F(Hostfile, SwapSpaceIsInUse)
{
  std::string path = file("swap", 0);
  vd_autofd fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  g_autoptr(GError) error = nullptr;

  EXPECT_TRUE(vd_hostfile_check_use(fd, TRUE, nullptr));
  if (!have_program("mkswap") || posix_fallocate(fd, 0, 1 << 20) != 0 || fchmod(fd, 0600) < 0 ||
      !run({"mkswap", path}) || !run({"swapon", path}))
    GTEST_SKIP() << "no right to swap to a file, or no way in this kernel";
  EXPECT_FALSE(vd_hostfile_check_use(fd, FALSE, &error));
  EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_SHARING_VIOLATION));
  EXPECT_TRUE(run({"swapoff", path}));
}

TEST_F(Hostfile, DiskBelowAFile)
{
  guint32 logical = 0, physical = 0;
  gboolean removable = TRUE;

  vd_hostfile_host_disk(makedev(0, 12345), &logical, &physical, &removable);
  EXPECT_EQ(logical, 512u);
  EXPECT_EQ(physical, 512u);
  EXPECT_FALSE(removable);
}

TEST_F(Hostfile, DiskBelowAMountedFile)
{
  g_autofree char *out = nullptr;
  guint32 logical = 0, physical = 0;
  gboolean removable = TRUE;
  struct stat st;

  if (!have_program("mkfs.ext4") || !mount_new("ext4", {"mkfs.ext4", "-q"}, 16 << 20))
    GTEST_SKIP() << "no right to mount, or no ext4 in this kernel";
  ASSERT_EQ(stat((folder + "/ext4").c_str(), &st), 0);
  vd_hostfile_host_disk(st.st_dev, &logical, &physical, &removable);
  g_autofree char *queue =
      g_strdup_printf("/sys/dev/block/%u:%u/queue/logical_block_size", major(st.st_dev), minor(st.st_dev));
  ASSERT_TRUE(g_file_get_contents(queue, &out, nullptr, nullptr)) << queue;
  EXPECT_EQ(logical, static_cast<guint32>(atoi(out)));
  EXPECT_GE(physical, logical);
  EXPECT_FALSE(removable);
}

} // namespace
