// SPDX-License-Identifier: LGPL-2.1-or-later
// What reading an image may cost at most, whatever is in it. Each test of a file that includes this is
// measured: the time of the processor, which a busy machine does not make longer, memory, and bytes read.
#pragma once

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <sys/resource.h>
#include <unistd.h>

namespace images
{

// Memory that is kept to find its use after it was freed.
#ifdef __has_feature // clang's word for it
#if __has_feature(address_sanitizer)
#define VD_COST_SLACK 8
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define VD_COST_SLACK 8
#endif
#ifndef VD_COST_SLACK
#define VD_COST_SLACK 1
#endif
constexpr uint64_t kCostSlack = VD_COST_SLACK;
constexpr uint64_t kCostTime = kCostSlack * 2000000;      // microseconds
constexpr uint64_t kCostMemory = kCostSlack * (64 << 10); // KiB
constexpr uint64_t kCostRead = UINT64_C(640) << 20;       // bytes: the longest table there is, once

class Cost : public testing::EmptyTestEventListener
{
public:
  // Images are made in memory too: a test of a large one begins when it is made.
  static void begin()
  {
    reset_peak();
    start() = now();
  }
  // Microseconds of processor time since then.
  static uint64_t time()
  {
    return now().time - start().time;
  }
  void OnTestStart(const testing::TestInfo &) override
  {
    begin();
  }
  void OnTestEnd(const testing::TestInfo &) override
  {
    Figures end = now(), first = start();

    EXPECT_LT(end.time - first.time, kCostTime) << "microseconds of processor time";
    EXPECT_LT(end.read - first.read, kCostRead) << "bytes read";
    EXPECT_LT(end.peak - std::min(end.peak, first.resident), kCostMemory) << "KiB of memory";
    if (getenv("VIRTDISK_TEST_COST") != nullptr)
      printf("%" PRIu64 " us, %" PRIu64 " bytes read, %" PRIu64 " KiB\n", end.time - first.time,
             end.read - first.read, end.peak - std::min(end.peak, first.resident));
  }

private:
  struct Figures {
    uint64_t time, read, resident, peak; // microseconds, bytes, KiB, KiB
  };
  static Figures &start()
  {
    static Figures figures;

    return figures;
  }
  // The number behind a name in a file of the kernel's; 0: not there.
  static uint64_t field(const char *path, const std::string &name)
  {
    std::ifstream file(path);
    std::string line;

    while (std::getline(file, line))
      if (line.compare(0, name.size(), name) == 0)
        return strtoull(line.c_str() + name.size(), nullptr, 10);
    return 0;
  }
  // Where the kernel does not let us, the peak is that of all tests so far.
  static void reset_peak()
  {
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
      return;
    if (write(fd, "5", 1) != 1)
      perror("/proc/self/clear_refs");
    close(fd);
  }
  static Figures now()
  {
    struct rusage used = {};

    getrusage(RUSAGE_SELF, &used);
    return {static_cast<uint64_t>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000 +
                static_cast<uint64_t>(used.ru_utime.tv_usec + used.ru_stime.tv_usec),
            field("/proc/self/io", "rchar:"), field("/proc/self/status", "VmRSS:"),
            field("/proc/self/status", "VmHWM:")};
  }
};

// Ours hears of the end of a test before those that print it.
inline const bool kCostIsMeasured = (testing::UnitTest::GetInstance()->listeners().Append(new Cost), true);

} // namespace images
