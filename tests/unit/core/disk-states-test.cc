// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>
#include <map>
#include <utility>

extern "C" {
#include "disk-states.h"
}

// Every pair of state and event: these are legal, all others are refused.
TEST(DiskStates, WholeTable)
{
  const std::map<std::pair<int, int>, int> legal = {
      {{VD_DISK_OPEN, VD_EVENT_ATTACH}, VD_DISK_ATTACH_PENDING},
      {{VD_DISK_OPEN, VD_EVENT_ADOPT}, VD_DISK_ATTACHED},
      {{VD_DISK_ATTACH_PENDING, VD_EVENT_ATTACHED}, VD_DISK_ATTACHED},
      {{VD_DISK_ATTACH_PENDING, VD_EVENT_FAILED}, VD_DISK_OPEN},
      {{VD_DISK_ATTACHED, VD_EVENT_DETACH}, VD_DISK_DETACHING},
      {{VD_DISK_ATTACHED, VD_EVENT_GONE}, VD_DISK_OPEN},
      {{VD_DISK_DETACHING, VD_EVENT_REFUSED}, VD_DISK_ATTACHED},
      {{VD_DISK_DETACHING, VD_EVENT_PENDING}, VD_DISK_DETACH_PENDING},
      {{VD_DISK_DETACHING, VD_EVENT_GONE}, VD_DISK_OPEN},
      {{VD_DISK_DETACH_PENDING, VD_EVENT_DETACH}, VD_DISK_DETACHING},
      {{VD_DISK_DETACH_PENDING, VD_EVENT_GONE}, VD_DISK_OPEN},
  };

  for (int state = 0; state < VD_N_DISK_STATES; state++)
    for (int event = 0; event < VD_N_DISK_EVENTS; event++) {
      VdDiskState next = VD_N_DISK_STATES;
      auto row = legal.find({state, event});
      bool ok = vd_disk_states_next(static_cast<VdDiskState>(state), static_cast<VdDiskEvent>(event), &next);

      EXPECT_EQ(ok, row != legal.end()) << vd_disk_state_name(static_cast<VdDiskState>(state)) << " + "
                                        << vd_disk_event_name(static_cast<VdDiskEvent>(event));
      EXPECT_EQ(next, ok && row != legal.end() ? row->second : VD_N_DISK_STATES) << "touched on refusal";
    }
}
