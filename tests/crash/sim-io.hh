// SPDX-License-Identifier: LGPL-2.1-or-later
// A VdIo in memory: files that remember each write, flush, hole and truncation; completions in an order that
// a seed chooses; failures at the n-th operation; and what a power cut at any moment may leave of it all.
//
//   vd_sim::Io sim({.seed = 7});
//   unsigned leaf = sim.add(vd_sim::Image::from_fd(fd), true);
//   VdLayerSource source = sim.source(leaf, pages, true);      // reads through a memfd, writes through the
//   io
//   ...
//   sim.for_each_cut({}, [&](const vd_sim::Cut &cut, std::vector<vd_sim::Image> &images) { open and check });
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

extern "C" {
#include "engine/io.h"
#include "engine/layer.h"
}

namespace vd_sim
{

// The bytes of a file, with holes. Copies share pages.
class Image
{
public:
  static constexpr size_t page_size = 4096;

  static Image from_bytes(const std::vector<uint8_t> &bytes);
  static Image from_fd(int fd); // borrowed
  static Image of_size(uint64_t size);

  uint64_t size() const
  {
    return size_;
  }
  void write(uint64_t offset, const uint8_t *data, size_t length);
  void punch(uint64_t offset, uint64_t length); // keeps the size
  void truncate(uint64_t size);
  std::vector<uint8_t> read(uint64_t offset, size_t length) const; // behind the end: zeros
  int to_memfd() const;                                            // the caller closes it
  std::shared_ptr<int> own_fd() const;
  std::shared_ptr<int> shared_fd() const; // the same for all copies of it; not to be written
  void to_file(const std::string &path) const;

private:
  using Page = std::array<uint8_t, page_size>;

  using Pages = std::map<uint64_t, std::shared_ptr<Page>>;

  Pages &own_pages(); // nobody else's from now on
  Page &own(uint64_t number);
  void store(int fd) const;

  uint64_t size_ = 0;
  std::shared_ptr<Pages> pages_ = std::make_shared<Pages>();
  mutable std::shared_ptr<int> fd_; // with this content
};

struct Options {
  uint64_t seed = 0;          // 0: operations complete in the order of their submission, all in each round
  uint32_t alignment = 0;     // not 0: files ask for direct I/O of it, what is not aligned fails with EINVAL
  bool partial_faults = true; // a write that fails by fail() has written some of its first sectors (if seed)
};

// What was submitted and what completed, in order; reads are left out.
struct Event {
  enum class What { submitted, completed } what;
  VdIoKind kind;
  unsigned file;
  uint64_t offset, length;
  std::shared_ptr<const std::vector<uint8_t>> data; // WRITE
  uint64_t id;                                      // the same for both events of an operation
  int result;                                       // completed: 0 or -errno
  uint64_t applied;                                 // completed: bytes of it that are in the file
};

// One state that a power cut may leave.
struct Cut {
  enum class Kept { durable, completed, torn, chosen };

  size_t position; // events before this one have happened
  // Beside what is durable: nothing; all that completed; that and all in flight, but for a piece of the write
  // that was submitted last; a choice of it all, in flight too.
  Kept kept;
  uint64_t seed; // of the choice
  uint32_t atom; // writes may be torn at multiples of this, bytes; 0: never torn
};

struct Cuts {
  uint64_t seed = 1;
  unsigned choices = 2;      // states of kind `chosen` at each position
  uint32_t atom = 512;       // bytes
  size_t most = 4000;        // evenly chosen ones if there are more states than these
  size_t first_position = 0; // an index of log()
};

class Io
{
public:
  explicit Io(const Options &options = {});
  ~Io();
  Io(const Io &) = delete;
  Io &operator=(const Io &) = delete;

  VdIo *io();
  unsigned add(const Image &image, bool writable); // its index
  int fd(unsigned file) const;                     // a memfd with what completed; borrowed
  VdLayerSource source(unsigned file, VdPages *pages, bool writable);
  Image image(unsigned file) const; // what completed so far

  // Runs rounds until done() or nothing moves any more; returns done().
  bool run_until(const std::function<bool()> &done);
  void run_until_quiet(); // until nothing but held operations is in flight

  // The nth operation (0: the next) of a kind, or of any, that completes fails; forever: and all after it.
  void fail(uint64_t nth, int error, std::optional<VdIoKind> kind = {}, bool forever = false);
  void clear_faults();
  void shorten(unsigned file, uint64_t size); // behind everyone's back

  // Operations for which this is true do not complete as long as it is.
  std::function<bool(const VdIoOp &)> hold;

  uint64_t count(VdIoKind kind) const; // completed, failed ones too
  uint64_t operations() const;         // all kinds
  bool has_lost() const;               // a flush has failed
  size_t in_flight() const;
  // Writes whose buffer was changed between submission and completion: the file may hold any mix of both.
  uint64_t changed_in_flight() const;

  const std::vector<Event> &log() const;
  std::vector<Image> state(const Cut &cut);
  // Every position: durable, completed, torn, and as many choices as asked for.
  void for_each_cut(const Cuts &cuts, const std::function<void(const Cut &, std::vector<Image> &)> &check);

private:
  struct Impl;

  std::unique_ptr<Impl> impl_;
};

std::string describe(const Cut &cut); // for messages

} // namespace vd_sim
