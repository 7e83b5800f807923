/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Compressed, encrypted, remote, pseudo: what the host says of a file, from its descriptor, mountinfo, sysfs
 * and the addresses of this machine. Opens no path that comes from elsewhere.
 */
#include "hostfile.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/fs.h>
#include <netdb.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "util/checked.h"
#include "util/cleanup.h"
#include "util/host-network.h"
#include "virtdisk-enums.h"
#include "virtdisk-error.h"

/* statfs(2) and linux/magic.h; spelled out since the header of older kernels lacks some. */
#define MAGIC_NFS 0x6969u
#define MAGIC_SMB 0x517Bu
#define MAGIC_CIFS 0xFF534D42u
#define MAGIC_SMB2 0xFE534D42u
#define MAGIC_9P 0x01021997u
#define MAGIC_FUSE 0x65735546u
#define MAGIC_ECRYPTFS 0xF15Fu

static const guint32 pseudo_magics[] = {
    0x9FA0,     /* proc */
    0x62656572, /* sysfs */
    0x1CD1,     /* devpts */
    0x27E0EB,   /* cgroup */
    0x63677270, /* cgroup2 */
    0x64626720, /* debugfs */
    0x74726163, /* tracefs */
    0x73636673, /* securityfs */
    0x62656570, /* configfs */
    0xCAFE4A11, /* bpf */
    0x6165676C, /* pstore */
    0xDE5E81E4, /* efivarfs */
    0xF97CFF8C, /* selinuxfs */
    0x43415D53, /* smackfs */
    0x5A3C69F0, /* apparmorfs */
    0x07655821, /* resctrl */
    0x6E736673, /* nsfs */
    0x50494446, /* pidfs */
    0x50495045, /* pipefs */
    0x534F434B, /* sockfs */
    0x09041934, /* anonymous inodes */
    0x19800202, /* mqueue */
    0x65735543, /* fusectl */
    0x42494E4D, /* binfmt_misc */
    0x67596969, /* rpc_pipefs */
    0x6E667364, /* nfsd */
    0x958458F6, /* hugetlbfs */
    0x6C6F6F70, /* binder */
    0x5345434D, /* secretmem */
    0x454D444D, /* devmem */
    0xABBA1974, /* xenfs */
    0x9FA1,     /* openprom */
    0x9FA2,     /* usbdevfs */
};

static const guint32 remote_magics[] = {
    MAGIC_NFS,  MAGIC_SMB, MAGIC_CIFS, MAGIC_SMB2, MAGIC_9P, 0x00C36400, /* ceph */
    0x5346414F,                                                          /* afs (OpenAFS) */
    0x6B414653,                                                          /* afs (kernel) */
    0x73757245,                                                          /* coda */
    0x564C,                                                              /* ncp */
    0x01161970,                                                          /* gfs2 */
    0x7461636F,                                                          /* ocfs2 */
    0x0BD00BD0,                                                          /* lustre */
    0x47504653,                                                          /* gpfs */
};

/* The kernel alone, and a disk, answer for what lies there. Not those that are laid over others (overlay,
 * ecryptfs), which ask them. */
static const guint32 local_magics[] = {
    0xEF53,     /* ext2, ext3, ext4 */
    0x58465342, /* xfs */
    0x9123683E, /* btrfs */
    0xCA451A4E, /* bcachefs */
    0x2FC12FC1, /* zfs */
    0xF2F52010, /* f2fs */
    0x01021994, /* tmpfs */
    0x858458F6, /* ramfs */
    0x4D44,     /* msdos, vfat */
    0x2011BAB0, /* exfat */
    0x7366746E, /* ntfs3 */
    0x9660,     /* iso9660 */
    0x15013346, /* udf */
    0x73717368, /* squashfs */
    0xE0F5E1E2, /* erofs */
};

static const char *const remote_fuse_types[] = {"fuse.sshfs",
                                                "fuse.glusterfs",
                                                "fuse.rclone",
                                                "fuse.s3fs",
                                                "fuse.ceph-fuse",
                                                "fuse.ceph",
                                                "fuse.curlftpfs",
                                                "fuse.davfs",
                                                "fuse.juicefs",
                                                "fuse.mfs",
                                                "fuse.moosefs",
                                                "fuse.seaweedfs",
                                                "fuse.mount.davfs",
                                                "fuse.gcsfuse",
                                                "fuse.goofys",
                                                "fuse.smbnetfs",
                                                "fuse.gvfsd-fuse",
                                                "fuse.lizardfs",
                                                NULL};

/* One line of mountinfo (proc(5)), as far as it is needed; escapes stay. */
typedef struct {
  char *fs_type;
  char *source;
  char *super_options;
} Mount;

