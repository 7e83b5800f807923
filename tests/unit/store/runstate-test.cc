// SPDX-License-Identifier: LGPL-2.1-or-later
#include <signal.h>
#include <sys/wait.h>

#include "store-folder.h"

extern "C" {
#include "store/runstate.h"
#include "util/identity.h"
#include "virtdisk-error.h"
}

namespace
{

const char tag[] = "0123456789abcdef";
const char file[] = "disks/0123456789abcdef";
const char nasty[] = "/a b /\n[Disk]\r\t\\s\\\\x=\"%41;#\xff\xc3\x28 ä ";

VdRunHandle *new_handle(const char *id, guint32 version, guint32 rights, gboolean attacher)
{
  VdRunHandle *handle = g_new0(VdRunHandle, 1);

  handle->id = g_strdup(id);
  handle->version = version;
  handle->rights = rights;
  handle->attacher = attacher;
  return handle;
}

/* Every member has a value of its own. */
VdRunRecord *full_record(void)
{
  VdRunRecord *record = vd_run_record_new(tag);
  const gid_t groups[] = {0, 27, 4294967294u};

  record->phase = VD_RUN_DETACHING;
  record->path = g_strdup(nasty);
  record->origin_url = g_strdup("https://example.org/a%20b.iso?x=1;y=#z");
  record->image_dev = G_GUINT64_CONSTANT(0xfedcba9876543210);
  record->image_ino = G_MAXUINT64;
  record->image_uid = 1001;
  record->remote = TRUE;
  record->physical_size = G_MAXUINT64 - 7;
  record->device = g_strdup("loop7");
  record->diskseq = G_GUINT64_CONSTANT(0x8000000000000001);
  record->lifetime = g_strdup("session");
  record->session = g_strdup("c2");
  record->detach_on_unmount = TRUE;
  record->was_mounted = FALSE;
  record->open_flags = 0xfff;
  record->attach_flags = 0xffffffff;
  record->opened_read_only = TRUE;
  record->settled = FALSE;
  record->attached_at = 1700000000;
  record->uid = 1002;
  record->gid = 1003;
  record->groups = static_cast<gid_t *>(g_memdup2(groups, sizeof groups));
  record->n_groups = G_N_ELEMENTS(groups);
  record->mirror_path = g_strdup("/m\xfe.vhdx");
  record->mirror_dev = 6;
  record->mirror_ino = static_cast<ino_t>(-4);
  record->mirror_uid = 1001;
  record->pid = 4711;
  record->bus_name = g_strdup(":1.42");
  record->bus_id = g_strdup("00aa");
  g_ptr_array_add(record->handles, new_handle("h1", 1, 0x3f0000, TRUE));
  g_ptr_array_add(record->handles, new_handle("h2", 2, 0, FALSE));
  record->facts.device_id = 2;
  record->facts.virtual_size = VD_MAX_VIRTUAL_SIZE;
  record->facts.n_contents = 2;
  g_strlcpy(record->facts.contents[1].label, "L\n=ä", sizeof record->facts.contents[1].label);
  vd_run_record_add_parent(record, "/a/p\nq\xff.vhdx", 5, 77, FALSE);
  vd_run_record_add_parent(record, "/b/r.vhdx", static_cast<dev_t>(-2), static_cast<ino_t>(-3), TRUE);
  return record;
}

void expect_same(const VdRunRecord *a, const VdRunRecord *b)
{
  EXPECT_STREQ(a->tag, b->tag);
  EXPECT_EQ(a->phase, b->phase);
  EXPECT_STREQ(a->path, b->path);
  EXPECT_STREQ(a->origin_url, b->origin_url);
  EXPECT_EQ(a->image_dev, b->image_dev);
  EXPECT_EQ(a->image_ino, b->image_ino);
  EXPECT_EQ(a->image_uid, b->image_uid);
  EXPECT_EQ(a->remote, b->remote);
  EXPECT_EQ(a->physical_size, b->physical_size);
  EXPECT_STREQ(a->mirror_path, b->mirror_path);
  EXPECT_EQ(a->mirror_dev, b->mirror_dev);
  EXPECT_EQ(a->mirror_ino, b->mirror_ino);
  EXPECT_EQ(a->mirror_uid, b->mirror_uid);
  EXPECT_STREQ(a->device, b->device);
  EXPECT_EQ(a->diskseq, b->diskseq);
  EXPECT_STREQ(a->lifetime, b->lifetime);
  EXPECT_STREQ(a->session, b->session);
  EXPECT_EQ(a->detach_on_unmount, b->detach_on_unmount);
  EXPECT_EQ(a->was_mounted, b->was_mounted);
  EXPECT_EQ(a->open_flags, b->open_flags);
  EXPECT_EQ(a->attach_flags, b->attach_flags);
  EXPECT_EQ(a->opened_read_only, b->opened_read_only);
  EXPECT_EQ(a->settled, b->settled);
  EXPECT_EQ(a->attached_at, b->attached_at);
  EXPECT_EQ(a->uid, b->uid);
  EXPECT_EQ(a->gid, b->gid);
  ASSERT_EQ(a->n_groups, b->n_groups);
  for (gsize i = 0; i < a->n_groups; i++)
    EXPECT_EQ(a->groups[i], b->groups[i]);
  EXPECT_EQ(a->pid, b->pid);
  EXPECT_STREQ(a->bus_name, b->bus_name);
  EXPECT_STREQ(a->bus_id, b->bus_id);
  ASSERT_EQ(a->handles->len, b->handles->len);
  for (guint i = 0; i < a->handles->len; i++) {
    const VdRunHandle *x = static_cast<VdRunHandle *>(a->handles->pdata[i]);
    const VdRunHandle *y = static_cast<VdRunHandle *>(b->handles->pdata[i]);

    EXPECT_STREQ(x->id, y->id);
    EXPECT_EQ(x->version, y->version);
    EXPECT_EQ(x->rights, y->rights);
    EXPECT_EQ(x->attacher, y->attacher);
  }
  ASSERT_EQ(a->parents->len, b->parents->len);
  for (guint i = 0; i < a->parents->len; i++) {
    const VdRunParent *x = static_cast<VdRunParent *>(a->parents->pdata[i]);
    const VdRunParent *y = static_cast<VdRunParent *>(b->parents->pdata[i]);

    EXPECT_STREQ(x->path, y->path);
    EXPECT_EQ(x->dev, y->dev);
    EXPECT_EQ(x->ino, y->ino);
    EXPECT_EQ(x->write, y->write);
  }
  EXPECT_EQ(memcmp(&a->facts, &b->facts, sizeof a->facts), 0);
}

class RunState : public StoreFolder
{
protected:
  bool save(const VdRunRecord *record)
  {
    g_autoptr(GError) error = nullptr;
    bool ok = vd_run_save(base.c_str(), record, &error);

    EXPECT_EQ(ok, error == nullptr);
    return ok;
  }

