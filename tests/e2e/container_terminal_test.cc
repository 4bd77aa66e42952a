// A container with a terminal (process.terminal) crosses, live and through files; who holds the
// master of its terminal where it goes: whoever is named, or Ferry.
#include <poll.h>

#include "container/console.h"
#include "container_victim_fixture.h"
#include "lab/platform.h"
#include "os/inet.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;

// Whoever sits at a terminal: listens at a console socket, types and reads.
class Console {
  public:
    explicit Console(std::string path) : path_(std::move(path)) {
        auto socket = container::ConsoleSocket::listen(path_);
        EXPECT_OK(socket);
        if (socket) socket_.emplace(std::move(*socket));
    }
    [[nodiscard]] const std::string& path() const { return path_; }
    void connect() {
        auto master = socket_->take_master();
        ASSERT_OK(master);
        master_ = std::move(*master);
    }
    void type(const std::string& text) const {
        EXPECT_OK(os::write_all(master_.get(), os::as_bytes(text)));
    }
    // Until it shows `word`, or there is nothing for long.
    bool shows(const std::string& word) {
        while (shown_.find(word) == std::string::npos) {
            std::array polled = {pollfd{.fd = master_.get(), .events = POLLIN, .revents = 0}};
            const auto ready = os::poll(polled, 10000);
            std::array<char, 256> text{};
            if (!ready || *ready == 0) return false;
            const ssize_t size = ::read(master_.get(), text.data(), text.size());
            if (size <= 0) return false;
            shown_.append(text.data(), static_cast<std::size_t>(size));
        }
        return true;
    }
    [[nodiscard]] const std::string& shown() const { return shown_; }

  private:
    std::string path_, shown_;
    std::optional<container::ConsoleSocket> socket_;
    os::UniqueFd master_;
};

class ContainerTerminalTest : public ContainerVictimTest {
  protected:
    // Who sits at the terminal first.
    void start_console() {
        first_.emplace(directory_ + "/console");
        console_socket_ = first_->path();
        start_container({"/victims/victim_console", "/log/out"});
        first_->connect();
        ASSERT_TRUE(says("READY")) << log_text();
        first_->type("one\n");
        ASSERT_TRUE(first_->shows("got one")) << first_->shown();
    }
    static constexpr const char* kOutput = "/var/log/ferry/web.log";
    std::optional<Console> first_;
};

TEST_F(ContainerTerminalTest, WhoIsNamedSitsAtItsTerminal) {
    start_console();
    Console second(directory_ + "/second");
    cross(0, 1, {"--console-socket", second.path()});
    second.connect();
    second.type("two\n");
    EXPECT_TRUE(second.shows("got two")) << second.shown();
    EXPECT_FALSE(first_->shows("got two")) << "it is still there";
    Console third(directory_ + "/third");
    cross(1, 0, {"--console-socket", third.path(), "--method", "checkpoint"});
    third.connect();
    third.type("three\n");
    EXPECT_TRUE(third.shows("got three")) << third.shown();
    expect_pass(0);
}

TEST_F(ContainerTerminalTest, ItsTerminalIsAsItWasInEveryWay) {
    start_console();
    cross_in_every_way();
    expect_pass(0);
}

TEST_F(ContainerTerminalTest, ItsTerminalIsItsUsersInItsUserNamespace) {
    own_users_ = true;
    user_ = 1000;
    shell("chmod 777 " + directory_ + "/log");
    start_console();
    Console second(directory_ + "/second");
    cross(0, 1, {"--console-socket", second.path()});
    second.connect();
    second.type("two\n");
    EXPECT_TRUE(second.shows("got two")) << second.shown();
    cross_through_files(1, 0);
    const auto owner =
        runc_checked(platform(0).host(), {"exec", "web", "stat", "-c", "%u", "/dev/pts/0"}, 10s);
    ASSERT_OK(owner);
    EXPECT_EQ(*owner, "1000\n");
    expect_pass(0);
}

