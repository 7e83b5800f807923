/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Another parent for a VHD. Its header takes two sectors, which are not written at once, and there is but one
 * of it. So a new header with its texts is first written behind the end of the image, and the trailer made to
 * point there: from then on the image is the new one. Then the same again to where header and texts have
 * always been, and the file is cut to what it was. A text for which there is no room there stays at the end.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/vhd-edit-private.h"
#include "formats/vhd-parent.h"
#include "util/checked.h"

/* Where everybody has the header. */
#define HOME VD_VHD_FOOTER_LENGTH
#define SECTOR VD_VHD_SECTOR_SIZE
#define N_TEXTS 2

typedef struct {
  uint32_t code;
  const uint8_t *bytes;
  uint32_t length, space; /* bytes; 0: there is none; whole sectors */
  uint64_t offset;        /* where it goes at first */
} Text;

typedef struct {
  VdVhdEdit edit;
  VdVhdParentTexts strings;
  Text texts[N_TEXTS];
  uint8_t *table;
  VdVhdSparse old;
  uint64_t header;  /* where the new header goes at first */
  uint64_t trailer; /* where the trailer goes meanwhile */
} Relink;

static uint32_t whole_sectors(size_t length)
{
  return (uint32_t)((length + SECTOR - 1) / SECTOR * SECTOR);
}

/* The places behind the old trailer. */
static void lay_out(Relink *self)
{
  uint64_t end = self->edit.trailer + VD_VHD_FOOTER_LENGTH;

  self->header = end;
  end += VD_VHD_SPARSE_LENGTH;
  self->texts[0] = (Text){.code = VD_VHD_LOCATOR_W2RU,
                          .bytes = self->strings.relative,
                          .length = (uint32_t)self->strings.relative_length};
  self->texts[1] = (Text){.code = VD_VHD_LOCATOR_W2KU,
                          .bytes = self->strings.absolute,
                          .length = (uint32_t)self->strings.absolute_length};
  for (unsigned i = 0; i < N_TEXTS; i++) {
    self->texts[i].space = whole_sectors(self->texts[i].length);
    self->texts[i].offset = end;
    end += self->texts[i].space;
  }
  self->trailer = end;
}

static void set_locators(Relink *self)
{
  VdVhdSparse *sparse = &self->edit.sparse;
  unsigned n = 0;

  memset(sparse->locators, 0, sizeof sparse->locators);
  for (unsigned i = 0; i < N_TEXTS; i++)
    if (self->texts[i].length > 0)
      sparse->locators[n++] = (VdVhdLocator){.code = self->texts[i].code,
                                             .space = self->texts[i].space,
                                             .length = self->texts[i].length,
                                             .offset = self->texts[i].offset};
}

/* Header and texts, where they are to be now; durable, and nothing knows of them. */
static bool write_header(Relink *self, uint64_t header, VdFormatError *ret_error)
{
  VdVhdEdit *edit = &self->edit;
  uint8_t bytes[VD_VHD_SPARSE_LENGTH];

  set_locators(self);
  if (!vd_vhd_sparse_build(&edit->sparse, bytes))
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_INVALID_PARAMETER, 0, "parent_relative",
                               "the parent's name is too long or no UTF-8");
  for (unsigned i = 0; i < N_TEXTS; i++)
    if (!vd_vhd_edit_write(edit, self->texts[i].bytes, self->texts[i].length, self->texts[i].offset,
                           ret_error))
      return false;
  return vd_vhd_edit_write(edit, bytes, sizeof bytes, header, ret_error) &&
         vd_vhd_edit_flush(edit, ret_error);
}

/* From here on the header there counts. */
static bool point_to(Relink *self, uint64_t header, VdFormatError *ret_error)
{
  self->edit.footer.data_offset = header;
  vd_vhd_footer_change(&self->edit.footer);
  return vd_vhd_edit_put_footer(&self->edit, self->trailer, ret_error);
}

static bool overlaps(uint64_t a, uint64_t a_length, uint64_t b, uint64_t b_length)
{
  return a < b + b_length && b < a + a_length;
}

static bool is_under_block(const Relink *self, uint64_t offset, uint64_t length)
{
  const VdVhdBatShape *shape = &self->edit.shape;

  for (uint32_t block = 0; block < shape->blocks; block++) {
    uint32_t sector = vd_vhd_bat_entry(self->table, block);

    if (sector != VD_VHD_BLOCK_NONE && overlaps(offset, length, (uint64_t)sector * SECTOR,
                                                (uint64_t)shape->bitmap_length + shape->block_size))
      return true;
  }
  return false;
}

