// The lab's own site in its container under runc: pages, users, comments, and an end in order.
#include "lab/site.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "lab/container.h"
#include "lab/http_load.h"
#include "lab/site_bundle.h"
#include "lab/udp_probe.h"

namespace ferry::lab {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

#define ASSERT_OK(result) ASSERT_TRUE((result).has_value()) << (result).error().describe()

class SiteTest : public testing::Test {
  protected:
    static constexpr const char* kIp = "10.77.1.100";

    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "needs root";
        const auto bundle = build_site({}, guard_);
        if (!bundle && bundle.error().message().find("no network") != std::string::npos) {
            GTEST_SKIP() << bundle.error().message();
        }
        ASSERT_OK(bundle);
        auto world =
            World::create({{"one", {"10.77.0.11/16"}, 1000}, {"client", {"10.77.1.2/16"}, 300}});
        ASSERT_OK(world);
        world_ = std::move(*world);
        ASSERT_OK(mount_cgroups(host()));
        ASSERT_OK(add_bridge(host(), "lan"));
        auto container = Container::start(host(), {.name = "site",
                                                   .bundle = bundle->directory,
                                                   .directory = "/run/ferry/site",
                                                   .bridge = "lan",
                                                   .address = std::string(kIp) + "/16",
                                                   .mac = "",
                                                   .memory_bytes = 1u << 30,
                                                   .processes = 200});
        ASSERT_OK(container);
        container_ = std::move(*container);
        ASSERT_OK(wait_for_site(client(), kIp, 60s));
    }

    Host& host() { return world_->host(0); }
    Host& client() { return world_->host(1); }

    std::string curl(std::vector<std::string> arguments, const std::string& path) {
        arguments.insert(arguments.begin(),
                         {"curl", "--silent", "--show-error", "--max-time", "20", "--include"});
        arguments.push_back(std::string("http://") + kIp + path);
        const auto result = client().run(arguments, 30s);
        return result ? result->out + result->err : result.error().message();
    }

    InterruptGuard guard_;
    std::unique_ptr<World> world_;
    std::unique_ptr<Container> container_;
};

TEST_F(SiteTest, PagesImagesUsersAndCommentsWork) {
    const std::string page = curl({}, "/?p=1005");
    EXPECT_THAT(page, HasSubstr("200 OK"));
    EXPECT_THAT(page, HasSubstr("comment_post_ID"));
    EXPECT_THAT(curl({"--head"}, "/wp-content/uploads/2021/04/product-01.jpg"),
                HasSubstr("Content-Type: image/jpeg"));
    EXPECT_THAT(curl({"--data", "log=reader1&pwd=reader1-secret"}, "/wp-login.php"),
                HasSubstr("wordpress_logged_in_"));
    EXPECT_THAT(curl({"--data", "log=reader1&pwd=wrong"}, "/wp-login.php"),
                testing::Not(HasSubstr("wordpress_logged_in_")));
    const auto before = site_comments(host(), "site");
    ASSERT_OK(before);
    // Two at once from the same address: nothing holds a comment back.
    for (const char* token : {"token-a", "token-b"}) {
        EXPECT_THAT(curl({"--data", std::string("author=a&email=a@example.org&comment_post_ID=1005"
                                                "&comment=") +
                                        token},
                         "/wp-comments-post.php"),
                    HasSubstr("#comment-"));
    }
    const auto added = site_comments(host(), "site", before->back().id);
    ASSERT_OK(added);
    ASSERT_EQ(added->size(), 2u);
    EXPECT_EQ((*added)[0].text, "token-a");
    EXPECT_EQ((*added)[1].text, "token-b");
}

TEST_F(SiteTest, ALoadLosesNothingAndEveryCommentIsThereOnce) {
    const auto before = site_comments(host(), "site");
    ASSERT_OK(before);
    HttpLoadOptions options;
    options.ip = kIp;
    options.requests_per_second = 20;
    auto load = HttpLoad::start(client(), options);
    ASSERT_OK(load);
    auto probe = UdpProbe::start(client(), {.ip = kIp});
    ASSERT_OK(probe);
    std::this_thread::sleep_for(5s);
    const UdpResult echoes = (*probe)->stop();
    const HttpResult result = (*load)->stop();
    EXPECT_TRUE(result.good()) << (*load)->first_failure();
    EXPECT_GE(result.due, 100u);
    EXPECT_EQ(result.answers(), result.due);
    for (const std::uint64_t kind : result.answered) EXPECT_GT(kind, 0u);
    EXPECT_GT(result.bytes, 1u << 20);
    const auto rows = site_comments(host(), "site", before->back().id);
    ASSERT_OK(rows);
    const CommentCheck check = (*load)->check(*rows);
    EXPECT_TRUE(check.good());
    EXPECT_EQ(check.acknowledged, result.answered[static_cast<std::size_t>(RequestKind::Comment)]);
    EXPECT_EQ(check.found_once, check.acknowledged);
    EXPECT_EQ(check.unacknowledged, 0u);
    EXPECT_GT(echoes.sent, 400u);
    EXPECT_EQ(echoes.lost(), 0u);
    EXPECT_EQ(echoes.duplicates + echoes.reordered, 0u);
}

