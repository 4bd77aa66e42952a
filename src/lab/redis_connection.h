// One client connection to Redis that stays open: requests are queued, replies come in their order.
// There is no reconnecting; a broken connection is an error. One thread at a time.
#pragma once

#include <hiredis/hiredis.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "os/fd.h"

namespace ferry::lab {

struct RedisAddress {
    std::string ip;
    int port = 6379;
};

struct ReplyFree {
    void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using RedisReply = std::unique_ptr<redisReply, ReplyFree>;

class RedisConnection {
  public:
    // From the network namespace of the calling thread.
    static Result<RedisConnection> connect(const RedisAddress& address);

    [[nodiscard]] int fd() const { return context_->fd; }
    // Appends one command to the output buffer.
    void queue(const std::vector<std::string_view>& command);
    // Writes what the socket takes now; true if everything is out.
    Result<bool> flush();
    // Reads what is there now. A closed connection is Error::Kind::Gone.
    Result<> receive();
    // The next complete reply that was received; empty if there is none yet.
    Result<std::optional<RedisReply>> next_reply();
    // Sends what is queued and waits for one reply. Error::Kind::Limit after the timeout.
    Result<RedisReply> wait_reply(std::chrono::milliseconds timeout);
    Result<RedisReply> call(const std::vector<std::string_view>& command,
                            std::chrono::milliseconds timeout);

  private:
    struct ContextFree {
        void operator()(redisContext* context) const { redisFree(context); }
    };
    explicit RedisConnection(redisContext* context) : context_(context) {}
    [[nodiscard]] Error broken(const char* what) const;
    std::unique_ptr<redisContext, ContextFree> context_;
};

}  // namespace ferry::lab
