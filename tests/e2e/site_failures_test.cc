// Whatever goes wrong when the lab's own site is to cross: it stays where it is, no request of its
// clients fails and no connection of theirs breaks, its database is whole, and the other side has
// nothing of it.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "lab/site_bundle.h"
#include "lab/site_lab.h"
#include "os/launch.h"

namespace ferry::lab {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

#define ASSERT_OK(result) ASSERT_TRUE((result).has_value()) << (result).error().describe()

class SiteFailures : public testing::Test {
  protected:
    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "needs root";
        const auto bundle = build_site({}, guard_);
        if (!bundle && bundle.error().message().find("no network") != std::string::npos) {
            GTEST_SKIP() << bundle.error().message();
        }
        ASSERT_OK(bundle);
        // Slow, so that the pre-copy lasts.
        auto lab = SiteLab::create({.hosts = {},
                                    .bundle = bundle->directory,
                                    .platforms = {},
                                    .link_bits_per_second = 3e8,
                                    .requests_per_second = 5},
                                   guard_);
        ASSERT_OK(lab);
        lab_ = std::move(*lab);
        ASSERT_OK(lab_->start_sites(1, 1));
        ASSERT_OK(lab_->start_clients());
        ASSERT_OK(shell(1, fmt::format("cat > /run/cut.nft <<'end'\n"
                                       "table ip cut {{\n"
                                       "  chain out {{ type filter hook output priority 0; ip "
                                       "daddr {0} drop; }}\n"
                                       "  chain in {{ type filter hook input priority 0; ip "
                                       "saddr {0} drop; }}\n"
                                       "}}\nend",
                                       lab_->platform(2).address())));
    }

    Result<std::string> shell(int platform, const std::string& script) {
        return lab_->host(platform).run_checked({"sh", "-c", script}, 120s);
    }

    // Moves it, in vain, and looks at what it has come to.
    void expect_to_stay(const std::string& reason) {
        const auto reports = lab_->move({0}, 2, Method::Live);
        ASSERT_OK(reports);
        EXPECT_FALSE(reports->front().succeeded);
        EXPECT_THAT(reports->front().error, HasSubstr(reason));
    }

    void expect_all_well() {
        SCOPED_TRACE("afterwards");
        const auto copies = lab_->copies(0);
        ASSERT_OK(copies);
        EXPECT_EQ(*copies, 1);
        const std::uint64_t answers = answered();
        const auto end = std::chrono::steady_clock::now() + 60s;
        while (answered() < answers + 5 && std::chrono::steady_clock::now() < end) {
            std::this_thread::sleep_for(50ms);
        }
        EXPECT_GE(answered(), answers + 5) << "its clients are not answered any more";
        EXPECT_EQ(lab_->http(0).first_failure(), "");
    }

    std::uint64_t answered() {
        const auto now = std::chrono::steady_clock::now();
        return lab_->http(0).window(now - 24h, now).answers();
    }

    // Tables checked by the server itself, page by page; every acknowledged comment, once.
    void expect_whole_database() {
        const std::string check_all =
            "select group_concat(concat(table_schema, '.', table_name)) into @all "
            "from information_schema.tables where table_schema = 'wordpress'; "
            "execute immediate concat('check table ', @all, ' extended')";
        const auto checked =
            runc_checked(lab_->host(lab_->platform_of(0)),
                         {"exec", lab_->name(0), "mariadb", "--defaults-file=/etc/mysql/site.cnf",
                          "--skip-column-names", "--batch", "--execute", check_all},
                         120s);
        ASSERT_OK(checked);
        EXPECT_THAT(*checked, HasSubstr("wordpress.wp_comments\tcheck\tstatus\tOK"));
        EXPECT_THAT(*checked, testing::Not(HasSubstr("rror"))) << *checked;
        const HttpResult result = lab_->http(0).stop();
        EXPECT_TRUE(result.good()) << lab_->http(0).first_failure();
        const auto rows = lab_->new_comments(0);
        ASSERT_OK(rows);
        const CommentCheck comments = lab_->http(0).check(*rows);
        EXPECT_TRUE(comments.good()) << comments.lost << " lost, " << comments.doubled << " twice";
        EXPECT_GT(comments.acknowledged, 0u);
    }

    // The link between the platforms goes silently once the script, on the first of them, is done.
    void expect_to_stay_when_cut(const std::string& when) {
        os::Launch cut = lab_->host(1).launch({"sh", "-c", when + "\nexec nft -f /run/cut.nft"});
        auto cutter = os::ChildProcess::start(cut);
        ASSERT_OK(cutter);
        expect_to_stay("lost");
        ASSERT_OK(cutter->wait(10s));
        ASSERT_OK(shell(1, "nft delete table ip cut"));
        expect_nothing_there();
        expect_all_well();
    }

    void expect_nothing_there() {
        std::string there;
        for (int i = 0; i < 600; ++i) {
            const auto list = runc_checked(lab_->host(2), {"list", "--quiet"}, 20s);
            ASSERT_OK(list);
            there = *list;
            if (there.empty()) break;
            std::this_thread::sleep_for(50ms);
        }
        EXPECT_EQ(there, "");
    }

    InterruptGuard guard_;
    std::unique_ptr<SiteLab> lab_;
};

TEST_F(SiteFailures, WhatCannotBeDoneIsRefusedAndHarmsNothing) {
    const std::string name = lab_->name(0);
    ASSERT_OK(runc_checked(lab_->host(1), {"pause", name}, 20s));
    expect_to_stay("it is paused");
    ASSERT_OK(runc_checked(lab_->host(1), {"resume", name}, 20s));
    expect_all_well();
    // The name is taken.
    const std::string taken = fmt::format("{}/{}", kRuncRoot, name);
    ASSERT_OK(shell(2, "mkdir -p " + taken));
    expect_to_stay("the name is taken");
    ASSERT_OK(shell(2, "rmdir " + taken));
    // No room.
    const std::string sites =
        "$(awk '$5 ~ /\\/sites$/ { print $5 }' /proc/self/mountinfo | head -n 1)";
    ASSERT_OK(shell(2, "mount -t tmpfs -o size=200k small " + sites));
    expect_to_stay("no room");
    ASSERT_OK(shell(2, "umount " + sites));
    // Another version of the runtime.
    ASSERT_OK(
        shell(2,
              "printf '#!/bin/sh\\necho runc version 0.0.1\\n' > /run/other-runc && "
              "chmod 755 /run/other-runc && mount --bind /run/other-runc $(command -v runc)"));
    expect_to_stay("0.0.1");
    ASSERT_OK(shell(2, "umount $(command -v runc)"));
    expect_nothing_there();
    expect_all_well();
    expect_whole_database();
}

TEST_F(SiteFailures, ALinkThatIsCutCostsNeitherARequestNorAComment) {
    expect_to_stay_when_cut("sleep 2");
    // Stopped for longer than one system call in it takes.
    expect_to_stay_when_cut(fmt::format(
        "seen=0; while [ $seen -lt 40 ]; do\n"
        "  while read -r key value rest; do [ $key = State: ] && break; done < /proc/{}/status\n"
        "  if [ $value = t ]; then seen=$((seen + 1)); else seen=0; fi\n"
        "done",
        lab_->container(0).init_pid()));
    const auto moved = lab_->move({0}, 2, Method::Live);
    ASSERT_OK(moved);
    EXPECT_TRUE(moved->front().succeeded) << moved->front().error;
    expect_all_well();
    expect_whole_database();
}

}  // namespace
}  // namespace ferry::lab
