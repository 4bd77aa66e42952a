#include "lab/writer_service.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/cleanup.h"
#include "lab/oci_config.h"
#include "lab/platform.h"
#include "lab/report_file.h"
#include "lab/site.h"
#include "os/paths.h"

namespace ferry::lab {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;
constexpr milliseconds kTimeout{60000};
constexpr milliseconds kRetry{100};
constexpr const char* kProgram = "ferry-dirty-writer";
constexpr const char* kResult = "/result";  // in the container

Result<> build(const std::string& directory, const std::string& program) {
    std::error_code error;
    fs::create_directory(directory + "/rootfs", error);
    if (!error) {
        fs::copy_file(program, fmt::format("{}/rootfs/{}", directory, kProgram), error);
    }
    if (error) return fail(Error::system(error.value(), "make " + directory));
    TRY(os::chmod(directory, 0755));
    return write_report(directory + "/config.json",
                        service_config("writer", {fmt::format("/{}", kProgram)}));
}

// In the cache, under a name that says what is in it.
Result<std::string> writer_bundle(const std::string& cache) {
    const std::string program = TRY(program_directory()) + "/" + kProgram;
    const std::string content = TRY(os::read_file(program));
    const std::string bundle = fmt::format("{}/writer-{:016x}", fs::absolute(cache).string(),
                                           XXH3_64bits(content.data(), content.size()));
    if (read_config(bundle)) return bundle;
    std::error_code error;
    fs::create_directories(cache, error);
    if (error) return fail(Error::system(error.value(), "make the cache " + cache));
    const std::string building = TRY(os::mkdtemp(bundle + ".building-"));
    const Cleanup remove = [&] { fs::remove_all(building, error); };
    TRY(build(building, program));
    // Another lab may have been faster, with the same.
    const Result<> named = os::rename(building, bundle);
    if (!named && !read_config(bundle)) return fail(named.error());
    return bundle;
}

Result<> wait_for_answer(const SiteLab& lab) {
    const std::string ip = lab.address(0);
    const auto probe = TRY(UdpProbe::start(lab.client(), {.ip = ip, .port = kSiteEchoPort}));
    const auto begun = Clock::now();
    while (probe->window(begun, Clock::now()).received == 0) {
        if (Clock::now() > begun + kTimeout) {
            return fail(Error::limit(fmt::format("nothing answers at {}, port 7", ip)));
        }
        std::this_thread::sleep_for(kRetry);
    }
    return {};
}

}  // namespace

Result<std::unique_ptr<SiteLab>> start_writer(SiteLabOptions lab, const WriterOptions& options,
                                              InterruptGuard& guard) {
    lab.service = "writer";
    lab.bundle = TRY(writer_bundle(options.cache));
    lab.site_memory = 0;
    for (PlatformSize& size : lab.platforms) size = {};
    lab.arguments = {fmt::format("/{}", kProgram), fmt::format("{}", options.mib),
                     fmt::format("{}", options.mib_per_second), "0.0.0.0", kResult};
    std::unique_ptr<SiteLab> made = TRY(SiteLab::create(lab, guard));
    TRY(made->start_containers(1, 1));
    TRY(wait_for_answer(*made));
    return made;
}

Result<std::string> end_writer(SiteLab& lab) {
    const Container& container = lab.container(0);
    const Host& host = container.host();
    TRY(runc_checked(host, {"kill", container.name(), "TERM"}, kTimeout));
    const auto end = Clock::now() + kTimeout;
    while (TRY(container.status()) == "running") {
        if (Clock::now() > end) return "the service does not end";
        std::this_thread::sleep_for(kRetry);
    }
    const CommandResult told =
        TRY(host.run({"cat", container.directory() + "/rootfs" + kResult}, kTimeout));
    if (told.out.starts_with("PASS")) return "";
    const std::string said = told.out.substr(0, told.out.find('\n'));
    return said.empty() ? "the service says nothing at its end" : said;
}

}  // namespace ferry::lab
