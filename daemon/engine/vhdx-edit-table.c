/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Items of metadata that come, change and go. A new value is always written beside the old one, into space of
 * the region that no item has; what makes it the value is the table's page. Where the region has no such
 * space all of it moves behind the end of the file, and the region tables' pages are what switches.
 */
#include "engine/vhdx-edit.h"

#include <inttypes.h>
#include <stdlib.h>

#include "formats/vhdx-region.h"

/* Items begin at multiples of this, though none has to. Bytes. */
#define ITEM_ALIGNMENT 8
/* Besides what it holds, a region that moved has room for this and half of what it holds, bytes. */
#define SPARE VD_VHDX_MIB

VdVhdxTable *vd_vhdx_table_read(const VdReader *reader, const VdVhdx *vhdx, VdFormatError *ret_error)
{
  VdVhdxTable *table = malloc(sizeof *table);
  VdSpan span;

  if (!table) {
    vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "",
                        "no memory for the VHDX metadata table");
    return NULL;
  }
  if (!vd_vhdx_overlay_read(vhdx->overlay, reader, "VHDX metadata table", vhdx->metadata.offset, table->bytes,
                            sizeof table->bytes, &span, ret_error) ||
      !vd_vhdx_metadata_parse(&span, vhdx->metadata.length, &table->known, ret_error)) {
    free(table);
    return NULL;
  }
  table->n = vd_vhdx_metadata_entries(&span, table->entries);
  return table;
}

VdVhdxMetadataEntry *vd_vhdx_table_find(VdVhdxTable *table, const uint8_t guid[16], bool of_user)
{
  for (unsigned i = 0; i < table->n; i++)
    if (memcmp(table->entries[i].guid, guid, 16) == 0 &&
        ((table->entries[i].flags & VD_VHDX_METADATA_USER) != 0) == of_user)
      return &table->entries[i];
  return NULL;
}

static bool put_table(VdVhdxEdit *self, VdVhdxTable *table, VdFormatError *ret_error)
{
  vd_vhdx_metadata_put_entries(table->entries, table->n, table->bytes);
  return vd_vhdx_edit_put(self, self->vhdx.metadata.offset, table->bytes, sizeof table->bytes, ret_error);
}

bool vd_vhdx_edit_remove_item(VdVhdxEdit *self, VdVhdxTable *table, VdVhdxMetadataEntry *entry,
                              VdFormatError *ret_error)
{
  size_t behind = (size_t)(&table->entries[table->n] - (entry + 1));

  memmove(entry, entry + 1, behind * sizeof *entry);
  table->n--;
  return put_table(self, table, ret_error);
}

bool vd_vhdx_edit_put_item(VdVhdxEdit *self, VdVhdxItem item, const uint8_t *bytes, uint32_t length,
                           VdFormatError *ret_error)
{
  VdVhdxTable *table = vd_vhdx_table_read(&self->reader, &self->vhdx, ret_error);
  bool good;

  if (!table)
    return false;
  good = table->known.items[item].length == length
             ? vd_vhdx_edit_put(self, self->vhdx.metadata.offset + table->known.items[item].offset, bytes,
                                length, ret_error)
             : vd_format_error_set(ret_error, VIRTDISK_ERROR_INTERNAL, self->vhdx.metadata.offset, "length",
                                   "an item of the VHDX metadata has %" PRIu64 " bytes, not %" PRIu32,
                                   table->known.items[item].length, length);
  free(table);
  return good;
}

/* Limits. entry: what is replaced, or NULL. */

static bool is_full(uint64_t offset, const char *what, uint64_t most, VdFormatError *ret_error)
{
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_METADATA_FULL, offset, "",
                             "VHDX metadata at offset %" PRIu64 ": there are %" PRIu64
                             " %s already, the most "
                             "that an image may have",
                             offset, most, what);
}

