/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an image is from outside: the type its caller names, the descriptor it arrived in, the file below.
 * Never reads a byte of the file, never changes the flags of its open file description (a client may share
 * it).
 */
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "hostfile.h"
#include "util/cleanup.h"
#include "util/offload.h"
#include "virtdisk-error.h"

#define ORIGIN_MAX 4096

typedef enum { TYPE_KNOWN, TYPE_SERVED } TypeSupport;

typedef struct {
  guint32 device_id;
  TypeSupport support;
  const char *format;
  const char *vendor;
  const char *suffixes[2];
} TypeRow;

static const TypeRow types[] = {
    {VIRTDISK_DEVICE_ISO, TYPE_SERVED, "iso", VIRTDISK_VENDOR_MICROSOFT, {".iso"}},
    {VIRTDISK_DEVICE_VHD, TYPE_SERVED, "vhd", VIRTDISK_VENDOR_MICROSOFT, {".vhd", ".avhd"}},
    {VIRTDISK_DEVICE_VHDX, TYPE_SERVED, "vhdx", VIRTDISK_VENDOR_MICROSOFT, {".vhdx", ".avhdx"}},
    {VIRTDISK_DEVICE_VHDSET, TYPE_KNOWN, "vhds", VIRTDISK_VENDOR_MICROSOFT, {".vhds"}},
    {VIRTDISK_DEVICE_RAW, TYPE_SERVED, "raw", VIRTDISK_VENDOR_VIRTDISK, {".img", ".raw"}},
};

static const TypeRow *type_by_id(guint32 device_id)
{
  for (gsize i = 0; i < G_N_ELEMENTS(types); i++)
    if (types[i].device_id == device_id)
      return &types[i];
  return NULL;
}

static gboolean has_suffix(const char *path, const char *suffix)
{
  gsize path_length = strlen(path), length = strlen(suffix);

  return path_length >= length && g_ascii_strcasecmp(path + path_length - length, suffix) == 0;
}

static const TypeRow *type_by_suffix(const char *path)
{
  for (gsize i = 0; i < G_N_ELEMENTS(types); i++)
    for (gsize j = 0; j < G_N_ELEMENTS(types[i].suffixes) && types[i].suffixes[j]; j++)
      if (has_suffix(path, types[i].suffixes[j]))
        return &types[i];
  return NULL;
}

const char *vd_device_id_to_format(guint32 device_id)
{
  const TypeRow *row = type_by_id(device_id);

  return row ? row->format : NULL;
}

const char *vd_device_id_to_vendor(guint32 device_id)
{
  const TypeRow *row = type_by_id(device_id);

  return row ? row->vendor : NULL;
}

static gboolean check_vendor(const TypeRow *row, const char *vendor, GError **error)
{
  if (!vendor)
    return TRUE;
  if (!g_uuid_string_is_valid(vendor)) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                        "The vendor id is not the text of a GUID");
    return FALSE;
  }
  if (!row || g_ascii_strcasecmp(vendor, VIRTDISK_VENDOR_UNKNOWN) == 0 ||
      g_ascii_strcasecmp(vendor, row->vendor) == 0)
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_PROVIDER_NOT_FOUND, "Vendor %s provides no %s images",
              vendor, row->format);
  return FALSE;
}

gboolean vd_image_resolve_type(guint32 device_id, const char *vendor, const char *path,
                               guint32 *ret_device_id, GError **error)
{
  const TypeRow *row;

  g_return_val_if_fail(path || device_id != VIRTDISK_DEVICE_UNKNOWN, FALSE);
  row = device_id == VIRTDISK_DEVICE_UNKNOWN ? type_by_suffix(path) : type_by_id(device_id);
  if (!check_vendor(row, vendor, error))
    return FALSE;
  if (!row && device_id == VIRTDISK_DEVICE_UNKNOWN) {
    g_autofree char *display = vd_path_to_display(path);

    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_PROVIDER_NOT_FOUND,
                "The name of “%s” does not end in .iso, .vhd, .vhdx, .img or .raw; name its format", display);
    return FALSE;
  }
  if (!row) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_PROVIDER_NOT_FOUND,
                "No format has the device id %" G_GUINT32_FORMAT, device_id);
    return FALSE;
  }
  if (row->support != TYPE_SERVED) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_PROVIDER_NOT_FOUND,
                "Images of format %s are not served by this version", row->format);
    return FALSE;
  }
  *ret_device_id = row->device_id;
  return TRUE;
}

