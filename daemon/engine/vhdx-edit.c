/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The transaction of a change: what is written when, and what a power cut leaves of it. Until the header that
 * switches is written, nothing that a reader believes has changed but the FileWriteGuid; from then on the log
 * has all of it. So a failure behind that moment is none of the change: the next who writes replays the log.
 */
#include "engine/vhdx-edit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "formats/vhdx-region.h"
#include "util/checked.h"

/* Of the log that a change leaves behind: entries begin with this number. */
#define FIRST_SEQUENCE 1

static int run(const VdVhdxEdit *self, VdIoKind kind, uint64_t offset, uint64_t length, void *buffer)
{
  VdIoOp op = {
      .kind = kind, .file = self->source->file, .offset = offset, .length = length, .buffer = buffer};

  return vd_io_run(self->source->io, &op);
}

static bool check(int result, const char *what, uint64_t offset, VdFormatError *ret_error)
{
  VirtdiskError code = result == -ENOSPC || result == -EDQUOT ? VIRTDISK_ERROR_DISK_FULL
                       : result == -EFBIG                     ? VIRTDISK_ERROR_FILE_SYSTEM_LIMITATION
                                                              : VIRTDISK_ERROR_IO;

  return result == 0 ||
         vd_format_error_set(ret_error, code, offset, "", "changing the VHDX: %s at offset %" PRIu64 ": %s",
                             what, offset, strerrordesc_np(-result));
}

static bool flush(const VdVhdxEdit *self, VdFormatError *ret_error)
{
  return check(run(self, VD_IO_FLUSH, 0, 0, NULL), "making it durable", 0, ret_error);
}

static bool resize(VdVhdxEdit *self, uint64_t size, VdFormatError *ret_error)
{
  if (size == self->reader.size)
    return true;
  if (!check(run(self, VD_IO_TRUNCATE, 0, size, NULL), "the file's end", size, ret_error))
    return false;
  self->reader.size = size;
  return true;
}

bool vd_vhdx_edit_open(VdVhdxEdit *self, const VdLayerSource *source, VdFormatError *ret_error)
{
  memset(self, 0, sizeof *self);
  self->source = source;
  self->pages = aligned_alloc(VD_IO_ALIGNMENT, VD_VHDX_EDIT_WRITES * VD_VHDX_PAGE);
  self->buffer = aligned_alloc(VD_IO_ALIGNMENT, VD_VHDX_EDIT_PIECE);
  self->header = aligned_alloc(VD_IO_ALIGNMENT, VD_VHDX_HEADER_LENGTH);
  if (!self->pages || !self->buffer || !self->header)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "no memory to change a VHDX");
  return vd_vhdx_layer_read(source, &self->reader, &self->vhdx, ret_error);
}

/* Space of a change that did not come to be. */
static void give_back(VdVhdxEdit *self)
{
  VdFormatError unused;

  if (self->begun && !self->switched && self->end > self->old_end)
    (void)!resize(self, self->old_end, &unused);
}

void vd_vhdx_edit_clear(VdVhdxEdit *self)
{
  if (self->source)
    give_back(self);
  vd_vhdx_clear(&self->vhdx);
  vd_vhdx_occupancy_clear(&self->taken);
  free(self->pages);
  free(self->buffer);
  free(self->header);
  memset(self, 0, sizeof *self);
}

/* self->vhdx.header, with its changes, into the slot that is not current. */
static bool write_header(VdVhdxEdit *self, VdFormatError *ret_error)
{
  VdVhdxHeader *header = &self->vhdx.header;
  uint64_t offset = header->slot == 0 ? VD_VHDX_HEADER_2 : VD_VHDX_HEADER_1;

  header->sequence++;
  header->slot ^= 1;
  vd_vhdx_header_build(header, self->header);
  return check(run(self, VD_IO_WRITE, offset, VD_VHDX_HEADER_LENGTH, self->header), "a header", offset,
               ret_error) &&
         flush(self, ret_error);
}

static bool random_guid(uint8_t ret_guid[16], VdFormatError *ret_error)
{
  return vd_vhdx_random_guid(ret_guid) ||
         vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "no random numbers for a GUID");
}

/* Before the first change of anything else, a header names a new FileWriteGuid (MS-VHDX 2.2.2). */
static bool begin(VdVhdxEdit *self, VdFormatError *ret_error)
{
  if (!self->begun)
    self->begun = random_guid(self->vhdx.header.file_write_guid, ret_error) && write_header(self, ret_error);
  return self->begun;
}

