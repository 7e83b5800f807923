// SPDX-License-Identifier: LGPL-2.1-or-later
// libvirtdisk against a mock of the service over a private bus: the client's and the handle's methods.
#include "lib-fixture.h"

/* ---- the client ---- */

TEST_F(Lib, ClientKnowsTheService)
{
  service->add_disk("/org/virtdisk1/disk/b", "/b.vhd", "/dev/loop2");
  g_autofree char *version = virtdisk_client_dup_version(need_client());
  g_autofree char *owner = virtdisk_client_dup_name_owner(client);
  g_autoptr(GPtrArray) disks = virtdisk_client_get_disks(client);

  EXPECT_STREQ(version, "9.9");
  EXPECT_EQ(owner[0], ':');
  EXPECT_EQ(virtdisk_client_get_connection(client), connection);
  ASSERT_EQ(disks->len, 1u);
  EXPECT_STREQ(virtdisk_disk_get_device(VIRTDISK_DISK(disks->pdata[0])), "/dev/loop2");
}

TEST_F(Lib, ClientOnTheSystemBus)
{
  g_autoptr(VirtdiskClient) blocking = virtdisk_client_new_sync(nullptr, &error);
  Await await;

  ASSERT_NE(blocking, nullptr) << error->message;
  g_dbus_connection_set_exit_on_close(virtdisk_client_get_connection(blocking), FALSE);
  virtdisk_client_new_async(nullptr, on_result, &await);
  g_autoptr(VirtdiskClient) async = virtdisk_client_new_finish(await.get(), &error);
  ASSERT_NE(async, nullptr) << error->message;
  g_autofree char *version = virtdisk_client_dup_version(async);
  EXPECT_STREQ(version, "9.9");
}

TEST_F(Lib, ClientAsyncForConnection)
{
  service->add_disk("/org/virtdisk1/disk/b", "/b.vhd", "/dev/loop2");
  Await await;

  virtdisk_client_new_for_connection_async(connection, nullptr, on_result, &await);
  client = virtdisk_client_new_for_connection_finish(await.get(), &error);
  ASSERT_NE(client, nullptr);
  g_autoptr(GPtrArray) disks = virtdisk_client_get_disks(client);
  EXPECT_EQ(disks->len, 1u);
}

TEST_F(Lib, ClientCancelled)
{
  g_autoptr(GCancellable) cancellable = g_cancellable_new();
  Await await;

  g_cancellable_cancel(cancellable);
  EXPECT_EQ(virtdisk_client_new_for_connection(connection, cancellable, &error), nullptr);
  EXPECT_ERROR(G_IO_ERROR, G_IO_ERROR_CANCELLED);
  virtdisk_client_new_for_connection_async(connection, cancellable, on_result, &await);
  EXPECT_EQ(virtdisk_client_new_for_connection_finish(await.get(), &error), nullptr);
  EXPECT_ERROR(G_IO_ERROR, G_IO_ERROR_CANCELLED);
}

TEST_F(Lib, InteractiveIsTheClientsToSay)
{
  EXPECT_TRUE(virtdisk_client_get_interactive(need_client()));
  EXPECT_TRUE(virtdisk_client_detach_image(client, "/a", nullptr, nullptr, nullptr, nullptr));
  EXPECT_TRUE(service->last().interactive);
  virtdisk_client_set_interactive(client, FALSE);
  EXPECT_TRUE(virtdisk_client_detach_image(client, "/a", nullptr, nullptr, nullptr, nullptr));
  EXPECT_FALSE(service->last().interactive);
}

/* ---- the Manager's methods ---- */

static const char every_open_option[] = "every option of open";

static VirtdiskOpenParameters *full_open_parameters()
{
  VirtdiskOpenParameters *parameters = virtdisk_open_parameters_new();

  virtdisk_open_parameters_set_version(parameters, 3);
  virtdisk_open_parameters_set_rw_depth(parameters, 0);
  virtdisk_open_parameters_set_get_info_only(parameters, TRUE);
  virtdisk_open_parameters_set_read_only(parameters, FALSE);
  virtdisk_open_parameters_set_device_id(parameters, VIRTDISK_DEVICE_VHD);
  virtdisk_open_parameters_set_vendor_id(parameters, "v");
  virtdisk_open_parameters_set_resiliency_guid(parameters, "r");
  virtdisk_open_parameters_set_snapshot_id(parameters, "s");
  return parameters;
}

