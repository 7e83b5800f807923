/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See the header. Must never open a file that an image names. */
#include "chain.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/display.h"
#include "util/guid.h"
#include "virtdisk-error.h"

/* Seconds from 1970 to 2000, where the clock of VHD starts. */
#define VHD_EPOCH G_GINT64_CONSTANT(946684800)
/* Two writers may round the same moment differently. */
#define VHD_CLOCK_SLACK 2

#define GUID_TEXT_LENGTH 36

/* Keys are lower case. */
struct VdPathMap {
  GHashTable *drives;  /* "c" -> folder */
  GHashTable *volumes; /* GUID -> folder */
  GHashTable *shares;  /* "server/share" -> folder */
};

VdPathMap *vd_path_map_new(void)
{
  VdPathMap *self = g_new(VdPathMap, 1);

  self->drives = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
  self->volumes = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
  self->shares = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
  return self;
}

void vd_path_map_free(VdPathMap *self)
{
  if (self == NULL)
    return;
  g_hash_table_unref(self->drives);
  g_hash_table_unref(self->volumes);
  g_hash_table_unref(self->shares);
  g_free(self);
}

static gboolean is_drive(const char *key)
{
  return g_ascii_isalpha(key[0]) && key[1] == '\0';
}

static gboolean is_volume(const char *key)
{
  return g_uuid_string_is_valid(key);
}

static gboolean is_share(const char *key)
{
  const char *slash = strchr(key, '/');

  return slash != NULL && slash != key && slash[1] != '\0' && strchr(slash + 1, '/') == NULL &&
         strchr(key, '\\') == NULL;
}

static gboolean load_group(GKeyFile *file, const char *group, gboolean (*is_key)(const char *),
                           GHashTable *into, GError **error)
{
  g_auto(GStrv) keys = g_key_file_get_keys(file, group, NULL, NULL);

  for (gsize i = 0; keys != NULL && keys[i] != NULL; i++) {
    char *folder = g_key_file_get_string(file, group, keys[i], NULL);

    if (folder == NULL || folder[0] != '/' || !is_key(keys[i])) {
      g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                  "[%s] %s: not the name of one of these with an absolute path", group, keys[i]);
      g_free(folder);
      return FALSE;
    }
    g_hash_table_replace(into, g_utf8_strdown(keys[i], -1), folder);
  }
  return TRUE;
}

/* What leads users' images to files is root's to say. */
static char *read_map(const char *path, gsize *ret_length, GError **error)
{
  vd_autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  g_autofree char *text = NULL;
  struct stat st;
  ssize_t n;

  if (fd < 0 && errno == ENOENT)
    return g_strdup("");
  if (fd < 0 || fstat(fd, &st) < 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "%s: %s", path, g_strerror(errno));
    return NULL;
  }
  if (!S_ISREG(st.st_mode) || (st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & 022) != 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED,
                "%s is not a file that root alone may write", path);
    return NULL;
  }
  text = g_malloc(VD_PATH_MAP_MAX_SIZE + 1);
  n = read(fd, text, VD_PATH_MAP_MAX_SIZE + 1);
  if (n < 0 || n > VD_PATH_MAP_MAX_SIZE) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "%s: %s", path,
                n < 0 ? g_strerror(errno) : "larger than such a file is");
    return NULL;
  }
  text[n] = '\0';
  *ret_length = (gsize)n;
  return g_steal_pointer(&text);
}

VdPathMap *vd_path_map_load(const char *path, GError **error)
{
  g_autoptr(VdPathMap) self = vd_path_map_new();
  g_autoptr(GKeyFile) file = g_key_file_new();
  g_autoptr(GError) why = NULL;
  gsize length = 0;
  g_autofree char *text = read_map(path, &length, error);

  if (text == NULL)
    return NULL;
  if (length > 0 && !g_key_file_load_from_data(file, text, length, G_KEY_FILE_NONE, &why)) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, "%s: %s", path, why->message);
    return NULL;
  }
  if (!load_group(file, "drives", is_drive, self->drives, error) ||
      !load_group(file, "volumes", is_volume, self->volumes, error) ||
      !load_group(file, "shares", is_share, self->shares, error)) {
    g_prefix_error(error, "%s: ", path);
    return NULL;
  }
  return g_steal_pointer(&self);
}

