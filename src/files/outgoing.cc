#include "files/outgoing.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <optional>
#include <tuple>

#include "base/limits.h"
#include "os/file_tree.h"

namespace ferry::files {
namespace {

constexpr std::size_t kFrameBytes = 1u << 20;
// The answer to an offer has 16 bytes for each block.
constexpr std::uint64_t kOfferedBytesMax = std::uint64_t{16} << 30;
constexpr std::size_t kOfferedNodesMax = 8192;
// Times of files come from a clock that ticks every 10 ms at most (CONFIG_HZ=100).
constexpr std::int64_t kClockTickNs = 20'000'000;
// Names of files on their way from one directory to another.
constexpr std::string_view kParked = ".ferry-parked-";

std::string in_directory(const std::string& directory, const std::string& name) {
    return directory == kTop ? name : fmt::format("{}/{}", directory, name);
}

std::string parent_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? kTop : path.substr(0, slash);
}

bool is_recent(const timespec& time) {
    timespec now = {};
    ::clock_gettime(CLOCK_REALTIME, &now);
    return (now.tv_sec - time.tv_sec) * 1'000'000'000 + now.tv_nsec - time.tv_nsec < kClockTickNs;
}

}  // namespace

// One look at the trees, and what follows from it.
class Pass {
  public:
    enum class Mode { Ask, Tell };
    Pass(Outgoing& outgoing, Destination& to, Mode mode) : out_(outgoing), to_(to), mode_(mode) {
        found_.resize(out_.trees_.size());
    }

    Result<> look_everywhere() {
        for (std::uint32_t tree = 0; tree < out_.trees_.size(); ++tree) {
            const TreeRoot& root = out_.trees_[tree].root;
            if (root.only().empty()) {
                TRY(with_context(look_at(tree, kTop), root.path()));
                continue;
            }
            TRY(with_context(look_at(tree, root.only()), root.path()));
            out_.watch_.add(root.top(), {tree, kTop});
        }
        for (std::uint32_t tree = 0; tree < out_.trees_.size(); ++tree) {
            for (const auto& [path, name] : out_.trees_[tree].names) {
                if (!found_[tree].contains(path)) gone_.emplace(tree, path);
            }
        }
        return {};
    }

    // What is not there is gone, with what was in it.
    Result<> look_at(std::uint32_t tree, const std::string& path) {
        TreeRoot& root = out_.trees_[tree].root;
        if (!root.only().empty() && path != root.only()) return {};
        const Result<> looked = [&]() -> Result<> {
            const auto [parent, name] = TRY(root.locate(path));
            const struct stat status = TRY(os::fstatat(parent, name, AT_SYMLINK_NOFOLLOW));
            // Made after its directory was looked for in vain.
            if (!is_parent_there(tree, path)) {
                look_again({tree, path});
                return {};
            }
            const bool is_new = !is_known(tree, path, status) || appeared_.contains({tree, path});
            TRY(note(tree, path, status));
            const bool walks = out_.first_ || is_new || looks_everywhere_;
            if (!S_ISDIR(status.st_mode) || !walks) return {};
            const os::UniqueFd directory = TRY(open_directory(parent, name));
            return walk(tree, path, directory.get(), 0);
        }();
        if (looked || !has_vanished(looked.error())) return looked;
        if (path == kTop || path == root.only()) return looked;
        for (auto at = below(tree, path); at != out_.trees_[tree].names.end(); ++at) {
            if (at->first != path && !at->first.starts_with(path + "/")) break;
            gone_.emplace(tree, at->first);
        }
        return {};
    }
    // `noticed`: by the watch since the last pass; outlives this one.
    void everywhere(const std::set<TreePath>& noticed) {
        looks_everywhere_ = true;
        noticed_ = &noticed;
    }
    Result<> look_where(const Watch::News& news) {
        appeared_ = news.appeared;
        for (const auto& [tree, path] : news.paths) TRY(look_at(tree, path));
        return {};
    }
    void must_compare(const TreePath& path) { suspects_.insert(path); }