static const Options full_open_options = {
    {"version", "uint32 3"},   {"rw-depth", "uint32 0"}, {"get-info-only", "true"},  {"read-only", "false"},
    {"device-id", "uint32 2"}, {"vendor-id", "'v'"},     {"resiliency-guid", "'r'"}, {"snapshot-id", "'s'"}};

TEST_F(Lib, OpenVirtualDisk)
{
  g_autoptr(VirtdiskOpenParameters) parameters = full_open_parameters();
  Await await;

  handle =
      virtdisk_client_open_virtual_disk(need_client(), "/a.vhd", static_cast<VirtdiskAccessMask>(0x80050000u),
                                        VIRTDISK_OPEN_CACHED_IO, parameters, nullptr, &error);
  ASSERT_NE(handle, nullptr) << error->message;
  EXPECT_EQ(service->last().method, "OpenVirtualDisk");
  EXPECT_EQ(service->last().object_path, "/org/virtdisk1");
  EXPECT_EQ(service->last().arguments, "'/a.vhd' 2147811328 8");
  EXPECT_EQ(service->last().options, full_open_options) << every_open_option;
  EXPECT_STREQ(virtdisk_handle_get_object_path(handle), "/org/virtdisk1/handle/1");
  EXPECT_EQ(virtdisk_handle_get_client(handle), client);

  virtdisk_client_open_virtual_disk_async(client, "/b.vhd", VIRTDISK_ACCESS_NONE, VIRTDISK_OPEN_NONE, nullptr,
                                          nullptr, on_result, &await);
  g_autoptr(VirtdiskHandle) other = virtdisk_client_open_virtual_disk_finish(client, await.get(), &error);
  ASSERT_NE(other, nullptr) << error->message;
  EXPECT_EQ(service->last().arguments, "'/b.vhd' 0 0");
  EXPECT_TRUE(service->last().options.empty());
  EXPECT_STREQ(virtdisk_handle_get_object_path(other), "/org/virtdisk1/handle/2");
}

TEST_F(Lib, RelativePathCountsFromHere)
{
  g_autofree char *here = g_get_current_dir();

  EXPECT_TRUE(virtdisk_client_detach_image(need_client(), "a.vhd", nullptr, nullptr, nullptr, nullptr));
  EXPECT_EQ(service->last().arguments, "'" + std::string(here) + "/a.vhd'");
}

TEST_F(Lib, EmptyPathIsRefusedHere)
{
  EXPECT_EQ(virtdisk_client_open_virtual_disk(need_client(), "", VIRTDISK_ACCESS_ALL, VIRTDISK_OPEN_NONE,
                                              nullptr, nullptr, &error),
            nullptr);
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER);
  EXPECT_EQ(virtdisk_client_attach_image(client, "", nullptr, nullptr, &error), nullptr);
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER);
  EXPECT_TRUE(service->calls().empty());
}

class Files : public Lib
{
protected:
  void SetUp() override
  {
    Lib::SetUp();
    directory = g_dir_make_tmp("virtdisk-XXXXXX", nullptr);
  }
  void TearDown() override
  {
    for (const std::string &path : paths)
      g_unlink(path.c_str());
    g_rmdir(directory);
    g_free(directory);
    Lib::TearDown();
  }
  std::string make(const char *name)
  {
    std::string path = std::string(directory) + "/" + name;

    EXPECT_TRUE(g_file_set_contents(path.c_str(), "the image", -1, nullptr));
    paths.push_back(path);
    return path;
  }
  char *directory = nullptr;
  std::vector<std::string> paths;
};

