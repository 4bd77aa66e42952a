#include "image/codec.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "arch/xstate.h"
#include "image/proto/files.pb.h"
#include "image/proto/memory.pb.h"
#include "image/records.h"
#include "image/sample_checkpoint.h"

namespace ferry::image {
namespace {

MemoryStore encoded(const model::Checkpoint& checkpoint) {
    MemoryStore store;
    const Result<> result = encode(checkpoint, store);
    EXPECT_TRUE(result) << (result ? "" : result.error().describe());
    return store;
}

TEST(Codec, WhatIsEncodedDecodesToTheSameValue) {
    const model::Checkpoint checkpoint = sample_checkpoint();
    const Result<model::Checkpoint> decoded = decode(encoded(checkpoint));
    ASSERT_TRUE(decoded) << decoded.error().describe();
    EXPECT_EQ(decoded->files, checkpoint.files);
    EXPECT_EQ(decoded->pipes, checkpoint.pipes);
    EXPECT_EQ(decoded->ghosts, checkpoint.ghosts);
    ASSERT_EQ(decoded->processes.size(), checkpoint.processes.size());
    for (std::size_t i = 0; i < checkpoint.processes.size(); ++i) {
        const model::Process& a = decoded->processes[i];
        const model::Process& b = checkpoint.processes[i];
        EXPECT_EQ(a.threads, b.threads);
        EXPECT_EQ(a.address_space.vmas, b.address_space.vmas);
        EXPECT_EQ(a.address_space.layout, b.address_space.layout);
        EXPECT_EQ(a.address_space, b.address_space);
        EXPECT_EQ(a.descriptors, b.descriptors);
        EXPECT_EQ(a, b);
    }
    EXPECT_EQ(*decoded, checkpoint);
}

TEST(Codec, EqualCheckpointsGiveEqualBytes) {
    EXPECT_EQ(encoded(sample_checkpoint()).files(), encoded(sample_checkpoint()).files());
}

TEST(Codec, TheFilesAreThoseOfCriu) {
    const MemoryStore store = encoded(sample_checkpoint());
    for (const char* name :
         {"inventory.img",   "pstree.img",       "core-100.img",   "core-101.img",
          "core-102.img",    "core-103.img",     "ids-100.img",    "mm-100.img",
          "fs-100.img",      "fdinfo-2.img",     "fdinfo-3.img",   "files.img",
          "pipes-data.img",  "fifo-data.img",    "sk-queues.img",  "tcp-stream-1f5.img",
          "cgroup.img",      "timens-9.img",     "seccomp.img",    "ferry.json",
          "remap-fpath.img", "ghost-file-1.img", "filelocks.img",  "ipcns-var-3.img",
          "ipcns-shm-3.img", "ipcns-sem-3.img",  "ipcns-msg-3.img"}) {
        EXPECT_TRUE(store.files().contains(name)) << name;
    }
    // A zombie has nothing but its core.
    EXPECT_FALSE(store.files().contains("mm-103.img"));
}

TEST(Codec, MagicNumbersAreThoseOfFormat11) {
    const MemoryStore store = encoded(sample_checkpoint());
    const auto word = [&](const char* name, std::size_t index) {
        std::uint32_t value = 0;
        std::memcpy(&value, store.files().at(name).data() + 4 * index, sizeof(value));
        return value;
    };
    EXPECT_EQ(word("inventory.img", 0), 0x58313116u);  // Without the common number.
    EXPECT_EQ(word("core-100.img", 0), 0x54564319u);
    EXPECT_EQ(word("core-100.img", 1), 0x55053847u);
}

TEST(Codec, GuardPagesAreMappingsOfTheirOwnBehindAllOthers) {
    const model::Checkpoint checkpoint = sample_checkpoint();
    const MemoryStore store = encoded(checkpoint);
    wire::MmEntry mm;
    const Result<> read = get_required(store, "mm-100.img", Magic::Mm, mm);
    ASSERT_TRUE(read) << read.error().describe();
    const auto& guards = checkpoint.processes.front().address_space.guards;
    ASSERT_GT(guards.size(), 1u);
    ASSERT_GT(mm.vmas_size(), static_cast<int>(guards.size() * 2));
    for (std::size_t i = 0; i < guards.size(); ++i) {
        const int at = mm.vmas_size() - static_cast<int>(guards.size() - i);
        EXPECT_EQ(mm.vmas(at).status(), 1u << 16);
        EXPECT_EQ(mm.vmas(at).start(), guards[i].start.value);
        EXPECT_EQ(mm.vmas(at).end(), guards[i].end.value);
        EXPECT_NE(mm.vmas(at - static_cast<int>(guards.size())).status(), 1u << 16);
    }
}

TEST(Codec, GuardPagesThatOverlapAreCorrupt) {
    model::Checkpoint checkpoint = sample_checkpoint();
    auto& guards = checkpoint.processes.front().address_space.guards;
    guards.push_back(guards.back());
    MemoryStore store;
    EXPECT_FALSE(encode(checkpoint, store));
}

TEST(Codec, QueueSequencesCountFromTheEnds) {
    // The model holds the first byte's number, CRIU's field that of the byte after the last.
    model::Checkpoint checkpoint = sample_checkpoint();
    const Result<model::Checkpoint> decoded = decode(encoded(checkpoint));
    ASSERT_TRUE(decoded);
    for (const model::OpenFile& file : decoded->files) {
        const auto* socket = std::get_if<model::InetSocket>(&file.body);
        if (socket == nullptr || !socket->tcp) continue;
        EXPECT_EQ(socket->tcp->send_sequence, 0xfffffffeu);  // Wraps within the queue.
        EXPECT_EQ(socket->tcp->send_queue.size(), 5u);
    }
}

// What a given stream is only Ferry's own file tells.
model::Checkpoint sample_without_streams() {
    model::Checkpoint sample = sample_checkpoint();
    std::erase_if(sample.files, [](const model::OpenFile& file) {
        return std::holds_alternative<model::GivenStream>(file.body);
    });
    return sample;
}

TEST(Codec, ADumpWithoutFerrysOwnFileHasEmptyValues) {
    MemoryStore all = encoded(sample_without_streams());
    MemoryStore store;
    for (const auto& [name, bytes] : all.files()) {
        if (name != "ferry.json") {
            ASSERT_TRUE(store.put(name, bytes));
        }
    }
    const Result<model::Checkpoint> decoded = decode(store);
    ASSERT_TRUE(decoded) << decoded.error().describe();
    EXPECT_EQ(decoded->vdso_hash, 0u);
    EXPECT_EQ(decoded->boot_id, "");
    EXPECT_EQ(decoded->root().namespaces, model::NamespaceIds());
    // [vvar] and [vvar_vclock] are one mapping there.
    EXPECT_EQ(decoded->root().address_space.vmas.size() + 1,
              sample_checkpoint().root().address_space.vmas.size());
}

TEST(Codec, AnEmptyStoreIsNoImageDirectory) {
    const Result<model::Checkpoint> decoded = decode(MemoryStore());
    ASSERT_FALSE(decoded);
    EXPECT_EQ(decoded.error().kind(), Error::Kind::Corrupt);
    EXPECT_NE(decoded.error().message().find("not a directory of image files"), std::string::npos);
}

TEST(Codec, EveryMissingFileIsAnErrorOrTolerated) {
    const MemoryStore all = encoded(sample_without_streams());
    for (const auto& removed : all.files()) {
        MemoryStore store;
        for (const auto& [name, bytes] : all.files()) {
            if (name != removed.first) {
                ASSERT_TRUE(store.put(name, bytes));
            }
        }
        const Result<model::Checkpoint> decoded = decode(store);
        if (!decoded) {
            EXPECT_EQ(decoded.error().kind(), Error::Kind::Corrupt) << removed.first;
        }
    }
}

TEST(Codec, EveryTruncationIsAnError) {
    const MemoryStore all = encoded(sample_checkpoint());
    for (const auto& [cut, content] : all.files()) {
        // At record boundaries a shorter file can be valid (a list with fewer entries).
        for (std::size_t size = 0; size < content.size(); size += 1 + size / 7) {
            MemoryStore store;
            for (const auto& [name, bytes] : all.files()) {
                ASSERT_TRUE(store.put(name, bytes));
            }
            ASSERT_TRUE(store.put(cut, std::span(content).first(size)));
            const Result<model::Checkpoint> decoded = decode(store);
            if (size < 8) {
                EXPECT_FALSE(decoded) << cut << " cut at " << size;
            }
        }
    }
}

TEST(Codec, FlippedBitsNeverCrash) {
    const MemoryStore all = encoded(sample_checkpoint());
    std::mt19937 random(4711);
    for (int round = 0; round < 20; ++round) {
        for (const auto& [flipped, content] : all.files()) {
            MemoryStore store;
            for (const auto& [name, bytes] : all.files()) {
                ASSERT_TRUE(store.put(name, bytes));
            }
            model::Bytes bytes = content;
            for (unsigned i = 0; i < 1 + random() % 4; ++i) {
                bytes[random() % bytes.size()] ^= static_cast<std::byte>(1u << (random() % 8));
            }
            ASSERT_TRUE(store.put(flipped, bytes));
            const Result<model::Checkpoint> decoded = decode(store);
            // What is accepted is well-formed: it can be written again.
            MemoryStore again;
            if (decoded) {
                EXPECT_TRUE(encode(*decoded, again));
            }
        }
    }
}

TEST(Codec, AnotherKindOfImageIsNamed) {
    MemoryStore store = encoded(sample_checkpoint());
    const model::Bytes mm = store.files().at("mm-100.img");
    ASSERT_TRUE(store.put("core-100.img", mm));
    const Result<model::Checkpoint> decoded = decode(store);
    ASSERT_FALSE(decoded);
    EXPECT_NE(decoded.error().message().find("core-100.img holds another kind"), std::string::npos);
}

TEST(Codec, AHugeRecordIsALimitError) {
    MemoryStore store = encoded(sample_checkpoint());
    model::Bytes bytes = store.files().at("pstree.img");
    const std::uint32_t size = 0xf0000000;
    std::memcpy(bytes.data() + 8, &size, sizeof(size));
    ASSERT_TRUE(store.put("pstree.img", bytes));
    const Result<model::Checkpoint> decoded = decode(store);
    ASSERT_FALSE(decoded);
    EXPECT_EQ(decoded.error().kind(), Error::Kind::Limit);
}

// CRIU writes a terminal as two records; Ferry carries it as the device.
TEST(Codec, ATerminalOfCriuIsADevice) {
    MemoryStore store = encoded(sample_checkpoint());
    RecordWriter more(Magic::Files);
    wire::FileEntry device;
    device.set_type(1);
    device.set_id(900);
    device.mutable_reg()->set_id(900);
    device.mutable_reg()->set_flags(2);
    device.mutable_reg()->set_pos(0);
    device.mutable_reg()->set_name("/dev/pts/3");
    device.mutable_reg()->set_mode(S_IFCHR | 0620);
    wire::Fown& owner = *device.mutable_reg()->mutable_fown();
    owner.set_uid(0);
    owner.set_euid(0);
    owner.set_signum(0);
    owner.set_pid_type(0);
    owner.set_pid(0);
    wire::FileEntry terminal;
    terminal.set_type(11);
    terminal.set_id(901);
    terminal.mutable_tty()->set_id(901);
    terminal.mutable_tty()->set_tty_info_id(5);
    terminal.mutable_tty()->set_flags(2);
    *terminal.mutable_tty()->mutable_fown() = owner;
    terminal.mutable_tty()->set_regf_id(900);
    ASSERT_TRUE(more.add(device));
    ASSERT_TRUE(more.add(terminal));
    model::Bytes files = store.files().at("files.img");
    files.insert(files.end(), more.bytes().begin() + 8, more.bytes().end());
    ASSERT_TRUE(store.put("files.img", files));
    const Result<model::Checkpoint> decoded = decode(store);
    ASSERT_TRUE(decoded) << decoded.error().describe();
    EXPECT_EQ(decoded->find_file(900), nullptr);
    ASSERT_NE(decoded->find_file(901), nullptr);
    const auto& body = decoded->find_file(901)->body;
    ASSERT_TRUE(std::holds_alternative<model::RegularFile>(body));
    EXPECT_EQ(std::get<model::RegularFile>(body).path, "/dev/pts/3");
}

TEST(Codec, ATerminalThatARuntimeMadeIsCarriedWithoutItsMaster) {
    model::Checkpoint checkpoint = sample_checkpoint();
    std::erase_if(checkpoint.files, [](const model::OpenFile& file) { return file.id == 25; });
    for (model::Process& process : checkpoint.processes) {
        std::erase_if(process.descriptors, [](const auto& one) { return one.file == 25; });
    }
    model::Terminal& given = checkpoint.terminals.front();
    given.master_path.clear();
    given.locked = given.packets = false;
    MemoryStore store;
    ASSERT_TRUE(encode(checkpoint, store));
    const Result<model::Checkpoint> decoded = decode(store);
    ASSERT_TRUE(decoded) << decoded.error().describe();
    EXPECT_EQ(decoded->terminals, checkpoint.terminals);
    EXPECT_EQ(decoded->files, checkpoint.files);
    // Also where nobody has it open.
    std::erase_if(checkpoint.files, [](const model::OpenFile& file) { return file.id == 26; });
    for (model::Process& process : checkpoint.processes) {
        std::erase_if(process.descriptors, [](const auto& one) { return one.file == 26; });
    }
    MemoryStore without;
    ASSERT_TRUE(encode(checkpoint, without));
    EXPECT_EQ(decode(without).value().terminals, checkpoint.terminals);
}

TEST(Codec, WhatRefersToNoTerminalIsCorrupt) {
    const auto refused = [](const auto& change) {
        model::Checkpoint checkpoint = sample_checkpoint();
        change(checkpoint);
        MemoryStore store;
        return !encode(checkpoint, store).has_value();
    };
    EXPECT_TRUE(refused([](model::Checkpoint& c) { c.terminals.clear(); }));
    EXPECT_TRUE(refused([](model::Checkpoint& c) { c.terminals.front().index = 8; }));
    EXPECT_TRUE(refused([](model::Checkpoint& c) { c.terminals.front().session = 102; }));
    EXPECT_TRUE(refused([](model::Checkpoint& c) { c.terminals.front().master_path = "/etc"; }));
    // There is a master of it.
    EXPECT_TRUE(refused([](model::Checkpoint& c) { c.terminals.front().master_path.clear(); }));
    EXPECT_TRUE(refused([](model::Checkpoint& c) { c.processes[1].terminal = 9; }));
    EXPECT_TRUE(refused([](model::Checkpoint& c) {
        model::OpenFile second = *c.find_file(25);  // the master
        second.id = c.files.back().id + 1;
        c.files.push_back(std::move(second));
    }));
}

TEST(Codec, WhatRefersToNoIpcObjectIsCorrupt) {
    const auto refused = [](const auto& change) {
        model::Checkpoint checkpoint = sample_checkpoint();
        change(checkpoint);
        MemoryStore store;
        return !encode(checkpoint, store).has_value();
    };
    EXPECT_FALSE(refused([](model::Checkpoint&) {}));
    EXPECT_TRUE(refused([](model::Checkpoint& c) { c.ipc.reset(); }));
    EXPECT_TRUE(refused([](model::Checkpoint& c) { c.ipc->segments.clear(); }));
    EXPECT_TRUE(refused([](model::Checkpoint& c) { c.ipc->segments.front().bytes = 4096; }));
    EXPECT_TRUE(refused([](model::Checkpoint& c) { c.ipc->segments.back().object.id = 32769; }));
    EXPECT_TRUE(refused([](model::Checkpoint& c) { c.ipc->semaphores.pop_back(); }));
    EXPECT_TRUE(refused([](model::Checkpoint& c) { c.ipc->posix_queues.front().inode = 98; }));
    EXPECT_TRUE(refused(
        [](model::Checkpoint& c) { c.ipc->posix_queues.front().notification->pid = Pid{103}; }));
    EXPECT_TRUE(refused([](model::Checkpoint& c) { c.ipc->posix_queues.back().name = "/a/b"; }));
    EXPECT_TRUE(refused([](model::Checkpoint& c) { c.ipc->posix_queues.back().messages_max = 1; }));
    EXPECT_TRUE(refused(
        [](model::Checkpoint& c) { c.processes.front().semaphore_undo.front().number = 3; }));
    EXPECT_TRUE(refused(
        [](model::Checkpoint& c) { c.processes.front().semaphore_undo.front().adjustment = 0; }));
}

TEST(Codec, ASegmentAndAnInodeOfOneNumberHavePagesOfTheirOwn) {
    model::Checkpoint checkpoint = sample_checkpoint();
    const auto label_of = [&checkpoint](std::uint64_t id) {
        for (const model::SharedMemory& memory : checkpoint.shared_memory()) {
            if (memory.id == id) return memory.label;
        }
        return std::uint64_t{0};
    };
    EXPECT_EQ(label_of(model::kSegmentIds | 32769), 32769u);
    for (model::Vma& vma : checkpoint.processes.front().address_space.vmas) {
        if (vma.shared_id == 0x1234567890) vma.shared_id = 32769;
    }
    EXPECT_EQ(label_of(32769), 32769u);
    EXPECT_EQ(label_of(model::kSegmentIds | 32769), (std::uint64_t{1} << 40) + 32769);
}

TEST(Codec, ACheckpointWithADanglingIdIsNotWritten) {
    model::Checkpoint checkpoint = sample_checkpoint();
    checkpoint.processes[0].working_directory = 9999;
    MemoryStore store;
    const Result<> result = encode(checkpoint, store);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind(), Error::Kind::Invalid);
    EXPECT_EQ(store.files().size(), 0u);
}

TEST(Codec, AControlGroupPathCannotLeaveItsMount) {
    model::Checkpoint checkpoint = sample_checkpoint();
    checkpoint.processes[0].cgroups[0].path = "/a/../../b";
    MemoryStore store;
    EXPECT_FALSE(encode(checkpoint, store));
}

}  // namespace
}  // namespace ferry::image
