#include "lab/http_connection.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <mutex>
#include <utility>

#include "base/check.h"
#include "os/socket.h"

namespace ferry::lab {
namespace {

// An answer of the site has some ten kilobytes; what runs away is an error.
constexpr std::size_t kAnswerBytesMax = 16u << 20;
// libcurl does not use a connection again that was idle for longer than this, by default 118 s.
constexpr long kIdleSecondsMax = 7L * 24 * 3600;

}  // namespace

// libcurl calls these with the connection as their last argument.
struct HttpConnection::Callbacks {
    static std::size_t take_body(char* data, std::size_t one, std::size_t count, void* self) {
        HttpAnswer& answer = static_cast<HttpConnection*>(self)->answer_;
        if (answer.body.size() > kAnswerBytesMax) return 0;
        answer.body.append(data, one * count);
        return one * count;
    }
    static std::size_t take_header(char* data, std::size_t one, std::size_t count, void* self) {
        HttpAnswer& answer = static_cast<HttpConnection*>(self)->answer_;
        if (answer.headers.size() > kAnswerBytesMax) return 0;
        answer.headers.append(data, one * count);
        return one * count;
    }
    static curl_socket_t open_socket(void* self, curlsocktype, curl_sockaddr* address) {
        auto* connection = static_cast<HttpConnection*>(self);
        if (!connection->may_open_) return CURL_SOCKET_BAD;
        connection->may_open_ = false;
        ++connection->opened_;
        connection->retransmitted_ = 0;
        return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    }
    static int look_for_abort(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
        return static_cast<HttpConnection*>(self)->aborted_ ? 1 : 0;
    }
};

Result<std::unique_ptr<HttpConnection>> HttpConnection::create(const std::string& ip,
                                                               std::uint16_t port) {
    static std::once_flag once;
    std::call_once(once, [] { ::curl_global_init(CURL_GLOBAL_DEFAULT); });
    std::unique_ptr<HttpConnection> connection(new HttpConnection);
    CURL* easy = ::curl_easy_init();
    if (easy == nullptr) return fail(Error::limit("libcurl gives no handle"));
    connection->easy_ = easy;
    const bool v6 = ip.find(':') != std::string::npos;
    connection->base_ =
        v6 ? fmt::format("http://[{}]:{}", ip, port) : fmt::format("http://{}:{}", ip, port);
    void* self = connection.get();
    ::curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    ::curl_easy_setopt(easy, CURLOPT_PROXY, "");
    ::curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    ::curl_easy_setopt(easy, CURLOPT_COOKIEFILE, "");  // cookies on, none to begin with
    ::curl_easy_setopt(easy, CURLOPT_MAXCONNECTS, 1L);
    ::curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, kIdleSecondsMax);
    ::curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, connection->error_);
    ::curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Callbacks::take_body);
    ::curl_easy_setopt(easy, CURLOPT_WRITEDATA, self);
    ::curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &Callbacks::take_header);
    ::curl_easy_setopt(easy, CURLOPT_HEADERDATA, self);
    ::curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, &Callbacks::open_socket);
    ::curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, self);
    ::curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    ::curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, &Callbacks::look_for_abort);
    ::curl_easy_setopt(easy, CURLOPT_XFERINFODATA, self);
    return connection;
}

HttpConnection::~HttpConnection() {
    if (easy_ != nullptr) ::curl_easy_cleanup(easy_);
}

Result<HttpAnswer> HttpConnection::send(const std::string& path, const std::string& form,
                                        std::chrono::milliseconds timeout) {
    if (aborted_) return fail(Error::aborted("the client was told to stop"));
    if (!connected_) may_open_ = true;
    answer_ = {};
    error_[0] = 0;
    const std::string url = base_ + path;
    ::curl_easy_setopt(easy_, CURLOPT_URL, url.c_str());
    ::curl_easy_setopt(easy_, CURLOPT_TIMEOUT_MS, static_cast<long>(timeout.count()));
    if (form.empty()) {
        ::curl_easy_setopt(easy_, CURLOPT_HTTPGET, 1L);
    } else {
        ::curl_easy_setopt(easy_, CURLOPT_POSTFIELDSIZE, static_cast<long>(form.size()));
        ::curl_easy_setopt(easy_, CURLOPT_COPYPOSTFIELDS, form.c_str());
        ::curl_easy_setopt(easy_, CURLOPT_POST, 1L);
    }
    const CURLcode code = ::curl_easy_perform(easy_);
    if (code != CURLE_OK) return fail(explain(code));
    long opened = 0, status = 0;
    ::curl_easy_getinfo(easy_, CURLINFO_NUM_CONNECTS, &opened);
    ::curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
    CHECK(opened == (connected_ ? 0 : 1));
    connected_ = true;
    may_open_ = false;
    answer_.status = static_cast<int>(status);
    answer_.bytes = answer_.headers.size() + answer_.body.size();
    return std::move(answer_);
}

std::uint64_t HttpConnection::take_retransmissions() {
    curl_socket_t socket = CURL_SOCKET_BAD;
    ::curl_easy_getinfo(easy_, CURLINFO_ACTIVESOCKET, &socket);
    if (socket == CURL_SOCKET_BAD) return 0;
    const Result<tcp_info> info = os::getsockopt<tcp_info>(socket, IPPROTO_TCP, TCP_INFO);
    if (!info) return 0;
    return info->tcpi_total_retrans - std::exchange(retransmitted_, info->tcpi_total_retrans);
}

Error HttpConnection::explain(int code) {
    const bool was_connected = std::exchange(connected_, false);
    const auto curl_code = static_cast<CURLcode>(code);
    const std::string text =
        fmt::format("{}: {}", base_, error_[0] != 0 ? error_ : ::curl_easy_strerror(curl_code));
    if (curl_code == CURLE_ABORTED_BY_CALLBACK) return Error::aborted(text);
    if (curl_code == CURLE_OPERATION_TIMEDOUT) return Error::limit(text);
    // libcurl asked for a second socket: it had found the first one closed.
    if (was_connected && curl_code == CURLE_COULDNT_CONNECT) {
        return Error::gone(base_ + ": the connection was closed");
    }
    return was_connected ? Error::gone(text) : Error::peer(text);
}

}  // namespace ferry::lab