TEST_F(Files, OpenVirtualDiskFd)
{
  g_autoptr(VirtdiskOpenParameters) parameters = full_open_parameters();
  Options expected = full_open_options;
  int fd = open(make("a.vhd").c_str(), O_RDWR | O_CLOEXEC);
  Await await;

  handle = virtdisk_client_open_virtual_disk_fd(need_client(), fd, "/shown.vhd", VIRTDISK_ACCESS_ATTACH_RW,
                                                VIRTDISK_OPEN_NO_PARENTS, parameters, nullptr, &error);
  ASSERT_NE(handle, nullptr) << error->message;
  expected["path"] = "'/shown.vhd'";
  EXPECT_EQ(service->last().arguments, "0 131072 1");
  EXPECT_EQ(service->last().options, expected);
  EXPECT_EQ(service->last().fd_content, "the image");

  virtdisk_client_open_virtual_disk_fd_async(client, fd, nullptr, VIRTDISK_ACCESS_NONE, VIRTDISK_OPEN_NONE,
                                             nullptr, nullptr, on_result, &await);
  close(fd); // the call has its own
  g_autoptr(VirtdiskHandle) other = virtdisk_client_open_virtual_disk_fd_finish(client, await.get(), &error);
  ASSERT_NE(other, nullptr) << error->message;
  EXPECT_TRUE(service->last().options.empty());
  EXPECT_EQ(service->last().fd_content, "the image");
}

TEST_F(Lib, CreateVirtualDisk)
{
  g_autoptr(VirtdiskCreateParameters) parameters = virtdisk_create_parameters_new();

  virtdisk_create_parameters_set_version(parameters, 2);
  virtdisk_create_parameters_set_device_id(parameters, VIRTDISK_DEVICE_VHDX);
  virtdisk_create_parameters_set_vendor_id(parameters, "v");
  virtdisk_create_parameters_set_provider_specific_flags(parameters, 1);
  virtdisk_create_parameters_set_unique_id(parameters, "g");
  virtdisk_create_parameters_set_block_size(parameters, 1 << 20);
  virtdisk_create_parameters_set_sector_size(parameters, 4096);
  virtdisk_create_parameters_set_physical_sector_size(parameters, 4096);
  virtdisk_create_parameters_set_open_flags(parameters, VIRTDISK_OPEN_CACHED_IO);
  virtdisk_create_parameters_set_parent_path(parameters, "/p.vhdx");
  virtdisk_create_parameters_set_parent_device_id(parameters, VIRTDISK_DEVICE_VHDX);
  virtdisk_create_parameters_set_parent_vendor_id(parameters, "w");
  virtdisk_create_parameters_set_resiliency_guid(parameters, "r");
  handle = virtdisk_client_create_virtual_disk(need_client(), "/a.vhdx", VIRTDISK_ACCESS_ALL,
                                               VIRTDISK_CREATE_FULL_PHYSICAL_ALLOCATION,
                                               G_GUINT64_CONSTANT(1) << 40, parameters, nullptr, &error);

  ASSERT_NE(handle, nullptr) << error->message;
  EXPECT_EQ(service->last().method, "CreateVirtualDisk");
  EXPECT_EQ(service->last().arguments, "'/a.vhdx' 4128768 1 1099511627776");
  EXPECT_EQ(service->last().options, (Options{{"version", "uint32 2"},
                                              {"device-id", "uint32 3"},
                                              {"vendor-id", "'v'"},
                                              {"provider-specific-flags", "uint32 1"},
                                              {"unique-id", "'g'"},
                                              {"block-size", "uint32 1048576"},
                                              {"sector-size", "uint32 4096"},
                                              {"physical-sector-size", "uint32 4096"},
                                              {"open-flags", "uint32 8"},
                                              {"parent-path", "'/p.vhdx'"},
                                              {"parent-device-id", "uint32 3"},
                                              {"parent-vendor-id", "'w'"},
                                              {"resiliency-guid", "'r'"}}));
}

