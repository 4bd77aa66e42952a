// Test support: a small network of namespaces that belong to the test process and vanish with it.
//
//   client --- br0 --- a:eth0, b:eth0        10.77.0.0/24 and fd77::/64
//
// The bridge is in the client's namespace. A macvlan svc0 with 10.77.0.100 and fd77::100 can be
// made in a.
#pragma once

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <thread>
#include <utility>

#include "handover/ip_address.h"
#include "os/namespace.h"
#include "os/network_namespace.h"
#include "os/process.h"

namespace ferry::handover::lab {

// Makes a failed Result the end of the test program: there is no sense in going on without the
// network.
template <class T>
T must(Result<T> result) {
    if (!result) {
        ADD_FAILURE() << result.error().describe();
        std::abort();
    }
    return take_value(result);
}

inline double now_ms() {
    return std::chrono::duration<double, std::milli>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

// One network namespace, held by a process of ours that dies with us.
class Host {
  public:
    Host() : holder_(must(os::start_namespace(network_only()))) {}
    Host(const Host&) = delete;
    Host& operator=(const Host&) = delete;
    ~Host() {
        static_cast<void>(os::kill(holder_.pid, SIGKILL));
        ::waitpid(holder_.pid.value, nullptr, __WALL);
    }

    [[nodiscard]] Pid pid() const { return holder_.pid; }
    [[nodiscard]] os::NetworkNamespace space() const {
        return must(os::NetworkNamespace::of(holder_.pid));
    }
    // The calling thread is in this namespace until the end of the returned object's life.
    [[nodiscard]] os::NetworkScope enter() const { return must(space().enter()); }

    // A shell command in this namespace; its exit status.
    int run(const std::string& command) const {
        const auto inside = enter();
        return WEXITSTATUS(std::system(command.c_str()));
    }
    // Its standard output.
    [[nodiscard]] std::string output(const std::string& command) const {
        const auto inside = enter();
        std::string result;
        FILE* pipe = ::popen(command.c_str(), "r");
        char buffer[4096];
        while (std::fgets(buffer, sizeof buffer, pipe) != nullptr) result += buffer;
        ::pclose(pipe);
        return result;
    }
    // A counter of /proc/net/snmp or netstat ("Tcp", "RetransSegs").
    [[nodiscard]] long counter(const std::string& group, const std::string& name) const {
        const auto inside = enter();
        for (const char* file : {"/proc/thread-self/net/snmp", "/proc/thread-self/net/netstat"}) {
            std::ifstream stream(file);
            std::string names, values;
            while (std::getline(stream, names) && std::getline(stream, values)) {
                if (!names.starts_with(group + ":")) continue;
                std::istringstream n(names), v(values);
                std::string key, value;
                while (n >> key && v >> value) {
                    if (key == name) return std::stol(value);
                }
            }
        }
        ADD_FAILURE() << "no counter " << group << " " << name;
        return -1;
    }

  private:
    static os::NamespaceInit network_only() {
        os::NamespaceInit init;
        init.new_namespaces = CLONE_NEWNET;
        return init;
    }
    os::NamespaceHolder holder_;
};

// A process of ours that enters a host, does its work, says so and waits to be killed.
class Victim {
  public:
    Victim(const Host& host, const std::function<void()>& work) {
        int fds[2];
        EXPECT_EQ(::pipe2(fds, O_CLOEXEC), 0);
        pid_ = ::fork();
        if (pid_ == 0) {
            const auto inside = host.enter();
            work();
            [[maybe_unused]] const auto n = ::write(fds[1], "R", 1);
            for (;;) ::pause();
        }
        ::close(fds[1]);
        char ready = 0;
        EXPECT_EQ(::read(fds[0], &ready, 1), 1) << "the victim died";
        ::close(fds[0]);
    }
    ~Victim() { kill(); }
    Victim(const Victim&) = delete;
    Victim& operator=(const Victim&) = delete;
    void kill() {
        if (pid_ <= 0) return;
        ::kill(pid_, SIGKILL);
        ::waitpid(std::exchange(pid_, 0), nullptr, 0);
    }

  private:
    pid_t pid_ = 0;
};

// Waits for what a guardian or the kernel's cleanup does a moment later.
inline bool eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 500; ++i) {
        if (condition()) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
}

class Network {
  public:
    Network() {
        // Duplicate address detection would keep link-local addresses, and with them neighbour
        // discovery, out of use for two seconds.
        for (const Host* host : {&client, &a, &b}) {
            EXPECT_EQ(host->run("echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad"), 0);
        }
        EXPECT_EQ(client.run("ip link set lo up && ip link add br0 type bridge mcast_snooping 0 && "
                             "ip addr add 10.77.0.9/24 dev br0 && "
                             "ip addr add fd77::9/64 dev br0 nodad && ip link set br0 up"),
                  0);
        plug(a, "a", 1);
        plug(b, "b", 2);
    }
    // svc0 at host a.
    void add_service() const {
        EXPECT_EQ(a.run("ip link add link eth0 name svc0 type macvlan mode bridge && "
                        "ip link set svc0 address 02:00:00:77:00:01 && "
                        "ip addr add 10.77.0.100/24 dev svc0 && "
                        "ip addr add fd77::100/64 dev svc0 nodad && ip link set svc0 up && "
                        "ip route add 10.99.0.0/16 via 10.77.0.9 dev svc0 metric 7 mtu 1400"),
                  0);
        // The kernel adds the link-local address when it notices that the link is up.
        EXPECT_EQ(
            a.run("for i in $(seq 500); do ip -6 addr show dev svc0 scope link | grep -q fe80 && "
                  "exit 0; sleep 0.01; done; exit 1"),
            0);
    }
    Host client, a, b;

