// Whole agents, with sessions that move nothing (rehearsal.cc): what happens between processes.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <unistd.h>

#include <algorithm>
#include <future>
#include <memory>
#include <thread>

#include "agent/group_decision.h"
#include "agent/process_table.h"
#include "agent/session_store.h"
#include "agent/test_daemon.h"
#include "os/inet.h"

namespace ferry::agent {
namespace {

using migrate::SessionState;
using namespace std::chrono_literals;

class AgentTest : public ::testing::Test {
  protected:
    void SetUp() override {
        make_keys("pki", {"alpha", "beta", "127.0.0.1"});
        alpha_ = std::make_unique<TestDaemon>(directory_.path(), "alpha", free_port());
        beta_ = std::make_unique<TestDaemon>(directory_.path(), "beta", free_port());
    }
    void make_keys(const std::string& installation, const std::vector<std::string>& hosts) {
        const std::string path = directory_.path() + "/" + installation;
        ASSERT_TRUE(net::init_pki(path, net::Overwrite::No));
        for (const std::string& host : hosts) {
            ASSERT_TRUE(net::issue_certificate(path, {.name = host, .also = {"127.0.0.1"}},
                                               net::Overwrite::Yes));
        }
    }
    [[nodiscard]] net::TlsIdentity keys(const std::string& host,
                                        const std::string& installation = "pki") const {
        return net::TlsIdentity::in_directory(directory_.path() + "/" + installation, host);
    }
    [[nodiscard]] std::string beta_address() const {
        return fmt::format("127.0.0.1:{}", beta_->port());
    }
    // Migrates the process named by the script from alpha to beta.
    Result<SessionInfo> migrate(const std::string& script) {
        const NamedProcess service(directory_.path(), script);
        return alpha_->control().migrate(
            {.service = service.text(), .destination = beta_address()},
            {.started = [](const SessionInfo&) {},
             .progress = [](const std::string&, const migrate::Progress&) {}});
    }
    // Starts a session that waits for its abort; `then` runs once it is under way.
    template <class Then>
    Result<SessionInfo> migrate_until(Then then, const std::string& script = "rehearse-wait") {
        const NamedProcess service(directory_.path(), script);
        auto client = alpha_->control();
        std::promise<SessionInfo> under_way;
        auto migrating = std::async(std::launch::async, [&] {
            return client.migrate(
                {.service = service.text(), .destination = beta_address()},
                {.started = [&](const SessionInfo& info) { under_way.set_value(info); },
                 .progress = [](const std::string&, const migrate::Progress&) {}});
        });
        const SessionInfo info = under_way.get_future().get();
        CHECK(eventually([&] {
            const auto status = beta_->control().status();
            return status && status->sessions.size() == 1 &&
                   status->sessions[0].state == SessionState::Ready;
        }));
        then(client, info);
        return migrating.get();
    }
    // Moves services together, each named by its script; `then` runs once all are under way at
    // beta.
    template <class Then>
    Result<std::vector<SessionInfo>> migrate_group(
        const std::vector<std::string>& scripts, Then then, MigrateOrder order = {},
        const ControlClient::Watcher& watcher = {
            .started = [](const SessionInfo&) {},
            .progress = [](const std::string&, const migrate::Progress&) {}}) {
        std::vector<std::unique_ptr<NamedProcess>> services;
        order.destination = beta_address();
        for (const std::string& script : scripts) {
            services.push_back(std::make_unique<NamedProcess>(directory_.path(), script));
            order.others.push_back(services.back()->text());
        }
        order.service = order.others.front();
        order.others.erase(order.others.begin());
        auto client = alpha_->control();
        auto migrating =
            std::async(std::launch::async, [&] { return client.migrate_group(order, watcher); });
        then();
        return migrating.get();
    }
    // Members wait for the decision, but for one that does not vote.
    void await_votes() {
        CHECK(eventually([&] {
            const auto status = beta_->control().status();
            return status && status->sessions.size() == 2 &&
                   std::ranges::all_of(status->sessions, [](const SessionInfo& info) {
                       return info.state == SessionState::Ready;
                   });
        }));
        std::this_thread::sleep_for(200ms);
    }
    // All that `daemon` has had, once there are so many, ended in this.
    void expect_all_end_in(const TestDaemon& daemon, std::size_t count, SessionState state) {
        EXPECT_TRUE(eventually([&] { return daemon.control().history(0)->size() == count; }));
        const auto history = daemon.control().history(0);
        for (const SessionInfo& info : *history) EXPECT_EQ(info.state, state) << info.error;
        EXPECT_TRUE(
            eventually([&] { return std::filesystem::is_empty(daemon.state() + "/sessions"); }));
    }
    bool ends_in(const TestDaemon& daemon, SessionState state) {
        return eventually([&] {
            const SessionInfo last = daemon.last();
            return !last.id.empty() && last.state == state;
        });
    }