TEST_F(Lib, CreateUnderANameThatCannotBeSaid)
{
  EXPECT_EQ(virtdisk_client_create_virtual_disk(need_client(), "/\xff.vhdx", VIRTDISK_ACCESS_ALL,
                                                VIRTDISK_CREATE_NONE, 1 << 30, nullptr, nullptr, &error),
            nullptr);
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_SUPPORTED);
  EXPECT_TRUE(service->calls().empty());
}

TEST_F(Files, AddVirtualDiskParent)
{
  std::string parent = make("p.vhd");
  int fd = open(parent.c_str(), O_RDONLY | O_CLOEXEC);

  handle = virtdisk_client_open_virtual_disk(need_client(), "/a.vhd", VIRTDISK_ACCESS_NONE,
                                             VIRTDISK_OPEN_CUSTOM_DIFF_CHAIN, nullptr, nullptr, &error);
  ASSERT_NE(handle, nullptr) << error->message;
  ASSERT_TRUE(virtdisk_handle_add_virtual_disk_parent(handle, "/p.vhd", nullptr, &error));
  EXPECT_EQ(service->last().method, "AddVirtualDiskParent");
  EXPECT_EQ(service->last().arguments, "'/p.vhd'");
  ASSERT_TRUE(virtdisk_handle_add_virtual_disk_parent_fd(handle, fd, nullptr, &error));
  EXPECT_EQ(service->last().method, "AddVirtualDiskParentFd");
  EXPECT_EQ(service->last().fd_content, "the image");
  close(fd);
  ASSERT_TRUE(virtdisk_handle_add_virtual_disk_parent(handle, make("\xff.vhd").c_str(), nullptr, &error));
  EXPECT_EQ(service->last().method, "AddVirtualDiskParentFd");
  EXPECT_FALSE(virtdisk_handle_add_virtual_disk_parent_fd(handle, -1, nullptr, &error));
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_HANDLE);
}

TEST_F(Lib, BadDescriptorsAreRefusedHere)
{
  for (int fd : {-1, -100, 1 << 20}) {
    EXPECT_EQ(virtdisk_client_open_virtual_disk_fd(need_client(), fd, nullptr, VIRTDISK_ACCESS_NONE,
                                                   VIRTDISK_OPEN_NONE, nullptr, nullptr, &error),
              nullptr);
    EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_HANDLE);
  }
  EXPECT_TRUE(service->calls().empty());
}

TEST_F(Lib, AttachImage)
{
  g_autoptr(VirtdiskAttachParameters) parameters = virtdisk_attach_parameters_new();

  virtdisk_attach_parameters_set_read_only(parameters, TRUE);
  virtdisk_attach_parameters_set_flags(parameters, VIRTDISK_ATTACH_NO_DRIVE_LETTER);
  virtdisk_attach_parameters_set_open_flags(parameters, VIRTDISK_OPEN_CACHED_IO);
  virtdisk_attach_parameters_set_device_id(parameters, VIRTDISK_DEVICE_RAW);
  virtdisk_attach_parameters_set_vendor_id(parameters, "v");
  virtdisk_attach_parameters_set_lifetime(parameters, "boot");
  virtdisk_attach_parameters_set_detach_on_unmount(parameters, TRUE);
  virtdisk_attach_parameters_set_sector_size(parameters, 4096);
  virtdisk_attach_parameters_set_partition_scan(parameters, FALSE);
  virtdisk_attach_parameters_set_owner_uid(parameters, 1000);
  virtdisk_attach_parameters_set_owner_gid(parameters, 6);
  virtdisk_attach_parameters_set_mode(parameters, 0640);
  virtdisk_attach_parameters_set_route(parameters, "ublk");
  virtdisk_attach_parameters_set_zero_copy(parameters, TRUE);
  virtdisk_attach_parameters_set_restricted_range(parameters, 512, G_GUINT64_CONSTANT(1) << 40);
  g_autoptr(VirtdiskDisk) disk =
      virtdisk_client_attach_image(need_client(), "/a.vhd", parameters, nullptr, &error);

  ASSERT_NE(disk, nullptr) << error->message;
  EXPECT_EQ(service->last().arguments, "'/a.vhd'");
  EXPECT_EQ(service->last().options, (Options{{"read-only", "true"},
                                              {"flags", "uint32 2"},
                                              {"open-flags", "uint32 8"},
                                              {"device-id", "uint32 100"},
                                              {"vendor-id", "'v'"},
                                              {"lifetime", "'boot'"},
                                              {"detach-on-unmount", "true"},
                                              {"sector-size", "uint32 4096"},
                                              {"partition-scan", "false"},
                                              {"route", "'ublk'"},
                                              {"zero-copy", "true"},
                                              {"owner-uid", "uint32 1000"},
                                              {"owner-gid", "uint32 6"},
                                              {"mode", "uint32 416"},
                                              {"restricted-offset", "uint64 512"},
                                              {"restricted-length", "uint64 1099511627776"}}));
  EXPECT_STREQ(virtdisk_disk_get_device(disk), "/dev/loop77");
}

