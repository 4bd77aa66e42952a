#include "agent/far_sessions.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "agent/group_words.h"
#include "base/log.h"
#include "os/inet.h"
#include "os/socket.h"

namespace ferry::agent {
namespace {

// From the end of a worker there to its agent's word on it.
constexpr std::chrono::milliseconds kConclusion{5000};

}  // namespace

SessionInfo FarSession::info() const {
    const std::lock_guard lock(mutex_);
    return info_;
}

bool FarSession::finished() const {
    const std::lock_guard lock(mutex_);
    return finished_;
}

// On the group's own way, so that it does not overtake what the group has said.
void FarSession::abort() {
    {
        const std::lock_guard lock(mutex_);
        if (std::exchange(abort_wished_, true)) return;
    }
    const auto sent = os::send_some(gate_.get(), std::as_bytes(std::span(words::kWish)));
    if (!sent) log_debug("session {}: abort: {}", info().id, sent.error().message());
}

bool FarSession::wait_news(std::uint64_t& seen, std::chrono::milliseconds timeout) {
    std::unique_lock lock(mutex_);
    const bool any = changed_.wait_for(lock, timeout, [&] { return news_ != seen; });
    seen = news_;
    return any;
}

std::string FarSession::why_ended() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kConclusion, [&] { return finished_ || is_lost_; });
    return info_.error;
}

void FarSession::take(const FetchEvent& event) {
    const std::lock_guard lock(mutex_);
    // One that follows its group has a new session.
    if (event.kind == FetchEvent::Kind::Started) info_ = event.session;
    if (event.kind == FetchEvent::Kind::Progress) info_.progress = event.progress;
    ++news_;
    changed_.notify_all();
}

void FarSession::lose(const std::string& why) {
    const std::lock_guard lock(mutex_);
    if (finished_) return;
    is_lost_ = true;
    info_.error = why;
    changed_.notify_all();
}

void FarSession::finish(SessionInfo info) {
    const std::lock_guard lock(mutex_);
    info.progress = info_.progress;
    info_ = std::move(info);
    finished_ = true;
    ++news_;
    changed_.notify_all();
}

Result<std::unique_ptr<FarSessions>> FarSessions::begin(std::unique_ptr<FetchStream> stream,
                                                        std::size_t count, Conclude conclude) {
    std::unique_ptr<FarSessions> far(new FarSessions(std::move(stream), std::move(conclude)));
    std::vector<os::UniqueFd> ends;
    while (far->sessions_.size() < count) {
        const auto event = TRY(far->stream_->read());
        const bool is_next = event && event->kind == FetchEvent::Kind::Started &&
                             event->member == far->sessions_.size();
        if (!is_next) return fail(Error::peer("the other agent has not started what is to come"));
        auto [groups, ours] = TRY(os::socketpair(AF_UNIX, SOCK_SEQPACKET));
        far->sessions_.push_back(
            std::make_shared<FarSession>(event->session, TRY(os::dup(groups.get()))));
        far->gates_.push_back(std::move(groups));
        ends.push_back(std::move(ours));
    }
    FetchStream& way = *far->stream_;
    far->relay_ = std::make_unique<GateRelay>(
        std::move(ends),
        [&way](std::size_t member, std::string_view word) { way.say(member, word); });
    far->thread_ = std::thread([raw = far.get()] { raw->run(); });
    return far;
}

FarSessions::~FarSessions() {
    stream_->cancel();
    if (thread_.joinable()) thread_.join();
}

std::vector<Group::Member> FarSessions::take_members() {
    std::vector<Group::Member> members;
    for (std::size_t i = 0; i < sessions_.size(); ++i) {
        members.push_back({.session = sessions_[i], .gate = std::move(gates_[i])});
    }
    return members;
}

void FarSessions::run() {
    std::string why = "the other agent has ended the call";
    for (;;) {
        const auto event = stream_->read();
        if (!event) why = event.error().message();
        if (!event || !*event) break;
        take(**event);
    }
    for (const auto& session : sessions_) session->lose(why);
    relay_->close_all();
    for (const auto& session : sessions_) {
        if (!session->finished()) session->finish(conclude_(session->info()));
    }
    finished_ = true;
}

void FarSessions::take(const FetchEvent& event) {
    if (event.member >= sessions_.size()) return;
    FarSession& session = *sessions_[event.member];
    if (event.kind == FetchEvent::Kind::Word) {
        if (event.word.empty()) session.lose(event.why);
        return relay_->hear(event.member, event.word);
    }
    if (event.kind != FetchEvent::Kind::Finished) return session.take(event);
    session.finish(event.session);
    relay_->hear(event.member, "");
    const bool is_over =
        std::ranges::all_of(sessions_, [](const auto& one) { return one->finished(); });
    if (is_over) stream_->end();
}

}  // namespace ferry::agent
