// A container crosses between platforms that have nothing in common but the image: its files cross
// with it.
#include "container_fixture.h"

namespace ferry::lab {
namespace {

// Appends, writes in the middle of a file, through a mapping, and by another file of the same name,
// and knows what must be there in the end.
constexpr const char* kWriter = R"(
import mmap, os, signal, time
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
log = open('/data/log', 'ab', buffering=0)
table = os.open('/data/table', os.O_RDWR | os.O_CREAT)
os.ftruncate(table, 64 * 65536)
mapped = os.open('/volume/mapped', os.O_RDWR | os.O_CREAT)
os.ftruncate(mapped, 64 * 16384)
memory = mmap.mmap(mapped, 64 * 16384)
n, last = 0, {}
while not stop:
    n += 1
    last[n % 64] = b'%08d' % n
    log.write(b'%d\n' % n)
    os.pwrite(table, last[n % 64], n % 64 * 65536)
    memory[n % 64 * 16384:n % 64 * 16384 + 8] = last[n % 64]
    if n % 50 == 0:
        open('/data/new', 'w').write(str(n))
        os.rename('/data/new', '/data/state')
    time.sleep(0.001)
wrong = []
if open('/data/log', 'rb').read() != b''.join(b'%d\n' % i for i in range(1, n + 1)):
    wrong.append('log')
for path, step in (('/data/table', 65536), ('/volume/mapped', 16384)):
    with open(path, 'rb') as f:
        for i in last:
            f.seek(i * step)
            if f.read(8) != last[i]: wrong.append(path + str(i))
if n >= 50 and open('/data/state').read() != str(n // 50 * 50): wrong.append('state')
if os.fstat(table).st_ino != os.stat('/data/table').st_ino: wrong.append('another table')
open('/data/verdict', 'w').write('FAIL %s' % wrong if wrong else 'PASS after %d' % n)
)";

// Writes a file over and over, faster than a slow link carries it, each time with other bytes.
constexpr const char* kFlood = R"(
import os, signal, time
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
pools = [os.urandom(1 << 20) for _ in range(7)]
def block(n): return b'%08d' % n + pools[n % 7][8:]
flood = os.open('/data/flood', os.O_RDWR | os.O_CREAT)
log = open('/data/log', 'ab', buffering=0)
n, last = 0, {}
while not stop:
    n += 1
    last[n % 32] = n
    os.pwrite(flood, block(n), n % 32 << 20)
    log.write(b'.')
    time.sleep(0.02)
wrong = [i for i in last if os.pread(flood, 1 << 20, i << 20) != block(last[i])]
open('/data/verdict', 'w').write('FAIL %s' % wrong if wrong else 'PASS after %d' % n)
)";

using testing::HasSubstr;

class ContainerFilesTest : public ContainerCrossingTest {
  protected:
    void SetUp() override {
        ContainerCrossingTest::SetUp();
        if (!IsSkipped() && !HasFatalFailure()) separate_storage();
    }

