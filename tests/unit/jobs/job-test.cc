// SPDX-License-Identifier: LGPL-2.1-or-later
// Jobs and the table of them: names, ends, what is kept, what the next run of the service says.
#include <gtest/gtest.h>
#include <glib/gstdio.h>
#include <string>
#include <thread>
#include <vector>

extern "C" {
#include "jobs/job.h"
#include "virtdisk-error.h"
}

namespace
{

class Jobs : public testing::Test
{
protected:
  Jobs()
  {
    rundir_ = g_dir_make_tmp("virtdisk-test-XXXXXX", nullptr);
    jobs_ = vd_jobs_new(rundir_);
    listen();
  }
  ~Jobs() override
  {
    g_clear_object(&jobs_);
    vd_identity_unref(owner_);
    vd_identity_unref(other_);
    g_autofree char *folder = g_build_filename(rundir_, "jobs", nullptr);
    for (const std::string &name : records())
      g_unlink((std::string(folder) + "/" + name).c_str());
    g_rmdir(folder);
    EXPECT_EQ(g_rmdir(rundir_), 0);
    g_free(rundir_);
  }
  void listen()
  {
    for (const char *name : {"job-added", "job-changed", "job-ended", "job-removed"})
      g_signal_connect_data(
          jobs_, name, G_CALLBACK(on_signal), new Signal{name, this},
          [](gpointer data, GClosure *) { delete static_cast<Signal *>(data); },
          static_cast<GConnectFlags>(0));
  }
  std::vector<std::string> records()
  {
    std::vector<std::string> names;
    g_autofree char *folder = g_build_filename(rundir_, "jobs", nullptr);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, nullptr);

    for (const char *name; dir != nullptr && (name = g_dir_read_name(dir)) != nullptr;)
      names.push_back(name);
    return names;
  }
  VdJob *begin(const char *token = nullptr, gboolean detached = FALSE, GError **error = nullptr)
  {
    VdJobSpec spec = {VD_JOB_COMPACT, "/srv/a.vhdx", owner_, token, detached, &charges_, on_charge_freed};

    charges_++;
    return vd_job_begin(jobs_, &spec, error);
  }
  static GError *aborted()
  {
    return g_error_new_literal(VIRTDISK_ERROR, VIRTDISK_ERROR_OPERATION_ABORTED, "cancelled");
  }
  // Another run of the service, in the same place.
  void restart()
  {
    g_clear_object(&jobs_);
    jobs_ = vd_jobs_new(rundir_);
    listen();
    vd_jobs_restore(jobs_);
  }
  guint count()
  {
    g_autoptr(GPtrArray) list = vd_jobs_list(jobs_);

    return list->len;
  }

  struct Signal {
    std::string name;
    Jobs *test;
  };
  static void on_signal(VdJobs *, VdJob *job, gpointer data)
  {
    auto *signal = static_cast<Signal *>(data);

    signal->test->signals_.push_back(signal->name + " " + vd_job_state_word(job->state));
  }
  static void on_charge_freed(gpointer count)
  {
    --*static_cast<int *>(count);
  }

  char *rundir_;
  VdJobs *jobs_;
  VdIdentity *owner_ = vd_identity_new(":1.7", 1000, 1000, nullptr, 0, 0);
  VdIdentity *other_ = vd_identity_new(":1.8", 1001, 1001, nullptr, 0, 0);
  int charges_ = 0;
  std::vector<std::string> signals_;
};

TEST_F(Jobs, RunsAndSucceeds)
{
  g_autoptr(VdJob) job = begin();
  VdJobResults results = {};

  ASSERT_NE(job, nullptr);
  EXPECT_EQ(job->state, VD_JOB_RUNNING);
  EXPECT_EQ(vd_jobs_find(jobs_, job->id), job);
  EXPECT_EQ(records().size(), 1u);
  EXPECT_EQ(charges_, 1);
  results.copied = 5;
  results.handle = g_strdup("abc");
  vd_job_end(job, &results, nullptr);
  EXPECT_EQ(job->state, VD_JOB_DONE);
  EXPECT_EQ(job->results.copied, 5u);
  EXPECT_STREQ(job->results.handle, "abc");
  EXPECT_EQ(results.handle, nullptr);
  EXPECT_EQ(vd_progress_fraction(&job->progress), 1);
  EXPECT_TRUE(records().empty());
  EXPECT_EQ(charges_, 0) << "what has ended is not charged for";
  EXPECT_EQ(vd_jobs_find(jobs_, job->id), job) << "it is kept for a while";
  vd_job_release(job);
  EXPECT_EQ(count(), 0u);
  EXPECT_EQ(signals_, (std::vector<std::string>{"job-added running", "job-ended done", "job-removed done"}));
}

