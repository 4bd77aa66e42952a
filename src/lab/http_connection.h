// One kept-alive HTTP/1.1 connection of a client with cookies of its own. Nothing is sent twice and
// nothing is opened again behind the caller's back: a connection that breaks is an error of the
// request that notices it, and only the next request opens another. (libcurl would do both by
// itself; here it is not given a second socket.)
//
// One thread at a time, but for abort(). Sockets belong to the network namespace of the thread that
// sends.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "base/error.h"

namespace ferry::lab {

struct HttpAnswer {
    int status = 0;
    std::string headers;  // as they came
    std::string body;
    std::uint64_t bytes = 0;  // of both
};

class HttpConnection {
  public:
    // Of an IP address; opens nothing yet.
    static Result<std::unique_ptr<HttpConnection>> create(const std::string& ip,
                                                          std::uint16_t port = 80);
    HttpConnection(const HttpConnection&) = delete;
    HttpConnection& operator=(const HttpConnection&) = delete;
    ~HttpConnection();

    // GET, or POST of a form (application/x-www-form-urlencoded) where there is one. Redirections
    // are answers. Error::Kind::Gone: the connection broke; Limit: no whole answer in time;
    // Aborted; Peer: the first connect failed or what came is no HTTP.
    Result<HttpAnswer> send(const std::string& path, const std::string& form,
                            std::chrono::milliseconds timeout);
    // From any thread: a request under way ends within a second or two, all later ones at once.
    void abort() { aborted_ = true; }
    // Of the client, as others see it: connections that were opened so far.
    [[nodiscard]] int opened() const { return opened_; }
    // Segments that our side has sent again since the last call (TCP_INFO); those of a connection
    // that has ended since are not known.
    std::uint64_t take_retransmissions();

  private:
    HttpConnection() = default;
    Error explain(int code);
    struct Callbacks;

    void* easy_ = nullptr;  // CURL*
    std::string base_;      // "http://ip:port"
    HttpAnswer answer_;
    char error_[256] = {};  // CURL_ERROR_SIZE
    bool may_open_ = true, connected_ = false;
    int opened_ = 0;
    std::uint32_t retransmitted_ = 0;  // on this connection, as told before
    std::atomic<bool> aborted_ = false;
};

}  // namespace ferry::lab
