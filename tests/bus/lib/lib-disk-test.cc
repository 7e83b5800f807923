// SPDX-License-Identifier: LGPL-2.1-or-later
// libvirtdisk against a mock of the service over a private bus: disks come, change and go.
#include "lib-fixture.h"

/* ---- disks come, change and go ---- */

struct Seen {
  std::vector<std::string> events;
  explicit Seen(VirtdiskClient *client)
  {
    g_signal_connect(client, "disk-added", G_CALLBACK(on_added), this);
    g_signal_connect(client, "disk-changed", G_CALLBACK(on_changed), this);
    g_signal_connect(client, "disk-removed", G_CALLBACK(on_removed), this);
  }
  static void on_added(VirtdiskClient *, VirtdiskDisk *disk, Seen *seen)
  {
    seen->add("added", disk);
  }
  static void on_changed(VirtdiskClient *, VirtdiskDisk *disk, Seen *seen)
  {
    seen->add("changed", disk);
  }
  static void on_removed(VirtdiskClient *, VirtdiskDisk *disk, Seen *seen)
  {
    seen->add("removed", disk);
  }
  void add(const char *what, VirtdiskDisk *disk)
  {
    events.push_back(std::string(what) + " " + virtdisk_disk_get_device(disk) + " " +
                     virtdisk_disk_get_state(disk));
  }
};

TEST_F(Lib, DiskSignals)
{
  Seen seen(need_client());

  service->add_disk("/org/virtdisk1/disk/b", "/b.vhd", "/dev/loop2");
  EXPECT_TRUE(run_until([&] { return seen.events.size() == 1; }));
  service->set_disk_state("/org/virtdisk1/disk/b", "detach-pending");
  EXPECT_TRUE(run_until([&] { return seen.events.size() == 2; }));
  service->remove_disk("/org/virtdisk1/disk/b");
  EXPECT_TRUE(run_until([&] { return seen.events.size() == 3; }));
  EXPECT_EQ(seen.events,
            (std::vector<std::string>{"added /dev/loop2 attached", "changed /dev/loop2 detach-pending",
                                      "removed /dev/loop2 detached"}));
  g_autoptr(GPtrArray) disks = virtdisk_client_get_disks(client);
  EXPECT_EQ(disks->len, 0u);
}

TEST_F(Lib, PropertiesNotify)
{
  std::vector<std::string> notified;

  service->add_disk("/org/virtdisk1/disk/b", "/b.vhd", "/dev/loop2");
  g_autoptr(GPtrArray) disks = virtdisk_client_get_disks(need_client());
  ASSERT_EQ(disks->len, 1u);
  g_signal_connect(disks->pdata[0], "notify",
                   G_CALLBACK(+[](GObject *, GParamSpec *spec, std::vector<std::string> *names) {
                     names->push_back(spec->name);
                   }),
                   &notified);
  service->set_disk_state("/org/virtdisk1/disk/b", "detach-pending");
  EXPECT_TRUE(run_until([&] { return !notified.empty(); }));
  EXPECT_EQ(notified, std::vector<std::string>{"state"});
}