char *vd_path_map_to_windows(const VdPathMap *self, const char *path)
{
  GHashTableIter iter;
  gpointer drive, folder;

  if (strchr(path, '\\') != NULL)
    return NULL;
  g_hash_table_iter_init(&iter, self->drives);
  while (g_hash_table_iter_next(&iter, &drive, &folder)) {
    gsize length = strlen(folder);
    g_autofree char *text = NULL;

    if (strncmp(path, folder, length) != 0 || path[length] != '/')
      continue;
    text = g_strdup_printf("%c:%s", g_ascii_toupper(*(char *)drive), path + length);
    g_strdelimit(text, "/", '\\');
    return g_steal_pointer(&text);
  }
  return NULL;
}

/* Places. Everything below works on text with '/' for '\'. */

/* NULL: no name of a file. (transfer full) */
static char *with_slashes(const char *place, gsize size)
{
  gsize length = strnlen(place, size);
  char *text;

  if (length == 0 || length == size || !g_utf8_validate_len(place, length, NULL))
    return NULL;
  for (const char *p = place; p < place + length; p = g_utf8_next_char(p))
    if (g_unichar_iscntrl(g_utf8_get_char(p)))
      return NULL;
  text = g_strndup(place, length);
  return g_strdelimit(text, "\\", '/');
}

/* A stream of a file ("name:stream"), a drive in the middle. */
static gboolean has_colon(const char *text)
{
  return strchr(text, ':') != NULL;
}

static gboolean climbs(const char *text)
{
  g_auto(GStrv) parts = g_strsplit(text, "/", -1);

  return g_strv_contains((const char *const *)parts, "..");
}

/* (transfer full) or NULL */
static char *below(GHashTable *map, const char *key, gsize length, const char *rest)
{
  g_autofree char *text = g_strndup(key, length);
  g_autofree char *lower = g_utf8_strdown(text, -1);
  const char *folder = g_hash_table_lookup(map, lower);

  /* A path from the root of a drive has nothing to climb out of. */
  if (folder == NULL || has_colon(rest) || climbs(rest) || rest[strspn(rest, "/")] == '\0')
    return NULL;
  return g_build_filename(folder, rest, NULL);
}

static char *in_folder(const char *folder, const char *name)
{
  while (name[0] == '.' && name[1] == '/')
    name += 2 + strspn(name + 2, "/");
  if (folder == NULL || name[0] == '\0' || name[0] == '/' || has_colon(name))
    return NULL;
  return g_build_filename(folder, name, NULL);
}

static char *on_share(const VdPathMap *map, const char *text)
{
  const char *slash = strchr(text, '/');
  const char *end = slash != NULL ? strchr(slash + 1, '/') : NULL;

  return end != NULL ? below(map->shares, text, (gsize)(end - text), end) : NULL;
}

static char *on_volume(const VdPathMap *map, const char *text)
{
  if (g_ascii_strncasecmp(text, "Volume{", 7) != 0 || strlen(text) < 7 + GUID_TEXT_LENGTH + 2 ||
      text[7 + GUID_TEXT_LENGTH] != '}' || text[7 + GUID_TEXT_LENGTH + 1] != '/')
    return NULL;
  return below(map->volumes, text + 7, GUID_TEXT_LENGTH, text + 7 + GUID_TEXT_LENGTH + 1);
}

static char *on_drive(const VdPathMap *map, const char *text)
{
  return g_ascii_isalpha(text[0]) && text[1] == ':' && text[2] == '/' ? below(map->drives, text, 1, text + 2)
                                                                      : NULL;
}

