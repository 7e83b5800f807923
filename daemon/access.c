/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "access.h"

#include <sys/stat.h>

#include "image.h"
#include "util/checked.h"
#include "util/identity.h"

/* Flags of Open that no format here can honour: reserved ones, and those of VHD sets. */
#define OPEN_FLAGS_UNSUPPORTED                                                                               \
  (VIRTDISK_OPEN_BLANK_FILE | VIRTDISK_OPEN_BOOT_DRIVE | VIRTDISK_OPEN_VHDSET_FILE_ONLY)
/* Flags that the API does not allow for ISO. */
#define OPEN_FLAGS_NOT_ISO                                                                                   \
  (VIRTDISK_OPEN_NO_PARENTS | VIRTDISK_OPEN_CUSTOM_DIFF_CHAIN | VIRTDISK_OPEN_BLANK_FILE |                   \
   VIRTDISK_OPEN_BOOT_DRIVE)
#define ATTACH_FLAGS_UNSUPPORTED (VIRTDISK_ATTACH_NON_PNP | VIRTDISK_ATTACH_REGISTER_VOLUME)
/* "All other handles may hold only DETACH and/or GET_INFO" (VIRTUAL_DISK_ACCESS_MASK). */
#define MASK_HARMLESS (VIRTDISK_ACCESS_DETACH | VIRTDISK_ACCESS_GET_INFO)
/* "The attach descriptor absent, the node follows the image's owner, never wider than this." */
#define NODE_MODE_MAX 0660

static gboolean is_null_guid(const char *text)
{
  return text == NULL || g_strcmp0(text, VIRTDISK_VENDOR_UNKNOWN) == 0;
}

static gboolean check_guid(const char *key, const char *text, GError **error)
{
  if (text == NULL || g_uuid_string_is_valid(text))
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, "%s is not a GUID", key);
  return FALSE;
}

static gboolean check_version_fields(const VdOpenParams *p, GError **error)
{
  const char *stray = NULL;

  if (p->version < 1 || p->version > 3) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, "version %u is not 1, 2 or 3",
                p->version);
    return FALSE;
  }
  if (p->version == 1 && (p->has_get_info_only || p->has_read_only || p->has_resiliency_guid))
    stray = "get-info-only, read-only and resiliency-guid belong to version 2";
  if (p->version != 1 && p->has_rw_depth)
    stray = "rw-depth belongs to version 1";
  if (p->version != 3 && p->has_snapshot_id)
    stray = "snapshot-id belongs to version 3";
  if (p->version != 1 && p->mask != VIRTDISK_ACCESS_NONE)
    stray = "the access mask must be 0 with version 2 and 3";
  if (stray != NULL) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, stray);
    return FALSE;
  }
  return check_guid("resiliency-guid", p->resiliency_guid, error) &&
         check_guid("snapshot-id", p->snapshot_id, error);
}

static gboolean check_open_bits(const VdOpenParams *p, GError **error)
{
  if ((p->mask & ~(guint32)VIRTDISK_ACCESS_ALL) != 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                "unknown bits 0x%08x in the access mask", p->mask & ~(guint32)VIRTDISK_ACCESS_ALL);
    return FALSE;
  }
  if ((p->flags & ~(guint32)VIRTDISK_OPEN_ALL_FLAGS) != 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, "unknown open flags 0x%08x",
                p->flags & ~(guint32)VIRTDISK_OPEN_ALL_FLAGS);
    return FALSE;
  }
  return TRUE;
}

/* ISO: version 1 only, and nothing beyond VIRTUAL_DISK_ACCESS_READ. */
static gboolean check_iso(const VdOpenParams *p, GError **error)
{
  if (p->version != 1) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                        "an ISO image is opened with version 1 parameters only");
    return FALSE;
  }
  if ((p->flags & OPEN_FLAGS_NOT_ISO) != 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                "open flags 0x%08x do not go with an ISO image", p->flags & OPEN_FLAGS_NOT_ISO);
    return FALSE;
  }
  if ((p->mask & ~(guint32)VIRTDISK_ACCESS_READ) != 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED,
                "an ISO image is read-only: access 0x%08x cannot be had",
                p->mask & ~(guint32)VIRTDISK_ACCESS_READ);
    return FALSE;
  }
  return TRUE;
}