  /* The only record, or NULL. */
  VdRunRecord *load()
  {
    g_autoptr(GPtrArray) records = vd_run_load(base.c_str());

    EXPECT_LE(records->len, 1u);
    return records->len == 1 ? static_cast<VdRunRecord *>(g_ptr_array_steal_index(records, 0)) : nullptr;
  }

  bool loads(const std::string &text)
  {
    put(file, text);
    g_autoptr(VdRunRecord) record = load();

    EXPECT_EQ(names("disks").size(), record ? 1u : 0u) << "a broken record is removed";
    return record != nullptr;
  }
};

TEST_F(RunState, EveryFieldComesBack)
{
  g_autoptr(VdRunRecord) record = full_record();

  if (sizeof(void *) == 8) {
    EXPECT_EQ(sizeof(VdRunRecord) - sizeof(VdFacts), 224u)
        << "a new member needs a key and a line in this test";
  }
  ASSERT_TRUE(save(record));
  g_autoptr(VdRunRecord) loaded = load();
  ASSERT_NE(loaded, nullptr);
  expect_same(record, loaded);
}

TEST_F(RunState, WhatIsNotThereStaysAway)
{
  g_autoptr(VdRunRecord) record = vd_run_record_new(tag);

  record->path = g_strdup("");
  record->was_mounted = record->settled = TRUE;
  record->pid = -1;
  ASSERT_TRUE(save(record));
  g_autoptr(VdRunRecord) loaded = load();
  ASSERT_NE(loaded, nullptr);
  expect_same(record, loaded);
  EXPECT_EQ(loaded->device, nullptr);
  EXPECT_EQ(loaded->uid, VD_UID_INVALID);
}

TEST_F(RunState, FullestRecordFits)
{
  g_autoptr(VdRunRecord) record = full_record();

  record->n_groups = VD_MAX_GROUPS;
  record->groups = static_cast<gid_t *>(g_realloc_n(record->groups, VD_MAX_GROUPS, sizeof(gid_t)));
  for (gsize i = 0; i < VD_MAX_GROUPS; i++)
    record->groups[i] = static_cast<gid_t>(G_MAXUINT32 - i);
  record->facts.n_contents = VD_MAX_PARTITIONS + 1;
  memset(record->facts.contents, 0xa5, sizeof record->facts.contents);
  ASSERT_TRUE(save(record));
  g_autoptr(VdRunRecord) loaded = load();
  ASSERT_NE(loaded, nullptr);
  expect_same(record, loaded);
}

TEST_F(RunState, TooLargeIsRefusedAndLeavesTheOld)
{
  g_autoptr(VdRunRecord) record = full_record();
  g_autoptr(GError) error = nullptr;

  ASSERT_TRUE(save(record));
  std::string before = contents(file);
  for (int i = 0; i < 80000; i++)
    g_ptr_array_add(record->handles, new_handle("0123456789abcdef0123456789abcdef", 1, 0, FALSE));
  EXPECT_FALSE(vd_run_save(base.c_str(), record, &error));
  EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NO_RESOURCES));
  EXPECT_EQ(contents(file), before);
}

