/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "messages.h"

#include <string.h>

#include "virtdisk-error.h"

static const VdMessage messages[VD_N_SAYINGS] = {
    [VD_SAYING_OPENED] = {"“{name}” is open", "You can read its files in {place}; nothing in it is changed.",
                          VD_NEXT_EJECT, VD_TONE_KEEP},
    [VD_SAYING_OPENED_WRITABLE] =
        {"“{name}” is open", "Changes to the files in {place} go into the image. Eject it when you are done.",
         VD_NEXT_EJECT, VD_TONE_KEEP},
    [VD_SAYING_OPENED_DOWNLOADED] =
        {"“{name}” is open",
         "It was downloaded from {place}: programs in it are not started from where they lie. "
         "Copy out only what you trust.",
         VD_NEXT_EJECT, VD_TONE_KEEP},
    [VD_SAYING_FELL_BACK] =
        {"“{name}” can only be read",
         "Its file system was not closed properly when it was last used. Let the system that it "
         "belongs to check it, then open it again with write access.",
         VD_NEXT_EJECT, VD_TONE_WARN},
    [VD_SAYING_SOME_NOT_MOUNTED] =
        {"“{name}” is open, but not all of it",
         "A part of it cannot be shown: {reason}. What can be shown is in {place}.", VD_NEXT_EJECT,
         VD_TONE_WARN},
    [VD_SAYING_OPEN_READ_ONLY] = {"“{name}” is open for reading",
                                  "To change its files, eject it, then open it with write access.",
                                  VD_NEXT_EJECT, VD_TONE_WARN},
    [VD_SAYING_NO_FILE_SYSTEM] =
        {"“{name}” holds no files",
         "There is no file system on it that this computer knows. If it is a new disk, open it "
         "with write access, then format it in a disk utility.",
         VD_NEXT_OPEN_WRITABLE, VD_TONE_WARN},
    [VD_SAYING_BLANK_WRITABLE] =
        {"“{name}” is ready to be formatted",
         "It is there as the disk {place}. Format it in a disk utility, then open it again.", VD_NEXT_EJECT,
         VD_TONE_KEEP},
    [VD_SAYING_ENCRYPTED] =
        {"“{name}” is encrypted",
         "Unlock it with its passphrase: it is in the list of devices of the file manager.", VD_NEXT_EJECT,
         VD_TONE_KEEP},
    [VD_SAYING_BITLOCKER] =
        {"“{name}” is encrypted with BitLocker",
         "Unlock it with its password or recovery key: it is in the list of devices of the file manager.",
         VD_NEXT_EJECT, VD_TONE_KEEP},
    [VD_SAYING_NO_UDISKS] =
        {"“{name}” is attached, but its files cannot be shown",
         "It is there as the disk {place}, but UDisks, which mounts disks, is not available. Install "
         "udisks2, then open the image again.",
         VD_NEXT_EJECT, VD_TONE_WARN},
    [VD_SAYING_NOT_MOUNTED] =
        {"The files in “{name}” cannot be shown",
         "{reason}. Check the image; if it is in order, its file system is damaged or unknown here.",
         VD_NEXT_CHECK, VD_TONE_WARN},
    [VD_SAYING_MOUNT_REFUSED] =
        {"You may not mount “{name}”",
         "{reason}. Open it again and give the password when asked, or ask your administrator.", VD_NEXT_OPEN,
         VD_TONE_WARN},
    [VD_SAYING_IN_USE] = {"“{name}” is in use", "{reason}. Close or eject it there, then open it again.",
                          VD_NEXT_OPEN, VD_TONE_WARN},
    [VD_SAYING_NO_ACCESS] = {"You may not open “{name}”",
                             "{reason}. Ask its owner for permission to the file.", VD_NEXT_NOTHING,
                             VD_TONE_WARN},
    [VD_SAYING_NOT_ALLOWED] =
        {"“{name}” was not opened",
         "You are not permitted to do this with disk images. Ask your administrator, or open it for "
         "reading only.",
         VD_NEXT_OPEN, VD_TONE_WARN},
    [VD_SAYING_DISMISSED] = {"“{name}” was not opened",
                             "No password was given. Without one you can open it for reading only.",
                             VD_NEXT_OPEN, VD_TONE_INFORM},
    [VD_SAYING_NOT_FOUND] = {"“{name}” is not there any more",
                             "The file was moved or deleted. Look for it in another folder, or in the trash.",
                             VD_NEXT_NOTHING, VD_TONE_WARN},
    [VD_SAYING_NOT_AN_IMAGE] = {"“{name}” is not a disk image", "{reason}. Open it with another program.",
                                VD_NEXT_NOTHING, VD_TONE_WARN},
    [VD_SAYING_DAMAGED] = {"“{name}” is damaged",
                           "{reason}. Check it to see what can be repaired, or copy or download it again.",
                           VD_NEXT_CHECK, VD_TONE_WARN},
    [VD_SAYING_PARENT_MISSING] =
        {"“{name}” is not complete",
         "It holds only the changes to another image: {reason}. Put that image beside it, then "
         "open it again.",
         VD_NEXT_OPEN, VD_TONE_WARN},
    [VD_SAYING_WRONG_PLACE] =
        {"“{name}” cannot be opened where it is",
         "{reason}. Copy it to another folder or disk, without compression, and open the copy.",
         VD_NEXT_NOTHING, VD_TONE_WARN},
    [VD_SAYING_WRITE_PROTECTED] = {"“{name}” cannot be changed",
                                   "{reason}. Open it for reading, or copy it first.", VD_NEXT_OPEN,
                                   VD_TONE_WARN},
    [VD_SAYING_UNSUPPORTED] = {"“{name}” is of a kind that cannot be opened",
                               "{reason}. Convert it on the system that it comes from.", VD_NEXT_NOTHING,
                               VD_TONE_WARN},
    [VD_SAYING_TOO_MANY] = {"“{name}” was not opened",
                            "Too many images are open. Eject one, then open this one again.", VD_NEXT_OPEN,
                            VD_TONE_WARN},
    [VD_SAYING_NO_SERVICE] =
        {"“{name}” was not opened",
         "The service that opens disk images is not available: {reason}. Ask your administrator to "
         "start virtdiskd.",
         VD_NEXT_OPEN, VD_TONE_WARN},
    [VD_SAYING_NO_SPACE] = {"There is no space left for “{name}”",
                            "{reason}. Delete what is not needed, then try again.", VD_NEXT_NOTHING,
                            VD_TONE_WARN},
    [VD_SAYING_FAILED] = {"That did not work with “{name}”",
                          "{reason}. Try again; the system's journal says more.", VD_NEXT_NOTHING,
                          VD_TONE_WARN},
    [VD_SAYING_EJECTED] = {"“{name}” was ejected", "You can move, copy or delete the file now.",
                           VD_NEXT_NOTHING, VD_TONE_INFORM},
    [VD_SAYING_STILL_BUSY] = {"“{name}” is still in use",
                              "{reason}. Close the files and programs that use it, then eject it again.",
                              VD_NEXT_EJECT, VD_TONE_WARN},
    [VD_SAYING_NOT_OPEN] = {"“{name}” is not open", "There is nothing to eject; open it to see its files.",
                            VD_NEXT_OPEN, VD_TONE_INFORM},
    [VD_SAYING_CHECK_GOOD] = {"“{name}” is in order", "No faults were found in the image. You can open it.",
                              VD_NEXT_OPEN, VD_TONE_INFORM},
    [VD_SAYING_CHECK_MINOR] =
        {"“{name}” has small faults",
         "{reason}. No data is lost; “virtdisk check --repair” in a terminal mends them.", VD_NEXT_OPEN,
         VD_TONE_WARN},
    [VD_SAYING_CHECK_SERIOUS] =
        {"“{name}” is damaged",
         "{reason}. Make a copy of the file before you try “virtdisk check --repair” in a terminal.",
         VD_NEXT_NOTHING, VD_TONE_WARN},
    [VD_SAYING_COMPACTED] = {"“{name}” is compacted", "The file is {reason} smaller. You can open it again.",
                             VD_NEXT_OPEN, VD_TONE_INFORM},
    [VD_SAYING_CREATED] =
        {"“{name}” was created",
         "It is an empty disk of {reason} that takes up space only as it is filled. Open it with write "
         "access, then format it in a disk utility.",
         VD_NEXT_OPEN_WRITABLE, VD_TONE_INFORM},
};

