// The contents of tmpfs mounts, from one real container to another. Needs root.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "container/container_lab.h"
#include "container/stub_image.h"
#include "container/tmpfs_archive.h"
#include "container/tmpfs_restore.h"
#include "container/tmpfs_source.h"
#include "os/fd.h"
#include "os/file_tree.h"

namespace ferry::container {
namespace {

using ::testing::HasSubstr;

std::string in_container(const ContainerLab& lab, const std::string& script) {
    return shell(
        fmt::format("runc --root {} exec --user 0 --cap CAP_MKNOD --cap CAP_CHOWN "
                    "--cap CAP_FOWNER --cap CAP_DAC_OVERRIDE --cap CAP_FSETID {} "
                    "/bin/sh -c '{}'",
                    lab.runtime.root, lab.id, script));
}

std::string inside(Pid pid, const std::string& path) {
    return fmt::format("/proc/{}/{}/{}", pid, "root", path);
}

// Everything that can be seen of the files: types, modes, owners, sizes, blocks, times, link
// counts, links, contents, attributes.
std::string everything(const ContainerLab& lab) {
    const std::string root = inside(find(lab.id, lab.runtime)->state.init, "");
    return in_container(
               lab,
               "find /dev /dev/shm /tmp -xdev ! -path /dev/pts ! -path /dev/mqueue -printf "
               "\"%p %y %m %U %G %s %b %T@ %n %l\\n\" | sort; "
               "find /dev /dev/shm /tmp -xdev -type f -exec md5sum {} + | sort") +
           shell("stat -c \"%N %t %T\" " + root + "dev/* | sed s,/proc/[0-9]*,,");
}

class Pair {
  public:
    Pair() { lab.start(); }
    void open_source() {
        auto opened = TmpfsSource::open(*find(lab.id, lab.runtime));
        CHECK(opened.has_value());
        source = std::make_unique<TmpfsSource>(std::move(*opened));
    }
    // The source goes, the container is made anew.
    void make() {
        const Description description = described(lab);
        EXPECT_TRUE(remove(*find(lab.id, lab.runtime)));
        creation = *Creation::prepare(description, {});
        const auto pid = image.start(*creation);
        ASSERT_TRUE(pid) << pid.error().message();
        init = *pid;
        config = *parse_config(description.config);
    }
    ContainerLab lab;
    std::unique_ptr<TmpfsSource> source;
    std::unique_ptr<Creation> creation;
    StubImage image;
    Pid init;
    Config config;
};

constexpr const char* kMakeFiles =
    "cd /tmp; umask 0; mkdir -m 1770 d; mkdir d/e; chown 5:6 d; echo hello > d/file; "
    "chmod 4751 d/file; ln d/file d/e/again; ln -s ../nowhere d/link; mkfifo -m 640 d/fifo; "
    "truncate -s 1M d/holes; printf x | dd of=d/holes bs=1 seek=500000 conv=notrunc 2>&1; "
    "touch -d 2001-02-03T04:05:06.789 d/e/old d/e; mknod /dev/fuse c 10 229; rm /dev/full; "
    "rm /dev/stdin; ln -s elsewhere /dev/stdin; chmod 600 /dev/zero; chmod 1755 /dev/shm; "
    "echo shared > /dev/shm/s; chown -h 9 d/link";
constexpr const char* kChangeFiles =
    "cd /tmp; echo more >> d/file; rm -r d/e; mkdir d/e; echo new > d/e/n; rm d/fifo; "
    "echo is-a-file > d/fifo; mv d/holes holes; rm /dev/fuse; mkdir /dev/shm/deep; "
    "ln holes other; mv d/link link; mkdir sub; mv sub sub2; touch sub2/x";

TEST(Tmpfs, ComesOverInTwoPasses) {
    Pair pair;
    in_container(pair.lab, kMakeFiles);
    const std::string tmp = inside(find(pair.lab.id, pair.lab.runtime)->state.init, "tmp");
    const os::UniqueFd directory = *os::open(tmp, O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(os::set_extended_attribute(directory.get(), "d/file",
                                           {"security.test", std::string("a\0b", 3)}));
    pair.open_source();
    const auto first = pair.source->collect();
    ASSERT_TRUE(first) << first.error().message();
    in_container(pair.lab, kChangeFiles);
    const auto second = pair.source->collect();
    ASSERT_TRUE(second) << second.error().message();
    EXPECT_THAT(*second, ::testing::Not(HasSubstr("shared"))) << "sent again without a change";
    const auto third = pair.source->collect();
    ASSERT_TRUE(third);
    const auto nothing = *decode_tmpfs(*third);
    EXPECT_TRUE(nothing.entries.empty() && nothing.removed.empty() && nothing.cleared.empty());

    const std::string there = everything(pair.lab);
    pair.make();
    ASSERT_TRUE(pair.creation);
    for (const auto& archive : {*first, *second, *third}) {
        const auto restored = restore_tmpfs(pair.init, pair.config, archive);
        ASSERT_TRUE(restored) << restored.error().message();
    }
    EXPECT_EQ(everything(pair.lab), there);
    EXPECT_THAT(there, HasSubstr("/tmp/d/e/n f"));
    const os::UniqueFd made = *os::open(inside(pair.init, "tmp"), O_RDONLY | O_DIRECTORY);
    EXPECT_THAT(*os::extended_attributes(made.get(), "d/file"),
                ::testing::Contains(std::pair("security.test", std::string("a\0b", 3))));
}

TEST(Tmpfs, SeesWhatIsWrittenThroughAMapping) {
    Pair pair;
    in_container(pair.lab, "echo before > /dev/shm/mapped");
    const std::string path =
        inside(find(pair.lab.id, pair.lab.runtime)->state.init, "dev/shm/mapped");
    const os::UniqueFd file = *os::open(path, O_RDWR);
    auto* memory = static_cast<char*>(
        ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0));
    ASSERT_NE(memory, MAP_FAILED);
    memory[0] = 'B';
    pair.open_source();
    ASSERT_TRUE(pair.source->collect());
    const struct stat before = *os::fstat(file.get());
    memory[1] = 'E';
    ASSERT_EQ(os::fstat(file.get())->st_ctim.tv_nsec, before.st_ctim.tv_nsec);
    const auto change = decode_tmpfs(*pair.source->collect());
    ASSERT_TRUE(change);
    ASSERT_EQ(change->entries.size(), 1u);
    EXPECT_EQ(change->entries[0].extents.at(0).bytes, "BEfore\n");
    ::munmap(memory, 4096);
}

TEST(Tmpfs, KeepsFilesThatAreOpen) {
    Pair pair;
    in_container(pair.lab, "echo one > /tmp/f; echo two > /tmp/g");
    pair.open_source();
    const std::string first = *pair.source->collect();
    in_container(pair.lab, "echo three > /tmp/f; echo four > /tmp/h; mv /tmp/h /tmp/g");
    const std::string second = *pair.source->collect();
    pair.make();
    ASSERT_TRUE(restore_tmpfs(pair.init, pair.config, first));
    const std::string tmp = inside(pair.init, "tmp/");
    const ino_t f = os::fstatat(os::kCwd, tmp + "f")->st_ino;
    const os::UniqueFd g = *os::open(tmp + "g", O_RDONLY);
    ASSERT_TRUE(restore_tmpfs(pair.init, pair.config, second));
    EXPECT_EQ(*os::read_file(tmp + "f"), "three\n");
    EXPECT_EQ(os::fstatat(os::kCwd, tmp + "f")->st_ino, f);
    // The other one was replaced: whoever has the old one open keeps it.
    EXPECT_EQ(*os::read_file(tmp + "g"), "four\n");
    EXPECT_EQ(os::fstat(g.get())->st_nlink, 0u);
}

TEST(Tmpfs, IsTheOnlyPlaceAnArchiveReaches) {
    Pair pair;
    pair.make();
    const auto complaint = [&pair](const TmpfsChange& change) {
        const auto restored = restore_tmpfs(pair.init, pair.config, *encode_tmpfs(change));
        EXPECT_FALSE(restored);
        return restored ? std::string() : restored.error().message();
    };
    const auto entry = [](const char* path, EntryKind kind, const char* target) {
        TmpfsEntry made;
        made.path = path;
        made.kind = kind;
        made.target = target;
        return made;
    };
    TmpfsChange change;
    change.entries = {entry("etc/x", EntryKind::Fifo, "")};
    EXPECT_THAT(complaint(change), HasSubstr("/etc/x is on no tmpfs"));
    change.entries = {entry("tmp/out", EntryKind::Symlink, "../etc"),
                      entry("tmp/out/x", EntryKind::Fifo, "")};
    EXPECT_THAT(complaint(change), HasSubstr("ELOOP"));
    change.entries = {entry("tmp/link", EntryKind::HardLink, "etc/hostname")};
    EXPECT_THAT(complaint(change), HasSubstr("on no tmpfs"));
    change.entries = {};
    change.removed = {"usr/bin/true"};
    EXPECT_THAT(complaint(change), HasSubstr("on no tmpfs"));
    change.removed = {"dev/shm"};
    EXPECT_FALSE(restore_tmpfs(pair.init, pair.config, *encode_tmpfs(change)));
    EXPECT_FALSE(std::filesystem::exists(pair.lab.bundle + "/rootfs/etc/x"));
    EXPECT_TRUE(std::filesystem::exists("/usr/bin/true"));
}

TEST(Tmpfs, RefusesByName) {
    Pair pair;
    in_container(pair.lab, "head -c 60M /dev/zero > /dev/shm/big");
    pair.open_source();
    const auto big = pair.source->collect();
    ASSERT_FALSE(big);
    EXPECT_EQ(big.error().kind(), Error::Kind::Limit);
    EXPECT_THAT(big.error().message(), HasSubstr("/dev/shm/big"));
    in_container(pair.lab, "rm /dev/shm/big; touch /tmp/.wh.x");
    const auto mark = pair.source->collect();
    ASSERT_FALSE(mark);
    EXPECT_THAT(mark.error().message(), HasSubstr("/tmp/.wh.x"));
}

}  // namespace
}  // namespace ferry::container
