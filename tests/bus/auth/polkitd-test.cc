// SPDX-License-Identifier: LGPL-2.1-or-later
// The shipped policy and rule, as the real polkitd understands them.
#include <gtest/gtest.h>
#include <array>
#include <cstdio>
#include <map>
#include <sstream>
#include <string>
#include <unistd.h>

// Exit status of pkcheck.
enum { Yes = 0, Authenticate = 2 };

static std::string run(const std::string &command)
{
  std::array<char, 4096> buffer;
  std::string output;
  FILE *pipe = popen(command.c_str(), "r");

  while (size_t n = fread(buffer.data(), 1, buffer.size(), pipe))
    output.append(buffer.data(), n);
  EXPECT_EQ(pclose(pipe), 0) << command << "\n" << output;
  return output;
}

TEST(Polkitd, PolicyAndRuleSayWhoMay)
{
  if (geteuid() != 0)
    GTEST_SKIP() << "needs root, to lay the policy over the system's in a mount namespace";
  if (access("/usr/lib/polkit-1/polkitd", X_OK) != 0 && access("/usr/libexec/polkitd", X_OK) != 0)
    GTEST_SKIP() << "needs polkitd";
  if (system("unshare -m true 2>/dev/null && setpriv --version >/dev/null && gdbus help >/dev/null 2>&1") !=
      0)
    GTEST_SKIP() << "needs unshare with a right to mount, setpriv and gdbus";
  // daemon: active member of the group; bin: inactive member; games: active, no member; nobody: no session.
  static const std::map<std::string, int> granted = {
      {"attach-read-only daemon", Yes},
      {"manage-volume daemon", Yes},
      {"attach-read-only root", Yes},
      {"manage-volume root", Yes},
      {"attach-at-boot root", Yes},
      {"manage-others root", Yes},
      // Mounting through UDisks2: who attached it, in an active session.
      {"mount-loop7 daemon", Yes},
      {"mount-ublkb7p1 daemon", Yes}};
  std::string output = run(VD_TEST_ANSWERS);
  std::istringstream lines(output);
  std::string action, user;
  int status, n = 0;

  for (; lines >> action >> user >> status; n++) {
    auto row = granted.find(action + " " + user);

    EXPECT_EQ(status, row != granted.end() ? row->second : Authenticate) << action << " asked by " << user;
  }
  EXPECT_EQ(n, 4 * 5 + 8 * 3) << output;
  EXPECT_EQ(output.find("polkitd says:"), std::string::npos) << output;
}
