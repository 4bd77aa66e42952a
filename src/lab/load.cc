#include "lab/load.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <deque>
#include <functional>
#include <random>

#include "base/check.h"
#include "lab/client_thread.h"
#include "lab/values.h"

namespace ferry::lab {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr std::uint64_t kBatch = 512;
constexpr milliseconds kReplyTimeout{30000};

bool is_ok(const RedisReply& reply) {
    return reply->type == REDIS_REPLY_STATUS && std::string_view(reply->str, reply->len) == "OK";
}

Error unexpected(const RedisReply& reply) {
    const std::string_view text =
        reply->str == nullptr ? "" : std::string_view(reply->str, reply->len);
    return Error::peer(fmt::format("redis answered {} \"{}\"", reply->type, text.substr(0, 200)));
}

}  // namespace

double LoadWindow::longest_pause() const {
    double longest = 0;
    for (const double pause : longest_pause_ms) longest = std::max(longest, pause);
    return longest;
}

struct Load::Connection {
    RedisConnection redis;
    std::size_t number;
    struct Write {
        std::uint64_t key;
        std::uint32_t version;
        Clock::time_point due;
    };
    std::deque<Write> in_flight;
    bool flushed = true;
};

Result<> Load::fill(const Host& client, const RedisAddress& address, std::uint64_t keys,
                    const std::function<void(double)>& progress) {
    return in_network_of(client, [&]() -> Result<> {
        RedisConnection redis = TRY(RedisConnection::connect(address));
        std::array<char, kValueBytes> value;
        std::uint64_t outstanding = 0;
        for (std::uint64_t key = 0; key < keys; ++key) {
            make_value(key, 0, value);
            redis.queue({"SET", key_name(key), {value.data(), value.size()}});
            // The second half of a batch is sent while the first is being answered.
            if (++outstanding < kBatch && key + 1 < keys) continue;
            const std::uint64_t keep = key + 1 < keys ? kBatch / 2 : 0;
            for (; outstanding > keep; --outstanding) {
                const RedisReply reply = TRY(redis.wait_reply(kReplyTimeout));
                if (!is_ok(reply)) return fail(unexpected(reply));
            }
            if (progress) progress(static_cast<double>(key + 1) / static_cast<double>(keys));
        }
        return {};
    });
}

Load::Load(LoadOptions options) : options_(std::move(options)) {}

Result<std::unique_ptr<Load>> Load::start(const Host& client, const LoadOptions& options) {
    if (options.keys == 0 || options.writer_connections < 1) {
        return fail(Error::invalid("a load needs keys and a writer connection"));
    }
    std::unique_ptr<Load> load(new Load(options));
    load->sent_.assign(options.keys, 0);
    load->acknowledged_versions_.assign(options.keys, 0);
    TRY(in_network_of(client, [&] { return load->connect(client); }));
    load->window_.longest_pause_ms.assign(load->writers_.size() + load->probes_.size(), 0);
    load->window_start_ = Clock::now();
    load->threads_.emplace_back([load = load.get()] { load->run_writer(); });
    for (std::size_t i = 0; i < load->probes_.size(); ++i) {
        load->threads_.emplace_back([load = load.get(), i] { load->run_probe(i); });
    }
    return load;
}

Result<> Load::connect(const Host&) {
    for (int i = 0; i < options_.writer_connections; ++i) {
        writers_.push_back(std::make_unique<Connection>(
            TRY(RedisConnection::connect(options_.address)), writers_.size()));
    }
    for (int i = 0; i < options_.probe_connections; ++i) {
        probes_.push_back(std::make_unique<Connection>(
            TRY(RedisConnection::connect(options_.address)), writers_.size() + probes_.size()));
    }
    return {};
}

Load::~Load() {
    // A reply that never comes must not hold us up: a socket that is shut down reads as closed.
    for (const auto& connection : writers_) ::shutdown(connection->redis.fd(), SHUT_RDWR);
    for (const auto& connection : probes_) ::shutdown(connection->redis.fd(), SHUT_RDWR);
    join();
}

void Load::join() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
}

std::optional<std::string> Load::failure() {
    const std::lock_guard lock(mutex_);
    return failure_;
}

void Load::set_failure(const Error& error) {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = error.message();
}

void Load::record(std::size_t connection, bool is_write, nanoseconds latency) {
    const std::lock_guard lock(mutex_);
    (is_write ? window_.writes : window_.probes).add(latency);
    double& longest = window_.longest_pause_ms[connection];
    longest = std::max(longest, std::chrono::duration<double, std::milli>(latency).count());
}

LoadWindow Load::take_window() {
    const std::lock_guard lock(mutex_);
    const auto now = Clock::now();
    LoadWindow taken = std::move(window_);
    taken.seconds = std::chrono::duration<double>(now - window_start_).count();
    taken.writes_acknowledged = acknowledged_ - acknowledged_before_window_;
    acknowledged_before_window_ += taken.writes_acknowledged;
    window_ = {};
    window_.longest_pause_ms.assign(taken.longest_pause_ms.size(), 0);
    window_start_ = now;
    return taken;
}

