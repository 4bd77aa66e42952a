// The clients of the lab's site: an open-loop load (a fixed number of requests per second, whether
// answers come or not) over connections that stay open from start to end. They read pages and
// images, log in, and post comments, each with a text of its own. Every answer is looked at; every
// comment that the site confirmed is looked for in its database at the end.
//
// Threads: the public functions belong to the thread that made the object; each connection has a
// thread inside the client host's network namespace.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "lab/client_results.h"
#include "lab/http_connection.h"
#include "lab/http_summary.h"
#include "lab/world.h"

namespace ferry::lab {

struct HttpLoadOptions {
    std::string ip;  // of the site
    double requests_per_second = 20;
    int connections = 8;
    // By RequestKind; what is left to 1 are pages.
    double images = 0.35, logins = 0.05, comments = 0.15;
    std::uint64_t seed = 1;
    std::chrono::milliseconds timeout{60000};  // of one request
    std::chrono::milliseconds sample_interval{100};
};

class HttpLoad {
  public:
    // Every connection has been opened and has had an answer to each kind of request when this
    // returns; the load runs.
    static Result<std::unique_ptr<HttpLoad>> start(const Host& client,
                                                   const HttpLoadOptions& options);
    // Breaks off what is under way.
    ~HttpLoad();

    // So far; for a progress display, and to notice trouble early.
    [[nodiscard]] std::uint64_t answered() const { return answered_; }
    [[nodiscard]] std::uint64_t failed() const { return failed_; }
    // In words; empty if nothing has failed.
    std::string first_failure();
    // Of the requests due in a span that lies in the past; some may be pending.
    HttpResult window(Moment begin, Moment end);

    // Ends the load: what was due is sent, and every answer waited for as long as a request may
    // take. A failed request is part of the result and no error.
    HttpResult stop();
    // After stop(). `rows`: all comments that the database got since the load was started.
    [[nodiscard]] CommentCheck check(const std::vector<SiteComment>& rows) const;

  private:
    struct Task;
    explicit HttpLoad(HttpLoadOptions options);
    void run(const Host& client, HttpConnection& connection, int number);
    Result<> warm_up(HttpConnection& connection);
    std::optional<Task> next_task();
    [[nodiscard]] Moment due_of(std::uint64_t number) const;
    Task make_task(std::uint64_t number);
    void perform(HttpConnection& connection, const Task& task);
    void record(const HttpRecord& record, const Result<>& outcome);
    void note_comment(const Task& task, std::optional<std::uint64_t> acknowledged_id);
    void join();
    std::vector<HttpRecord> records_so_far();

    const HttpLoadOptions options_;
    const std::string token_;  // begins every comment of this load
    std::vector<std::unique_ptr<HttpConnection>> connections_;
    std::atomic<std::uint64_t> answered_ = 0, failed_ = 0;

    std::mutex mutex_;  // guards all below
    std::condition_variable changed_;
    std::mt19937_64 random_;
    int warm_ = 0;  // connections that have had their first answers
    std::string first_failure_;
    Moment begin_ = Moment::max();           // when the first request is due
    Moment end_ = Moment::max();             // nothing is due from here on
    std::uint64_t next_ = 0;                 // number of the next request
    std::vector<HttpRecord> records_;        // of requests that are over
    std::map<Moment, RequestKind> pending_;  // sent and not over, by the moment they were due
    std::vector<SentComment> comments_;

    std::vector<std::thread> threads_;  // last: they use everything above
};

}  // namespace ferry::lab
