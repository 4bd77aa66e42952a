#include "lab/redis_connection.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <array>

#include "os/socket.h"

namespace ferry::lab {
namespace {

constexpr timeval kConnectTimeout = {5, 0};
constexpr std::size_t kArgumentsMax = 16;

}  // namespace

Result<RedisConnection> RedisConnection::connect(const RedisAddress& address) {
    // hiredis writes without MSG_NOSIGNAL; a broken connection is an error here, not our end.
    ::signal(SIGPIPE, SIG_IGN);
    redisContext* context =
        redisConnectWithTimeout(address.ip.c_str(), address.port, kConnectTimeout);
    if (context == nullptr) return fail(Error::limit("redisConnect: out of memory"));
    RedisConnection connection(context);
    if (context->err != 0) {
        return fail(Error::peer(fmt::format("redis at {}:{}: {}", address.ip, address.port,
                                            static_cast<const char*>(context->errstr))));
    }
    TRY(os::setsockopt(context->fd, IPPROTO_TCP, TCP_NODELAY, 1));
    // Replies are waited for by poll(2), with our own deadlines.
    const int flags = TRY(os::fcntl(context->fd, F_GETFL));
    TRY(os::fcntl(context->fd, F_SETFL, static_cast<std::uint64_t>(flags | O_NONBLOCK)));
    context->flags &= ~REDIS_BLOCK;
    return connection;
}

Error RedisConnection::broken(const char* what) const {
    return Error::gone(fmt::format("connection to redis broke ({}): {}", what,
                                   static_cast<const char*>(context_->errstr)));
}

void RedisConnection::queue(const std::vector<std::string_view>& command) {
    std::array<const char*, kArgumentsMax> arguments;
    std::array<std::size_t, kArgumentsMax> lengths;
    const std::size_t count = std::min(command.size(), kArgumentsMax);
    for (std::size_t i = 0; i < count; ++i) {
        arguments[i] = command[i].data();
        lengths[i] = command[i].size();
    }
    redisAppendCommandArgv(context_.get(), static_cast<int>(count), arguments.data(),
                           lengths.data());
}

Result<bool> RedisConnection::flush() {
    int done = 0;
    if (redisBufferWrite(context_.get(), &done) != REDIS_OK) return fail(broken("write"));
    return done != 0;
}

Result<> RedisConnection::receive() {
    if (redisBufferRead(context_.get()) != REDIS_OK) return fail(broken("read"));
    return {};
}

Result<std::optional<RedisReply>> RedisConnection::next_reply() {
    void* reply = nullptr;
    if (redisGetReplyFromReader(context_.get(), &reply) != REDIS_OK)
        return fail(broken("protocol"));
    if (reply == nullptr) return std::nullopt;
    return RedisReply(static_cast<redisReply*>(reply));
}

Result<RedisReply> RedisConnection::wait_reply(std::chrono::milliseconds timeout) {
    const auto end = std::chrono::steady_clock::now() + timeout;
    for (;;) {
        std::optional<RedisReply> reply = TRY(next_reply());
        if (reply) return std::move(*reply);
        const bool sent = TRY(flush());
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
            end - std::chrono::steady_clock::now());
        if (left.count() <= 0) {
            return fail(Error::limit(fmt::format("no reply from redis in {} ms", timeout.count())));
        }
        pollfd ready = {fd(), static_cast<short>(sent ? POLLIN : POLLIN | POLLOUT), 0};
        static_cast<void>(::poll(&ready, 1, static_cast<int>(left.count())));
        if ((ready.revents & (POLLIN | POLLERR | POLLHUP)) != 0) TRY(receive());
    }
}

Result<RedisReply> RedisConnection::call(const std::vector<std::string_view>& command,
                                         std::chrono::milliseconds timeout) {
    queue(command);
    return wait_reply(timeout);
}

}  // namespace ferry::lab
