// SPDX-License-Identifier: LGPL-2.1-or-later
// The command as it is installed: verbs of attached disks, and checking.
#include "cli-fixture.h"

namespace
{

constexpr const char *kNoFaults = "{'faults': <@a(sbtss) []>, 'blocks': <uint64 8>, 'allocated-blocks': "
                                  "<uint64 5>, 'repaired': <true>}";
constexpr const char *kNotes =
    "{'faults': <[('note', true, uint64 1048576, 'log', 'a log')]>, 'notes': <uint64 1>, "
    "'repairable': <uint32 1>}";
constexpr const char *kMinor =
    "{'faults': <[('minor', true, uint64 65540, 'checksum', 'header 1 is bad'), ('leak', false, 4194304, '', "
    "'a gap')]>, 'minor': <uint64 1>, 'leaks': <uint64 1>, 'leaked': <uint64 2097152>, 'repairable': <uint32 "
    "1>}";
constexpr const char *kSerious = "{'faults': <[('serious', false, uint64 8, 'x', 'no \\x1b[31m')]>, "
                                 "'serious': <uint64 2>, 'minor': <uint64 1>}";

TEST_F(Cli, CheckOfAGoodImage)
{
  mock->found = kNoFaults;
  Output o = run({"check", "--repair", "--format=vhdx", "/images/disk"});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_EQ(o.out, "/images/disk: repaired; no faults; 5 of 8 blocks allocated\n");
  EXPECT_EQ(o.err, "");
  std::string arguments = mock->call("CheckImage").arguments;
  for (const char *part : {"'/images/disk'", "'repair': <true>", "'device-id': <3>"})
    EXPECT_NE(arguments.find(part), std::string::npos) << arguments;
}

TEST_F(Cli, NotesAreNoFaults)
{
  mock->found = kNotes;
  Output o = run({"check", "/images/disk.vhdx"});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_NE(o.out.find("1048576 yes        a log\n"), std::string::npos) << o.out;
  EXPECT_NE(o.out.find("/images/disk.vhdx: 1 note\n"), std::string::npos) << o.out;
  EXPECT_EQ(mock->call("CheckImage").arguments, "('/images/disk.vhdx', {})");
}

TEST_F(Cli, FaultsThatLoseNothingHaveAnExitCode)
{
  mock->found = kMinor;
  Output o = run({"check", "/images/disk.vhdx"});
  EXPECT_EQ(o.exit, 8);
  EXPECT_NE(o.out.find("minor   65540 yes        header 1 is bad\n"), std::string::npos) << o.out;
  EXPECT_NE(o.out.find(": 1 minor fault, 1 leak; 2MiB leaked\n"), std::string::npos) << o.out;
  EXPECT_EQ(o.err, "virtdisk: /images/disk.vhdx has 1 minor fault, 1 leak; --repair would mend 1 of them\n");
  o = run({"check", "--quiet", "/images/disk.vhdx"});
  EXPECT_EQ(o.exit, 8);
  EXPECT_EQ(o.out, "");
}

TEST_F(Cli, SeriousFaultsHaveAnExitCode)
{
  mock->found = kSerious;
  Output o = run({"check", "/images/disk.vhdx"});
  EXPECT_EQ(o.exit, 9);
  EXPECT_EQ(o.out.find('\033'), std::string::npos) << o.out;
  EXPECT_EQ(o.err, "virtdisk: /images/disk.vhdx has 2 serious faults, 1 minor fault\n");
}

TEST_F(Cli, WhatCannotBeCheckedHasTheCodeOfItsError)
{
  mock->fail("CheckImage", VIRTDISK_ERROR_SHARING_VIOLATION, "it is attached");
  EXPECT_EQ(run({"check", "/images/disk.vhdx"}).exit, 5);
  mock->fail("CheckImage", VIRTDISK_ERROR_ACCESS_DENIED, "it is not yours");
  EXPECT_EQ(run({"check", "/images/disk.vhdx"}).exit, 3);
}

TEST_F(Cli, CheckInJson)
{
  mock->found = kMinor;
  Output o = run({"check", "--json", "/images/disk.vhdx"});
  EXPECT_EQ(o.exit, 8);
  EXPECT_EQ(json_at(o.out, "$.path"), "[\"/images/disk.vhdx\"]");
  EXPECT_EQ(json_at(o.out, "$.faults[0].kind"), "[\"minor\"]");
  EXPECT_EQ(json_at(o.out, "$.faults[0].offset"), "[65540]");
  EXPECT_EQ(json_at(o.out, "$.faults[1].repairable"), "[false]");
  EXPECT_EQ(json_at(o.out, "$.leaked"), "[2097152]");
  EXPECT_EQ(json_at(o.out, "$.minor"), "[1]");
}

TEST_F(Cli, AttachPrintsTheDevice)
{
  Output o = run({"attach", "/images/disk.vhd"});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_EQ(o.out, "/dev/loop77\n");
  EXPECT_EQ(o.err, "");
  EXPECT_EQ(mock->call("AttachImage").arguments, "('/images/disk.vhd', {})");
}

TEST_F(Cli, AttachPassesItsOptions)
{
  Output o = run({"attach", "--read-only", "--lifetime=boot", "--detach-on-unmount", "--format=raw",
                  "--sector-size=4096", "--no-partition-scan", "--owner=0", "--group=7", "--mode=0640",
                  "--offset=1M", "--size=2M", "--no-automount", "/images/disk.vhd"});
  EXPECT_EQ(o.exit, 0) << o.err;
  std::string arguments = mock->call("AttachImage").arguments;
  for (const char *part :
       {"'read-only': <true>", "'lifetime': <'boot'>", "'detach-on-unmount': <true>", "'device-id': <100>",
        "'vendor-id': <'7d3b1f5e-52c4-4d8a-9a63-0f7b8f1c2a90'>", "'sector-size': <4096>",
        "'partition-scan': <false>", "'owner-uid': <0>", "'owner-gid': <7>", "'mode': <416>",
        "'restricted-offset': <1048576>", "'restricted-length': <2097152>", "'flags': <130>"})
    EXPECT_NE(arguments.find(part), std::string::npos) << part << " in " << arguments;
}

TEST_F(Cli, AttachMakesThePathAbsolute)
{
  g_autofree char *here = g_get_current_dir();
  EXPECT_EQ(run({"attach", "disk.vhd"}).exit, 0);
  EXPECT_NE(mock->call("AttachImage").arguments.find(std::string("'") + here + "/disk.vhd'"),
            std::string::npos);
}

TEST_F(Cli, AttachFindsTheLengthOfARangeThatHasNone)
{
  Output o = run({"attach", "--offset=1G", "/images/disk.vhd"});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_NE(mock->call("AttachImage").arguments.find("'restricted-length': <2147483648>"), std::string::npos)
      << mock->call("AttachImage").arguments;
  EXPECT_TRUE(mock->was_called("Close"));
  EXPECT_EQ(run({"attach", "--offset=3G", "/images/disk.vhd"}).exit, 2);
}

TEST_F(Cli, AttachInJsonAndQuietly)
{
  Output o = run({"attach", "--json", "/images/disk.vhd"});
  EXPECT_EQ(json_at(o.out, "$.device"), "[\"/dev/loop77\"]");
  EXPECT_EQ(json_at(o.out, "$.disk"), "[\"/org/virtdisk1/disk/1\"]");
  EXPECT_EQ(json_at(o.out, "$.path"), "[\"/images/disk.vhd\"]");
  EXPECT_EQ(json_at(o.out, "$.settled"), "[true]");
  EXPECT_EQ(run({"attach", "-q", "/images/disk.vhd"}).out, "");
}

TEST_F(Cli, AttachTakesNamesThatAreNotUtf8)
{
  g_autofree char *folder = g_dir_make_tmp("virtdisk-cli-XXXXXX", NULL);
  g_autofree char *path = g_build_filename(folder, "\xff.img", NULL);
  ASSERT_TRUE(g_file_set_contents(path, "x", 1, NULL));
  Output o = run({"attach", path});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_EQ(o.out, "/dev/loop78\n");
  EXPECT_TRUE(mock->was_called("OpenVirtualDiskFd"));
  g_remove(path);
  g_rmdir(folder);
}

TEST_F(Cli, BadValuesNeverReachTheService)
{
  for (std::vector<std::string> arguments : {std::vector<std::string>{"attach", "a", "--lifetime=handle"},
                                             {"attach", "a", "--mode=9"},
                                             {"attach", "a", "--format=zip"},
                                             {"info", "a", "--format=zip"},
                                             {"mount", "a", "--partition=-3"},
                                             {"detach", "a", "--force", "--when-idle"},
                                             {"attach"},
                                             {"nosuch"},
                                             {}}) {
    Output o = run(arguments);
    EXPECT_EQ(o.exit, 2);
    EXPECT_EQ(o.out, "");
    EXPECT_NE(o.err.find("--help"), std::string::npos) << o.err;
  }
  EXPECT_TRUE(mock->calls.empty());
}

struct ExitCase {
  VirtdiskError code;
  int exit;
};
class CliExit : public Cli, public testing::WithParamInterface<ExitCase>
{
};
TEST_P(CliExit, FollowsTheError)
{
  mock->fail("AttachImage", GetParam().code, "it is so, \033[31m");
  Output o = run({"attach", "/images/disk.vhd"});
  EXPECT_EQ(o.exit, GetParam().exit);
  EXPECT_EQ(o.out, "");
  EXPECT_EQ(o.err.compare(0, 20, "virtdisk: it is so, "), 0) << o.err;
  EXPECT_EQ(o.err.find('\033'), std::string::npos);
}
INSTANTIATE_TEST_SUITE_P(
    All, CliExit,
    testing::Values(ExitCase{VIRTDISK_ERROR_IO, 1}, ExitCase{VIRTDISK_ERROR_NO_RESOURCES, 1},
                    ExitCase{VIRTDISK_ERROR_ACCESS_DENIED, 3}, ExitCase{VIRTDISK_ERROR_PRIVILEGE_NOT_HELD, 3},
                    ExitCase{VIRTDISK_ERROR_AUTHORIZATION_REQUIRED, 3},
                    ExitCase{VIRTDISK_ERROR_AUTHORIZATION_DISMISSED, 3},
                    ExitCase{VIRTDISK_ERROR_FILE_NOT_FOUND, 4}, ExitCase{VIRTDISK_ERROR_SHARING_VIOLATION, 5},
                    ExitCase{VIRTDISK_ERROR_FILE_CORRUPT, 7},
                    ExitCase{VIRTDISK_ERROR_VHD_DRIVE_FOOTER_MISSING, 7}));

TEST_F(Cli, NobodyIsAskedWithoutATerminal)
{
  mock->fail("AttachImage", VIRTDISK_ERROR_AUTHORIZATION_REQUIRED, "a password is needed");
  Output o = run({"attach", "/images/disk.vhd"});
  EXPECT_EQ(o.exit, 3);
  EXPECT_FALSE(mock->call("AttachImage").interactive);
  EXPECT_NE(o.err.find("hint"), std::string::npos);
}

TEST_F(Cli, SomebodyIsAskedOnATerminal)
{
  Output o = run_on_terminal({"attach", "/images/disk.vhd"});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_TRUE(mock->call("AttachImage").interactive);
  EXPECT_NE(o.out.find("/dev/loop77"), std::string::npos);
}

TEST_F(Cli, NobodyIsAskedWhenToldSo)
{
  Output o = run_on_terminal({"attach", "--no-ask-password", "/images/disk.vhd"});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_FALSE(mock->call("AttachImage").interactive);
}

TEST_F(Cli, NoServiceIsExitCode6)
{
  mock.reset();
  for (const char *verb : {"list", "monitor"})
    EXPECT_EQ(run({verb}).exit, 6) << verb;
  Output o = run({"attach", "/images/disk.vhd"});
  EXPECT_EQ(o.exit, 6);
  EXPECT_NE(o.err.find("virtdiskd is not available"), std::string::npos) << o.err;
}

TEST_F(Cli, NoBusIsExitCode6)
{
  EXPECT_EQ(run({"list"}, {{"DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus"}}).exit, 6);
}

TEST_F(Cli, InterruptEndsACallThatHangs)
{
  for (int number : {SIGINT, SIGTERM}) {
    mock->calls.clear();
    mock->hang("AttachImage");
    Command command({"attach", "/images/disk.vhd"});
    bool late = false;
    Command::iterate_until([&] { return mock->was_called("AttachImage"); }, &late);
    ASSERT_FALSE(late);
    command.send(number);
    Output o = command.finish();
    EXPECT_EQ(o.exit, 128 + number);
    EXPECT_EQ(o.out, "");
  }
}

TEST_F(Cli, DetachPassesItsOptions)
{
  EXPECT_EQ(run({"detach", "/dev/loop77"}).exit, 0);
  EXPECT_EQ(mock->call("DetachImage").arguments, "('/dev/loop77', {})");
  mock->calls.clear();
  EXPECT_EQ(run({"detach", "-f", "/images/disk.vhd"}).exit, 0);
  EXPECT_EQ(mock->call("DetachImage").arguments, "('/images/disk.vhd', {'force': <true>})");
  mock->calls.clear();
  mock->detach_is_pending = true;
  Output o = run({"detach", "--when-idle", "/images/disk.vhd"});
  EXPECT_EQ(mock->call("DetachImage").arguments, "('/images/disk.vhd', {'when-idle': <true>})");
  EXPECT_NE(o.out.find("will be detached"), std::string::npos);
  EXPECT_EQ(json_at(run({"detach", "--json", "--when-idle", "/images/disk.vhd"}).out, "$.pending"), "[true]");
}

TEST_F(Cli, BusyNamesTheHolders)
{
  mock->fail("DetachImage", VIRTDISK_ERROR_BUSY,
             "/dev/loop77 is in use: /dev/loop77p1 is mounted on /mnt; /mnt is in use by bash (pid 4711)");
  Output o = run({"detach", "/images/disk.vhd"});
  EXPECT_EQ(o.exit, 5);
  EXPECT_EQ(o.err,
            "virtdisk: /dev/loop77 is in use\n"
            "  /dev/loop77p1 is mounted on /mnt (hint: virtdisk unmount, or detach --force)\n"
            "  /mnt is in use by bash (pid 4711) (hint: end that program or let it close its files)\n");
}

TEST_F(Cli, ListIsPlainInAPipe)
{
  std::string name = "/images/a name " + std::string(300, 'x') + "\n.vhd";
  mock->add_disk("/images/disk.vhd", "/dev/loop77");
  mock->add_disk(name, "/dev/loop78");
  Output o = run({"list"});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_EQ(o.out, "DEVICE      SIZE ACCESS FORMAT LIFETIME  OWNER STATE    IMAGE\n"
                   "/dev/loop77 3GiB rw     vhd    permanent root  attached /images/disk.vhd\n"
                   "/dev/loop78 3GiB rw     vhd    permanent root  attached /images/a name " +
                       std::string(300, 'x') + "\\x0a.vhd\n");
}

TEST_F(Cli, ListDoesNotLetNamesTurnTheTextAround)
{
  mock->add_disk("/images/\u202egpj.\xff\033[31m", "/dev/loop77");
  std::string out = run({"list"}).out;
  EXPECT_EQ(out.find("\u202e"), std::string::npos) << out;
  EXPECT_EQ(out.find('\033'), std::string::npos) << out;
  EXPECT_NE(out.find("\\xff\\x1b[31m"), std::string::npos) << out;
}

TEST_F(Cli, ListOfNothing)
{
  Output o = run({"list"});
  EXPECT_EQ(o.exit, 0);
  EXPECT_EQ(o.out, "");
  EXPECT_EQ(json_at(run({"list", "--json"}).out, "$"), "[[]]");
}

TEST_F(Cli, ListInJson)
{
  mock->file_systems =
      "[{'partition': <uint32 1>, 'type': <'ext4'>, 'label': <'a\"b'>, 'size': <uint64 42>}]";
  mock->add_disk("/images/\xff.vhd", "/dev/loop77");
  Output o = run({"list", "--json"});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_EQ(json_at(o.out, "$[0]['virtual-size']"), "[3221225472]");
  EXPECT_EQ(json_at(o.out, "$[0]['read-only']"), "[false]");
  EXPECT_EQ(json_at(o.out, "$[0]['file-systems'][0].label"), "[\"a\\\"b\"]");
  EXPECT_EQ(json_at(o.out, "$[0]['path-base64']"), "[\"L2ltYWdlcy//LnZoZA==\"]");
  EXPECT_EQ(json_at(o.out, "$[0].mounts"), "[[]]");
}

TEST_F(Cli, InfoOfAnImageThatIsNotAttached)
{
  Output o = run({"info", "/images/disk.vhd"});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_NE(o.out.find("3GiB (3221225472 bytes)"), std::string::npos) << o.out;
  EXPECT_NE(o.out.find("Attached:"), std::string::npos);
  EXPECT_EQ(mock->call("OpenVirtualDisk").arguments, "('/images/disk.vhd', 524288, 0, {'rw-depth': <0>})");
  EXPECT_TRUE(mock->was_called("Close"));
  o = run({"info", "--json", "/images/disk.vhd"});
  EXPECT_EQ(json_at(o.out, "$.attached"), "[false]");
  EXPECT_EQ(json_at(o.out, "$.information.size['virtual-size']"), "[3221225472]");
  EXPECT_EQ(json_at(o.out, "$.disk"), "[]");
}

TEST_F(Cli, InfoOfAnAttachedImage)
{
  mock->file_systems =
      "[{'partition': <uint32 1>, 'type': <'ext4'>, 'label': <'DATA'>, 'size': <uint64 4096>}]";
  mock->add_disk("/images/disk.vhd", "/dev/loop77");
  Output o = run({"info", "/images/disk.vhd"});
  EXPECT_EQ(o.exit, 0) << o.err;
  for (const char *part : {"/dev/loop77", "permanent", "DATA", "4KiB", "/dev/sda2", "/images/disk.vhd"})
    EXPECT_NE(o.out.find(part), std::string::npos) << part << " in " << o.out;
  // A permanent attachment can only be opened again with DETACH in the mask.
  EXPECT_NE(mock->call("OpenVirtualDisk").arguments.find(", 786432, "), std::string::npos);
  o = run({"info", "--json", "/dev/loop77"});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_EQ(json_at(o.out, "$.disk.device"), "[\"/dev/loop77\"]");
  EXPECT_EQ(json_at(o.out, "$.dependencies[0]['host-volume-name']"), "[\"/dev/sda2\"]");
}

TEST_F(Cli, InfoShowsAnAttachedDiskWhoseFileTheCallerMayNotOpen)
{
  mock->add_disk("/images/disk.vhd", "/dev/loop77");
  mock->fail("OpenVirtualDisk", VIRTDISK_ERROR_ACCESS_DENIED, "not for you");
  Output o = run({"info", "/images/disk.vhd"});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_NE(o.out.find("not for you"), std::string::npos);
  EXPECT_NE(o.out.find("3GiB"), std::string::npos);
}

TEST_F(Cli, InfoOfWhatIsNotThere)
{
  mock->fail("OpenVirtualDisk", VIRTDISK_ERROR_FILE_NOT_FOUND, "no such file");
  EXPECT_EQ(run({"info", "/images/none.vhd"}).exit, 4);
}

TEST_F(Cli, MonitorPrintsEventsUntilInterrupted)
{
  std::string first = mock->add_disk("/images/first.vhd", "/dev/loop77");
  Command command({"monitor", "--json"});
  std::string line = command.read_line();
  EXPECT_EQ(json_at(line, "$.event"), "[\"added\"]");
  EXPECT_EQ(json_at(line, "$.disk.path"), "[\"/images/first.vhd\"]");
  std::string second = mock->add_disk("/images/second.vhd", "/dev/loop78");
  line = command.read_line();
  EXPECT_EQ(json_at(line, "$.event"), "[\"added\"]");
  EXPECT_EQ(json_at(line, "$.disk.path"), "[\"/images/second.vhd\"]");
  vd_dbus_disk_set_state(mock->disk(second), "detach-pending");
  line = command.read_line();
  EXPECT_EQ(json_at(line, "$.event"), "[\"changed\"]");
  EXPECT_EQ(json_at(line, "$.disk.state"), "[\"detach-pending\"]");
  mock->remove_disk(first);
  line = command.read_line();
  EXPECT_EQ(json_at(line, "$.event"), "[\"removed\"]");
  EXPECT_EQ(json_at(line, "$.disk.path"), "[\"/images/first.vhd\"]");
  command.send(SIGINT);
  EXPECT_EQ(command.finish().exit, 130);
}

constexpr const char *ONE_FILE_SYSTEM =
    "[{'partition': <uint32 0>, 'usage': <'filesystem'>, 'type': <'iso9660'>}]";
constexpr const char *TWO_FILE_SYSTEMS =
    "[{'partition': <uint32 1>, 'usage': <'filesystem'>, 'type': <'vfat'>, 'device': <'/dev/loop77p1'>},"
    " {'partition': <uint32 2>, 'usage': <'filesystem'>, 'type': <'ext4'>, 'device': <'/dev/loop77p2'>}]";

TEST_F(Cli, MountAttachesAndMountsThroughUDisks)
{
  MockUDisks udisks(connection, "/dev/loop77");
  mock->file_systems = ONE_FILE_SYSTEM;
  Output o = run({"mount", "--read-only", "--options=noexec", "/images/disk.iso"});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_EQ(o.out, "/run/media/user/IMAGE\n");
  std::string arguments = mock->call("AttachImage").arguments;
  EXPECT_NE(arguments.find("'detach-on-unmount': <true>"), std::string::npos) << arguments;
  EXPECT_NE(arguments.find("'read-only': <true>"), std::string::npos) << arguments;
  ASSERT_EQ(udisks.mount_options.size(), 1u);
  EXPECT_NE(udisks.mount_options[0].find("'options': <'ro,noexec'>"), std::string::npos)
      << udisks.mount_options[0];
  EXPECT_NE(udisks.mount_options[0].find("'auth.no_user_interaction': <true>"), std::string::npos);
}

TEST_F(Cli, MountOfAnAttachedDiskDoesNotAttach)
{
  MockUDisks udisks(connection, "/dev/loop77p2");
  mock->file_systems = TWO_FILE_SYSTEMS;
  mock->add_disk("/images/disk.vhd", "/dev/loop77");
  Output o = run({"mount", "--json", "-p", "2", "/images/disk.vhd"});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_EQ(json_at(o.out, "$.device"), "[\"/dev/loop77p2\"]");
  EXPECT_EQ(json_at(o.out, "$.mountpoint"), "[\"/run/media/user/IMAGE\"]");
  EXPECT_FALSE(mock->was_called("AttachImage"));
}

TEST_F(Cli, MountWaitsUntilUDisksKnowsTheDevice)
{
  MockUDisks udisks(connection, "/dev/loop77");
  udisks.known = false;
  udisks.known_after = 1;
  mock->file_systems = ONE_FILE_SYSTEM;
  Output o = run({"mount", "/images/disk.iso"});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_EQ(o.out, "/run/media/user/IMAGE\n");
}

TEST_F(Cli, MountThatFailsLeavesNothingAttached)
{
  MockUDisks udisks(connection, "/dev/loop77");
  udisks.error = "org.freedesktop.UDisks2.Error.NotAuthorizedCanObtain";
  mock->file_systems = ONE_FILE_SYSTEM;
  Output o = run({"mount", "/images/disk.iso"});
  EXPECT_EQ(o.exit, 3) << o.err;
  EXPECT_EQ(mock->call("DetachImage").arguments, "('/dev/loop77', {})");
}

TEST_F(Cli, MountThatFailsLeavesAloneWhatWasAttachedBefore)
{
  mock->file_systems = TWO_FILE_SYSTEMS;
  mock->add_disk("/images/disk.vhd", "/dev/loop77");
  Output o = run({"mount", "/images/disk.vhd"});
  EXPECT_EQ(o.exit, 2);
  EXPECT_NE(o.err.find("--partition"), std::string::npos) << o.err;
  EXPECT_FALSE(mock->was_called("DetachImage"));
}

TEST_F(Cli, MountThatIsInterruptedLeavesNothingAttached)
{
  MockUDisks udisks(connection, "/dev/loop77");
  udisks.known = false;
  mock->file_systems = ONE_FILE_SYSTEM;
  Command command({"mount", "/images/disk.iso"});
  bool late = false;
  Command::iterate_until([&] { return udisks.asked > 0; }, &late);
  ASSERT_FALSE(late);
  command.send(SIGINT);
  EXPECT_EQ(command.finish().exit, 130);
  EXPECT_TRUE(mock->was_called("DetachImage"));
}

// mount(8) as it is called, without mounting: a script of that name, first in the search path.
TEST_F(Cli, MountAtADirectoryIsTheSuperusers)
{
  mock->file_systems = ONE_FILE_SYSTEM;
  if (geteuid() != 0) {
    EXPECT_EQ(run({"mount", "/images/disk.iso", "/mnt"}).exit, 3);
    EXPECT_TRUE(mock->was_called("DetachImage"));
    return;
  }
  g_autofree char *folder = g_dir_make_tmp("virtdisk-cli-XXXXXX", NULL);
  g_autofree char *script = g_build_filename(folder, "mount", NULL);
  g_autofree char *log = g_build_filename(folder, "log", NULL);
  g_autofree char *text = g_strdup_printf("#!/bin/sh\necho \"$@\" > %s\n", log);
  std::string path = std::string(folder) + ":" + g_getenv("PATH");
  ASSERT_TRUE(g_file_set_contents(script, text, -1, NULL));
  ASSERT_EQ(g_chmod(script, 0700), 0);
  Output o = run({"mount", "-r", "/images/disk.iso", "/mnt/point"}, {{"PATH", path}});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_EQ(o.out, "/mnt/point\n");
  g_autofree char *logged = NULL;
  EXPECT_TRUE(g_file_get_contents(log, &logged, NULL, NULL));
  EXPECT_STREQ(logged, "-o nosuid,nodev,ro -- /dev/loop77 /mnt/point\n");
  ASSERT_TRUE(g_file_set_contents(script, "#!/bin/sh\necho wrong fs type >&2\nexit 32\n", -1, NULL));
  ASSERT_EQ(g_chmod(script, 0700), 0);
  o = run({"mount", "/images/other.iso", "/mnt/point"}, {{"PATH", path}});
  EXPECT_EQ(o.exit, 1);
  EXPECT_EQ(o.err, "virtdisk: wrong fs type\n");
  EXPECT_TRUE(mock->was_called("DetachImage"));
  g_remove(log);
  g_remove(script);
  g_rmdir(folder);
}

TEST_F(Cli, UnmountOfWhatIsNotMounted)
{
  EXPECT_EQ(run({"unmount", "/images/disk.vhd"}).exit, 4);
  mock->add_disk("/images/disk.vhd", "/dev/loop77");
  EXPECT_EQ(run({"unmount", "/images/disk.vhd"}).exit, 4);
  EXPECT_FALSE(mock->was_called("DetachImage"));
  Output o = run({"unmount", "--detach", "--json", "/images/disk.vhd"});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_EQ(json_at(o.out, "$.detached"), "[true]");
  EXPECT_EQ(json_at(o.out, "$.unmounted"), "[[]]");
  EXPECT_TRUE(mock->was_called("DetachImage"));
}

TEST_F(Cli, UnmountDoesNotMindADiskThatWentByItself)
{
  mock->add_disk("/images/disk.vhd", "/dev/loop77");
  mock->fail("DetachImage", VIRTDISK_ERROR_NOT_FOUND, "not attached");
  EXPECT_EQ(run({"unmount", "-d", "/images/disk.vhd"}).exit, 0);
  mock->fail("DetachImage", VIRTDISK_ERROR_BUSY, "busy");
  EXPECT_EQ(run({"unmount", "-d", "/images/disk.vhd"}).exit, 5);
}

TEST_F(Cli, OutputThatCannotBeWrittenIsAFailure)
{
  if (!g_file_test("/dev/full", G_FILE_TEST_EXISTS))
    GTEST_SKIP() << "no /dev/full here";
  int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
  ASSERT_GE(full, 0);
  mock->add_disk("/images/disk.vhd", "/dev/loop77");
  Command command({"list"}, {}, full);
  EXPECT_EQ(command.finish().exit, 1);
  close(full);
}

} // namespace
