// A container that somebody is stopping when it is asked to leave: its processes vanish, at once or
// one after the other. It leaves whole or not at all, and where it does not, one line says so.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>

#include "container_fixture.h"

namespace ferry::lab {
namespace {

// When it gets the signal, from the start of the migration; before it where that is negative.
struct Stop {
    const char* signal;
    std::chrono::milliseconds at;
};

class StoppingContainerTest : public ContainerCrossingTest,
                              public testing::WithParamInterface<Stop> {
  protected:
    static constexpr const char* kManyThatEndInTurn =
        "for i in $(seq 40); do sleep 1000 & done; "
        "trap 'for p in $(jobs -p); do kill $p; sleep 0.02; done; exit 0' TERM; "
        "while :; do wait; done";

    void start_many() {
        start_container({"bash", "-c", kManyThatEndInTurn});
        ASSERT_TRUE(becomes_true([&] {
            const std::string processes = listed(0, "ps", "web");
            return std::ranges::count(processes, '\n') > 40;
        }));
    }
    std::string listed(std::size_t where, const std::string& verb, const std::string& more) {
        const auto said = runc(platform(where).host(), {verb, more}, 10s);
        return said ? said->out : "unknown";
    }
    // Whether `what` comes true within a time that is long even for a busy machine.
    template <class F>
    static bool becomes_true(F what) {
        for (int i = 0; i < 600; ++i) {
            if (what()) return true;
            std::this_thread::sleep_for(50ms);
        }
        return false;
    }
};

TEST_P(StoppingContainerTest, LeavesWholeOrNotAtAll) {
    start_many();
    bool is_delivered = false;
    const auto stop = [&] {
        const auto sent = runc(platform(0).host(), {"kill", "web", GetParam().signal}, 20s);
        is_delivered = sent && sent->status == 0;
    };
    if (GetParam().at < 0ms) {
        stop();
        std::this_thread::sleep_for(-GetParam().at);
    }
    std::thread stopper([&] {
        if (GetParam().at < 0ms) return;
        std::this_thread::sleep_for(GetParam().at);
        stop();
    });
    const CommandResult migration = ferry(0, {"migrate", "web", "--to", platform(1).address()});
    stopper.join();
    fmt::print("status {}: {}", migration.status, migration.err);
    const std::string here = listed(0, "list", "--quiet"), there = listed(1, "list", "--quiet");
    if (migration.status == 0) {
        EXPECT_EQ(here, "");
        EXPECT_EQ(there, "web\n");
        ASSERT_OK(container_->follow_to(platform(1).host()));
    } else {
        EXPECT_EQ(std::ranges::count(migration.err, '\n'), 1) << migration.err;
        EXPECT_THAT(migration.err, testing::AnyOf(testing::HasSubstr("\"web\" is ending"),
                                                  testing::HasSubstr("\"web\": it is stopped"),
                                                  testing::HasSubstr(" has ended"),
                                                  testing::HasSubstr(" does not exist")))
            << platform(0).agent_log() << platform(1).agent_log();
        EXPECT_EQ(here, "web\n");
        EXPECT_TRUE(becomes_true([&] { return traces().empty(); })) << traces();
        // Nobody holds it back from its end.
        EXPECT_TRUE(is_delivered) << migration.err;
        EXPECT_TRUE(becomes_true([&] { return container_->status().value_or("") == "stopped"; }))
            << container_->status().value_or("unknown") << listed(0, "ps", "web");
    }
    for (std::size_t i = 0; i < 2; ++i) EXPECT_EQ(ferry(i, {"status", "--json"}).out, "[]\n");
}

INSTANTIATE_TEST_SUITE_P(BySignal, StoppingContainerTest,
                         testing::Values(Stop{"TERM", -100ms}, Stop{"TERM", 0ms},
                                         Stop{"TERM", 150ms}, Stop{"TERM", 400ms},
                                         Stop{"KILL", -1ms}, Stop{"KILL", 100ms},
                                         Stop{"KILL", 250ms}, Stop{"KILL", 500ms}),
                         [](const auto& instance) {
                             const Stop& stop = instance.param;
                             const auto at = stop.at.count();
                             return fmt::format("{}{}{}", stop.signal, at < 0 ? "Before" : "After",
                                                std::abs(at));
                         });

}  // namespace
}  // namespace ferry::lab