    Result<Moved> send() {
        TRY(sort_out());
        TRY(take_away());
        TRY(add_nodes());
        TRY(bring_back());
        if (out_.first_) {
            for (std::uint32_t tree = 0; tree < out_.trees_.size(); ++tree) {
                TRY(say({.step = Step::Only, .tree = tree, .node = {}}));
            }
        }
        for (auto& [path, digests] : contents_) {
            TRY(tolerate(path, send_content(path, digests)));
        }
        for (const TreePath& path : attributes_) TRY(tolerate(path, send_attributes(path)));
        // What is in a directory changes its times: from the inside out.
        for (auto path = directories_.rbegin(); path != directories_.rend(); ++path) {
            TRY(tolerate(*path, send_attributes(*path)));
        }
        TRY(flush());
        moved_.looks = count_;
        return moved_;
    }

  private:
    using Names = std::map<std::string, Outgoing::Name>;

    Outgoing::Tree& tree_of(const TreePath& path) { return out_.trees_[path.first]; }
    Names::iterator below(std::uint32_t tree, const std::string& path) {
        return out_.trees_[tree].names.lower_bound(path);
    }
    static Outgoing::Inode inode_of(const struct stat& status) {
        return {.device = status.st_dev, .number = status.st_ino};
    }
    static Outgoing::Stamp stamp_of(const struct stat& status) {
        return {.size = S_ISREG(status.st_mode) ? static_cast<std::uint64_t>(status.st_size) : 0,
                .modified_s = status.st_mtim.tv_sec,
                .modified_ns = status.st_mtim.tv_nsec,
                .changed_s = status.st_ctim.tv_sec,
                .changed_ns = status.st_ctim.tv_nsec};
    }
    static Result<os::UniqueFd> open_directory(int parent, const std::string& name) {
        return os::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME);
    }

    bool is_known(std::uint32_t tree, const std::string& path, const struct stat& status) {
        const Names& names = out_.trees_[tree].names;
        const auto before = names.find(path);
        return before != names.end() && before->second.inode == inode_of(status);
    }

    bool is_parent_there(std::uint32_t tree, const std::string& path) {
        const std::string parent = parent_of(path);
        const auto found = found_[tree].find(parent);
        if (found != found_[tree].end()) return S_ISDIR(found->second.status.st_mode);
        return destination_has_parent({tree, path}) && !gone_.contains({tree, parent});
    }
    // Not where it vanished before it was sent, though another may be there by now.
    bool destination_has_parent(const TreePath& path) {
        const std::string parent = parent_of(path.second);
        if (parent == kTop) return true;
        const Names& names = tree_of(path).names;
        const auto known = names.find(parent);
        return known != names.end() && known->second.kind == NodeKind::Directory;
    }

    // Its times are read before its content is.
    Result<> note(std::uint32_t tree, const std::string& path, const struct stat& status) {
        if (++count_ > limits::kTreeEntriesMax) {
            return fail(Error::limit(fmt::format("more than {} files", limits::kTreeEntriesMax)));
        }
        if (!kind_of(status.st_mode)) {
            return fail(Error::unsupported(fmt::format("the type of {}", path)));
        }
        found_[tree].insert_or_assign(path, Found::now(status));
        return {};
    }

    Result<> walk(std::uint32_t tree, const std::string& path, int directory, int depth) {
        if (depth > limits::kTreeDepthMax) {
            return fail(Error::limit(fmt::format("{} lies too deep", path)));
        }
        out_.watch_.add(directory, {tree, path});  // before it is read
        for (const std::string& name : TRY(os::list_directory(directory, "."))) {
            const std::string inside = in_directory(path, name);
            const Result<> looked = [&]() -> Result<> {
                const struct stat status = TRY(os::fstatat(directory, name, AT_SYMLINK_NOFOLLOW));
                const bool is_directory = S_ISDIR(status.st_mode);
                // Something that is mounted there: a directory is all that belongs to the tree.
                const bool is_mount =
                    is_directory && status.st_dev != out_.trees_[tree].root.device();
                TRY(note(tree, inside, status));
                if (!is_directory || is_mount) return {};
                const os::UniqueFd child = TRY(open_directory(directory, name));
                return walk(tree, inside, child.get(), depth + 1);
            }();
            if (!looked && !has_vanished(looked.error())) return looked;
        }
        return {};
    }

    // Sorts what was found into what has to be done.
    Result<> sort_out() {
        for (std::uint32_t tree = 0; tree < found_.size(); ++tree) {
            Outgoing::Tree& known = out_.trees_[tree];
            for (const auto& [path, found] : found_[tree]) {
                const struct stat& status = found.status;
                const auto before = known.names.find(path);
                const bool same = before != known.names.end() &&
                                  before->second.inode == inode_of(status) &&
                                  before->second.kind == *kind_of(status.st_mode);
                if (!same) {
                    if (before != known.names.end()) replace(tree, path);
                    fresh_.emplace(tree, path);
                } else if (has_changed({tree, path}, status)) {
                    note_change({tree, path}, status);
                }
            }
        }
        return {};
    }

    // Another node has its name; of a directory all that was in it is another's, too.
    void replace(std::uint32_t tree, const std::string& path) {
        gone_.emplace(tree, path);
        if (out_.trees_[tree].names.at(path).kind != NodeKind::Directory) return;
        for (auto at = below(tree, path + "/");
             at != out_.trees_[tree].names.end() && at->first.starts_with(path + "/"); ++at) {
            gone_.emplace(tree, at->first);
            if (found_[tree].contains(at->first)) fresh_.emplace(tree, at->first);
        }
    }

    bool has_changed(const TreePath& path, const struct stat& status) {
        if (suspects_.contains(path)) return true;
        const auto& states = tree_of(path).states;
        const auto state = states.find(inode_of(status));
        return state == states.end() || state->second.is_fresh ||
               state->second.stamp != stamp_of(status);
    }

    void note_change(const TreePath& path, const struct stat& status) {
        if (fresh_.contains(path)) return;
        note_silence(path, status);
        if (S_ISDIR(status.st_mode)) {
            directories_.insert(path);
        } else if (!S_ISREG(status.st_mode)) {
            attributes_.insert(path);
        } else if (is_first_name(path, status)) {
            changed_.push_back(path);
        }
    }

    void note_silence(const TreePath& path, const struct stat& status) {
        if (out_.first_ || noticed_ == nullptr || !S_ISREG(status.st_mode)) return;
        if (noticed_->contains(path) || out_.fresh_.contains(path)) return;
        out_.silent_.insert(path);
    }

    // Of several names of a file one is enough.
    bool is_first_name(const TreePath& path, const struct stat& status) {
        if (status.st_nlink < 2) return true;
        return links_.try_emplace({path.first, status.st_dev, status.st_ino}, path.second).second;
    }

    // Files that have another name now are put aside, the rest goes. What is in a directory before
    // it.
    Result<> take_away() {
        for (const TreePath& path : fresh_) {
            const struct stat& status = found_[path.first].at(path.second).status;
            if (!S_ISREG(status.st_mode)) continue;
            if (tree_of(path).states.contains(inode_of(status))) {
                wanted_inodes_[{path.first, status.st_dev, status.st_ino}] = {};
            }
        }
        if (!wanted_inodes_.empty()) find_old_names();
        for (auto path = gone_.rbegin(); path != gone_.rend(); ++path) {
            auto& names = tree_of(*path).names;
            const auto name = names.find(path->second);
            const auto wanted = wanted_inodes_.find(
                {path->first, name->second.inode.device, name->second.inode.number});
            Record record{.step = Step::Remove, .tree = path->first, .node = {}};
            record.node.path = path->second;
            const bool is_file = name->second.kind == NodeKind::File;
            if (is_file && wanted != wanted_inodes_.end() && wanted->second.empty()) {
                record.step = Step::Move;
                record.node.target = fmt::format("{}{}", kParked, parked_++);
                wanted->second = record.node.target;
                TRY(touch_top(path->first));
            }
            TRY(say(record));
            names.erase(name);
        }
        // The number of a file that has gone long ago.
        std::erase_if(wanted_inodes_, [](const auto& wanted) { return wanted.second.empty(); });
        for (Outgoing::Tree& tree : out_.trees_) tree.root.forget();
        return {};
    }

    // What is put aside there changes its times at the destination.
    Result<> touch_top(std::uint32_t tree) {
        const struct stat status = TRY(os::fstat(out_.trees_[tree].root.top()));
        found_[tree].try_emplace(kTop, Found::now(status));
        directories_.emplace(tree, kTop);
        return {};
    }

    // A file that keeps one of its names is linked to from there.
    void find_old_names() {
        for (std::uint32_t tree = 0; tree < out_.trees_.size(); ++tree) {
            for (const auto& [path, name] : out_.trees_[tree].names) {
                const auto wanted =
                    wanted_inodes_.find({tree, name.inode.device, name.inode.number});
                if (wanted == wanted_inodes_.end() || gone_.contains({tree, path})) continue;
                if (name.kind == NodeKind::File) wanted->second = path;
            }
        }
    }

    // Everything new but files that the destination has under another name, and second names.
    Result<> add_nodes() {
        for (const TreePath& path : fresh_) {
            const struct stat& status = found_[path.first].at(path.second).status;
            if (S_ISREG(status.st_mode)) {
                if (wanted_inodes_.contains({path.first, status.st_dev, status.st_ino})) {
                    moved_files_.push_back(path);
                    continue;
                }
                if (!is_first_name(path, status)) {
                    second_names_.push_back(path);
                    continue;
                }
            }
            if (!destination_has_parent(path)) {
                look_again(path);
                continue;
            }
            if (S_ISDIR(status.st_mode)) directories_.insert(path);
            TRY(tolerate(path, add_node(path)));
        }
        for (const TreePath& path : changed_) {
            const struct stat& status = found_[path.first].at(path.second).status;
            if (tree_of(path).states[inode_of(status)].is_known || mode_ == Mode::Tell) {
                queue_content(path, status);
            } else {
                TRY(tolerate(path, add_node(path)));
            }
        }
        return ask();
    }

    Result<> add_node(const TreePath& path) {
        const Record record = TRY(node_at(path));
        if (mode_ == Mode::Tell) {
            TRY(say(record));
            if (record.node.kind == NodeKind::File) contents_.emplace(path, Digests{});
        } else {
            TRY(flush());  // in this order
            append_record(offered_, record);
            offered_paths_.push_back(path);
            offered_bytes_ += record.node.size;
            if (offered_paths_.size() == kOfferedNodesMax || offered_bytes_ > kOfferedBytesMax ||
                offered_.size() > kFrameBytes) {
                TRY(ask());
            }
        }
        remember(path);
        return {};
    }

    void remember(const TreePath& path) {
        const Found& found = found_[path.first].at(path.second);
        const struct stat& status = found.status;
        Outgoing::Tree& tree = tree_of(path);
        tree.names.insert_or_assign(path.second, Outgoing::Name{.inode = inode_of(status),
                                                                .kind = *kind_of(status.st_mode)});
        Outgoing::State& state = tree.states[inode_of(status)];
        state.stamp = stamp_of(status);
        set_fresh(path, state, found.is_recent);
    }
    void set_fresh(const TreePath& path, Outgoing::State& state, bool is_fresh) {
        state.is_fresh = is_fresh;
        if (is_fresh) out_.fresh_.insert(path);
        if (!is_fresh) out_.fresh_.erase(path);
    }

    Result<> ask() {
        if (offered_paths_.empty()) return {};
        for (Wanted& wanted : TRY(to_.offer(offered_))) {
            if (wanted.index >= offered_paths_.size()) {
                return fail(Error::corrupt("the destination wants what was not offered"));
            }
            contents_.emplace(offered_paths_[wanted.index], std::move(wanted.digests));
        }
        offered_.clear();
        offered_paths_.clear();
        offered_bytes_ = 0;
        return {};
    }

    Result<> bring_back() {
        for (const TreePath& path : moved_files_) {
            const struct stat& status = found_[path.first].at(path.second).status;
            std::string& old = wanted_inodes_[{path.first, status.st_dev, status.st_ino}];
            Record record{.step = Step::Move, .tree = path.first, .node = {}};
            record.node.path = old;
            record.node.target = path.second;
            if (!destination_has_parent(path)) {
                look_again(path);
                continue;
            }
            if (old.starts_with(kParked)) {
                TRY(say(record));
                old = path.second;
            } else {
                TRY(say_link(path, old));
            }
            const bool changed = has_changed(path, status);
            tree_of(path).names.insert_or_assign(
                path.second, Outgoing::Name{.inode = inode_of(status), .kind = NodeKind::File});
            if (changed && is_first_name(path, status)) queue_content(path, status);
        }
        for (const TreePath& path : second_names_) {
            const struct stat& status = found_[path.first].at(path.second).status;
            const std::string& first = links_.at({path.first, status.st_dev, status.st_ino});
            if (!destination_has_parent(path) || !tree_of(path).names.contains(first)) {
                look_again(path);
                continue;
            }
            TRY(say_link(path, first));
            remember(path);
        }
        return forget_parked();
    }

    // What has not come to its new name.
    Result<> forget_parked() {
        for (const auto& [inode, old] : wanted_inodes_) {
            if (!old.starts_with(kParked)) continue;
            Record record{.step = Step::Remove, .tree = std::get<0>(inode), .node = {}};
            record.node.path = old;
            TRY(say(record));
        }
        return {};
    }
    void look_again(const TreePath& path) { out_.fresh_.insert(path); }

    // The digests are known again when the content has been sent.
    void queue_content(const TreePath& path, const struct stat& status) {
        Outgoing::State& state = tree_of(path).states[inode_of(status)];
        contents_.emplace(path,
                          state.is_known ? std::optional(std::move(state.digests)) : std::nullopt);
        state.is_known = false;
    }

    Result<> say_link(const TreePath& path, const std::string& target) {
        Record record{.step = Step::Node, .tree = path.first, .node = {}};
        record.node.path = path.second;
        record.node.kind = NodeKind::HardLink;
        record.node.target = target;
        return say(record);
    }

    Result<Record> node_at(const TreePath& path) {
        const auto [parent, name] = TRY(tree_of(path).root.locate(path.second));
        const struct stat status = TRY(os::fstatat(parent, name, AT_SYMLINK_NOFOLLOW));
        Record record{.step = Step::Node, .tree = path.first, .node = {}};
        record.node = TRY(read_node(parent, name, path.second, status));
        record.allocated = static_cast<std::uint64_t>(status.st_blocks) * 512;
        return record;
    }

    Result<> send_attributes(const TreePath& path) {
        const Record record = TRY(node_at(path));
        TRY(say(record));
        remember(path);
        return {};
    }

    // `have`: of what the destination has; nullopt: nobody knows.
    Result<> send_content(const TreePath& path, const std::optional<Digests>& have) {
        const auto [parent, name] = TRY(tree_of(path).root.locate(path.second));
        const os::UniqueFd file =
            TRY(os::openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME));
        const struct stat status = TRY(os::fstat(file.get()));
        const Found found = Found::now(status);
        if (!S_ISREG(status.st_mode)) return fail(Error::system(ENOENT, path.second));
        const auto size = static_cast<std::uint64_t>(status.st_size);
        Record last{.step = Step::Node, .tree = path.first, .node = {}};
        last.node = TRY(read_node(parent, name, path.second, status));
        TRY(say(last));  // its size
        Digests digests;
        digests.reserve(size / kBlockBytes + 1);
        TRY(read_blocks(file.get(), size, [&](const Block& block) -> Result<> {
            digests.push_back(block.digest);
            const bool has_it =
                have && (block.index < have->size() ? (*have)[block.index] == block.digest
                                                    : block.digest.is_zeros());
            return has_it ? Result<>() : send_block(path, block, size);
        }));
        TRY(end_run());
        TRY(say(last));  // its times
        ++moved_.files;
        found_[path.first].insert_or_assign(path.second, found);
        remember(path);
        Outgoing::State& state = tree_of(path).states[inode_of(status)];
        state.is_known = true;
        state.digests = std::move(digests);
        return {};
    }

    Result<> send_block(const TreePath& path, const Block& block, std::uint64_t size) {
        const std::uint64_t offset = block.index * kBlockBytes;
        const bool is_hole = block.bytes.empty();
        const bool follows = run_ && run_->is_hole == is_hole && run_->end == offset;
        if (!follows || run_bytes_.size() + block.bytes.size() > kFrameBytes) TRY(end_run());
        if (!run_) run_ = Run{.path = path, .begin = offset, .end = offset, .is_hole = is_hole};
        run_->end = std::min(offset + kBlockBytes, size);
        append(run_bytes_, block.bytes.data(), block.bytes.size());
        return {};
    }

    Result<> end_run() {
        if (!run_) return {};
        Record record{.step = run_->is_hole ? Step::Hole : Step::Data,
                      .tree = run_->path.first,
                      .node = {},
                      .offset = run_->begin,
                      .length = run_->is_hole ? run_->end - run_->begin : 0,
                      .bytes = run_bytes_};
        record.node.path = run_->path.second;
        moved_.bytes += run_bytes_.size();
        const Result<> said = say(record);
        run_.reset();
        run_bytes_.clear();
        return said;
    }

    Result<> say(const Record& record) {
        append_record(frame_, record);
        return frame_.size() >= kFrameBytes ? flush() : Result<>();
    }
    Result<> flush() {
        if (frame_.empty()) return {};
        const Result<> sent = to_.send(frame_);
        frame_.clear();
        return sent;
    }

    // What has vanished meanwhile is found to be gone by the next pass: nobody vanishes in the
    // last one.
    Result<> tolerate(const TreePath& path, Result<> done) {
        if (done) return {};
        run_.reset();
        run_bytes_.clear();
        if (!has_vanished(done.error()) || mode_ == Mode::Tell) {
            return with_context(std::move(done),
                                fmt::format("{}/{}", tree_of(path).root.path(), path.second));
        }
        const auto found = found_[path.first].find(path.second);
        if (found == found_[path.first].end()) return {};
        set_fresh(path, tree_of(path).states[inode_of(found->second.status)], true);
        return {};
    }

    using InodeInTree = std::tuple<std::uint32_t, dev_t, ino_t>;
    struct Found {
        struct stat status = {};
        bool is_recent = false;  // may be written again without another time
        static Found now(const struct stat& status) {
            return {.status = status, .is_recent = files::is_recent(status.st_ctim)};
        }
    };
    struct Run {
        TreePath path;
        std::uint64_t begin = 0, end = 0;
        bool is_hole = false;
    };

    Outgoing& out_;
    Destination& to_;
    const Mode mode_;
    bool looks_everywhere_ = false;
    const std::set<TreePath>* noticed_ = nullptr;
    std::set<TreePath> appeared_;
    std::size_t count_ = 0;
    std::vector<std::map<std::string, Found>> found_;
    std::set<TreePath> suspects_;
    std::set<TreePath> gone_, fresh_;
    std::vector<TreePath> changed_, moved_files_, second_names_;
    std::set<TreePath> attributes_, directories_;
    std::map<InodeInTree, std::string> links_;          // first names of files with several
    std::map<InodeInTree, std::string> wanted_inodes_;  // where the destination has them
    std::uint64_t parked_ = 0;
    std::map<TreePath, std::optional<Digests>> contents_;  // what is to be sent
    Bytes offered_, frame_, run_bytes_;
    std::vector<TreePath> offered_paths_;
    std::uint64_t offered_bytes_ = 0;
    std::optional<Run> run_;
    Moved moved_;
};

