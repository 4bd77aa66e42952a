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
#include "base/log.h"
#include "container/capabilities.h"
#include "container/control_groups.h"
#include "container/limits.h"
#include "container/mounts.h"
#include "container/undoing.h"
#include "os/paths.h"
#include "os/spawn.h"
#include "os/sweeper.h"
#include "proc/mounts.h"
#include "proc/process_directory.h"

extern "C" const std::byte entry_blob_begin[], entry_blob_end[];

namespace ferry::container {
namespace {

// Where the altered configuration of a container lies until the container is kept or gone.
constexpr const char* kAside = "bundle";

constexpr std::chrono::seconds kEnterTimeout{20};
constexpr std::chrono::seconds kEndTimeout{10};

// In the container's first process; what Runtime::Creation::passed begins with.
constexpr int kMemoryNumber = 3, kSocketNumber = 4, kProgramNumber = 5;

std::unexpected<Error> missing(const std::string& what, const std::string& path) {
    return fail(Error::invalid(fmt::format("{} {} does not exist here", what, path)));
}

bool exists(const std::string& path) {
    return os::fstatat(os::kCwd, path).has_value();
}

std::string under(const std::string& directory, const std::string& path) {
    return path.starts_with('/') ? path : fmt::format("{}/{}", directory, path);
}

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
    Runtime runtime{
        .program = options.program,
        .root = options.runtime_root.empty() ? description.runtime_root : options.runtime_root};
    std::string bundle = options.bundle.empty() ? description.bundle : options.bundle;
    const std::string id = description.id;
    std::unique_ptr<Creation> creation(
        new Creation(std::move(description), std::move(runtime), std::move(bundle)));
    const std::string what = fmt::format("container \"{}\"", id);
    TRY(Runtime::check_id(id));
    creation->version_ = TRY(with_context(creation->runtime_.ask_version(), what));
    TRY(with_context(await_undoing(kAside, id), what));
    if (!options.version_later) TRY(with_context(creation->check_runtime(), what));
    TRY(with_context(creation->check(), what));
    if (creation->description_.podman) {
        TRY(with_context(creation->import_into_podman(), what));
    } else {
        TRY(with_context(creation->prepare_streams(options), what));
    }
    return creation;
}

Result<> Creation::prepare_streams(const CreationOptions& options) {
    if (options.streams[0] >= 0) {
        std::vector<os::UniqueFd> fds;
        for (const int fd : options.streams) fds.push_back(TRY(os::dup(fd)));
        streams_ = TRY(Streams::given(std::move(fds)));
        return {};
    }
    const std::string& output = options.output;
    const State state = TRY(parse_state(description_.state));
    const std::string& id = description_.id;
    streams_ = TRY(Streams::open(
        state.streams, output.empty() ? fmt::format("{}/{}.log", kOutputDirectory, id) : output));
    return {};
}

Result<> Creation::import_into_podman() {
    podman_ = TRY(PodmanImport::start(*description_.podman));
    bundle_ = podman_->bundle();
    description_.config = TRY(os::read_file(bundle_ + "/config.json"));
    streams_ = TRY(Streams::given(podman_->take_streams()));
    return {};
}

Creation::~Creation() {
    if (made_ || !aside_.empty()) roll_back();
}

std::string Creation::rootfs(const Config& config) const {
    return under(bundle_, config.rootfs);
}

Result<> Creation::check_runtime() {
    const std::string version = TRY(runtime_.answer(*std::exchange(version_, std::nullopt)));
    if (version == description_.runtime_version) return {};
    return fail(Error::invalid(fmt::format("{} is {} here and {} at the source", runtime_.program,
                                           version, description_.runtime_version)));
}

Result<> Creation::check() const {
    TRY(Runtime::check_id(description_.id));
    if (exists(runtime_.directory_of(description_.id))) {
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
    return description_.podman ? Result<>() : check_bundle(config);
}

Result<> Creation::check_bundle(const Config& config) const {
    if (!exists(bundle_)) return missing("the bundle", bundle_);
    const std::string path = bundle_ + "/config.json";
    if (!exists(path)) return missing("the bundle's", path);
    if (TRY(os::read_file(path)) != description_.config) {
        return fail(Error::invalid(fmt::format("{} is not the source's", path)));
    }
    if (!exists(rootfs(config))) return missing("the root file system", rootfs(config));
    for (const ConfiguredMount& mount : config.mounts) {
        if (!mount.is_bind() || exists(under(bundle_, mount.source))) continue;
        return missing(fmt::format("what is mounted on {},", mount.destination),
                       under(bundle_, mount.source));
    }
    for (const ConfiguredNamespace& joined : config.namespaces) {
        if (joined.path.empty() || exists(joined.path)) continue;
        return missing(fmt::format("the {} namespace", joined.type), joined.path);
    }
    return {};
}

Result<> Creation::write_aside(int socket_number, const os::FlatImage& image) {
    const Config config = TRY(parse_config(description_.config));
    if (podman_) {
        aside_ = podman_->altered_bundle();
    } else {
        aside_ = TRY(make_aside(kAside, description_.id));
        guardian_ = TRY(os::undo_after_death({.command = runtime_.remove_command(description_.id),
                                              .until_gone = runtime_.directory_of(description_.id),
                                              .files = {aside_ + "/config.json"},
                                              .directories = {aside_}}));
    }
    const FirstProgram program{.arguments = entry_arguments(image, socket_number),
                               .capabilities = TRY(grantable_capabilities()),
                               .rootfs = rootfs(config)};
    const std::string altered = TRY(config_for_creation(description_.config, program));
    return os::write_file(os::kCwd, aside_ + "/config.json", altered);
}

Result<Pid> Creation::create_and_start(const os::FlatImage& image, int socket) {
    const os::UniqueFd program = TRY(entry_program());
    made_ = true;
    const Runtime::Creation step = {
        .id = description_.id, .bundle = aside_, .passed = {image.memory, socket, program.get()}};
    if (podman_) {
        TRY(podman_->create(step));
        TRY(runtime_.start(description_.id));
    } else {
        TRY(runtime_.create_and_start(step));
    }
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
    return replace_file(
        path, TRY(with_original_process(created, description_.state, bundle_, streams_.links())));
}

Result<> Creation::give_streams() const {
    const Config config = TRY(parse_config(description_.config));
    const auto user = config.user_of_host();
    if (user) streams_.give_to(*user);
    return {};
}

Result<Pid> Creation::start(const os::FlatImage& image, int socket, int socket_number) {
    CHECK(!made_ && socket_number > 2);
    const std::string name = fmt::format("container \"{}\"", description_.id);
    Result<> done = write_aside(socket_number, image);
    if (done && version_) done = check_runtime();
    if (done) {
        const auto pid = create_and_start(image, socket);
        done = pid ? restore_limits() : fail(pid.error());
        if (done) done = restore_state();
        if (done && podman_) done = podman_->settle();
        if (done) done = give_streams();
    }
    if (!done) {
        roll_back();
        return fail(std::move(done.error()).context(name));
    }
    return pid_;
}

void Creation::commit() && {
    CHECK(made_);
    made_ = false;
    guardian_ = {};
    streams_.keep();
    if (podman_) podman_->commit();
    remove_aside();
}

void Creation::remove_aside() {
    if (aside_.empty() || podman_) {
        podman_.reset();
        aside_.clear();
        return;
    }
    static_cast<void>(os::unlinkat(os::kCwd, aside_ + "/config.json"));
    const auto removed = os::unlinkat(os::kCwd, aside_, AT_REMOVEDIR);
    if (!removed) log_warn("{}", removed.error().message());
    aside_.clear();
}

void Creation::roll_back() {
    if (init_) {
        static_cast<void>(init_->send_signal(SIGKILL));
        // If orphans are ours to reap, so is this one.
        if (init_->wait_exit(kEndTimeout).value_or(false)) {
            static_cast<void>(os::wait_child(pid_));
        }
        init_.reset();
    }
    // Podman asks the runtime itself.
    if (podman_) made_ = false;
    if (made_) {
        const auto removed = runtime_.remove(description_.id);
        if (!removed) log_warn("{}", removed.error().message());
        made_ = false;
    }
    remove_aside();
    guardian_ = {};
}

}  // namespace ferry::container
