/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One change of a VHDX that nobody serves, as a transaction. What is to become visible is staged, page by
 * page; what nothing refers to yet is written at once. The commit puts all that is staged into one entry of
 * the log, under a LogGuid that no header knows, makes it durable, and then writes the one header that names
 * it, with the new DataWriteGuid: with that sector the whole change is there, before it none of it. Then the
 * pages go home, and the headers forget the log (MS-VHDX 2.2.2, 2.3).
 *
 *   VdVhdxEdit edit __attribute__((cleanup(vd_vhdx_edit_clear))) = {0};
 *   vd_vhdx_edit_open() ... put ... vd_vhdx_edit_commit()
 *
 * Shared by vhdx-edit*.c alone. Blocking.
 */
#pragma once

#include "engine/edit-ops.h"
#include "engine/vhdx-layer.h"
#include "formats/vhdx-metadata.h"

/* Pages and ranges of zeros of one change: their descriptors fit the first sector of the entry, and the entry
 * into the smallest log. */
#define VD_VHDX_EDIT_WRITES 120
/* Bytes that are copied at a time. */
#define VD_VHDX_EDIT_PIECE VD_VHDX_MIB

typedef struct {
  const VdLayerSource *source;
  VdReader reader; /* knows the file's size of now */
  VdVhdx vhdx;     /* as it was opened, its log replayed; the header is that of now */
  VdVhdxOccupancy taken;
  uint64_t end;     /* bytes: behind the last that is in use, or is going to be; 0: not known yet */
  uint64_t old_end; /* what it was */
  bool begun, switched;
  VdVhdxLogWrite writes[VD_VHDX_EDIT_WRITES];
  unsigned n;
  uint8_t *pages;  /* of the writes, by their number */
  uint8_t *buffer; /* VD_VHDX_EDIT_PIECE bytes, for whoever copies */
  uint8_t *header;
} VdVhdxEdit;

/* Replays the log. Errors: those of opening for writing. */
bool vd_vhdx_edit_open(VdVhdxEdit *self, const VdLayerSource *source, VdFormatError *ret_error);
/* Takes back the space of a change that did not come to be. */
void vd_vhdx_edit_clear(VdVhdxEdit *self);

/* The whole BAT is read and checked: due before space is taken or given back. */
bool vd_vhdx_edit_map(VdVhdxEdit *self, VdFormatError *ret_error);
/* length bytes (a multiple of 1 MiB) of zeros at the end of the file, which nothing refers to. */
bool vd_vhdx_edit_take(VdVhdxEdit *self, uint64_t length, uint64_t *ret_offset, VdFormatError *ret_error);
/* At once. bytes: aligned; offset and length: multiples of VD_VHDX_PAGE. Nothing may refer to the place. */
bool vd_vhdx_edit_write(VdVhdxEdit *self, uint64_t offset, const uint8_t *bytes, uint64_t length,
                        VdFormatError *ret_error);
/* As it is before the change. length: at most VD_VHDX_EDIT_PIECE. */
bool vd_vhdx_edit_read(VdVhdxEdit *self, uint64_t offset, uint8_t *ret_bytes, uint64_t length,
                       VdFormatError *ret_error);
/* At once: zeros, any range; nothing may refer to what is in it. */
bool vd_vhdx_edit_clear_range(VdVhdxEdit *self, uint64_t offset, uint64_t length, VdFormatError *ret_error);

/* Staged. Any range of what is there already. */
bool vd_vhdx_edit_put(VdVhdxEdit *self, uint64_t offset, const uint8_t *bytes, uint64_t length,
                      VdFormatError *ret_error);
/* Staged; multiples of VD_VHDX_PAGE, and no page of it is staged otherwise. */
bool vd_vhdx_edit_put_zeros(VdVhdxEdit *self, uint64_t offset, uint64_t length, VdFormatError *ret_error);
/* Staged: both region tables. NULL: stays. */
bool vd_vhdx_edit_put_regions(VdVhdxEdit *self, const VdVhdxRange *bat, const VdVhdxRange *metadata,
                              VdFormatError *ret_error);

/* data_write_guid, as on disk; NULL: what a reader of the disk sees stays as it is. Afterwards the edit is
 * only to be cleared. */
bool vd_vhdx_edit_commit(VdVhdxEdit *self, const uint8_t *data_write_guid, VdFormatError *ret_error);
/* With a random one. */
bool vd_vhdx_edit_commit_changed(VdVhdxEdit *self, VdFormatError *ret_error);

/* vhdx-edit-table.c: the metadata table. */
typedef struct {
  VdVhdxMetadataEntry entries[VD_VHDX_METADATA_MAX_ENTRIES];
  unsigned n;
  VdVhdxMetadata known;
  uint8_t bytes[VD_VHDX_METADATA_TABLE_LENGTH];
} VdVhdxTable;

/* NULL with *ret_error; else to be freed. Also of an image whose log is not replayed. */
VdVhdxTable *vd_vhdx_table_read(const VdReader *reader, const VdVhdx *vhdx, VdFormatError *ret_error);
/* NULL: there is none. */
VdVhdxMetadataEntry *vd_vhdx_table_find(VdVhdxTable *table, const uint8_t guid[16], bool of_user);
/* Staged: an item with new content, of any length; a new one has these flags. Where the region has no room it
 * moves, with room for more. Errors: VHD_METADATA_FULL. */
bool vd_vhdx_edit_set_item(VdVhdxEdit *self, VdVhdxTable *table, const uint8_t guid[16], uint32_t flags,
                           const uint8_t *data, uint32_t length, VdFormatError *ret_error);
/* Staged. entry: one of the table's. */
bool vd_vhdx_edit_remove_item(VdVhdxEdit *self, VdVhdxTable *table, VdVhdxMetadataEntry *entry,
                              VdFormatError *ret_error);
/* Staged: an item whose length stays. */
bool vd_vhdx_edit_put_item(VdVhdxEdit *self, VdVhdxItem item, const uint8_t *bytes, uint32_t length,
                           VdFormatError *ret_error);

/* vhdx-edit-ids.c, vhdx-edit-parent.c, vhdx-edit-size.c, vhdx-edit-user.c */
bool vd_vhdx_edit_parent(const VdLayerSource *source, const VdEditParent *parent, VdFormatError *ret_error);
bool vd_vhdx_edit_linkage(const VdLayerSource *source, const uint8_t linkage[16], const uint8_t *linkage2,
                          VdFormatError *ret_error);
bool vd_vhdx_edit_identifier(const VdLayerSource *source, const uint8_t id[16], VdFormatError *ret_error);
bool vd_vhdx_edit_physical_sector_size(const VdLayerSource *source, uint32_t size, VdFormatError *ret_error);
bool vd_vhdx_edit_virtual_disk_id(const VdLayerSource *source, const uint8_t id[16],
                                  VdFormatError *ret_error);
bool vd_vhdx_edit_size(const VdLayerSource *source, uint64_t size, VdFormatError *ret_error);
bool vd_vhdx_edit_enumerate(const VdLayerSource *source, uint8_t (*ret_items)[16], unsigned *ret_n,
                            VdFormatError *ret_error);
bool vd_vhdx_edit_get(const VdLayerSource *source, const uint8_t item[16], uint8_t *ret_data,
                      uint32_t *ret_length, VdFormatError *ret_error);
bool vd_vhdx_edit_set(const VdLayerSource *source, const uint8_t item[16], const uint8_t *data,
                      uint32_t length, VdFormatError *ret_error);
bool vd_vhdx_edit_delete(const VdLayerSource *source, const uint8_t item[16], VdFormatError *ret_error);
