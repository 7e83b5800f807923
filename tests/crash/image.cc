// SPDX-License-Identifier: LGPL-2.1-or-later
#include "sim-io.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

namespace vd_sim
{

constexpr size_t most_pieces = 256; // of one pwritev; Linux takes 1024

static void check(bool good, const char *what)
{
  if (!good)
    throw std::system_error(errno, std::generic_category(), what);
}

Image Image::from_bytes(const std::vector<uint8_t> &bytes)
{
  Image image;

  image.write(0, bytes.data(), bytes.size());
  return image;
}

Image Image::of_size(uint64_t size)
{
  Image image;

  image.size_ = size;
  return image;
}

Image Image::from_fd(int fd)
{
  struct stat stat;
  std::vector<uint8_t> buffer(1 << 20);

  check(fstat(fd, &stat) == 0, "fstat");
  Image image = of_size(static_cast<uint64_t>(stat.st_size));
  for (off_t at = lseek(fd, 0, SEEK_DATA); at >= 0 && at < stat.st_size;) {
    off_t end = lseek(fd, at, SEEK_HOLE);

    while (at < end) {
      ssize_t got =
          pread(fd, buffer.data(), std::min<size_t>(buffer.size(), static_cast<size_t>(end - at)), at);

      check(got > 0, "pread");
      image.write(static_cast<uint64_t>(at), buffer.data(), static_cast<size_t>(got));
      at += got;
    }
    at = lseek(fd, end, SEEK_DATA);
  }
  return image;
}

Image::Pages &Image::own_pages()
{
  fd_.reset();
  if (pages_.use_count() > 1)
    pages_ = std::make_shared<Pages>(*pages_);
  return *pages_;
}

Image::Page &Image::own(uint64_t number)
{
  std::shared_ptr<Page> &page = own_pages()[number];

  if (!page)
    page = std::make_shared<Page>(Page{});
  else if (page.use_count() > 1)
    page = std::make_shared<Page>(*page);
  return *page;
}

void Image::write(uint64_t offset, const uint8_t *data, size_t length)
{
  fd_.reset();
  size_ = std::max(size_, offset + length);
  while (length > 0) {
    size_t within = offset % page_size;
    size_t part = std::min(length, page_size - within);

    memcpy(own(offset / page_size).data() + within, data, part);
    offset += part;
    data += part;
    length -= part;
  }
}

void Image::punch(uint64_t offset, uint64_t length)
{
  uint64_t end = offset + length;
  Pages &pages = own_pages();
  auto page = pages.lower_bound(offset / page_size);

  while (page != pages.end() && page->first * page_size < end) {
    uint64_t start = page->first * page_size;
    uint64_t from = std::max(start, offset), to = std::min(start + page_size, end);

    if (to - from == page_size) {
      page = pages.erase(page);
      continue;
    }
    memset(own(page->first).data() + (from - start), 0, to - from);
    ++page;
  }
}

void Image::truncate(uint64_t size)
{
  fd_.reset();
  if (size < size_)
    punch(size, size_ - size);
  size_ = size;
}

std::vector<uint8_t> Image::read(uint64_t offset, size_t length) const
{
  std::vector<uint8_t> bytes(length);
  uint64_t end = offset + length;

  for (auto page = pages_->lower_bound(offset / page_size);
       page != pages_->end() && page->first * page_size < end; ++page) {
    uint64_t start = page->first * page_size;
    uint64_t from = std::max(start, offset), to = std::min(start + page_size, end);

    memcpy(bytes.data() + (from - offset), page->second->data() + (from - start), to - from);
  }
  return bytes;
}

void Image::store(int fd) const
{
  check(ftruncate(fd, static_cast<off_t>(size_)) == 0, "ftruncate");
  for (auto page = pages_->begin(); page != pages_->end();) {
    uint64_t offset = page->first * page_size;
    std::vector<iovec> pieces;
    ssize_t total = 0;

    // Neighbours together.
    for (; page != pages_->end() && pieces.size() < most_pieces &&
           page->first * page_size == offset + pieces.size() * page_size;
         ++page) {
      uint64_t left = size_ - std::min(size_, page->first * page_size);

      pieces.push_back({page->second->data(), static_cast<size_t>(std::min<uint64_t>(page_size, left))});
      total += static_cast<ssize_t>(pieces.back().iov_len);
    }
    check(pwritev(fd, pieces.data(), static_cast<int>(pieces.size()), static_cast<off_t>(offset)) == total,
          "pwritev");
  }
}

int Image::to_memfd() const
{
  int fd = memfd_create("sim-image", MFD_CLOEXEC);

  check(fd >= 0, "memfd_create");
  store(fd);
  return fd;
}

std::shared_ptr<int> Image::own_fd() const
{
  return std::shared_ptr<int>(new int(to_memfd()), [](int *fd) {
    close(*fd);
    delete fd;
  });
}

std::shared_ptr<int> Image::shared_fd() const
{
  if (!fd_)
    fd_ = own_fd();
  return fd_;
}

void Image::to_file(const std::string &path) const
{
  int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

  check(fd >= 0, path.c_str());
  store(fd);
  close(fd);
}

} // namespace vd_sim
