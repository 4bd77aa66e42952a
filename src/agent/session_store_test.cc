#include "agent/session_store.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <array>

#include "agent/history.h"
#include "agent/lookup.h"
#include "agent/process_table.h"
#include "agent/session.h"
#include "agent/test_daemon.h"
#include "net/test_directory.h"

namespace ferry::agent {
namespace {

const std::string kNoContainers = "/nonexistent";

using migrate::SessionState;

SessionInfo example(char digit, std::int64_t finished) {
    SessionInfo info;
    info.id = std::string(32, digit);
    info.role = Role::Destination;
    info.service = "redis \"quoted\"\n";
    info.source = "alpha";
    info.destination = "beta";
    info.state = SessionState::Ready;
    info.started_ms = 1;
    info.finished_ms = finished;
    return info;
}

TEST(SessionStore, WhatIsWrittenIsRead) {
    const net::TestDirectory directory;
    const auto store = SessionStore::open(directory.path() + "/a/b");
    ASSERT_TRUE(store);
    const SessionInfo info = example('1', 0);
    ASSERT_TRUE(store->write(info));
    const auto read = store->read(info.id);
    ASSERT_TRUE(read);
    ASSERT_TRUE(read->has_value());
    EXPECT_EQ((*read)->service, info.service);
    EXPECT_EQ((*read)->state, SessionState::Ready);
    EXPECT_EQ((*read)->role, Role::Destination);
    EXPECT_EQ(store->ids()->size(), 1u);
    ASSERT_TRUE(store->remove(info.id));
    EXPECT_FALSE(store->read(info.id)->has_value());
}

// Between the record of its decision and the moment from which its tree runs without it.
TEST(SessionStore, ADestinationWhoseTreeDiedWithItsWorkerNeverRan) {
    const net::TestDirectory directory;
    const auto store = SessionStore::open(directory.path());
    const auto history = History::open(directory.path() + "/history.db");
    ASSERT_TRUE(store);
    ASSERT_TRUE(history);
    std::optional<NamedProcess> service(std::in_place, directory.path(), "service");
    // Of a tree that is let go children first.
    const NamedProcess child(directory.path(), "child");
    for (const bool lives : {true, false}) {
        SessionInfo info = example(lives ? '1' : '2', 0);
        info.state = SessionState::Running;
        info.processes = known_processes(std::array{service->pid(), child.pid()});
        ASSERT_EQ(info.processes.size(), 2u);
        info.root = info.processes.front();
        // Its peer waits meanwhile.
        EXPECT_EQ(state_for_peer(info), SessionState::Ready);
        ASSERT_TRUE(store->write(info));
        if (!lives) service.reset();
        const auto concluded = conclude_session(info, *store, **history);
        ASSERT_TRUE(concluded);
        EXPECT_EQ(state_for_peer(*concluded),
                  lives ? SessionState::Running : SessionState::Aborted);
        EXPECT_EQ(start_of(child.pid()).has_value(), lives);
    }
}

// Whatever of Ferry's was killed: what it held goes on once it is known that nobody else has it,
// and ends once somebody has.
TEST(SessionStore, ASourceThatWasHeldGoesOnOrEnds) {
    const net::TestDirectory directory;
    const auto store = SessionStore::open(directory.path());
    const auto history = History::open(directory.path() + "/history.db");
    ASSERT_TRUE(store);
    ASSERT_TRUE(history);
    const auto state_of = [](Pid pid) {
        const auto all = all_processes();
        const auto found = all->find(pid.value);
        return found == all->end() ? 'X' : found->second.state;
    };
    const auto concluded = [&](SessionState recorded, std::optional<SessionState> answer) {
        const NamedProcess service(directory.path(), "service");
        EXPECT_EQ(::kill(service.pid().value, SIGSTOP), 0);
        EXPECT_TRUE(eventually([&] { return state_of(service.pid()) == 'T'; }));
        SessionInfo info = example('3', 0);
        info.role = Role::Source;
        info.state = recorded;
        info.processes = known_processes(std::array{service.pid()});
        info.root = info.processes.front();
        EXPECT_TRUE(store->write(info));
        const auto first = conclude_session(info, *store, **history);
        EXPECT_TRUE(first);
        if (answer) {
            EXPECT_EQ(state_of(service.pid()), 'T') << "its fate is not known yet";
            EXPECT_TRUE(settle_outcome(*first, *answer, *store, **history));
        }
        eventually([&] { return state_of(service.pid()) != 'T'; });
        const char state = state_of(service.pid());
        return state == 'R' ? 'S' : state == 'X' ? 'Z' : state;
    };
    EXPECT_EQ(concluded(SessionState::Precopy, std::nullopt), 'S');
    EXPECT_EQ(concluded(SessionState::Committed, SessionState::Aborted), 'S');
    EXPECT_EQ(concluded(SessionState::Committed, SessionState::Running), 'Z');
}

TEST(SessionStore, AnIdFromAPeerCannotLeaveTheDirectory) {
    const net::TestDirectory directory;
    const auto store = SessionStore::open(directory.path());
    EXPECT_FALSE(store->read("../../../../../../etc/passwd"));
    EXPECT_FALSE(store->read(""));
    EXPECT_FALSE(store->read(std::string(31, 'a') + "/"));
}

TEST(SessionStore, AGarbledFileIsCorrupt) {
    const net::TestDirectory directory;
    const auto store = SessionStore::open(directory.path());
    const std::string id(32, 'b');
    for (const char* text : {"", "{}", "[1]", "{\"session\": 7}", "\xff\xfe"}) {
        ASSERT_TRUE(os::write_file(os::kCwd, directory.path() + "/" + id + ".json", text));
        const auto read = store->read(id);
        ASSERT_FALSE(read) << text;
        EXPECT_EQ(read.error().kind(), Error::Kind::Corrupt);
    }
}

TEST(SessionStore, TheLockIsHeldByOneOnly) {
    const net::TestDirectory directory;
    const auto store = SessionStore::open(directory.path());
    const std::string id(32, 'c');
    auto first = store->try_lock(id);
    ASSERT_TRUE(first->has_value());
    EXPECT_FALSE(store->try_lock(id)->has_value());
    first->reset();
    EXPECT_TRUE(store->try_lock(id)->has_value());
}

TEST(History, RecentSessionsComeFirstAndStayAfterReopening) {
    const net::TestDirectory directory;
    {
        const auto history = History::open(directory.path() + "/h.db");
        ASSERT_TRUE(history) << history.error().message();
        ASSERT_TRUE((*history)->add(example('1', 100)));
        ASSERT_TRUE((*history)->add(example('2', 300)));
        ASSERT_TRUE((*history)->add(example('3', 200)));
        ASSERT_TRUE((*history)->add(example('1', 400)));
    }
    const auto history = History::open(directory.path() + "/h.db");
    const auto recent = (*history)->recent(2);
    ASSERT_TRUE(recent);
    ASSERT_EQ(recent->size(), 2u);
    EXPECT_EQ((*recent)[0].id, std::string(32, '1'));
    EXPECT_EQ((*recent)[1].id, std::string(32, '2'));
    EXPECT_EQ((*history)->recent(0)->size(), 3u);
    EXPECT_TRUE((*history)->find(std::string(32, '3'))->has_value());
    EXPECT_FALSE((*history)->find(std::string(32, '9'))->has_value());
}

TEST(History, AFileThatIsNoDatabaseIsRefused) {
    const net::TestDirectory directory;
    const std::string path = directory.path() + "/h.db";
    ASSERT_TRUE(os::write_file(os::kCwd, path, std::string(4096, 'x')));
    EXPECT_FALSE(History::open(path));
}

TEST(Lookup, ANameMeansTheOneProcessThatHasIt) {
    const net::TestDirectory directory;
    const NamedProcess service(directory.path(), "fl-one");
    EXPECT_EQ(find_service("fl-one", kNoContainers)->root, service.pid());
    EXPECT_EQ(find_service(fmt::format("{}", service.pid()), kNoContainers)->root, service.pid());
}

TEST(Lookup, AnAmbiguousNameListsTheCandidates) {
    const net::TestDirectory directory;
    const NamedProcess one(directory.path(), "fl-two");
    const NamedProcess two(directory.path(), "fl-two");
    const auto found = find_service("fl-two", kNoContainers);
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().kind(), Error::Kind::Invalid);
    for (const Pid pid : {one.pid(), two.pid()}) {
        EXPECT_NE(found.error().message().find(fmt::format("{}", pid)), std::string::npos);
    }
}

TEST(Lookup, WhatIsNotThereIsGone) {
    EXPECT_EQ(find_service("fl-nobody", kNoContainers).error().kind(), Error::Kind::Gone);
    EXPECT_EQ(find_service("4194304", kNoContainers).error().kind(), Error::Kind::Gone);
    EXPECT_EQ(find_service("", kNoContainers).error().kind(), Error::Kind::Invalid);
}

}  // namespace
}  // namespace ferry::agent