TEST_F(RunState, FilesAreOursAlone)
{
  g_autoptr(VdRunRecord) record = full_record();
  mode_t mask = umask(0);

  base += "/made";
  EXPECT_TRUE(save(record));
  umask(mask);
  EXPECT_EQ(mode("."), static_cast<mode_t>(S_IFDIR | 0700));
  EXPECT_EQ(mode("disks"), static_cast<mode_t>(S_IFDIR | 0700));
  EXPECT_EQ(mode(file), static_cast<mode_t>(S_IFREG | 0600));
  EXPECT_EQ(names("disks"), std::set<std::string>({tag})) << "no temporary file stays";
  base.resize(base.size() - strlen("/made"));
}

TEST_F(RunState, RemoveIsForgiving)
{
  g_autoptr(VdRunRecord) record = full_record();

  vd_run_remove(base.c_str(), tag);
  ASSERT_TRUE(save(record));
  vd_run_remove(base.c_str(), tag);
  EXPECT_TRUE(names("disks").empty());
}

TEST_F(RunState, LinksAreNotFollowed)
{
  g_autoptr(VdRunRecord) record = full_record();
  std::string victim = base + "/victim", disks = base + "/disks";

  put("victim", "untouched");
  ASSERT_EQ(mkdir(disks.c_str(), 0700), 0);
  ASSERT_EQ(symlink(victim.c_str(), (base + "/" + file).c_str()), 0);
  EXPECT_EQ(load(), nullptr);
  ASSERT_EQ(symlink(victim.c_str(), (base + "/" + file).c_str()), 0);
  ASSERT_TRUE(save(record)) << "the link is replaced, not followed";
  EXPECT_EQ(contents("victim"), "untouched");
  EXPECT_TRUE(S_ISREG(mode(file)));

  vd_run_remove(base.c_str(), tag);
  ASSERT_EQ(rmdir(disks.c_str()), 0);
  ASSERT_EQ(mkdir((base + "/other").c_str(), 0700), 0);
  ASSERT_EQ(symlink("other", disks.c_str()), 0);
  EXPECT_FALSE(save(record)) << "a folder that is a link";
  EXPECT_TRUE(names("other").empty());
}

TEST_F(RunState, AFolderOthersMayWriteToIsRefused)
{
  g_autoptr(VdRunRecord) record = full_record();

  ASSERT_TRUE(save(record));
  ASSERT_EQ(chmod((base + "/disks").c_str(), 0770), 0);
  EXPECT_FALSE(save(record));
  EXPECT_EQ(load(), nullptr);
  ASSERT_EQ(chmod((base + "/disks").c_str(), 0700), 0);
  if (geteuid() != 0)
    GTEST_SKIP() << "only root can give a folder away";
  ASSERT_EQ(chown((base + "/disks").c_str(), 65534, 65534), 0);
  EXPECT_FALSE(save(record));
}

