#include "container/creation.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "abi/entry.h"
#include "base/check.h"
#include "container/capabilities.h"
#include "container/control_groups.h"
#include "container/limits.h"
#include "container/mounts.h"
#include "container/podman_import.h"
#include "container/runc_maker.h"
#include "container/undoing.h"
#include "os/paths.h"
#include "os/spawn.h"
#include "proc/mounts.h"
#include "proc/process_directory.h"

extern "C" const std::byte entry_blob_begin[], entry_blob_end[];

namespace ferry::container {
namespace {

constexpr std::chrono::seconds kEnterTimeout{20};
constexpr std::chrono::seconds kEndTimeout{10};

// In the container's first process; what Runtime::Creation::passed begins with.
constexpr int kMemoryNumber = 3, kSocketNumber = 4, kProgramNumber = 5;

Result<os::UniqueFd> entry_program() {
    os::UniqueFd file = TRY(os::memfd_create("ferry-entry", 0));
    TRY(os::write_all(file.get(), {entry_blob_begin,
                                   static_cast<std::size_t>(entry_blob_end - entry_blob_begin)}));
    return file;
}

// abi::EntryArgument, in its order.
std::vector<std::string> entry_arguments(const os::FlatImage& image, int socket_number) {
    std::vector<std::string> arguments = {fmt::format("/proc/self/fd/{}", kProgramNumber), "0"};
    for (const std::uint64_t value :
         {std::uint64_t{kMemoryNumber}, std::uint64_t{kSocketNumber},
          static_cast<std::uint64_t>(socket_number), image.base, image.bytes, image.code_bytes,
          image.entry, image.argument, image.stack_top}) {
        arguments.push_back(fmt::format("{:x}", value));
    }
    CHECK(arguments.size() == abi::kEntryArguments);
    return arguments;
}

bool has_entered(const std::vector<proc::MapsEntry>& maps, const os::FlatImage& image) {
    return std::ranges::any_of(maps, [&image](const proc::MapsEntry& entry) {
        return entry.range.start.value == image.base && entry.protection == (PROT_READ | PROT_EXEC);
    });
}

// The runtime returns before the process has executed its program.
Result<> await_entry(Pid pid, const os::FlatImage& image) {
    const auto deadline = std::chrono::steady_clock::now() + kEnterTimeout;
    const auto directory = TRY(proc::ProcessDirectory::open(pid));
    for (;;) {
        const auto maps = directory.maps();
        const auto stat = directory.stat();
        if (!maps || !stat || stat->is_ending()) {
            return fail(Error::peer("the container's first process has ended at once"));
        }
        if (has_entered(*maps, image)) return {};
        if (std::chrono::steady_clock::now() > deadline) {
            return fail(Error::limit("the container's first process does not get to its program"));
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

// Write and rename: whoever reads sees the one or the other. Owner and mode stay.
Result<> replace_file(const std::string& path, const std::string& content) {
    const struct stat before = TRY(os::fstatat(os::kCwd, path));
    const std::string temporary = path + ".ferry";
    os::UniqueFd file = TRY(os::open(temporary, O_WRONLY | O_CREAT | O_EXCL, 0600));
    TRY(os::write_all(file.get(), os::as_bytes(content)));
    TRY(std::move(file).close());
    TRY(os::chown(temporary, before.st_uid, before.st_gid));
    TRY(os::chmod(temporary, before.st_mode & 07777));
    return os::rename(temporary, path);
}

}  // namespace

Result<std::unique_ptr<Creation>> Creation::prepare(Description description,
                                                    const CreationOptions& options) {
    const bool is_as_there = options.runtime_root.empty() || description.podman;
    Runtime runtime{.program = options.program,
                    .root = is_as_there ? description.runtime_root : options.runtime_root};
    const std::string what = fmt::format("container \"{}\"", description.id);
    std::unique_ptr<Creation> creation(new Creation(std::move(description), std::move(runtime)));
    TRY(Runtime::check_id(creation->description_.id));
    creation->version_ = TRY(with_context(creation->runtime_.ask_version(), what));
    TRY(with_context(await_undoing(RuncMaker::kAside, creation->description_.id,
                                   [&] { return creation->remove_left(); }),
                     what));
    if (!options.version_later) TRY(with_context(creation->check_runtime(), what));
    TRY(with_context(creation->check(), what));
    TRY(with_context(creation->choose_maker(options), what));
    return creation;
}

Result<> Creation::choose_maker(const CreationOptions& options) {
    if (description_.podman) {
        maker_ = TRY(PodmanImport::start(*description_.podman, runtime_));
    } else {
        maker_ = TRY(RuncMaker::make(description_, runtime_, options));
    }
    description_.config = maker_->config();
    streams_ = TRY(maker_->take_streams());
    return {};
}

Result<std::vector<files::TreePlace>> Creation::places(const std::vector<FileTree>& trees) const {
    CHECK(maker_ != nullptr);
    return maker_->places(trees, TRY(parse_config(description_.config)));
}

Creation::~Creation() {
    if (maker_) roll_back();
}

// Whoever was to undo it was killed, too. What runs is somebody's.
Result<> Creation::remove_left() const {
    if (!os::fstatat(os::kCwd, runtime_.directory_of(description_.id))) return {};
    const auto left = find(description_.id, runtime_);
    if (left && left->status != Status::Stopped) return fail(Error::invalid("the name is taken"));
    return runtime_.remove(description_.id);
}

Result<> Creation::check_runtime() {
    const std::string version = TRY(runtime_.answer(*std::exchange(version_, std::nullopt)));
    if (version == description_.runtime_version) return {};
    return fail(Error::invalid(fmt::format("{} is {} here and {} at the source", runtime_.program,
                                           version, description_.runtime_version)));
}

Result<> Creation::check() const {
    TRY(Runtime::check_id(description_.id));
    if (os::fstatat(os::kCwd, runtime_.directory_of(description_.id))) {
        return fail(Error::invalid(
            fmt::format("the name is taken ({})", runtime_.directory_of(description_.id))));
    }
    const Config config = TRY(parse_config(description_.config));
    const auto refused = obstacles(config, TRY(parse_state(description_.state)));
    if (!refused.empty()) {
        return fail(Error::unsupported(fmt::format("{}", fmt::join(refused, "; "))));
    }
    // runc would put both containers into one group.
    const std::string& path = config.cgroups_path.empty() ? description_.id : config.cgroups_path;
    for (const std::string& group : TRY(groups_for(path))) {
        if (TRY(members_of(group)).empty()) continue;
        return fail(Error::invalid(fmt::format("the control group {} is in use here", group)));
    }
    return {};
}

Result<std::string> Creation::write_aside(int socket_number, const os::FlatImage& image) {
    const Config config = TRY(parse_config(description_.config));
    std::string aside = TRY(maker_->altered_bundle());
    const FirstProgram program{.arguments = entry_arguments(image, socket_number),
                               .capabilities = TRY(grantable_capabilities()),
                               .rootfs = path_from(maker_->bundle(), config.rootfs)};
    const std::string altered = TRY(config_for_creation(description_.config, program));
    TRY(os::write_file(os::kCwd, aside + "/config.json", altered));
    return aside;
}

Result<Pid> Creation::create_and_start(const std::string& bundle, const os::FlatImage& image,
                                       int socket) {
    const os::UniqueFd program = TRY(entry_program());
    TRY(maker_->create({.id = description_.id,
                        .bundle = bundle,
                        .passed = {image.memory, socket, program.get()}}));
    const Container created = TRY(find(description_.id, runtime_));
    if (created.status != Status::Running) {
        return fail(
            Error::peer(fmt::format("after its creation it is {}", name_of(created.status))));
    }
    pid_ = created.state.init;
    init_.emplace(TRY(os::PidFd::open(pid_)));
    TRY(await_entry(pid_, image));
    const auto directory = TRY(proc::ProcessDirectory::open(pid_));
    TRY(compare_mounts(TRY(proc::parse_mounts(description_.mounts)),
                       TRY(proc::parse_mounts(TRY(directory.text("mountinfo")))), created.config));
    return pid_;
}

Result<> Creation::restore_limits() const {
    const std::string path = runtime_.directory_of(description_.id) + "/state.json";
    const auto limits = TRY(changed_limits(TRY(os::read_file(path)), description_.state));
    if (!limits) return {};
    TRY(runtime_.update(description_.id, *limits));
    if (!TRY(changed_limits(TRY(os::read_file(path)), description_.state))) return {};
    return fail(Error::unsupported(
        fmt::format("the limits {} cannot be set on a container that is made anew", *limits)));
}

// Nothing but the documents: the runtime keeps neither in memory.
Result<> Creation::restore_state() const {
    const std::string path = runtime_.directory_of(description_.id) + "/state.json";
    const std::string created = TRY(os::read_file(path));
    return replace_file(path, TRY(with_original_process(created, description_.state,
                                                        maker_->bundle(), streams_.links())));
}

Result<> Creation::give_streams() const {
    const Config config = TRY(parse_config(description_.config));
    const auto user = config.user_of_host();
    if (user) streams_.give_to(*user);
    return {};
}

Result<Pid> Creation::start(const os::FlatImage& image, int socket, int socket_number) {
    CHECK(maker_ != nullptr && !init_ && socket_number > 2);
    const Result<> done = [&]() -> Result<> {
        const std::string aside = TRY(write_aside(socket_number, image));
        if (version_) TRY(check_runtime());
        TRY(create_and_start(aside, image, socket));
        TRY(restore_limits());
        TRY(restore_state());
        TRY(maker_->settle());
        return give_streams();
    }();
    if (done) return pid_;
    roll_back();
    return with_context(Result<Pid>(fail(done.error())),
                        fmt::format("container \"{}\"", description_.id));
}

void Creation::commit() && {
    CHECK(maker_ != nullptr && init_);
    streams_.keep();
    committed_ = true;
    if (!maker_->commit()) maker_.reset();
}

void Creation::roll_back() {
    if (init_ && !committed_) {
        static_cast<void>(init_->send_signal(SIGKILL));
        // If orphans are ours to reap, so is this one.
        if (init_->wait_exit(kEndTimeout).value_or(false)) {
            static_cast<void>(os::wait_child(pid_));
        }
        init_.reset();
    }
    maker_.reset();
}

}  // namespace ferry::container
