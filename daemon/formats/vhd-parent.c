/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the parent of a VHD lies, as Windows writes it down. */
#include "formats/vhd-parent.h"

#include <string.h>

#include "formats/utf16.h"
#include "formats/vhd-sparse.h"

/* Of the parent's name: UTF-16 with a NUL. */
#define MAX_NAME_LENGTH (VD_VHD_PARENT_NAME_LENGTH - 2)

static bool refuse(VdFormatError *ret_error, const char *field, const char *what)
{
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_INVALID_PARAMETER, 0, field,
                             "the parent of a VHD: %s %s", field, what);
}

/* "folder/name" as Windows writes a relative path: ".\folder\name", unless it begins with "..". */
static bool windows_path(const char *path, char *ret, size_t capacity)
{
  size_t used = 0;

  if (path[0] == '\0' || path[0] == '/' || strchr(path, '\\') != NULL || strlen(path) + 3 > capacity)
    return false;
  while (strncmp(path, "./", 2) == 0)
    path += 2;
  if (strncmp(path, "../", 3) != 0) {
    memcpy(ret, ".\\", 2);
    used = 2;
  }
  for (; *path != '\0'; path++)
    ret[used++] = (char)(*path == '/' ? '\\' : *path);
  ret[used] = '\0';
  return used > 0;
}

/* As stored. What a reader would refuse, control characters among it, is not written. */
static bool encode(const char *text, uint8_t *ret, size_t capacity, size_t *ret_length)
{
  char back[VD_MAX_PARENT_PATH];
  VdSpan span = {.data = ret};
  VdFormatError unused;

  if (!vd_utf16_from_utf8(text, VD_UTF16_LE, ret, capacity, ret_length))
    return false;
  span.length = *ret_length;
  return vd_utf16_to_utf8(&span, 0, span.length, VD_UTF16_LE, "", back, sizeof back, &unused);
}

static const char *last_component(const char *path)
{
  const char *slash = strrchr(path, '/');

  return slash != NULL ? slash + 1 : path;
}

static bool choose_name(const char *relative, const char *absolute, VdVhdParentTexts *texts,
                        VdFormatError *ret_error)
{
  uint8_t unused[MAX_NAME_LENGTH];
  size_t length;
  const char *name = absolute;

  if (name[0] == '\0' || !vd_utf16_from_utf8(name, VD_UTF16_BE, unused, sizeof unused, &length))
    name = last_component(relative);
  if (!vd_utf16_from_utf8(name, VD_UTF16_BE, unused, sizeof unused, &length))
    return refuse(ret_error, "parent_relative", "ends in a name that is too long or no UTF-8");
  memcpy(texts->name, name, strlen(name) + 1);
  return true;
}

bool vd_vhd_parent_texts(const char *relative, const char *absolute, VdVhdParentTexts *ret_texts,
                         VdFormatError *ret_error)
{
  char windows[VD_MAX_PARENT_PATH];

  memset(ret_texts, 0, sizeof *ret_texts);
  if (!windows_path(relative, windows, sizeof windows) ||
      !encode(windows, ret_texts->relative, sizeof ret_texts->relative, &ret_texts->relative_length))
    return refuse(ret_error, "parent_relative",
                  "is empty, absolute, too long or no text, or has a back slash");
  if (!encode(absolute, ret_texts->absolute, sizeof ret_texts->absolute, &ret_texts->absolute_length))
    return refuse(ret_error, "parent_absolute", "is too long or no text");
  return choose_name(relative, absolute, ret_texts, ret_error);
}
