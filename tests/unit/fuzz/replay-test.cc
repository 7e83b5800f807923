// SPDX-License-Identifier: LGPL-2.1-or-later
// One fuzz target without libFuzzer: its seeds, and what comes of them by small changes that are the same in
// each run. With files as arguments it feeds those; with --write-seeds DIRECTORY it leaves its seeds there.
#include <gtest/gtest.h>
#include <fstream>
#include <iterator>
#include <random>
#include <sys/stat.h>

#include "fuzz/fuzz.hh"

using images::Bytes;

namespace
{

constexpr unsigned kMutationsPerSeed = 100;

// Exact size, so that a sanitizer sees one byte too many.
void feed(const Bytes &bytes)
{
  auto copy = std::make_unique<uint8_t[]>(bytes.size());

  std::copy(bytes.begin(), bytes.end(), copy.get());
  LLVMFuzzerTestOneInput(copy.get(), bytes.size());
}

void change(Bytes &bytes, std::mt19937 &random)
{
  const uint64_t numbers[] = {
      0, 1, 0x7f, 0xff, 0x1000, 0xffff, 0x80000000, 0xffffffff, UINT64_MAX - 4095, UINT64_MAX};
  size_t at = random() % (bytes.size() + 1), length = 1 + random() % 8;

  switch (random() % 6) {
  case 0:
    bytes.resize(at);
    break;
  case 1: // a number that is hard on arithmetic
    for (size_t i = 0, number = random() % 10; i < length && at + i < bytes.size(); i++)
      bytes[at + i] = static_cast<uint8_t>(numbers[number] >> (8 * i));
    break;
  case 2:
    bytes.insert(bytes.begin() + static_cast<long>(at), length, static_cast<uint8_t>(random()));
    break;
  case 3: // bytes from elsewhere in it
    for (size_t i = 0, from = random() % (bytes.size() + 1);
         i < length && at + i < bytes.size() && from + i < bytes.size(); i++)
      bytes[at + i] = bytes[from + i];
    break;
  default:
    if (at < bytes.size())
      bytes[at] ^= static_cast<uint8_t>(1 << random() % 8);
  }
}

int write_seeds(const std::string &directory)
{
  mkdir(directory.c_str(), 0777);
  for (const auto &[name, bytes] : fuzz_seeds())
    std::ofstream(directory + "/" + name)
        .write(reinterpret_cast<const char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return 0;
}

} // namespace

TEST(Fuzz, Nothing)
{
  feed({});
}

TEST(Fuzz, Seeds)
{
  ASSERT_FALSE(fuzz_seeds().empty());
  for (const auto &seed : fuzz_seeds())
    feed(seed.second);
}

TEST(Fuzz, SeedsWithSmallChanges)
{
  std::mt19937 random(1);

  for (const auto &seed : fuzz_seeds())
    for (unsigned i = 0; i < kMutationsPerSeed; i++) {
      Bytes bytes = seed.second;

      for (unsigned changes = 1 + random() % 4; changes > 0; changes--)
        change(bytes, random);
      feed(bytes);
    }
}

int main(int argc, char **argv)
{
  testing::InitGoogleTest(&argc, argv);
  if (argc == 3 && std::string(argv[1]) == "--write-seeds")
    return write_seeds(argv[2]);
  for (int i = 1; i < argc; i++) {
    std::ifstream file(argv[i], std::ios::binary);

    feed(Bytes(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()));
  }
  return argc > 1 ? 0 : RUN_ALL_TESTS();
}
