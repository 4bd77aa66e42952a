#include "container/arrival.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "base/check.h"
#include "base/log.h"
#include "container/mark.h"
#include "container/undoing.h"
#include "os/paths.h"
#include "os/sweeper.h"

namespace ferry::container {
namespace {

constexpr const char* kAside = "files";
constexpr const char* kProbe = ".ferry-probe-";
constexpr std::chrono::seconds kMountTimeout{20};
constexpr std::chrono::minutes kUndoTimeout{10};

// Its arguments: a letter for what is to be done, a colon, a path.
constexpr const char* kUndoScript = R"(for step; do
  path="${step#?:}"
  case "$step" in
    U:*) umount --lazy "$path" ;;
    E:*) find "$path" -xdev -mindepth 1 -delete ;;
    R:*) rm -rf --one-file-system "$path" ;;
    D:*) rmdir "$path" ;;
  esac
done)";

Result<bool> exists(const std::string& path) {
    const auto status = os::fstatat(os::kCwd, path);
    if (status) return true;
    if (status.error().code() == ENOENT) return false;
    return fail(status.error());
}

std::string parent_of(const std::string& path) {
    const auto slash = path.rfind('/');
    return slash == 0 ? "/" : path.substr(0, slash);
}

Result<bool> is_empty(const std::string& directory) {
    return TRY(os::list_directory(os::kCwd, directory)).empty();
}

Result<bool> is_mount(const std::string& directory) {
    const auto own = TRY(os::fstatat(os::kCwd, directory)).st_dev;
    return own != TRY(os::fstatat(os::kCwd, directory + "/..")).st_dev;
}

}  // namespace

Result<Arrival> Arrival::prepare(Description description, std::vector<FileTree> trees,
                                 const std::string& runtime_root) {
    const std::string& root = runtime_root.empty() ? description.runtime_root : runtime_root;
    TRY(await_undoing(kAside, description.id));
    Arrival arrival(std::move(description), std::move(trees), root);
    for (const FileTree& tree : arrival.trees_) {
        arrival.found_.push_back(TRY(look_at(tree)));
        TRY(arrival.make_probe(tree));
    }
    std::vector<std::string> made = arrival.probes_;
    std::erase(made, std::string());
    if (!made.empty()) arrival.probe_guardian_ = TRY(os::sweep_after_death(made));
    for (const std::string& probe : made) TRY(os::mkdirat(os::kCwd, probe, 0700));
    return arrival;
}

Arrival::~Arrival() {
    remove_probes();
    undo();
}

Result<Arrival::Found> Arrival::look_at(const FileTree& tree) {
    const std::string& path = tree.place.path;
    if (!tree.is_hosts) return Found::Present;
    if (!TRY(exists(path))) return Found::Nothing;
    // Programs, certificates and the like: the host's own are as good.
    if (!tree.is_writable) return Found::Present;
    const bool is_directory = S_ISDIR(TRY(os::fstatat(os::kCwd, path)).st_mode);
    if (is_directory != tree.place.is_directory) return Found::Foreign;
    if (TRY(exists(mark_of(path)))) return Found::Copy;
    return is_directory && TRY(is_empty(path)) ? Found::Empty : Found::Foreign;
}

Result<> Arrival::make_probe(const FileTree& tree) {
    const Found found = found_.back();
    probes_.emplace_back();
    if (found == Found::Nothing || found == Found::Present) return {};
    const std::string directory =
        tree.place.is_directory ? tree.place.path : parent_of(tree.place.path);
    // A name that nobody can have by chance; the directory is made after its sweeper.
    probes_.back() = fmt::format("{}/{}{:x}", directory, kProbe,
                                 std::chrono::steady_clock::now().time_since_epoch().count());
    return {};
}

void Arrival::remove_probes() {
    for (std::string& probe : probes_) {
        if (probe.empty()) continue;
        const auto removed = os::unlinkat(os::kCwd, probe, AT_REMOVEDIR);
        if (!removed && removed.error().code() != ENOENT) {
            log_warn("{}, ignoring", removed.error().message());
        }
        probe.clear();
    }
    probe_guardian_ = {};
}

Result<> Arrival::check_unused(const FileTree& tree) const {
    const auto ids = os::list_directory(os::kCwd, runtime_root_);
    if (!ids) return {};  // no container was ever made here
    for (const std::string& id : *ids) {
        const auto other = find(id, {.root = runtime_root_});
        if (!other || other->status == Status::Stopped) continue;
        if (other->state.rootfs != tree.place.path) continue;
        return fail(Error::invalid(
            fmt::format("the container \"{}\" here runs on {}", id, tree.place.path)));
    }
    return {};
}

Result<> Arrival::begin(const std::vector<bool>& shared) {
    CHECK(shared.size() == trees_.size());
    remove_probes();
    for (std::uint32_t i = 0; i < trees_.size(); ++i) {
        const FileTree& tree = trees_[i];
        if (shared[i] || found_[i] == Found::Present) continue;
        if (found_[i] == Found::Foreign) {
            return fail(Error::invalid(
                fmt::format("{} has files here that are no copy of Ferry's: remove them, or say "
                            "--shared-storage if both hosts are to use what they have",
                            tree.place.path)));
        }
        TRY(check_unused(tree));
        wanted_.push_back(i);
    }
    if (wanted_.empty()) return {};
    TRY(plan());
    aside_ = TRY(make_aside(kAside, description_.id));
    undoing_.push_back("D:" + aside_);
    guardian_ = TRY(os::run_after_death(undoing_));
    return make();
}

