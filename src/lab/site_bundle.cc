#include "lab/site_bundle.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "base/cleanup.h"
#include "lab/command.h"
#include "lab/oci_config.h"
#include "lab/report_file.h"
#include "os/flock.h"
#include "os/namespace.h"
#include "os/process.h"

// The recipe, a tar archive (src/lab/CMakeLists.txt).
extern "C" const char site_recipe_begin[], site_recipe_end[];

namespace ferry::lab {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr const char* kSuite = "bookworm";
// `php` and `systemd-standalone-tmpfiles` are named so that apache2 and systemd are not taken for
// them, mariadb-server-core because mariadb-server brings its own cluster tools and perl.
constexpr const char* kPackages =
    "nginx,php,php8.2-fpm,systemd-standalone-tmpfiles,mariadb-server-core,wordpress,"
    "wordpress-theme-twentytwentyone";
// What no request ever reads.
constexpr std::array kExcluded = {
    "/usr/share/man/*",    "/usr/share/doc/*",      "/usr/share/locale/*",  "/usr/share/info/*",
    "/usr/bin/aria_*",     "/usr/bin/myisam*",      "/usr/share/lintian/*", "/usr/share/bug/*",
    "/usr/bin/mysql[!_]*", "/usr/bin/mariadb-[!i]*"};
constexpr std::chrono::minutes kBuildTimeout{15};
// The finished root has 420 MiB, the packages on their way into it 120.
constexpr std::uintmax_t kRoomMib = 700;

std::string_view recipe() {
    return {site_recipe_begin, static_cast<std::size_t>(site_recipe_end - site_recipe_begin)};
}

// Of everything that decides what the bundle holds.
std::string key() {
    std::string all(recipe());
    all += fmt::format("{} {} {}", kSuite, kPackages, site_config().dump());
    for (const char* path : kExcluded) all += path;
    return fmt::format("{:016x}", XXH3_64bits(all.data(), all.size()));
}

std::vector<std::string> mmdebstrap(const std::string& directory, const std::string& mirror) {
    // What it says about its progress goes to its standard error.
    std::vector<std::string> line = {"sh",
                                     "-c",
                                     "exec \"$@\" 2>&1",
                                     "sh",
                                     "mmdebstrap",
                                     "--mode=root",
                                     "--variant=essential",
                                     "--components=main",
                                     fmt::format("--include={}", kPackages),
                                     "--aptopt=APT::Install-Recommends \"false\"",
                                     "--aptopt=Acquire::Languages \"none\"",
                                     "--aptopt=Acquire::Retries \"2\"",
                                     "--dpkgopt=force-unsafe-io"};
    for (const char* path : kExcluded) {
        line.push_back(fmt::format("--dpkgopt=path-exclude={}", path));
    }
    line.push_back(fmt::format("--customize-hook=tar-in {}/recipe.tar /", directory));
    line.push_back("--customize-hook=chroot \"$1\" /usr/lib/ferry-site/fill.sh");
    line.insert(line.end(), {kSuite, directory + "/rootfs", mirror});
    return line;
}

// The one line of all that was printed which says what a person can act upon.
std::string reason(const std::string& printed) {
    const auto has = [&](const char* text) { return printed.find(text) != std::string::npos; };
    std::istringstream lines(printed);
    std::string first;
    for (std::string line; std::getline(lines, line);) {
        // mmdebstrap's own errors only say which of its steps apt's or dpkg's stopped.
        const bool error = line.starts_with("E: ") || line.starts_with("dpkg: error");
        if (first.empty() && error && !line.ends_with("failed")) first = line.substr(3);
    }
    if (has("No space left on device")) return "no room is left on the device";
    for (const char* text :
         {"Temporary failure resolving", "Could not connect", "Unable to connect",
          "Network is unreachable", "Could not resolve", "Connection timed out"}) {
        if (has(text)) return "no network, or no Debian mirror at this address";
    }
    if (!first.empty()) return first;
    return printed.substr(printed.size() - std::min<std::size_t>(printed.size(), 300));
}

Result<> check_room(const std::string& cache) {
    std::error_code error;
    const fs::space_info space = fs::space(cache, error);
    if (error || space.available >> 20 >= kRoomMib) return {};
    return fail(Error::limit(fmt::format("no room in {}: a build needs {} MiB, {} are free", cache,
                                         kRoomMib, space.available >> 20)));
}

Result<> remove_tree(const std::string& directory) {
    std::error_code error;
    fs::remove_all(directory, error);
    if (!error) return {};
    return fail(Error::system(error.value(), fmt::format("remove {}", directory)));
}

// mmdebstrap mounts and starts programs: with a process and a mount namespace of their own all of
// it goes with one SIGKILL, ours included.
Result<os::NamespaceHolder> start_workshop() {
    os::NamespaceInit init;
    init.new_namespaces = CLONE_NEWPID | CLONE_NEWNS;
    init.mounts = {{"proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "", false}};
    return os::start_namespace(init);
}

using OnProgress = std::function<void(const std::string&)>;

Result<> fill(const std::string& directory, const std::string& mirror,
              const os::NamespaceHolder& workshop, const OnProgress& progress) {
    const os::UniqueFd tar =
        TRY(os::open(directory + "/recipe.tar", O_WRONLY | O_CREAT | O_TRUNC, 0600));
    TRY(os::write_all(tar.get(), os::as_bytes(recipe())));
    os::Launch launch;
    launch.arguments = mmdebstrap(directory, mirror);
    launch.namespaces_of = workshop.pidfd.get();
    launch.namespaces = CLONE_NEWPID | CLONE_NEWNS;
    const auto begun = Clock::now();
    const CommandResult built =
        TRY(run(std::move(launch), kBuildTimeout, {}, [&](const std::string& line) {
            if (!progress || !line.starts_with("I: ")) return;
            const auto seconds =
                std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - begun).count();
            progress(fmt::format("building the site, {} s: {}", seconds, line.substr(3)));
        }));
    if (built.status == 127) {
        return fail(Error::system(ENOENT, "mmdebstrap is not installed, run tools/setup"));
    }
    if (built.status != 0) return fail(Error::peer(reason(built.out)));
    TRY(write_report(directory + "/config.json", site_config()));
    return os::unlinkat(os::kCwd, directory + "/recipe.tar");
}

Result<os::UniqueFd> lock(const std::string& cache, const OnProgress& progress) {
    os::UniqueFd file = TRY(os::open(cache + "/lock", O_RDWR | O_CREAT, 0644));
    while (!TRY(os::try_flock(file.get()))) {
        if (progress) progress("waiting for another build in " + cache);
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
    return file;
}

}  // namespace

std::string default_cache() {
    const char* base = std::getenv("XDG_CACHE_HOME");
    return base != nullptr && *base == '/' ? std::string(base) + "/ferry" : "/var/cache/ferry";
}

Result<SiteBundle> build_site(const SiteBuildOptions& options, InterruptGuard& guard,
                              const OnProgress& progress) {
    if (::geteuid() != 0) return fail(Error::invalid("building the site needs root"));
    const std::string cache = fs::absolute(options.cache.empty() ? default_cache() : options.cache);
    SiteBundle bundle;
    bundle.directory = fmt::format("{}/site-{}", cache, key());
    std::error_code error;
    fs::create_directories(cache, error);
    if (error) return fail(Error::system(error.value(), "make the cache " + cache));
    // From here on a signal ends the program at once, with more to do where there is more.
    guard.watch([] {});
    const Cleanup unwatch = [&] { guard.watch(nullptr); };
    const os::UniqueFd locked = TRY(lock(cache, progress));
    if (!options.rebuild && read_config(bundle.directory)) {
        bundle.was_cached = true;
        return bundle;
    }
    const auto begun = Clock::now();
    const std::string building = bundle.directory + ".building";
    TRY(remove_tree(building));  // of a build that was killed
    TRY(check_room(cache));
    TRY(os::mkdirat(os::kCwd, building, 0755));
    const os::NamespaceHolder workshop = TRY(start_workshop());
    const auto clear_up = [&] {
        static_cast<void>(os::kill(workshop.pid, SIGKILL));
        ::waitpid(workshop.pid.value, nullptr, __WALL);
        static_cast<void>(remove_tree(building));
    };
    guard.watch(clear_up);
    const Cleanup close_workshop = [&] {
        guard.watch([] {});
        clear_up();
    };
    TRY(with_context(fill(building, options.mirror, workshop, progress), "build of the site"));
    TRY(remove_tree(bundle.directory));
    std::error_code moved;
    fs::rename(building, bundle.directory, moved);
    if (moved) return fail(Error::system(moved.value(), "rename " + building));
    bundle.seconds = std::chrono::duration<double>(Clock::now() - begun).count();
    return bundle;
}

}  // namespace ferry::lab