TEST_F(Lib, AttachImageAsync)
{
  Await await;

  virtdisk_client_attach_image_async(need_client(), "/a.vhd", nullptr, nullptr, on_result, &await);
  g_autoptr(VirtdiskDisk) disk = virtdisk_client_attach_image_finish(client, await.get(), &error);
  ASSERT_NE(disk, nullptr) << error->message;
  EXPECT_TRUE(service->last().options.empty());
  EXPECT_STREQ(virtdisk_disk_get_path(disk), "/a.vhd");
}

TEST_F(Lib, AttachedDiskThatIsGoneAtOnce)
{
  service->answer_next("(objectpath '/org/virtdisk1/disk/never', '/dev/loop1', @a{sv} {})");
  EXPECT_EQ(virtdisk_client_attach_image(need_client(), "/a.vhd", nullptr, nullptr, &error), nullptr);
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_FOUND);
}

TEST_F(Lib, DetachImage)
{
  g_autoptr(VirtdiskDetachParameters) parameters = virtdisk_detach_parameters_new();
  gboolean pending = FALSE;
  Await await;

  virtdisk_detach_parameters_set_force(parameters, TRUE);
  virtdisk_detach_parameters_set_when_idle(parameters, TRUE);
  EXPECT_TRUE(
      virtdisk_client_detach_image(need_client(), "/dev/loop7", parameters, &pending, nullptr, &error));
  EXPECT_TRUE(pending);
  EXPECT_EQ(service->last().arguments, "'/dev/loop7'");
  EXPECT_EQ(service->last().options, (Options{{"force", "true"}, {"when-idle", "true"}}));

  service->answer_next("(@a{sv} {},)");
  virtdisk_client_detach_image_async(client, "/a", nullptr, nullptr, on_result, &await);
  EXPECT_TRUE(virtdisk_client_detach_image_finish(client, await.get(), &pending, &error));
  EXPECT_FALSE(pending);
}

TEST_F(Lib, GetAllAttachedVirtualDiskPhysicalPaths)
{
  Await await;
  g_auto(GStrv) blocking =
      virtdisk_client_get_all_attached_virtual_disk_physical_paths(need_client(), nullptr, &error);

  ASSERT_NE(blocking, nullptr) << error->message;
  ASSERT_EQ(g_strv_length(blocking), 2u);
  EXPECT_STREQ(blocking[1], "/dev/ublkb1");
  service->answer_next("(@as [],)");
  virtdisk_client_get_all_attached_virtual_disk_physical_paths_async(client, nullptr, on_result, &await);
  g_auto(GStrv) async =
      virtdisk_client_get_all_attached_virtual_disk_physical_paths_finish(client, await.get(), &error);
  ASSERT_NE(async, nullptr) << error->message;
  EXPECT_EQ(g_strv_length(async), 0u);
}