/* Space. */

static uint64_t end_of(const VdVhdxOccupancy *taken)
{
  uint64_t unit = taken->length;

  while (unit > 0 && !(taken->bits[(unit - 1) / 8] >> ((unit - 1) % 8) & 1))
    unit--;
  return unit * VD_VHDX_MIB;
}

bool vd_vhdx_edit_map(VdVhdxEdit *self, VdFormatError *ret_error)
{
  if (self->end != 0)
    return true;
  if (!vd_vhdx_check_bat(&self->reader, &self->vhdx, NULL, NULL, &self->taken, ret_error))
    return false;
  self->end = self->old_end = end_of(&self->taken);
  return true;
}

bool vd_vhdx_edit_take(VdVhdxEdit *self, uint64_t length, uint64_t *ret_offset, VdFormatError *ret_error)
{
  uint64_t end;

  if (!vd_vhdx_edit_map(self, ret_error) || !begin(self, ret_error))
    return false;
  if (!vd_add_u64(self->end, length, &end) || end > VD_VHDX_MAX_FILE_SIZE)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_FILE_SYSTEM_LIMITATION, self->end, "",
                               "changing the VHDX: the file would have more than %" PRIu64 " bytes",
                               VD_VHDX_MAX_FILE_SIZE);
  /* What lies behind the last structure is nobody's, and no zeros. */
  if (self->reader.size > self->end && !resize(self, self->end, ret_error))
    return false;
  *ret_offset = self->end;
  self->end = end;
  return resize(self, end, ret_error);
}

bool vd_vhdx_edit_write(VdVhdxEdit *self, uint64_t offset, const uint8_t *bytes, uint64_t length,
                        VdFormatError *ret_error)
{
  return begin(self, ret_error) &&
         check(run(self, VD_IO_WRITE, offset, length, (void *)bytes), "new content", offset, ret_error);
}

bool vd_vhdx_edit_read(VdVhdxEdit *self, uint64_t offset, uint8_t *ret_bytes, uint64_t length,
                       VdFormatError *ret_error)
{
  VdSpan span;

  return vd_reader_read(&self->reader, "VHDX", offset, ret_bytes, length, &span, ret_error);
}

/* Multiples of the page. */
static bool clear_pages(VdVhdxEdit *self, uint64_t offset, uint64_t length, VdFormatError *ret_error)
{
  if (length == 0 || run(self, VD_IO_PUNCH, offset, length, NULL) == 0)
    return true;
  memset(self->buffer, 0, VD_VHDX_EDIT_PIECE);
  for (uint64_t done = 0; done < length;) {
    uint64_t piece = length - done < VD_VHDX_EDIT_PIECE ? length - done : VD_VHDX_EDIT_PIECE;

    if (!check(run(self, VD_IO_WRITE, offset + done, piece, self->buffer), "zeros", offset + done, ret_error))
      return false;
    done += piece;
  }
  return true;
}

/* What of the page is in use is written as it was: whole sectors stay what they are. */
static bool clear_in_page(VdVhdxEdit *self, uint64_t offset, uint64_t length, VdFormatError *ret_error)
{
  uint64_t at = offset % VD_VHDX_PAGE;

  if (length == 0)
    return true;
  if (!vd_vhdx_edit_read(self, offset - at, self->buffer, VD_VHDX_PAGE, ret_error))
    return false;
  memset(&self->buffer[at], 0, length);
  return check(run(self, VD_IO_WRITE, offset - at, VD_VHDX_PAGE, self->buffer), "zeros", offset, ret_error);
}

bool vd_vhdx_edit_clear_range(VdVhdxEdit *self, uint64_t offset, uint64_t length, VdFormatError *ret_error)
{
  uint64_t end = offset + length, first = vd_vhdx_round_up(offset, VD_VHDX_PAGE);
  uint64_t last = end - end % VD_VHDX_PAGE;

  if (!begin(self, ret_error))
    return false;
  if (first > last)
    return clear_in_page(self, offset, length, ret_error);
  return clear_in_page(self, offset, first - offset, ret_error) &&
         clear_pages(self, first, last - first, ret_error) &&
         clear_in_page(self, last, end - last, ret_error);
}

/* What is staged. */