static bool check_limits(const VdVhdxEdit *self, const VdVhdxTable *table, const VdVhdxMetadataEntry *entry,
                         uint32_t flags, uint32_t length, VdFormatError *ret_error)
{
  uint64_t offset = self->vhdx.metadata.offset, total = length;
  unsigned n_user = 0;

  for (unsigned i = 0; i < table->n; i++) {
    const VdVhdxMetadataEntry *one = &table->entries[i];

    n_user += (one->flags & VD_VHDX_METADATA_USER) != 0;
    if (one != entry && ((one->flags ^ flags) & VD_VHDX_METADATA_USER) == 0)
      total += one->length;
  }
  if (!entry && table->n == VD_VHDX_METADATA_MAX_ENTRIES)
    return is_full(offset, "items", table->n, ret_error);
  if (!entry && (flags & VD_VHDX_METADATA_USER) != 0 && n_user >= VD_VHDX_METADATA_MAX_USER_ENTRIES)
    return is_full(offset, "items of users", n_user, ret_error);
  if (total > VD_VHDX_METADATA_MAX_TOTAL)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_METADATA_FULL, offset, "",
                               "VHDX metadata at offset %" PRIu64 ": %" PRIu64
                               " bytes of items are more than %" PRIu64,
                               offset, total, VD_VHDX_METADATA_MAX_TOTAL);
  return true;
}

/* In the region as it is. */

static int compare_offsets(const void *a, const void *b)
{
  const VdVhdxMetadataEntry *one = a, *other = b;

  return (one->offset > other->offset) - (one->offset < other->offset);
}

/* The first space that no item has; 0: there is none. */
static uint64_t find_space(const VdVhdxEdit *self, const VdVhdxTable *table, uint32_t length)
{
  static VdVhdxMetadataEntry sorted[VD_VHDX_METADATA_MAX_ENTRIES];
  uint64_t at = VD_VHDX_METADATA_TABLE_LENGTH;

  memcpy(sorted, table->entries, table->n * sizeof sorted[0]);
  qsort(sorted, table->n, sizeof sorted[0], compare_offsets);
  for (unsigned i = 0; i < table->n; i++) {
    if (sorted[i].length == 0)
      continue;
    if (sorted[i].offset >= at && sorted[i].offset - at >= length)
      return at;
    at = vd_vhdx_round_up((uint64_t)sorted[i].offset + sorted[i].length, ITEM_ALIGNMENT);
  }
  return at <= self->vhdx.metadata.length && self->vhdx.metadata.length - at >= length ? at : 0;
}

/* Pages that are the item's alone are nobody's yet: they are written at once. Of the others only the log may
 * tell. */
static bool put_value(VdVhdxEdit *self, uint64_t offset, const uint8_t *data, uint32_t length,
                      VdFormatError *ret_error)
{
  uint64_t end = offset + length, first = vd_vhdx_round_up(offset, VD_VHDX_PAGE);
  uint64_t last = end - end % VD_VHDX_PAGE;

  if (first >= last)
    return vd_vhdx_edit_put(self, offset, data, length, ret_error);
  memcpy(self->buffer, data + (first - offset), last - first);
  return vd_vhdx_edit_write(self, first, self->buffer, last - first, ret_error) &&
         vd_vhdx_edit_put(self, offset, data, first - offset, ret_error) &&
         vd_vhdx_edit_put(self, last, data + (last - offset), end - last, ret_error);
}

/* A region that moves. */

typedef struct {
  VdVhdxEdit *edit;
  uint64_t offset; /* bytes in the file, of the next piece */
  uint8_t *piece;
  size_t used;
} Stream;

static bool stream_out(Stream *self, VdFormatError *ret_error)
{
  size_t length = vd_vhdx_round_up(self->used, VD_VHDX_PAGE);

  memset(self->piece + self->used, 0, length - self->used);
  if (!vd_vhdx_edit_write(self->edit, self->offset, self->piece, length, ret_error))
    return false;
  self->offset += length;
  self->used = 0;
  return true;
}

static bool stream(Stream *self, const uint8_t *bytes, size_t length, VdFormatError *ret_error)
{
  for (size_t done = 0; done < length;) {
    size_t room = VD_VHDX_EDIT_PIECE - self->used, part = length - done < room ? length - done : room;

    memcpy(self->piece + self->used, bytes + done, part);
    self->used += part;
    done += part;
    if (self->used == VD_VHDX_EDIT_PIECE && !stream_out(self, ret_error))
      return false;
  }
  return true;
}

