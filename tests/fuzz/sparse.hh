// SPDX-License-Identifier: LGPL-2.1-or-later
// A whole image as a short input: its size, then pieces, each with its place. What lies between is a hole.
#pragma once

#include <memory>
#include <sys/stat.h>

#include "fuzz/fuzz.hh"

constexpr uint64_t kMaxFuzzedFile = UINT64_C(1) << 44;

inline images::Bytes pack(const images::File &file)
{
  constexpr size_t kPiece = 64;
  struct stat st = {};
  images::Bytes packed(8);

  must(fstat(file.fd(), &st) == 0);
  images::put_le(packed, 0, static_cast<uint64_t>(st.st_size), 8);
  for (off_t at = lseek(file.fd(), 0, SEEK_DATA); at >= 0 && at < st.st_size;
       at = lseek(file.fd(), at, SEEK_DATA)) {
    images::Bytes page(4096);

    page.resize(static_cast<size_t>(std::max<ssize_t>(0, pread(file.fd(), page.data(), page.size(), at))));
    for (size_t i = 0; i < page.size(); i += kPiece) {
      images::Bytes head(10), piece(page.begin() + static_cast<long>(i),
                                    page.begin() + static_cast<long>(std::min(i + kPiece, page.size())));

      if (piece == images::Bytes(piece.size()))
        continue;
      images::put_le(head, 0, static_cast<uint64_t>(at) + i, 8);
      images::put_le(head, 8, piece.size(), 2);
      packed = images::joined(images::joined(packed, head), piece);
    }
    at += 4096;
  }
  return packed;
}

inline std::unique_ptr<images::File> unpack(Input &input)
{
  auto file = std::make_unique<images::File>(images::Bytes(), input.number(8) % kMaxFuzzedFile);

  while (!input.empty()) {
    uint64_t offset = input.number(8) % kMaxFuzzedFile;
    size_t length = input.number(2) % 4097;

    file->put(offset, input.bytes(length));
  }
  return file;
}