static void grant(const VdOpenParams *p, VdRights *rights)
{
  guint32 depth = p->has_rw_depth ? p->rw_depth : VIRTDISK_OPEN_RW_DEPTH_DEFAULT;

  *rights = (VdRights){.version = p->version,
                       .mask = p->mask,
                       .flags = p->flags,
                       .ignore_parent_timestamp = p->ignore_parent_timestamp};
  if (p->version == 1) {
    rights->write = depth > 0 && (p->mask & VIRTDISK_ACCESS_WRITABLE) != 0;
    rights->rw_depth = rights->write ? depth : 0;
    return;
  }
  rights->get_info_only = p->get_info_only;
  if (p->get_info_only)
    rights->mask = VIRTDISK_ACCESS_GET_INFO;
  else if (p->read_only)
    rights->mask = VIRTDISK_ACCESS_READ;
  else
    rights->mask = VIRTDISK_ACCESS_ALL;
  rights->write = !p->get_info_only && !p->read_only;
  rights->rw_depth = rights->write ? VIRTDISK_OPEN_RW_DEPTH_DEFAULT : 0;
}

gboolean vd_access_open(const VdOpenParams *p, const char *path, guint32 *ret_device_id, VdRights *ret_rights,
                        GError **error)
{
  if (!check_version_fields(p, error) || !check_open_bits(p, error) ||
      !check_guid("vendor-id", p->vendor, error) ||
      !vd_image_resolve_type(p->device_id, p->vendor, path, ret_device_id, error))
    return FALSE;
  if (*ret_device_id == VIRTDISK_DEVICE_ISO && !check_iso(p, error))
    return FALSE;
  if ((p->flags & OPEN_FLAGS_UNSUPPORTED) != 0 || !is_null_guid(p->snapshot_id)) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED,
                "open flags 0x%08x and snapshot-id mean nothing for this format",
                p->flags & OPEN_FLAGS_UNSUPPORTED);
    return FALSE;
  }
  grant(p, ret_rights);
  if ((p->flags & VIRTDISK_OPEN_CUSTOM_DIFF_CHAIN) != 0 && ret_rights->write) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                        "CUSTOM_DIFF_CHAIN needs a read-only open");
    return FALSE;
  }
  return TRUE;
}

gboolean vd_access_is_exclusive(const VdRights *rights)
{
  return (rights->mask & ~(guint32)MASK_HARMLESS) != 0;
}

gboolean vd_access_share(const VdRights *wanted, const VdRights *const *open, gsize n, GError **error)
{
  for (gsize i = 0; i < n; i++) {
    if (!vd_access_is_exclusive(wanted) || !vd_access_is_exclusive(open[i]))
      continue;
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_SHARING_VIOLATION,
                "another handle holds access 0x%08x; beside it only DETACH and GET_INFO can be had",
                open[i]->mask & ~(guint32)MASK_HARMLESS);
    return FALSE;
  }
  return TRUE;
}

static const char *const lifetime_words[] = {"handle", "session", "permanent", "boot"};

const char *vd_lifetime_to_string(VdLifetime lifetime)
{
  return lifetime_words[lifetime];
}

gboolean vd_lifetime_from_string(const char *word, VdLifetime *ret_lifetime)
{
  for (gsize i = 0; i < G_N_ELEMENTS(lifetime_words); i++) {
    if (g_strcmp0(word, lifetime_words[i]) != 0)
      continue;
    *ret_lifetime = (VdLifetime)i;
    return TRUE;
  }
  return FALSE;
}