/* An item, as long as places are apart. */
static bool stream_item(Stream *self, const uint8_t *bytes, uint32_t length, VdFormatError *ret_error)
{
  static const uint8_t padding[ITEM_ALIGNMENT];

  return stream(self, bytes, length, ret_error) &&
         stream(self, padding, vd_vhdx_round_up(length, ITEM_ALIGNMENT) - length, ret_error);
}

/* item: number of the one whose content is data. */
static bool stream_items(Stream *self, const VdVhdxTable *table, const VdVhdxMetadataEntry *before,
                         unsigned item, const uint8_t *data, VdFormatError *ret_error)
{
  VdVhdxEdit *edit = self->edit;

  for (unsigned i = 0; i < table->n; i++) {
    uint32_t length = table->entries[i].length;

    if (length == 0)
      continue;
    if (i != item && !vd_vhdx_edit_read(edit, edit->vhdx.metadata.offset + before[i].offset, edit->buffer,
                                        length, ret_error))
      return false;
    if (!stream_item(self, i == item ? data : edit->buffer, length, ret_error))
      return false;
  }
  return self->used == 0 || stream_out(self, ret_error);
}

static void place_all(VdVhdxTable *table, uint64_t *ret_end)
{
  uint64_t at = VD_VHDX_METADATA_TABLE_LENGTH;

  for (unsigned i = 0; i < table->n; i++) {
    table->entries[i].offset = table->entries[i].length == 0 ? 0 : (uint32_t)at;
    at = vd_vhdx_round_up(at + table->entries[i].length, ITEM_ALIGNMENT);
  }
  *ret_end = at;
}

static void stream_clear(Stream *self)
{
  free(self->piece);
}

/* The table has the new item already, but for its place. */
static bool move_region(VdVhdxEdit *self, VdVhdxTable *table, unsigned item, const uint8_t *data,
                        VdFormatError *ret_error)
{
  static VdVhdxMetadataEntry before[VD_VHDX_METADATA_MAX_ENTRIES];
  Stream out __attribute__((cleanup(stream_clear))) = {.edit = self};
  VdVhdxRange region;
  uint64_t end;

  memcpy(before, table->entries, sizeof before);
  place_all(table, &end);
  region.length = vd_vhdx_round_up(end + end / 2 + SPARE, VD_VHDX_MIB);
  out.piece = aligned_alloc(VD_IO_ALIGNMENT, VD_VHDX_EDIT_PIECE);
  if (!out.piece)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "",
                               "no memory to move the VHDX metadata");
  if (!vd_vhdx_edit_take(self, region.length, &region.offset, ret_error))
    return false;
  out.offset = region.offset;
  vd_vhdx_metadata_put_entries(table->entries, table->n, table->bytes);
  return stream(&out, table->bytes, sizeof table->bytes, ret_error) &&
         stream_items(&out, table, before, item, data, ret_error) &&
         vd_vhdx_edit_put_regions(self, NULL, &region, ret_error);
}

bool vd_vhdx_edit_set_item(VdVhdxEdit *self, VdVhdxTable *table, const uint8_t guid[16], uint32_t flags,
                           const uint8_t *data, uint32_t length, VdFormatError *ret_error)
{
  VdVhdxMetadataEntry *entry = vd_vhdx_table_find(table, guid, (flags & VD_VHDX_METADATA_USER) != 0);
  uint64_t at;

  if (!check_limits(self, table, entry, flags, length, ret_error))
    return false;
  at = find_space(self, table, length);
  if (!entry) {
    entry = &table->entries[table->n++];
    *entry = (VdVhdxMetadataEntry){.flags = flags};
    memcpy(entry->guid, guid, sizeof entry->guid);
  }
  entry->length = length;
  if (length > 0 && at == 0)
    return move_region(self, table, (unsigned)(entry - table->entries), data, ret_error);
  entry->offset = length > 0 ? (uint32_t)at : 0;
  return (length == 0 || put_value(self, self->vhdx.metadata.offset + at, data, length, ret_error)) &&
         put_table(self, table, ret_error);
}