TEST_F(Lib, DiskMirrorsEveryProperty)
{
  guint n_specs, n_bus = 0;
  g_autofree GParamSpec **specs = nullptr;

  service->add_disk("/org/virtdisk1/disk/b", "/b.vhd", "/dev/loop2");
  g_autoptr(GPtrArray) disks = virtdisk_client_get_disks(need_client());
  ASSERT_EQ(disks->len, 1u);
  VirtdiskDisk *disk = VIRTDISK_DISK(disks->pdata[0]);
  g_autoptr(GVariant) none = virtdisk_disk_get_file_systems(disk);

  EXPECT_STREQ(virtdisk_disk_get_object_path(disk), "/org/virtdisk1/disk/b");
  EXPECT_STREQ(virtdisk_disk_get_path(disk), "/b.vhd");
  EXPECT_STREQ(virtdisk_disk_get_file_name(disk), "/b.vhd");
  EXPECT_STREQ(virtdisk_disk_get_format(disk), "vhd");
  EXPECT_EQ(virtdisk_disk_get_device_id(disk), VIRTDISK_DEVICE_VHD);
  EXPECT_STREQ(virtdisk_disk_get_vendor_id(disk), "v");
  EXPECT_EQ(virtdisk_disk_get_subtype(disk), VIRTDISK_SUBTYPE_FIXED);
  EXPECT_EQ(virtdisk_disk_get_virtual_size(disk), G_GUINT64_CONSTANT(5000000000));
  EXPECT_EQ(virtdisk_disk_get_physical_size(disk), G_GUINT64_CONSTANT(6000000000));
  EXPECT_EQ(virtdisk_disk_get_block_size(disk), 1u);
  EXPECT_EQ(virtdisk_disk_get_sector_size(disk), 512u);
  EXPECT_EQ(virtdisk_disk_get_physical_sector_size(disk), 4096u);
  EXPECT_STREQ(virtdisk_disk_get_identifier(disk), "guid");
  EXPECT_STREQ(virtdisk_disk_get_device(disk), "/dev/loop2");
  EXPECT_EQ(virtdisk_disk_get_device_number(disk), 0x74du);
  EXPECT_EQ(virtdisk_disk_get_disk_sequence(disk), 99u);
  EXPECT_TRUE(virtdisk_disk_get_read_only(disk));
  EXPECT_STREQ(virtdisk_disk_get_lifetime(disk), "permanent");
  EXPECT_TRUE(virtdisk_disk_get_detach_on_unmount(disk));
  EXPECT_EQ(virtdisk_disk_get_owner_uid(disk), 1000u);
  EXPECT_STREQ(virtdisk_disk_get_session(disk), "c2");
  EXPECT_STREQ(virtdisk_disk_get_state(disk), "attached");
  EXPECT_STREQ(g_variant_get_type_string(none), "aa{sv}");
  EXPECT_EQ(virtdisk_disk_get_depth(disk), 2u);
  g_auto(GStrv) parents = virtdisk_disk_dup_parents(disk);
  EXPECT_STREQ(parents[0], "/a-parent.vhd");
  EXPECT_EQ(parents[1], nullptr);
  EXPECT_STREQ(virtdisk_disk_get_route(disk), "loop");
  EXPECT_STREQ(virtdisk_disk_get_route_reason(disk), "one run");
  EXPECT_TRUE(virtdisk_disk_get_direct_io(disk));
  EXPECT_TRUE(virtdisk_disk_get_settled(disk));
  EXPECT_STREQ(virtdisk_disk_get_origin_url(disk), "https://example.org/");
  EXPECT_EQ(virtdisk_disk_get_attached_at(disk), 1700000000u);

  // The same through GObject: every property reads, and none is at its default.
  specs = g_object_class_list_properties(G_OBJECT_GET_CLASS(disk), &n_specs);
  for (guint i = 0; i < n_specs; i++) {
    g_auto(GValue) value = G_VALUE_INIT;

    g_value_init(&value, specs[i]->value_type);
    g_object_get_property(G_OBJECT(disk), specs[i]->name, &value);
    EXPECT_FALSE(g_param_value_defaults(specs[i], &value)) << specs[i]->name;
    n_bus++;
  }
  EXPECT_EQ(n_bus, 31u) << "30 of org.virtdisk1.Disk and the object path";
}

TEST_F(Lib, DiskOfABlockingCallIsTheOneThatIsAnnounced)
{
  Seen seen(need_client());
  g_autoptr(VirtdiskDisk) disk = virtdisk_client_attach_image(client, "/a.vhd", nullptr, nullptr, &error);
  g_autoptr(GPtrArray) disks = nullptr;

  ASSERT_NE(disk, nullptr) << error->message;
  EXPECT_TRUE(seen.events.empty()) << "a blocking call ran the program's main context";
  EXPECT_TRUE(run_until([&] { return !seen.events.empty(); }));
  disks = virtdisk_client_get_disks(client);
  ASSERT_EQ(disks->len, 1u);
  EXPECT_EQ(disks->pdata[0], disk);
}

TEST_F(Lib, DisksGoWithTheServiceAndComeBack)
{
  int owners = 0, versions = 0;
  Seen seen(need_client());

  g_signal_connect_swapped(client, "notify::name-owner", G_CALLBACK(+[](int *n) { ++*n; }), &owners);
  g_signal_connect_swapped(client, "notify::version", G_CALLBACK(+[](int *n) { ++*n; }), &versions);
  service->add_disk("/org/virtdisk1/disk/b", "/b.vhd", "/dev/loop2");
  EXPECT_TRUE(run_until([&] { return seen.events.size() == 1; }));
  service.reset();
  EXPECT_TRUE(run_until([&] { return seen.events.size() == 2 && owners == 1; }));
  EXPECT_EQ(seen.events.back(), "removed /dev/loop2 detached");
  start();
  service->add_disk("/org/virtdisk1/disk/c", "/c.vhd", "/dev/loop3");
  EXPECT_TRUE(run_until([&] { return seen.events.size() == 3 && owners == 2 && versions > 0; }));
  EXPECT_EQ(seen.events.back(), "added /dev/loop3 attached");
}
