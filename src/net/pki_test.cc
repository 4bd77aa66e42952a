#include "net/pki.h"

#include <gtest/gtest.h>

#include "net/test_directory.h"
#include "net/tls_channel.h"
#include "os/fd.h"

namespace ferry::net {
namespace {

TEST(Pki, IssuedFilesLoadAndBelongToTheirOwnerOnly) {
    const TestDirectory directory;
    const std::string pki = directory.path() + "/deep/pki";
    ASSERT_TRUE(init_pki(pki, Overwrite::No));
    ASSERT_TRUE(issue_certificate(pki, {.name = "alpha", .also = {"10.1.2.3"}}, Overwrite::No));
    for (const char* file : {"ca.key", "ca.crt", "alpha.key", "alpha.crt"}) {
        const auto status = os::fstatat(os::kCwd, pki + "/" + file);
        ASSERT_TRUE(status) << file;
        EXPECT_EQ(status->st_mode & 0777U, 0600U) << file;
    }
    EXPECT_EQ(os::fstatat(os::kCwd, pki)->st_mode & 0777U, 0700U);
    EXPECT_TRUE(TlsContext::load(TlsIdentity::in_directory(pki, "alpha")));
}

TEST(Pki, NothingIsOverwrittenUnasked) {
    const TestDirectory directory;
    ASSERT_TRUE(init_pki(directory.path(), Overwrite::No));
    const auto before = os::read_file(directory.path() + "/ca.key");
    const auto again = init_pki(directory.path(), Overwrite::No);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().kind(), Error::Kind::Invalid);
    EXPECT_EQ(*os::read_file(directory.path() + "/ca.key"), *before);
    EXPECT_TRUE(init_pki(directory.path(), Overwrite::Yes));
    EXPECT_NE(*os::read_file(directory.path() + "/ca.key"), *before);

    ASSERT_TRUE(issue_certificate(directory.path(), {.name = "alpha", .also = {}}, Overwrite::No));
    EXPECT_FALSE(issue_certificate(directory.path(), {.name = "alpha", .also = {}}, Overwrite::No));
    EXPECT_TRUE(issue_certificate(directory.path(), {.name = "alpha", .also = {}}, Overwrite::Yes));
}

TEST(Pki, IssuingNeedsACa) {
    const TestDirectory directory;
    const auto issued =
        issue_certificate(directory.path(), {.name = "alpha", .also = {}}, Overwrite::No);
    ASSERT_FALSE(issued);
    EXPECT_NE(issued.error().message().find("ferry pki init"), std::string::npos);
}

TEST(Pki, NamesThatAreNoHostsAreRefused) {
    const TestDirectory directory;
    ASSERT_TRUE(init_pki(directory.path(), Overwrite::No));
    for (const char* name :
         {"", "ca", "../x", "a/b", ".hidden", "a b", "a,IP:1.2.3.4", "host:80"}) {
        EXPECT_FALSE(
            issue_certificate(directory.path(), {.name = name, .also = {}}, Overwrite::Yes))
            << name;
    }
}

TEST(Pki, AKeyOfAnotherHostIsNotLoadedWithACertificate) {
    const TestDirectory directory;
    ASSERT_TRUE(init_pki(directory.path(), Overwrite::No));
    ASSERT_TRUE(issue_certificate(directory.path(), {.name = "alpha", .also = {}}, Overwrite::No));
    ASSERT_TRUE(issue_certificate(directory.path(), {.name = "beta", .also = {}}, Overwrite::No));
    auto mixed = TlsIdentity::in_directory(directory.path(), "alpha");
    mixed.key = TlsIdentity::in_directory(directory.path(), "beta").key;
    const auto context = TlsContext::load(mixed);
    ASSERT_FALSE(context);
    EXPECT_EQ(context.error().kind(), Error::Kind::Invalid);
    mixed.key = directory.path() + "/missing.key";
    EXPECT_FALSE(TlsContext::load(mixed));
}

}  // namespace
}  // namespace ferry::net