TEST_F(Lib, GetStorageDependencyInformation)
{
  Await await;
  g_autoptr(GPtrArray) blocking = virtdisk_client_get_storage_dependency_information(
      need_client(), "/dev/loop7", VIRTDISK_DEPENDENCY_DISK_HANDLE, 2, nullptr, &error);

  ASSERT_NE(blocking, nullptr) << error->message;
  EXPECT_EQ(service->last().arguments, "'/dev/loop7' 2");
  EXPECT_EQ(service->last().options, (Options{{"version", "uint32 2"}}));
  ASSERT_EQ(blocking->len, 2u);
  g_autoptr(VirtdiskDependency) copy =
      virtdisk_dependency_copy(static_cast<VirtdiskDependency *>(blocking->pdata[0]));
  EXPECT_EQ(copy->dependency_type_flags, 4u);
  EXPECT_EQ(copy->device_id, 2u);
  EXPECT_STREQ(copy->vendor_id, "ec984aec");
  EXPECT_EQ(copy->ancestor_level, 1u);
  EXPECT_STREQ(copy->dependency_device_name, "/dev/loop7");
  EXPECT_STREQ(copy->host_volume_name, "/dev/sda1");
  EXPECT_STREQ(copy->dependent_volume_name, "/dev/loop7p1");
  EXPECT_STREQ(copy->dependent_volume_relative_path, "a.vhd");
  EXPECT_STREQ(static_cast<VirtdiskDependency *>(blocking->pdata[1])->host_volume_name, "");

  virtdisk_client_get_storage_dependency_information_async(client, "/mnt", VIRTDISK_DEPENDENCY_HOST_VOLUMES,
                                                           1, nullptr, on_result, &await);
  g_autoptr(GPtrArray) async =
      virtdisk_client_get_storage_dependency_information_finish(client, await.get(), &error);
  ASSERT_NE(async, nullptr) << error->message;
  EXPECT_EQ(service->last().arguments, "'/mnt' 1");
}

TEST_F(Lib, GetDiskForPath)
{
  Await await;

  service->add_disk("/org/virtdisk1/disk/a1", "/a.vhd", "/dev/loop9");
  g_autoptr(VirtdiskDisk) blocking =
      virtdisk_client_get_disk_for_path(need_client(), "/dev/loop9p1", nullptr, &error);
  ASSERT_NE(blocking, nullptr) << error->message;
  EXPECT_EQ(service->last().arguments, "'/dev/loop9p1'");
  EXPECT_STREQ(virtdisk_disk_get_device(blocking), "/dev/loop9");
  virtdisk_client_get_disk_for_path_async(client, "/a.vhd", nullptr, on_result, &await);
  g_autoptr(VirtdiskDisk) async = virtdisk_client_get_disk_for_path_finish(client, await.get(), &error);
  EXPECT_EQ(async, blocking) << "one object for one disk";
}

/* ---- paths that D-Bus cannot carry ---- */

TEST_F(Files, UnsayablePathIsOpenedHere)
{
  std::string path = make("\xff.vhd");

  handle = virtdisk_client_open_virtual_disk(need_client(), path.c_str(), VIRTDISK_ACCESS_READ,
                                             VIRTDISK_OPEN_NONE, nullptr, nullptr, &error);
  ASSERT_NE(handle, nullptr) << error->message;
  EXPECT_EQ(service->last().method, "OpenVirtualDiskFd");
  EXPECT_EQ(service->last().fd_content, "the image");
  EXPECT_EQ(service->last().fd_flags & O_ACCMODE, O_RDONLY);
  EXPECT_EQ(service->last().options["path"], "'" + std::string(directory) + "/\\\\xff.vhd'");
  g_clear_object(&handle);

  handle = virtdisk_client_open_virtual_disk(client, path.c_str(), VIRTDISK_ACCESS_ATTACH_RW,
                                             VIRTDISK_OPEN_NONE, nullptr, nullptr, &error);
  ASSERT_NE(handle, nullptr) << error->message;
  EXPECT_EQ(service->last().fd_flags & O_ACCMODE, O_RDWR);
  EXPECT_EQ(service->last().fd_flags & O_NONBLOCK, 0);

  EXPECT_EQ(virtdisk_client_open_virtual_disk(client, "/nonexistent/\xff", VIRTDISK_ACCESS_READ,
                                              VIRTDISK_OPEN_NONE, nullptr, nullptr, &error),
            nullptr);
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_FILE_NOT_FOUND);
}