TEST_F(Jobs, FailsOrIsCancelled)
{
  g_autoptr(VdJob) failed = begin();
  g_autoptr(VdJob) cancelled = begin();
  g_autoptr(VdJob) late = begin();

  vd_job_end(failed, nullptr, aborted());
  EXPECT_EQ(failed->state, VD_JOB_FAILED) << "nobody has cancelled it";
  vd_job_cancel(cancelled);
  EXPECT_TRUE(g_cancellable_is_cancelled(cancelled->cancellable));
  EXPECT_EQ(cancelled->state, VD_JOB_RUNNING);
  vd_job_end(cancelled, nullptr, aborted());
  EXPECT_EQ(cancelled->state, VD_JOB_CANCELLED);
  vd_job_cancel(late);
  vd_job_end(late, nullptr, g_error_new_literal(VIRTDISK_ERROR, VIRTDISK_ERROR_DISK_FULL, "full"));
  EXPECT_EQ(late->state, VD_JOB_FAILED) << "it was not the cancelling that ended it";
}

TEST_F(Jobs, CannotBeReleasedWhileItRuns)
{
  g_autoptr(VdJob) job = begin();

  vd_job_release(job);
  EXPECT_EQ(count(), 1u);
  vd_job_end(job, nullptr, nullptr);
}

TEST_F(Jobs, IsCalledAsItsOwnerLikes)
{
  g_autoptr(VdJob) job = begin("nightly_1");
  g_autoptr(GError) error = nullptr;

  EXPECT_STREQ(job->id, "1000_nightly_1");
  EXPECT_EQ(begin("nightly_1", FALSE, &error), nullptr);
  EXPECT_TRUE(g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER));
  EXPECT_EQ(charges_, 1) << "what did not begin is not charged for";
  vd_job_end(job, nullptr, nullptr);
  g_autoptr(VdJob) again = begin("nightly_1");
  ASSERT_NE(again, nullptr) << "one that has ended makes room";
  EXPECT_EQ(vd_jobs_find(jobs_, "1000_nightly_1"), again);
  vd_job_end(again, nullptr, nullptr);
}

TEST_F(Jobs, WordsAreWords)
{
  EXPECT_TRUE(vd_job_token_is_valid("a"));
  EXPECT_TRUE(vd_job_token_is_valid(std::string(64, '_').c_str()));
  for (const char *word : {"", "A", "a-b", "a/b", "a b", "\xc3\xa4"})
    EXPECT_FALSE(vd_job_token_is_valid(word)) << word;
  EXPECT_FALSE(vd_job_token_is_valid(std::string(65, 'a').c_str()));
}

TEST_F(Jobs, OwnerThatLeavesCancelsWhatIsNotDetached)
{
  g_autoptr(VdJob) job = begin();
  g_autoptr(VdJob) detached = begin(nullptr, TRUE);

  vd_jobs_owner_gone(jobs_, ":1.8");
  EXPECT_FALSE(g_cancellable_is_cancelled(job->cancellable));
  vd_jobs_owner_gone(jobs_, ":1.7");
  EXPECT_TRUE(g_cancellable_is_cancelled(job->cancellable));
  EXPECT_FALSE(g_cancellable_is_cancelled(detached->cancellable));
  vd_job_end(job, nullptr, aborted());
  vd_job_end(detached, nullptr, nullptr);
}

