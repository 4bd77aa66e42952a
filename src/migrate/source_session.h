// The source half of one session (migrate/session.h). Internal to migrate/.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/step_times.h"
#include "dump/source_tree.h"
#include "handover/network_hold.h"
#include "handover/network_move.h"
#include "migrate/departing_container.h"
#include "migrate/file_changes.h"
#include "migrate/file_sender.h"
#include "migrate/group_gate.h"
#include "migrate/image_transfer.h"
#include "migrate/link.h"
#include "migrate/memory_sender.h"
#include "migrate/session.h"
#include "migrate/throttle.h"
#include "pages/compression_choice.h"
#include "pages/convergence.h"

namespace ferry::migrate {

class SourceSession {
  public:
    SourceSession(const SourceRequest& request, SessionHost& host);

    // The whole life of the session; afterwards report() is complete.
    void run();
    [[nodiscard]] const Report& report() const { return report_; }

  private:
    using Clock = std::chrono::steady_clock;

    Result<> prepare();
    // Gives what the destination has to know of the container; empty without one.
    Result<std::string> find_container();
    Result<> connect();
    Result<> precopy();
    Result<pages::Decision> round();
    Result<> look_again();
    Result<> follow(const model::Checkpoint& skeleton);
    // What has changed in the container's tmpfs mounts, before what refers to it.
    Result<> send_tmpfs();
    // The same of its files on disks. One look at all of them, and the first time what it takes
    // until little is left.
    Result<> send_files();
    Result<> send_last_files(const model::Checkpoint& checkpoint);
    // In the freeze: the container's rules, counters as they stand, and tracked connections.
    Result<> send_packet_filter();
    Result<> send_layout(FrameType type, const model::Checkpoint& layout);
    // With the ids that the tree itself sees.
    Result<> send_checkpoint(FrameType type, model::Checkpoint checkpoint);
    // Slowed down from here to Throttle::end().
    Result<Moved> send_written_pages();
    Result<> send_round_end(int number);
    Result<> send_last_pass();
    void give_more_time(const std::vector<Pid>& waiting);
    Result<pages::Decision> end_round(const Moved& moved, Clock::time_point begun, int number);
    // The rules have ended the pre-copy, and the freeze is expected to be too long. True: another
    // round is due.
    Result<bool> despair(const pages::Decision& decision);
    void tell_slower(const std::string& why);

    // False: the tree runs again and another round is due (a process appeared, a connection was
    // about to be accepted).
    Result<bool> try_cut_over();
    // The steps of migrate/group_gate.h, which a session of its own makes without waiting.
    Result<> await_group();
    void follow_verdict(const GroupVerdict& verdict);
    void note_for_group(const pages::RoundMeasure& round);
    Result<> await_last_passes();
    Result<bool> group_is_frozen(bool here);
    Result<> hold_and_decide();
    Error abort_error();
    // Everything that the freeze has to move, the live way.
    Result<> send_state(const dump::Collected& collected, Clock::time_point begun);
    // And as image files.
    Result<> send_images(const model::Checkpoint& checkpoint, Clock::time_point begun);
    Result<> await_ready();
    [[nodiscard]] bool is_live() const { return request_.method == Method::Live; }
    Result<> commit();
    Result<> await_running();
    Result<> end_tree();
    Result<> give_up_locks();
    // It stays here after all.
    void take_locks_back();
    // After Commit was sent and the link broke. Nullopt: nobody can say within the time.
    std::optional<SessionState> ask_for_outcome();
    // What the network still brings to this host after the decision.
    Result<> forward_late_packets();
    void finish();
    void thaw();
    [[nodiscard]] Error explained(const Error& error) const;
    void roll_back(const Error& first);

    [[nodiscard]] Result<> check_going_on();
    void progress(const char* phase, std::string message = {});
    [[nodiscard]] pages::Seconds fixed_cost() const;

    const SourceRequest& request_;
    SessionHost& host_;
    Report report_;
    Clock::time_point begun_ = Clock::now();
    Clock::time_point last_progress_;
    std::string in_the_way_;  // of the last attempt to freeze
    int round_ = 0;
    std::uint64_t round_expected_ = 0;
    std::uint64_t sent_before_round_ = 0;
    bool committed_ = false;
    bool locks_wanted_ = false;  // the destination waits for locks that our tree holds

    // Destroyed in reverse: a frozen tree is thawed first, the network is let go after it.
    std::unique_ptr<Link> link_;
    std::optional<ImagesDirectory> images_;  // method checkpoint
    Pid root_;
    std::optional<DepartingContainer> container_;
    std::optional<FileSender> files_;
    files::Moved round_files_;  // in this round
    FileChanges file_changes_;
    std::optional<dump::SourceTree> tree_;
    std::optional<Throttle> throttle_;  // ends before the tree that it stops
    std::optional<MemorySender> memory_;
    std::optional<os::NetworkNamespace> space_;  // of the tree
    handover::ServiceNetwork service_network_;
    std::vector<handover::HoldTarget> targets_;
    std::optional<handover::DepartingNetwork> network_;
    std::optional<handover::NetworkHold> hold_;
    std::vector<handover::HeldPacket> taken_;
    std::optional<dump::Frozen> frozen_;
    StepTimes steps_;           // of the freeze
    model::Checkpoint layout_;  // as the destination has it
    pages::Convergence convergence_;
    std::optional<MemberRound> round_for_group_;  // that it has not been told yet
    dump::StopFirst first_;                       // of the next freeze
    std::vector<model::FileLock> locks_;          // of the tree, while it is frozen
    pages::CompressionChoice compression_;
};

}  // namespace ferry::migrate
