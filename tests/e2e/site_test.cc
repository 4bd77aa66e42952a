// The lab's own site in its container under runc: pages, users, comments, and an end in order.
#include "lab/site.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "lab/container.h"
#include "lab/site_bundle.h"

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