TEST_F(Jobs, ProgressComesFromAnyThread)
{
  g_autoptr(VdJob) job = begin();

  std::thread([&] {
    for (guint64 i = 0; i <= 1000; i++)
      vd_job_tell(job, i, 2000);
  }).join();
  EXPECT_FALSE(job->progress.is_valid) << "it is written on the main loop";
  while (g_main_context_iteration(nullptr, FALSE))
    ;
  EXPECT_TRUE(job->progress.is_valid);
  EXPECT_EQ(vd_progress_fraction(&job->progress), 0.5);
  EXPECT_EQ(signals_, (std::vector<std::string>{"job-added running", "job-changed running"}));
  vd_job_tell(job, 5, 10);
  vd_job_end(job, nullptr, nullptr);
  while (g_main_context_iteration(nullptr, FALSE))
    ;
  EXPECT_EQ(vd_progress_fraction(&job->progress), 1) << "a word that comes late counts no more";
}

TEST_F(Jobs, WhoTalksMuchIsNotRepeatedAsOften)
{
  g_autoptr(VdJob) job = begin();
  gint64 first, second;

  vd_job_tell(job, 1, 10);
  while (signals_.size() < 2)
    g_main_context_iteration(nullptr, TRUE);
  first = g_get_monotonic_time();
  vd_job_tell(job, 2, 10);
  vd_job_tell(job, 3, 10);
  while (signals_.size() < 3)
    g_main_context_iteration(nullptr, TRUE);
  second = g_get_monotonic_time();
  EXPECT_GE(second - first, 200000) << "microseconds";
  EXPECT_EQ(job->progress.current, 3u);
  vd_job_end(job, nullptr, nullptr);
}

TEST_F(Jobs, NextRunSaysWhatWasInterrupted)
{
  std::string word(VD_JOB_MAX_TOKEN, 'w');
  g_autoptr(VdJob) job = begin(word.c_str(), TRUE);
  std::string id = job->id;
  gint64 started = job->started;

  restart();
  VdJob *found = vd_jobs_find(jobs_, id.c_str());
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->state, VD_JOB_FAILED);
  EXPECT_EQ(found->error->code, VIRTDISK_ERROR_OPERATION_ABORTED);
  EXPECT_EQ(found->operation, VD_JOB_COMPACT);
  EXPECT_STREQ(found->path, "/srv/a.vhdx");
  EXPECT_EQ(found->uid, 1000u);
  EXPECT_EQ(found->started, started);
  EXPECT_TRUE(found->detached);
  EXPECT_TRUE(records().empty()) << "it is told once";
  restart();
  EXPECT_EQ(count(), 0u);
}

TEST_F(Jobs, RecordsThatAreNoneAreNotBelieved)
{
  g_autoptr(VdJob) job = begin();
  g_autofree char *record = g_build_filename(rundir_, "jobs", records()[0].c_str(), nullptr);
  g_autofree char *text = nullptr;

  ASSERT_TRUE(g_file_get_contents(record, &text, nullptr, nullptr));
  for (const char *change :
       {"Operation=2:Operation=77", "Id=:Id=../", "Version=1:Version=2", "Uid=1000:Uid=x"}) {
    g_auto(GStrv) words = g_strsplit(change, ":", 2);
    g_auto(GStrv) parts = g_strsplit(text, words[0], 2);

    ASSERT_NE(parts[1], nullptr) << text;
    g_autofree char *broken = g_strconcat(parts[0], words[1], parts[1], nullptr);
    ASSERT_TRUE(g_file_set_contents_full(record, broken, -1, G_FILE_SET_CONTENTS_NONE, 0600, nullptr));
    restart();
    EXPECT_EQ(count(), 0u) << change;
    EXPECT_TRUE(records().empty()) << change;
  }
}

TEST_F(Jobs, OldestOfTooManyGoes)
{
  g_autofree char *first = nullptr;

  for (int i = 0; i <= VD_JOB_MAX_KEPT; i++) {
    g_autoptr(VdJob) job = begin();

    if (i == 0)
      first = g_strdup(job->id);
    job->started = i;
    vd_job_end(job, nullptr, nullptr);
  }
  EXPECT_EQ(count(), static_cast<guint>(VD_JOB_MAX_KEPT));
  EXPECT_EQ(vd_jobs_find(jobs_, first), nullptr);
}

} // namespace
