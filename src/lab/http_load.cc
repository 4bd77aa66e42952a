#include "lab/http_load.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/check.h"
#include "lab/client_thread.h"
#include "lab/site.h"

namespace ferry::lab {
namespace {

using std::chrono::nanoseconds;

// Between the last connection's first answer and the first request that counts.
constexpr std::chrono::milliseconds kHeadStart{20};

std::string make_token() {
    std::random_device device;
    return fmt::format("ferry-{:08x}{:08x}", device(), device());
}

// The number after "#comment-" in the address that a browser is sent on to.
std::optional<std::uint64_t> confirmed_comment(const HttpAnswer& answer) {
    constexpr std::string_view kMark = "#comment-";
    if (answer.status != 302) return std::nullopt;
    const std::size_t at = answer.headers.find(kMark);
    if (at == std::string::npos) return std::nullopt;
    std::uint64_t id = 0;
    const char* text = answer.headers.data() + at + kMark.size();
    const auto parsed = std::from_chars(text, answer.headers.data() + answer.headers.size(), id);
    if (parsed.ec != std::errc() || id == 0) return std::nullopt;
    return id;
}

bool is_expected(RequestKind kind, const HttpAnswer& answer) {
    switch (kind) {
        case RequestKind::Page:
            // To its very end: PHP may fail in the middle of a page.
            return answer.status == 200 && answer.body.find("</html>") != std::string::npos;
        case RequestKind::Image:
            return answer.status == 200 && answer.body.starts_with("\xff\xd8\xff");
        case RequestKind::Login:
            return answer.status == 302 &&
                   answer.headers.find("wordpress_logged_in_") != std::string::npos;
        case RequestKind::Comment:
            return confirmed_comment(answer).has_value();
    }
    return false;
}

std::string image_path(std::uint64_t number) {
    return fmt::format("/wp-content/uploads/2021/04/product-{:02}.jpg", number % kSiteImages + 1);
}

// What an answer says, in one line: a page's title, or how the text begins.
std::string gist_of(const std::string& body) {
    constexpr std::string_view kOpen = "<title>";
    const std::size_t title = body.find(kOpen), end = body.find("</title>");
    const bool has_title = title != std::string::npos && end != std::string::npos && title < end;
    std::string text = has_title ? body.substr(title + kOpen.size(), end - title - kOpen.size())
                                 : body.substr(0, 100);
    std::ranges::replace_if(text, [](char c) { return static_cast<unsigned char>(c) < ' '; }, ' ');
    return text;
}

}  // namespace

struct HttpLoad::Task {
    RequestKind kind = RequestKind::Page;
    Moment due;
    std::string path;
    std::string form = {};     // not empty: POST
    std::string comment = {};  // its text
};

HttpLoad::HttpLoad(HttpLoadOptions options)
    : options_(std::move(options)), token_(make_token()), random_(options_.seed) {}

Result<std::unique_ptr<HttpLoad>> HttpLoad::start(const Host& client,
                                                  const HttpLoadOptions& options) {
    if (options.connections < 1 || !(options.requests_per_second > 0)) {
        return fail(Error::invalid("a load needs a connection and a rate"));
    }
    std::unique_ptr<HttpLoad> load(new HttpLoad(options));
    for (int i = 0; i < options.connections; ++i) {
        load->connections_.push_back(TRY(HttpConnection::create(options.ip)));
    }
    for (int i = 0; i < options.connections; ++i) {
        HttpConnection& connection = *load->connections_[static_cast<std::size_t>(i)];
        load->threads_.emplace_back(
            [load = load.get(), &client, &connection, i] { load->run(client, connection, i); });
    }
    std::unique_lock lock(load->mutex_);
    load->changed_.wait(
        lock, [&] { return load->warm_ == options.connections || !load->first_failure_.empty(); });
    if (!load->first_failure_.empty()) return fail(Error::peer(load->first_failure_));
    load->begin_ = std::chrono::steady_clock::now() + kHeadStart;
    load->changed_.notify_all();
    return load;
}

HttpLoad::~HttpLoad() {
    for (const auto& connection : connections_) connection->abort();
    join();
}

void HttpLoad::join() {
    {
        const std::lock_guard lock(mutex_);
        end_ = std::min(end_, std::chrono::steady_clock::now());
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
}

std::string HttpLoad::first_failure() {
    const std::lock_guard lock(mutex_);
    return first_failure_;
}

// A client of its own: with its user's name, its cookies and its connection.
void HttpLoad::run(const Host& client, HttpConnection& connection, int number) {
    become_a_client("http-client");
    Result<> ready = client.enter_network();
    if (ready) ready = warm_up(connection);
    {
        const std::lock_guard lock(mutex_);
        ++warm_;
        if (!ready && first_failure_.empty()) {
            first_failure_ = fmt::format("client {}: {}", number + 1, ready.error().message());
        }
    }
    changed_.notify_all();
    while (ready) {
        const std::optional<Task> task = next_task();
        if (!task) return;
        perform(connection, *task);
    }
}

// Through everything that will be asked for: PHP translates a script when it runs for the first
// time, which is no property of a service that is in use. The comment is empty, hence not taken.
Result<> HttpLoad::warm_up(HttpConnection& connection) {
    const std::string login = "log=reader1&pwd=reader1-secret";
    const std::string comment = fmt::format("comment_post_ID={}&comment=", kSiteFirstPost);
    TRY(connection.send("/wp-comments-post.php", comment, options_.timeout));
    const std::array<Task, 4> tasks = {
        Task{.kind = RequestKind::Image, .due = {}, .path = image_path(0)},
        Task{.kind = RequestKind::Page, .due = {}, .path = "/"},
        Task{.kind = RequestKind::Page, .due = {}, .path = fmt::format("/?p={}", kSiteFirstPost)},
        Task{.kind = RequestKind::Login, .due = {}, .path = "/wp-login.php", .form = login}};
    for (const Task& task : tasks) {
        const HttpAnswer answer = TRY(connection.send(task.path, task.form, options_.timeout));
        if (is_expected(task.kind, answer)) continue;
        return fail(
            Error::peer(fmt::format("{} is answered with status {}", task.path, answer.status)));
    }
    return {};
}

// Waits until the next request is due; nullopt if none will be. A client that was busy when it
// became due finds it waiting, and the wait counts.
std::optional<HttpLoad::Task> HttpLoad::next_task() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return begin_ != Moment::max() || end_ != Moment::max(); });
    if (begin_ == Moment::max()) return std::nullopt;
    const Task task = make_task(next_);
    if (task.due >= end_) return std::nullopt;
    ++next_;
    changed_.wait_until(lock, task.due, [&] { return task.due >= end_; });
    if (task.due >= end_) return std::nullopt;
    pending_.emplace(task.due, task.kind);
    return task;
}

