/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "attach/choose.h"

#include <string.h>

#include "attach/loop.h"
#include "attach/sysfs.h"
#include "util/checked.h"
#include "virtdisk-error.h"

#define MAX_TAG_LENGTH 32

/* The kernel's own block device first: nothing that could be faster follows it. */
static const VdRoute *const routes[] = {&vd_route_loop, NULL};

const VdRoute *const *vd_routes(void)
{
  return routes;
}

static const char *find_fault(const VdAttachSpec *spec)
{
  guint64 end;

  if (spec->tag == NULL || spec->tag[0] == '\0' || strlen(spec->tag) > MAX_TAG_LENGTH ||
      spec->tag[strspn(spec->tag, "0123456789abcdef")] != '\0')
    return "the tag is not 1 to 32 hexadecimal digits";
  if (spec->rundir == NULL || spec->rundir[0] != '/')
    return "there is no directory for state";
  if (spec->size == 0 || spec->size % 512 != 0)
    return "the size is not a multiple of 512 bytes";
  if (!vd_add_u64(spec->offset, spec->size, &end) || end > G_MAXINT64)
    return "the payload ends beyond the largest file";
  if (spec->n_partitions > VD_SYS_MAX_PARTITIONS)
    return "there are more partitions than a disk can have";
  return NULL;
}

const VdRoute *vd_route_choose(const VdAttachSpec *spec, const char **ret_reason, GError **error)
{
  const char *fault = find_fault(spec);

  if (fault != NULL) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INTERNAL, "The image cannot be attached: %s", fault);
    return NULL;
  }
  if (!vd_is_power_of_two(spec->sector_size) || spec->sector_size < 512 || spec->sector_size > 4096) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE,
                "A sector size of %u bytes is not one of 512, 1024, 2048 and 4096", spec->sector_size);
    return NULL;
  }
  for (gsize i = 0; routes[i] != NULL; i++) {
    *ret_reason = routes[i]->suits(spec);
    if (*ret_reason != NULL)
      return routes[i];
  }
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INTERNAL, "No way to attach suits the image");
  return NULL;
}