void Load::run_writer() {
    become_a_client("load-writer");
    const Result<> result = write_until_stopped();
    if (!result) set_failure(result.error());
}

Result<> Load::take_replies(Connection& connection) {
    TRY(connection.redis.receive());
    for (;;) {
        const std::optional<RedisReply> reply = TRY(connection.redis.next_reply());
        if (!reply) return {};
        if (!is_ok(*reply)) return fail(unexpected(*reply));
        if (connection.in_flight.empty()) return fail(Error::peer("a reply to nothing"));
        const Connection::Write write = connection.in_flight.front();
        connection.in_flight.pop_front();
        acknowledged_versions_[write.key] = write.version;
        ++acknowledged_;
        record(connection.number, true, Clock::now() - write.due);
    }
}

Result<> Load::write_until_stopped() {
    std::mt19937_64 random(options_.seed);
    const nanoseconds interval(static_cast<std::int64_t>(1e9 / options_.writes_per_second));
    std::array<char, kValueBytes> value;
    std::vector<pollfd> polls(writers_.size());
    auto due = Clock::now();
    Clock::time_point stopped_at{};
    for (;;) {
        auto now = Clock::now();
        const bool stopping = stop_;
        while (!stopping && due <= now) {
            const std::uint64_t key = random() % options_.keys;
            // A key always takes the same connection, so that its versions arrive in order.
            Connection& connection = *writers_[key % writers_.size()];
            const std::uint32_t version = ++sent_[key];
            make_value(key, version, value);
            connection.redis.queue({"SET", key_name(key), {value.data(), value.size()}});
            connection.in_flight.push_back({key, version, due});
            connection.flushed = false;
            due += interval;
        }
        bool idle = true;
        for (std::size_t i = 0; i < writers_.size(); ++i) {
            Connection& connection = *writers_[i];
            if (!connection.flushed) connection.flushed = TRY(connection.redis.flush());
            idle = idle && connection.in_flight.empty();
            const int events = connection.flushed ? POLLIN : POLLIN | POLLOUT;
            polls[i] = {connection.redis.fd(), static_cast<short>(events), 0};
        }
        if (stopping) {
            if (idle) return {};
            if (stopped_at == Clock::time_point{}) stopped_at = now;
            if (now - stopped_at > kReplyTimeout) {
                return fail(Error::limit("writes stay without a reply"));
            }
        }
        const nanoseconds pause = stopping ? milliseconds(10) : std::max(due - now, nanoseconds(0));
        const timespec timeout = {pause.count() / 1'000'000'000, pause.count() % 1'000'000'000};
        static_cast<void>(::ppoll(polls.data(), polls.size(), &timeout, nullptr));
        for (std::size_t i = 0; i < writers_.size(); ++i) {
            if ((polls[i].revents & ~POLLOUT) != 0) TRY(take_replies(*writers_[i]));
        }
    }
}

void Load::run_probe(std::size_t index) {
    become_a_client("load-probe");
    const Result<> result = probe_until_stopped(index);
    if (!result) set_failure(result.error());
}

Result<> Load::probe_until_stopped(std::size_t index) {
    Connection& connection = *probes_[index];
    const std::string key = fmt::format("probe:{}", index);
    for (std::uint64_t count = 0; !stop_; ++count) {
        const std::string value = fmt::format("{}", count / 2);
        const bool writes = count % 2 == 0;
        const auto start = Clock::now();
        const RedisReply reply =
            TRY(writes ? connection.redis.call({"SET", key, value}, kReplyTimeout)
                       : connection.redis.call({"GET", key}, kReplyTimeout));
        record(connection.number, false, Clock::now() - start);
        if (writes && !is_ok(reply)) return fail(unexpected(reply));
        if (!writes && (reply->type != REDIS_REPLY_STRING ||
                        std::string_view(reply->str, reply->len) != value)) {
            ++probe_errors_;
        }
        std::this_thread::sleep_for(options_.probe_pause);
    }
    return {};
}

Result<> Load::stop() {
    join();
    if (failure_) return fail(Error::gone(*failure_));
    return {};
}

Result<Verification> Load::verify() {
    CHECK(threads_.empty());
    Verification result;
    result.writes_acknowledged = acknowledged_;
    result.probe_errors = probe_errors_;
    RedisConnection& redis = writers_.front()->redis;
    std::uint64_t asked = 0;
    for (std::uint64_t key = 0; key < options_.keys; ++key) {
        for (; asked < options_.keys && asked < key + kBatch; ++asked) {
            redis.queue({"GET", key_name(asked)});
        }
        const RedisReply reply = TRY(redis.wait_reply(kReplyTimeout));
        std::optional<std::uint64_t> version;
        if (reply->type == REDIS_REPLY_STRING) {
            version = check_value(key, {reply->str, reply->len});
        }
        ++result.keys_checked;
        if (!version) {
            ++result.foreign;
        } else if (*version < acknowledged_versions_[key]) {
            ++result.lost;
        } else if (*version > sent_[key]) {
            ++result.foreign;
        }
    }
    return result;
}

}  // namespace ferry::lab