static const char *name_of_file_type(mode_t mode)
{
  switch (mode & S_IFMT) {
  case S_IFDIR:
    return "a folder";
  case S_IFIFO:
    return "a pipe";
  case S_IFSOCK:
    return "a socket";
  case S_IFLNK:
    return "a symbolic link";
  case S_IFCHR:
    return "a character device";
  case S_IFBLK:
    return "a block device";
  default:
    return "an object of the kernel";
  }
}

static gboolean refuse_file(VdImage *self, const char *what, GError **error)
{
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_A_REGULAR_FILE, "“%s” is %s, not a regular file",
              self->display, what);
  return FALSE;
}

static gboolean check_file(VdImage *self, GError **error)
{
  if (fstat(self->fd, &self->st) < 0) {
    /* A FUSE mount without allow_other answers its owner only, not even root. */
    g_set_error(error, VIRTDISK_ERROR, errno == EACCES ? VIRTDISK_ERROR_ACCESS_DENIED : VIRTDISK_ERROR_IO,
                "The file system of “%s” does not let the service look at it: %s", self->display,
                g_strerror(errno));
    return FALSE;
  }
  if (!S_ISREG(self->st.st_mode))
    return refuse_file(self, name_of_file_type(self->st.st_mode), error);
  if (vd_hostfile_is_pseudo(self->fd))
    return refuse_file(self, "a window into the kernel", error);
  /* A memfd is born without a name; what has none cannot be found again, nor locked against others. */
  if (self->st.st_nlink == 0)
    return refuse_file(self, "a file without a name (memfd or deleted)", error);
  return TRUE;
}

static gboolean refuse_mode(VdImage *self, const char *why, GError **error)
{
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, "The descriptor of “%s” %s",
              self->display, why);
  return FALSE;
}

/* flags: what F_GETFL says. A loop device reads through a write-only descriptor, and overwrites through an
 * appending one (seen on Linux 6.18), so the mode is judged here. */
static gboolean check_mode(VdImage *self, int flags, gboolean want_write, GError **error)
{
  if (flags & O_PATH)
    return refuse_mode(self, "was opened with O_PATH, which gives no access", error);
  if ((flags & O_ACCMODE) == O_WRONLY)
    return refuse_mode(self, "is write-only", error);
  if ((flags & O_ACCMODE) != O_RDONLY && (flags & O_ACCMODE) != O_RDWR)
    return refuse_mode(self, "gives neither read nor write access", error);
  if (flags & O_APPEND)
    return refuse_mode(self, "was opened with O_APPEND, which ignores where a write belongs", error);
  if (flags & O_DIRECT)
    return refuse_mode(self, "was opened with O_DIRECT; the service chooses how it reads", error);
  self->writable = (flags & O_ACCMODE) == O_RDWR;
  if (want_write && !self->writable) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED, "“%s” was opened for reading only",
                self->display);
    return FALSE;
  }
  return TRUE;
}

static gboolean check_descriptor(VdImage *self, gboolean want_write, GError **error)
{
  int flags = fcntl(self->fd, F_GETFL);

  return check_file(self, error) && check_mode(self, flags, want_write, error);
}

/* Who is to read only gets what can only read, and hands that on to workers: a client's descriptor may do
 * more. Where the file cannot be opened again (a FUSE mount that is not root's, an NFS server that does not
 * trust root) the given one has to do. */
static void give_up_writing(VdImage *self)
{
  g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", self->fd);
  int fd = open(link, O_RDONLY | O_CLOEXEC | O_NOCTTY);
  struct statx stx;

  if (fd >= 0 && statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &stx) == 0 &&
      makedev(stx.stx_dev_major, stx.stx_dev_minor) == self->st.st_dev && stx.stx_ino == self->st.st_ino) {
    int given = self->fd;

    self->fd = fd;
    self->writable = FALSE;
    fd = given;
  }
  if (self->local)
    vd_clear_fd(&fd);
  else if (fd >= 0)
    vd_offload_close(fd);
}

/* The URL as it may be shown: no control characters, no password. NULL: not a URL. (transfer full) */
static char *presentable_url(const char *text, gsize length)
{
  const GUriFlags flags = G_URI_FLAGS_ENCODED | G_URI_FLAGS_PARSE_RELAXED | G_URI_FLAGS_HAS_PASSWORD;
  g_autoptr(GUri) uri = NULL;

  if (!g_utf8_validate_len(text, length, NULL))
    return NULL;
  for (const char *p = text; p < text + length; p = g_utf8_next_char(p))
    if (!vd_is_harmless(g_utf8_get_char(p)))
      return NULL;
  uri = g_uri_parse(text, flags, NULL);
  if (!uri)
    return NULL;
  return g_uri_get_userinfo(uri) ? g_uri_to_string_partial(uri, G_URI_HIDE_USERINFO) : g_strdup(text);
}