/* Before the old trailer, and neither footer nor table nor blocks. */
static bool is_free(const Relink *self, uint64_t offset, uint64_t length)
{
  const VdVhdSparse *old = &self->old;

  return offset >= VD_VHD_FOOTER_LENGTH && offset % SECTOR == 0 &&
         vd_range_within(offset, length, self->edit.trailer) &&
         !overlaps(offset, length, old->table_offset, vd_vhd_table_length(old->max_entries)) &&
         !is_under_block(self, offset, length);
}

static uint64_t choose_home(const Relink *self)
{
  return is_free(self, HOME, VD_VHD_SPARSE_LENGTH) ? HOME : self->old.offset;
}

/* Into the space of one of the old texts. What was given before, of the same change, is taken. */
static bool settle(Relink *self, Text *text, uint64_t home)
{
  for (unsigned i = 0; i < VD_VHD_LOCATORS; i++) {
    const VdVhdLocator *old = &self->old.locators[i];
    uint64_t had = vd_vhd_locator_space(old), used = whole_sectors(old->length);
    uint64_t space = had > used ? had / SECTOR * SECTOR : used;
    bool free = old->length > 0 && vd_vhd_locator_is_known(old) && space >= text->space &&
                space <= UINT32_MAX && is_free(self, old->offset, space) &&
                !overlaps(old->offset, space, home, VD_VHD_SPARSE_LENGTH);

    for (const Text *other = self->texts; other < text; other++)
      free = free && !overlaps(old->offset, space, other->offset, other->space);
    if (free) {
      text->offset = old->offset;
      text->space = (uint32_t)space;
      return true;
    }
  }
  return false;
}

/* At the end of the space that another one has got. */
static bool share(Relink *self, Text *text)
{
  for (Text *other = self->texts; other < text; other++)
    if (other->length > 0 && other->offset < self->edit.trailer &&
        other->space >= whole_sectors(other->length) + text->space) {
      other->space -= text->space;
      text->offset = other->offset + other->space;
      return true;
    }
  return false;
}

/* Back to where all was. The file keeps its new end only if a text had to stay there. */
static bool move_home(Relink *self, VdFormatError *ret_error)
{
  VdVhdEdit *edit = &self->edit;
  uint64_t home = choose_home(self);
  bool settled = true;

  for (unsigned i = 0; i < N_TEXTS; i++)
    if (self->texts[i].length > 0)
      settled = (settle(self, &self->texts[i], home) || share(self, &self->texts[i])) && settled;
  if (!write_header(self, home, ret_error) || !point_to(self, home, ret_error) ||
      !vd_vhd_edit_put_footer(edit, 0, ret_error))
    return false;
  return !settled || (vd_vhd_edit_put_footer(edit, edit->trailer, ret_error) &&
                      vd_vhd_edit_truncate(edit, edit->trailer + VD_VHD_FOOTER_LENGTH, ret_error) &&
                      vd_vhd_edit_flush(edit, ret_error));
}

static bool relink(Relink *self, const VdEditParent *parent, VdFormatError *ret_error)
{
  VdVhdEdit *edit = &self->edit;

  self->old = edit->sparse;
  memcpy(edit->sparse.parent_id, parent->linkage, sizeof edit->sparse.parent_id);
  edit->sparse.parent_timestamp = parent->timestamp;
  memcpy(edit->sparse.parent_name, self->strings.name, sizeof edit->sparse.parent_name);
  lay_out(self);
  /* The file grows; then the new header; then it counts. */
  return vd_vhd_edit_put_footer(edit, self->trailer, ret_error) &&
         write_header(self, self->header, ret_error) && vd_vhd_edit_spoil_front(edit, ret_error) &&
         point_to(self, self->header, ret_error) && move_home(self, ret_error);
}

bool vd_vhd_edit_parent(const VdLayerSource *source, const VdEditParent *parent, VdFormatError *ret_error)
{
  Relink self;
  bool good;

  if (!vd_vhd_parent_texts(parent->relative, parent->absolute, &self.strings, ret_error) ||
      !vd_vhd_edit_open(&self.edit, source, ret_error))
    return false;
  if (self.edit.footer.type != VD_VHD_DIFFERENCING)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_TYPE, 0, "parent",
                               "the VHD is no differencing image, and has no parent");
  self.table = vd_vhd_edit_read_table(&self.edit, ret_error);
  if (self.table == NULL)
    return false;
  good = relink(&self, parent, ret_error);
  free(self.table);
  return good;
}
