// A self-checking program (tests/victims) as the first process of the container "web".
#pragma once

#include "container_fixture.h"

namespace ferry::lab {

class ContainerVictimTest : public ContainerCrossingTest {
  protected:
    void SetUp() override {
        ContainerCrossingTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        shell("mkdir -p " + std::string(kImages));
        std::filesystem::create_directory(directory_ + "/log");
        more_mounts_.push_back({{"destination", "/victims"},
                                {"type", "bind"},
                                {"source", FERRY_VICTIM_DIRECTORY},
                                {"options", {"bind", "ro"}}});
        more_mounts_.push_back({{"destination", "/log"},
                                {"type", "bind"},
                                {"source", directory_ + "/log"},
                                {"options", {"bind", "rw"}}});
    }
    void start_victim(const std::string& name) {
        start_container({"sh", "-c", "exec /victims/victim_" + name + " >> /log/out 2>&1"});
        ASSERT_TRUE(says("READY")) << log_text();
    }
    [[nodiscard]] std::string log_path() const { return directory_ + "/log/out"; }
    [[nodiscard]] std::string log_text() const {
        return os::read_file(log_path()).value_or("nothing");
    }
    [[nodiscard]] bool says(const std::string& word) const {
        for (int attempt = 0; attempt < 200; ++attempt) {
            const std::string text = log_text();
            if (text.find(word) != std::string::npos) return true;
            if (text.find("FAIL") != std::string::npos) return false;
            std::this_thread::sleep_for(50ms);
        }
        return false;
    }
    void cross_through_files(std::size_t from, std::size_t to) {
        const CommandResult dumped = ferry(from, {"dump", "web", "--runtime-root", kRuncRoot, "-D",
                                                  kImages, "--file-locks", "--tcp-established"});
        ASSERT_EQ(dumped.status, 0) << dumped.err;
        std::vector<std::string> arguments = restore();
        arguments.emplace_back("--file-locks");
        const CommandResult restored = ferry(to, arguments);
        ASSERT_EQ(restored.status, 0) << restored.err;
        ASSERT_OK(container_->follow_to(platform(to).host()));
    }
    // Every way that there is.
    void cross_in_every_way() {
        cross(0, 1);
        cross(1, 0);
        cross_through_files(0, 1);
        cross(1, 0, {"--method", "checkpoint"});
    }
    void expect_pass(std::size_t where) {
        ASSERT_OK(runc_checked(platform(where).host(), {"kill", "web", "TERM"}, 10s));
        EXPECT_TRUE(says("PASS")) << log_text();
    }
};

}  // namespace ferry::lab