Result<Outgoing> Outgoing::open(const std::vector<TreePlace>& places) {
    std::vector<Tree> trees;
    for (const TreePlace& place : places) {
        trees.push_back({.root = TRY(TreeRoot::open(place)), .names = {}, .states = {}});
    }
    return Outgoing(std::move(trees), TRY(Watch::create()));
}

// A walk over a hundred thousand files takes long, and the service's processors.
bool Outgoing::is_time_for_everything() const {
    constexpr int kShare = 20;
    return first_ || Clock::now() - walked_ > kShare * walk_took_;
}

Result<Moved> Outgoing::send_all(Destination& to) {
    Watch::News news = TRY(watch_.take());
    Pass pass(*this, to, Pass::Mode::Ask);
    if (news.everything || is_time_for_everything()) {
        const Clock::time_point begun = Clock::now();
        pass.everywhere(news.paths);
        TRY(pass.look_everywhere());
        walked_ = Clock::now();
        walk_took_ = walked_ - begun;
    } else {
        news.paths.insert(fresh_.begin(), fresh_.end());
        news.paths.insert(silent_.begin(), silent_.end());
        TRY(pass.look_where(news));
    }
    const Moved moved = TRY(pass.send());
    first_ = false;
    return moved;
}

Result<Moved> Outgoing::send_last(Destination& to, std::span<const Suspect> suspects) {
    Watch::News news = TRY(watch_.take());
    Pass pass(*this, to, Pass::Mode::Tell);
    for (const Suspect& suspect : suspects) {
        news.paths.insert(suspect.path);
        if (suspect.is_mapped) pass.must_compare(suspect.path);
    }
    if (news.everything || first_) {
        pass.everywhere(news.paths);
        TRY(pass.look_everywhere());
    } else {
        news.paths.insert(fresh_.begin(), fresh_.end());
        TRY(pass.look_where(news));
    }
    return pass.send();
}

}  // namespace ferry::files