  private:
    void plug(const Host& host, const char* name, int number) const {
        EXPECT_EQ(client.run(fmt::format("ip link add p{0} type veth peer name eth0 netns {1} && "
                                         "ip link set p{0} master br0 up",
                                         name, host.pid())),
                  0);
        EXPECT_EQ(
            host.run(fmt::format("ip link set lo up && ip addr add 10.77.0.{0}/24 dev eth0 && "
                                 "ip addr add fd77::{0}/64 dev eth0 nodad && "
                                 "ip link set eth0 up",
                                 number)),
            0);
    }
};

// Two platforms that run containers: each host has a bridge cbr0 on its uplink.
//
//   client --- br0 --- a:eth0 --- cbr0 --- ctr77 --- eth0 of `container` (10.77.0.50, fd77::50)
//                  \-- b:eth0 --- cbr0               `other`, a namespace with nothing in it
//
// Neither container runs a program of its own: tests enter their namespaces.
class ContainerNetwork : public Network {
  public:
    ContainerNetwork() {
        for (const Host* host : {&a, &b}) {
            EXPECT_EQ(host->run("ip addr flush dev eth0 && "
                                "ip link add cbr0 type bridge mcast_snooping 0 && "
                                "ip link set eth0 master cbr0 && ip link set cbr0 up"),
                      0);
        }
        plug_in(a, container, "ctr77", kContainerMac);
        EXPECT_EQ(container.run("echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad && "
                                "ip link set lo up && ip link set eth0 mtu 1400 up && "
                                "ip addr add 10.77.0.50/24 brd + dev eth0 && "
                                "ip addr add fd77::50/64 dev eth0 nodad"),
                  0);
        EXPECT_TRUE(eventually([&] {
            return container.output("ip -6 addr show dev eth0 scope link").contains("fe80");
        }));
    }
    // A veth pair between a bridge of the host and the container.
    static void plug_in(const Host& host, const Host& inside, const char* name, const char* mac) {
        EXPECT_EQ(host.run(fmt::format("ip link add {0} type veth peer name eth0 address {1} "
                                       "netns {2} && ip link set {0} master cbr0 up",
                                       name, mac, inside.pid())),
                  0);
    }
    Host container, other;

    static constexpr const char* kContainer4 = "10.77.0.50";
    static constexpr const char* kContainer6 = "fd77::50";
    static constexpr const char* kContainerMac = "02:00:00:77:00:50";
};

inline IpAddress address(const char* text) {
    return must(IpAddress::parse(text));
}
inline const char* const kService4 = "10.77.0.100";
inline const char* const kService6 = "fd77::100";
inline const char* const kServiceMac = "02:00:00:77:00:01";

}  // namespace ferry::handover::lab