TEST_F(RunState, BrokenRecordsAreDropped)
{
  g_autoptr(VdRunRecord) record = full_record();
  std::string good;

  ASSERT_TRUE(save(record));
  good = contents(file);
  EXPECT_TRUE(loads(good));
  EXPECT_FALSE(loads(""));
  EXPECT_FALSE(loads("rubbish"));
  EXPECT_FALSE(loads(std::string(100, '\0')));
  EXPECT_FALSE(loads(good.substr(0, good.size() / 2)));
  EXPECT_FALSE(loads(good + "#" + std::string(4 << 20, 'x') + "\n")) << "larger than the ceiling";
  EXPECT_FALSE(loads(with_value(good, "Version", "3")));
  EXPECT_FALSE(loads(with_value(good, "FactsSize", "100")));
  EXPECT_FALSE(loads(with_value(good, "Phase", "3")));
  EXPECT_FALSE(loads(with_value(good, "Phase", "-1")));
  EXPECT_FALSE(loads(with_value(good, "Path", "/a%00b")));
  EXPECT_FALSE(loads(with_value(good, "Path", "/a%zz")));
  EXPECT_FALSE(loads(with_value(good, "Device", "..%2fetc")));
  EXPECT_FALSE(loads(with_value(good, "Device", "")));
  EXPECT_FALSE(loads(with_value(good, "Uid", "4294967296")));
  EXPECT_FALSE(loads(with_value(good, "Uid", "-1")));
  EXPECT_FALSE(loads(with_value(good, "Uid", "0x10")));
  EXPECT_FALSE(loads(with_value(good, "Uid", "")));
  EXPECT_FALSE(loads(with_value(good, "Pid", "2147483648")));
  EXPECT_FALSE(loads(with_value(good, "Diskseq", "18446744073709551616")));
  EXPECT_FALSE(loads(with_value(good, "Settled", "yes")));
  EXPECT_FALSE(loads(with_value(good, "Groups", "1 2 x")));
  EXPECT_FALSE(loads(with_value(good, "Groups", "1  2")));
  EXPECT_FALSE(loads(with_value(good, "Facts", "AAAA")));
  EXPECT_FALSE(loads(with_value(good, "Facts", "")));
  EXPECT_FALSE(loads(with_value(good, "Handles", "3")));
  EXPECT_FALSE(loads(with_value(good, "Handles", "4294967295")));
}

TEST_F(RunState, FactsOfAnotherLengthAreDropped)
{
  g_autoptr(VdRunRecord) record = full_record();

  record->facts.n_contents = G_MAXUINT32;
  ASSERT_TRUE(save(record));
  {
    g_autoptr(VdRunRecord) loaded = load();

    ASSERT_NE(loaded, nullptr) << "the number is judged by vd_facts_check()";
    expect_same(record, loaded);
  }
  std::string good = contents(file);
  size_t start = good.find("\nFacts=") + 7, end = good.find('\n', start);
  EXPECT_FALSE(loads(with_value(good, "Facts", good.substr(start, end - start - 400))));
}

TEST_F(RunState, StrangersInTheFolderAreDropped)
{
  g_autoptr(VdRunRecord) record = full_record();

  ASSERT_TRUE(save(record));
  std::string good = contents(file);
  put("disks/.0123456789abcdef.1234abcd", good.substr(0, 100));
  put("disks/ABC", good);
  put("disks/abc.txt", good);
  put("disks/" + std::string(65, 'a'), good);
  ASSERT_EQ(mkfifo((base + "/disks/aa").c_str(), 0600), 0);
  ASSERT_EQ(mkdir((base + "/disks/bb").c_str(), 0700), 0);
  g_autoptr(VdRunRecord) loaded = load();
  ASSERT_NE(loaded, nullptr);
  EXPECT_EQ(names("disks"), std::set<std::string>({tag, "bb"}));
}

/* Writes two states in turn until it is killed, a byte down the pipe after each. */
[[noreturn]] void write_for_ever(const char *base, int pipe_fd)
{
  g_autoptr(VdRunRecord) record = full_record();

  for (;;) {
    record->diskseq ^= 1;
    record->phase = record->diskseq & 1 ? VD_RUN_ATTACHED : VD_RUN_DETACHING;
    if (!vd_run_save(base, record, nullptr) || write(pipe_fd, "x", 1) != 1)
      _exit(1);
  }
}

TEST_F(RunState, KilledAtAnyPointLeavesOneState)
{
  for (int round = 0; round < 40; round++) {
    int ends[2];
    char heard[64];

    ASSERT_EQ(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0)
      write_for_ever(base.c_str(), ends[1]);
    close(ends[1]);
    for (int i = 0; i <= round % 7; i++)
      ASSERT_GT(read(ends[0], heard, 1 + static_cast<size_t>(round) % sizeof heard), 0);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    close(ends[0]);
    g_autoptr(VdRunRecord) loaded = load();
    ASSERT_NE(loaded, nullptr) << "round " << round;
    EXPECT_EQ(loaded->phase, loaded->diskseq & 1 ? VD_RUN_ATTACHED : VD_RUN_DETACHING);
    EXPECT_EQ(names("disks"), std::set<std::string>({tag}));
  }
}

TEST_F(RunState, ManyRecords)
{
  std::set<std::string> expected, found;

  for (int i = 0; i < 100; i++) {
    std::string name = std::to_string(i) + "ab";
    g_autoptr(VdRunRecord) record = vd_run_record_new(name.c_str());

    record->path = g_strdup("/a");
    expected.insert(name);
    ASSERT_TRUE(save(record));
  }
  g_autoptr(GPtrArray) records = vd_run_load(base.c_str());
  for (guint i = 0; i < records->len; i++)
    found.insert(static_cast<VdRunRecord *>(records->pdata[i])->tag);
  EXPECT_EQ(found, expected);
}

} // namespace
