/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "attach/choose.h"

#include <string.h>

#include "attach/fuse.h"
#include "attach/loop.h"
#include "attach/nbd.h"
#include "attach/sysfs.h"
#include "attach/ublk.h"
#include "util/checked.h"
#include "virtdisk-error.h"

/* The kernel alone first, which nothing could be faster than; then a worker, in the shorter way first. No
 * device at all only where that is wanted. */
static const VdRoute *const routes[] = {&vd_route_loop, &vd_route_ublk, &vd_route_fuse, &vd_route_nbd, NULL};

const VdRoute *const *vd_routes(void)
{
  return routes;
}

static const char *find_fault(const VdAttachSpec *spec)
{
  guint64 end;

  if (spec->tag == NULL || spec->tag[0] == '\0' || strlen(spec->tag) > VD_MAX_TAG_LENGTH ||
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
  if (spec->served.program != NULL && (spec->served.n_images == 0 || spec->served.n_images > VD_MAX_CHAIN))
    return "there is no chain that a worker could serve";
  if (!vd_add_u64(spec->served.skip, spec->size, &end) || end > G_MAXINT64)
    return "the device ends beyond the largest disk";
  return NULL;
}

/* The reasons against what comes before are the reason for what comes after. */
static void add_objection(GString *objections, const VdRoute *route, const char *why)
{
  g_string_append_printf(objections, "%s%s: %s", objections->len > 0 ? "; " : "", route->name, why);
}

static gboolean is_wanted(const VdRoute *route, const VdAttachSpec *spec)
{
  return spec->route == NULL ? !route->by_name : g_str_equal(route->name, spec->route);
}

static char *explain(const VdAttachSpec *spec, const char *why, const GString *objections)
{
  if (spec->route != NULL)
    return g_strdup_printf("%s, as was asked for", why);
  return objections->len > 0 ? g_strdup_printf("%s (not %s)", why, objections->str) : g_strdup(why);
}

static const VdRoute *find(const VdRoute *const *among, const VdAttachSpec *spec, char **ret_reason,
                           GError **error)
{
  g_autoptr(GString) objections = g_string_new(NULL);

  for (; *among != NULL; among++) {
    g_autofree char *why = NULL;

    if (!is_wanted(*among, spec))
      continue;
    if ((*among)->suits(spec, &why)) {
      *ret_reason = explain(spec, why, objections);
      return *among;
    }
    add_objection(objections, *among, why);
  }
  if (objections->len == 0)
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, "There is no route \"%s\"",
                spec->route);
  else
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED, "The image cannot be attached (%s)",
                objections->str);
  return NULL;
}

const VdRoute *vd_route_choose(const VdRoute *const *among, const VdAttachSpec *spec, char **ret_reason,
                               GError **error)
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
  return find(among, spec, ret_reason, error);
}
