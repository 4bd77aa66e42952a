#include "migrate/destination_session.h"

#include <fmt/format.h>

#include <array>
#include <thread>

#include "base/elapsed.h"
#include "base/log.h"
#include "container/tmpfs_restore.h"
#include "image/codec.h"
#include "migrate/container_images.h"
#include "migrate/packets.h"
#include "migrate/tree_figures.h"
#include "net/tls_listener.h"
#include "resources/clocks.h"
#include "restore/clocks.h"
#include "restore/image_filler.h"

namespace ferry::migrate {
namespace {

using std::chrono::milliseconds;

// Between rounds the source may scan for long, and an operator may let it wait.
constexpr std::chrono::minutes kIdleTimeout{5};
constexpr milliseconds kAskAgain{200};
// When the address is announced again: a lost frame otherwise costs a neighbour timeout.
constexpr std::array<milliseconds, 3> kAnnounceAgain = {milliseconds(10), milliseconds(50),
                                                        milliseconds(200)};
// The source ends its tree within milliseconds; a lock that is held longer is a third party's.
constexpr milliseconds kLocksTimeout{5000};
constexpr std::size_t kZeroBytes = 64 << 10;

Result<model::Checkpoint> decode_checkpoint(std::span<const std::byte> payload) {
    const image::MemoryStore store = TRY(unpack(payload));
    return image::decode(store);
}

}  // namespace

Result<> DestinationSession::run(PortSink& port) {
    TRY(host_.record(SessionState::Precopy));
    const Result<> restored = [&]() -> Result<> {
        TRY(accept(port));
        TRY(welcome());
        TRY(fill());
        return await_commit();
    }();
    const Result<> running = restored ? commit() : restored;
    if (running) {
        finish();
        return {};
    }
    // Recorded only when nothing is left that could run.
    tree_.reset();
    network_.reset();
    creation_.reset();
    incoming_.reset();
    arrival_.reset();
    if (const Result<> recorded = host_.record(SessionState::Aborted); !recorded) {
        log_warn("recording the end: {}, ignoring", recorded.error().message());
    }
    if (link_ != nullptr) link_->send_failure(running.error());
    return running;
}

Result<> DestinationSession::accept(PortSink& port) {
    const net::TlsContext context = TRY(net::TlsContext::load(
        {.ca = request_.tls.ca, .certificate = request_.tls.certificate, .key = request_.tls.key}));
    const net::Listener listener =
        TRY(net::Listener::bind({.host = request_.listen_address, .port = 0}));
    port.listening(listener.port());
    net::TlsChannel channel = TRY(with_context(
        net::accept_peer(listener, context, request_.source_name,
                         net::Deadline::after(request_.accept_timeout), host_.control_fd()),
        "waiting for the source"));
    channel.interrupt_on(host_.control_fd());
    channel.set_idle_timeout(kIdleTimeout);
    link_ = std::make_unique<Link>(std::move(channel));
    return {};
}

Result<> DestinationSession::welcome() {
    const HelloBody hello = TRY(decode_hello(TRY(link_->expect(FrameType::Hello)).payload));
    if (hello.version != kWireVersion) {
        return fail(Error::unsupported(
            fmt::format("the source speaks version {} of the migration protocol, this host {}: run "
                        "the same version of Ferry on both",
                        hello.version, kWireVersion)));
    }
    if (hello.session != request_.session) {
        return fail(Error::peer(fmt::format("session \"{}\" was announced, \"{}\" has connected",
                                            request_.session, hello.session)));
    }
    TRY(check_cpu(hello));
    service_network_ = TRY(handover::decode_network(hello.network));
    std::optional<container::Description> description;
    if (!hello.container.empty()) {
        description = TRY(container::description_from_json(hello.container));
    }
    // First: Podman's network backend would make a bridge that is missing.
    TRY(check_network(description && description->podman));
    TRY(handover::check_devices(service_network_, hello.devices));
    if (description) TRY(prepare_container(*description, hello.files));
    if (!service_network_.space) TRY(prepare_network(TRY(os::NetworkNamespace::own())));
    // The source reads its clocks after this.
    welcomed_at_ = TRY(resources::clocks_now());
    return link_->send(FrameType::Welcome, std::span<const std::byte>{});
}

Result<> DestinationSession::prepare_container(const container::Description& description,
                                               const std::string& files) {
    std::vector<container::FileTree> trees;
    if (!files.empty()) {
        trees = TRY(container::file_trees_from_json(files, description));
        TRY(make_room(description, trees));
    }
    creation_ =
        TRY(container::Creation::prepare(description, {.runtime_root = request_.runtime_root,
                                                       .output = request_.output,
                                                       .console_socket = request_.console_socket}));
    config_ = TRY(container::parse_config(creation_->config()));
    return files.empty() ? Result<>() : want_files(trees);
}

Result<> DestinationSession::check_network(bool must_be_joined) const {
    handover::Placement placement = request_.placement;
    placement.must_be_joined = must_be_joined;
    return handover::ArrivingNetwork::check(service_network_, placement);
}

Result<> DestinationSession::make_room(const container::Description& description,
                                       const std::vector<container::FileTree>& trees) {
    arrival_.emplace(TRY(container::Arrival::prepare(description, trees, request_.runtime_root)));
    const std::vector<std::string>& probes = arrival_->probes();
    TRY(link_->send(FrameType::Storage, encode(StorageBody{.probes = probes})));
    const StorageBody answer = TRY(decode_storage(TRY(link_->expect(FrameType::Storage)).payload));
    if (answer.seen.size() != probes.size()) {
        return fail(Error::corrupt("the source speaks of other files"));
    }
    return arrival_->begin(answer.seen);
}

Result<> DestinationSession::want_files(const std::vector<container::FileTree>& trees) {
    std::vector<files::TreePlace> all = TRY(creation_->places(trees));
    for (const std::uint32_t number : arrival_->wanted()) all[number] = trees[number].place;
    StorageBody wanted{.seen = std::vector<bool>(trees.size())};
    std::vector<files::TreePlace> places;
    for (std::size_t i = 0; i < all.size(); ++i) {
        wanted.seen[i] = !all[i].path.empty();
        if (wanted.seen[i]) places.push_back(all[i]);
    }
    incoming_.emplace(TRY(files::Incoming::open(places)));
    return link_->send(FrameType::Storage, encode(wanted));
}

Result<> DestinationSession::prepare_network(const os::NetworkNamespace& space) {
    network_ = TRY(handover::ArrivingNetwork::prepare(service_network_, space, request_.placement));
    replay_ = TRY(space.within(
        [this] { return handover::PacketReplay::create(service_network_.firewall()); }));
    // The rules have been tried. They come again in the freeze, with their counters, and load at
    // once where nothing is; to remove others first would take until no CPU uses them.
    if (!service_network_.space) return {};
    return space.within([] { return handover::load_ruleset({}); });
}

Result<> DestinationSession::fill() {
    for (;;) {
        const Frame frame = TRY(link_->receive());
        const bool is_of_files = frame.type == FrameType::Offered || frame.type == FrameType::Trees;
        if (is_of_files && !incoming_) return fail(Error::corrupt("nobody asked for files"));
        switch (frame.type) {
            case FrameType::Files:
                TRY(apply_files(frame.payload));
                break;
            case FrameType::Offered:
                TRY(link_->send(FrameType::Wanted,
                                files::encode(TRY(incoming_->offer(frame.payload)))));
                break;
            case FrameType::Trees:
                TRY(incoming_->apply(frame.payload));
                break;
            case FrameType::Layout:
                TRY(apply_layout(frame.payload));
                TRY(link_->send(FrameType::Staged, std::span<const std::byte>{}));
                break;
            case FrameType::Root:
                if (tree_) return fail(Error::corrupt("a second root"));
                TRY(stage(TRY(with_context(decode_checkpoint(frame.payload), "root")), true));
                TRY(link_->send(FrameType::Staged, std::span<const std::byte>{}));
                break;
            case FrameType::Pages:
                TRY(apply_pages(frame.payload));
                break;
            case FrameType::Ruleset:
            case FrameType::Connections:
                TRY(apply_packet_filter(frame));
                break;
            case FrameType::Frozen:
                urgency_.emplace();
                break;
            case FrameType::RoundEnd:
                urgency_.reset();  // the source thawed for another round
                TRY(link_->send(FrameType::RoundDone, frame.payload));
                break;
            case FrameType::Final:
                return restore(frame.payload);
            case FrameType::Image:
                if (!images_) images_.emplace(TRY(ImageReceiver::create()));
                TRY(images_->take(frame.payload));
                break;
            case FrameType::Restore:
                return restore_images();
            default:
                return fail(Error::corrupt(
                    fmt::format("the source sent {} before the end", name_of(frame.type))));
        }
        if (host_.abort_requested()) return fail(Error::aborted("aborted on request"));
    }
}

Result<> DestinationSession::apply_files(std::span<const std::byte> payload) {
    if (!creation_) return fail(Error::corrupt("the source sent files without a container"));
    const std::string_view archive(reinterpret_cast<const char*>(payload.data()), payload.size());
    if (tree_) return container::restore_tmpfs(tree_->root_here(), config_, archive);
    first_files_ = archive;
    return {};
}

Result<> DestinationSession::apply_packet_filter(const Frame& frame) {
    if (!tree_ || !service_network_.space) {
        return fail(Error::corrupt("the source sent a packet filter without a container"));
    }
    const auto filter = TRY(handover::decode_filter(frame.payload));
    const auto space = TRY(os::NetworkNamespace::of(tree_->root_here()));
    return space.within([&] {
        return frame.type == FrameType::Ruleset ? handover::load_ruleset(filter)
                                                : handover::make_connections(filter);
    });
}

Result<> DestinationSession::apply_layout(std::span<const std::byte> payload) {
    const model::Checkpoint skeleton = TRY(with_context(decode_checkpoint(payload), "layout"));
    if (tree_) {
        TRY(files_.prepare(skeleton));
        return tree_->update(skeleton);
    }
    return stage(skeleton, false);
}

Result<> DestinationSession::stage(const model::Checkpoint& skeleton, bool root_alone) {
    restore::StageOptions options;
    options.root_alone = root_alone;
    options.clocks = TRY(restore::offsets_for(skeleton, welcomed_at_));
    options.open_ghost = [this](const model::Checkpoint& checkpoint, model::FileId id) {
        return files_.open_ghost(checkpoint, id);
    };
    if (creation_) {
        options.start_root = [this](const restore::RootImage& image) -> Result<Pid> {
            const Pid root = TRY(creation_->start(image.flat, image.socket, image.socket_number));
            files_.settle_in(TRY(resources::Surroundings::of(root)));
            TRY(container::restore_tmpfs(root, config_, std::exchange(first_files_, {})));
            return root;
        };
    }
    tree_ = TRY(restore::StagedTree::create(skeleton, options));
    // A container's network namespace exists only with its first process.
    if (!network_) {
        TRY(prepare_network(TRY(os::NetworkNamespace::of(tree_->root_here()))));
    }
    return files_.prepare(skeleton);
}

Result<> DestinationSession::apply_pages(std::span<const std::byte> payload) {
    if (!tree_) return fail(Error::corrupt("pages arrived before any layout"));
    TRY(pages::decode_pages(payload, decoded_));
    if (decoded_.owner.space == pages::PageSpace::Shared) return apply_shared_pages();
    static constexpr std::array<std::byte, kZeroBytes> kZeros{};
    drops_.clear();
    writes_.clear();
    for (const pages::DecodedPages::Run& run : decoded_.runs) {
        switch (run.kind) {
            case pages::RunKind::Data:
                writes_.push_back({.address = run.run.start, .bytes = run.bytes});
                break;
            case pages::RunKind::Zero:
                for (RemoteAddr at = run.run.start; at < run.run.end; at = at + kZeroBytes) {
                    const std::uint64_t size =
                        std::min<std::uint64_t>(kZeroBytes, run.run.end - at);
                    writes_.push_back({.address = at, .bytes = std::span(kZeros).first(size)});
                }
                break;
            case pages::RunKind::Drop:
                drops_.push_back(run.run);
                break;
        }
    }
    const Pid pid{static_cast<std::int32_t>(decoded_.owner.id)};  // in range: decode_pages()
    if (!writes_.empty()) TRY(tree_->write_pages(pid, writes_));
    if (!drops_.empty()) TRY(tree_->drop_pages(pid, drops_));
    return {};
}

// A page of zeros and none are the same in an object that has no file behind it.
Result<> DestinationSession::apply_shared_pages() {
    const std::uint64_t id = decoded_.owner.id;
    for (const pages::DecodedPages::Run& run : decoded_.runs) {
        TRY(run.kind == pages::RunKind::Data
                ? tree_->write_shared(id, run.run.start.value, run.bytes)
                : tree_->drop_shared(id, run.run.start.value, run.run.size()));
    }
    return {};
}

Result<> DestinationSession::restore(std::span<const std::byte> payload) {
    const Clock::time_point begun = Clock::now();
    if (!tree_) return fail(Error::corrupt("the final state arrived before any layout"));
    const model::Checkpoint checkpoint =
        TRY(with_context(decode_checkpoint(payload), "final state"));
    return activate(checkpoint, begun);
}

Result<> DestinationSession::restore_images() {
    const Clock::time_point begun = Clock::now();
    if (!images_ || !tree_) return fail(Error::corrupt("no image files are to be restored"));
    TRY(images_->complete());
    const model::Checkpoint checkpoint =
        TRY(with_context(image::decode(images_->store()), "image files"));
    if (creation_) {
        auto container = TRY(read_container(images_->store()));
        if (!container) return fail(Error::corrupt("the image files are not of a container"));
        TRY(container::restore_tmpfs(tree_->root_here(), config_, container->tmpfs));
    }
    const restore::ImageFiller filler(checkpoint, images_->store());
    TRY(tree_->update(filler.first_generation()));
    const double stage_ms = elapsed_ms(begun);
    TRY(filler.fill(*tree_));
    log_info("image files: staged {:.1f} ms, filled {:.1f} ms", stage_ms,
             elapsed_ms(begun) - stage_ms);
    TRY(files_.prepare(checkpoint));
    return activate(checkpoint, begun);
}

Result<> DestinationSession::activate(const model::Checkpoint& checkpoint,
                                      Clock::time_point begun) {
    const double decode_ms = elapsed_ms(begun);
    TRY(files_.finish(checkpoint));
    const double files_ms = elapsed_ms(begun) - decode_ms;
    const restore::ActivationReport activation = TRY(tree_->activate(
        checkpoint, [this](model::FileId id) { return files_.fd(id); },
        [this](const model::Checkpoint& final) { return files_.open_pidfds(final); }));
    pids_ = tree_->pids_here();
    const double restore_ms = elapsed_ms(begun);
    waits_for_locks_ = !activation.late_locks.empty();
    log_info(
        "restored: decode {:.1f} ms, files {:.1f} ms, activate {} us (update {}, descriptors {}, "
        "processes {}, threads {}, registers {}), all {:.1f} ms",
        decode_ms, files_ms, activation.total.count(), activation.update.count(),
        activation.descriptors.count(), activation.processes.count(), activation.threads.count(),
        activation.registers.count(), restore_ms);
    TRY(host_.record(SessionState::Ready));
    return link_->send(FrameType::Ready,
                       encode(ReadyBody{.restore_ms = restore_ms, .loss = tree_->loss()}));
}

Result<> DestinationSession::await_commit() {
    // From here on only the source decides: an abort on this side goes through its agent.
    for (;;) {
        const Result<Frame> frame = link_->receive();
        if (!frame && link_->peer_failed()) return fail(frame.error());
        if (!frame) return ask_for_decision(frame.error());
        if (frame->type == FrameType::Commit) return {};
        if (frame->type != FrameType::Packets) {
            return fail(Error::corrupt(
                fmt::format("the source sent {} instead of its decision", name_of(frame->type))));
        }
        packets_ = TRY(unpack_packets(frame->payload));
    }
}

Result<> DestinationSession::ask_for_decision(const Error& error) {
    for (;;) {
        const Result<SessionState> state = host_.peer_state();
        if (state && (*state == SessionState::Committed || *state == SessionState::Done)) return {};
        if (state && (*state == SessionState::Aborted || *state == SessionState::Unknown)) {
            return fail(error);
        }
        if (host_.abort_requested() && host_.may_give_up()) return fail(error);
        std::this_thread::sleep_for(kAskAgain);
    }
}

Result<> DestinationSession::commit() {
    const Clock::time_point begun = Clock::now();
    // If we are killed now, whoever has the service later finds its files.
    if (arrival_) arrival_->hold();
    TRY(host_.record_running(pids_));
    if (arrival_) arrival_->commit();
    if (waits_for_locks_) await_locks(begun);
    // What was held comes before anything that its senders may say next (network_hold.h, 9 to 12).
    if (const auto settled = files_.settle_connections(); !settled) {
        log_error("settling connections: {}, the others go on", settled.error().message());
    }
    replay(handover::ReplayPart::KnownConnections);
    TRY(network_->activate());
    TRY(network_->announce());
    if (const auto woken = files_.leave_repair(); !woken) {
        log_error("waking connections: {}, the others go on", woken.error().message());
    }
    replay(handover::ReplayPart::Rest);
    if (creation_) std::move(*creation_).commit();
    const Result<> released = std::move(*tree_).run(restore::RunMode::Running, [this] {
        if (const auto kept = network_->outlive(); !kept) log_error("{}", kept.error().message());
    });
    tree_.reset();
    urgency_.reset();
    running_since_ = Clock::now();
    if (!released) log_error("releasing the tree: {}", released.error().message());
    if (const Result<> recorded = host_.record_released(); !recorded) {
        log_error("{}", recorded.error().message());
    }
    creation_.reset();
    if (const Result<> kept = network_->keep(); !kept) {
        log_error("keeping the network: {}", kept.error().message());
    }
    const RunningBody body = {.commit_ms = elapsed_ms(begun)};
    log_info("committed: running after {:.1f} ms, {} packets delivered", body.commit_ms,
             packets_.size());
    tell_running(body);
    return {};
}

// There is no way back: without its locks the service runs on all the same.
void DestinationSession::await_locks(Clock::time_point begun) {
    tell_running({.commit_ms = elapsed_ms(begun), .waits_for_locks = true});
    if (const Result<> taken = tree_->take_late_locks(kLocksTimeout); !taken) {
        log_error("{}: the service runs without them", taken.error().message());
    }
    log_info("locks of files taken after {:.1f} ms", elapsed_ms(begun));
}

void DestinationSession::tell_running(const RunningBody& body) {
    if (const Result<> sent = link_->send(FrameType::Running, encode(body)); !sent) {
        log_warn("telling the source: {}, ignoring: it asks the agent", sent.error().message());
    }
}

void DestinationSession::replay(handover::ReplayPart part) {
    if (const auto replayed = replay_->replay(packets_, part); !replayed) {
        log_warn("held packets: {}, ignoring: their senders repeat them",
                 replayed.error().message());
    }
}

void DestinationSession::finish() {
    link_->channel().interrupt_on(-1);
    images_.reset();
    if (const Result<> served = serve_after_commit(); !served) {
        log_warn("after the commit: {}, ignoring", served.error().message());
    }
    while (announced_ < kAnnounceAgain.size()) {
        announce_when_due();
        std::this_thread::sleep_for(milliseconds(5));
    }
    if (incoming_) {
        if (const Result<> flushed = incoming_->flush(); !flushed) {
            log_warn("{}, ignoring", flushed.error().message());
        }
    }
    if (const Result<> recorded = host_.record(SessionState::Done); !recorded) {
        log_warn("recording the end: {}, ignoring", recorded.error().message());
    }
}

Result<> DestinationSession::serve_after_commit() {
    for (;;) {
        announce_when_due();
        if (!TRY(link_->wait(milliseconds(5)))) {
            if (Clock::now() - *running_since_ > kIdleTimeout) {
                return fail(Error::peer("the source has not finished the session"));
            }
            continue;
        }
        const Frame frame = TRY(link_->receive());
        if (frame.type == FrameType::Finish) {
            return link_->send(FrameType::Finished, encode(figures()));
        }
        if (frame.type != FrameType::Packets) {
            return fail(Error::corrupt(fmt::format("late {}", name_of(frame.type))));
        }
        TRY(replay_->replay(TRY(unpack_packets(frame.payload))));
    }
}

void DestinationSession::announce_when_due() {
    if (announced_ >= kAnnounceAgain.size()) return;
    if (Clock::now() - *running_since_ < kAnnounceAgain.at(announced_)) return;
    ++announced_;
    if (const Result<> announced = network_->announce(); !announced) {
        log_warn("announcing the address: {}, ignoring", announced.error().message());
    }
}

FinishedBody DestinationSession::figures() const {
    const TreeFigures measured = measure_tree(pids_);
    return {.memory = measured.resident_bytes,
            .processes = measured.objects.processes,
            .threads = measured.objects.threads,
            .files = measured.objects.files,
            .sockets = measured.objects.sockets,
            .mappings = measured.objects.mappings,
            .worker_memory_peak = own_memory_peak()};
}

Result<> run_destination(const DestinationRequest& request, SessionHost& host, PortSink& port) {
    DestinationSession session(request, host);
    return session.run(port);
}

}  // namespace ferry::migrate
