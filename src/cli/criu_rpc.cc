#include "cli/criu_rpc.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/socket.h>

#include <cerrno>
#include <span>
#include <utility>
#include <vector>

#include "cli/proto/criu_rpc.pb.h"
#include "os/endpoint.h"
#include "os/fd.h"
#include "os/socket.h"

namespace ferry::cli {
namespace {

namespace wire = criu_rpc;

// A container with thousands of mounts asks in less.
constexpr std::size_t kRequestBytesMax = 1 << 20;
// runc always asks for an empty network namespace, since CRIU knows no bridges.
constexpr std::uint32_t kEmptyOfRunc = CLONE_NEWNET;
// Whose RPC this is.
constexpr int kMajor = 4, kMinor = 2;

Result<> send(int fd, const wire::Answer& answer) {
    const std::string bytes = answer.SerializeAsString();
    TRY(os::send(fd, os::as_bytes(bytes), MSG_NOSIGNAL));
    return {};
}

// nullopt: closed.
Result<std::optional<wire::Request>> receive_request(int fd) {
    std::vector<std::byte> bytes(kRequestBytesMax);
    const std::size_t size = TRY(os::recv(fd, bytes, MSG_TRUNC));
    if (size == 0) return std::nullopt;
    if (size > bytes.size()) return fail(Error::limit("a request that is too long"));
    wire::Request request;
    if (!request.ParseFromArray(bytes.data(), static_cast<int>(size))) {
        return fail(Error::corrupt("a request that makes no sense"));
    }
    return request;
}

wire::Answer answer_of(RpcKind kind, bool success) {
    wire::Answer answer;
    answer.set_type(static_cast<std::uint32_t>(kind));
    answer.set_success(success);
    return answer;
}

std::string refused_in(const wire::Options& options) {
    const std::pair<bool, const char*> refused[] = {
        {options.auto_dedup(), "auto_dedup"},
        {(options.empty_ns() & ~kEmptyOfRunc) != 0, "empty_ns"},
        {options.lazy_pages(), "lazy_pages"},
        {options.status_fd() >= 0, "status_fd"},
        {options.tcp_close(), "tcp_close"},
        {!options.lsm_profile().empty(), "lsm_profile"},
        {!options.lsm_mount_context().empty(), "lsm_mount_context"},
    };
    for (const auto& [given, name] : refused) {
        if (given) return name;
    }
    const auto& unknown = options.GetReflection()->GetUnknownFields(options);
    return unknown.empty() ? "" : fmt::format("{} of the request", unknown.field(0).number());
}

RpcOptions options_of(const wire::Options& options) {
    return {.images_directory = options.images_dir_fd(),
            .work_directory = options.work_dir_fd(),
            .root_process = Pid{options.pid()},
            .root_directory = options.root(),
            .parent = options.parent_img(),
            .leave_running = options.leave_running(),
            .external_unix = options.ext_unix_sk(),
            .tcp_established = options.tcp_established(),
            .shell_job = options.shell_job(),
            .file_locks = options.file_locks(),
            .ghost_bytes_max = options.ghost_limit(),
            .log_file = options.log_file(),
            .verbosity = options.log_level(),
            .configuration = options.config_file(),
            .wants_notices = options.notify_scripts(),
            .refused = refused_in(options)};
}

}  // namespace

Result<RpcSocket> RpcSocket::of(int fd) {
    const auto peer = os::getsockopt<ucred>(fd, SOL_SOCKET, SO_PEERCRED);
    if (!peer) return fail(Error::invalid(fmt::format("descriptor {} is no socket", fd)));
    return RpcSocket(fd, Pid{peer->pid});
}

Result<std::optional<RpcRequest>> RpcSocket::receive() {
    const auto request = TRY(receive_request(fd_));
    if (!request) return std::nullopt;
    RpcRequest result{.kind = static_cast<RpcKind>(request->type()), .options = {}};
    if (request->has_opts()) result.options = options_of(request->opts());
    return result;
}

Result<> RpcSocket::answer_version() {
    wire::Answer answer = answer_of(RpcKind::Version, true);
    answer.mutable_version()->set_major_number(kMajor);
    answer.mutable_version()->set_minor_number(kMinor);
    answer.mutable_version()->set_name("Ferry");
    return send(fd_, answer);
}

Result<> RpcSocket::answer_features() {
    wire::Answer answer = answer_of(RpcKind::FeatureCheck, true);
    answer.mutable_features()->set_mem_track(true);
    answer.mutable_features()->set_lazy_pages(false);
    answer.mutable_features()->set_pidfd_store(false);
    return send(fd_, answer);
}

Result<> RpcSocket::answer(RpcKind kind, Pid pid) {
    wire::Answer answer = answer_of(kind, true);
    if (pid.value != 0) answer.mutable_restore()->set_pid(pid.value);
    return send(fd_, answer);
}

Result<> RpcSocket::answer_error(RpcKind kind, const Error& error) {
    wire::Answer answer = answer_of(kind, false);
    answer.set_cr_errno(error.code() == 0 ? EINVAL : error.code());
    answer.set_cr_errmsg(error.message());
    return send(fd_, answer);
}

Result<> RpcSocket::notify(std::string_view script, Pid pid) {
    wire::Answer answer = answer_of(RpcKind::Notify, true);
    answer.mutable_notify()->set_script(std::string(script));
    if (pid.value != 0) answer.mutable_notify()->set_pid(pid.value);
    TRY(send(fd_, answer));
    return await_confirmation(script);
}

Result<> RpcSocket::give_master(int master) {
    constexpr std::string_view kScript = "orphan-pts-master";
    wire::Answer answer = answer_of(RpcKind::Notify, true);
    answer.mutable_notify()->set_script(std::string(kScript));
    const std::string bytes = answer.SerializeAsString();
    TRY(os::send_with_fds(fd_, os::as_bytes(bytes), std::span(&master, 1)));
    return await_confirmation(kScript);
}

Result<> RpcSocket::await_confirmation(std::string_view script) {
    const auto done = TRY(receive_request(fd_));
    const bool is_done = done && done->type() == static_cast<std::uint32_t>(RpcKind::Notify) &&
                         done->notify_success();
    if (is_done) return {};
    return fail(Error::peer(fmt::format("the runtime has failed at {}", script)));
}

}  // namespace ferry::cli