    net::TestDirectory directory_;
    std::unique_ptr<TestDaemon> alpha_;
    std::unique_ptr<TestDaemon> beta_;
};

TEST_F(AgentTest, AnAgentTellsItsNameAndHasNothingToTellYet) {
    auto client = alpha_->control();
    const auto identity = client.ping();
    ASSERT_TRUE(identity) << identity.error().message();
    EXPECT_EQ(identity->name, "alpha");
    EXPECT_EQ(identity->protocol, kControlProtocol);
    EXPECT_TRUE(client.status()->sessions.empty());
    EXPECT_TRUE(client.history(0)->empty());
    EXPECT_EQ(os::fstatat(os::kCwd, alpha_->socket())->st_mode & 0777U, 0600U);
}

TEST_F(AgentTest, ASessionEndsAtTheDestinationAndIsInBothHistories) {
    const auto ended = migrate("rehearse-ok");
    ASSERT_TRUE(ended) << ended.error().message();
    EXPECT_EQ(ended->state, SessionState::Done);
    EXPECT_EQ(ended->error, "");
    EXPECT_EQ(ended->destination, "beta");
    EXPECT_TRUE(migrate::report_from_json(ended->report)->succeeded);
    EXPECT_EQ(alpha_->last().state, SessionState::Done);
    EXPECT_TRUE(ends_in(*beta_, SessionState::Running));
    EXPECT_EQ(beta_->last().id, ended->id);
    EXPECT_EQ(beta_->last().source, "alpha");
}

TEST_F(AgentTest, ALinkCutAfterTheDecisionIsSettledByAskingTheSource) {
    const auto ended = migrate("rehearse-cut");
    ASSERT_TRUE(ended) << ended.error().message();
    EXPECT_EQ(ended->state, SessionState::Done);
    EXPECT_TRUE(ends_in(*beta_, SessionState::Running));
}

TEST_F(AgentTest, AnOutcomeThatAKilledWorkerDidNotLearnIsAskedFor) {
    const auto ended = migrate("rehearse-lost");
    ASSERT_TRUE(ended) << ended.error().message();
    EXPECT_EQ(ended->state, SessionState::Committed);
    EXPECT_TRUE(ends_in(*beta_, SessionState::Running));
    EXPECT_TRUE(ends_in(*alpha_, SessionState::Done));
    EXPECT_NE(alpha_->last().error.find("beta answers: the service runs there"), std::string::npos);
    EXPECT_TRUE(alpha_->control().status()->sessions.empty());
}

TEST_F(AgentTest, ARestartedAgentAsksUntilItKnowsTheOutcome) {
    EXPECT_EQ(alpha_->end_with(SIGTERM), 0);
    EXPECT_EQ(beta_->end_with(SIGTERM), 0);
    // Two sessions that beta ran and never knew, as killed workers and agents leave them.
    const auto run = new_session_id(), unknown = new_session_id();
    ASSERT_TRUE(run && unknown);
    const auto leave = [&](const TestDaemon& daemon, const std::string& id, Role role,
                           SessionState state) {
        const auto store = SessionStore::open(daemon.state() + "/sessions");
        ASSERT_TRUE(store);
        EXPECT_TRUE(store->write({.id = id,
                                  .role = role,
                                  .service = "1",
                                  .source = "alpha",
                                  .destination = "beta",
                                  .peer = {.host = "127.0.0.1", .port = beta_->port()},
                                  .state = state,
                                  .error = {},
                                  .report = {},
                                  .progress = {}}));
    };
    leave(*alpha_, *run, Role::Source, SessionState::Committed);
    leave(*alpha_, *unknown, Role::Source, SessionState::Committed);
    leave(*beta_, *run, Role::Destination, SessionState::Running);
    alpha_->start();
    // Nobody answers yet.
    std::this_thread::sleep_for(1500ms);
    EXPECT_TRUE(eventually([&] {
        const auto status = alpha_->control().status();
        return status && status->sessions.size() == 2 &&
               std::ranges::all_of(status->sessions, [](const SessionInfo& info) {
                   return info.state == SessionState::Committed;
               });
    }));
    EXPECT_TRUE(alpha_->control().history(0)->empty());

    beta_->start();
    EXPECT_TRUE(eventually([&] { return alpha_->control().history(0)->size() == 2; }));
    const auto history = alpha_->control().history(0);
    ASSERT_TRUE(history);
    for (const SessionInfo& info : *history) {
        EXPECT_EQ(info.state, info.id == *run ? SessionState::Done : SessionState::Aborted);
        EXPECT_NE(info.error.find("beta answers"), std::string::npos) << info.error;
    }
    EXPECT_TRUE(alpha_->control().status()->sessions.empty());
}

TEST_F(AgentTest, AKilledWorkerAbortsTheSessionOnBothSides) {
    const auto ended = migrate("rehearse-die");
    ASSERT_TRUE(ended) << ended.error().message();
    EXPECT_EQ(ended->state, SessionState::Aborted);
    EXPECT_NE(ended->error, "");
    EXPECT_TRUE(ends_in(*beta_, SessionState::Aborted));
}

TEST_F(AgentTest, ARefusalBeforeTheFirstConnectionEndsTheDestinationToo) {
    const auto ended = migrate("rehearse-refuse");
    ASSERT_TRUE(ended) << ended.error().message();
    EXPECT_EQ(ended->state, SessionState::Aborted);
    EXPECT_EQ(ended->error, "this cannot be moved");
    // By the time the caller knows, both sides are as before.
    EXPECT_TRUE(beta_->control().status()->sessions.empty());
    EXPECT_EQ(beta_->last().state, SessionState::Aborted);
}

TEST_F(AgentTest, AbortByTheBeginningOfTheIdWaitsForTheEnd) {
    const auto ended = migrate_until([&](ControlClient&, const SessionInfo& info) {
        const auto aborted = alpha_->control().abort(info.id.substr(0, 6));
        ASSERT_TRUE(aborted) << aborted.error().message();
        EXPECT_EQ(aborted->state, SessionState::Aborted);
    });
    ASSERT_TRUE(ended) << ended.error().message();
    EXPECT_EQ(ended->state, SessionState::Aborted);
    EXPECT_TRUE(ends_in(*beta_, SessionState::Aborted));
    EXPECT_FALSE(alpha_->control().abort("00"));
}

TEST_F(AgentTest, ABrokenStreamAbortsItsSession) {
    const auto ended =
        migrate_until([](ControlClient& client, const SessionInfo&) { client.cancel(); });
    EXPECT_FALSE(ended);
    EXPECT_TRUE(ends_in(*alpha_, SessionState::Aborted));
    EXPECT_TRUE(ends_in(*beta_, SessionState::Aborted));
}

TEST_F(AgentTest, AKilledSourceAgentAbortsTheSessionAndRemembersIt) {
    const auto ended = migrate_until([&](ControlClient&, const SessionInfo&) {
        EXPECT_EQ(alpha_->end_with(SIGKILL), 128 + SIGKILL);
    });
    ASSERT_FALSE(ended);
    EXPECT_EQ(ended.error().kind(), Error::Kind::Gone);
    // The destination asks the source's agent, which is gone until it is started again.
    alpha_->start();
    EXPECT_TRUE(ends_in(*alpha_, SessionState::Aborted));
    EXPECT_TRUE(ends_in(*beta_, SessionState::Aborted));
    EXPECT_TRUE(std::filesystem::is_empty(alpha_->state() + "/sessions"));
}

TEST_F(AgentTest, AKilledDestinationAgentAbortsTheSession) {
    const auto ended = migrate_until([&](ControlClient&, const SessionInfo& info) {
        EXPECT_EQ(beta_->end_with(SIGKILL), 128 + SIGKILL);
        beta_->start();
        EXPECT_TRUE(ends_in(*beta_, SessionState::Aborted));
        std::ignore = alpha_->control().abort(info.id);
    });
    ASSERT_TRUE(ended) << ended.error().message();
    EXPECT_EQ(ended->state, SessionState::Aborted);
}

TEST_F(AgentTest, AnAgentThatIsToEndAbortsItsSessionsFirst) {
    const auto ended = migrate_until(
        [&](ControlClient&, const SessionInfo&) { EXPECT_EQ(alpha_->end_with(SIGTERM), 0); });
    ASSERT_TRUE(ended) << ended.error().message();
    EXPECT_EQ(ended->state, SessionState::Aborted);
    EXPECT_FALSE(os::fstatat(os::kCwd, alpha_->socket()));
    EXPECT_FALSE(os::fstatat(os::kCwd, alpha_->socket() + ".lock"));
    EXPECT_TRUE(ends_in(*beta_, SessionState::Aborted));
}

TEST_F(AgentTest, ASecondSignalEndsAnAgentThatWaitsForASession) {
    const auto ended = migrate_until(
        [&](ControlClient&, const SessionInfo&) {
            alpha_->signal(SIGTERM);
            // It refuses new work while it waits.
            EXPECT_TRUE(eventually([&] {
                const auto refused = alpha_->control().migrate(
                    {.service = fmt::format("{}", ::getpid()), .destination = beta_address()}, {});
                return !refused &&
                       refused.error().message().find("shutting down") != std::string::npos;
            }));
            EXPECT_EQ(alpha_->end_with(SIGTERM), 0);
            alpha_->start();
        },
        "rehearse-deaf");
    EXPECT_FALSE(ended);
    EXPECT_TRUE(ends_in(*alpha_, SessionState::Aborted));
    EXPECT_TRUE(ends_in(*beta_, SessionState::Aborted));
}

TEST_F(AgentTest, ASecondAgentOnOneSocketIsRefused) {
    os::Launch launch;
    launch.arguments = alpha_->command();
    auto second = os::ChildProcess::start(launch);
    ASSERT_TRUE(second);
    EXPECT_EQ(**second->wait(kTestPatience), 1);
    EXPECT_TRUE(alpha_->control().ping());
}

TEST_F(AgentTest, TheSocketOfADeadAgentIsReplaced) {
    EXPECT_EQ(alpha_->end_with(SIGKILL), 128 + SIGKILL);
    ASSERT_TRUE(os::fstatat(os::kCwd, alpha_->socket()));
    const auto client = ControlClient::connect(alpha_->socket());
    ASSERT_FALSE(client);
    EXPECT_NE(client.error().message().find("no agent on"), std::string::npos);
    alpha_->start();
    EXPECT_TRUE(alpha_->control().ping());
}

TEST_F(AgentTest, AHostWhereNobodyListensIsNamed) {
    const NamedProcess service(directory_.path(), "rehearse-ok");
    const auto ended = alpha_->control().migrate(
        {.service = service.text(), .destination = fmt::format("127.0.0.1:{}", free_port())}, {});
    ASSERT_FALSE(ended);
    EXPECT_EQ(ended.error().kind(), Error::Kind::Peer);
    EXPECT_NE(ended.error().message().find("nobody listens there"), std::string::npos)
        << ended.error().message();
}

TEST_F(AgentTest, AHostThatSpeaksSomethingElseIsNamed) {
    const auto listener = net::Listener::bind({.host = "127.0.0.1", .port = 0});
    auto answering = std::async(std::launch::async, [&] {
        auto socket = listener->accept(net::Deadline::after(kTestPatience));
        CHECK(socket.has_value());
        std::ignore = os::write_all(socket->get(), os::as_bytes("220 mail ESMTP\r\n"));
        std::array<pollfd, 1> fds = {pollfd{.fd = socket->get(), .events = POLLIN, .revents = 0}};
        std::ignore = os::poll(fds, 1000);
    });
    const NamedProcess service(directory_.path(), "rehearse-ok");
    const auto ended = alpha_->control().migrate(
        {.service = service.text(), .destination = fmt::format("127.0.0.1:{}", listener->port())},
        {});
    ASSERT_FALSE(ended);
    EXPECT_NE(ended.error().message().find("no Ferry agent"), std::string::npos)
        << ended.error().message();
}

TEST_F(AgentTest, AnAgentOfAForeignCaIsNamed) {
    make_keys("foreign", {"gamma"});
    const auto client =
        PeerClient::connect(keys("gamma", "foreign"),
                            {.at = {.host = "127.0.0.1", .port = beta_->port()}, .name = "beta"},
                            net::Deadline::after(kTestPatience));
    ASSERT_FALSE(client);
    EXPECT_NE(client.error().message().find("not of our CA"), std::string::npos)
        << client.error().message();
}

TEST_F(AgentTest, ACallerWithAForeignCertificateIsRefused) {
    make_keys("foreign", {"gamma"});
    net::TlsIdentity mixed = keys("gamma", "foreign");
    mixed.ca = keys("beta").ca;
    const auto client = PeerClient::connect(
        mixed, {.at = {.host = "127.0.0.1", .port = beta_->port()}, .name = "beta"},
        net::Deadline::after(kTestPatience));
    ASSERT_FALSE(client);
    EXPECT_NE(client.error().message().find("refuses our certificate"), std::string::npos)
        << client.error().message();
}

// Whether a plain OpenSSL client of at most this version gets a first byte out of the agent.
bool is_served(std::uint16_t port, int version, const net::TlsIdentity* keys) {
    const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(SSL_CTX_new(TLS_client_method()),
                                                               SSL_CTX_free);
    CHECK(SSL_CTX_set_max_proto_version(context.get(), version) == 1);
    constexpr std::array<unsigned char, 3> kHttp2 = {2, 'h', '2'};
    CHECK(SSL_CTX_set_alpn_protos(context.get(), kHttp2.data(), kHttp2.size()) == 0);
    if (keys != nullptr) {
        CHECK(SSL_CTX_use_certificate_chain_file(context.get(), keys->certificate.c_str()) == 1);
        CHECK(SSL_CTX_use_PrivateKey_file(context.get(), keys->key.c_str(), SSL_FILETYPE_PEM) == 1);
    }
    const std::unique_ptr<BIO, void (*)(BIO*)> bio(BIO_new_ssl_connect(context.get()),
                                                   BIO_free_all);
    CHECK(BIO_set_conn_hostname(bio.get(), fmt::format("127.0.0.1:{}", port).c_str()) == 1);
    char first = 0;
    return BIO_do_handshake(bio.get()) == 1 && BIO_read(bio.get(), &first, 1) == 1;
}

TEST_F(AgentTest, OnlyTls13WithACertificateIsServed) {
    const net::TlsIdentity own = keys("alpha");
    EXPECT_TRUE(is_served(beta_->port(), TLS1_3_VERSION, &own));
    EXPECT_FALSE(is_served(beta_->port(), TLS1_2_VERSION, &own));
    EXPECT_FALSE(is_served(beta_->port(), TLS1_3_VERSION, nullptr));
}

TEST_F(AgentTest, APeerLearnsOnlyOfItsOwnSessions) {
    const auto ended = migrate("rehearse-ok");
    ASSERT_TRUE(ended);
    const auto ask = [&](const std::string& as, const std::string& id) {
        auto client = PeerClient::connect(
            keys(as), {.at = {.host = "127.0.0.1", .port = beta_->port()}, .name = "beta"},
            net::Deadline::after(kTestPatience));
        CHECK(client.has_value());
        EXPECT_EQ(client->name(), "beta");
        return client->outcome(id);
    };
    ASSERT_TRUE(ends_in(*beta_, SessionState::Running));
    EXPECT_EQ(*ask("alpha", ended->id), SessionState::Running);
    EXPECT_FALSE(ask("127.0.0.1", ended->id));
    EXPECT_EQ(*ask("alpha", std::string(32, '0')), SessionState::Unknown);
    EXPECT_FALSE(ask("alpha", "../../etc/passwd"));
}

TEST_F(AgentTest, APreparedSessionCanBeCancelledByItsPeerOnly) {
    const auto connect = [&](const std::string& as) {
        auto client = PeerClient::connect(
            keys(as), {.at = {.host = "127.0.0.1", .port = beta_->port()}, .name = "beta"},
            net::Deadline::after(kTestPatience));
        CHECK(client.has_value());
        return std::move(*client);
    };
    const std::string id(32, 'a');
    auto source = connect("alpha");
    const auto prepared = source.prepare({.session = id,
                                          .service = "x",
                                          .source = {},
                                          .control_host = {},
                                          .control_port = alpha_->port()});
    ASSERT_TRUE(prepared) << prepared.error().message();
    EXPECT_NE(prepared->data_port, 0);
    EXPECT_FALSE(source.prepare({.session = id,
                                 .service = "x",
                                 .source = {},
                                 .control_host = {},
                                 .control_port = alpha_->port()}));
    EXPECT_FALSE(connect("127.0.0.1").cancel(id));
    EXPECT_EQ(*source.cancel(id), SessionState::Aborted);
    EXPECT_EQ(*source.outcome(id), SessionState::Aborted);
}

TEST_F(AgentTest, ThingsThatCannotBeMovedAreRefusedAtOnce) {
    auto client = alpha_->control();
    const auto refuse = [&](const std::string& service, const std::string& to) {
        const auto ended = client.migrate({.service = service, .destination = to}, {});
        CHECK(!ended.has_value());
        return ended.error();
    };
    EXPECT_NE(
        refuse("no-such-thing", beta_address()).message().find("no container or process named"),
        std::string::npos);
    EXPECT_NE(refuse("4194304", beta_address()).message().find("no process 4194304"),
              std::string::npos);
    EXPECT_EQ(refuse("1", "host:x").kind(), Error::Kind::Invalid);
    const NamedProcess service(directory_.path(), "rehearse-ok");
    EXPECT_NE(refuse(service.text(), fmt::format("127.0.0.1:{}", alpha_->port()))
                  .message()
                  .find("same host"),
              std::string::npos);
    EXPECT_TRUE(client.history(0)->empty());
}

TEST_F(AgentTest, AnAgentWithoutTcpDoesNotMigrate) {
    const TestDaemon quiet(directory_.path(), "127.0.0.1", 0);
    const NamedProcess service(directory_.path(), "rehearse-ok");
    const auto ended =
        quiet.control().migrate({.service = service.text(), .destination = beta_address()}, {});
    ASSERT_FALSE(ended);
    EXPECT_NE(ended.error().message().find("--listen"), std::string::npos);
}

TEST_F(AgentTest, AGroupGoesTogether) {
    const auto ended = migrate_group({"rehearse-ok", "rehearse-busy", "rehearse-ok2"}, [] {});
    ASSERT_TRUE(ended) << ended.error().message();
    ASSERT_EQ(ended->size(), 3u);
    for (const SessionInfo& info : *ended) {
        EXPECT_EQ(info.state, SessionState::Done) << info.error;
        EXPECT_EQ(info.group, ended->front().group);
        EXPECT_TRUE(is_session_id(info.group));
    }
    expect_all_end_in(*alpha_, 3, SessionState::Done);
}

TEST_F(AgentTest, WhatAGroupHasLeftIsJudgedTogether) {
    using migrate::OnNoConvergence;
    for (const auto& [choice, state, fits] :
         {std::tuple(OnNoConvergence::StopCopy, SessionState::Done, false),
          std::tuple(OnNoConvergence::Throttle, SessionState::Done, true),
          std::tuple(OnNoConvergence::Abort, SessionState::Aborted, false)}) {
        MigrateOrder order;
        order.on_no_convergence = choice;
        const auto ended = migrate_group({"rehearse-ok", "rehearse-heavy"}, [] {}, order);
        ASSERT_TRUE(ended) << ended.error().message();
        for (const SessionInfo& info : *ended) {
            EXPECT_EQ(info.state, state) << name_of(choice) << ": " << info.error;
            const auto report = migrate::report_from_json(info.report);
            ASSERT_TRUE(report) << info.report;
            EXPECT_EQ(report->fits_downtime, fits) << name_of(choice);
            EXPECT_EQ(
                info.error.find("--max-downtime of 50 ms cannot be kept") != std::string::npos,
                state == SessionState::Aborted)
                << info.error;
        }
    }
}

TEST_F(AgentTest, AMemberThatDoesNotGoKeepsItsGroup) {
    for (const char* script : {"rehearse-refuse", "rehearse-die"}) {
        const auto ended = migrate_group({"rehearse-ok", script}, [] {});
        ASSERT_TRUE(ended) << ended.error().message();
        EXPECT_EQ(ended->at(0).state, SessionState::Aborted);
        EXPECT_EQ(ended->at(1).state, SessionState::Aborted);
        EXPECT_NE(ended->at(0).error.find("of its group: " + ended->at(1).error), std::string::npos)
            << ended->at(0).error;
    }
    expect_all_end_in(*alpha_, 4, SessionState::Aborted);
    expect_all_end_in(*beta_, 4, SessionState::Aborted);
}

TEST_F(AgentTest, AGroupIsAbortedAsAWholeEvenAfterAVote) {
    const auto ended = migrate_group({"rehearse-ok", "rehearse-mute"}, [&] {
        await_votes();
        EXPECT_TRUE(alpha_->control().abort(""));
    });
    ASSERT_TRUE(ended) << ended.error().message();
    expect_all_end_in(*alpha_, 2, SessionState::Aborted);
    expect_all_end_in(*beta_, 2, SessionState::Aborted);
}

TEST_F(AgentTest, AnAgentThatDiesBeforeTheDecisionAbortsTheGroup) {
    const auto ended = migrate_group({"rehearse-ok", "rehearse-mute"}, [&] {
        await_votes();
        EXPECT_EQ(alpha_->end_with(SIGKILL), 128 + SIGKILL);
    });
    EXPECT_FALSE(ended);
    alpha_->start();
    expect_all_end_in(*alpha_, 2, SessionState::Aborted);
    expect_all_end_in(*beta_, 2, SessionState::Aborted);
}

TEST_F(AgentTest, AMemberThatDiesAfterTheDecisionHasCommitted) {
    const auto ended = migrate_group({"rehearse-ok", "rehearse-late"}, [] {});
    ASSERT_TRUE(ended) << ended.error().message();
    EXPECT_EQ(ended->at(0).state, SessionState::Done);
    EXPECT_EQ(ended->at(1).state, SessionState::Committed);
    expect_all_end_in(*alpha_, 2, SessionState::Done);
    expect_all_end_in(*beta_, 2, SessionState::Running);
}

TEST_F(AgentTest, AMemberWhoseDestinationDiesAfterTheDecisionFollowsTheOthers) {
    std::size_t started = 0;
    const auto ended = migrate_group({"rehearse-ok", "rehearse-gone"}, [] {}, {},
                                     {.started = [&](const SessionInfo&) { ++started; },
                                      .progress = [](const auto&, const auto&) {}});
    ASSERT_TRUE(ended) << ended.error().message();
    ASSERT_EQ(ended->size(), 2u);
    for (const SessionInfo& info : *ended) {
        EXPECT_EQ(info.state, SessionState::Done) << info.error;
        EXPECT_EQ(info.group, ended->front().group);
    }
    EXPECT_EQ(started, 3u);
    const auto history = alpha_->control().history(0);
    ASSERT_TRUE(history);
    EXPECT_EQ(std::ranges::count(*history, SessionState::Done, &SessionInfo::state), 2);
    EXPECT_EQ(std::ranges::count(*history, SessionState::Aborted, &SessionInfo::state), 1);
}

// As after a SIGKILL of everything of Ferry's while members voted.
TEST_F(AgentTest, TheNextAgentReadsTheDecisionOrMakesIt) {
    EXPECT_EQ(alpha_->end_with(SIGTERM), 0);
    const auto store = SessionStore::open(alpha_->state() + "/sessions");
    ASSERT_TRUE(store);
    const auto is_stopped = [](Pid pid) {
        const auto all = all_processes();
        return all && all->at(pid.value).state == 'T';
    };
    for (const bool committed : {false, true}) {
        const NamedProcess service(directory_.path(), "rehearse-ok");
        ASSERT_EQ(::kill(service.pid().value, SIGSTOP), 0);
        ASSERT_TRUE(eventually([&] { return is_stopped(service.pid()); }));
        SessionInfo info;
        info.id = *new_session_id();
        info.group = *new_session_id();
        info.service = "x";
        info.source = "alpha";
        info.destination = "beta";
        info.peer = {.host = "127.0.0.1", .port = beta_->port()};
        info.root = {.pid = service.pid(), .started = *start_of(service.pid())};
        info.processes = {info.root};
        ASSERT_TRUE(store->write(info));
        const GroupVote vote(store->directory(), info.group);
        if (committed) {
            ASSERT_TRUE(vote.propose(GroupDecision::Commit));
        }
        alpha_->start();
        // Beta, which is asked after a commit, has never heard of it.
        EXPECT_TRUE(eventually([&] { return alpha_->last().id == info.id; }));
        EXPECT_TRUE(eventually([&] { return !is_stopped(service.pid()); }));
        EXPECT_EQ(alpha_->last().error.find("beta answers") != std::string::npos, committed);
        EXPECT_TRUE(
            eventually([&] { return !os::fstatat(os::kCwd, vote.path(), AT_SYMLINK_NOFOLLOW); }));
        EXPECT_EQ(alpha_->end_with(SIGTERM), 0);
    }
}

TEST_F(AgentTest, OneServiceIsInAGroupOnce) {
    const NamedProcess service(directory_.path(), "rehearse-ok");
    const auto ended = alpha_->control().migrate_group(
        {.service = service.text(), .others = {service.text()}, .destination = beta_address()}, {});
    ASSERT_FALSE(ended);
    EXPECT_NE(ended.error().message().find("are the same service"), std::string::npos);
}

}  // namespace
}  // namespace ferry::agent