TEST_F(Files, UnsayablePathIsAttachedThroughAHandle)
{
  std::string path = make("\xff.iso");

  service->add_disk("/org/virtdisk1/disk/a1", path, "/dev/loop77");
  g_autoptr(VirtdiskDisk) disk =
      virtdisk_client_attach_image(need_client(), path.c_str(), nullptr, nullptr, &error);
  ASSERT_NE(disk, nullptr) << error->message;
  EXPECT_EQ(path, virtdisk_disk_get_file_name(disk));
  ASSERT_TRUE(service->wait_for("Close"));
  std::vector<Call> calls = service->calls();
  ASSERT_EQ(calls.size(), 5u);
  EXPECT_EQ(calls[0].method, "OpenVirtualDiskFd");
  EXPECT_EQ(calls[0].arguments, "0 589824 0"); // ATTACH_RO, GET_INFO
  EXPECT_EQ(calls[1].method, "AttachVirtualDisk");
  EXPECT_EQ(calls[1].arguments, "5"); // READ_ONLY, PERMANENT_LIFETIME
  EXPECT_EQ(calls[2].method, "GetVirtualDiskPhysicalPath");
}

TEST_F(Files, UnsayablePathIsFoundByItsBytes)
{
  std::string path = make("\xff.vhd"), other = make("\xfe.vhd");

  service->add_disk("/org/virtdisk1/disk/other", "/other.vhd", "/dev/loop8");
  service->add_disk("/org/virtdisk1/disk/b", path, "/dev/loop9");
  g_autoptr(VirtdiskDisk) disk =
      virtdisk_client_get_disk_for_path(need_client(), path.c_str(), nullptr, &error);
  ASSERT_NE(disk, nullptr) << error->message;
  EXPECT_STREQ(virtdisk_disk_get_device(disk), "/dev/loop9");
  EXPECT_TRUE(virtdisk_client_detach_image(client, path.c_str(), nullptr, nullptr, nullptr, &error));
  EXPECT_EQ(service->last().arguments, "'/dev/loop9'");
  EXPECT_FALSE(virtdisk_client_detach_image(client, other.c_str(), nullptr, nullptr, nullptr, &error));
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_NOT_FOUND);
  EXPECT_EQ(virtdisk_client_get_storage_dependency_information(client, path.c_str(), VIRTDISK_DEPENDENCY_NONE,
                                                               1, nullptr, &error),
            nullptr);
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER);
}

/* ---- the handle's methods ---- */

TEST_F(Lib, AttachVirtualDisk)
{
  g_autoptr(VirtdiskAttachParameters) parameters = virtdisk_attach_parameters_new();
  gboolean settled = TRUE;
  Await await;

  virtdisk_attach_parameters_set_version(parameters, 2);
  virtdisk_attach_parameters_set_provider_specific_flags(parameters, 0);
  EXPECT_TRUE(virtdisk_handle_attach_virtual_disk(need_handle(), VIRTDISK_ATTACH_READ_ONLY, parameters,
                                                  &settled, nullptr, &error));
  EXPECT_FALSE(settled);
  EXPECT_EQ(service->last().object_path, "/org/virtdisk1/handle/1");
  EXPECT_EQ(service->last().arguments, "1");
  EXPECT_EQ(service->last().options,
            (Options{{"version", "uint32 2"}, {"provider-specific-flags", "uint32 0"}}));
  service->answer_next("(@a{sv} {},)");
  virtdisk_handle_attach_virtual_disk_async(handle, VIRTDISK_ATTACH_NONE, nullptr, nullptr, on_result,
                                            &await);
  EXPECT_TRUE(virtdisk_handle_attach_virtual_disk_finish(handle, await.get(), &settled, &error));
  EXPECT_TRUE(settled);
}