Result<> Arrival::plan() {
    undoing_ = {"sh", "-c", kUndoScript, "sh"};
    const std::string& bundle = description_.bundle;
    const bool is_podmans = description_.podman.has_value();  // which writes its own
    if (!is_podmans) plan_directory(bundle);
    const auto config = is_podmans ? Result<std::string>(description_.config)
                                   : os::read_file(bundle + "/config.json");
    const bool is_copy = found_[wanted_.front()] == Found::Copy;
    // A bundle that we left is brought up to date like its files; another one's stays as it is, and
    // is refused if it is not the same.
    makes_config_ = !config || (is_copy && *config != description_.config);
    for (const std::uint32_t i : wanted_) TRY(plan_tree(trees_[i], found_[i]));
    if (!config) undoing_.push_back("R:" + bundle + "/config.json");
    for (auto made = directories_.rbegin(); made != directories_.rend(); ++made) {
        const bool is_tree = std::ranges::any_of(
            undoing_, [&made](const std::string& step) { return step == "R:" + *made; });
        if (!is_tree) undoing_.push_back("D:" + *made);
    }
    return {};
}

void Arrival::plan_directory(const std::string& path) {
    if (exists(path).value_or(false) ||
        std::ranges::find(directories_, path) != directories_.end()) {
        return;
    }
    plan_directory(parent_of(path));
    directories_.push_back(path);
}

Result<> Arrival::plan_tree(const FileTree& tree, Found found) {
    const std::string& path = tree.place.path;
    marks_.push_back(mark_of(path));
    plan_directory(parent_of(path));
    if (tree.overlay) TRY(plan_overlay(tree));
    if (tree.place.is_directory) plan_directory(path);
    if (found == Found::Copy) return {};
    undoing_.push_back((found == Found::Empty ? "E:" : "R:") + path);
    undoing_.push_back("R:" + mark_of(path));
    return {};
}

// The layers below are what both hosts have, or everything is sent into a directory.
Result<> Arrival::plan_overlay(const FileTree& tree) {
    const Overlay& overlay = *tree.overlay;
    const std::string& path = tree.place.path;
    if (TRY(exists(path)) && (TRY(is_mount(path)) || !TRY(is_empty(path)))) return {};
    for (const std::string& lower : overlay.lower) {
        if (!TRY(exists(lower))) return {};
    }
    const bool is_copy = TRY(exists(mark_of(path)));
    for (const std::string* directory : {&overlay.upper, &overlay.work}) {
        if (TRY(exists(*directory)) && !is_copy) {
            if (!TRY(is_empty(*directory))) {
                return fail(Error::invalid(fmt::format(
                    "{} has files here that are no copy of Ferry's: remove them", *directory)));
            }
            undoing_.push_back("E:" + *directory);
        } else if (!TRY(exists(*directory))) {
            plan_directory(*directory);
            undoing_.push_back("R:" + *directory);
        }
    }
    mounts_.push_back({"mount", "-t", "overlay", "-o",
                       fmt::format("lowerdir={},upperdir={},workdir={}",
                                   fmt::join(overlay.lower, ":"), overlay.upper, overlay.work),
                       "overlay", path});
    // Before what it hides is removed.
    undoing_.insert(undoing_.begin() + 4, "U:" + path);
    return {};
}

Result<> Arrival::make() {
    for (const std::string& directory : directories_) {
        TRY(os::mkdirat(os::kCwd, directory, 0755));
    }
    for (const std::uint32_t i : wanted_)
        TRY(mark_as_coming(trees_[i].place.path, description_.id));
    for (const auto& command : mounts_) {
        auto mounting = TRY(os::ChildProcess::start({.arguments = command}));
        if (TRY(mounting.wait(kMountTimeout)) != 0) {
            return fail(Error::peer(fmt::format("{} has failed", fmt::join(command, " "))));
        }
    }
    return make_bundle();
}

Result<> Arrival::make_bundle() {
    if (!makes_config_) return {};
    const std::string path = description_.bundle + "/config.json";
    const std::string fresh = path + ".ferry";
    TRY(os::write_file(os::kCwd, fresh, description_.config));
    return os::rename(fresh, path);
}

void Arrival::commit() {
    for (const std::string& mark : marks_) {
        const auto removed = os::unlinkat(os::kCwd, mark);
        if (!removed) log_error("{}: remove it", removed.error().message());
    }
    undoing_.clear();
    hold();
}

void Arrival::hold() {
    guardian_ = {};
    if (aside_.empty()) return;
    static_cast<void>(os::unlinkat(os::kCwd, aside_, AT_REMOVEDIR));
    aside_.clear();
}

void Arrival::undo() {
    if (undoing_.empty()) return;
    auto undoing = os::ChildProcess::start({.arguments = undoing_});
    const auto status = undoing ? undoing->wait(kUndoTimeout) : fail(undoing.error());
    if (!status) log_warn("taking files away: {}", status.error().message());
    undoing_.clear();
    aside_.clear();
    guardian_ = {};
}

}  // namespace ferry::container
