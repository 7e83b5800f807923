/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * User metadata of a VHDX. Items of the system have a name space of their own, which is not reached from
 * here. They are part of the virtual disk: children made of it begin with them too.
 */
#include "engine/vhdx-edit.h"

#include <stdlib.h>

#define NEW_FLAGS (VD_VHDX_METADATA_USER | VD_VHDX_METADATA_DISK)

static void free_table(VdVhdxTable **table)
{
  free(*table);
}

/* An image that is looked at only; its log is read into memory. */
typedef struct {
  VdReader reader;
  VdVhdx vhdx;
  VdVhdxTable *table;
} View;

static void view_clear(View *self)
{
  vd_vhdx_clear(&self->vhdx);
  free(self->table);
}

static bool view_open(View *self, const VdLayerSource *source, VdFormatError *ret_error)
{
  if (!vd_reader_init(&self->reader, source->fd, ret_error) ||
      !vd_vhdx_read(&self->reader, &self->vhdx, ret_error))
    return false;
  self->table = vd_vhdx_table_read(&self->reader, &self->vhdx, ret_error);
  return self->table != NULL;
}

bool vd_vhdx_edit_enumerate(const VdLayerSource *source, uint8_t (*ret_items)[16], unsigned *ret_n,
                            VdFormatError *ret_error)
{
  View view __attribute__((cleanup(view_clear))) = {0};

  if (!view_open(&view, source, ret_error))
    return false;
  *ret_n = 0;
  for (unsigned i = 0; i < view.table->n; i++)
    if ((view.table->entries[i].flags & VD_VHDX_METADATA_USER) != 0)
      vd_vhdx_guid_swap(view.table->entries[i].guid, ret_items[(*ret_n)++]);
  return true;
}

static VdVhdxMetadataEntry *find(VdVhdxTable *table, const uint8_t item[16], VdFormatError *ret_error)
{
  VdVhdxMetadataEntry *entry;
  uint8_t guid[16];

  vd_vhdx_guid_swap(item, guid);
  entry = vd_vhdx_table_find(table, guid, true);
  if (!entry)
    vd_format_error_set(ret_error, VIRTDISK_ERROR_NOT_FOUND, 0, "item",
                        "the VHDX has no such item of user metadata");
  return entry;
}

bool vd_vhdx_edit_get(const VdLayerSource *source, const uint8_t item[16], uint8_t *ret_data,
                      uint32_t *ret_length, VdFormatError *ret_error)
{
  View view __attribute__((cleanup(view_clear))) = {0};
  const VdVhdxMetadataEntry *entry;
  VdSpan span;

  if (!view_open(&view, source, ret_error))
    return false;
  entry = find(view.table, item, ret_error);
  if (!entry)
    return false;
  *ret_length = entry->length;
  return entry->length == 0 || vd_vhdx_overlay_read(view.vhdx.overlay, &view.reader, "VHDX user metadata",
                                                    view.vhdx.metadata.offset + entry->offset, ret_data,
                                                    entry->length, &span, ret_error);
}

bool vd_vhdx_edit_set(const VdLayerSource *source, const uint8_t item[16], const uint8_t *data,
                      uint32_t length, VdFormatError *ret_error)
{
  VdVhdxEdit edit __attribute__((cleanup(vd_vhdx_edit_clear))) = {0};
  VdVhdxTable *table __attribute__((cleanup(free_table))) = NULL;
  uint8_t guid[16];

  vd_vhdx_guid_swap(item, guid);
  if (!vd_vhdx_edit_open(&edit, source, ret_error))
    return false;
  table = vd_vhdx_table_read(&edit.reader, &edit.vhdx, ret_error);
  return table && vd_vhdx_edit_set_item(&edit, table, guid, NEW_FLAGS, data, length, ret_error) &&
         vd_vhdx_edit_commit_changed(&edit, ret_error);
}

bool vd_vhdx_edit_delete(const VdLayerSource *source, const uint8_t item[16], VdFormatError *ret_error)
{
  VdVhdxEdit edit __attribute__((cleanup(vd_vhdx_edit_clear))) = {0};
  VdVhdxTable *table __attribute__((cleanup(free_table))) = NULL;
  VdVhdxMetadataEntry *entry;

  if (!vd_vhdx_edit_open(&edit, source, ret_error))
    return false;
  table = vd_vhdx_table_read(&edit.reader, &edit.vhdx, ret_error);
  entry = table ? find(table, item, ret_error) : NULL;
  return entry && vd_vhdx_edit_remove_item(&edit, table, entry, ret_error) &&
         vd_vhdx_edit_commit_changed(&edit, ret_error);
}