TEST_F(Lib, DetachVirtualDisk)
{
  g_autoptr(VirtdiskDetachParameters) parameters = virtdisk_detach_parameters_new();
  gboolean pending = FALSE;
  Await await;

  virtdisk_detach_parameters_set_provider_specific_flags(parameters, 7);
  EXPECT_TRUE(virtdisk_handle_detach_virtual_disk(need_handle(), static_cast<VirtdiskDetachFlags>(1),
                                                  parameters, &pending, nullptr, &error));
  EXPECT_TRUE(pending);
  EXPECT_EQ(service->last().arguments, "1");
  EXPECT_EQ(service->last().options, (Options{{"provider-specific-flags", "uint32 7"}}));
  virtdisk_handle_detach_virtual_disk_async(handle, VIRTDISK_DETACH_NONE, nullptr, nullptr, on_result,
                                            &await);
  EXPECT_TRUE(virtdisk_handle_detach_virtual_disk_finish(handle, await.get(), nullptr, &error));
  EXPECT_EQ(service->last().arguments, "0");
}

TEST_F(Lib, GetVirtualDiskPhysicalPath)
{
  Await await;
  g_autofree char *blocking = virtdisk_handle_get_virtual_disk_physical_path(need_handle(), nullptr, &error);

  EXPECT_STREQ(blocking, "/dev/loop77");
  virtdisk_handle_get_virtual_disk_physical_path_async(handle, nullptr, on_result, &await);
  g_autofree char *async = virtdisk_handle_get_virtual_disk_physical_path_finish(handle, await.get(), &error);
  EXPECT_STREQ(async, "/dev/loop77");
}

TEST_F(Lib, GetVirtualDiskInformation)
{
  Await await;
  g_autoptr(VirtdiskInfo) blocking =
      virtdisk_handle_get_virtual_disk_information(need_handle(), VIRTDISK_INFO_SIZE, nullptr, &error);

  ASSERT_NE(blocking, nullptr) << error->message;
  EXPECT_EQ(service->last().arguments, "1");
  EXPECT_EQ(virtdisk_info_get_virtual_size(blocking), 1048576u);
  EXPECT_EQ(virtdisk_info_get_physical_size(blocking), 4096u);
  service->answer_next("({'Identifier': <'guid'>},)");
  virtdisk_handle_get_virtual_disk_information_async(handle, VIRTDISK_INFO_IDENTIFIER, nullptr, on_result,
                                                     &await);
  g_autoptr(VirtdiskInfo) async =
      virtdisk_handle_get_virtual_disk_information_finish(handle, await.get(), &error);
  ASSERT_NE(async, nullptr) << error->message;
  EXPECT_EQ(virtdisk_info_get_version(async), VIRTDISK_INFO_IDENTIFIER);
  EXPECT_STREQ(virtdisk_info_get_identifier(async), "guid");
}

TEST_F(Lib, CloseIsOnce)
{
  Await await;

  EXPECT_TRUE(virtdisk_handle_close(need_handle(), nullptr, &error));
  EXPECT_FALSE(virtdisk_handle_close(handle, nullptr, &error));
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_HANDLE);
  EXPECT_FALSE(
      virtdisk_handle_attach_virtual_disk(handle, VIRTDISK_ATTACH_NONE, nullptr, nullptr, nullptr, &error));
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_HANDLE);
  g_clear_object(&handle);
  virtdisk_handle_close_async(need_handle(), nullptr, on_result, &await);
  EXPECT_TRUE(virtdisk_handle_close_finish(handle, await.get(), &error));
  // Nor does the last unref close again; the next call shows that nothing came between.
  g_clear_object(&handle);
  EXPECT_TRUE(virtdisk_client_detach_image(client, "/a", nullptr, nullptr, nullptr, nullptr));
  std::vector<Call> calls = service->calls();
  ASSERT_EQ(calls.size(), 5u);
  EXPECT_EQ(calls[3].method, "Close");
  EXPECT_EQ(calls[4].method, "DetachImage");
}

TEST_F(Lib, LastUnrefCloses)
{
  need_handle();
  g_clear_object(&handle);
  EXPECT_TRUE(service->wait_for("Close"));
  EXPECT_EQ(service->last().object_path, "/org/virtdisk1/handle/1");
}