gboolean vd_access_reopen(const VdRights *wanted, VdLifetime lifetime, gboolean attached_from_read_only,
                          GError **error)
{
  if (lifetime == VD_LIFETIME_HANDLE)
    return TRUE;
  if (wanted->version == 1 && (wanted->mask & VIRTDISK_ACCESS_DETACH) == 0) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED,
                        "the disk is permanently attached: the access mask must include DETACH");
    return FALSE;
  }
  if (wanted->write && attached_from_read_only) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED,
                        "the disk is permanently attached from a read-only open: write access cannot be had");
    return FALSE;
  }
  return TRUE;
}

static gboolean resolve_lifetime(const VdAttachParams *p, VdLifetime *ret, GError **error)
{
  VdLifetime by_flags = VD_LIFETIME_HANDLE, by_word;

  if ((p->flags & VIRTDISK_ATTACH_PERMANENT_LIFETIME) != 0)
    by_flags = VD_LIFETIME_PERMANENT;
  if ((p->flags & VIRTDISK_ATTACH_AT_BOOT) != 0)
    by_flags = VD_LIFETIME_BOOT;
  *ret = by_flags;
  if (p->lifetime == NULL)
    return TRUE;
  if (!vd_lifetime_from_string(p->lifetime, &by_word)) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                        "lifetime is not handle, session, permanent or boot");
    return FALSE;
  }
  if (by_flags != VD_LIFETIME_HANDLE && by_word != by_flags) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                "lifetime %s contradicts the flags, which say %s", lifetime_words[by_word],
                lifetime_words[by_flags]);
    return FALSE;
  }
  *ret = by_word;
  return TRUE;
}

static gboolean is_hostless(const VdAttachParams *p)
{
  return (p->flags & VIRTDISK_ATTACH_NO_LOCAL_HOST) != 0;
}

/* The word as a constant; NULL: none, or no such route. */
static const char *route_of(const VdAttachParams *p)
{
  static const char *const routes[] = {"loop", "ublk", "fuse", "nbd"};

  if (p->route == NULL && is_hostless(p))
    return "nbd";
  for (gsize i = 0; p->route != NULL && i < G_N_ELEMENTS(routes); i++)
    if (g_str_equal(p->route, routes[i]))
      return routes[i];
  return NULL;
}

/* What there is no device for. */
static gboolean asks_for_device(const VdAttachParams *p)
{
  return p->has_sector_size || p->has_partition_scan || p->has_uid || p->has_gid || p->has_mode ||
         p->detach_on_unmount;
}

static gboolean check_attach_fields(const VdAttachParams *p, GError **error)
{
  gboolean range_asked = (p->flags & VIRTDISK_ATTACH_RESTRICTED_RANGE) != 0;
  const char *wrong = NULL;

  if ((p->flags & ~(guint32)VIRTDISK_ATTACH_ALL_FLAGS) != 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, "unknown attach flags 0x%08x",
                p->flags & ~(guint32)VIRTDISK_ATTACH_ALL_FLAGS);
    return FALSE;
  }
  if (p->version != 1 && p->version != 2)
    wrong = "version is not 1 or 2";
  else if (p->provider_flags != 0)
    wrong = "provider-specific-flags must be 0";
  else if (range_asked != p->has_range)
    wrong = "RESTRICTED_RANGE and restricted-length go together";
  else if (p->has_range && p->version != 2)
    wrong = "a restricted range belongs to version 2";
  else if (range_asked && (p->flags & VIRTDISK_ATTACH_SINGLE_PARTITION) != 0)
    wrong = "RESTRICTED_RANGE and SINGLE_PARTITION exclude each other";
  else if (p->has_sector_size && p->sector_size != 512 && p->sector_size != 1024 && p->sector_size != 2048 &&
           p->sector_size != 4096)
    wrong = "sector-size is not 512, 1024, 2048 or 4096";
  else if (p->has_mode && (p->mode & ~07777u) != 0)
    wrong = "mode has bits beyond permissions";
  else if (p->route != NULL && route_of(p) == NULL)
    wrong = "route is not loop, ublk, fuse or nbd";
  else if (route_of(p) != NULL && g_str_equal(route_of(p), "nbd") != is_hostless(p))
    wrong = "the route nbd and NO_LOCAL_HOST go together";
  else if (is_hostless(p) && asks_for_device(p))
    wrong = "with NO_LOCAL_HOST there is no device for sector-size, partition-scan, owner-uid, owner-gid, "
            "mode or detach-on-unmount";
  else if (p->zero_copy && route_of(p) != NULL && !g_str_equal(route_of(p), "ublk"))
    wrong = "zero-copy belongs to the route ublk";
  if (wrong == NULL)
    return TRUE;
  g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, wrong);
  return FALSE;
}