static VdVhdxLogWrite *add_write(VdVhdxEdit *self, uint64_t offset, VdFormatError *ret_error)
{
  VdVhdxLogWrite *write = &self->writes[self->n];

  if (self->n == VD_VHDX_EDIT_WRITES) {
    vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, offset, "",
                        "changing the VHDX: more than %d pages are to change at once", VD_VHDX_EDIT_WRITES);
    return NULL;
  }
  *write = (VdVhdxLogWrite){.offset = offset};
  return write;
}

static uint8_t *page_of(VdVhdxEdit *self, unsigned i)
{
  return self->pages + (size_t)i * VD_VHDX_PAGE;
}

/* A page that stays as it is needs no entry. */
static bool put_page(VdVhdxEdit *self, uint64_t page, uint64_t at, const uint8_t *bytes, uint64_t length,
                     VdFormatError *ret_error)
{
  VdVhdxLogWrite *write;
  uint8_t *data;

  for (unsigned i = 0; i < self->n; i++)
    if (self->writes[i].page && self->writes[i].offset == page) {
      memcpy(page_of(self, i) + at, bytes, length);
      return true;
    }
  write = add_write(self, page, ret_error);
  if (!write)
    return false;
  data = page_of(self, self->n);
  if (!vd_vhdx_edit_read(self, page, data, VD_VHDX_PAGE, ret_error))
    return false;
  if (memcmp(data + at, bytes, length) == 0)
    return true;
  memcpy(data + at, bytes, length);
  write->page = data;
  write->length = VD_VHDX_PAGE;
  self->n++;
  return true;
}

bool vd_vhdx_edit_put(VdVhdxEdit *self, uint64_t offset, const uint8_t *bytes, uint64_t length,
                      VdFormatError *ret_error)
{
  for (uint64_t done = 0; done < length;) {
    uint64_t at = (offset + done) % VD_VHDX_PAGE, room = VD_VHDX_PAGE - at;
    uint64_t piece = length - done < room ? length - done : room;

    if (!put_page(self, offset + done - at, at, bytes + done, piece, ret_error))
      return false;
    done += piece;
  }
  return true;
}

bool vd_vhdx_edit_put_zeros(VdVhdxEdit *self, uint64_t offset, uint64_t length, VdFormatError *ret_error)
{
  VdVhdxLogWrite *write;

  if (length == 0)
    return true;
  write = add_write(self, offset, ret_error);
  if (!write)
    return false;
  write->length = length;
  self->n++;
  return true;
}

static bool read_regions(VdVhdxEdit *self, uint64_t offset, VdFormatError *ret_error)
{
  VdSpan span;

  return vd_reader_read(&self->reader, "VHDX region table", offset, self->buffer, VD_VHDX_REGIONS_LENGTH,
                        &span, ret_error) &&
         vd_vhdx_regions_check_sum(&span, ret_error);
}

bool vd_vhdx_edit_put_regions(VdVhdxEdit *self, const VdVhdxRange *bat, const VdVhdxRange *metadata,
                              VdFormatError *ret_error)
{
  if (!read_regions(self, VD_VHDX_REGIONS_1, ret_error) && !read_regions(self, VD_VHDX_REGIONS_2, ret_error))
    return false;
  vd_vhdx_regions_move(bat, metadata, self->buffer);
  return vd_vhdx_edit_put(self, VD_VHDX_REGIONS_1, self->buffer, VD_VHDX_REGIONS_LENGTH, ret_error) &&
         vd_vhdx_edit_put(self, VD_VHDX_REGIONS_2, self->buffer, VD_VHDX_REGIONS_LENGTH, ret_error);
}

/* The commit. */

static void free_bytes(uint8_t **bytes)
{
  free(*bytes);
}

static bool write_entry(VdVhdxEdit *self, const uint8_t log_guid[16], VdFormatError *ret_error)
{
  const VdVhdxHeader *header = &self->vhdx.header;
  VdVhdxLogStamp stamp = {.sequence = FIRST_SEQUENCE,
                          .flushed_file_offset = self->reader.size,
                          .last_file_offset = self->reader.size};
  uint8_t *entry __attribute__((cleanup(free_bytes))) = NULL;
  unsigned n_pages = 0;
  size_t length;

  for (unsigned i = 0; i < self->n; i++)
    n_pages += self->writes[i].page != NULL;
  length = vd_vhdx_log_entry_length(n_pages, self->n - n_pages);
  entry = aligned_alloc(VD_IO_ALIGNMENT, length);
  if (!entry)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "",
                               "no memory for an entry of the VHDX log");
  memcpy(stamp.log_guid, log_guid, sizeof stamp.log_guid);
  vd_vhdx_log_entry_build(&stamp, self->writes, self->n, entry);
  return check(run(self, VD_IO_WRITE, header->log_offset, length, entry), "the log", header->log_offset,
               ret_error);
}

