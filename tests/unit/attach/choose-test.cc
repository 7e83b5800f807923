// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <string>

extern "C" {
#include "attach/choose.h"
#include "attach/nbd.h"
#include "attach/sysfs.h"
#include "util/identity.h"
#include "virtdisk-error.h"
}

namespace
{

VdAttachSpec Sound()
{
  VdAttachSpec spec = {};

  spec.tag = "0123abcd";
  spec.fd = 3;
  spec.size = 1 << 20;
  spec.sector_size = 512;
  spec.uid = VD_UID_INVALID;
  spec.rundir = "/run/virtdisk";
  return spec;
}

TEST(Choose, EveryRouteIsComplete)
{
  std::set<std::string> names;

  ASSERT_NE(vd_routes()[0], nullptr);
  for (const VdRoute *const *route = vd_routes(); *route != nullptr; route++) {
    EXPECT_TRUE(names.insert((*route)->name).second) << (*route)->name << " is listed twice";
    EXPECT_NE((*route)->suits, nullptr);
    EXPECT_NE((*route)->attach, nullptr);
    EXPECT_NE((*route)->release, nullptr);
    EXPECT_NE((*route)->abandon, nullptr);
    EXPECT_NE((*route)->is_live, nullptr);
    EXPECT_NE((*route)->scan, nullptr);
  }
}

TEST(Choose, OneRunOfBytesGoesToLoopAndSaysWhy)
{
  VdAttachSpec spec = Sound();
  g_autofree char *reason = nullptr;
  const VdRoute *route = vd_route_choose(vd_routes(), &spec, &reason, nullptr);

  ASSERT_NE(route, nullptr);
  EXPECT_STREQ(route->name, "loop");
  ASSERT_NE(reason, nullptr);
  EXPECT_STRNE(reason, "");
}

// Stand-ins for drivers that a machine may have or not.
gboolean have_ublk;
gboolean LoopSuits(const VdAttachSpec *spec, char **ret_why)
{
  *ret_why = g_strdup(spec->translated ? "not one run" : "one run");
  return !spec->translated;
}
gboolean UblkSuits(const VdAttachSpec *, char **ret_why)
{
  *ret_why = g_strdup(have_ublk ? "by a worker" : "no driver");
  return have_ublk;
}
gboolean FuseSuits(const VdAttachSpec *, char **ret_why)
{
  *ret_why = g_strdup("by a worker and loop");
  return TRUE;
}

struct Wish {
  gboolean translated, have_ublk;
  const char *route, *taken, *reason;
};

class ChooseAmong : public testing::TestWithParam<Wish>
{
};

TEST_P(ChooseAmong, TakesTheFirstThatSuitsAndSaysWhy)
{
  VdRoute loop = {}, ublk = {}, fuse = {};
  const VdRoute *const among[] = {&loop, &ublk, &fuse, nullptr};
  VdAttachSpec spec = Sound();
  g_autofree char *reason = nullptr;
  GError *error = nullptr;

  loop.name = "loop", loop.suits = LoopSuits;
  ublk.name = "ublk", ublk.suits = UblkSuits;
  fuse.name = "fuse", fuse.suits = FuseSuits;
  have_ublk = GetParam().have_ublk;
  spec.translated = GetParam().translated;
  spec.route = GetParam().route;
  const VdRoute *route = vd_route_choose(among, &spec, &reason, &error);
  ASSERT_NE(route, nullptr) << error->message;
  EXPECT_STREQ(route->name, GetParam().taken);
  EXPECT_STREQ(reason, GetParam().reason);
}

INSTANTIATE_TEST_SUITE_P(
    Wishes, ChooseAmong,
    testing::Values(Wish{FALSE, TRUE, nullptr, "loop", "one run"},
                    Wish{TRUE, TRUE, nullptr, "ublk", "by a worker (not loop: not one run)"},
                    Wish{TRUE, FALSE, nullptr, "fuse",
                         "by a worker and loop (not loop: not one run; ublk: no driver)"},
                    Wish{FALSE, TRUE, "ublk", "ublk", "by a worker, as was asked for"},
                    Wish{FALSE, FALSE, "fuse", "fuse", "by a worker and loop, as was asked for"}));

TEST(Choose, AWishThatCannotBeMetNamesTheReason)
{
  VdAttachSpec spec = Sound();
  g_autofree char *reason = nullptr;
  GError *error = nullptr;

  spec.translated = TRUE;
  spec.route = "loop";
  EXPECT_EQ(vd_route_choose(vd_routes(), &spec, &reason, &error), nullptr);
  EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED));
  EXPECT_NE(strstr(error->message, "loop: the payload is not one run"), nullptr) << error->message;
  g_clear_error(&error);
  spec.route = "floppy";
  EXPECT_EQ(vd_route_choose(vd_routes(), &spec, &reason, &error), nullptr);
  EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER));
  g_clear_error(&error);
}

