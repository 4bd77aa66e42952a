#include "image/sample_checkpoint.h"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstring>

#include "arch/xstate.h"

namespace ferry::image {

namespace {

using model::VmaKind;

constexpr std::uint32_t kReadWrite = PROT_READ | PROT_WRITE;

model::Bytes bytes_of(std::string_view text) {
    model::Bytes bytes(text.size());
    std::memcpy(bytes.data(), text.data(), text.size());
    return bytes;
}

model::OpenFile regular(model::FileId id, std::string path, std::uint32_t flags,
                        std::uint32_t mode) {
    model::RegularFile file;
    file.path = std::move(path);
    file.mode = mode;
    if (S_ISREG(mode)) {
        file.size = 123456;
        file.build_id = bytes_of("0123456789abcdefghij");
    }
    file.position = S_ISREG(mode) ? 17 : 0;
    return {.id = id, .flags = flags, .owner = {}, .body = std::move(file)};
}

model::SocketOptions socket_options() {
    model::SocketOptions options;
    options.send_buffer = 87040;
    options.receive_buffer = 131072;
    options.buffers_locked_receive = true;
    options.send_timeout_us = 1'500'000;
    options.receive_timeout_us = 2'000'001;
    options.priority = 3;
    options.mark = 9;
    options.reuse_address = true;
    options.keep_alive = true;
    options.oob_inline = true;
    options.linger = {true, 7};
    options.user = 33;
    options.filter = {0xffff'0000'0000'0006, 0x16};
    options.plain = {{.level = IPPROTO_TCP, .option = 25, .value = 16384},
                     {.level = IPPROTO_IP, .option = IP_TOS, .value = 0x10},
                     {.level = IPPROTO_IP, .option = IP_TTL, .value = 8}};
    return options;
}

model::InetSocket connection() {
    model::InetSocket socket;
    socket.state = 1;
    socket.inode = 0x1f5;
    socket.source.s6_addr[0] = 10;
    socket.source.s6_addr[3] = 1;
    socket.destination.s6_addr[0] = 10;
    socket.destination.s6_addr[3] = 2;
    socket.source_port = 6379;
    socket.destination_port = 40000;
    socket.options = socket_options();
    socket.options.no_delay = true;
    socket.options.keep_idle = 300;
    socket.options.keep_count = 3;
    socket.options.user_timeout_ms = 9000;
    socket.options.congestion_control = "cubic";
    socket.shutdown = 2;
    model::TcpConnection tcp;
    tcp.send_sequence = 0xfffffffe;
    tcp.receive_sequence = 77;
    tcp.send_queue = bytes_of("reply");
    tcp.unsent_bytes = 2;
    tcp.receive_queue = bytes_of("request");
    tcp.mss_clamp = 1460;
    tcp.send_window_scale = 10;
    tcp.receive_window_scale = 7;
    tcp.window_scaling = tcp.sack = tcp.timestamps = true;
    tcp.timestamp = 12345;
    tcp.sent_lately = true;
    tcp.has_window = true;
    tcp.send_wl1 = 1;
    tcp.send_window = 65536;
    tcp.max_window = 65537;
    tcp.receive_window = 65538;
    tcp.receive_wup = 84;
    socket.tcp = tcp;
    return socket;
}

model::InetSocket listener() {
    model::InetSocket socket;
    socket.family = AF_INET6;
    socket.state = 10;
    socket.inode = 0x1f6;
    socket.source.s6_addr[15] = 1;
    socket.source_port = 6379;
    socket.backlog = 511;
    socket.ipv6_only = true;
    socket.free_bind = true;
    socket.options.defer_accept = 5;
    return socket;
}

model::InetSocket raw_socket() {
    model::InetSocket socket;
    socket.family = AF_INET6;
    socket.type = SOCK_RAW;
    socket.protocol = IPPROTO_ICMPV6;
    socket.state = 1;
    socket.inode = 0x2fa;
    socket.destination.s6_addr[15] = 1;
    socket.icmp_filter = {1, 2, 3, 4, 5, 6, 7, 0xffffffff};
    return socket;
}

model::InetSocket udp_socket() {
    model::InetSocket socket;
    socket.type = SOCK_DGRAM;
    socket.protocol = IPPROTO_UDP;
    socket.inode = 0x1f9;
    socket.options.plain = {{.level = IPPROTO_IP, .option = IP_PKTINFO, .value = 1}};
    socket.source_port = 53;
    socket.device_options = {
        {.level = IPPROTO_IP, .option = IP_MULTICAST_IF, .device = "eth0", .local = {10, 0, 0, 1}}};
    socket.groups = {{.family = AF_INET,
                      .device = "eth0",
                      .group = {239, 1, 2, 3},
                      .local = {10, 0, 0, 1},
                      .excludes = true,
                      .sources = {{10, 0, 0, 7}, {10, 0, 0, 8}}},
                     {.family = AF_INET6,
                      .device = "eth0",
                      .group = {0xff, 2, 0, 1},
                      .excludes = false,
                      .sources = {}}};
    socket.datagrams = {{.source = {}, .source_port = 1234, .content = bytes_of("query")},
                        {.source = {}, .source_port = 4321, .content = {}}};
    socket.datagrams.front().source.s6_addr[0] = 10;
    return socket;
}

model::NetlinkSocket netlink_socket() {
    model::NetlinkSocket socket;
    socket.inode = 0x1f9;
    socket.protocol = 16;
    socket.port = 4711;
    socket.peer_groups = 2;
    socket.groups = {0x11, 0x80000000};
    socket.options.plain = {{.level = 270, .option = 11, .value = 1}};
    return socket;
}

model::PacketSocket packet_socket() {
    model::PacketSocket socket;
    socket.inode = 0x1fa;
    socket.type = SOCK_DGRAM;
    socket.protocol = 0x800;
    socket.device = "eth0";
    socket.index = 3;
    socket.memberships = {{.device = "eth1", .index = 4, .type = 1, .address = bytes_of("sixsix")}};
    socket.options.plain = {{.level = 263, .option = 8, .value = 1},
                            {.level = 263, .option = 12, .value = 16},
                            {.level = 263, .option = 23, .value = 1}};
    return socket;
}

model::UnixSocket datagram_socket() {
    model::UnixSocket socket;
    socket.inode = 0x1f7;
    socket.type = SOCK_DGRAM;
    socket.name = "x.sock";
    socket.directory = "/run";
    socket.path = "/run/y.sock";
    socket.peer_inode = 0x1f8;
    socket.peer_name = "/run/outside.sock";
    socket.file_mode = S_IFSOCK | 0755;
    socket.file_uid = 1;
    socket.file_gid = 2;
    socket.options.pass_credentials = true;
    socket.options.plain = {{.level = SOL_SOCKET, .option = 76, .value = 1}};
    socket.receive_queue = {{.content = bytes_of("one"), .rights = {}},
                            {.content = bytes_of(""), .rights = {}},
                            {.content = bytes_of("three"), .rights = {17, 18, 17}}};
    return socket;
}

// Files whose content is in the images.
void add_files_with_content(model::Checkpoint& c) {
    for (const model::FileId id : {17u, 18u}) {
        c.files.push_back(regular(id, "/tmp/gone", O_RDWR, S_IFREG | 0600));
        std::get<model::RegularFile>(c.files.back().body).ghost = 1;
    }
    c.ghosts.push_back({.id = 1,
                        .mode = S_IFREG | 0600,
                        .uid = 33,
                        .gid = 34,
                        .device = 0xfe00,
                        .inode = 4711,
                        .access_us = 1'700'000'000'000'001,
                        .modify_us = 1'700'000'000'999'999,
                        .size = 123456,
                        .extents = {{.offset = 0, .content = bytes_of("front")},
                                    {.offset = 4096, .content = bytes_of("middle")}}});
    c.ghosts.push_back({.id = 2,
                        .mode = S_IFIFO | 0600,
                        .uid = 35,
                        .gid = 36,
                        .device = 0xfe00,
                        .inode = 4712,
                        .access_us = 1'700'000'000'000'003,
                        .modify_us = 1'700'000'000'000'004,
                        .size = 0,
                        .extents = {}});
    c.files.push_back({.id = 19, .flags = O_RDWR, .owner = {}, .body = udp_socket()});
    const model::MemoryFile memory = {.inode = 77,
                                      .name = "cache",
                                      .bytes = 10'000,
                                      .mode = S_IFREG | 0600,
                                      .uid = 7,
                                      .gid = 8,
                                      .seals = 6,
                                      .position = 0,
                                      .source = {}};
    c.files.push_back({.id = 20, .flags = O_RDONLY, .owner = {}, .body = memory});
    model::MemoryFile opened = memory;
    opened.position = 512;
    c.files.push_back({.id = 21, .flags = O_RDWR, .owner = {}, .body = opened});
    c.files.push_back({.id = 22,
                       .flags = O_RDONLY | O_NONBLOCK,
                       .owner = {},
                       .body = model::Inotify{{{.number = 3,
                                                .mask = 0x4000300,
                                                .path = "/var/spool",
                                                .inode = 0xa7e104,
                                                .device = 0xfe00000,
                                                .handle_type = 1,
                                                .handle = bytes_of("handle")}}}});
    c.files.push_back({.id = 23,
                       .flags = O_WRONLY | O_APPEND,
                       .owner = {},
                       .body = model::GivenStream{.number = 2, .position = 4321, .size = 5000}});
    c.files.push_back({.id = 24,
                       .flags = O_RDWR | O_NONBLOCK,
                       .owner = {},
                       .body = model::MessageQueueFile{.queue = 99, .name = "/q", .position = 80}});
}

void add_terminal(model::Checkpoint& c) {
    c.files.push_back(
        {.id = 25,
         .flags = O_RDWR | O_NONBLOCK,
         .owner = {},
         .body = model::TerminalFile{.index = 7, .is_master = true, .path = "/dev/ptmx"}});
    c.files.push_back(
        {.id = 26,
         .flags = O_WRONLY,
         .owner = {},
         .body = model::TerminalFile{.index = 7, .is_master = false, .path = "/dev/pts/7"}});
    model::Terminal terminal = {.index = 7,
                                .master_path = "/dev/ptmx",
                                .mode = 0604,
                                .uid = 1,
                                .gid = 2,
                                .locked = true,
                                .exclusive = true,
                                .packets = true,
                                .hung_up = true,
                                .modes = {.input = 3,
                                          .output = 4,
                                          .control = 5,
                                          .local = 6,
                                          .characters = {7, 8},
                                          .input_speed = 9,
                                          .output_speed = 10},
                                .locked_modes = {.local = 11, .characters = {}},
                                .size = {12, 13, 14, 15},
                                .session = 100,
                                .foreground = 100};
    c.terminals.push_back(terminal);
}

void add_files(model::Checkpoint& c) {
    c.files.push_back(regular(1, "/usr/bin/redis", O_RDONLY, S_IFREG | 0755));
    c.files.push_back(regular(2, "/srv", O_RDONLY | O_DIRECTORY, S_IFDIR | 0755));
    c.files.push_back(regular(3, "/", O_RDONLY | O_DIRECTORY, S_IFDIR | 0755));
    c.files.push_back(regular(4, "/dev/null", O_RDWR, S_IFCHR | 0666));
    c.files.push_back(
        {.id = 5, .flags = O_RDONLY, .owner = {}, .body = model::PipeEnd{7001, "", 0, 0}});
    c.files.push_back({.id = 6,
                       .flags = O_WRONLY | O_NONBLOCK,
                       .owner = {.signal = 29, .pid_type = 1, .pid = 100, .uid = 3, .euid = 4},
                       .body = model::PipeEnd{7001, "", 0, 0}});
    c.files.push_back({.id = 8, .flags = O_RDWR, .owner = {}, .body = model::EventFd{5, true}});
    model::EventPoll poll;
    poll.targets.push_back({.fd = 6,
                            .events = 0x2001,
                            .data = 0xdeadbeefcafe,
                            .inode = 0x1f6,
                            .device = 9,
                            .position = 0});
    c.files.push_back({.id = 9, .flags = O_RDWR, .owner = {}, .body = poll});
    c.files.push_back({.id = 10, .flags = O_RDWR, .owner = {}, .body = connection()});
    c.files.push_back({.id = 11, .flags = O_RDWR, .owner = {}, .body = listener()});
    c.files.push_back({.id = 12, .flags = O_RDWR, .owner = {}, .body = datagram_socket()});
    model::UnixSocket abstract;
    abstract.inode = 0x1f8;
    abstract.type = SOCK_DGRAM;
    abstract.name = std::string("\0name", 5);
    abstract.peer_inode = 0x1f7;
    c.files.push_back({.id = 13, .flags = O_RDWR, .owner = {}, .body = abstract});
    c.files.push_back({.id = 14,
                       .flags = O_RDWR,
                       .owner = {},
                       .body = model::PipeEnd{7002, "/run/fifo", S_IFIFO | 0600, 2}});
    c.files.push_back({.id = 15, .flags = O_RDWR, .owner = {}, .body = model::SignalFd{0x10200}});
    c.files.push_back({.id = 16,
                       .flags = O_RDWR | O_NONBLOCK,
                       .owner = {},
                       .body = model::TimerFd{.clock = 1,
                                              .ticks = 3,
                                              .settime_flags = 1,
                                              .value_ns = 5'999'832'113,
                                              .interval_ns = 20}});
    add_files_with_content(c);
    add_terminal(c);
    c.files.push_back({.id = 30,
                       .flags = O_RDWR | O_EXCL | O_NONBLOCK,
                       .owner = {},
                       .body = model::PidFile{.task = 101, .inode = 0, .exit_status = {}}});
    c.files.push_back({.id = 31,
                       .flags = O_RDWR,
                       .owner = {},
                       .body = model::PidFile{.task = 0, .inode = 77, .exit_status = 0x0b00}});
    c.files.push_back({.id = 32,
                       .flags = O_RDWR,
                       .owner = {},
                       .body = model::PidFile{.task = 103, .inode = 0, .exit_status = {}}});
    c.files.push_back({.id = 33, .flags = O_RDWR, .owner = {}, .body = raw_socket()});
    c.files.push_back({.id = 40, .flags = O_RDWR, .owner = {}, .body = netlink_socket()});
    c.files.push_back({.id = 41, .flags = O_RDWR, .owner = {}, .body = packet_socket()});
    c.pipes.push_back({.id = 7001, .bytes = 65536, .content = bytes_of("in the pipe")});
    c.pipes.push_back({.id = 7002, .bytes = 4096, .content = {}});
}

model::Vma mapping(std::uint64_t start, std::uint64_t pages, VmaKind kind,
                   std::uint32_t protection) {
    model::Vma vma;
    vma.range = {{start}, {start + pages * kPageSize}};
    vma.kind = kind;
    vma.protection = protection;
    return vma;
}

model::AddressSpace address_space() {
    model::AddressSpace space;
    auto& vmas = space.vmas;
    vmas.push_back(mapping(0x400000, 10, VmaKind::FilePrivate, PROT_READ | PROT_EXEC));
    vmas.back().file = 1;
    vmas.push_back(mapping(0x40a000, 2, VmaKind::FilePrivate, kReadWrite));
    vmas.back().file = 1;
    vmas.back().file_offset = 10 * kPageSize;
    vmas.push_back(mapping(0x800000, 16, VmaKind::Anonymous, kReadWrite));
    vmas.back().is_heap = true;
    vmas.back().locked = true;
    vmas.push_back(mapping(0x900000, 4, VmaKind::FileShared, PROT_READ));
    vmas.back().file = 1;
    vmas.push_back(mapping(0x980000, 3, VmaKind::FileShared, PROT_READ));
    vmas.back().file = 20;
    vmas.push_back(mapping(0xa00000, 8, VmaKind::AnonShared, kReadWrite));
    vmas.back().shared_id = 0x1234567890;
    vmas.push_back(mapping(0xb00000, 2, VmaKind::AnonShared, PROT_READ));
    vmas.back().shared_id = model::kSegmentIds | 32769;
    vmas.back().file_offset = kPageSize;
    vmas.back().attached_for_reading = true;
    vmas.push_back(mapping(0xb10000, 2, VmaKind::AioRing, kReadWrite));
    vmas.push_back(mapping(0xc00000, 6, VmaKind::AnonSharedPrivate, kReadWrite));
    vmas.back().shared_id = 0x1234567890;
    vmas.back().file_offset = 2 * kPageSize;
    vmas.push_back(mapping(0xd00000, 1, VmaKind::Anonymous, kReadWrite));
    vmas.back().droppable = true;
    vmas.push_back(mapping(0x7f0000000000, 512, VmaKind::Anonymous, PROT_NONE));
    vmas.back().no_reserve = true;
    vmas.back().advice = {MADV_DONTFORK, MADV_HUGEPAGE};
    vmas.back().name = "arena";
    vmas.push_back(mapping(0x7ffc00000000, 33, VmaKind::Anonymous, kReadWrite));
    vmas.back().grows_down = vmas.back().is_stack = true;
    vmas.push_back(mapping(0x7ffd00000000, 4, VmaKind::Vvar, PROT_READ));
    vmas.push_back(mapping(0x7ffd00004000, 2, VmaKind::Vvar, PROT_READ));
    vmas.push_back(mapping(0x7ffd00006000, 2, VmaKind::Vdso, PROT_READ | PROT_EXEC));
    vmas.push_back(mapping(0xffffffffff600000, 1, VmaKind::Vsyscall, PROT_EXEC));
    space.guards = {{{0x801000}, {0x803000}}, {{0x900000}, {0x901000}}};
    space.layout = {.start_code = 0x400000,
                    .end_code = 0x409123,
                    .start_data = 0x40a010,
                    .end_data = 0x40b000,
                    .start_brk = 0x800000,
                    .brk = 0x810000,
                    .start_stack = 0x7ffc00001230,
                    .arg_start = 0x7ffc00001300,
                    .arg_end = 0x7ffc00001310,
                    .env_start = 0x7ffc00001310,
                    .env_end = 0x7ffc00001320,
                    .auxv = {}};
    // More than CRIU's field takes.
    for (std::uint64_t key = 1; key <= 26; ++key) {
        space.layout.auxv.push_back(key);
        space.layout.auxv.push_back(key * 1000);
    }
    space.layout.auxv.insert(space.layout.auxv.end(), {0, 0});
    space.exe_file = 1;
    space.thp_disabled = true;
    return space;
}

arch::XState xstate() {
    const arch::XStateLayout& layout = arch::XStateLayout::of_this_cpu();
    arch::XState state;
    state.area.resize(layout.bytes);
    const auto set = [&](std::size_t from, std::size_t to) {
        for (std::size_t i = from; i < to; ++i) state.area[i] = static_cast<std::byte>(i * 7 + 1);
    };
    set(0, 5);  // Control, status and tag words; byte 5 is reserved.
    set(6, 416);
    std::uint64_t in_use = 3;
    for (const auto part : {arch::XComponent::Avx, arch::XComponent::Opmask,
                            arch::XComponent::ZmmUpper, arch::XComponent::Hi16Zmm}) {
        const auto* place = layout.find(part);
        if (place == nullptr) continue;
        set(place->offset, place->offset + place->size);
        in_use |= std::uint64_t{1} << static_cast<unsigned>(part);
    }
    std::memcpy(state.area.data() + arch::kXstateBvOffset, &in_use, sizeof(in_use));
    std::memcpy(state.area.data() + arch::kXsaveFeaturesOffset, &layout.features,
                sizeof(layout.features));
    return state;
}

model::SignalInfo signal_info(int signal) {
    model::SignalInfo info = {};
    std::memcpy(info.data(), &signal, sizeof(signal));
    info[127] = std::byte{0x5a};
    return info;
}

model::Thread thread(pid_t tid) {
    model::Thread t;
    t.tid = {tid};
    auto* words = reinterpret_cast<unsigned long long*>(&t.registers.raw);
    for (std::size_t i = 0; i < sizeof(t.registers.raw) / sizeof(*words); ++i) {
        words[i] = 0x1000 * static_cast<unsigned long long>(tid) + i;
    }
    t.xstate = xstate();
    t.signal_mask = 0x8000000000000001;
    t.pending = {signal_info(10), signal_info(34)};
    t.alternate_stack = {.address = 0x7000, .size = 8192, .flags = 0};
    t.robust_list = 0x1230;
    t.robust_list_size = 24;
    t.clear_child_tid = 0x1240;
    t.rseq = {.address = 0x1250, .size = 32, .signature = 0x53053053};
    t.credentials.uid = 1000;
    t.credentials.groups = {1000, 27};
    t.credentials.cap_effective = 0x1ffffffffff;
    t.credentials.cap_bounding = 0x100000000;
    t.credentials.no_new_privileges = true;
    t.scheduling = {.policy = 2,
                    .nice = -5,
                    .priority = 10,
                    .affinity = {0x03},
                    .io_priority = 0x4003,
                    .timer_slack_ns = 1000};
    t.parent_death_signal = 15;
    t.comm = "worker";
    return t;
}

model::Process process(pid_t pid, pid_t parent) {
    model::Process p;
    p.pid = {pid};
    p.parent = {parent};
    p.group = {100};
    p.session = {100};
    p.threads.push_back(thread(pid));
    p.address_space = address_space();
    for (int fd = 0; fd < 3; ++fd) p.descriptors.push_back({.fd = fd, .file = 4});
    p.descriptors.push_back({.fd = 5, .file = 9, .close_on_exec = true});
    p.descriptors.push_back({.fd = 6, .file = 11});
    p.descriptors.push_back({.fd = 7, .file = 24});
    p.working_directory = 2;
    p.root_directory = 3;
    p.umask = 027;
    for (std::size_t i = 0; i < p.actions.size(); ++i) {
        if (i + 1 == 9 || i + 1 == 19) continue;
        p.actions[i] = {.handler = 0x1000 + i, .flags = 0x4000000, .restorer = 0x2000, .mask = i};
    }
    p.pending = {signal_info(12)};
    p.interval_timers[1] = {.interval_us = 1'500'000, .value_us = 999'999};
    p.posix_timers.push_back({.id = 3,
                              .clock = 1,
                              .notify = 4,
                              .signal = 14,
                              .value = 0xabcdef,
                              .notify_tid = pid,
                              .interval_ns = 1'000'000'001,
                              .value_ns = 5,
                              .overrun = 2});
    for (auto& limit : p.limits) limit = {.soft = 1024, .hard = ~std::uint64_t{0}};
    p.personality = 0x40000;
    p.child_subreaper = true;
    p.membarrier = 1 << 4 | 1 << 8;
    p.oom_score_adj = -500;
    p.core_filter = 0x7f;
    p.stop = {.signal = 20, .noticed = true};
    p.aio_rings = {{.address = 0xb10000, .content = model::Bytes(2 * kPageSize, std::byte{3})}};
    p.cgroups = {{.controllers = "cpu,cpuacct", .path = "/svc"}, {.controllers = "", .path = "/"}};
    p.seccomp = {{.program = model::Bytes(8, std::byte{6}), .flags = 0},
                 {.program = model::Bytes(16, std::byte{7}), .flags = SECCOMP_FILTER_FLAG_LOG}};
    p.namespaces = {
        .mnt = 1, .net = 2, .pid = 3, .uts = 4, .ipc = 5, .user = 6, .cgroup = 7, .time = 8};
    return p;
}

model::IpcNamespace ipc() {
    model::IpcNamespace ipc;
    ipc.settings = {.sem = {250, 32000, 32, 128},
                    .msgmax = 8192,
                    .msgmnb = 16384,
                    .msgmni = 32000,
                    .shmmax = ~std::uint64_t{0} - (1 << 24),
                    .shmall = ~std::uint64_t{0} - (1 << 24),
                    .shmmni = 4096,
                    .shm_rmid_forced = 0,
                    .queues_max = 256,
                    .msg_max = 10,
                    .msgsize_max = 8192,
                    .msg_default = 11,
                    .msgsize_default = 8193};
    const model::IpcObject object = {
        .id = 32769, .key = -77, .mode = 0640, .uid = 1, .gid = 2, .cuid = 3, .cgid = 4};
    ipc.segments = {{.object = object,
                     .bytes = 3 * kPageSize - 5,
                     .removed = true,
                     .locked = true,
                     .source = {}},
                    {.object = {.id = 1}, .bytes = 1, .source = {}}};
    ipc.semaphores = {{.object = {}, .values = {32767}}, {.object = object, .values = {1, 2, 3}}};
    ipc.queues = {{.object = object,
                   .bytes_max = 16384,
                   .messages = {{.type = 1, .content = bytes_of("first")},
                                {.type = 1LL << 40, .content = {}},
                                {.type = 2, .content = bytes_of("eight bytes, twice")}}}};
    ipc.posix_queues = {{.inode = 99,
                         .name = "/q",
                         .unlinked = true,
                         .mode = 0640,
                         .uid = 5,
                         .gid = 6,
                         .messages_max = 10,
                         .message_bytes_max = 8192,
                         .messages = {},
                         .notification = model::QueueNotification{.pid = {100}, .signal = 34}},
                        {.inode = 100,
                         .name = "/q",
                         .messages_max = 2,
                         .message_bytes_max = 16,
                         .messages = {{.priority = 32767, .content = bytes_of("first")},
                                      {.priority = 0, .content = {}}},
                         .notification = {}}};
    return ipc;
}

}  // namespace

model::Checkpoint sample_checkpoint() {
    model::Checkpoint c;
    c.processes.push_back(process(100, 0));
    c.processes.back().threads.push_back(thread(101));
    c.processes.push_back(process(102, 100));
    model::Process zombie;
    zombie.pid = {103};
    zombie.parent = {102};
    zombie.group = {100};
    zombie.session = {100};
    zombie.is_zombie = true;
    zombie.exit_status = 0x0b00;
    c.processes.push_back(zombie);
    add_files(c);
    c.locks.push_back(
        {.kind = model::LockKind::Process, .pid = {100}, .fd = 1, .start = 10, .length = 10});
    c.locks.push_back({.kind = model::LockKind::Flock, .exclusive = true, .pid = {102}, .fd = 2});
    c.locks.push_back({.kind = model::LockKind::Description,
                       .exclusive = true,
                       .pid = {100},
                       .fd = 0,
                       .start = 1ULL << 40});
    c.processes.front().terminal = 7;
    c.ipc = ipc();
    c.processes.front().semaphore_undo = {{.set = 32769, .number = 2, .adjustment = -1},
                                          {.set = 0, .number = 0, .adjustment = 32767}};
    c.vdso_hash = 0xfedcba9876543210;
    c.clocks = {.seen = {.monotonic_ns = 123'456'789'012, .boottime_ns = 223'456'789'012},
                .offsets = {.monotonic_ns = -5'000'000'001, .boottime_ns = 7},
                .own_namespace = true};
    c.boot_id = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
    c.kernel_release = "6.18.0";
    return c;
}

}  // namespace ferry::image
