// What leads out of a child with a mount namespace of its own, as out of a container, and has been
// given to it by its "runtime".
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "resources/live_tree.h"

namespace ferry::resources {
namespace {

class Given : public testing::Test {
  protected:
    Given() {
        char path[] = "/tmp/ferry-given-XXXXXX";
        directory_ = ::mkdtemp(path);
    }
    ~Given() override { std::filesystem::remove_all(directory_); }
    [[nodiscard]] std::string path(const std::string& name) const {
        return directory_ + "/" + name;
    }
    // Descriptor 3 of the child is a file of the outside that has no path inside, 4 its duplicate.
    [[nodiscard]] std::function<void()> writer(const std::string& name) const {
        return [this, name] {
            const int fd = ::open(path(name).c_str(), O_WRONLY | O_CREAT, 0600);
            write_text(fd, "0123456789");
            ::lseek(fd, 4, SEEK_SET);
            ::dup(fd);
            ::unshare(CLONE_NEWNS);
            ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
            ::mount("none", directory_.c_str(), "tmpfs", 0, nullptr);
        };
    }
    static Result<model::Checkpoint> collect(const LiveTree& tree, const StreamLinks& given) {
        FileCollector collector({.container = tree.pid(), .given = given}, nullptr);
        return collect_files(collector, tree);
    }
    // What is opened where the streams 1 and 2 are `there`.
    static Result<OpenedFiles> open(const model::Checkpoint& checkpoint, int there) {
        OpenedFiles files({.given_stream = [there](int number) { return number ? there : -1; }});
        TRY(files.finish(checkpoint));
        return files;
    }
    [[nodiscard]] std::string content(const std::string& name) const {
        std::ifstream file(path(name));
        return {std::istreambuf_iterator<char>(file), {}};
    }
    static model::FileId id_of(const model::Checkpoint& checkpoint, int fd) {
        return checkpoint.processes.at(0).descriptors.at(static_cast<std::size_t>(fd)).file;
    }

    std::string directory_;
};

TEST_F(Given, a_loggers_pipe_becomes_a_file_that_is_appended_to) {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const LiveTree tree(
        [] {
            write_text(3, "unread");
            ::dup(3);
            ::open("/proc/self/fd/3", O_WRONLY | O_NONBLOCK);
        },
        {ends[1]});
    const std::string link =
        std::filesystem::read_symlink(fmt::format("/proc/self/fd/{}", ends[1]));
    auto checkpoint = collect(tree, {"", link, ""});
    ASSERT_TRUE(checkpoint) << checkpoint.error().describe();
    EXPECT_TRUE(checkpoint->pipes.empty());
    EXPECT_EQ(id_of(*checkpoint, 3), id_of(*checkpoint, 4));
    EXPECT_NE(id_of(*checkpoint, 3), id_of(*checkpoint, 5));
    EXPECT_EQ(read_some(ends[0], 6), "unread") << "its logger still reads it";
    std::ofstream(path("log")) << "before ";
    const int log = ::open(path("log").c_str(), O_WRONLY | O_APPEND);
    auto files = open(*checkpoint, log);
    ASSERT_TRUE(files) << files.error().describe();
    write_text(files->fd(id_of(*checkpoint, 3)), "one ");
    write_text(files->fd(id_of(*checkpoint, 5)), "two");
    EXPECT_EQ(content("log"), "before one two");
    EXPECT_EQ(::fcntl(files->fd(id_of(*checkpoint, 3)), F_GETFL) & O_NONBLOCK, 0);
    EXPECT_NE(::fcntl(files->fd(id_of(*checkpoint, 5)), F_GETFL) & O_NONBLOCK, 0);
    for (const int fd : {ends[0], ends[1], log}) ::close(fd);
}

TEST_F(Given, a_file_of_the_host_goes_on_where_it_stood) {
    const LiveTree tree(writer("a"));
    auto checkpoint = collect(tree, {"/dev/null", path("a"), ""});
    ASSERT_TRUE(checkpoint) << checkpoint.error().describe();
    EXPECT_EQ(id_of(*checkpoint, 3), id_of(*checkpoint, 4));
    const auto* body =
        std::get_if<model::GivenStream>(&checkpoint->find_file(id_of(*checkpoint, 3))->body);
    ASSERT_NE(body, nullptr);
    EXPECT_EQ(*body, (model::GivenStream{.number = 1, .position = 4, .size = 10}));
    const model::FileId id = id_of(*checkpoint, 3);
    std::erase_if(checkpoint->files, [id](const model::OpenFile& file) { return file.id != id; });
    for (const auto& [name, wanted] :
         {std::pair("a", "0123!56789"), std::pair("b", "longer file!")}) {
        if (name == std::string("b")) std::ofstream(path(name)) << "longer file";
        const int fd = ::open(path(name).c_str(), O_WRONLY);
        auto files = open(*checkpoint, fd);
        ASSERT_TRUE(files) << files.error().describe();
        write_text(files->fd(id), "!");
        EXPECT_EQ(content(name), wanted);
        ::close(fd);
    }
}

TEST_F(Given, nothing_else_that_leads_out_is_taken_for_it) {
    const LiveTree file(writer("a"));
    const auto other = collect(file, {"/dev/null", path("b"), ""});
    ASSERT_FALSE(other);
    EXPECT_NE(other.error().message().find(path("a")), std::string::npos)
        << other.error().message();
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const std::string link =
        std::filesystem::read_symlink(fmt::format("/proc/self/fd/{}", ends[1]));
    for (const auto& [end, given] : {std::pair(0, link), std::pair(1, std::string("pipe:[1]"))}) {
        const LiveTree tree([] {}, {ends[end]});
        const auto refused = collect(tree, {given, "", ""});
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().kind(), Error::Kind::Unsupported);
        EXPECT_NE(refused.error().message().find("end is outside the tree"), std::string::npos)
            << refused.error().message();
    }
    ::close(ends[0]);
    ::close(ends[1]);
}

}  // namespace
}  // namespace ferry::resources