    void start_writer() {
        std::filesystem::create_directories(own(0, "/volume"));
        more_mounts_ = {{{"destination", "/volume"},
                         {"type", "bind"},
                         {"source", storage() + "/volume"},
                         {"options", {"bind", "rw"}}}};
        start_container({"/usr/bin/python3", "-c", kWriter});
        ASSERT_TRUE(goes_on(0));
    }
    // It writes on this platform.
    bool goes_on(std::size_t i) {
        const std::string log = own(i, data_ + "/log");
        std::error_code ignored;
        const auto before = std::filesystem::file_size(log, ignored);
        for (int attempt = 0; attempt < 200; ++attempt) {
            std::this_thread::sleep_for(20ms);
            const auto now = std::filesystem::file_size(log, ignored);
            if (!ignored && now > 0 && now != before) return true;
        }
        return false;
    }
    // The writer's own, on files that it wrote on two platforms.
    void expect_verdict(std::size_t i) {
        ASSERT_OK(container_->stop(20s));
        EXPECT_THAT(os::read_file(own(i, data_ + "/verdict")).value_or("none"), HasSubstr("PASS"));
    }
    // `ferry migrate` from platform 1 to 2, which must fail for this reason.
    void expect_to_stay(const std::string& reason) {
        const auto result =
            platform(0).run_ferry({"migrate", "web", "--to", platform(1).address(), "--json"}, 60s);
        ASSERT_OK(result);
        EXPECT_NE(result->status, 0);
        EXPECT_THAT(result->err + result->out, HasSubstr(reason));
        EXPECT_TRUE(goes_on(0));
    }
    std::string data_ = "/web/rootfs/data";  // the container's /data on either platform
    std::vector<std::string> left_at(std::size_t i) const {
        auto names = os::list_directory(os::kCwd, own(i));
        return names ? *names : std::vector<std::string>{"unknown"};
    }
};

TEST_F(ContainerFilesTest, NothingIsLostThereAndBack) {
    start_writer();
    cross(0, 1);
    EXPECT_TRUE(goes_on(1));
    EXPECT_TRUE(std::filesystem::exists(own(0, "/web/rootfs.ferry-copy")));
    EXPECT_TRUE(std::filesystem::exists(own(0, "/volume.ferry-copy")));
    EXPECT_FALSE(std::filesystem::exists(own(1, "/web/rootfs.ferry-copy")));
    cross(1, 0);
    EXPECT_TRUE(goes_on(0));
    EXPECT_FALSE(std::filesystem::exists(own(0, "/web/rootfs.ferry-copy")));
    expect_verdict(0);
}

TEST_F(ContainerFilesTest, NothingIsLostThroughImageFiles) {
    start_writer();
    cross(0, 1, {"--method", "checkpoint"});
    EXPECT_TRUE(goes_on(1));
    EXPECT_FALSE(std::filesystem::exists(own(1, "/web/rootfs.ferry-copy")));
    EXPECT_FALSE(std::filesystem::exists(own(1, "/volume.ferry-copy")));
    cross(1, 0, {"--method", "checkpoint"});
    EXPECT_TRUE(goes_on(0));
    expect_verdict(0);
}

// Some 40 MiB/s against 12: the rounds end because they do not help, and the last difference of the
// files crosses in the freeze, as that of memory does.
TEST_F(ContainerFilesTest, FilesThatOutpaceTheLinkCrossInTheFreeze) {
    ASSERT_OK(limit_rate(platform(0).host(), 1e8));
    start_container({"/usr/bin/python3", "-c", kFlood});
    ASSERT_TRUE(goes_on(0));
    std::this_thread::sleep_for(1s);  // all of the file is there
    const auto result =
        platform(0).run_ferry({"migrate", "web", "--to", platform(1).address(), "--json"}, 240s);
    ASSERT_OK(result);
    ASSERT_EQ(result->status, 0) << result->err << result->out;
    const migrate::Report report = find_report(*result);
    EXPECT_FALSE(report.fits_downtime);
    EXPECT_EQ(report.stop_rule, "another round would not help") << report.rounds.size();
    EXPECT_GT(report.file_bytes, 48u << 20);  // more than once the file
    ASSERT_OK(container_->follow_to(platform(1).host()));
    EXPECT_TRUE(goes_on(1));
    expect_verdict(1);
}

TEST_F(ContainerFilesTest, OfAnOverlayWhatLiesBelowIsNotSent) {
    on_overlay_ = true;
    data_ = "/web/upper/data";
    std::filesystem::create_directories(directory_ + "/bundle-web/rootfs/etc");
    std::ofstream(directory_ + "/bundle-web/rootfs/etc/large") << std::string(20u << 20, 'x');
    std::ofstream(directory_ + "/bundle-web/rootfs/etc/gone") << "unwanted";
    start_writer();
    ASSERT_OK(runc_checked(platform(0).host(), {"exec", "web", "rm", "/etc/gone"}, 10s));
    cross(0, 1);
    EXPECT_FALSE(std::filesystem::exists(own(1, "/web/upper/etc/large")));
    EXPECT_TRUE(std::filesystem::exists(own(1, "/web/upper/data/log")));
    const auto inside = runc_checked(platform(1).host(), {"exec", "web", "ls", "/etc"}, 10s);
    ASSERT_OK(inside);
    EXPECT_THAT(*inside, testing::AllOf(HasSubstr("large"), testing::Not(HasSubstr("gone"))));
    cross(1, 0);
    expect_verdict(0);
}

TEST_F(ContainerFilesTest, WhatCannotBeDoneIsRefusedByName) {
    start_writer();
    std::filesystem::create_directories(own(1, "/web/rootfs"));
    std::ofstream(own(1, "/web/rootfs/precious")) << "mine";
    expect_to_stay(storage() + "/web/rootfs has files here that are no copy of Ferry's");
    EXPECT_EQ(os::read_file(own(1, "/web/rootfs/precious")).value_or(""), "mine");
    std::filesystem::remove_all(own(1, "/web"));
    ASSERT_OK(platform(1).host().run_checked(
        {"mount", "-t", "tmpfs", "-o", "size=200k", "small", storage()}, 5s));
    expect_to_stay("no room for " + storage());
    const auto rest = platform(1).host().run_checked({"ls", "-A", storage()}, 5s);
    ASSERT_OK(rest);
    EXPECT_EQ(*rest, "");
    ASSERT_OK(platform(1).host().run_checked({"umount", storage()}, 5s));
    std::filesystem::rename(own(0, "/volume"), own(0, "/elsewhere"));
    expect_to_stay("the volume /volume cannot be read");
    std::filesystem::rename(own(0, "/elsewhere"), own(0, "/volume"));
    EXPECT_THAT(left_at(1), testing::IsEmpty());
    cross(0, 1);
    expect_verdict(1);
}

TEST_F(ContainerFilesTest, WhoeverIsKilledLeavesNothingAtTheDestination) {
    start_writer();
    {
        std::ofstream large(own(0, "/web/rootfs/data/large"));
        std::string block(1u << 20, '\0');
        for (int i = 0; i < 600; ++i) {
            for (std::size_t at = 0; at < block.size(); at += 4096) {
                block[at] = static_cast<char>(1 + i % 100);
            }
            large << block;
        }
    }
    for (const std::size_t where : {std::size_t{1}, std::size_t{0}}) {
        auto migration = os::ChildProcess::start(platform(0).host().launch(
            platform(0).ferry({"migrate", "web", "--to", platform(1).address()})));
        ASSERT_OK(migration);
        std::error_code ignored;
        const std::string large = own(1, "/web/rootfs/data/large");
        for (int i = 0; i < 2000 && !std::filesystem::exists(large, ignored); ++i) {
            std::this_thread::sleep_for(5ms);
        }
        EXPECT_TRUE(std::filesystem::exists(large, ignored));
        ASSERT_OK(platform(where).host().run_checked(
            {"sh", "-c", "kill -9 $(pgrep -P $(pgrep -o -x ferryd))"}, 5s));
        const auto status = migration->wait(60s);
        ASSERT_OK(status);
        EXPECT_NE(status->value_or(0), 0);
        for (int i = 0; i < 500 && !left_at(1).empty(); ++i) std::this_thread::sleep_for(20ms);
        EXPECT_THAT(left_at(1), testing::IsEmpty());
        EXPECT_TRUE(goes_on(0));
    }
    cross(0, 1);
    EXPECT_TRUE(goes_on(1));
    expect_verdict(1);
}

}  // namespace
}  // namespace ferry::lab