static void mount_clear(Mount *self)
{
  g_clear_pointer(&self->fs_type, g_free);
  g_clear_pointer(&self->source, g_free);
  g_clear_pointer(&self->super_options, g_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Mount, mount_clear)

static gboolean contains_magic(const guint32 *magics, gsize n, guint32 magic)
{
  for (gsize i = 0; i < n; i++)
    if (magics[i] == magic)
      return TRUE;
  return FALSE;
}

/* 0 if the file system does not say. */
static guint32 magic_of(int fd)
{
  struct statfs st;

  return fstatfs(fd, &st) == 0 ? (guint32)st.f_type : 0;
}

gboolean vd_hostfile_is_pseudo(int fd)
{
  return contains_magic(pseudo_magics, G_N_ELEMENTS(pseudo_magics), magic_of(fd));
}

/* The text after the optional fields: type, source, options. */
static gboolean parse_mount_tail(char **fields, Mount *ret_mount)
{
  while (*fields && strcmp(*fields, "-") != 0)
    fields++;
  if (g_strv_length(fields) < 4)
    return FALSE;
  ret_mount->fs_type = g_strdup(fields[1]);
  ret_mount->source = g_strdup(fields[2]);
  ret_mount->super_options = g_strdup(fields[3]);
  return TRUE;
}

/* All mounts with one number are of one file system, so the first tells. */
static gboolean find_mount(const char *mountinfo, dev_t number, Mount *ret_mount)
{
  g_autofree char *wanted = g_strdup_printf("%u:%u", major(number), minor(number));
  g_auto(GStrv) lines = g_strsplit(mountinfo, "\n", -1);

  for (char **line = lines; *line; line++) {
    g_auto(GStrv) fields = g_strsplit(*line, " ", -1);

    /* id, parent, number, root, point, options, optional fields... */
    if (g_strv_length(fields) >= 6 && g_str_equal(fields[2], wanted) &&
        parse_mount_tail(fields + 6, ret_mount))
      return TRUE;
  }
  return FALSE;
}

static gboolean find_mount_of_fd(int fd, Mount *ret_mount)
{
  g_autofree char *mountinfo = NULL;
  struct stat st;

  return fstat(fd, &st) == 0 && g_file_get_contents("/proc/self/mountinfo", &mountinfo, NULL, NULL) &&
         find_mount(mountinfo, st.st_dev, ret_mount);
}

gboolean vd_hostfile_is_remote(int fd)
{
  g_auto(Mount) mount = {NULL};
  guint32 magic = magic_of(fd);

  if (contains_magic(remote_magics, G_N_ELEMENTS(remote_magics), magic))
    return TRUE;
  return magic == MAGIC_FUSE && find_mount_of_fd(fd, &mount) &&
         g_strv_contains(remote_fuse_types, mount.fs_type);
}

gboolean vd_hostfile_may_hang(int fd)
{
  guint32 magic = magic_of(fd);

  /* A user's FUSE process may keep even its name to itself. */
  return magic == 0 || magic == MAGIC_FUSE ||
         contains_magic(remote_magics, G_N_ELEMENTS(remote_magics), magic);
}

gboolean vd_hostfile_is_local(int fd)
{
  guint32 magic = magic_of(fd);

  return contains_magic(local_magics, G_N_ELEMENTS(local_magics), magic) ||
         contains_magic(pseudo_magics, G_N_ELEMENTS(pseudo_magics), magic);
}

/* Address as 16 bytes (IPv4 mapped); brackets and an interface ("%eth0") are dropped. */
static gboolean parse_address(const char *text, struct in6_addr *ret_address)
{
  g_autofree char *bare = g_strdup(*text == '[' ? text + 1 : text);
  struct in_addr v4;

  bare[strcspn(bare, "]%")] = '\0';
  if (inet_pton(AF_INET6, bare, ret_address) == 1)
    return TRUE;
  if (inet_pton(AF_INET, bare, &v4) != 1)
    return FALSE;
  memset(ret_address, 0, sizeof *ret_address);
  ret_address->s6_addr[10] = ret_address->s6_addr[11] = 0xff;
  memcpy(&ret_address->s6_addr[12], &v4, sizeof v4);
  return TRUE;
}

static gboolean is_loopback_address(const struct in6_addr *address)
{
  return IN6_IS_ADDR_LOOPBACK(address) || (IN6_IS_ADDR_V4MAPPED(address) && address->s6_addr[12] == 127);
}

static gboolean is_this_host(const char *name, const char *const *addresses)
{
  struct in6_addr wanted, own;
  gboolean numeric = parse_address(name, &wanted);

  if (numeric ? is_loopback_address(&wanted) : g_ascii_strcasecmp(name, "localhost") == 0)
    return TRUE;
  for (; *addresses; addresses++)
    if (numeric ? parse_address(*addresses, &own) && memcmp(&own, &wanted, sizeof own) == 0
                : g_ascii_strcasecmp(name, *addresses) == 0)
      return TRUE;
  return FALSE;
}

/* Value of key= in a list of mount options, or NULL. (transfer full) */
static char *mount_option(const char *options, const char *key)
{
  g_auto(GStrv) list = g_strsplit(options, ",", -1);
  gsize length = strlen(key);

  for (char **option = list; *option; option++)
    if (strncmp(*option, key, length) == 0 && (*option)[length] == '=')
      return g_strdup(*option + length + 1);
  return NULL;
}

/* "host:/export", "[::1]:/export" */
static char *host_of_nfs_source(const char *source)
{
  const char *end = *source == '[' ? strchr(source, ']') : strchr(source, ':');

  return end ? g_strndup(source, (gsize)(end - source)) : g_strdup(source);
}

/* "//host/share", and with a user or port as gio writes it */
static char *host_of_smb_source(const char *source)
{
  const char *host = source + strspn(source, "/\\");

  return g_strndup(host, strcspn(host, "/\\"));
}

static char *server_of_9p(const Mount *mount)
{
  g_autofree char *transport = mount_option(mount->super_options, "trans");

  if (g_strcmp0(transport, "unix") == 0)
    return g_strdup("localhost"); /* a socket of this very host */
  return g_strcmp0(transport, "tcp") == 0 ? g_strdup(mount->source) : NULL;
}

/* Who serves the mount, as address or name; NULL: not a network share, or no telling. (transfer full) */
static char *server_of(const Mount *mount)
{
  const char *const nfs[] = {"nfs", "nfs4", NULL};
  const char *const smb[] = {"cifs", "smb3", "smbfs", NULL};
  char *address;

  if (g_str_equal(mount->fs_type, "9p"))
    return server_of_9p(mount);
  if (!g_strv_contains(nfs, mount->fs_type) && !g_strv_contains(smb, mount->fs_type))
    return NULL;
  address = mount_option(mount->super_options, "addr");
  if (address)
    return address;
  return *mount->fs_type == 'n' ? host_of_nfs_source(mount->source) : host_of_smb_source(mount->source);
}

gboolean vd_hostfile_is_loopback_share(const char *mountinfo, dev_t number, const char *const *addresses)
{
  g_auto(Mount) mount = {NULL};
  g_autofree char *server = NULL;

  if (!find_mount(mountinfo, number, &mount))
    return FALSE;
  server = server_of(&mount);
  return server && is_this_host(server, addresses);
}

/* Numeric addresses of all interfaces, and the host's name. (transfer full) */
static GStrv own_addresses(void)
{
  g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
  struct ifaddrs *list = NULL;
  char text[NI_MAXHOST];
  vd_in_host_network back = vd_host_network_enter();

  if (getifaddrs(&list) < 0)
    list = NULL;
  for (struct ifaddrs *item = list; item; item = item->ifa_next) {
    int family = item->ifa_addr ? item->ifa_addr->sa_family : AF_UNSPEC;
    socklen_t length = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);

    if ((family == AF_INET || family == AF_INET6) &&
        getnameinfo(item->ifa_addr, length, text, sizeof text, NULL, 0, NI_NUMERICHOST) == 0)
      g_strv_builder_add(builder, text);
  }
  freeifaddrs(list);
  g_strv_builder_add(builder, g_get_host_name());
  return g_strv_builder_end(builder);
}

