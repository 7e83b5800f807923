// SPDX-License-Identifier: LGPL-2.1-or-later
// The opener with real files and a second user.
#include <gtest/gtest.h>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <grp.h>
#include <pwd.h>
#include <string>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

extern "C" {
#include "auth/opener.h"
#include "util/spawn.h"
#include "virtdisk-error.h"
}

namespace fs = std::filesystem;

// In no user database.
static const uid_t user = 54242, other_user = 54243;
static const gid_t group = 54244, second_group = 54245, other_group = 54246;
static const guint patience_ms = 20000;

struct Answer {
  bool done = false;
  int fd = -1;
  int code = -1;
  std::string message;

  Answer() = default;
  Answer(const Answer &) = delete;
  ~Answer()
  {
    if (fd >= 0)
      close(fd);
  }
};

static void on_opened(GObject *, GAsyncResult *result, gpointer user_data)
{
  auto *answer = static_cast<Answer *>(user_data);
  g_autoptr(GError) error = nullptr;

  answer->fd = vd_opener_open_finish(nullptr, result, &error);
  answer->done = true;
  if (error != nullptr) {
    EXPECT_EQ(error->domain, VIRTDISK_ERROR) << error->message;
    answer->code = error->code;
    answer->message = error->message;
  }
}

static gboolean out_of_patience(gpointer)
{
  ADD_FAILURE() << "nothing happened for " << patience_ms << " ms";
  return G_SOURCE_REMOVE;
}

template <typename Condition> static void wait_until(Condition condition)
{
  g_autoptr(GSource) deadline = g_timeout_source_new(patience_ms);

  g_source_set_callback(deadline, out_of_patience, nullptr, nullptr);
  g_source_attach(deadline, nullptr);
  while (!condition() && !g_source_is_destroyed(deadline))
    g_main_context_iteration(nullptr, TRUE);
  g_source_destroy(deadline);
}

// Beside the process that starts the others: dead or alive, until they have been waited for.
static bool has_children()
{
  for (const auto &task : fs::directory_iterator("/proc/self/task")) {
    std::ifstream file(task.path() / "children");
    pid_t pid;

    while (file >> pid)
      if (pid != vd_spawn_pid())
        return true;
  }
  return false;
}

// Without pidfds: GLib's thread that reaps closes its own a little later.
static size_t count_fds()
{
  size_t n = 0;

  for (const auto &entry : fs::directory_iterator("/proc/self/fd")) {
    std::error_code closed;
    fs::path target = fs::read_symlink(entry.path(), closed);

    n += !closed && target != "anon_inode:[pidfd]" ? 1 : 0;
  }
  return n;
}

struct Opener : testing::Test {
  fs::path dir;
  VdOpener *opener = vd_opener_new(VD_TEST_OPENER);
  size_t fds_before;

  Opener()
  {
    g_autofree char *made = g_dir_make_tmp("virtdisk-opener-XXXXXX", nullptr);

    dir = made;
    chmod(made, 0755);
    umask(022);
    { // GLib's own descriptors are there before anything is counted
      Answer warm;
      open(warm, getuid(), getgid(), {}, "/");
      settle();
    }
    fds_before = count_fds();
  }

  ~Opener() override
  {
    settle();
    vd_opener_unref(opener);
    EXPECT_EQ(count_fds(), fds_before) << "descriptors leak";
    fs::remove_all(dir);
  }

  // Each child that ends wakes the loop, after it was reaped.
  void settle()
  {
    wait_until([] { return !has_children(); });
    EXPECT_FALSE(has_children());
  }

  void start(Answer &answer, uid_t uid, gid_t gid, const std::vector<gid_t> &groups, const std::string &path,
             VdOpenMode mode = VD_OPEN_READ, GCancellable *cancellable = nullptr)
  {
    g_autoptr(VdIdentity) identity = vd_identity_new(":1.7", uid, gid, groups.data(), groups.size(), 1);

    vd_opener_open_async(opener, identity, path.c_str(), mode, cancellable, on_opened, &answer);
  }

