/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The bytes of a new log entry: the way back of what vhdx-log-entry.c reads. */
#include "formats/vhdx-log.h"

#include <string.h>

#include "formats/bytes.h"
#include "formats/crc32c.h"
#include "formats/vhdx-log-entry.h"

size_t vd_vhdx_log_entry_length(unsigned n_pages, unsigned n_zeros)
{
  return ((size_t)vd_vhdx_log_descriptor_sectors((uint64_t)n_pages + n_zeros) + n_pages) * VD_VHDX_PAGE;
}

static void put_descriptor(const VdVhdxLogWrite *write, uint64_t sequence, uint8_t *bytes)
{
  memcpy(bytes, write->page != NULL ? "desc" : "zero", 4);
  if (write->page != NULL) {
    memcpy(&bytes[VD_LOG_AT_TRAILING], &write->page[VD_VHDX_PAGE - 4], 4);
    memcpy(&bytes[VD_LOG_AT_LEADING], write->page, 8);
  } else {
    vd_put_le64(&bytes[VD_LOG_AT_ZERO_LENGTH], write->length);
  }
  vd_put_le64(&bytes[VD_LOG_AT_OFFSET], write->offset);
  vd_put_le64(&bytes[VD_LOG_AT_DESCRIPTOR_SEQUENCE], sequence);
}

static void put_data(const uint8_t *page, uint64_t sequence, uint8_t *bytes)
{
  memcpy(bytes, "data", 4);
  vd_put_le32(&bytes[VD_LOG_AT_SEQUENCE_HIGH], (uint32_t)(sequence >> 32));
  memcpy(&bytes[VD_LOG_AT_DATA], &page[8], VD_LOG_DATA_LENGTH);
  vd_put_le32(&bytes[VD_LOG_AT_SEQUENCE_LOW], (uint32_t)sequence);
}

static void put_header(const VdVhdxLogStamp *stamp, unsigned n_descriptors, size_t length, uint8_t *bytes)
{
  memcpy(&bytes[VD_LOG_AT_SIGNATURE], "loge", 4);
  vd_put_le32(&bytes[VD_LOG_AT_LENGTH], (uint32_t)length);
  vd_put_le32(&bytes[VD_LOG_AT_TAIL], stamp->tail);
  vd_put_le64(&bytes[VD_LOG_AT_SEQUENCE], stamp->sequence);
  vd_put_le32(&bytes[VD_LOG_AT_COUNT], n_descriptors);
  memcpy(&bytes[VD_LOG_AT_GUID], stamp->log_guid, 16);
  vd_put_le64(&bytes[VD_LOG_AT_FLUSHED], stamp->flushed_file_offset);
  vd_put_le64(&bytes[VD_LOG_AT_LAST], stamp->last_file_offset);
}

void vd_vhdx_log_entry_build(const VdVhdxLogStamp *stamp, const VdVhdxLogWrite *writes, unsigned n,
                             uint8_t *ret_bytes)
{
  size_t head = (size_t)vd_vhdx_log_descriptor_sectors(n) * VD_VHDX_PAGE, length = head;

  memset(ret_bytes, 0, head);
  for (unsigned i = 0; i < n; i++) {
    put_descriptor(&writes[i], stamp->sequence,
                   &ret_bytes[VD_LOG_HEADER_LENGTH + (size_t)i * VD_LOG_DESCRIPTOR_LENGTH]);
    if (writes[i].page == NULL)
      continue;
    put_data(writes[i].page, stamp->sequence, &ret_bytes[length]);
    length += VD_VHDX_PAGE;
  }
  put_header(stamp, n, length, ret_bytes);
  vd_put_le32(&ret_bytes[VD_LOG_AT_CHECKSUM], vd_crc32c(0, ret_bytes, length));
}