/* What browsers write to a file that they have downloaded: its address, or at least the page that led there.
 */
static char *read_origin_url(int fd)
{
  static const char *const names[] = {"user.xdg.origin.url", "user.xdg.referrer.url"};
  char text[ORIGIN_MAX + 1];
  char *url = NULL;

  for (gsize i = 0; i < G_N_ELEMENTS(names) && url == NULL; i++) {
    ssize_t length = fgetxattr(fd, names[i], text, ORIGIN_MAX);

    if (length <= 0)
      continue;
    text[length] = '\0';
    url = presentable_url(text, (gsize)length);
  }
  return url;
}

static char *path_of_descriptor(int fd)
{
  g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd);
  char *path = g_file_read_link(link, NULL);

  return path ? path : g_steal_pointer(&link);
}

static VdImage *image_take(int fd, const char *path)
{
  VdImage *self = g_new0(VdImage, 1);

  g_atomic_ref_count_init(&self->refs);
  self->fd = fd;
  self->path = path ? g_strdup(path) : path_of_descriptor(fd);
  self->display = vd_path_to_display(self->path);
  return self;
}

/* A descriptor from another mount namespace has a name there that may be anybody's here, and rules go by
 * names. A name that we may not look at (a FUSE mount, a server) is left: only its owner can have put it
 * there. */
static void mark_if_unreachable(VdImage *self)
{
  struct stat st;
  char *marked;

  if (lstat(self->path, &st) == 0 ? st.st_dev == self->st.st_dev && st.st_ino == self->st.st_ino
                                  : errno != ENOENT && errno != ENOTDIR)
    return;
  marked = g_strconcat("(unreachable)", self->path, NULL);
  g_free(self->path);
  g_free(self->display);
  self->path = marked;
  self->display = vd_path_to_display(marked);
}

VdImage *vd_image_new(int fd, const char *path, guint32 device_id, const char *vendor, gboolean want_write,
                      guint32 open_flags, GError **error)
{
  g_autoptr(VdImage) self = NULL;

  if (fd < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, "%d is not an open descriptor", fd);
    return NULL;
  }
  self = image_take(fd, path);
  self->local = vd_hostfile_is_local(self->fd);
  if (!check_descriptor(self, want_write, error))
    return NULL;
  if (path == NULL)
    mark_if_unreachable(self);
  if (!vd_image_resolve_type(device_id, vendor, self->path, &self->device_id, error))
    return NULL;
  if (!vd_hostfile_check_use(self->fd, want_write, error) ||
      !vd_hostfile_check(self->fd, open_flags, error)) {
    g_prefix_error(error, "“%s”: ", self->display);
    return NULL;
  }
  if (self->writable && !want_write)
    give_up_writing(self);
  self->remote = vd_hostfile_is_remote(self->fd);
  self->may_hang = vd_hostfile_may_hang(self->fd);
  self->origin_url = read_origin_url(self->fd);
  return g_steal_pointer(&self);
}

VdImage *vd_image_ref(VdImage *self)
{
  g_atomic_ref_count_inc(&self->refs);
  return self;
}

void vd_image_unref(VdImage *self)
{
  if (!g_atomic_ref_count_dec(&self->refs))
    return;
  if (self->local)
    vd_clear_fd(&self->fd);
  else
    vd_offload_close(self->fd);
  g_free(self->path);
  g_free(self->display);
  g_free(self->origin_url);
  g_free(self);
}

static gboolean same_time(const struct timespec *a, const struct timespec *b)
{
  return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

gboolean vd_image_unchanged(VdImage *self, GError **error)
{
  const char *what = NULL;
  struct stat now;

  if (fstat(self->fd, &now) < 0)
    what = "its attributes (they can no longer be read)";
  else if (now.st_dev != self->st.st_dev || now.st_ino != self->st.st_ino || now.st_nlink == 0)
    what = "its identity";
  else if (now.st_size != self->st.st_size)
    what = "its size";
  else if (!same_time(&now.st_mtim, &self->st.st_mtim))
    what = "its contents";
  else if (!same_time(&now.st_ctim, &self->st.st_ctim))
    what = "its attributes";
  if (!what)
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_CHANGED, "“%s” changed meanwhile: %s", self->display,
              what);
  return FALSE;
}