static gboolean check_share(int fd, guint32 magic, GError **error)
{
  const guint32 shares[] = {MAGIC_NFS, MAGIC_SMB, MAGIC_CIFS, MAGIC_SMB2, MAGIC_9P};
  g_autofree char *mountinfo = NULL;
  g_auto(GStrv) addresses = NULL;
  struct stat st;

  if (!contains_magic(shares, G_N_ELEMENTS(shares), magic) || fstat(fd, &st) < 0 ||
      !g_file_get_contents("/proc/self/mountinfo", &mountinfo, NULL, NULL))
    return TRUE;
  addresses = own_addresses();
  if (!vd_hostfile_is_loopback_share(mountinfo, st.st_dev, (const char *const *)addresses))
    return TRUE;
  g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_SYSTEM_LIMITATION,
                      "the file lies on a network share that this very host serves; use its local path");
  return FALSE;
}

typedef enum { TRAIT_COMPRESSED = 1, TRAIT_ENCRYPTED = 2 } FileTraits;

/* Asks both interfaces: file systems differ in which of them they answer. */
static FileTraits traits_of(int fd, guint32 magic)
{
  FileTraits traits = magic == MAGIC_ECRYPTFS ? TRAIT_ENCRYPTED : 0;
  /* The kernel writes an int, whatever type the number of the ioctl is made from. */
  int flags = 0;
  struct statx stx;

  if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0)
    traits |= (flags & FS_COMPR_FL ? TRAIT_COMPRESSED : 0) | (flags & FS_ENCRYPT_FL ? TRAIT_ENCRYPTED : 0);
  if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &stx) == 0)
    traits |= (stx.stx_attributes & STATX_ATTR_COMPRESSED ? TRAIT_COMPRESSED : 0) |
              (stx.stx_attributes & STATX_ATTR_ENCRYPTED ? TRAIT_ENCRYPTED : 0);
  return traits;
}

