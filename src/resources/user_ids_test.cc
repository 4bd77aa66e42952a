#include "resources/user_ids.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ferry::resources {
namespace {

proc::UserNamespace shifted() {
    const auto map = [](std::uint32_t outside) {
        return proc::IdMap({{.inside = 0, .outside = outside, .count = 1000}});
    };
    return {.users = map(100000), .groups = map(200000), .root = {}};
}

model::Credentials of(std::uint32_t user, std::uint32_t group) {
    model::Credentials credentials;
    credentials.uid = credentials.euid = credentials.suid = credentials.fsuid = user;
    credentials.gid = credentials.egid = credentials.sgid = credentials.fsgid = group;
    return credentials;
}

TEST(UserIds, AreThoseOfTheNamespace) {
    model::Checkpoint checkpoint;
    auto& thread = checkpoint.processes.emplace_back().threads.emplace_back();
    thread.credentials = of(100033, 200033);
    thread.credentials.euid = 100000;
    thread.credentials.groups = {200033, 200999};
    model::UnixSocket listening;
    listening.listener = {.pid = 1, .uid = 100033, .gid = 5};
    checkpoint.files.resize(3);
    checkpoint.files[0].body = listening;
    checkpoint.files[1].owner.pid = 7;
    checkpoint.files[1].owner.uid = 100001;
    checkpoint.files[1].owner.euid = 100002;
    const auto done = number_users_from_inside(checkpoint, shifted());
    ASSERT_TRUE(done) << done.error().message();
    model::Credentials wanted = of(33, 33);
    wanted.euid = 0;
    wanted.groups = {33, 999};
    EXPECT_EQ(checkpoint.processes[0].threads[0].credentials, wanted);
    const auto& listener = *std::get<model::UnixSocket>(checkpoint.files[0].body).listener;
    EXPECT_EQ(listener.uid, 33u);
    EXPECT_EQ(listener.gid, 65534u) << "as it is seen from inside";
    EXPECT_EQ(checkpoint.files[1].owner.uid, 1u);
    EXPECT_EQ(checkpoint.files[1].owner.euid, 2u);
    EXPECT_EQ(checkpoint.files[2].owner.uid, 0u);
}

TEST(UserIds, WhoHasNoneThereIsRefusedByName) {
    model::Credentials foreign = of(100033, 200033);
    foreign.groups = {200001, 4};
    const model::Credentials before = foreign;
    const auto refused = number_users_from_inside(foreign, shifted());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind(), Error::Kind::Unsupported);
    EXPECT_THAT(refused.error().message(), testing::HasSubstr("as group 4 of the host"));
    EXPECT_EQ(foreign, before);
}

}  // namespace
}  // namespace ferry::resources
