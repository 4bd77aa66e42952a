#include "pages/page_wire.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>

#include "base/limits.h"

namespace ferry::pages {
namespace {

PageRun run(std::uint64_t first, std::uint64_t end) {
    return {RemoteAddr{first * kPageSize}, RemoteAddr{end * kPageSize}};
}

std::vector<std::byte> wire_bytes(const PageFrame& frame) {
    std::vector<std::byte> bytes;
    for (const iovec& part : frame.parts()) {
        const auto* data = static_cast<const std::byte*>(part.iov_base);
        bytes.insert(bytes.end(), data, data + part.iov_len);
    }
    EXPECT_EQ(bytes.size(), frame.bytes());
    return bytes;
}

// Two pieces of five pages together, and a run of zeros.
struct Sample {
    std::vector<std::byte> memory;
    PageBatch batch;

    explicit Sample(bool compressible) : memory(5 * kPageSize) {
        std::mt19937 random(1);
        for (std::byte& b : memory) b = std::byte(compressible ? 7 : random() & 0xff);
        batch.zeros.add(run(30, 33));
        batch.data.push_back({.run = run(10, 12), .bytes = std::span(memory).first(2 * kPageSize)});
        batch.data.push_back(
            {.run = run(20, 23), .bytes = std::span(memory).subspan(2 * kPageSize)});
        batch.data_bytes = memory.size();
    }
    std::vector<std::byte> encode(Compression compression) const {
        PageFrame frame(compression);
        frame.encode(pages_of(Pid{42}), batch);
        return wire_bytes(frame);
    }
};

void expect_sample(const Sample& sample, const std::vector<std::byte>& wire) {
    DecodedPages decoded;
    const Result<> result = decode_pages(wire, decoded);
    ASSERT_TRUE(result) << result.error().describe();
    EXPECT_EQ(decoded.owner, pages_of(Pid{42}));
    ASSERT_EQ(decoded.runs.size(), 3u);
    EXPECT_EQ(decoded.runs[0].kind, RunKind::Zero);
    EXPECT_EQ(decoded.runs[0].run, run(30, 33));
    std::size_t offset = 0;
    for (std::size_t i = 1; i < 3; ++i) {
        EXPECT_EQ(decoded.runs[i].kind, RunKind::Data);
        EXPECT_EQ(decoded.runs[i].run, sample.batch.data[i - 1].run);
        ASSERT_EQ(decoded.runs[i].bytes.size(), decoded.runs[i].run.size());
        EXPECT_EQ(std::memcmp(decoded.runs[i].bytes.data(), sample.memory.data() + offset,
                              decoded.runs[i].bytes.size()),
                  0);
        offset += decoded.runs[i].bytes.size();
    }
}

TEST(PageWire, AFrameComesBackAsItWas) {
    const Sample sample(false);
    expect_sample(sample, sample.encode(Compression::None));
}

TEST(PageWire, AnObjectOfSharedMemoryHasANumberThatNoProcessCouldHave) {
    const Sample sample(false);
    const PageOwner owner = pages_of_shared(~std::uint64_t{0});
    PageFrame frame;
    frame.encode(owner, sample.batch);
    DecodedPages decoded;
    ASSERT_TRUE(decode_pages(wire_bytes(frame), decoded));
    EXPECT_EQ(decoded.owner, owner);
}

TEST(PageWire, PagesAreNotCopiedWhenEncoding) {
    const Sample sample(false);
    PageFrame frame;
    frame.encode(pages_of(Pid{42}), sample.batch);
    ASSERT_EQ(frame.parts().size(), 3u);
    EXPECT_EQ(frame.parts()[1].iov_base, sample.memory.data());
}

TEST(PageWire, CompressionIsUsedOnlyWhereItGains) {
    const Sample dense(false);
    const Sample plain(true);
    EXPECT_EQ(dense.encode(Compression::Lz4), dense.encode(Compression::None));
    EXPECT_LT(plain.encode(Compression::Lz4).size(), plain.encode(Compression::None).size() / 10);
    expect_sample(dense, dense.encode(Compression::Lz4));
    expect_sample(plain, plain.encode(Compression::Lz4));
}

TEST(PageWire, AFrameOfZerosOnlyHasNoData) {
    PageBatch batch;
    batch.zeros.add(run(1, 1000000));
    PageFrame frame(Compression::Lz4);
    frame.encode(pages_of(Pid{1}), batch);
    EXPECT_EQ(frame.bytes(), sizeof(PageFrameHeader) + sizeof(WireRun));
    DecodedPages decoded;
    ASSERT_TRUE(decode_pages(wire_bytes(frame), decoded));
    EXPECT_EQ(decoded.runs[0].run, run(1, 1000000));
}

TEST(PageWire, DropsTakeAsManyFramesAsTheyNeed) {
    PageSet gone;
    for (std::uint64_t i = 0; i < 1200000; ++i) gone.add(run(2 * i, 2 * i + 1));
    auto rest = gone.runs();
    PageSet decoded_set;
    PageFrame frame;
    DecodedPages decoded;
    int frames = 0;
    while (!rest.empty()) {
        rest = rest.subspan(frame.encode_drops(pages_of(Pid{3}), rest));
        const auto wire = wire_bytes(frame);
        ASSERT_LE(wire.size(), limits::kWireFrameBytesMax);
        ASSERT_TRUE(decode_pages(wire, decoded));
        for (const DecodedPages::Run& r : decoded.runs) {
            ASSERT_EQ(r.kind, RunKind::Drop);
            decoded_set.add(r.run);
        }
        ++frames;
    }
    EXPECT_EQ(decoded_set, gone);
    EXPECT_GT(frames, 1);
}

TEST(PageWire, ARunOfTerabytesIsCutIntoRunsThatFitTheirCount) {
    const PageSet gone = {run(0, (std::uint64_t{1} << 34))};
    PageFrame frame;
    EXPECT_EQ(frame.encode_drops(pages_of(Pid{3}), gone.runs()), 1u);
    DecodedPages decoded;
    ASSERT_TRUE(decode_pages(wire_bytes(frame), decoded));
    PageSet decoded_set;
    for (const DecodedPages::Run& r : decoded.runs) decoded_set.add(r.run);
    EXPECT_EQ(decoded_set, gone);
}

// A frame with one field overwritten.
template <class T>
std::vector<std::byte> spoiled(std::vector<std::byte> wire, std::size_t offset, T value) {
    std::memcpy(wire.data() + offset, &value, sizeof(value));
    return wire;
}

TEST(PageWire, HostileHeadersAreRefused) {
    const Sample sample(false);
    const auto wire = sample.encode(Compression::None);
    DecodedPages into;
    const auto kind_of = [&](const std::vector<std::byte>& bytes) {
        const Result<> result = decode_pages(bytes, into);
        EXPECT_FALSE(result);
        return result ? Error::Kind::System : result.error().kind();
    };
    using Kind = Error::Kind;
    using Header = PageFrameHeader;
    EXPECT_EQ(kind_of(spoiled(wire, offsetof(Header, magic), 1u)), Kind::Corrupt);
    EXPECT_EQ(kind_of(spoiled<std::uint16_t>(wire, offsetof(Header, version), 1)),
              Kind::Unsupported);
    EXPECT_EQ(kind_of(spoiled<std::uint8_t>(wire, offsetof(Header, compression), 9)),
              Kind::Unsupported);
    EXPECT_EQ(kind_of(spoiled<std::uint8_t>(wire, offsetof(Header, compression), 1)),
              Kind::Corrupt);
    EXPECT_EQ(kind_of(spoiled<std::uint8_t>(wire, offsetof(Header, space), 0)), Kind::Corrupt);
    EXPECT_EQ(kind_of(spoiled<std::uint8_t>(wire, offsetof(Header, space), 3)), Kind::Corrupt);
    EXPECT_EQ(kind_of(spoiled<std::uint64_t>(wire, offsetof(Header, owner), 0)), Kind::Corrupt);
    EXPECT_EQ(kind_of(spoiled<std::int64_t>(wire, offsetof(Header, owner), -4)), Kind::Corrupt);
    EXPECT_EQ(kind_of(spoiled(wire, offsetof(Header, run_count), 0xffffffffu)), Kind::Limit);
    EXPECT_EQ(kind_of(spoiled(wire, offsetof(Header, run_count), 2u)), Kind::Corrupt);
    EXPECT_EQ(kind_of(spoiled(wire, offsetof(Header, data_bytes), ~std::uint64_t{0})), Kind::Limit);
    EXPECT_EQ(kind_of(spoiled(wire, offsetof(Header, stored_bytes), ~std::uint64_t{0})),
              Kind::Corrupt);
}

TEST(PageWire, HostileRunsAreRefused) {
    const Sample sample(false);
    const auto wire = sample.encode(Compression::None);
    const std::size_t first = sizeof(PageFrameHeader);  // zeros
    const std::size_t second = first + sizeof(WireRun);
    DecodedPages into;
    const auto refused = [&](const std::vector<std::byte>& bytes) {
        const Result<> result = decode_pages(bytes, into);
        return !result && result.error().kind() == Error::Kind::Corrupt;
    };
    EXPECT_TRUE(refused(spoiled(wire, first + offsetof(WireRun, kind), 0u)));
    EXPECT_TRUE(refused(spoiled(wire, first + offsetof(WireRun, kind), 77u)));
    EXPECT_TRUE(refused(spoiled(wire, first + offsetof(WireRun, pages), 0u)));
    EXPECT_TRUE(refused(spoiled<std::uint64_t>(wire, first, 1234567)));
    EXPECT_TRUE(refused(spoiled(wire, first, ~std::uint64_t{0} << 12)));
    EXPECT_TRUE(refused(spoiled(wire, first, (std::uint64_t{1} << 56) - kPageSize)));
    EXPECT_TRUE(refused(spoiled(wire, second + offsetof(WireRun, pages), 1u)));
    EXPECT_TRUE(refused(spoiled(wire, second + offsetof(WireRun, pages), 0xffffffffu)));
    // Zeros that claim to have data.
    EXPECT_TRUE(refused(spoiled(wire, first + offsetof(WireRun, kind), 1u)));
}

TEST(PageWire, NoDamageOfAnyKindCrashesTheDecoder) {
    std::mt19937 random(99);
    DecodedPages into;
    for (const Compression compression : {Compression::None, Compression::Lz4}) {
        const Sample sample(true);
        const auto wire = sample.encode(compression);
        for (std::size_t n = 0; n < wire.size(); n += 1 + n / 50) {
            EXPECT_FALSE(decode_pages(std::span(wire).first(n), into)) << n;
        }
        for (int i = 0; i < 20000; ++i) {
            auto damaged = wire;
            for (auto k = 1 + random() % 3; k > 0; --k) {
                damaged[random() % std::min<std::size_t>(damaged.size(), 200)] =
                    std::byte(random() & 0xff);
            }
            if (!decode_pages(damaged, into)) continue;
            for (const DecodedPages::Run& r : into.runs) {
                EXPECT_EQ(r.bytes.size(), r.kind == RunKind::Data ? r.run.size() : 0);
            }
        }
    }
}

}  // namespace
}  // namespace ferry::pages
