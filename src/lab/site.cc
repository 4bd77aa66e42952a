#include "lab/site.h"

#include <fmt/format.h>

#include <charconv>
#include <sstream>
#include <thread>

#include "lab/client_thread.h"
#include "lab/container.h"
#include "lab/http_connection.h"

namespace ferry::lab {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kQueryTimeout{60000};
constexpr milliseconds kPageTimeout{20000};
constexpr milliseconds kRetry{100};

}  // namespace

Result<> wait_for_site(const Host& client, const std::string& ip, milliseconds timeout) {
    const auto end = std::chrono::steady_clock::now() + timeout;
    return in_network_of(client, [&]() -> Result<> {
        const auto connection = TRY(HttpConnection::create(ip));
        for (;;) {
            const Result<HttpAnswer> page = connection->send("/", "", kPageTimeout);
            if (page && page->status == 200) return {};
            if (std::chrono::steady_clock::now() > end) {
                return fail(Error::limit(fmt::format(
                    "the site at {} does not answer: {}", ip,
                    page ? fmt::format("status {}", page->status) : page.error().message())));
            }
            std::this_thread::sleep_for(kRetry);
        }
    });
}

Result<std::vector<SiteComment>> site_comments(const Host& host, const std::string& container,
                                               std::uint64_t after_id) {
    const std::string query = fmt::format(
        "select comment_ID, comment_content from wordpress.wp_comments"
        " where comment_ID > {} order by comment_ID",
        after_id);
    const std::string rows =
        TRY(runc_checked(host,
                         {"exec", container, "mariadb", "--defaults-file=/etc/mysql/site.cnf",
                          "--skip-column-names", "--batch", "--execute", query},
                         kQueryTimeout));
    std::vector<SiteComment> comments;
    std::istringstream lines(rows);
    for (std::string line; std::getline(lines, line);) {
        SiteComment comment;
        const auto parsed = std::from_chars(line.data(), line.data() + line.size(), comment.id);
        if (parsed.ec != std::errc() || *parsed.ptr != '\t') {
            return fail(Error::corrupt("a row of comments reads: " + line.substr(0, 200)));
        }
        comment.text = parsed.ptr + 1;
        comments.push_back(std::move(comment));
    }
    return comments;
}

}  // namespace ferry::lab
