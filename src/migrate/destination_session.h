// The destination half of one session (migrate/session.h). Internal to migrate/.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "base/error.h"
#include "container/arrival.h"
#include "container/config.h"
#include "container/creation.h"
#include "files/incoming.h"
#include "handover/network_hold.h"
#include "handover/network_move.h"
#include "migrate/image_transfer.h"
#include "migrate/link.h"
#include "migrate/session.h"
#include "model/checkpoint.h"
#include "os/schedule.h"
#include "pages/page_wire.h"
#include "resources/opened_files.h"
#include "restore/staged_tree.h"

namespace ferry::migrate {

class DestinationSession {
  public:
    DestinationSession(const DestinationRequest& request, SessionHost& host)
        : request_(request),
          host_(host),
          files_({.shared_memory =
                      [this](std::uint64_t id) { return tree_ ? tree_->shared_memory(id) : -1; },
                  .terminal_master =
                      [this](std::uint32_t index) {
                          return tree_ ? tree_->terminal_master(index) : -1;
                      },
                  .given_stream =
                      [this](int number) { return creation_ ? creation_->stream(number) : -1; }}) {}

    Result<> run(PortSink& port);

  private:
    using Clock = std::chrono::steady_clock;

    Result<> accept(PortSink& port);
    Result<> welcome();
    // Which of the container's files the source has to send, and room for them.
    Result<> prepare_container(const container::Description& description, const std::string& files);
    Result<> check_network(bool must_be_joined) const;
    Result<> make_room(const container::Description& description,
                       const std::vector<container::FileTree>& trees);
    Result<> want_files(const std::vector<container::FileTree>& trees);
    // The devices, muted, in the namespace where the service will be.
    Result<> prepare_network(const os::NetworkNamespace& space);
    // Until everything is restored and Ready was sent.
    Result<> fill();
    Result<> stage(const model::Checkpoint& skeleton, bool root_alone);
    Result<> apply_files(std::span<const std::byte> payload);
    Result<> apply_layout(std::span<const std::byte> payload);
    Result<> apply_pages(std::span<const std::byte> payload);
    Result<> apply_shared_pages();  // of decoded_
    Result<> restore(std::span<const std::byte> payload);
    Result<> restore_images();
    Result<> activate(const model::Checkpoint& checkpoint, Clock::time_point begun);
    // The container's rules, or what is tracked in its network.
    Result<> apply_packet_filter(const Frame& frame);
    Result<> await_commit();
    // After Ready the link broke: the source's agent knows what was decided.
    Result<> ask_for_decision(const Error& error);
    Result<> commit();
    void replay(handover::ReplayPart part);
    // What the source's tree has locked, it holds until it has ended.
    void await_locks(Clock::time_point begun);
    void tell_running(const RunningBody& body);
    // The service runs here; nothing that fails from here on ends it.
    void finish();
    Result<> serve_after_commit();
    void announce_when_due();
    [[nodiscard]] FinishedBody figures() const;

    const DestinationRequest& request_;
    SessionHost& host_;
    std::vector<handover::HeldPacket> packets_;
    pages::DecodedPages decoded_;
    std::vector<restore::PageWrite> writes_;  // of one frame; kept for their capacity
    std::vector<AddrRange> drops_;
    std::vector<Pid> pids_;
    model::ClockTimes welcomed_at_;  // our clocks
    std::optional<Clock::time_point> running_since_;
    std::size_t announced_ = 0;
    bool waits_for_locks_ = false;

    // Destroyed in reverse: the stubs die first, then the files they shared, then the network,
    // then what is left of a container.
    std::unique_ptr<Link> link_;
    std::optional<ImageReceiver> images_;        // method checkpoint
    std::optional<container::Arrival> arrival_;  // of its files
    std::optional<files::Incoming> incoming_;
    std::unique_ptr<container::Creation> creation_;  // where the tree is a container
    container::Config config_;                       // its
    std::string first_files_;                        // until there is a container to put them into
    handover::ServiceNetwork service_network_;
    std::optional<handover::PacketReplay> replay_;
    std::optional<handover::ArrivingNetwork> network_;
    resources::OpenedFiles files_;
    std::optional<restore::StagedTree> tree_;
    std::optional<os::Urgency> urgency_;  // from the freeze until the tree runs
};

}  // namespace ferry::migrate