static bool go_home(VdVhdxEdit *self, VdFormatError *ret_error)
{
  for (unsigned i = 0; i < self->n; i++) {
    const VdVhdxLogWrite *write = &self->writes[i];
    bool good = write->page ? check(run(self, VD_IO_WRITE, write->offset, VD_VHDX_PAGE, page_of(self, i)),
                                    "a page", write->offset, ret_error)
                            : clear_pages(self, write->offset, write->length, ret_error);

    if (!good)
      return false;
  }
  return flush(self, ret_error);
}

/* Both: so that neither names a log that is gone. */
static bool write_both_headers(VdVhdxEdit *self, VdFormatError *ret_error)
{
  return write_header(self, ret_error) && write_header(self, ret_error);
}

/* What the change has freed: the file becomes shorter, and gets holes. */
static void release(VdVhdxEdit *self)
{
  VdVhdxOccupancy now __attribute__((cleanup(vd_vhdx_occupancy_clear))) = {0};
  VdVhdx vhdx = {0};
  VdFormatError unused;
  uint64_t end, first = 0;

  if (!vd_vhdx_read(&self->reader, &vhdx, &unused))
    return;
  if (!vhdx.overlay && vd_vhdx_check_bat(&self->reader, &vhdx, NULL, NULL, &now, &unused)) {
    end = end_of(&now);
    for (uint64_t unit = 1; unit <= end / VD_VHDX_MIB; unit++) {
      bool freed = unit < end / VD_VHDX_MIB && unit < self->taken.length &&
                   (self->taken.bits[unit / 8] & ~now.bits[unit / 8]) >> (unit % 8) & 1;

      if (freed && first == 0)
        first = unit;
      if (!freed && first != 0) {
        (void)!run(self, VD_IO_PUNCH, first * VD_VHDX_MIB, (unit - first) * VD_VHDX_MIB, NULL);
        first = 0;
      }
    }
    if (self->reader.size > end && resize(self, end, &unused))
      (void)!flush(self, &unused);
  }
  vd_vhdx_clear(&vhdx);
}

/* From here on the change is there, whatever happens: what does not go home stays in the log. */
static void finish(VdVhdxEdit *self)
{
  VdFormatError unused;

  self->switched = true;
  if (!go_home(self, &unused))
    return;
  memset(self->vhdx.header.log_guid, 0, sizeof self->vhdx.header.log_guid);
  if (write_both_headers(self, &unused) && self->end != 0)
    release(self);
}

bool vd_vhdx_edit_commit(VdVhdxEdit *self, const uint8_t *data_write_guid, VdFormatError *ret_error)
{
  VdVhdxHeader *header = &self->vhdx.header;
  uint8_t log_guid[16];

  if (self->n == 0 && !data_write_guid)
    return true;
  if (!begin(self, ret_error))
    return false;
  if (self->n > 0 &&
      (!random_guid(log_guid, ret_error) ||
       !resize(self, vd_vhdx_round_up(self->reader.size, VD_VHDX_MIB), ret_error) ||
       !flush(self, ret_error) || !write_entry(self, log_guid, ret_error) || !flush(self, ret_error)))
    return false;
  if (data_write_guid)
    memcpy(header->data_write_guid, data_write_guid, sizeof header->data_write_guid);
  if (self->n == 0)
    return write_both_headers(self, ret_error);
  memcpy(header->log_guid, log_guid, sizeof log_guid);
  /* Once this was begun, nobody knows what a power cut leaves. */
  self->switched = true;
  if (!write_header(self, ret_error))
    return false;
  finish(self);
  return true;
}

bool vd_vhdx_edit_commit_changed(VdVhdxEdit *self, VdFormatError *ret_error)
{
  uint8_t guid[16];

  return random_guid(guid, ret_error) && vd_vhdx_edit_commit(self, guid, ret_error);
}