static char *of_windows(const VdPathMap *map, const char *text)
{
  if (g_str_has_prefix(text, "//?/UNC/"))
    return on_share(map, text + 8);
  if (g_str_has_prefix(text, "//?/"))
    return text[4] == 'V' || text[4] == 'v' ? on_volume(map, text + 4) : on_drive(map, text + 4);
  if (g_str_has_prefix(text, "//./"))
    return NULL;
  if (g_str_has_prefix(text, "//"))
    return on_share(map, text + 2);
  return on_drive(map, text);
}

/* The folder of the child; NULL if it has none here. (transfer full) */
static char *folder_of(const char *child_path)
{
  return child_path[0] == '/' ? g_path_get_dirname(child_path) : NULL;
}

/* (transfer full) or NULL */
static char *translate(const VdParentPlace *place, const char *folder, const VdPathMap *map,
                       VdRelativePlaces relative)
{
  g_autofree char *text = NULL;

  if (place->kind == VD_PLACE_UNIX) {
    gsize length = strnlen(place->path, sizeof place->path);

    return place->path[0] == '/' && length < sizeof place->path ? g_strdup(place->path) : NULL;
  }
  text = with_slashes(place->path, sizeof place->path);
  if (text == NULL)
    return NULL;
  /* Some writers store a relative path in the place of the absolute one, or a bare name. */
  if (place->kind == VD_PLACE_RELATIVE || (text[0] != '/' && text[1] != ':'))
    return relative == VD_RELATIVE_USE ? in_folder(folder, text) : NULL;
  return of_windows(map, text);
}

static char *bare_name(const VdParentPlace *place, const char *folder)
{
  g_autofree char *text = with_slashes(place->path, sizeof place->path);
  const char *slash = text != NULL ? strrchr(text, '/') : NULL;
  const char *name = slash != NULL ? slash + 1 : text;

  return name != NULL && !g_str_equal(name, "..") && !g_str_equal(name, ".") ? in_folder(folder, name) : NULL;
}

/* Takes path. */
static void add_once(GPtrArray *paths, char *path)
{
  if (path != NULL && !g_ptr_array_find_with_equal_func(paths, path, g_str_equal, NULL))
    g_ptr_array_add(paths, path);
  else
    g_free(path);
}

GPtrArray *vd_chain_candidates(const VdFacts *child, const char *child_path, const VdPathMap *map,
                               VdRelativePlaces relative)
{
  GPtrArray *paths = g_ptr_array_new_with_free_func(g_free);
  g_autofree char *folder = folder_of(child_path);
  guint n = MIN(child->n_parent_places, VD_MAX_PARENT_PLACES);

  for (guint i = 0; i < n; i++)
    add_once(paths, translate(&child->parent_places[i], folder, map, relative));
  for (guint i = 0; i < n && relative == VD_RELATIVE_USE; i++) {
    char *path = bare_name(&child->parent_places[i], folder);

    /* The parent has the child's own name, in another folder. */
    if (path != NULL && g_str_equal(path, child_path))
      g_clear_pointer(&path, g_free);
    add_once(paths, path);
  }
  return paths;
}

GPtrArray *vd_chain_places(const VdFacts *child)
{
  GPtrArray *places = g_ptr_array_new_with_free_func(g_free);
  guint n = MIN(child->n_parent_places, VD_MAX_PARENT_PLACES);

  for (guint i = 0; i < n; i++) {
    g_autofree char *text = g_strndup(child->parent_places[i].path, VD_MAX_PARENT_PATH - 1);

    add_once(places, vd_text_to_display(text));
  }
  return places;
}

/* Matching */

static gboolean is_zero(const uint8_t id[16])
{
  static const uint8_t zeros[16];

  return memcmp(id, zeros, sizeof zeros) == 0;
}

static gboolean is_linked(const VdFacts *child, const VdFacts *parent)
{
  if (!parent->has_linkage)
    return FALSE;
  return (!is_zero(child->parent_id) && memcmp(child->parent_id, parent->linkage, 16) == 0) ||
         (!is_zero(child->parent_id2) && memcmp(child->parent_id2, parent->linkage, 16) == 0);
}

