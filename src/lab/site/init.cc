// The first process of the site's container: starts its daemons in order, reaps what is orphaned,
// and on SIGTERM ends them in reverse order. When one of them ends by itself so does the site.
// Statically linked and knowing nothing of Ferry: it runs inside the container.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>

namespace {

constexpr int kStartSeconds = 60, kStopSeconds = 20;
constexpr uid_t kMysql = 110;  // fill.sh makes this user

struct Daemon {
    const char* const* arguments;
    const char* socket;  // accepts connections once it is ready; nullptr: not waited for
    int stop_signal;     // the one that lets it finish what it has begun
    pid_t pid = 0;       // 0: does not run
};

constexpr const char* kMariadb[] = {"/usr/sbin/mariadbd", "--defaults-file=/etc/mysql/site.cnf",
                                    nullptr};
constexpr const char* kPhp[] = {"/usr/sbin/php-fpm8.2", "--nodaemonize", "--fpm-config",
                                "/etc/php/8.2/fpm/site.conf", nullptr};
constexpr const char* kNginx[] = {"/usr/sbin/nginx", "-g", "daemon off;", nullptr};
constexpr const char* kEcho[] = {"/usr/lib/ferry-site/udp-echo", nullptr};

using Daemons = std::array<Daemon, 4>;

sigset_t waited_signals() {
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGTERM, SIGINT, SIGCHLD}) sigaddset(&signals, signal);
    return signals;
}

// All output goes to a file of the container: nothing of the outside is held open.
void open_log() {
    const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);  // NOLINT(tidy): knows no os/
    const int log = ::open("/var/log/site.log",                  // NOLINT(tidy): knows no os/
                           O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    ::dup2(null, STDIN_FILENO);
    ::dup2(log, STDOUT_FILENO);
    ::dup2(log, STDERR_FILENO);
    for (const int fd : {null, log}) {
        if (fd > STDERR_FILENO) ::close(fd);
    }
}

// In a session of its own, with no signal blocked.
bool start(Daemon& daemon) {
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    // execve(2) does not write to its arguments; POSIX kept char* for old callers.
    const int error = ::posix_spawn(&daemon.pid, daemon.arguments[0], nullptr, &attributes,
                                    const_cast<char* const*>(daemon.arguments), environ);
    posix_spawnattr_destroy(&attributes);
    if (error == 0) return true;
    std::printf("%s: %s\n", daemon.arguments[0], std::strerror(error));
    daemon.pid = 0;
    return false;
}

bool accepts(const char* path) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    const bool accepted =
        ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    ::close(fd);
    return accepted;
}

// False if one of the daemons was among them.
bool reap(Daemons& daemons) {
    bool all_run = true;
    for (int status = 0;;) {
        const pid_t ended = ::waitpid(-1, &status, WNOHANG);
        if (ended <= 0) return all_run;
        for (Daemon& daemon : daemons) {
            if (daemon.pid != ended) continue;
            std::printf("%s ended with status %#x\n", daemon.arguments[0],
                        static_cast<unsigned>(status));
            daemon.pid = 0;
            all_run = false;
        }
    }
}

// The signal that came; 0 after the time.
int wait_signal(timespec timeout) {
    const sigset_t signals = waited_signals();
    const int signal = ::sigtimedwait(&signals, nullptr, &timeout);
    return signal < 0 ? 0 : signal;
}

bool start_all(Daemons& daemons) {
    for (Daemon& daemon : daemons) {
        if (!start(daemon)) return false;
        for (int tries = 0; daemon.socket != nullptr && !accepts(daemon.socket); ++tries) {
            const int signal = wait_signal({0, 50'000'000});
            const bool told_to_stop = signal == SIGTERM || signal == SIGINT;
            if (!reap(daemons) || told_to_stop || tries > kStartSeconds * 20) return false;
        }
    }
    return true;
}

void stop_all(Daemons& daemons) {
    for (auto daemon = daemons.rbegin(); daemon != daemons.rend(); ++daemon) {
        if (daemon->pid == 0) continue;
        ::kill(daemon->pid, daemon->stop_signal);
        for (int tries = 0; daemon->pid != 0 && tries < kStopSeconds * 10; ++tries) {
            static_cast<void>(wait_signal({0, 100'000'000}));
            static_cast<void>(reap(daemons));
        }
        // What does not end is killed by the kernel when we, the first process, do.
    }
}

}  // namespace

int main() {
    const sigset_t signals = waited_signals();
    ::sigprocmask(SIG_BLOCK, &signals, nullptr);
    open_log();
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    for (const char* directory : {"/run/mysqld", "/run/php"}) ::mkdir(directory, 0755);
    static_cast<void>(::chown("/run/mysqld", kMysql, kMysql));
    Daemons daemons = {Daemon{kMariadb, "/run/mysqld/mysqld.sock", SIGTERM},
                       Daemon{kPhp, "/run/php/fpm.sock", SIGQUIT}, Daemon{kNginx, nullptr, SIGQUIT},
                       Daemon{kEcho, nullptr, SIGTERM}};
    bool in_order = start_all(daemons);
    while (in_order) {
        const sigset_t all = waited_signals();
        const int signal = ::sigwaitinfo(&all, nullptr);
        if (signal == SIGTERM || signal == SIGINT) break;
        if (signal == SIGCHLD) in_order = reap(daemons);
    }
    stop_all(daemons);
    return in_order ? 0 : 1;
}
