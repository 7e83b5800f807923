/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "links.h"

#include "values.h"

/* No chain that the service opens is longer; who links images in a circle gets an end. */
#define LONGEST_CHAIN 256

static void link_free(gpointer data)
{
  VdLink *link = data;

  g_free(link->path);
  g_free(link->identifier);
  g_free(link->parent_identifier);
  g_free(link->parent);
  g_free(link->problem);
  g_free(link);
}

const char *vd_links_format_name(VirtdiskDeviceId id)
{
  switch (id) {
  case VIRTDISK_DEVICE_ISO:
    return "iso";
  case VIRTDISK_DEVICE_VHD:
    return "vhd";
  case VIRTDISK_DEVICE_VHDX:
    return "vhdx";
  case VIRTDISK_DEVICE_RAW:
    return "raw";
  default:
    return "-";
  }
}

const char *vd_links_subtype_name(VirtdiskSubtype subtype)
{
  switch (subtype) {
  case VIRTDISK_SUBTYPE_FIXED:
    return "fixed";
  case VIRTDISK_SUBTYPE_DYNAMIC:
    return "dynamic";
  case VIRTDISK_SUBTYPE_DIFFERENCING:
    return "differencing";
  default:
    return "-";
  }
}

char *vd_links_compare(const VdLink *child, const VdLink *parent)
{
  if (child->parent_identifier != NULL && parent->identifier != NULL &&
      g_ascii_strcasecmp(child->parent_identifier, parent->identifier) != 0)
    return g_strdup_printf("the parent has the identifier %s, not %s", parent->identifier,
                           child->parent_identifier);
  if (child->virtual_size != parent->virtual_size)
    return g_strdup_printf("the parent has %" G_GUINT64_FORMAT " bytes, not %" G_GUINT64_FORMAT,
                           parent->virtual_size, child->virtual_size);
  return NULL;
}

/* What is attached for longer than a handle can only be opened with DETACH in the mask. */
static VirtdiskHandle *open_link(VdCli *cli, const char *path, VirtdiskOpenFlags flags, const char *format,
                                 GError **error)
{
  g_autoptr(VirtdiskOpenParameters) parameters = virtdisk_open_parameters_new();
  VirtdiskDeviceId device_id;
  const char *vendor = NULL;

  if (format != NULL && !vd_value_parse_format("--format", format, &device_id, &vendor, error))
    return NULL;
  if (vendor != NULL) {
    virtdisk_open_parameters_set_device_id(parameters, device_id);
    virtdisk_open_parameters_set_vendor_id(parameters, vendor);
  }
  virtdisk_open_parameters_set_rw_depth(parameters, 0);
  return virtdisk_client_open_virtual_disk(
      cli->client, path, (VirtdiskAccessMask)(VIRTDISK_ACCESS_GET_INFO | VIRTDISK_ACCESS_DETACH), flags,
      parameters, cli->cancellable, error);
}

static VirtdiskInfo *ask(VdCli *cli, VirtdiskHandle *handle, VirtdiskInfoVersion version)
{
  return virtdisk_handle_get_virtual_disk_information(handle, version, cli->cancellable, NULL);
}

/* What means nothing for this image is not known of it. */
static void ask_identity(VdCli *cli, VirtdiskHandle *handle, VdLink *link)
{
  g_autoptr(VirtdiskInfo) size = ask(cli, handle, VIRTDISK_INFO_SIZE);
  g_autoptr(VirtdiskInfo) type = ask(cli, handle, VIRTDISK_INFO_VIRTUAL_STORAGE_TYPE);
  g_autoptr(VirtdiskInfo) subtype = ask(cli, handle, VIRTDISK_INFO_PROVIDER_SUBTYPE);
  g_autoptr(VirtdiskInfo) identifier = ask(cli, handle, VIRTDISK_INFO_IDENTIFIER);

  if (size != NULL) {
    link->virtual_size = virtdisk_info_get_virtual_size(size);
    link->physical_size = virtdisk_info_get_physical_size(size);
  }
  if (type != NULL)
    link->device_id = virtdisk_info_get_device_id(type);
  if (subtype != NULL)
    link->subtype = (VirtdiskSubtype)virtdisk_info_get_provider_subtype(subtype);
  if (identifier != NULL)
    link->identifier = g_strdup(virtdisk_info_get_identifier(identifier));
}

static void ask_parent(VdCli *cli, VirtdiskHandle *handle, VdLink *link)
{
  g_autoptr(VirtdiskInfo) identifier = ask(cli, handle, VIRTDISK_INFO_PARENT_IDENTIFIER);
  g_autoptr(VirtdiskInfo) location = ask(cli, handle, VIRTDISK_INFO_PARENT_LOCATION);
  g_auto(GStrv) paths = location != NULL ? virtdisk_info_dup_parent_locations(location) : NULL;

  if (identifier != NULL)
    link->parent_identifier = g_strdup(virtdisk_info_get_parent_identifier(identifier));
  if (paths == NULL || paths[0] == NULL)
    return;
  if (virtdisk_info_get_parent_resolved(location)) {
    link->parent = g_strdup(paths[0]);
    return;
  }
  /* Which of these it would be the service does not say; the first that is there is looked at. */
  for (char **path = paths; *path != NULL && link->parent == NULL; path++)
    if (g_file_test(*path, G_FILE_TEST_IS_REGULAR))
      link->parent = g_strdup(*path);
}

static VdLink *read_link(VdCli *cli, const char *path, const char *format, GError **error)
{
  g_autoptr(GError) cause = NULL;
  g_autoptr(VirtdiskHandle) handle = open_link(cli, path, VIRTDISK_OPEN_NONE, format, &cause);
  VdLink *link;

  if (handle == NULL && cause->domain == VIRTDISK_ERROR)
    handle = open_link(cli, path, VIRTDISK_OPEN_NO_PARENTS, format, NULL);
  if (handle == NULL) {
    g_propagate_error(error, g_steal_pointer(&cause));
    return NULL;
  }
  link = g_new0(VdLink, 1);
  link->path = g_strdup(path);
  ask_identity(cli, handle, link);
  ask_parent(cli, handle, link);
  if (cause != NULL && link->parent == NULL)
    link->problem = g_strdup(cause->message);
  return link;
}

static gboolean is_known(GPtrArray *links, const char *path)
{
  for (guint i = 0; i < links->len; i++)
    if (g_str_equal(((VdLink *)g_ptr_array_index(links, i))->path, path))
      return TRUE;
  return FALSE;
}

GPtrArray *vd_links_read(VdCli *cli, const char *path, const char *format, GError **error)
{
  g_autoptr(GPtrArray) links = g_ptr_array_new_with_free_func(link_free);
  VdLink *link = read_link(cli, path, format, error);

  if (link == NULL)
    return NULL;
  g_ptr_array_add(links, link);
  while (link->parent != NULL && links->len < LONGEST_CHAIN) {
    g_autoptr(GError) cause = NULL;
    VdLink *parent = is_known(links, link->parent) ? NULL : read_link(cli, link->parent, NULL, &cause);

    if (g_error_matches(cause, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
      g_propagate_error(error, g_steal_pointer(&cause));
      return NULL;
    }
    if (parent == NULL) {
      link->problem = g_strdup(cause != NULL ? cause->message : "the chain comes back to itself");
      break;
    }
    link->problem = vd_links_compare(link, parent);
    g_ptr_array_add(links, parent);
    link = parent;
  }
  return g_steal_pointer(&links);
}