static const struct {
  const char *key;
  const char *label;
} nexts[VD_N_NEXT] = {
    [VD_NEXT_NOTHING] = {NULL, NULL},
    [VD_NEXT_EJECT] = {"eject", "Eject"},
    [VD_NEXT_OPEN] = {"open", "Open"},
    [VD_NEXT_OPEN_WRITABLE] = {"open-writable", "Open with write access"},
    [VD_NEXT_CHECK] = {"check", "Check"},
};

const VdMessage *vd_message_get(VdSaying saying)
{
  g_return_val_if_fail(saying < VD_N_SAYINGS, &messages[VD_SAYING_FAILED]);
  return &messages[saying];
}

const char *vd_next_key(VdNext next)
{
  return nexts[next].key;
}

const char *vd_next_label(VdNext next)
{
  return nexts[next].label;
}

VdNext vd_next_of_key(const char *key)
{
  for (guint next = VD_NEXT_NOTHING + 1; next < VD_N_NEXT; next++)
    if (g_strcmp0(nexts[next].key, key) == 0)
      return (VdNext)next;
  return VD_NEXT_NOTHING;
}

/* Length of the blank that begins at text, 0: none does. */
static gsize blank_at(const char *text, const VdBlanks *blanks, const char **ret_value)
{
  const struct {
    const char *blank;
    const char *value;
  } known[] = {{"{name}", blanks->name}, {"{place}", blanks->place}, {"{reason}", blanks->reason}};

  for (gsize i = 0; i < G_N_ELEMENTS(known); i++) {
    if (g_str_has_prefix(text, known[i].blank)) {
      *ret_value = known[i].value != NULL ? known[i].value : "";
      return strlen(known[i].blank);
    }
  }
  return 0;
}