gboolean vd_access_attach_flags(const VdAttachParams *p, guint32 device_id, VdLifetime *ret_lifetime,
                                gboolean *ret_read_only, GError **error)
{
  if (!check_attach_fields(p, error) || !resolve_lifetime(p, ret_lifetime, error))
    return FALSE;
  if ((p->flags & ATTACH_FLAGS_UNSUPPORTED) != 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED, "attach flags 0x%08x are not supported",
                p->flags & ATTACH_FLAGS_UNSUPPORTED);
    return FALSE;
  }
  if (is_hostless(p) && *ret_lifetime != VD_LIFETIME_HANDLE) {
    g_set_error_literal(
        error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
        "with NO_LOCAL_HOST the disk is a connection of the caller, which ends with its handle: "
        "no other lifetime can be had");
    return FALSE;
  }
  *ret_read_only = (p->flags & VIRTDISK_ATTACH_READ_ONLY) != 0;
  if (device_id == VIRTDISK_DEVICE_ISO && !*ret_read_only) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED,
                        "an ISO image can be attached with READ_ONLY only");
    return FALSE;
  }
  return TRUE;
}

static gboolean check_rights(const VdRights *rights, gboolean read_only, GError **error)
{
  guint32 needed = read_only ? VIRTDISK_ACCESS_ATTACH_RO : VIRTDISK_ACCESS_ATTACH_RW;

  if (rights->get_info_only || (rights->mask & needed) == 0 || (!read_only && !rights->write)) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED,
                "the handle was not opened for %s attaching (its access is 0x%08x%s)",
                read_only ? "read-only" : "read-write", rights->mask,
                rights->write ? "" : ", file open read-only");
    return FALSE;
  }
  return TRUE;
}

static const VdContent *only_partition(const VdFacts *facts)
{
  const VdContent *found = NULL;

  for (guint i = 0; i < facts->n_contents; i++) {
    if (facts->contents[i].partition == 0)
      continue;
    if (found != NULL)
      return NULL;
    found = &facts->contents[i];
  }
  return found;
}

static gboolean resolve_range(const VdAttachParams *p, const VdFacts *facts, VdAttachPlan *plan,
                              GError **error)
{
  guint64 skip = 0, length = facts->virtual_size;

  if ((p->flags & VIRTDISK_ATTACH_SINGLE_PARTITION) != 0) {
    const VdContent *partition = only_partition(facts);

    if (partition == NULL) {
      g_set_error_literal(
          error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED,
          facts->linear || facts->n_contents > 0
              ? "SINGLE_PARTITION needs a disk with exactly one partition"
              : "SINGLE_PARTITION: where the partitions of a dynamic or differencing image lie is known "
                "only once it is attached; RESTRICTED_RANGE takes the place that its disk shows");
      return FALSE;
    }
    skip = partition->offset;
    length = partition->size;
  } else if (p->has_range) {
    skip = p->restricted_offset;
    length = p->restricted_length;
  }
  if (length == 0 || skip % plan->sector_size != 0 || length % plan->sector_size != 0 ||
      !vd_range_within(skip, length, facts->virtual_size)) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                "the range of %" G_GUINT64_FORMAT " bytes at %" G_GUINT64_FORMAT
                " does not lie on %u-byte sectors within the disk's %" G_GUINT64_FORMAT " bytes",
                length, skip, plan->sector_size, (guint64)facts->virtual_size);
    return FALSE;
  }
  plan->skip = skip;
  plan->size = length;
  plan->whole = skip == 0 && length == facts->virtual_size;
  if (!vd_add_u64(facts->payload_offset, skip, &plan->offset)) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                        "the range lies beyond the file");
    return FALSE;
  }
  return TRUE;
}

