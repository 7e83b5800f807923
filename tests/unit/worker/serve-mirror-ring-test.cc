// SPDX-License-Identifier: LGPL-2.1-or-later
// A mirror whose ring fails: what the kernel may still work on is not given back. The ring, and what of the
// worker hears of it, are of this test.
#include <liburing.h> // it has templates for C++

#include "../engine/engine-bed.hh"

extern "C" {
#include "worker/serve.h"
}

namespace
{

std::vector<uint32_t> told; // kinds

} // namespace

extern "C" {
int vd_ring_wait(VdRing *)
{
  return -EIO;
}

void vd_serve_report(const VdServer *, VdServeKind kind, const VdFormatError *error,
                     VdServeReport *ret_report)
{
  *ret_report = {};
  ret_report->header.kind = kind;
  ret_report->error.code = error != nullptr ? error->code : -1;
}

void vd_serve_lines_tell(VdServeLines *, const VdServeHeader *message)
{
  told.push_back(message->kind);
}

bool vd_serve_open_chain_over(VdServer *, unsigned, unsigned, bool, uint32_t, VdLayer **, unsigned *,
                              VdFormatError *)
{
  return false;
}

void vd_serve_release_held(VdServer *) {}

void vd_serve_changes_close(VdServer *, int) {}
}

namespace
{

constexpr uint64_t kBlock = 65536, kSize = 16 * kBlock;

class ServeMirrorRing : public testing::Test
{
protected:
  vd_sim::Io sim;
  std::unique_ptr<MockLayer> leaves[2];
  VdEngine *engines[2] = {};
  VdServer server = {};
  int freed = 0;

  void SetUp() override
  {
    for (unsigned i = 0; i < 2; i++) {
      VdLayer *layer;

      sim.add(vd_sim::Image::of_size(kSize), true);
      leaves[i] = std::make_unique<MockLayer>(sim.io(), kSize, kBlock, i);
      layer = leaves[i]->layer();
      engines[i] = vd_engine_new(sim.io(), &layer, 1, nullptr);
      ASSERT_TRUE(engines[i]);
    }
    leaves[1]->freed = &freed;
    server.engine = engines[0];
    server.mirror.engine = engines[1];
    server.mirror.mirror = vd_mirror_new(engines[0], engines[1], VD_MIRROR_OVER_NEW, nullptr, nullptr);
    ASSERT_TRUE(server.mirror.mirror);
    vd_mirror_start(server.mirror.mirror);
    ASSERT_TRUE(sim.run_until(
        [&] { return vd_mirror_state(server.mirror.mirror, nullptr, nullptr) == VD_MIRROR_MIRRORED; }));
  }
};

TEST_F(ServeMirrorRing, WhatItStillWorksOnAsTheMirrorIsBrokenStays)
{
  VdMirror *mirror = server.mirror.mirror;

  vd_serve_mirror_break(&server);
  told.clear();
  EXPECT_FALSE(vd_serve_mirror_is_broken(&server));
  EXPECT_EQ(told.back(), uint32_t{VD_SERVE_BROKEN});
  EXPECT_EQ(server.mirror.mirror, nullptr);
  EXPECT_EQ(freed, 0);
  EXPECT_TRUE(sim.run_until([&] { return vd_engine_is_idle(engines[1]); })) << "the FLUSH ends after all";
  vd_mirror_free(mirror);
  vd_engine_free(engines[1]);
  EXPECT_EQ(freed, 1);
  vd_engine_free(engines[0]);
}

} // namespace