// What it writes there is kept, and it is not hung up.
TEST_F(ContainerTerminalTest, FerryHoldsItsTerminalAndKeepsItsOutput) {
    Console first(directory_ + "/console");
    console_socket_ = first.path();
    start_container({"sh", "-c", "while :; do echo so; sleep 0.1; done"});
    first.connect();
    ASSERT_TRUE(first.shows("so"));
    for (const std::size_t to : {std::size_t{1}, std::size_t{0}}) {
        cross(1 - to, to);
        const auto more = platform(to).host().run(
            {"sh", "-c",
             "for i in $(seq 300); do n=$(grep -c so $1); [ ${n:-0} -gt 5 ] && exit 0; "
             "sleep 0.1; done; exit 1",
             "sh", kOutput},
            60s);
        ASSERT_OK(more);
        EXPECT_EQ(more->status, 0);
        EXPECT_EQ(container_->status().value_or(""), "running");
    }
    // A terminal that is full would have it wait.
    ASSERT_OK(runc_checked(platform(0).host(), {"kill", "web", "KILL"}, 10s));
}

TEST_F(ContainerTerminalTest, AWrongConsoleSocketIsRefusedBeforeTheFreeze) {
    start_console();
    const std::string missing = directory_ + "/nowhere";
    const auto refusal = [&](const std::string& path) {
        const auto result = platform(0).run_ferry(
            {"migrate", "web", "--to", platform(1).address(), "--console-socket", path}, 60s);
        EXPECT_OK(result);
        EXPECT_NE(result->status, 0);
        return result->err;
    };
    EXPECT_THAT(refusal(missing),
                HasSubstr("the console socket " + missing + " does not exist here"));
    EXPECT_THAT(refusal("/etc/passwd"), HasSubstr("is no socket"));
    EXPECT_THAT(refusal("nowhere"), HasSubstr("is no absolute path"));
    {
        const Console gone(directory_ + "/gone");  // nobody listens there any more
    }
    EXPECT_THAT(refusal(directory_ + "/gone"), HasSubstr("connection refused"));
    first_->type("two\n");
    EXPECT_TRUE(first_->shows("got two")) << first_->shown();
    expect_pass(0);
}

// Reading it would take it from its program.
TEST_F(ContainerTerminalTest, WhatIsTypedAndNotReadStaysWithItsProgram) {
    first_.emplace(directory_ + "/console");
    console_socket_ = first_->path();
    start_container({"sh", "-c",
                     "echo begun; until [ -e /log/go ]; do sleep 0.1; done; "
                     "while read line; do echo \"got $line\"; done"});
    first_->connect();
    ASSERT_TRUE(first_->shows("begun")) << first_->shown();
    first_->type("one\n");
    const auto refused =
        platform(0).run_ferry({"migrate", "web", "--to", platform(1).address()}, 120s);
    ASSERT_OK(refused);
    EXPECT_NE(refused->status, 0);
    EXPECT_THAT(refused->err, HasSubstr("the terminal /dev/pts/0 holds unread input"));
    std::ofstream(directory_ + "/log/go") << "now\n";
    EXPECT_TRUE(first_->shows("got one")) << first_->shown();
    Console second(directory_ + "/second");
    cross(0, 1, {"--console-socket", second.path()});
    second.connect();
    second.type("two\n");
    EXPECT_TRUE(second.shows("got two")) << second.shown();
}

// `runc restore` gives the new master to who listens at its console socket.
TEST_F(ContainerTerminalTest, ItsRuntimeFindsFerryInThePlaceOfCriu) {
    start_console();
    const std::string programs = directory_ + "/programs";
    std::filesystem::create_directory(programs);
    std::filesystem::create_symlink(program_directory().value_or("") + "/ferry",
                                    programs + "/criu");
    const auto runc_with_ferry = [&](std::vector<std::string> arguments) {
        arguments.insert(arguments.begin(),
                         {"env", fmt::format("PATH={}:{}", programs, ::getenv("PATH")), "runc",
                          "--root", kRuncRoot});
        return platform(0).host().run_checked(arguments, 60s);
    };
    const std::string images = directory_ + "/images";
    ASSERT_OK(runc_with_ferry({"checkpoint", "--image-path", images, "web"}));
    Console second(directory_ + "/second");
    ASSERT_OK(runc_with_ferry({"restore", "--detach", "--image-path", images, "--bundle",
                               storage() + "/web", "--console-socket", second.path(), "web"}));
    second.connect();
    second.type("two\n");
    EXPECT_TRUE(second.shows("got two")) << second.shown();
    expect_pass(0);
}

}  // namespace
}  // namespace ferry::lab
