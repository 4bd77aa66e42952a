// Open files and descriptor tables to and from files.img, fdinfo-N.img, pipes-data.img,
// fifo-data.img, sk-queues.img, memfd.img, tcp-stream-INODE.img and what ghost_codec.h names.
// Private to image/.
#pragma once

#include <map>
#include <vector>

#include "base/error.h"
#include "image/proto/ferry.pb.h"
#include "image/proto/files.pb.h"
#include "image/store.h"
#include "image/terminal_codec.h"
#include "model/checkpoint.h"

namespace ferry::image {

// By id of the file.
using FerryFiles = std::map<model::FileId, wire::FerryFile>;

// Type numbers of Fdinfo and FileEntry.
enum class FileType : std::uint32_t {
    Regular = 1,
    Pipe = 2,
    Fifo = 3,
    InetSocket = 4,
    UnixSocket = 5,
    EventFd = 6,
    EventPoll = 7,
    Inotify = 8,
    SignalFd = 9,
    PacketSocket = 10,
    Terminal = 11,  // whose master the tree has; others are the character devices they are
    NetlinkSocket = 13,
    External = 16,
    TimerFd = 17,
    MemFd = 18,
    PidFd = 20,
};

[[nodiscard]] FileType type_of(const model::OpenFile& file);

// All files and what hangs on them. What the format has no field for is appended to extra.
Result<> put_files(const model::Checkpoint& checkpoint, ImageStore& into,
                   wire::FerryCheckpoint& extra);
Result<> get_files(const ImageStore& from, const FerryFiles& extra, TerminalRecords& terminals,
                   model::Checkpoint& into);

// One process's descriptors; number is its files_id.
Result<> put_descriptors(const model::Process& process,
                         const std::map<model::FileId, FileType>& types, std::uint32_t number,
                         ImageStore& into);
Result<std::vector<model::Descriptor>> get_descriptors(const ImageStore& from,
                                                       std::uint32_t number);

}  // namespace ferry::image