  void open(Answer &answer, uid_t uid, gid_t gid, const std::vector<gid_t> &groups, const std::string &path,
            VdOpenMode mode = VD_OPEN_READ)
  {
    start(answer, uid, gid, groups, path, mode);
    wait_until([&] { return answer.done; });
  }

  int code(uid_t uid, gid_t gid, const std::vector<gid_t> &groups, const std::string &path,
           VdOpenMode mode = VD_OPEN_READ)
  {
    Answer answer;

    open(answer, uid, gid, groups, path, mode);
    EXPECT_EQ(answer.fd >= 0, answer.code < 0);
    return answer.code;
  }

  std::string file(const std::string &name, uid_t uid, gid_t gid, mode_t mode)
  {
    fs::path path = dir / name;

    std::ofstream(path) << "content of " << name;
    EXPECT_EQ(chown(path.c_str(), uid, gid), 0);
    EXPECT_EQ(chmod(path.c_str(), mode), 0);
    return path;
  }

  std::string directory(const std::string &name, uid_t uid, gid_t gid, mode_t mode)
  {
    fs::path path = dir / name;

    fs::create_directory(path);
    EXPECT_EQ(chown(path.c_str(), uid, gid), 0);
    EXPECT_EQ(chmod(path.c_str(), mode), 0);
    return path;
  }

  // In the place of the opener.
  void use_program(const std::string &script)
  {
    fs::path path = dir / "program";

    std::ofstream(path) << "#!/bin/sh\n" << script << "\n";
    chmod(path.c_str(), 0755);
    vd_opener_unref(opener);
    opener = vd_opener_new(path.c_str());
  }
};

#define NEEDS_ROOT()                                                                                         \
  if (geteuid() != 0)                                                                                        \
  GTEST_SKIP() << "needs root, to open files as a second user"

enum { OPENED = -1 };

