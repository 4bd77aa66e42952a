#include "container/runc_maker.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <vector>

#include "base/log.h"
#include "container/state.h"
#include "container/undoing.h"
#include "os/fd.h"
#include "os/paths.h"
#include "os/sweeper.h"

namespace ferry::container {
namespace {

std::unexpected<Error> missing(const std::string& what, const std::string& path) {
    return fail(Error::invalid(fmt::format("{} {} does not exist here", what, path)));
}

bool exists(const std::string& path) {
    return os::fstatat(os::kCwd, path).has_value();
}

}  // namespace

Result<std::unique_ptr<RuncMaker>> RuncMaker::make(const Description& description, Runtime runtime,
                                                   const CreationOptions& options) {
    std::unique_ptr<RuncMaker> maker(
        new RuncMaker(description, std::move(runtime),
                      options.bundle.empty() ? description.bundle : options.bundle, options));
    TRY(maker->check_bundle());
    TRY(maker->open_streams(description, options));
    return maker;
}

RuncMaker::~RuncMaker() {
    if (made_) {
        const auto removed = runtime_.remove(id_);
        if (!removed) log_warn("{}", removed.error().message());
    }
    remove_aside();
}

Result<> RuncMaker::check_bundle() const {
    if (!exists(bundle_)) return missing("the bundle", bundle_);
    const std::string path = bundle_ + "/config.json";
    if (!exists(path)) return missing("the bundle's", path);
    if (TRY(os::read_file(path)) != config_) {
        return fail(Error::invalid(fmt::format("{} is not the source's", path)));
    }
    const Config config = TRY(parse_config(config_));
    const std::string rootfs = path_from(bundle_, config.rootfs);
    if (!exists(rootfs)) return missing("the root file system", rootfs);
    for (const ConfiguredMount& mount : config.mounts) {
        const std::string source = path_from(bundle_, mount.source);
        if (!mount.is_bind() || exists(source)) continue;
        return missing(fmt::format("what is mounted on {},", mount.destination), source);
    }
    for (const ConfiguredNamespace& joined : config.namespaces) {
        if (joined.path.empty() || exists(joined.path)) continue;
        return missing(fmt::format("the {} namespace", joined.type), joined.path);
    }
    return {};
}

Result<> RuncMaker::open_streams(const Description& description, const CreationOptions& options) {
    has_terminal_ = TRY(parse_config(config_)).terminal;
    if (!console_socket_.empty()) {
        if (!has_terminal_) return fail(Error::invalid("it has no terminal for a console socket"));
        TRY(check_console_socket(console_socket_));
    }
    if (options.streams[0] >= 0 && !has_terminal_) {
        std::vector<os::UniqueFd> fds;
        for (const int fd : options.streams) fds.push_back(TRY(os::dup(fd)));
        streams_ = TRY(Streams::given(std::move(fds)));
        return {};
    }
    const State state = TRY(parse_state(description.state));
    const std::string output =
        options.output.empty() ? fmt::format("{}/{}.log", kOutputDirectory, id_) : options.output;
    if (has_terminal_) return open_terminal(output);
    streams_ = TRY(Streams::open(state.streams, output));
    return {};
}

Result<> RuncMaker::open_terminal(const std::string& output) {
    const bool is_ours = console_socket_.empty() && !give_console_;
    streams_ = TRY(Streams::terminal(is_ours ? output : std::string()));
    if (is_ours) output_ = TRY(os::dup(streams_.fd(1)));
    return {};
}

// They lie at the same paths on both hosts (arrival.h).
Result<std::vector<files::TreePlace>> RuncMaker::places(const std::vector<FileTree>& trees,
                                                        const Config& /*config*/) const {
    return std::vector<files::TreePlace>(trees.size());
}

Result<std::string> RuncMaker::altered_bundle() {
    aside_ = TRY(make_aside(kAside, id_));
    held_ = TRY(hold_aside(aside_));
    guardian_ = TRY(os::undo_after_death({.command = runtime_.remove_command(id_),
                                          .until_gone = runtime_.directory_of(id_),
                                          .files = {aside_ + "/config.json", own_console_socket()},
                                          .directories = {aside_},
                                          .held = held_.get()}));
    return aside_;
}

Result<> RuncMaker::create(const Runtime::Creation& creation) {
    made_ = true;
    Runtime::Creation with_console = creation;
    if (has_terminal_) with_console.console_socket = console_socket_;
    if (has_terminal_ && console_socket_.empty()) {
        with_console.console_socket = own_console_socket();
        console_ = TRY(ConsoleSocket::listen(own_console_socket()));
    }
    TRY(runtime_.create_and_start(with_console));
    return console_ ? take_console() : Result<>();
}

Result<> RuncMaker::take_console() {
    const os::UniqueFd master = TRY(console_->take_master());
    console_.reset();
    if (give_console_) return give_console_(master);
    const Container made = TRY(find(id_, runtime_));
    return hold_master(master, made.state.init, output_);
}

bool RuncMaker::commit() {
    made_ = false;
    guardian_ = {};
    return true;
}

void RuncMaker::remove_aside() {
    if (aside_.empty()) return;
    static_cast<void>(os::unlinkat(os::kCwd, aside_ + "/config.json"));
    if (has_terminal_) static_cast<void>(os::unlinkat(os::kCwd, own_console_socket()));
    const auto removed = os::unlinkat(os::kCwd, aside_, AT_REMOVEDIR);
    if (!removed) log_warn("{}", removed.error().message());
    aside_.clear();
    held_.reset();
}

}  // namespace ferry::container
