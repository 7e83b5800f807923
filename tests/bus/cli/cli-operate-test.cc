// SPDX-License-Identifier: LGPL-2.1-or-later
// The command as it is installed: verbs that make and change images, and jobs.
#include "cli-fixture.h"

namespace
{

#define EXPECT_PART(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

// An image that GetVirtualDiskInformation tells of.
void describe(MockService &mock, const std::string &path, const std::string &identifier,
              const std::string &parent_identifier = "", const std::string &parent = "",
              guint64 size = 4194304)
{
  std::map<guint, std::string> kinds;
  kinds[VIRTDISK_INFO_SIZE] = "{'VirtualSize': <uint64 " + std::to_string(size) +
                              ">, 'PhysicalSize': <uint64 1048576>, 'BlockSize': <uint32 0>, 'SectorSize': "
                              "<uint32 512>}";
  kinds[VIRTDISK_INFO_IDENTIFIER] = "{'Identifier': <'" + identifier + "'>}";
  kinds[VIRTDISK_INFO_VIRTUAL_STORAGE_TYPE] = "{'DeviceId': <uint32 3>, 'VendorId': <''>}";
  kinds[VIRTDISK_INFO_PROVIDER_SUBTYPE] =
      parent.empty() ? "{'ProviderSubtype': <uint32 3>}" : "{'ProviderSubtype': <uint32 4>}";
  if (!parent.empty()) {
    kinds[VIRTDISK_INFO_PARENT_IDENTIFIER] = "{'ParentIdentifier': <'" + parent_identifier + "'>}";
    kinds[VIRTDISK_INFO_PARENT_LOCATION] =
        "{'ParentResolved': <true>, 'ParentLocationBuffer': <['" + parent + "']>}";
  }
  mock.information[path] = kinds;
}

TEST_F(Cli, CompactSaysWhatItGaveBack)
{
  mock->results = "{'given-back': <uint64 1610612736>, 'note': <'the file systems were not asked'>}";
  Output o = run({"compact", "--no-block-moves", "--file-systems", "/images/disk.vhdx"});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_EQ(o.out, "/images/disk.vhdx: 1.5GiB given back; the file systems were not asked\n");
  EXPECT_EQ(o.err, "") << "no line without a terminal";
  std::string arguments = mock->call("CompactVirtualDisk").arguments;
  EXPECT_PART(arguments, "(2, {");
  EXPECT_PART(arguments, "'file-systems': <true>");
  EXPECT_PART(mock->call("OpenVirtualDisk").arguments, "'version': <2>");
  EXPECT_TRUE(mock->was_called("Close"));
}

TEST_F(Cli, AJobInJson)
{
  mock->results = "{'new-size': <uint64 8388608>}";
  Output o = run({"expand", "--json", "/images/disk.vhdx", "8MiB"});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_EQ(json_at(o.out, "$.job"), "[\"0_7\"]");
  EXPECT_EQ(json_at(o.out, "$.state"), "[\"done\"]");
  EXPECT_EQ(json_at(o.out, "$.results['new-size']"), "[8388608]");
  EXPECT_PART(mock->call("ExpandVirtualDisk").arguments, "(0, 8388608, {");
}

TEST_F(Cli, ResizeKnowsMoreAndLess)
{
  EXPECT_EQ(run({"resize", "/images/disk.vhdx", "+1GiB"}).exit, 0);
  EXPECT_PART(mock->call("ResizeVirtualDisk").arguments, "(0, 4294967296, {");
  mock->calls.clear();
  EXPECT_EQ(run({"resize", "--unsafe", "--", "/images/disk.vhdx", "-1GiB"}).exit, 0);
  EXPECT_PART(mock->call("ResizeVirtualDisk").arguments, "(1, 2147483648, {");
  mock->calls.clear();
  EXPECT_EQ(run({"resize", "--to-smallest", "/images/disk.vhdx"}).exit, 0);
  EXPECT_PART(mock->call("ResizeVirtualDisk").arguments, "(2, 0, {");
  EXPECT_EQ(run({"resize", "--", "/images/disk.vhdx", "-4GiB"}).exit, 2);
}

TEST_F(Cli, MergeOpensAsManyAsItNeeds)
{
  EXPECT_EQ(run({"merge", "/images/disk.vhdx"}).exit, 0);
  EXPECT_PART(mock->call("OpenVirtualDisk").arguments, "'rw-depth': <2>");
  EXPECT_PART(mock->call("MergeVirtualDisk").arguments, "'merge-depth': <1>");
  mock->calls.clear();
  EXPECT_EQ(run({"merge", "--from=2", "--to=4", "/images/disk.vhdx"}).exit, 0);
  EXPECT_PART(mock->call("OpenVirtualDisk").arguments, "'rw-depth': <4>");
  EXPECT_PART(mock->call("MergeVirtualDisk").arguments, "'merge-source-depth': <2>");
  EXPECT_PART(mock->call("MergeVirtualDisk").arguments, "'merge-target-depth': <4>");
}

TEST_F(Cli, AJobThatGoesOnAloneIsNamed)
{
  Output o = run({"compact", "--detach-job", "/images/disk.vhdx"});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_EQ(o.out, "0_7\n");
  EXPECT_PART(mock->call("CompactVirtualDisk").arguments, "'detach-job': <true>");
  EXPECT_FALSE(mock->was_called("Wait"));
}

TEST_F(Cli, ConvertIsCreateFromASource)
{
  mock->results = "{'handle': <objectpath '/org/virtdisk1/handle/1'>}";
  Output o = run({"convert", "--fixed", "--verify", "--source-format=raw", "/images/disk.img", "/new.vhdx"});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_EQ(o.out, "");
  std::string arguments = mock->call("CreateVirtualDisk").arguments;
  for (const char *part : {"('/new.vhdx', 0, 1, 0, {", "'source-path': <'/images/disk.img'>",
                           "'verify': <true>", "'source-device-id': <100>", "'async': <true>"})
    EXPECT_PART(arguments, part);
  EXPECT_TRUE(mock->was_called("Close"));
}

TEST_F(Cli, CreateSetsWhatTheFileIs)
{
  Output o =
      run({"create", "--size=4MiB", "--owner=0", "--group=7", "--mode=0640", "--format=raw", "/new.img"});
  EXPECT_EQ(o.exit, 0) << o.err;
  std::string arguments = mock->call("CreateVirtualDisk").arguments;
  for (const char *part : {"'owner-uid': <0>", "'owner-gid': <7>", "'mode': <416>", "'device-id': <100>"})
    EXPECT_PART(arguments, part);
  EXPECT_EQ(arguments.find("async"), std::string::npos) << arguments;
}

TEST_F(Cli, InterruptedItCancelsTheJobAndWaits)
{
  mock->job_waits = true;
  Command command({"compact", "/images/disk.vhdx"});
  bool late = false;
  Command::iterate_until([&] { return mock->waiting != nullptr; }, &late);
  ASSERT_FALSE(late);
  command.send(SIGINT);
  Output o = command.finish();
  EXPECT_EQ(o.exit, 130);
  EXPECT_EQ(o.out, "");
  EXPECT_EQ(o.err, "");
  EXPECT_TRUE(mock->was_called("Cancel"));
}

TEST_F(Cli, ATerminalSeesHowFarItIs)
{
  int terminal, command_side;
  ASSERT_EQ(openpty(&terminal, &command_side, NULL, NULL, NULL), 0);
  {
    Command command({"compact", "/images/disk.vhdx"}, {}, -1, command_side);
    EXPECT_EQ(command.finish().exit, 0);
  }
  char text[4096];
  std::string shown;
  fcntl(terminal, F_SETFL, O_NONBLOCK);
  for (ssize_t n; (n = read(terminal, text, sizeof text)) > 0;)
    shown.append(text, static_cast<size_t>(n));
  EXPECT_PART(shown, "\rcompact  [####");
  EXPECT_PART(shown, " 42.0% of 4GiB  1MiB/s");
  EXPECT_EQ(shown.substr(shown.size() - 4), "\r\033[K") << "and the line is taken away";
  close(command_side);
  close(terminal);
}

TEST_F(Cli, JobsAreListedWaitedForAndCancelled)
{
  EXPECT_EQ(run({"jobs"}).out, "");
  mock->show_job();
  Output o = run({"jobs"});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_PART(o.out, "0_7 compact   running    42.0% 1MiB/s    - /images/disk.vhdx\n");
  o = run({"jobs", "--json"});
  EXPECT_EQ(json_at(o.out, "$[0].operation"), "[\"compact\"]");
  mock->results = "{'given-back': <uint64 1024>}";
  o = run({"jobs", "wait", "0_7"});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_EQ(o.out, "/images/disk.vhdx: 1KiB given back\n");
  EXPECT_EQ(run({"jobs", "cancel", MockService::JOB}).exit, 0);
  EXPECT_TRUE(mock->was_called("Cancel"));
  EXPECT_EQ(run({"jobs", "wait", "0_8"}).exit, 4);
  EXPECT_EQ(run({"jobs", "cancel"}).exit, 2);
}

TEST_F(Cli, WaitingForAJobThatFailed)
{
  mock->show_job();
  mock->fail("Wait", VIRTDISK_ERROR_FILE_NOT_FOUND, "it is gone");
  Output o = run({"jobs", "wait", "0_7"});
  EXPECT_EQ(o.exit, 4);
  EXPECT_EQ(o.err, "virtdisk: it is gone\n");
}

TEST_F(Cli, ChainFromLeafToRoot)
{
  describe(*mock, "/c.vhdx", "c", "b", "/b.vhdx");
  describe(*mock, "/b.vhdx", "b", "a", "/a.vhdx");
  describe(*mock, "/a.vhdx", "a");
  Output o = run({"chain", "/c.vhdx"});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_PART(o.out, "    1 vhdx   differencing 4MiB  1MiB c          yes  /c.vhdx\n");
  EXPECT_PART(o.out, "    3 vhdx   dynamic      4MiB  1MiB a          -    /a.vhdx\n");
  o = run({"chain", "--json", "/c.vhdx"});
  EXPECT_EQ(json_at(o.out, "$[1]['parent-identifier']"), "[\"a\"]");
  EXPECT_EQ(json_at(o.out, "$[1].fits"), "[true]");
  EXPECT_EQ(json_at(o.out, "$[2].depth"), "[3]");
}

TEST_F(Cli, AChainThatDoesNotHold)
{
  describe(*mock, "/c.vhdx", "c", "b", "/b.vhdx");
  describe(*mock, "/b.vhdx", "other");
  Output o = run({"chain", "/c.vhdx"});
  EXPECT_EQ(o.exit, 7);
  EXPECT_EQ(o.err, "virtdisk: /c.vhdx: the parent has the identifier other, not b\n");
  describe(*mock, "/b.vhdx", "b", "", "", 8388608);
  EXPECT_EQ(run({"chain", "/c.vhdx"}).err, "virtdisk: /c.vhdx: the parent has 8388608 bytes, not 4194304\n");
  describe(*mock, "/b.vhdx", "b", "c", "/c.vhdx");
  EXPECT_EQ(run({"chain", "/c.vhdx"}).err, "virtdisk: /b.vhdx: the chain comes back to itself\n");
}

TEST_F(Cli, SetLooksAtTheParentFirst)
{
  describe(*mock, "/c.vhdx", "c", "b", "/b.vhdx");
  describe(*mock, "/b.vhdx", "b");
  describe(*mock, "/other.vhdx", "other");
  Output o = run({"set", "--parent=/other.vhdx", "/c.vhdx"});
  EXPECT_EQ(o.exit, 7);
  EXPECT_PART(o.err, "--ignore-id-mismatch");
  EXPECT_FALSE(mock->was_called("SetVirtualDiskInformation"));
  EXPECT_EQ(run({"set", "--parent=/other.vhdx", "--ignore-id-mismatch", "/c.vhdx"}).exit, 0);
  EXPECT_EQ(mock->call("SetVirtualDiskInformation").arguments,
            "(1, {'ParentFilePath': <'/other.vhdx'>}, {})");
  mock->calls.clear();
  EXPECT_EQ(run({"set", "--parent=/b.vhdx", "/c.vhdx"}).exit, 0);
  EXPECT_TRUE(mock->was_called("SetVirtualDiskInformation"));
}

TEST_F(Cli, SetSaysOneProperty)
{
  EXPECT_EQ(run({"set", "--physical-sector-size=512", "/c.vhdx"}).exit, 0);
  EXPECT_EQ(mock->call("SetVirtualDiskInformation").arguments, "(4, {'VhdPhysicalSectorSize': <512>}, {})");
  mock->calls.clear();
  EXPECT_EQ(run({"set", "--disk-id=random", "/c.vhdx"}).exit, 0);
  EXPECT_EQ(mock->call("SetVirtualDiskInformation").arguments.size(),
            std::string("(5, {'VirtualDiskId': <'00000000-0000-0000-0000-000000000000'>}, {})").size());
  mock->calls.clear();
  EXPECT_EQ(run({"set", "--parent=/b.vhdx", "--linkage=guid", "/c.vhdx"}).exit, 0);
  EXPECT_EQ(mock->call("SetVirtualDiskInformation").arguments,
            "(7, {'LinkageId': <'guid'>, 'ParentFilePath': <'/b.vhdx'>}, {})");
}

TEST_F(Cli, MetadataThroughFilesAndPipes)
{
  g_autofree char *folder = g_dir_make_tmp("virtdisk-cli-XXXXXX", NULL);
  g_autofree char *file = g_build_filename(folder, "item", NULL);
  const std::string bytes("\0\xff\n", 3);
  ASSERT_TRUE(g_file_set_contents(file, bytes.data(), 3, NULL));
  mock->items = {"one", "two"};
  EXPECT_EQ(run({"metadata", "list", "/c.vhdx"}).out, "one\ntwo\n");
  EXPECT_EQ(run({"metadata", "set", "/c.vhdx", "one", file}).exit, 0);
  EXPECT_EQ(mock->data, bytes);
  EXPECT_EQ(run({"metadata", "get", "/c.vhdx", "one"}).out, bytes);
  EXPECT_EQ(json_at(run({"metadata", "get", "--json", "/c.vhdx", "one"}).out, "$.base64"), "[\"AP8K\"]");
  g_remove(file);
  EXPECT_EQ(run({"metadata", "get", "/c.vhdx", "one", file}).exit, 0);
  g_autofree char *read = NULL;
  gsize length = 0;
  EXPECT_TRUE(g_file_get_contents(file, &read, &length, NULL));
  EXPECT_EQ(std::string(read, length), bytes);
  EXPECT_EQ(run({"metadata", "delete", "/c.vhdx", "one"}).exit, 0);
  EXPECT_PART(mock->call("DeleteVirtualDiskMetadata").arguments, "('one'");
  EXPECT_EQ(run_on_terminal({"metadata", "get", "/c.vhdx", "one"}).exit, 2) << "no bytes on a terminal";
  EXPECT_EQ(run({"metadata", "set", "/c.vhdx", "one", "/nosuch/file"}).exit, 4);
  g_remove(file);
  g_rmdir(folder);
}

TEST_F(Cli, AMirrorIsBrokenWhenItIsWholeOrByWhoeverComesLater)
{
  mock->job_waits = true;
  mock->results = "{'copied': <uint64 1048576>}";
  Output o = run({"mirror", "--break", "--existing", "/images/disk.vhdx", "/images/new.vhdx"});
  EXPECT_EQ(o.exit, 0) << o.err;
  EXPECT_EQ(o.out, "/images/disk.vhdx: 1MiB copied\n");
  EXPECT_PART(mock->call("OpenVirtualDisk").arguments, "'version': <2>");
  EXPECT_PART(mock->call("MirrorVirtualDisk").arguments, "(1, '/images/new.vhdx', 1, {");
  EXPECT_PART(mock->call("BreakMirrorVirtualDisk").arguments, "(0, ");
  mock->calls.clear();
  EXPECT_EQ(run({"break-mirror", "/images/disk.vhdx"}).exit, 0);
  EXPECT_PART(mock->call("OpenVirtualDisk").arguments, "'get-info-only': <true>");
  EXPECT_PART(mock->call("BreakMirrorVirtualDisk").arguments, "(0, ");
}

TEST_F(Cli, OperationsRefuseBadValuesThemselves)
{
  for (std::vector<std::string> arguments : {std::vector<std::string>{"compact", "a", "--format=zip"},
                                             {"expand", "a"},
                                             {"expand", "a", "much"},
                                             {"resize", "a"},
                                             {"resize", "a", "1G", "--to-smallest"},
                                             {"resize", "a", "--to-smallest", "--unsafe"},
                                             {"merge", "a", "--depth=1", "--from=1", "--to=2"},
                                             {"merge", "a", "--from=2", "--to=2"},
                                             {"merge", "a", "--to=2"},
                                             {"mirror", "a"},
                                             {"mirror", "a", "b", "--break", "--detach-job"},
                                             {"break-mirror", "a", "b"},
                                             {"set", "a"},
                                             {"set", "a", "--identifier=x", "--disk-id=y"},
                                             {"set", "a", "--disk-id=y", "--depth=2"},
                                             {"metadata", "get", "a"},
                                             {"metadata", "burn", "a"},
                                             {"jobs", "wait"},
                                             {"convert", "a"},
                                             {"convert", "a", "b", "--fixed", "--dynamic"},
                                             {"create", "a", "--source=b", "--parent=c"},
                                             {"create", "a", "--size=1G", "--verify"}}) {
    Output o = run(arguments);
    EXPECT_EQ(o.exit, 2) << arguments[0];
    EXPECT_EQ(o.out, "");
  }
  EXPECT_TRUE(mock->calls.empty()) << mock->calls[0].method;
}

} // namespace
