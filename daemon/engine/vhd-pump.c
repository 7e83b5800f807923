/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Many writes of metadata, some of them at a time; and one of them. */
#include "engine/vhd-layer.h"

static void on_pump_done(VdIoOp *op, int result);

static bool start_one(VdVhdPump *pump, unsigned slot)
{
  VdVhdLayer *self = pump->layer;
  VdIoOp *op = &pump->ops[slot];

  *op = (VdIoOp){.file = self->base.file, .done = on_pump_done, .user = pump};
  if (!pump->next(self, slot, op))
    return false;
  pump->busy[slot] = true;
  pump->in_flight++;
  vd_io_submit(self->base.io, op);
  return true;
}

/* After an error no more is begun; what is in flight comes home first. */
static void go_on(VdVhdPump *pump)
{
  for (unsigned slot = 0; slot < VD_VHD_PUMP && pump->error == 0; slot++)
    if (!pump->busy[slot] && !start_one(pump, slot))
      break;
  if (pump->in_flight == 0)
    pump->then(pump->layer, pump->error);
}

static void on_pump_done(VdIoOp *op, int result)
{
  VdVhdPump *pump = op->user;
  unsigned slot = (unsigned)(op - pump->ops);

  if (pump->landed != NULL)
    result = pump->landed(pump->layer, slot, op, result);
  if (pump->error == 0)
    pump->error = result;
  pump->busy[slot] = false;
  pump->in_flight--;
  go_on(pump);
}

void vd_vhd_pump_run(VdVhdPump *pump, VdVhdLayer *self)
{
  pump->layer = self;
  pump->error = 0;
  go_on(pump);
}

static void on_single_done(VdIoOp *op, int result)
{
  VdVhdSingle *single = op->user;

  single->then(single->layer, result);
}

void vd_vhd_single_run(VdVhdSingle *single, VdVhdLayer *self, const VdIoOp *op, VdVhdThen then)
{
  single->layer = self;
  single->then = then;
  single->op = *op;
  single->op.file = self->base.file;
  single->op.done = on_single_done;
  single->op.user = single;
  vd_io_submit(self->base.io, &single->op);
}

VdIoOp vd_vhd_flush_op(void)
{
  return (VdIoOp){.kind = VD_IO_FLUSH};
}

void vd_vhd_table_fill(VdVhdLayer *self, uint32_t sector, VdIoOp *op)
{
  op->kind = VD_IO_WRITE;
  op->offset = self->shape.table_offset + (uint64_t)sector * VD_VHD_SECTOR;
  op->length = VD_VHD_SECTOR;
  op->buffer = &self->table[(size_t)sector * VD_VHD_SECTOR];
}

void vd_vhd_table_landed(VdVhdLayer *self, const VdIoOp *op, int result)
{
  uint64_t sector = (op->offset - self->shape.table_offset) / VD_VHD_SECTOR;
  bool was = vd_vhd_bit(self->suspect, sector);

  vd_vhd_set_bit(self->suspect, sector, result < 0);
  self->n_suspect += (uint32_t)(result < 0) - (uint32_t)was;
}