static gboolean resolve_node(const VdAttachParams *p, uid_t caller_uid, uid_t file_uid, gid_t file_gid,
                             mode_t file_mode, VdAttachPlan *plan, GError **error)
{
  if ((p->flags & VIRTDISK_ATTACH_NO_SECURITY_DESCRIPTOR) != 0) {
    plan->uid = VD_UID_INVALID;
    plan->gid = VD_GID_INVALID;
    return TRUE;
  }
  plan->uid = file_uid;
  plan->gid = file_gid;
  plan->mode = file_mode & NODE_MODE_MAX;
  /* Who has the node of a loop device open for reading may clear it, or put another file under it
   * (LOOP_CLR_FD, LOOP_CHANGE_FD): no more than who writes to the image could do, so it takes as much. */
  if ((plan->mode & 0060) != 0060)
    plan->mode &= ~(mode_t)0070;
  if (plan->read_only)
    plan->mode &= 0440;
  if (!p->has_uid && !p->has_gid && !p->has_mode)
    return TRUE;
  if (caller_uid != 0 && caller_uid != file_uid) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED,
                        "only the image's owner may say who owns the device");
    return FALSE;
  }
  if (caller_uid != 0 && ((p->has_uid && p->uid != caller_uid) || (p->has_gid && p->gid != file_gid) ||
                          (p->has_mode && (p->mode & ~(guint32)NODE_MODE_MAX) != 0))) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_ACCESS_DENIED,
                        "only root may give the device to somebody else or open it to all");
    return FALSE;
  }
  plan->uid = p->has_uid ? p->uid : plan->uid;
  plan->gid = p->has_gid ? p->gid : plan->gid;
  plan->mode = p->has_mode ? (mode_t)p->mode : plan->mode;
  return TRUE;
}

gboolean vd_access_attach(const VdAttachParams *p, const VdRights *rights, const VdFacts *facts,
                          uid_t caller_uid, uid_t file_uid, gid_t file_gid, mode_t file_mode,
                          VdAttachPlan *ret_plan, GError **error)
{
  VdAttachPlan plan = {.flags = p->flags,
                       .detach_on_unmount = p->detach_on_unmount,
                       .route = route_of(p),
                       .zero_copy = p->zero_copy};

  if (!vd_access_attach_flags(p, facts->device_id, &plan.lifetime, &plan.read_only, error) ||
      !check_rights(rights, plan.read_only, error))
    return FALSE;
  plan.sector_size = p->has_sector_size ? p->sector_size : facts->sector_size;
  /* A CD has no partitions; a disk has, and a hybrid ISO only where 512-byte sectors are asked for. */
  plan.partition_scan =
      p->has_partition_scan ? p->partition_scan : facts->device_id != VIRTDISK_DEVICE_ISO && !is_hostless(p);
  /* "Default: unbuffered; CACHED_IO changes that." */
  plan.direct_io = (rights->flags & VIRTDISK_OPEN_CACHED_IO) == 0;
  if (!resolve_range(p, facts, &plan, error) ||
      !resolve_node(p, caller_uid, file_uid, file_gid, file_mode, &plan, error))
    return FALSE;
  *ret_plan = plan;
  return TRUE;
}
