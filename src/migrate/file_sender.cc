#include "migrate/file_sender.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <map>

#include "os/fd.h"

namespace ferry::migrate {
namespace {

class LinkDestination final : public files::Destination {
  public:
    LinkDestination(Link& link, const FileSender::OnSent& on_sent)
        : link_(link), on_sent_(on_sent) {}
    Result<std::vector<files::Wanted>> offer(std::span<const std::byte> records) override {
        TRY(link_.send(FrameType::Offered, records));
        return files::decode_wanted(TRY(link_.expect(FrameType::Wanted)).payload);
    }
    Result<> send(std::span<const std::byte> records) override {
        TRY(link_.send(FrameType::Trees, records));
        bytes_ += records.size();
        return on_sent_ ? on_sent_(bytes_) : Result<>();
    }

  private:
    Link& link_;
    const FileSender::OnSent& on_sent_;
    std::uint64_t bytes_ = 0;
};

}  // namespace

Result<FileSender> FileSender::open(const container::Container& container) {
    return FileSender(TRY(container::file_trees(container)));
}

Result<> FileSender::agree(Link& link) {
    const StorageBody asked = TRY(decode_storage(TRY(link.expect(FrameType::Storage)).payload));
    if (asked.probes.size() != trees_.size()) {
        return fail(Error::corrupt("the destination speaks of other files"));
    }
    StorageBody answer;
    for (const std::string& probe : asked.probes) {
        answer.seen.push_back(!probe.empty() && os::fstatat(os::kCwd, probe).has_value());
    }
    TRY(link.send(FrameType::Storage, encode(answer)));
    // Its last word: which of them it wants.
    const StorageBody wanted = TRY(decode_storage(TRY(link.expect(FrameType::Storage)).payload));
    if (wanted.seen.size() != trees_.size()) {
        return fail(Error::corrupt("the destination wants other files"));
    }
    std::vector<container::FileTree> sent;
    for (std::size_t i = 0; i < trees_.size(); ++i) {
        if (!wanted.seen[i]) continue;
        sent.push_back(trees_[i]);
        places_.push_back(trees_[i].place);
    }
    trees_ = std::move(sent);
    if (!places_.empty()) outgoing_.emplace(TRY(files::Outgoing::open(places_)));
    return {};
}

Result<files::Moved> FileSender::send_all(Link& link, const OnSent& on_sent) {
    if (!outgoing_) return files::Moved{};
    LinkDestination to(link, on_sent);
    return outgoing_->send_all(to);
}

Result<files::Moved> FileSender::send_last(Link& link, const model::Checkpoint& checkpoint) {
    if (!outgoing_) return files::Moved{};
    const OnSent nobody;
    LinkDestination to(link, nobody);
    return outgoing_->send_last(to, suspects_in(trees_, checkpoint));
}

std::vector<files::Suspect> suspects_in(const std::vector<container::FileTree>& trees,
                                        const model::Checkpoint& checkpoint) {
    std::map<files::TreePath, bool> found;
    const auto add = [&](const model::OpenFile& file, bool is_mapped) {
        const auto* regular = std::get_if<model::RegularFile>(&file.body);
        if (regular == nullptr || !S_ISREG(regular->mode) || regular->ghost != 0) return;
        if ((file.flags & O_ACCMODE) == O_RDONLY) return;
        const auto path = container::find_in(trees, regular->path);
        if (path) found[*path] |= is_mapped;
    };
    for (const model::OpenFile& file : checkpoint.files) add(file, false);
    for (const model::Process& process : checkpoint.processes) {
        for (const model::Vma& vma : process.address_space.vmas) {
            if (vma.kind != model::VmaKind::FileShared) continue;
            const model::OpenFile* file = checkpoint.find_file(vma.file);
            if (file != nullptr) add(*file, true);
        }
    }
    std::vector<files::Suspect> all;
    for (const auto& [path, is_mapped] : found) {
        all.push_back({.path = path, .is_mapped = is_mapped});
    }
    return all;
}

}  // namespace ferry::migrate