Moment HttpLoad::due_of(std::uint64_t number) const {
    const double after = static_cast<double>(number) / options_.requests_per_second;
    return begin_ + nanoseconds(std::llround(after * 1e9));
}

HttpLoad::Task HttpLoad::make_task(std::uint64_t number) {
    Task task;
    task.due = due_of(number);
    const double choice = std::uniform_real_distribution(0.0, 1.0)(random_);
    const std::uint64_t which = random_();
    const std::uint64_t post = kSiteFirstPost + which % kSitePosts;
    if (choice < options_.images) {
        task.kind = RequestKind::Image;
        task.path = image_path(which);
    } else if (choice < options_.images + options_.logins) {
        const std::uint64_t user = which % kSiteUsers + 1;
        task.kind = RequestKind::Login;
        task.path = "/wp-login.php";
        task.form = fmt::format("log=reader{0}&pwd=reader{0}-secret", user);
    } else if (choice < options_.images + options_.logins + options_.comments) {
        task.kind = RequestKind::Comment;
        task.path = "/wp-comments-post.php";
        task.comment = fmt::format("{}-{}", token_, number);
        task.form =
            fmt::format("author=Reader&email=reader@example.org&comment_post_ID={}&comment={}",
                        post, task.comment);
    } else {
        task.path = which % 4 == 0 ? "/" : fmt::format("/?p={}", post);
    }
    return task;
}

void HttpLoad::perform(HttpConnection& connection, const Task& task) {
    HttpRecord entry{.kind = task.kind, .due = task.due};
    const Result<HttpAnswer> answer = connection.send(task.path, task.form, options_.timeout);
    entry.done = std::chrono::steady_clock::now();
    entry.retransmissions = connection.take_retransmissions();
    Result<> outcome;
    if (!answer) {
        entry.broke = answer.error().kind() == Error::Kind::Gone;
        outcome = fail(answer.error());
    } else {
        entry.bytes = answer->bytes;
        entry.answered = is_expected(task.kind, *answer);
        if (!entry.answered) {
            outcome = fail(Error::peer(fmt::format("{} was answered with status {}: {}", task.path,
                                                   answer->status, gist_of(answer->body))));
        }
    }
    if (task.kind == RequestKind::Comment) {
        note_comment(task, answer ? confirmed_comment(*answer) : std::nullopt);
    }
    record(entry, outcome);
}

void HttpLoad::note_comment(const Task& task, std::optional<std::uint64_t> acknowledged_id) {
    const std::lock_guard lock(mutex_);
    comments_.push_back({.text = task.comment, .acknowledged_id = acknowledged_id});
}

void HttpLoad::record(const HttpRecord& record, const Result<>& outcome) {
    ++(record.answered ? answered_ : failed_);
    const std::lock_guard lock(mutex_);
    records_.push_back(record);
    pending_.erase(record.due);
    if (!outcome && first_failure_.empty()) first_failure_ = outcome.error().message();
}

std::vector<HttpRecord> HttpLoad::records_so_far() {
    const std::lock_guard lock(mutex_);
    const Moment now = std::chrono::steady_clock::now();
    std::vector<HttpRecord> records = records_;
    const auto add = [&](RequestKind kind, Moment due) {
        records.push_back({.kind = kind, .due = due, .done = now, .pending = true});
    };
    for (const auto& [due, kind] : pending_) add(kind, due);
    // And those that are due while every client is busy. Of what kind they will be is not known
    // yet.
    for (std::uint64_t number = next_; begin_ != Moment::max(); ++number) {
        const Moment due = due_of(number);
        if (due >= std::min(now, end_)) break;
        add(RequestKind::Page, due);
    }
    return records;
}

HttpResult HttpLoad::window(Moment begin, Moment end) {
    return summarise(records_so_far(), begin, end, options_.sample_interval);
}

HttpResult HttpLoad::stop() {
    join();
    return window(begin_, end_);
}

CommentCheck HttpLoad::check(const std::vector<SiteComment>& rows) const {
    CHECK(threads_.empty());
    return check_comments(comments_, rows);
}

}  // namespace ferry::lab
