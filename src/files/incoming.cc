#include "files/incoming.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "base/limits.h"
#include "os/directory.h"
#include "os/file_tree.h"

namespace ferry::files {
namespace {

// Digests of one file in an answer: what is beyond is sent without them.
constexpr std::uint64_t kComparedBytesMax = std::uint64_t{16} << 30;

// Room that is claimed ahead is that of contents: directories and names need some as well.
template <class T>
Result<T> name_full_disk(Result<T> result) {
    const int code = result ? 0 : result.error().code();
    if (code != ENOSPC && code != EDQUOT) return result;
    return fail(
        Error::limit(fmt::format("no room on its disk here: {}", result.error().message())));
}

}  // namespace

Result<Incoming> Incoming::open(const std::vector<TreePlace>& places) {
    std::vector<Tree> trees;
    for (const TreePlace& place : places) {
        trees.push_back({.root = TRY(TreeRoot::open(place)), .named = {}, .claimed = {}});
    }
    return Incoming(std::move(trees));
}

Result<Incoming::Tree*> Incoming::tree(const Record& record) {
    if (record.tree < trees_.size()) return &trees_[record.tree];
    return fail(Error::corrupt(fmt::format("there is no tree {}", record.tree)));
}

Result<std::vector<Wanted>> Incoming::offer(std::span<const std::byte> frame) {
    RecordReader reader(frame);
    std::vector<Wanted> all;
    for (std::uint32_t index = 0;; ++index) {
        const std::optional<Record> record = TRY(reader.next());
        if (!record) return all;
        Wanted wanted{.index = index, .digests = {}};
        if (TRY(with_context(name_full_disk(take_offer(*record, wanted)), record->node.path))) {
            all.push_back(std::move(wanted));
        }
    }
}

Result<bool> Incoming::take_offer(const Record& record, Wanted& wanted) {
    if (record.step != Step::Node) return fail(Error::corrupt("only nodes can be offered"));
    Tree& into = *TRY(tree(record));
    if (record.node.kind == NodeKind::File) return take_file(into, record, wanted);
    TRY(put_node(into, record));
    return false;
}

// True: its content is wanted.
Result<bool> Incoming::take_file(Tree& tree, const Record& record, Wanted& wanted) {
    const Node& node = record.node;
    const auto [parent, name] = TRY(tree.root.locate(node.path));
    tree.named.insert(node.path);
    auto there = TRY(look(parent, name));
    // Two files of the source are two files here.
    const bool is_other =
        there && S_ISREG(there->st_mode) && there->st_nlink > 1 &&
        tree.claimed.try_emplace(there->st_ino, node.path).first->second != node.path;
    if (there && (is_other || !S_ISREG(there->st_mode))) {
        TRY(remove(tree, node.path));
        there.reset();
    }
    if (there && static_cast<std::uint64_t>(there->st_size) == node.size &&
        same_time(there->st_mtim, node.modified)) {
        TRY(set_attributes(parent, name, node));
        return false;
    }
    TRY(claim_room(tree, record, there ? static_cast<std::uint64_t>(there->st_blocks) * 512 : 0));
    const int how = there ? O_NOFOLLOW | O_RDWR : O_CREAT | O_EXCL | O_RDWR;
    const os::UniqueFd file = TRY(os::openat(parent, name, how, 0600));
    if (there && node.size > kComparedBytesMax) TRY(os::ftruncate(file.get(), 0));
    TRY(os::ftruncate(file.get(), node.size));
    if (there && node.size <= kComparedBytesMax) {
        wanted.digests = TRY(digests_of(file.get(), node.size));
    }
    return true;
}

Result<> Incoming::claim_room(Tree& tree, const Record& record, std::uint64_t has) {
    std::uint64_t& needed = needed_[tree.root.device()];
    if (record.allocated > has) needed += record.allocated - has;
    const std::uint64_t available = TRY(os::available_bytes(tree.root.top()));
    if (needed <= available) return {};
    return fail(Error::limit(fmt::format(
        "no room for {}: its disk has {} MiB left here, and more than {} MiB have to come",
        tree.root.path(), available >> 20, needed >> 20)));
}

Result<> Incoming::apply(std::span<const std::byte> frame) {
    RecordReader reader(frame);
    for (;;) {
        const std::optional<Record> record = TRY(reader.next());
        if (!record) return {};
        TRY(with_context(name_full_disk(take(*record)), record->node.path));
    }
}

Result<> Incoming::take(const Record& record) {
    Tree& into = *TRY(tree(record));
    switch (record.step) {
        case Step::Node:
            return put_node(into, record);
        case Step::Move:
            return move(into, record.node);
        case Step::Remove:
            return remove(into, record.node.path);
        case Step::Data:
        case Step::Hole:
            return write(into, record);
        case Step::Only:
            return prune(into);
    }
    return fail(Error::corrupt("an unknown step"));
}

Result<> Incoming::put_node(Tree& tree, const Record& record) {
    const Node& node = record.node;
    if (!tree.is_complete) tree.named.insert(node.path);
    if (node.kind == NodeKind::HardLink) return link(tree, node);
    const auto [parent, name] = TRY(tree.root.locate(node.path));
    auto there = TRY(look(parent, name));
    if (there && !TRY(is_same_node(parent, name, *there, node))) {
        TRY(remove(tree, node.path));
        there.reset();
    }
    if (node.kind == NodeKind::File) {
        if (!there || static_cast<std::uint64_t>(there->st_size) != node.size) {
            const int how = there ? O_NOFOLLOW : O_CREAT | O_EXCL;
            const os::UniqueFd file = TRY(os::openat(parent, name, O_WRONLY | how, 0600));
            TRY(os::ftruncate(file.get(), node.size));
        }
    } else if (!there) {
        TRY(make_node(parent, name, node));
    }
    return set_attributes(parent, name, node);
}

Result<> Incoming::link(Tree& tree, const Node& node) {
    const auto [first_parent, first_name] = TRY(tree.root.locate(node.target));
    const auto file = TRY(look(first_parent, first_name));
    if (!file || !S_ISREG(file->st_mode)) {
        return fail(Error::corrupt(fmt::format("there is no file {}", node.target)));
    }
    // The next call of locate() ends the first one's directory.
    const os::UniqueFd from = TRY(os::dup(first_parent));
    const auto [parent, name] = TRY(tree.root.locate(node.path));
    const auto there = TRY(look(parent, name));
    if (there && there->st_ino == file->st_ino && there->st_dev == file->st_dev) return {};
    if (there) TRY(remove_node(parent, name, tree.root.device(), DeviceCheck::Directories));
    return os::linkat(from.get(), first_name, parent, name);
}

Result<> Incoming::move(Tree& tree, const Node& node) {
    const auto [old_parent, old_name] = TRY(tree.root.locate(node.path));
    const os::UniqueFd from = TRY(os::dup(old_parent));
    const std::string from_name = old_name;
    const auto [parent, name] = TRY(tree.root.locate(node.target));
    const auto there = TRY(look(parent, name));
    if (there) TRY(remove_node(parent, name, tree.root.device(), DeviceCheck::Directories));
    TRY(os::renameat(from.get(), from_name, parent, name));
    tree.root.forget();
    open_file_.reset();
    return {};
}

Result<> Incoming::remove(Tree& tree, const std::string& path) {
    const auto [parent, name] = TRY(tree.root.locate(path));
    open_file_.reset();
    const Result<> removed =
        remove_node(parent, name, tree.root.device(), DeviceCheck::Directories);
    tree.root.forget();
    // The first look may have missed it already.
    if (!removed && has_vanished(removed.error())) return {};
    return removed;
}

Result<> Incoming::write(Tree& tree, const Record& record) {
    const std::string& path = record.node.path;
    if (!open_file_ || open_tree_ != record.tree || open_path_ != path) {
        const auto [parent, name] = TRY(tree.root.locate(path));
        open_file_ = TRY(os::openat(parent, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK));
        open_tree_ = record.tree;
        open_path_ = path;
    }
    const struct stat status = TRY(os::fstat(open_file_.get()));
    if (!S_ISREG(status.st_mode))
        return fail(Error::corrupt("bytes for something that is no file"));
    if (record.step == Step::Hole) {
        return os::punch_hole(open_file_.get(), record.offset, record.length);
    }
    return os::pwrite_all(open_file_.get(), record.bytes, record.offset);
}

Result<> Incoming::prune(Tree& tree) {
    if (tree.is_complete) return fail(Error::corrupt("the tree was complete already"));
    tree.is_complete = true;
    if (tree.root.only().empty()) TRY(prune_directory(tree, tree.root.top(), {}));
    tree.named.clear();
    tree.claimed.clear();
    tree.root.forget();
    open_file_.reset();
    return {};
}

Result<> Incoming::prune_directory(Tree& tree, int directory, const std::string& path) {
    for (const std::string& name : TRY(os::list_directory(directory, "."))) {
        const std::string inside = path.empty() ? name : fmt::format("{}/{}", path, name);
        if (!tree.named.contains(inside)) {
            TRY(remove_node(directory, name, tree.root.device(), DeviceCheck::Directories));
            continue;
        }
        const struct stat status = TRY(os::fstatat(directory, name, AT_SYMLINK_NOFOLLOW));
        if (!S_ISDIR(status.st_mode) || status.st_dev != tree.root.device()) continue;
        const os::UniqueFd child =
            TRY(os::openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
        TRY(prune_directory(tree, child.get(), inside));
    }
    return {};
}

Result<> Incoming::flush() {
    for (const Tree& tree : trees_) TRY(os::syncfs(tree.root.top()));
    return {};
}

}  // namespace ferry::files