TEST_F(Opener, OwnFileIsWhatWasAsked)
{
  std::string path = file("own.img", getuid(), getgid(), 0644);

  for (VdOpenMode mode : {VD_OPEN_READ, VD_OPEN_WRITE, VD_OPEN_LOCATE}) {
    Answer answer;
    struct stat opened, there;
    int flags;

    open(answer, getuid(), getgid(), {getgid()}, path, mode);
    ASSERT_GE(answer.fd, 0) << answer.message;
    flags = fcntl(answer.fd, F_GETFL);
    EXPECT_EQ(flags & (O_NONBLOCK | O_APPEND), 0);
    EXPECT_EQ((flags & O_PATH) != 0, mode == VD_OPEN_LOCATE);
    EXPECT_EQ(flags & O_ACCMODE, mode == VD_OPEN_WRITE ? O_RDWR : O_RDONLY);
    EXPECT_EQ(fcntl(answer.fd, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fstat(answer.fd, &opened), 0);
    EXPECT_EQ(stat(path.c_str(), &there), 0);
    EXPECT_EQ(opened.st_ino, there.st_ino);
  }
}

TEST_F(Opener, OwnerNeedsThePermissionBits)
{
  NEEDS_ROOT();
  EXPECT_EQ(code(user, group, {}, file("rw", user, 0, 0600), VD_OPEN_WRITE), OPENED);
  EXPECT_EQ(code(user, group, {}, file("r", user, 0, 0400)), OPENED);
  EXPECT_EQ(code(user, group, {}, file("r2", user, 0, 0400), VD_OPEN_WRITE), VIRTDISK_ERROR_ACCESS_DENIED);
  EXPECT_EQ(code(user, group, {}, file("none", user, 0, 0000)), VIRTDISK_ERROR_ACCESS_DENIED);
  EXPECT_EQ(code(user, group, {}, file("all", 0, 0, 0644)), OPENED);
  EXPECT_EQ(code(user, group, {}, file("all2", 0, 0, 0644), VD_OPEN_WRITE), VIRTDISK_ERROR_ACCESS_DENIED);
  EXPECT_EQ(code(other_user, group, {}, file("rw2", user, 0, 0600)), VIRTDISK_ERROR_ACCESS_DENIED);
}

TEST_F(Opener, RootOpensWhatRootMay)
{
  NEEDS_ROOT();
  EXPECT_EQ(code(0, 0, {0}, file("theirs", user, group, 0000), VD_OPEN_WRITE), OPENED);
}

TEST_F(Opener, GroupsAreTheCallersAndNoOthers)
{
  NEEDS_ROOT();
  std::string by_group = file("by-group", 0, group, 0640),
              by_second = file("by-second", 0, second_group, 0640);
  std::string by_root = file("by-root-group", 0, 0, 0640);

  EXPECT_EQ(code(user, group, {}, by_group), OPENED);
  EXPECT_EQ(code(user, other_group, {group, second_group}, by_second), OPENED);
  EXPECT_EQ(code(user, group, {}, by_second), VIRTDISK_ERROR_ACCESS_DENIED);
  EXPECT_EQ(code(user, other_group, {}, by_group), VIRTDISK_ERROR_ACCESS_DENIED);
  EXPECT_EQ(code(user, group, {second_group}, by_root), VIRTDISK_ERROR_ACCESS_DENIED)
      << "a group of the service's";
}

TEST_F(Opener, GroupsOfTheBusNeedNoPrimaryOne)
{
  NEEDS_ROOT();
  EXPECT_EQ(code(user, VD_GID_INVALID, {group, second_group}, file("a", 0, group, 0640)), OPENED);
  EXPECT_EQ(code(user, VD_GID_INVALID, {group, second_group}, file("b", 0, second_group, 0640)), OPENED);
  EXPECT_EQ(code(user, VD_GID_INVALID, {group, second_group}, file("c", 0, 0, 0640)),
            VIRTDISK_ERROR_ACCESS_DENIED);
  EXPECT_EQ(code(user, VD_GID_INVALID, {group}, file("d", 0, 65534, 0640)), VIRTDISK_ERROR_ACCESS_DENIED);
}

TEST_F(Opener, UnknownUserIsInNoGroup)
{
  NEEDS_ROOT();
  EXPECT_EQ(code(user, VD_GID_INVALID, {}, file("nogroup", 0, 65534, 0640)), OPENED);
  EXPECT_EQ(code(user, VD_GID_INVALID, {}, file("root", 0, 0, 0640)), VIRTDISK_ERROR_ACCESS_DENIED);
  EXPECT_EQ(code(user, VD_GID_INVALID, {}, file("group", 0, group, 0640)), VIRTDISK_ERROR_ACCESS_DENIED);
}

TEST_F(Opener, KnownUsersGroupsComeFromTheDatabase)
{
  NEEDS_ROOT();
  const struct passwd *known = getpwnam("daemon");

  if (known == nullptr || known->pw_uid == 0 || known->pw_gid == 0)
    GTEST_SKIP() << "needs the user daemon in the user database";
  EXPECT_EQ(code(known->pw_uid, VD_GID_INVALID, {}, file("primary", 0, known->pw_gid, 0640)), OPENED);
  EXPECT_EQ(code(known->pw_uid, VD_GID_INVALID, {}, file("root", 0, 0, 0640)), VIRTDISK_ERROR_ACCESS_DENIED);
}

TEST_F(Opener, MostGroupsThereCanBe)
{
  NEEDS_ROOT();
  std::vector<gid_t> groups;

  for (gid_t gid = 100000; groups.size() < VD_MAX_GROUPS; gid++)
    groups.push_back(gid);
  EXPECT_EQ(code(user, group, groups, file("last", 0, groups.back(), 0640)), OPENED);
}

TEST_F(Opener, WhatIsInAHiddenDirectoryCannotBeTold)
{
  NEEDS_ROOT();
  std::string hidden = directory("hidden", other_user, 0, 0700);
  std::string there = hidden + "/image", inner = hidden + "/inner/image";
  Answer before, before_inner, after, after_inner;

  open(before, user, group, {}, there);
  open(before_inner, user, group, {}, inner);
  file("hidden/image", other_user, 0, 0644);
  fs::create_directory(hidden + "/inner");
  open(after, user, group, {}, there);
  open(after_inner, user, group, {}, inner);
  EXPECT_EQ(before.code, VIRTDISK_ERROR_ACCESS_DENIED);
  EXPECT_EQ(before.code, after.code);
  EXPECT_EQ(before.message, after.message);
  EXPECT_EQ(before_inner.code, after_inner.code);
  EXPECT_EQ(before_inner.message, after_inner.message);
  EXPECT_EQ(code(user, group, {}, there, VD_OPEN_LOCATE), VIRTDISK_ERROR_ACCESS_DENIED);
  EXPECT_EQ(code(other_user, group, {}, there), OPENED);
}

TEST_F(Opener, SymbolicLinkGivesNoRights)
{
  NEEDS_ROOT();
  std::string secret = file("secret", 0, 0, 0600), own = file("own", user, 0, 0600);

  fs::create_symlink(secret, dir / "to-secret");
  fs::create_symlink(own, dir / "to-own");
  EXPECT_EQ(code(user, group, {}, dir / "to-secret"), VIRTDISK_ERROR_ACCESS_DENIED);
  EXPECT_EQ(code(user, group, {}, dir / "to-own"), OPENED);
}

TEST_F(Opener, LinksOfProcAreRefused)
{
  std::string own = file("own", getuid(), getgid(), 0644);
  int fd = ::open(own.c_str(), O_RDONLY | O_CLOEXEC);

  for (const char *path : {"/proc/self/fd/3", "/proc/self/exe", "/proc/self/root/etc/passwd"}) {
    EXPECT_EQ(code(getuid(), getgid(), {}, path), VIRTDISK_ERROR_PATH_NOT_FOUND) << path;
    EXPECT_EQ(code(getuid(), getgid(), {}, path, VD_OPEN_LOCATE), VIRTDISK_ERROR_PATH_NOT_FOUND) << path;
  }
  // Another process may be closed to the opener altogether.
  for (const std::string &name : {std::string("cwd/x"), "fd/" + std::to_string(fd)}) {
    int refused = code(getuid(), getgid(), {}, "/proc/" + std::to_string(getpid()) + "/" + name);

    EXPECT_TRUE(refused == VIRTDISK_ERROR_PATH_NOT_FOUND || refused == VIRTDISK_ERROR_ACCESS_DENIED) << name;
  }
  close(fd);
}

TEST_F(Opener, LinksInARingAreRefused)
{
  fs::create_symlink(dir / "b", dir / "a");
  fs::create_symlink(dir / "a", dir / "b");
  EXPECT_EQ(code(getuid(), getgid(), {}, dir / "a"), VIRTDISK_ERROR_PATH_NOT_FOUND);
}

TEST_F(Opener, MissingFileAndMissingDirectoryDiffer)
{
  std::string own = file("own", getuid(), getgid(), 0644);

  EXPECT_EQ(code(getuid(), getgid(), {}, dir / "none"), VIRTDISK_ERROR_FILE_NOT_FOUND);
  EXPECT_EQ(code(getuid(), getgid(), {}, (dir / "none//").string()), VIRTDISK_ERROR_FILE_NOT_FOUND);
  EXPECT_EQ(code(getuid(), getgid(), {}, "/virtdisk-none"), VIRTDISK_ERROR_FILE_NOT_FOUND);
  EXPECT_EQ(code(getuid(), getgid(), {}, dir / "none" / "image"), VIRTDISK_ERROR_PATH_NOT_FOUND);
  EXPECT_EQ(code(getuid(), getgid(), {}, own + "/image"), VIRTDISK_ERROR_PATH_NOT_FOUND);
}

TEST_F(Opener, WhatIsNoRegularFileIsNamedAndNotOpened)
{
  NEEDS_ROOT();
  int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_un address = {};
  fs::path fifo = dir / "fifo", at = dir / "socket", node = dir / "node";

  address.sun_family = AF_UNIX;
  g_strlcpy(address.sun_path, at.c_str(), sizeof address.sun_path);
  ASSERT_EQ(bind(sock, reinterpret_cast<struct sockaddr *>(&address), sizeof address), 0);
  close(sock);
  ASSERT_EQ(mkfifo(fifo.c_str(), 0666), 0);
  ASSERT_EQ(mknod(node.c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
  for (VdOpenMode mode : {VD_OPEN_READ, VD_OPEN_WRITE})
    for (const auto &[path, word] :
         std::vector<std::pair<fs::path, const char *>>{{fifo, "is a FIFO"},
                                                        {at, "is a socket"},
                                                        {node, "is a character device"},
                                                        {dir, "is a directory"}}) {
      Answer answer;

      open(answer, 0, 0, {}, path, mode);
      EXPECT_EQ(answer.code, VIRTDISK_ERROR_NOT_A_REGULAR_FILE) << path;
      EXPECT_NE(answer.message.find(word), std::string::npos) << answer.message;
    }
  for (const fs::path &path : {fifo, at, node, dir})
    EXPECT_EQ(code(user, group, {}, path, VD_OPEN_LOCATE), OPENED) << path;
}

TEST_F(Opener, PathMustBeAbsoluteAndOfSomeLength)
{
  EXPECT_EQ(code(getuid(), getgid(), {}, ""), VIRTDISK_ERROR_INVALID_PARAMETER);
  EXPECT_EQ(code(getuid(), getgid(), {}, "image.iso"), VIRTDISK_ERROR_INVALID_PARAMETER);
  EXPECT_EQ(code(getuid(), getgid(), {}, "/" + std::string(4095, 'x')), VIRTDISK_ERROR_NAME_TOO_LONG);
  EXPECT_EQ(code(getuid(), getgid(), {}, "/" + std::string(256, 'x')), VIRTDISK_ERROR_NAME_TOO_LONG);
  EXPECT_EQ(code(getuid(), getgid(), {}, std::string(4094, '/') + "x"), VIRTDISK_ERROR_FILE_NOT_FOUND);
}

TEST_F(Opener, NamesAreBytes)
{
  std::string path = file("\xff\xfe \n.img", getuid(), getgid(), 0644);
  Answer answer;

  EXPECT_EQ(code(getuid(), getgid(), {}, path), OPENED);
  open(answer, getuid(), getgid(), {}, path + ".none");
  EXPECT_TRUE(g_utf8_validate(answer.message.c_str(), -1, nullptr));
}

// Somebody swaps what the name stands for, again and again, while it is opened.
TEST_F(Opener, SwappedPathOpensNothingOfOthers)
{
  NEEDS_ROOT();
  std::string own = file("own", user, 0, 0600), secret = file("secret", 0, 0, 0600);
  fs::path name = dir / "name", spare = dir / "spare";
  std::atomic<bool> stop{false};
  struct stat mine;

  ASSERT_EQ(stat(own.c_str(), &mine), 0);
  fs::create_symlink(own, name);
  std::thread swapper([&] {
    for (unsigned i = 0; !stop; i++) {
      unlink(spare.c_str());
      if (i % 3 == 2)
        mkfifo(spare.c_str(), 0666);
      else if (symlink(i % 3 == 0 ? secret.c_str() : own.c_str(), spare.c_str()) < 0)
        break;
      if (rename(spare.c_str(), name.c_str()) < 0)
        break;
    }
  });
  for (int i = 0; i < 100; i++) {
    Answer answer;
    struct stat st;

    open(answer, user, group, {}, name);
    if (answer.fd < 0) {
      EXPECT_TRUE(answer.code == VIRTDISK_ERROR_ACCESS_DENIED ||
                  answer.code == VIRTDISK_ERROR_NOT_A_REGULAR_FILE)
          << answer.message;
      continue;
    }
    EXPECT_EQ(fstat(answer.fd, &st), 0); // no early way out: the thread must be joined
    EXPECT_EQ(st.st_ino, mine.st_ino);
  }
  stop = true;
  swapper.join();
}

// A new file of the caller's, and the loop run until it is there.
struct Making {
  VdNewFile *file = nullptr;
  bool done = false;
  int code = -1;

  ~Making()
  {
    vd_new_file_free(file);
  }
};

static void on_made(GObject *, GAsyncResult *result, gpointer user_data)
{
  auto *making = static_cast<Making *>(user_data);
  g_autoptr(GError) error = nullptr;

  making->file = vd_opener_create_finish(nullptr, result, &error);
  making->code = error != nullptr ? error->code : -1;
  making->done = true;
}

static void on_named(GObject *, GAsyncResult *result, gpointer user_data)
{
  auto *making = static_cast<Making *>(user_data);
  g_autoptr(GError) error = nullptr;

  vd_new_file_publish_finish(making->file, result, &error);
  making->code = error != nullptr ? error->code : -1;
  making->done = true;
}

struct NewFile : Opener {
  // A new file is closed in a thread, since closing may wait for its file system.
  ~NewFile() override
  {
    gint64 end = g_get_monotonic_time() + patience_ms * 1000;

    settle();
    while (count_fds() > fds_before && g_get_monotonic_time() < end)
      g_thread_yield();
  }

  void make(Making &making, uid_t uid, gid_t gid, const std::string &path)
  {
    g_autoptr(VdIdentity) identity = vd_identity_new(":1.7", uid, gid, nullptr, 0, 1);

    vd_opener_create_async(opener, identity, path.c_str(), nullptr, on_made, &making);
    wait_until([&] { return making.done; });
  }

  int publish(Making &making)
  {
    making.done = false;
    vd_new_file_publish_async(making.file, on_named, &making);
    wait_until([&] { return making.done; });
    return making.code;
  }

  size_t entries(const std::string &folder)
  {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
  }

  void life(const std::string &folder)
  {
    std::string path = folder + "/new.vhdx";
    struct stat st;
    Making making;

    make(making, user, group, path);
    ASSERT_NE(making.file, nullptr) << making.code;
    EXPECT_FALSE(fs::exists(path));
    EXPECT_EQ(write(vd_new_file_get_fd(making.file), "x", 1), 1);
    ASSERT_EQ(publish(making), -1);
    ASSERT_EQ(stat(path.c_str(), &st), 0);
    EXPECT_EQ(st.st_uid, user);
    EXPECT_EQ(st.st_gid, group);
    EXPECT_EQ(st.st_mode & 07777, 0600u);
    EXPECT_EQ(st.st_size, 1);
    vd_new_file_keep(making.file);
    vd_new_file_free(making.file);
    making.file = nullptr;
    settle();
    EXPECT_TRUE(fs::exists(path));
    EXPECT_EQ(entries(folder), 1u) << "no temporary file stays";
  }

  void no_life(const std::string &folder, bool published)
  {
    Making making;

    make(making, user, group, folder + "/other.vhdx");
    ASSERT_NE(making.file, nullptr) << making.code;
    if (published) {
      EXPECT_EQ(publish(making), -1);
    }
    vd_new_file_free(making.file);
    making.file = nullptr;
    settle();
    EXPECT_EQ(entries(folder), 0u);
  }
};

TEST_F(NewFile, IsTheCallersAndAppearsWhenPublished)
{
  NEEDS_ROOT();
  life(directory("d", user, group, 0755));
}

TEST_F(NewFile, GoesUnlessItIsKept)
{
  NEEDS_ROOT();
  std::string folder = directory("d", user, group, 0755);

  no_life(folder, false);
  no_life(folder, true);
}

TEST_F(NewFile, LivesAndGoesTheSameWhereItNeedsANameFromTheStart)
{
  NEEDS_ROOT();
  if (system("unshare -m true 2>/dev/null") != 0)
    GTEST_SKIP() << "needs a mount namespace, to hide proc";
  std::string folder = directory("d", user, group, 0755);

  use_program("exec /usr/bin/unshare -m /bin/sh -c '/bin/mount -t tmpfs none /proc && exec " VD_TEST_OPENER
              "'");
  no_life(folder, false);
  no_life(folder, true);
  life(folder);
}

TEST_F(NewFile, NeverReplacesAnything)
{
  NEEDS_ROOT();
  std::string folder = directory("d", user, group, 0755), path = folder + "/new.vhdx";
  Making early, late, link;

  make(late, user, group, path);
  ASSERT_NE(late.file, nullptr);
  std::ofstream(path) << "of somebody";
  make(early, user, group, path);
  EXPECT_EQ(early.code, VIRTDISK_ERROR_FILE_EXISTS);
  EXPECT_EQ(publish(late), VIRTDISK_ERROR_FILE_EXISTS);
  vd_new_file_free(late.file);
  late.file = nullptr;
  settle();
  EXPECT_EQ(fs::file_size(path), strlen("of somebody"));
  fs::create_symlink("nowhere", folder + "/link.vhdx");
  make(link, user, group, folder + "/link.vhdx");
  EXPECT_EQ(link.code, VIRTDISK_ERROR_FILE_EXISTS);
}

TEST_F(NewFile, NeedsTheRightsOfItsFolder)
{
  NEEDS_ROOT();
  std::string foreign = directory("d", 0, 0, 0755);
  Making denied, missing, dots, slash;

  make(denied, user, group, foreign + "/new.vhdx");
  EXPECT_EQ(denied.code, VIRTDISK_ERROR_ACCESS_DENIED);
  make(missing, user, group, foreign + "/none/new.vhdx");
  EXPECT_EQ(missing.code, VIRTDISK_ERROR_PATH_NOT_FOUND);
  make(dots, user, group, foreign + "/..");
  EXPECT_EQ(dots.code, VIRTDISK_ERROR_NOT_A_REGULAR_FILE);
  make(slash, user, group, foreign + "/new/");
  EXPECT_EQ(slash.code, VIRTDISK_ERROR_NOT_A_REGULAR_FILE);
}

// The name is looked up twice then.
TEST_F(Opener, WorksWithoutProc)
{
  NEEDS_ROOT();
  if (system("unshare -m true 2>/dev/null") != 0)
    GTEST_SKIP() << "needs a mount namespace, to hide proc";
  std::string own = file("own", user, 0, 0600), secret = file("secret", 0, 0, 0600);

  use_program("exec /usr/bin/unshare -m /bin/sh -c '/bin/mount -t tmpfs none /proc && exec " VD_TEST_OPENER
              "'");
  EXPECT_EQ(code(user, group, {}, own, VD_OPEN_WRITE), OPENED);
  EXPECT_EQ(code(user, group, {}, secret), VIRTDISK_ERROR_ACCESS_DENIED);
  EXPECT_EQ(code(user, group, {}, dir), VIRTDISK_ERROR_NOT_A_REGULAR_FILE);
}

TEST_F(Opener, InheritsTheSocketAndNothingElse)
{
  fs::path seen = dir / "seen";
  int held = ::open("/etc/passwd", O_RDONLY); // no O_CLOEXEC
  std::string text;

  use_program("{ /usr/bin/env; exec /bin/ls -l /proc/self/fd; } > " + seen.string());
  setenv("VIRTDISK_TEST_SECRET", "1", 1);
  EXPECT_EQ(code(getuid(), getgid(), {}, dir), VIRTDISK_ERROR_INTERNAL);
  settle();
  close(held);
  unsetenv("VIRTDISK_TEST_SECRET");
  std::getline(std::ifstream(seen), text, '\0');
  EXPECT_EQ(text.find("VIRTDISK_TEST_SECRET"), std::string::npos) << text;
  EXPECT_EQ(text.find("/etc/passwd"), std::string::npos) << text;
  EXPECT_NE(text.find("0 -> /dev/null"), std::string::npos) << text;
  EXPECT_NE(text.find("2 -> /dev/null"), std::string::npos) << text;
  EXPECT_NE(text.find("3 -> socket:"), std::string::npos) << text;
  EXPECT_EQ(text.find("5 -> "), std::string::npos) << text; // 4 is ls' own
}

TEST_F(Opener, HangingOpenerIsKilledAtItsDeadline)
{
  Answer answer;

  use_program("kill -STOP $$"); // even so
  vd_opener_set_deadline(opener, 50);
  open(answer, getuid(), getgid(), {}, dir);
  EXPECT_EQ(answer.code, VIRTDISK_ERROR_TIMED_OUT);
  EXPECT_NE(answer.message.find("50 ms"), std::string::npos) << answer.message;
}

TEST_F(Opener, CancelledOpenIsAborted)
{
  g_autoptr(GCancellable) cancellable = g_cancellable_new();
  Answer answer, late;

  use_program("kill -STOP $$");
  start(answer, getuid(), getgid(), {}, dir, VD_OPEN_READ, cancellable);
  g_cancellable_cancel(cancellable);
  wait_until([&] { return answer.done; });
  EXPECT_EQ(answer.code, VIRTDISK_ERROR_OPERATION_ABORTED);
  start(late, getuid(), getgid(), {}, dir, VD_OPEN_READ, cancellable);
  wait_until([&] { return late.done; });
  EXPECT_EQ(late.code, VIRTDISK_ERROR_OPERATION_ABORTED);
}

TEST_F(Opener, OpenerThatGivesNoAnswerIsNamed)
{
  for (const char *script :
       {"exit 0", "exit 1", "kill -KILL $$", "printf xyz >&3", "printf '%0100d' 0 >&3"}) {
    use_program(script);
    EXPECT_EQ(code(getuid(), getgid(), {}, dir), VIRTDISK_ERROR_INTERNAL) << script;
  }
  vd_opener_unref(opener);
  opener = vd_opener_new("/nonexistent/virtdisk-opener");
  EXPECT_EQ(code(getuid(), getgid(), {}, dir), VIRTDISK_ERROR_NO_RESOURCES);
}

TEST_F(Opener, OneUserCannotTakeAllOpeners)
{
  g_autoptr(GCancellable) cancellable = g_cancellable_new();
  std::vector<Answer> hanging(VD_OPENER_MAX_PER_UID);
  Answer beyond, others;

  use_program("kill -STOP $$");
  for (Answer &answer : hanging)
    start(answer, user, group, {}, dir, VD_OPEN_READ, cancellable);
  open(beyond, user, group, {}, dir);
  EXPECT_EQ(beyond.code, VIRTDISK_ERROR_LIMIT_EXCEEDED);
  vd_opener_set_deadline(opener, 50);
  open(others, other_user, group, {}, dir);
  EXPECT_EQ(others.code, VIRTDISK_ERROR_TIMED_OUT) << "another user was let in";
  g_cancellable_cancel(cancellable);
  settle();
  for (Answer &answer : hanging)
    EXPECT_EQ(answer.code, VIRTDISK_ERROR_OPERATION_ABORTED);
  EXPECT_EQ(code(user, group, {}, dir), VIRTDISK_ERROR_TIMED_OUT)
      << "places come back when children are gone";
}

TEST_F(Opener, MayGoWhileItsChildrenRun)
{
  Answer answer;
  std::string own = file("own", getuid(), getgid(), 0644);

  start(answer, getuid(), getgid(), {}, own);
  vd_opener_unref(opener);
  opener = vd_opener_new(VD_TEST_OPENER);
  wait_until([&] { return answer.done; });
  EXPECT_GE(answer.fd, 0) << answer.message;
}