gboolean vd_hostfile_check(int fd, guint32 open_flags, GError **error)
{
  guint32 magic = magic_of(fd);
  FileTraits traits = traits_of(fd, magic);

  if ((traits & TRAIT_COMPRESSED) && !(open_flags & VIRTDISK_OPEN_SUPPORT_COMPRESSED_VOLUMES)) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_UNSUPPORTED_COMPRESSION,
                        "the host's file system compresses the file (flag SUPPORT_COMPRESSED_VOLUMES)");
    return FALSE;
  }
  if ((traits & TRAIT_ENCRYPTED) && !(open_flags & VIRTDISK_OPEN_SUPPORT_ENCRYPTED_FILES)) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_ENCRYPTED,
                        "the host's file system encrypts the file (flag SUPPORT_ENCRYPTED_FILES)");
    return FALSE;
  }
  return check_share(fd, magic, error);
}

/* text: of /proc/swaps. Names there are escaped as in mountinfo; the file is compared, not the name. */
static gboolean is_swap(const char *text, const struct stat *st)
{
  g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

  for (char **line = lines; *line; line++) {
    g_auto(GStrv) fields = g_strsplit_set(*line, " \t", 2);
    g_autofree char *path = fields[0] ? g_strcompress(fields[0]) : NULL;
    struct stat swap;

    if (path && *path == '/' && stat(path, &swap) == 0 && swap.st_dev == st->st_dev &&
        swap.st_ino == st->st_ino)
      return TRUE;
  }
  return FALSE;
}

gboolean vd_hostfile_check_use(int fd, gboolean want_write, GError **error)
{
  const guint64 frozen = STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND | STATX_ATTR_VERITY;
  g_autofree char *swaps = NULL;
  struct statx stx;
  struct stat st;

  if (g_file_get_contents("/proc/swaps", &swaps, NULL, NULL) && fstat(fd, &st) == 0 && is_swap(swaps, &st)) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_SHARING_VIOLATION, "the file is swap space");
    return FALSE;
  }
  if (!want_write || statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &stx) < 0 ||
      !(stx.stx_attributes & frozen))
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_WRITE_PROTECT, "the file is %s",
              stx.stx_attributes & STATX_ATTR_IMMUTABLE ? "immutable (chattr +i)"
              : stx.stx_attributes & STATX_ATTR_APPEND  ? "append-only (chattr +a)"
                                                        : "protected by fs-verity");
  return FALSE;
}

/* A small decimal number in sysfs; fallback where there is none. */
static guint64 read_sysfs_number(const char *path, guint64 fallback)
{
  g_autofree char *text = NULL;
  guint64 value;

  if (!g_file_get_contents(path, &text, NULL, NULL) ||
      !g_ascii_string_to_unsigned(g_strstrip(text), 10, 0, G_MAXUINT32, &value, NULL))
    return fallback;
  return value;
}

static guint32 read_sector_size(const char *disk, const char *name)
{
  g_autofree char *path = g_build_filename(disk, "queue", name, NULL);
  guint64 size = read_sysfs_number(path, 512);

  return size >= 512 && size <= 65536 && vd_is_power_of_two(size) ? (guint32)size : 512;
}

void vd_hostfile_host_disk(dev_t number, guint32 *ret_logical, guint32 *ret_physical, gboolean *ret_removable)
{
  g_autofree char *node = g_strdup_printf("/sys/dev/block/%u:%u", major(number), minor(number));
  g_autofree char *partition = g_build_filename(node, "partition", NULL);
  /* The folder of a partition lies within its disk's. */
  gboolean is_partition = access(partition, F_OK) == 0;
  g_autofree char *disk = g_build_filename(node, is_partition ? ".." : ".", NULL);
  g_autofree char *removable = g_build_filename(disk, "removable", NULL);

  *ret_logical = read_sector_size(disk, "logical_block_size");
  *ret_physical = read_sector_size(disk, "physical_block_size");
  *ret_removable = read_sysfs_number(removable, 0) == 1;
}