TEST_F(SiteTest, AStandstillIsSeenAndALostCommentToo) {
    const auto before = site_comments(host(), "site");
    ASSERT_OK(before);
    auto load = HttpLoad::start(client(), {.ip = kIp, .requests_per_second = 20});
    ASSERT_OK(load);
    auto probe = UdpProbe::start(client(), {.ip = kIp});
    ASSERT_OK(probe);
    std::this_thread::sleep_for(1s);
    ASSERT_OK(runc_checked(host(), {"pause", "site"}, 10s));
    std::this_thread::sleep_for(700ms);
    const auto now = std::chrono::steady_clock::now();
    const HttpResult standing = (*load)->window(now - 600ms, now);
    EXPECT_EQ(standing.answers(), 0u);
    EXPECT_GE(standing.pending, 11u);  // more than there are clients
    EXPECT_GE(standing.longest_pause_ms, 500);
    ASSERT_OK(runc_checked(host(), {"resume", "site"}, 10s));
    std::this_thread::sleep_for(1s);
    const HttpResult result = (*load)->stop();
    const UdpResult echoes = (*probe)->stop();
    EXPECT_TRUE(result.good()) << (*load)->first_failure();
    EXPECT_EQ(result.pending, 0u);
    EXPECT_GE(result.longest_pause_ms, 600);
    EXPECT_GE(result.longest_silence_ms, 600);
    EXPECT_GE(echoes.longest_gap_ms, 600);
    auto rows = site_comments(host(), "site", before->back().id);
    ASSERT_OK(rows);
    ASSERT_TRUE((*load)->check(*rows).good());
    ASSERT_FALSE(rows->empty());
    const std::string remove =
        "delete from wordpress.wp_comments where comment_ID = " + std::to_string(rows->front().id);
    ASSERT_OK(runc_checked(
        host(),
        {"exec", "site", "mariadb", "--defaults-file=/etc/mysql/site.cnf", "--execute", remove},
        10s));
    rows = site_comments(host(), "site", before->back().id);
    ASSERT_OK(rows);
    EXPECT_EQ((*load)->check(*rows).lost, 1u);
}

TEST_F(SiteTest, ASiteThatIsKilledBreaksItsConnections) {
    auto load = HttpLoad::start(client(), {.ip = kIp, .requests_per_second = 20, .timeout = 2s});
    ASSERT_OK(load);
    std::this_thread::sleep_for(500ms);
    ASSERT_OK(
        runc_checked(host(), {"exec", "site", "sh", "-c", "kill -9 $(cat /run/nginx.pid)"}, 10s));
    std::this_thread::sleep_for(1s);
    EXPECT_GT((*load)->failed(), 0u);
    const HttpResult result = (*load)->stop();
    EXPECT_FALSE(result.good());
    EXPECT_GT(result.broken_connections, 0u);
    EXPECT_NE((*load)->first_failure(), "");
}

TEST_F(SiteTest, ItStopsInOrderAndLeavesNothing) {
    const std::string own = std::to_string(::getpid());
    EXPECT_EQ(*container_->status(), "running");
    ASSERT_OK(container_->stop(30s));
    EXPECT_EQ(*container_->status(), "absent");
    const auto log = host().run_checked({"cat", "/run/ferry/site/rootfs/var/log/mysql.log"}, 5s);
    ASSERT_OK(log);
    EXPECT_THAT(*log, HasSubstr("Shutdown complete"));
    container_.reset();
    world_.reset();
    for (const auto& entry : std::filesystem::recursive_directory_iterator(
             "/sys/fs/cgroup", std::filesystem::directory_options::skip_permission_denied)) {
        EXPECT_THAT(entry.path().string(), testing::Not(HasSubstr("ferry-lab-" + own)));
    }
}

}  // namespace
}  // namespace ferry::lab
