// Internet sockets that are refused by name before anything is frozen.
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "resources/live_tree.h"

namespace ferry::resources {
namespace {

std::string why_refused(const std::function<void()>& set_up) {
    enter_test_network();
    const LiveTree tree(set_up);
    FileCollector collector({.tcp_established = true}, nullptr);
    const auto prepared = collector.prepare(std::vector<Pid>{tree.pid()});
    if (prepared) return "not refused";
    EXPECT_EQ(prepared.error().kind(), Error::Kind::Unsupported);
    return prepared.error().message();
}

TEST(Inet, a_socket_that_sends_ip_options_is_refused) {
    const std::string why = why_refused([] {
        const int fd = ::socket(AF_INET, SOCK_DGRAM, 0);
        const unsigned char record_route[] = {7, 7, 4, 0, 0, 0, 0, 0};
        ::setsockopt(fd, IPPROTO_IP, IP_OPTIONS, record_route, sizeof(record_route));
    });
    EXPECT_NE(why.find("IP options"), std::string::npos) << why;
}

TEST(Inet, a_filter_of_ebpf_is_refused) {
    const std::string why = why_refused([] {
        const std::uint64_t code[] = {0xb7, 0x95};  // r0 = 0; exit
        bpf_attr attributes = {};
        attributes.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
        attributes.insns = reinterpret_cast<std::uint64_t>(code);
        attributes.insn_cnt = 2;
        attributes.license = reinterpret_cast<std::uint64_t>("GPL");
        const int program =
            static_cast<int>(::syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof(attributes)));
        const int fd = ::socket(AF_INET, SOCK_DGRAM, 0);
        ::setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &program, sizeof(program));
        ::close(program);
    });
    EXPECT_NE(why.find("eBPF filter"), std::string::npos) << why;
}

}  // namespace
}  // namespace ferry::resources
