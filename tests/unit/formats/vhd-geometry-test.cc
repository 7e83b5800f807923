// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

extern "C" {
#include "formats/vhd-geometry.h"
}

namespace
{

struct Vector {
  uint64_t mib;
  unsigned cylinders, heads, sectors;
  uint64_t bytes;
};

// As Windows and QEMU have written them.
const Vector kVectors[] = {
    {3, 90, 4, 17, 3133440},
    {4, 120, 4, 17, 4177920},
    {10, 301, 4, 17, 10479616},
    {16, 481, 4, 17, 16746496},
    {32, 963, 4, 17, 33527808},
    {251, 509, 16, 63, 262692864},
    {504, 1024, 16, 63, 528482304},
    {512, 1040, 16, 63, 536739840},
    {1024, 2080, 16, 63, 1073479680},
    {32255, 65533, 16, 63, 33821319168},
    {32256, 16191, 16, 255, 33822351360},
    {65536, 32896, 16, 255, 68718428160},
    {130048, 65278, 16, 255, 136363130880},
    {131072, 65535, 16, 255, 136899993600},
    {2040 * 1024, 65535, 16, 255, 136899993600},
};

} // namespace

TEST(VhdGeometry, Vectors)
{
  for (const Vector &vector : kVectors) {
    VdVhdGeometry geometry = vd_vhd_geometry(vector.mib << 20);

    EXPECT_EQ(geometry.cylinders, vector.cylinders) << vector.mib;
    EXPECT_EQ(geometry.heads, vector.heads) << vector.mib;
    EXPECT_EQ(geometry.sectors, vector.sectors) << vector.mib;
    EXPECT_EQ(vd_vhd_geometry_size(geometry), vector.bytes) << vector.mib;
  }
}

TEST(VhdGeometry, NothingAtAllDividesByNothing)
{
  EXPECT_EQ(vd_vhd_geometry(0).cylinders, 0);
  EXPECT_EQ(vd_vhd_geometry(0).heads, 4);
}

// Whoever believes the geometry must not lose the end of the disk.
TEST(VhdGeometry, NewImagesSayTheWholeDiskOrThatTheyCannot)
{
  EXPECT_EQ(vd_vhd_geometry_for_new(UINT64_C(504) << 20).cylinders, 1024) << "exact";
  for (uint64_t mib : {3, 10, 512, 130048}) {
    VdVhdGeometry geometry = vd_vhd_geometry_for_new(mib << 20);

    EXPECT_EQ(geometry.cylinders, 65535) << mib;
    EXPECT_EQ(geometry.heads, 16) << mib;
    EXPECT_EQ(geometry.sectors, 255) << mib;
  }
}