char *vd_message_fill(const char *pattern, const VdBlanks *blanks)
{
  GString *text = g_string_new(NULL);

  for (const char *at = pattern; *at != '\0';) {
    const char *value;
    gsize length = blank_at(at, blanks, &value);

    if (length > 0)
      g_string_append(text, value);
    else
      g_string_append_c(text, *at);
    at += length > 0 ? length : 1;
  }
  return g_string_free(text, FALSE);
}

static VdSaying saying_of_code(VirtdiskError code)
{
  switch (code) {
  case VIRTDISK_ERROR_SHARING_VIOLATION:
  case VIRTDISK_ERROR_DISK_ALREADY_OWNED:
  case VIRTDISK_ERROR_DISK_ONLINE_AND_WRITABLE:
  case VIRTDISK_ERROR_VHD_INVALID_STATE:
    return VD_SAYING_IN_USE;
  case VIRTDISK_ERROR_BUSY:
    return VD_SAYING_STILL_BUSY;
  case VIRTDISK_ERROR_ACCESS_DENIED:
    return VD_SAYING_NO_ACCESS;
  case VIRTDISK_ERROR_PRIVILEGE_NOT_HELD:
  case VIRTDISK_ERROR_AUTHORIZATION_REQUIRED:
    return VD_SAYING_NOT_ALLOWED;
  case VIRTDISK_ERROR_AUTHORIZATION_DISMISSED:
    return VD_SAYING_DISMISSED;
  case VIRTDISK_ERROR_FILE_NOT_FOUND:
  case VIRTDISK_ERROR_PATH_NOT_FOUND:
    return VD_SAYING_NOT_FOUND;
  case VIRTDISK_ERROR_NOT_FOUND:
  case VIRTDISK_ERROR_NOT_VIRTUAL_DISK:
    return VD_SAYING_NOT_OPEN;
  case VIRTDISK_ERROR_PROVIDER_NOT_FOUND:
  case VIRTDISK_ERROR_NOT_A_REGULAR_FILE:
  case VIRTDISK_ERROR_VHD_FORMAT_UNKNOWN:
    return VD_SAYING_NOT_AN_IMAGE;
  case VIRTDISK_ERROR_VHD_DRIVE_FOOTER_MISSING:
  case VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CHECKSUM_MISMATCH:
  case VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CORRUPT:
  case VIRTDISK_ERROR_VHD_SPARSE_HEADER_CHECKSUM_MISMATCH:
  case VIRTDISK_ERROR_VHD_SPARSE_HEADER_CORRUPT:
  case VIRTDISK_ERROR_VHD_BLOCK_ALLOCATION_TABLE_CORRUPT:
  case VIRTDISK_ERROR_VHD_BITMAP_MISMATCH:
  case VIRTDISK_ERROR_VHD_METADATA_READ_FAILURE:
  case VIRTDISK_ERROR_VHD_INVALID_SIZE:
  case VIRTDISK_ERROR_VHD_INVALID_FILE_SIZE:
  case VIRTDISK_ERROR_VHD_INVALID_BLOCK_SIZE:
  case VIRTDISK_ERROR_FILE_CORRUPT:
  case VIRTDISK_ERROR_FILE_CHANGED:
  case VIRTDISK_ERROR_WORKER_LOST:
    return VD_SAYING_DAMAGED;
  case VIRTDISK_ERROR_VHD_PARENT_VHD_NOT_FOUND:
  case VIRTDISK_ERROR_VHD_PARENT_VHD_ACCESS_DENIED:
  case VIRTDISK_ERROR_VHD_CHILD_PARENT_ID_MISMATCH:
  case VIRTDISK_ERROR_VHD_CHILD_PARENT_TIMESTAMP_MISMATCH:
  case VIRTDISK_ERROR_VHD_CHILD_PARENT_SIZE_MISMATCH:
  case VIRTDISK_ERROR_VHD_DIFFERENCING_CHAIN_CYCLE_DETECTED:
  case VIRTDISK_ERROR_VHD_DIFFERENCING_CHAIN_ERROR_IN_PARENT:
    return VD_SAYING_PARENT_MISSING;
  case VIRTDISK_ERROR_UNSUPPORTED_COMPRESSION:
  case VIRTDISK_ERROR_FILE_ENCRYPTED:
  case VIRTDISK_ERROR_FILE_SYSTEM_LIMITATION:
  case VIRTDISK_ERROR_VIRTUAL_DISK_LIMITATION:
    return VD_SAYING_WRONG_PLACE;
  case VIRTDISK_ERROR_WRITE_PROTECT:
    return VD_SAYING_WRITE_PROTECTED;
  case VIRTDISK_ERROR_NOT_SUPPORTED:
  case VIRTDISK_ERROR_VHD_FORMAT_UNSUPPORTED_VERSION:
  case VIRTDISK_ERROR_VHD_SPARSE_HEADER_UNSUPPORTED_VERSION:
  case VIRTDISK_ERROR_VHD_INVALID_TYPE:
  case VIRTDISK_ERROR_UNSUPPORTED_DISK_SECTOR_SIZE:
    return VD_SAYING_UNSUPPORTED;
  case VIRTDISK_ERROR_LIMIT_EXCEEDED:
    return VD_SAYING_TOO_MANY;
  case VIRTDISK_ERROR_NO_RESOURCES:
    return VD_SAYING_NO_SERVICE;
  case VIRTDISK_ERROR_DISK_FULL:
    return VD_SAYING_NO_SPACE;
  default:
    return VD_SAYING_FAILED;
  }
}

VdSaying vd_saying_of_error(const GError *error)
{
  return error->domain == VIRTDISK_ERROR ? saying_of_code((VirtdiskError)error->code) : VD_SAYING_FAILED;
}

gboolean vd_saying_is_success(VdSaying saying)
{
  switch (saying) {
  case VD_SAYING_OPENED:
  case VD_SAYING_OPENED_WRITABLE:
  case VD_SAYING_OPENED_DOWNLOADED:
  case VD_SAYING_FELL_BACK:
  case VD_SAYING_SOME_NOT_MOUNTED:
  case VD_SAYING_ENCRYPTED:
  case VD_SAYING_BITLOCKER:
  case VD_SAYING_BLANK_WRITABLE:
  case VD_SAYING_EJECTED:
  case VD_SAYING_CHECK_GOOD:
  case VD_SAYING_COMPACTED:
  case VD_SAYING_CREATED:
    return TRUE;
  default:
    return FALSE;
  }
}