// No device is what nobody gets who has not asked for it.
TEST(Choose, AConnectionIsTakenByItsNameOnly)
{
  VdAttachSpec spec = Sound();
  const int images[] = {3};
  g_autofree char *reason = nullptr, *other = nullptr;
  VdRoute nbd = vd_route_nbd;
  const VdRoute *const among[] = {&nbd, nullptr};

  spec.served.program = "virtdisk-worker";
  spec.served.images = images;
  spec.served.n_images = 1;
  spec.route = "nbd";
  EXPECT_EQ(vd_route_choose(vd_routes(), &spec, &reason, nullptr), &vd_route_nbd);
  spec.route = nullptr;
  EXPECT_EQ(vd_route_choose(among, &spec, &other, nullptr), nullptr);
  nbd.by_name = FALSE;
  EXPECT_EQ(vd_route_choose(among, &spec, &other, nullptr), &nbd);
}

TEST(Choose, WithoutAWorkerOnlyTheKernelServes)
{
  VdAttachSpec spec = Sound();
  g_autofree char *reason = nullptr;
  GError *error = nullptr;

  spec.translated = TRUE;
  EXPECT_EQ(vd_route_choose(vd_routes(), &spec, &reason, &error), nullptr);
  EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED));
  EXPECT_NE(strstr(error->message, "no worker"), nullptr) << error->message;
  g_clear_error(&error);
}

struct BadSpec {
  const char *what;
  void (*spoil)(VdAttachSpec *spec);
  int code;
};

class ChooseRefuses : public testing::TestWithParam<BadSpec>
{
};

TEST_P(ChooseRefuses, ByName)
{
  VdAttachSpec spec = Sound();
  g_autofree char *reason = nullptr;
  GError *error = nullptr;

  GetParam().spoil(&spec);
  EXPECT_EQ(vd_route_choose(vd_routes(), &spec, &reason, &error), nullptr) << GetParam().what;
  EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, GetParam().code)) << GetParam().what;
  g_clear_error(&error);
}

INSTANTIATE_TEST_SUITE_P(
    Specs, ChooseRefuses,
    testing::Values(
        BadSpec{"sector 0", [](VdAttachSpec *s) { s->sector_size = 0; },
                VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE},
        BadSpec{"sector 256", [](VdAttachSpec *s) { s->sector_size = 256; },
                VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE},
        BadSpec{"sector 520", [](VdAttachSpec *s) { s->sector_size = 520; },
                VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE},
        BadSpec{"sector 8192", [](VdAttachSpec *s) { s->sector_size = 8192; },
                VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE},
        BadSpec{"no tag", [](VdAttachSpec *s) { s->tag = nullptr; }, VIRTDISK_ERROR_INTERNAL},
        BadSpec{"empty tag", [](VdAttachSpec *s) { s->tag = ""; }, VIRTDISK_ERROR_INTERNAL},
        BadSpec{"tag with a path", [](VdAttachSpec *s) { s->tag = "../etc"; }, VIRTDISK_ERROR_INTERNAL},
        BadSpec{"long tag", [](VdAttachSpec *s) { s->tag = "000000000000000000000000000000000"; },
                VIRTDISK_ERROR_INTERNAL},
        BadSpec{"size 0", [](VdAttachSpec *s) { s->size = 0; }, VIRTDISK_ERROR_INTERNAL},
        BadSpec{"size 513", [](VdAttachSpec *s) { s->size = 513; }, VIRTDISK_ERROR_INTERNAL},
        BadSpec{"end wraps", [](VdAttachSpec *s) { s->offset = G_MAXUINT64 - 511; }, VIRTDISK_ERROR_INTERNAL},
        BadSpec{"end beyond off_t", [](VdAttachSpec *s) { s->offset = G_MAXINT64 - 511; },
                VIRTDISK_ERROR_INTERNAL},
        BadSpec{"a worker without images", [](VdAttachSpec *s) { s->served.program = "worker"; },
                VIRTDISK_ERROR_INTERNAL},
        BadSpec{"too long a chain",
                [](VdAttachSpec *s) { s->served.program = "worker", s->served.n_images = VD_MAX_CHAIN + 1; },
                VIRTDISK_ERROR_INTERNAL},
        BadSpec{"skip wraps", [](VdAttachSpec *s) { s->served.skip = G_MAXUINT64 - 511; },
                VIRTDISK_ERROR_INTERNAL},
        BadSpec{"no rundir", [](VdAttachSpec *s) { s->rundir = nullptr; }, VIRTDISK_ERROR_INTERNAL},
        BadSpec{"partitions", [](VdAttachSpec *s) { s->n_partitions = VD_SYS_MAX_PARTITIONS + 1; },
                VIRTDISK_ERROR_INTERNAL}));

} // namespace
