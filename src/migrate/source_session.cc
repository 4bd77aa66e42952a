#include "migrate/source_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "arch/cpu_features.h"
#include "arch/xstate.h"
#include "base/check.h"
#include "base/elapsed.h"
#include "base/log.h"
#include "container/mark.h"
#include "dump/direct_reads.h"
#include "dump/to_images.h"
#include "image/codec.h"
#include "migrate/container_images.h"
#include "migrate/endpoints.h"
#include "migrate/packets.h"
#include "migrate/same_layout.h"
#include "migrate/tree_figures.h"
#include "os/schedule.h"
#include "proc/process_directory.h"

namespace ferry::migrate {
namespace {

using std::chrono::milliseconds;

// A tree that forks or accepts all the time must not keep us for ever between rounds and freezes.
constexpr int kFreezeAttemptsMax = 80;
constexpr int kFreezesPerRound = 4;
constexpr milliseconds kBeforeNextFreeze{7};
// How long new connections are held before the freeze, so that accept queues drain.
constexpr milliseconds kAcceptDrain{2};
// How long a part of the service stands still so that the rest finishes what it has been given.
constexpr milliseconds kFirstStandstill{5}, kLongestStandstill{1500};
constexpr milliseconds kProgressInterval{100};
// What stands still must not wait for a link that has been cut.
constexpr milliseconds kFrozenSilenceLimit{3000};
// Before there is anything else at the destination, a container's files are looked at until a look
// finds no more than this.
constexpr int kFilePasses = 6;
constexpr std::uint64_t kLittleBytes = 8u << 20;
// While the end of a round is on its way.
constexpr milliseconds kThrottleStep{5};
// The destination answers within milliseconds, or the link is gone.
constexpr std::chrono::seconds kAnswerTimeout{10};
// An unknown outcome is asked for this long before the tree is left stopped for the operator.
constexpr std::chrono::seconds kOutcomeTimeout{60};

std::vector<Pid> pids_of(const model::Checkpoint& checkpoint) {
    std::vector<Pid> pids;
    for (const model::Process& process : checkpoint.processes) pids.push_back(process.pid);
    return pids;
}

bool has_ended(Pid pid) {
    const auto directory = proc::ProcessDirectory::open(pid);
    const auto stat = directory ? directory->stat() : fail(directory.error());
    if (!stat) return stat.error().kind() == Error::Kind::Gone;
    return stat->is_ending() && stat->thread_count <= 1;
}

}  // namespace

SourceSession::SourceSession(const SourceRequest& request, SessionHost& host)
    : request_(request),
      host_(host),
      convergence_(pages::ConvergenceLimits{
          .max_downtime = request.max_downtime,
          .max_rounds = static_cast<unsigned>(std::max(1, request.max_rounds))}) {
    report_.session = request.session;
    report_.service = request.service;
    report_.source = request.source_name;
    report_.destination = request.destination_name;
    report_.method = name_of(request.method);
    report_.max_downtime_ms = static_cast<double>(request.max_downtime.count());
    report_.on_no_convergence = name_of(request.on_no_convergence);
}

void SourceSession::run() {
    const Result<> result = [&]() -> Result<> {
        TRY(prepare());
        TRY(connect());
        for (int attempt = 0; attempt < kFreezeAttemptsMax; ++attempt) {
            // What is in the way may be gone in a moment, long before another round is over.
            if (is_live() && attempt % kFreezesPerRound == 0) TRY(precopy());
            if (!is_live()) TRY(look_again());
            TRY(await_group());
            if (TRY(try_cut_over())) return {};
            std::this_thread::sleep_for(kBeforeNextFreeze);
        }
        return fail(Error::limit(
            fmt::format("the service could not be moved at any of {} moments; at the last: {}",
                        kFreezeAttemptsMax, in_the_way_)));
    }();
    if (result) {
        report_.succeeded = true;
        finish();
    } else {
        const bool is_asked = result.error().kind() == Error::Kind::Aborted;
        roll_back(is_asked ? abort_error() : result.error());
    }
    report_.total_ms = elapsed_ms(begun_);
    if (link_ != nullptr) report_.wire_bytes = link_->wire_bytes();
    report_.worker_memory_peak_source = own_memory_peak();
    progress(report_.succeeded ? "done" : "rollback", report_.error);
}

Result<> SourceSession::prepare() {
    progress("prepare");
    TRY(host_.record(SessionState::Precopy));
    const std::string container = TRY(find_container());
    if (!is_live()) {
        images_.emplace(TRY(ImagesDirectory::create(
            request_.images_directory.empty() ? kImagesParent : request_.images_directory)));
    }
    resources::FileOptions files = {.tcp_established = true,
                                    .shell_job = request_.shell_job,
                                    .external_unix = false,
                                    .file_locks = true,
                                    .ghost_bytes_max = request_.ghost_bytes_max};
    if (container_) files = TRY(container_->with_given(files));
    tree_ = TRY(
        dump::SourceTree::open(root_, {.files = files, .is_container = container_.has_value()}));
    throttle_.emplace(*tree_);
    const model::Checkpoint skeleton = TRY(tree_->skeleton());
    const std::vector<Pid> pids = pids_of(skeleton);
    const TreeFigures figures = measure_tree(pids);
    report_.memory_before = figures.resident_bytes;
    report_.objects_before = figures.objects;

    std::vector<handover::IpAddress> addresses = TRY(local_addresses(pids));
    space_ = TRY(os::NetworkNamespace::of(root_));
    service_network_ = TRY(handover::find_network(*space_, addresses));
    const handover::ServiceNetwork& network = service_network_;
    if (network.space) addresses = network.ip_addresses();
    for (const handover::IpAddress& address : addresses) targets_.push_back({.address = address});
    network_ = TRY(handover::DepartingNetwork::arm(network, *space_));

    HelloBody hello = {
        .session = request_.session,
        .kernel_release = skeleton.kernel_release,
        .vdso_hash = skeleton.vdso_hash,
        .boot_id = skeleton.boot_id,
        .network = handover::encode_network(network),
        .devices = {tree_->network_devices().begin(), tree_->network_devices().end()},
        .container = container,
        .files = files_ ? files_->description() : std::string()};
    if (request_.check_cpu) {
        hello.cpu_features = arch::cpu_features();
        hello.cpu_state = arch::XStateLayout::of_this_cpu().features;
    }
    const net::TlsContext context = TRY(net::TlsContext::load(
        {.ca = request_.tls.ca, .certificate = request_.tls.certificate, .key = request_.tls.key}));
    progress("connect");
    net::TlsChannel channel = TRY(net::TlsChannel::connect(
        context, {.host = request_.address, .port = request_.port}, request_.destination_name,
        net::Deadline::after(kAnswerTimeout), host_.control_fd()));
    channel.interrupt_on(host_.control_fd());
    link_ = std::make_unique<Link>(std::move(channel));
    return link_->send(FrameType::Hello, encode(hello));
}

Result<std::string> SourceSession::find_container() {
    root_ = request_.root;
    if (request_.container.empty()) return std::string();
    container_ = TRY(DepartingContainer::find(request_.container, request_.runtime_root));
    root_ = container_->root();
    TRY(container_->check_storage(request_.shared_storage));
    if (const std::string loss = TRY(container_->loss()); !loss.empty()) progress("prepare", loss);
    if (!request_.shared_storage) files_.emplace(TRY(FileSender::open(container_->container())));
    return container::to_json(container_->description());
}

Result<> SourceSession::connect() {
    if (files_) TRY(files_->agree(*link_));
    TRY(link_->expect(FrameType::Welcome));
    memory_.emplace(
        *link_, [this](Pid pid) { return tree_->make_userfaultfd(pid); },
        dump::direct_reads_under_way,
        [this](std::uint64_t bytes) -> Result<> {
            sent_before_round_ = bytes;
            TRY(check_going_on());
            TRY(throttle_->step());
            if (Clock::now() - last_progress_ >= kProgressInterval) progress("precopy");
            return {};
        });
    return {};
}

Result<> SourceSession::precopy() {
    const os::Modesty modesty;  // the service comes first
    for (;;) {
        const pages::Decision decision = TRY(round());
        if (!decision.stop) continue;
        report_.precopy_ms = elapsed_ms(begun_);
        // What all of a group have left together is for their agent to judge.
        if (host_.group() != nullptr) return {};
        report_.stop_rule = pages::describe(decision.rule);
        report_.fits_downtime = decision.fits;
        report_.predicted_downtime_ms = decision.expected_downtime.count() * 1000.0;
        if (decision.fits || !TRY(despair(decision))) return {};
    }
}

Result<pages::Decision> SourceSession::round() {
    TRY(check_going_on());
    const Clock::time_point begun = Clock::now();
    ++round_;
    sent_before_round_ = 0;
    // The files that the skeleton refers to come with it.
    const model::Checkpoint skeleton = TRY(tree_->skeleton());
    TRY(send_files());
    TRY(follow(skeleton));
    const Moved moved = TRY(send_written_pages());
    const pages::Decision decision = TRY(end_round(moved, begun, round_));
    TRY(throttle_->end());
    progress("precopy");
    return decision;
}

// Without pre-copy: who is to be frozen, and what of it cannot be carried; its files. The
// destination makes the root, and the container around it, while the service runs.
Result<> SourceSession::look_again() {
    TRY(check_going_on());
    const model::Checkpoint skeleton = TRY(tree_->skeleton());
    TRY(send_files());
    if (layout_.processes.empty()) {
        TRY(send_layout(FrameType::Root, skeleton));
        layout_.processes = {skeleton.root()};
    }
    return {};
}

Result<> SourceSession::send_checkpoint(FrameType type, model::Checkpoint checkpoint) {
    TRY(tree_->number_from_inside(checkpoint));
    image::MemoryStore store;
    TRY(image::encode(checkpoint, store));
    return link_->send(type, pack(store));
}

Result<> SourceSession::send_files() {
    round_files_ = {};
    if (!files_ || files_->places().empty()) return {};
    const bool is_first = report_.files_ms == 0;
    const Clock::time_point begun = Clock::now();
    const auto on_sent = [this](std::uint64_t bytes) -> Result<> {
        sent_before_round_ = bytes;
        TRY(check_going_on());
        if (Clock::now() - last_progress_ >= kProgressInterval) progress("files");
        return {};
    };
    if (is_first) progress("files");
    std::uint64_t before = 0;
    for (int pass = 0; pass < kFilePasses; ++pass) {
        const Clock::time_point pass_begun = Clock::now();
        const files::Moved moved = TRY(files_->send_all(*link_, on_sent));
        file_changes_.add_pass(pass_begun, moved.bytes);
        round_files_ += moved;
        report_.files_compared += moved.files;
        report_.file_bytes += moved.bytes;
        // Little, or as much as is written while it is sent, of which the first pass tells nothing.
        const bool enough = pass > 0 && (moved.bytes < kLittleBytes || moved.bytes > before / 2);
        before = moved.bytes;
        if (!is_first || enough) break;
    }
    if (is_first) report_.files_ms = elapsed_ms(begun);
    return {};
}

Result<> SourceSession::send_last_files(const model::Checkpoint& checkpoint) {
    if (!files_) return {};
    const Clock::time_point begun = Clock::now();
    TRY(container_->await_log());
    const files::Moved moved = TRY(files_->send_last(*link_, checkpoint));
    report_.files_compared += moved.files;
    report_.file_bytes += moved.bytes;
    report_.files_frozen_ms = elapsed_ms(begun);
    return {};
}

Result<> SourceSession::send_round_end(int number) {
    const std::uint64_t wire_number = static_cast<std::uint64_t>(number);
    return link_->send(FrameType::RoundEnd, std::as_bytes(std::span(&wire_number, 1)));
}

// Sends what was written, and says how the next round's pages go. A round may send files as well,
// which say nothing of pages.
Result<Moved> SourceSession::send_written_pages() {
    const net::TlsChannel& channel = link_->channel();
    const std::uint64_t bytes = channel.bytes_sent();
    const std::chrono::nanoseconds spent = channel.spent_sending();
    const std::chrono::nanoseconds waited = channel.waited_to_send();
    throttle_->begin();
    const Moved moved = TRY(memory_->send_all_written());
    memory_->compress(compression_.after_round({.page_bytes = moved.bytes,
                                                .wire_bytes = channel.bytes_sent() - bytes,
                                                .duration = channel.spent_sending() - spent,
                                                .waited = channel.waited_to_send() - waited}));
    return moved;
}

Result<pages::Decision> SourceSession::end_round(const Moved& moved, Clock::time_point begun,
                                                 int number) {
    TRY(send_round_end(number));
    while (!TRY(link_->wait(kThrottleStep))) TRY(throttle_->step());
    TRY(link_->expect(FrameType::RoundDone));
    const Clock::duration took = Clock::now() - begun;
    const auto dirty = TRY(memory_->written_bytes()) + file_changes_.expected(Clock::now());
    round_expected_ = dirty;
    const pages::RoundMeasure measure = {.bytes_sent = moved.bytes + round_files_.bytes,
                                         .duration = took,
                                         .bytes_dirty = dirty,
                                         .fixed_cost = fixed_cost()};
    const pages::Decision decision = convergence_.after_round(measure);
    report_.rounds.push_back(
        {.number = number,
         .pages = moved.pages,
         .bytes = moved.bytes,
         .zero_pages = moved.zero_pages,
         .dirty_bytes = dirty,
         .milliseconds = std::chrono::duration<double, std::milli>(took).count(),
         .bandwidth = decision.bandwidth,
         .expected_downtime_ms = decision.expected_downtime.count() * 1000.0,
         .throttle = throttle_->share()});
    if (host_.group() != nullptr) note_for_group(measure);
    return decision;
}

// Stopping, collecting, sending, restoring without any memory: an estimate, by task and by open
// file. The report shows the prediction made with it beside what the freeze really took.
pages::Seconds SourceSession::fixed_cost() const {
    const ObjectCounts& counts = report_.objects_before;
    return pages::Seconds(0.008 + 0.0005 * static_cast<double>(counts.processes) +
                          0.0001 * static_cast<double>(counts.threads + counts.files));
}

// What the freeze has to send is what was written since it was protected last. This pass is sent at
// once, from the look that ended the pre-copy, and nobody looks at what is dirty after it.
Result<> SourceSession::send_last_pass() {
    TRY(send_files());
    const Clock::time_point begun = Clock::now();
    const Moved moved = TRY(send_written_pages());
    TRY(throttle_->end());
    report_.rounds.push_back({.number = ++round_,
                              .pages = moved.pages,
                              .bytes = moved.bytes,
                              .zero_pages = moved.zero_pages,
                              .milliseconds = elapsed_ms(begun)});
    return send_round_end(round_);
}

// In a service that is never idle somebody always waits for somebody. Those who wait are stopped
// first the next time, and the others get ever longer to come to them.
void SourceSession::give_more_time(const std::vector<Pid>& waiting) {
    if (waiting.empty()) return;
    first_.pids = waiting;
    first_.then = std::clamp(first_.then * 2, kFirstStandstill, kLongestStandstill);
}

Result<bool> SourceSession::try_cut_over() {
    progress("freeze");
    // In either case the destination has to be through with what came before.
    TRY(is_live() ? send_last_pass() : send_round_end(round_));
    TRY(await_last_passes());
    if (container_) TRY(container_->check_strangers());
    hold_ = TRY(space_->within([this] {
        return handover::NetworkHold::install(targets_, handover::HoldScope::NewConnections,
                                              service_network_.firewall());
    }));
    std::this_thread::sleep_for(kAcceptDrain);
    TRY(link_->expect(FrameType::RoundDone));
    const os::Urgency urgency;  // what stands still must not wait for its turn
    TRY(hold_->capture_connections());
    TRY(link_->channel().set_silence_limit(kFrozenSilenceLimit));
    report_.precopy_ms = elapsed_ms(begun_);
    const Clock::time_point begun = Clock::now();
    steps_ = {};
    auto frozen = tree_->freeze(first_);
    if (!frozen && frozen.error().kind() == Error::Kind::Unsupported) {
        // On a busy machine a thread may wait long for its turn to stop.
        in_the_way_ = frozen.error().message();
        log_info("thawed for another attempt: {}", in_the_way_);
        thaw();
        return group_is_frozen(false);
    }
    frozen_ = TRY(std::move(frozen));
    steps_.done("stop");
    TRY(link_->send(FrameType::Frozen, std::span<const std::byte>{}));
    TRY(hold_->hold_everything());
    steps_.done("hold");
    const dump::Collected collected = TRY(tree_->collect(*frozen_));
    if (!collected.busy.empty() || (is_live() && !same_processes(collected.checkpoint, layout_))) {
        in_the_way_ =
            collected.busy.empty() ? "the processes of the tree have changed" : collected.busy;
        log_info("thawed for another attempt: {}", in_the_way_);
        thaw();
        give_more_time(collected.waiting);
        return group_is_frozen(false);
    }
    steps_.done("collect");
    if (container_) TRY(container_->check_mounts());
    if (!TRY(group_is_frozen(true))) {
        log_info("thawed for another attempt: {}", in_the_way_);
        thaw();
        return false;
    }
    steps_.done("group");
    locks_ = collected.checkpoint.locks;
    TRY(send_last_files(collected.checkpoint));
    steps_.done("files");
    TRY(send_packet_filter());
    steps_.done("packet filter");
    TRY(is_live() ? send_state(collected, begun) : send_images(collected.checkpoint, begun));
    steps_.done("restore");
    TRY(tree_->check_aio(collected.checkpoint));
    TRY(commit());
    steps_.done("commit");
    log_info("frozen: {}; collected: tasks {} us, mappings {} us, files {} us", steps_.text(),
             collected.times.tasks.count(), collected.times.mappings.count(),
             collected.times.files.count());
    report_.frozen_ms = elapsed_ms(begun);
    return true;
}

Result<> SourceSession::send_state(const dump::Collected& collected, Clock::time_point begun) {
    if (!same_layout(collected.checkpoint, layout_)) {
        const model::Checkpoint before = std::exchange(layout_, collected.checkpoint);
        TRY(send_layout(FrameType::Layout, layout_));
        for (const model::Process& process : layout_.processes) {
            if (!same_layout(process, *before.find_process(process.pid))) {
                TRY(memory_->follow(process));
            }
        }
    }
    steps_.done("layout");
    TRY(memory_->follow_shared(collected.checkpoint));
    steps_.done("shared");
    const Clock::time_point pages_begun = Clock::now();
    const Moved moved = TRY(memory_->send_last());
    steps_.done("pages");
    report_.rounds.push_back({.number = ++round_,
                              .pages = moved.pages,
                              .bytes = moved.bytes,
                              .zero_pages = moved.zero_pages,
                              .milliseconds = elapsed_ms(pages_begun),
                              .in_freeze = true});
    TRY(send_tmpfs());
    model::Checkpoint final = collected.checkpoint;
    memory_->add_guards(final);
    TRY(send_checkpoint(FrameType::Final, std::move(final)));
    report_.checkpoint_ms = elapsed_ms(begun);
    steps_.done("final");
    return await_ready();
}

Result<> SourceSession::send_images(const model::Checkpoint& checkpoint, Clock::time_point begun) {
    const auto add_container = [this](const model::Checkpoint&,
                                      image::ImageStore& into) -> Result<> {
        if (!container_) return {};
        return write_container({.description = container_->description(),
                                .network = service_network_,
                                .tmpfs = TRY(container_->collect_files())},
                               into);
    };
    const dump::WrittenImages written =
        TRY(dump::write_images(*tree_, checkpoint, images_->store(), {}, add_container));
    report_.checkpoint_ms = elapsed_ms(begun);
    progress("transfer");
    const Clock::time_point transfer_begun = Clock::now();
    const std::uint64_t bytes = TRY(migrate::send_images(
        *link_, images_->store(), [this]() -> Result<> { return check_going_on(); }));
    report_.rounds.push_back({.number = ++round_,
                              .pages = written.pages.process_pages + written.pages.shared_pages,
                              .bytes = bytes,
                              .milliseconds = elapsed_ms(transfer_begun),
                              .in_freeze = true});
    progress("restore");
    TRY(await_ready());
    report_.transfer_ms = elapsed_ms(transfer_begun) - report_.restore_ms;
    return {};
}

Result<> SourceSession::await_ready() {
    link_->channel().set_idle_timeout(kAnswerTimeout);
    const Frame ready = TRY(link_->expect(FrameType::Ready));
    const ReadyBody body = TRY(decode_ready(ready.payload));
    report_.restore_ms = body.restore_ms;
    if (!body.loss.empty()) progress("restore", body.loss);
    return {};
}

// The point of no return. Recorded first: from then on this side asks, and never guesses.
Result<> SourceSession::commit() {
    const Clock::time_point begun = Clock::now();
    TRY(check_going_on());
    TRY(network_->silence());
    // Whatever happens to us until the destination has said that it runs, the tree must not go on
    // here by itself.
    TRY(hold_and_decide());
    committed_ = true;
    link_->channel().interrupt_on(-1);
    const Result<> sent = [&]() -> Result<> {
        taken_ = TRY(hold_->take_packets());
        TRY(link_->send(FrameType::Packets, pack_packets(taken_)));
        return link_->send(FrameType::Commit, std::span<const std::byte>{});
    }();
    Result<> running = sent ? await_running() : sent;
    if (running && locks_wanted_) running = give_up_locks();
    if (!running && link_->peer_failed()) {
        committed_ = false;  // the destination has said that it will never run
        return running;
    }
    if (!running) {
        const std::optional<SessionState> outcome = ask_for_outcome();
        if (outcome == SessionState::Aborted || outcome == SessionState::Unknown) {
            committed_ = false;
            return running;
        }
        if (!outcome) return running;
    }
    report_.commit_ms = elapsed_ms(begun);
    report_.held_packets = taken_.size();
    return {};
}

Result<> SourceSession::await_running() {
    const Frame running = TRY(link_->expect(FrameType::Running));
    locks_wanted_ = TRY(decode_running(running.payload)).waits_for_locks;
    return {};
}

std::optional<SessionState> SourceSession::ask_for_outcome() {
    const Clock::time_point deadline = Clock::now() + kOutcomeTimeout;
    progress("commit", "the link broke after the decision; asking the destination for the outcome");
    while (Clock::now() < deadline) {
        const Result<SessionState> state = host_.peer_state();
        if (state && (*state == SessionState::Running || *state == SessionState::Done ||
                      *state == SessionState::Aborted || *state == SessionState::Unknown)) {
            return *state;
        }
        std::this_thread::sleep_for(milliseconds(100));
    }
    return std::nullopt;
}

// The service runs at the destination. What goes wrong from here on is logged and finished forward.
void SourceSession::finish() {
    progress("finish");
    const auto tolerate = [](const Result<>& result, const char* what) {
        if (!result) log_warn("{}: {}, ignoring", what, result.error().message());
    };
    if (container_) tolerate(container_->end_monitor(), "ending the container's monitor");
    if (frozen_) tolerate(frozen_->condemn(), "condemning the tree at the source");
    tolerate(network_->commit(), "committing the network");
    tolerate(forward_late_packets(), "forwarding late packets");
    tolerate(end_tree(), "ending the tree at the source");
    if (container_) tolerate(container_->remove(), "removing the container at the source");
    if (files_) {
        tolerate(
            container::mark_as_left(files_->left(), request_.container, request_.destination_name),
            "marking the files that are left at the source");
    }
    tolerate(network_->remove(), "removing the network device at the source");
    tolerate(hold_->release(), "releasing the network");
    const Result<> finished = [&]() -> Result<> {
        TRY(link_->send(FrameType::Finish, std::span<const std::byte>{}));
        const FinishedBody body =
            TRY(decode_finished(TRY(link_->expect(FrameType::Finished)).payload));
        report_.memory_after = body.memory;
        report_.objects_after = {.processes = body.processes,
                                 .threads = body.threads,
                                 .files = body.files,
                                 .sockets = body.sockets,
                                 .mappings = body.mappings};
        report_.worker_memory_peak_destination = body.worker_memory_peak;
        return {};
    }();
    tolerate(finished, "closing the session");
    tolerate(host_.record(SessionState::Done), "recording the end");
}

Result<> SourceSession::end_tree() {
    if (!frozen_) return {};
    const Result<> ended = std::move(*frozen_).kill();
    frozen_.reset();
    memory_.reset();
    return ended;
}

// The destination waits for them before it lets anything run, and may die meanwhile: the tree must
// be able to go on here. Only where its tasks cannot give them up, its end does.
Result<> SourceSession::give_up_locks() {
    const Result<> released = tree_->release_locks(*frozen_, locks_);
    if (!released) {
        log_warn("{}, ending the tree instead", released.error().message());
        TRY(frozen_->condemn());
        TRY(end_tree());
    }
    return await_running();
}

void SourceSession::take_locks_back() {
    if (!locks_wanted_ || !frozen_) return;
    if (const Result<> taken = tree_->take_locks_back(*frozen_, locks_); !taken) {
        log_error("taking locks of files back: {}", taken.error().message());
    }
}

// The tree goes on here. Trackers are closed afterwards: removing protection takes time.
void SourceSession::thaw() {
    // Before the tree runs: its first answers must not be dropped.
    if (network_) {
        if (const Result<> spoken = network_->speak(); !spoken) {
            log_error("unmuting the network: {}", spoken.error().message());
        }
    }
    if (hold_) {
        if (const Result<> allowed = hold_->allow_outgoing(); !allowed) {
            log_error("letting packets out: {}", allowed.error().message());
        }
    }
    if (frozen_) {
        if (const Result<> thawed = std::move(*frozen_).thaw(); !thawed) {
            log_error("thawing: {}", thawed.error().message());
        }
        frozen_.reset();
    }
    if (hold_) {
        if (const Result<> released = hold_->release_and_replay(taken_); !released) {
            log_error("releasing the network: {}", released.error().message());
        }
        hold_.reset();
    }
    taken_.clear();
    if (link_ != nullptr) {
        static_cast<void>(link_->channel().set_silence_limit(net::TlsChannel::kSilenceLimit));
    }
}

// What fails first when the service ends is anything.
Error SourceSession::explained(const Error& error) const {
    if (root_ == Pid{} || committed_ || error.kind() == Error::Kind::Aborted) return error;
    if (!has_ended(root_)) return error;
    const std::string what = container_
                                 ? fmt::format("container \"{}\" is ending", request_.container)
                                 : fmt::format("process {} has ended", root_);
    if (error.kind() == Error::Kind::Gone) return Error::gone(what);
    return Error::gone(fmt::format("{} ({})", what, error.message()));
}

void SourceSession::roll_back(const Error& first) {
    const Error error = explained(first);
    report_.error = error.message();
    log_debug("rolled back: {}", error.describe());
    if (committed_) {
        // Nobody knows whether the destination runs. Running here as well could be the second copy.
        report_.error = fmt::format(
            "outcome unknown: {}; the service is left stopped here: if it does not run at {}, "
            "continue it with SIGCONT to process {}",
            error.message(), request_.destination_name, root_);
        if (frozen_) {
            const Result<> stopped = std::move(*frozen_).leave_stopped();
            if (!stopped) log_error("stopping: {}", stopped.error().message());
        }
        return;
    }
    take_locks_back();
    thaw();
    throttle_.reset();
    if (link_ != nullptr) link_->send_failure(error);
    memory_.reset();
    network_.reset();
    if (const Result<> recorded = host_.record(SessionState::Aborted); !recorded) {
        log_warn("recording the end: {}, ignoring", recorded.error().message());
    }
}

Result<> SourceSession::check_going_on() {
    if (host_.abort_requested()) return fail(abort_error());
    if (request_.timeout.count() > 0 && Clock::now() - begun_ > request_.timeout) {
        return fail(
            Error::limit(fmt::format("not done within --timeout {} s", request_.timeout.count())));
    }
    return {};
}

void SourceSession::progress(const char* phase, std::string message) {
    last_progress_ = Clock::now();
    std::uint64_t sent = sent_before_round_;
    for (const Round& round : report_.rounds) sent += round.bytes;
    const double seconds = elapsed_ms(begun_) / 1000.0;
    host_.progress({.phase = phase,
                    .round = round_,
                    .sent_bytes = sent,
                    .round_bytes = round_expected_,
                    .bytes_per_second = seconds > 0 ? static_cast<double>(sent) / seconds : 0,
                    .message = std::move(message)});
}

Report run_source(const SourceRequest& request, SessionHost& host) {
    SourceSession session(request, host);
    session.run();
    return session.report();
}

}  // namespace ferry::migrate