static gboolean is_about(gint64 a, gint64 b)
{
  return ABS(a - b) <= VHD_CLOCK_SLACK;
}

static gboolean is_of_that_time(const VdFacts *child, const VdFacts *parent, gint64 parent_mtime)
{
  return child->parent_timestamp == 0 || child->parent_timestamp == parent->timestamp ||
         is_about((gint64)child->parent_timestamp + VHD_EPOCH, parent_mtime);
}

gboolean vd_chain_match(const VdFacts *child, const VdFacts *parent, gint64 parent_mtime,
                        VdTimestampCheck timestamps, const char *child_name, const char *parent_name,
                        GError **error)
{
  char wanted[37], found[37];

  if (!is_linked(child, parent)) {
    vd_guid_format(child->parent_id, wanted);
    vd_guid_format(parent->linkage, found);
    g_set_error(
        error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_CHILD_PARENT_ID_MISMATCH,
        "%s was made from an image with the id %s; %s has %s: it is another one, or was written since",
        child_name, wanted, parent_name, parent->has_linkage ? found : "none");
  } else if (child->virtual_size != parent->virtual_size) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_CHILD_PARENT_SIZE_MISMATCH,
                "%s has %" G_GUINT64_FORMAT " bytes, its parent %s %" G_GUINT64_FORMAT, child_name,
                (guint64)child->virtual_size, parent_name, (guint64)parent->virtual_size);
  } else if (child->sector_size != parent->sector_size) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_DIFFERENCING_CHAIN_ERROR_IN_PARENT,
                "%s has sectors of %u bytes, its parent %s of %u", child_name, child->sector_size,
                parent_name, parent->sector_size);
  } else if (timestamps == VD_TIMESTAMP_CHECK && !is_of_that_time(child, parent, parent_mtime)) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_VHD_CHILD_PARENT_TIMESTAMP_MISMATCH,
                "%s was made when its parent %s had the time stamp %u; it has %u now", child_name,
                parent_name, child->parent_timestamp, parent->timestamp);
  } else {
    return TRUE;
  }
  return FALSE;
}

/* Parents and chains */

VdParent *vd_parent_new(const char *path, dev_t dev, ino_t ino, gboolean write)
{
  VdParent *self = g_new(VdParent, 1);

  *self = (VdParent){g_strdup(path), vd_path_to_display(path), dev, ino, write};
  return self;
}

void vd_parent_free(VdParent *self)
{
  g_free(self->path);
  g_free(self->display);
  g_free(self);
}

VdChain *vd_chain_new(gboolean custom)
{
  VdChain *self = g_new0(VdChain, 1);

  self->images = g_ptr_array_new_with_free_func((GDestroyNotify)vd_image_unref);
  self->custom = custom;
  return self;
}

VdChain *vd_chain_copy(const VdChain *self)
{
  VdChain *copy = g_memdup2(self, sizeof *self);

  copy->images = g_ptr_array_copy(self->images, (GCopyFunc)(void (*)(void))vd_image_ref, NULL);
  return copy;
}

void vd_chain_unlock(VdChain *self)
{
  for (guint i = 0; i < self->images->len; i++)
    vd_image_unlock(g_ptr_array_index(self->images, i));
}

void vd_chain_free(VdChain *self)
{
  if (self == NULL)
    return;
  g_ptr_array_unref(self->images);
  g_free(self);
}

gboolean vd_chain_is_complete(const VdChain *self, const VdFacts *leaf)
{
  return self->has_head ? !self->head.has_parent : !leaf->has_parent;
}

GPtrArray *vd_chain_parents(const VdChain *self)
{
  GPtrArray *parents = g_ptr_array_new_with_free_func((GDestroyNotify)vd_parent_free);

  for (guint i = 0; i < self->images->len; i++) {
    const VdImage *image = g_ptr_array_index(self->images, i);

    g_ptr_array_add(parents,
                    vd_parent_new(image->path, image->st.st_dev, image->st.st_ino, i < self->n_write));
  }
  return parents;
}
