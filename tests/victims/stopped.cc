// Children that are stopped stay so until they get SIGCONT. A stop that the parent has waited for
// is not reported again, one that it has not is, and no SIGCHLD comes for either.
#include <sys/wait.h>

#include <atomic>
#include <string>
#include <thread>

#include "victim.h"

namespace {

volatile sig_atomic_t g_children = 0;

char state_of(pid_t pid) {
    const std::string path = "/proc/" + std::to_string(pid) + "/stat";
    FILE* file = std::fopen(path.c_str(), "r");
    char state = '?';
    if (file != nullptr) {
        if (std::fscanf(file, "%*d (%*[^)]) %c", &state) != 1) state = '?';
        std::fclose(file);
    }
    return state;
}

pid_t start(bool with_thread) {
    const pid_t child = fork();
    if (child != 0) return child;
    signal(SIGTERM, SIG_DFL);
    signal(SIGCHLD, SIG_DFL);
    if (with_thread) {
        std::thread([] {
            for (std::atomic<int> i = 0;;) ++i;
        }).detach();
    }
    for (;;) pause();
}

void stop(pid_t pid, int signal) {
    usleep(20'000);
    kill(pid, signal);
    while (state_of(pid) != 'T') usleep(1000);
}

void notice(pid_t pid) {
    while (waitpid(pid, nullptr, WUNTRACED) < 0) {
    }
}

void expect_stopped(const char* who, pid_t pid, int signal) {
    if (state_of(pid) != 'T') victim::fail("%s: state %c", who, state_of(pid));
    int status = 0;
    const pid_t found = waitpid(pid, &status, WUNTRACED | WNOHANG);
    if (signal == 0 && found != 0) victim::fail("%s: reported again", who);
    if (signal != 0 && (found != pid || !WIFSTOPPED(status) || WSTOPSIG(status) != signal)) {
        victim::fail("%s: not reported: %#x", who, status);
    }
}

void expect_end(const char* who, pid_t pid) {
    kill(pid, SIGTERM);
    usleep(20'000);
    if (state_of(pid) != 'T') victim::fail("%s: runs by itself", who);
    kill(pid, SIGCONT);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0) {
    }
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGTERM) victim::fail("%s: %#x", who, status);
}

}  // namespace

int main() {
    victim::arm();
    struct sigaction counting = {};
    counting.sa_handler = [](int) { g_children = g_children + 1; };
    sigaction(SIGCHLD, &counting, nullptr);
    const pid_t noticed = start(false), fresh = start(false), threads = start(true);
    setpgid(fresh, fresh);
    stop(noticed, SIGSTOP);
    notice(noticed);
    stop(fresh, SIGTSTP);
    stop(threads, SIGSTOP);
    notice(threads);
    for (int i = 0; i < 10; ++i) usleep(10'000);  // which each SIGCHLD ends
    const int before = g_children;
    victim::wait_for_end();
    if (g_children != before) victim::fail("%d SIGCHLD", g_children - before);
    expect_stopped("noticed", noticed, 0);
    expect_stopped("fresh", fresh, SIGTSTP);
    expect_stopped("with a thread", threads, 0);
    expect_end("noticed", noticed);
    expect_end("fresh", fresh);
    expect_end("with a thread", threads);
    victim::pass();
}
