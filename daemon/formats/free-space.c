/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One volume after the other: what it tells counts when it has told all. */
#include "formats/free-space-private.h"

#include <stdio.h>
#include <stdlib.h>

#include "util/checked.h"

bool vd_free_volume_refuse(VdFreeVolume *self, const char *reason)
{
  if (!self->reason)
    self->reason = reason;
  return false;
}

bool vd_free_volume_read(VdFreeVolume *self, uint64_t offset, void *ret_bytes, size_t length)
{
  if (!vd_range_within(offset, length, self->size))
    return vd_free_volume_refuse(self, "it names places outside of itself");
  return self->disk->read(self->disk->user, self->start + offset, ret_bytes, length) ||
         vd_free_volume_refuse(self, "it cannot be read");
}

bool vd_free_volume_own(VdFreeVolume *self, uint64_t offset, uint64_t length)
{
  if (!vd_range_within(offset, length, self->size))
    return vd_free_volume_refuse(self, "it names places outside of itself");
  if (self->n_own == VD_FREE_SPACE_OWN)
    return vd_free_volume_refuse(self, "its maps are in more pieces than are followed");
  self->own[self->n_own++] = (VdFreeRange){offset, offset + length};
  return true;
}

static bool is_own(const VdFreeVolume *self, uint64_t start, uint64_t end)
{
  for (unsigned i = 0; i < self->n_own; i++)
    if (start < self->own[i].end && self->own[i].start < end)
      return true;
  return false;
}

static bool tell(VdFreeVolume *self)
{
  uint64_t length = self->run_end - self->run;

  if (length > 0 && !self->ended) {
    self->told = true;
    self->ended = !self->disk->found(self->disk->user, self->start + self->run, length);
  }
  self->run = self->run_end = 0;
  return !self->ended;
}

bool vd_free_volume_add(VdFreeVolume *self, uint64_t offset, uint64_t length)
{
  if (!vd_range_within(offset, length, self->size))
    return vd_free_volume_refuse(self, "it names places outside of itself");
  if (is_own(self, offset, offset + length))
    return vd_free_volume_refuse(self, "it calls free what it needs itself");
  if (self->run_end > self->run && self->run_end == offset) {
    self->run_end += length;
    return !self->ended;
  }
  if (!tell(self))
    return false;
  self->run = offset;
  self->run_end = offset + length;
  return true;
}

bool vd_free_volume_add_bits(VdFreeVolume *self, const uint8_t *bits, uint64_t n_bits, uint64_t offset,
                             uint64_t unit)
{
  for (uint64_t bit = 0; bit < n_bits;) {
    bool is_used = (bits[bit / 8] >> (bit % 8) & 1) != 0;
    uint8_t same = is_used ? 0xFF : 0;
    uint64_t first = bit++;

    while (bit < n_bits && (bits[bit / 8] >> (bit % 8) & 1) == is_used)
      bit += bit % 8 == 0 && n_bits - bit >= 8 && bits[bit / 8] == same ? 8 : 1;
    if (!is_used && !vd_free_volume_add(self, offset + first * unit, (bit - first) * unit))
      return false;
  }
  return true;
}

static void note(VdFreeSpaceReport *report, unsigned partition, const char *name, const char *reason)
{
  size_t used = strlen(report->note);
  char where[32] = "";

  report->fell_back++;
  if (partition != 0)
    snprintf(where, sizeof where, " in partition %u", partition);
  snprintf(report->note + used, sizeof report->note - used, "%s%s%s: %s", used > 0 ? "; " : "", name, where,
           reason);
}

/* Nothing of what it told counts if anything of it was not as it should be. */
static void ask(VdFreeVolume *volume, const VdFreeOwner *owner, unsigned partition, VdFreeSpaceReport *report)
{
  bool good = owner->ask(volume) && tell(volume);

  if (volume->told)
    volume->disk->settle(volume->disk->user, good ? VD_FREE_SPACE_KEEP : VD_FREE_SPACE_FORGET);
  if (good)
    report->asked++;
  else if (!volume->ended)
    note(report, partition, owner->name, volume->reason ? volume->reason : "it cannot be read");
}

/* False: it is to end. */
static bool ask_partition(const VdFreeSpaceDisk *disk, const VdFreePartition *partition, uint8_t *chunk,
                          VdFreeSpaceReport *report)
{
  VdFreeVolume volume = {
      .disk = disk, .start = partition->start, .size = partition->end - partition->start, .chunk = chunk};
  VdFreeOwner owner;

  if (partition->reason) {
    note(report, partition->number, "what is", partition->reason);
    return true;
  }
  owner = vd_free_owner(&volume);
  if (!owner.name)
    return true;
  if (owner.ask)
    ask(&volume, &owner, partition->number, report);
  else
    note(report, partition->number, owner.name, owner.reason);
  return !volume.ended;
}

static bool ask_disk(const VdFreeSpaceDisk *disk, VdFreeTable *table, uint8_t *chunk,
                     VdFreeSpaceReport *report)
{
  const VdFreePartition whole = {.end = disk->size};
  VdFreeVolume volume = {.disk = disk, .size = disk->size, .chunk = chunk};
  VdFreeOwner owner;

  vd_free_table_read(disk, table);
  if (table->reason) {
    note(report, 0, "the table of partitions", table->reason);
    return true;
  }
  if (table->n == 0)
    return ask_partition(disk, &whole, chunk, report);
  /* A table, and somebody who uses the disk as a whole: one of the two is old. */
  owner = vd_free_owner(&volume);
  if (owner.name) {
    note(report, 0, owner.name, "there is a table of partitions too");
    return true;
  }
  for (unsigned i = 0; i < table->n; i++)
    if (!ask_partition(disk, &table->partitions[i], chunk, report))
      return false;
  return true;
}

static void free_memory(void *memory)
{
  free(*(void **)memory);
}

bool vd_free_space_find(const VdFreeSpaceDisk *disk, VdFreeSpaceReport *ret_report)
{
  VdFreeTable *table __attribute__((cleanup(free_memory))) = calloc(1, sizeof *table);
  uint8_t *chunk __attribute__((cleanup(free_memory))) = malloc(VD_FREE_SPACE_CHUNK);

  *ret_report = (VdFreeSpaceReport){0};
  if (table && chunk)
    return ask_disk(disk, table, chunk, ret_report);
  note(ret_report, 0, "the disk", "there is no memory to ask");
  return true;
}
