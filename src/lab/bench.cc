#include "lab/bench.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "base/cleanup.h"
#include "base/elapsed.h"
#include "lab/display.h"
#include "lab/interrupt.h"
#include "lab/report_file.h"
#include "lab/two_platforms.h"

namespace ferry::lab {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kWarmUp{1500};
constexpr milliseconds kAftermath{1500};
constexpr milliseconds kDumpTimeout{300000};
// On the world's tmpfs, so that no disk is measured.
constexpr const char* kImages = "/run/lab/images";

double gib_per_second(std::uint64_t bytes, double ms) {
    return ms > 0 ? static_cast<double>(bytes) / (1024.0 * 1024 * 1024) / (ms / 1000) : 0;
}

// One crossing of a size, by one of the engines.
struct Pause {
    double longest_ms = 0;
    double dump_ms = 0, restore_ms = 0;  // CRIU only
    std::optional<Crossing> crossing;    // Ferry only
    Verification verification;
    bool good = false;
    std::string error;
};

struct Transfer {
    std::uint64_t bytes = 0;  // of the image files
    double dump_ms = 0, restore_ms = 0;
    std::string error;
};

class Bench {
  public:
    explicit Bench(const BenchOptions& options) : options_(options) {}

    Result<bool> run() {
        bool good = true;
        nlohmann::json pauses = nlohmann::json::array();
        display_.print(
            fmt::format("Longest pause of a client, Redis under {:.0f} random 1 KiB writes/s\n"
                        "{:>10} {:>12} {:>12} {:>7} {:>12} {:>9} {:>10} {:>15}\n",
                        options_.writes_per_second, "size", "Ferry", "CRIU", "ratio", "crossing",
                        "GiB/s", "frozen", "workers' memory"));
        for (const std::uint64_t mib : options_.sizes_mib) {
            const Pause ferry = TRY(measure(mib, false));
            const Pause criu = options_.criu.empty() ? Pause{} : TRY(measure(mib, true));
            good = good && ferry.good;
            display_.print(pause_row(mib, ferry, criu));
            pauses.push_back(pause_json(mib, ferry, criu));
        }
        nlohmann::json report = {{"writes_per_second", options_.writes_per_second},
                                 {"pauses", pauses}};
        if (options_.dump_mib > 0) TRY(dump_and_restore(report));
        if (!options_.json_path.empty()) {
            TRY(write_report(options_.json_path, report));
            display_.print(fmt::format("report: {}\n", options_.json_path));
        }
        return good;
    }

  private:
    Result<std::unique_ptr<TwoPlatforms>> set_up(std::uint64_t mib) {
        auto lab = TRY(TwoPlatforms::create());
        guard_.watch(&lab->world());
        TRY(lab->start_service(mib, {}, [&](double share) {
            display_.progress(fmt::format("{} MiB: filling redis, {:.0f} %", mib, share * 100));
        }));
        return lab;
    }

    Result<Pause> measure(std::uint64_t mib, bool with_criu) {
        auto lab = TRY(set_up(mib));
        const Cleanup unwatch = [&] { guard_.watch(nullptr); };
        LoadOptions load;
        load.writes_per_second = options_.writes_per_second;
        TRY(lab->start_load(load));
        std::this_thread::sleep_for(kWarmUp);
        display_.progress(fmt::format("{} MiB: {}", mib, with_criu ? "CRIU" : "Ferry"));
        Pause pause;
        if (with_criu) {
            TRY(cross_with_criu(*lab, pause));
        } else {
            pause.crossing = TRY(lab->migrate(0, 1));
            pause.longest_ms = pause.crossing->clients.longest_pause();
            pause.error = pause.crossing->report.error;
        }
        display_.progress(fmt::format("{} MiB: reading every key back", mib));
        const Result<> ended = lab->load().stop();
        if (!ended) {
            pause.error = ended.error().message();
            return pause;
        }
        pause.verification = TRY(lab->load().verify());
        pause.good = pause.error.empty() && pause.verification.good();
        return pause;
    }

    // Stop-and-copy on one host, without any network in between: dump to tmpfs and restore from it.
    Result<> cross_with_criu(TwoPlatforms& lab, Pause& pause) {
        Host& host = lab.platform(0).host();
        TRY(host.run_checked({"mkdir", "-p", kImages}, kDumpTimeout));
        static_cast<void>(lab.load().take_window());
        const auto start = Clock::now();
        const CommandResult dumped = TRY(host.run(criu_dump(lab.service()), kDumpTimeout));
        pause.dump_ms = elapsed_ms(start);
        if (dumped.status != 0) {
            pause.error = fmt::format("criu dump ended with {}: {}", dumped.status, dumped.err);
            return {};
        }
        const auto middle = Clock::now();
        const CommandResult restored = TRY(host.run(criu_restore(), kDumpTimeout));
        pause.restore_ms = elapsed_ms(middle);
        if (restored.status != 0) {
            pause.error =
                fmt::format("criu restore ended with {}: {}", restored.status, restored.err);
            return {};
        }
        // The first replies come when TCP tries again.
        std::this_thread::sleep_for(kAftermath);
        pause.longest_ms = lab.load().take_window().longest_pause();
        return {};
    }

    [[nodiscard]] std::vector<std::string> criu_dump(Pid pid) const {
        return {options_.criu,
                "dump",
                "-t",
                fmt::format("{}", pid),
                "-D",
                kImages,
                "--tcp-established",
                "--network-lock",
                "nftables",
                "-o",
                "dump.log"};
    }
    [[nodiscard]] std::vector<std::string> criu_restore() const {
        return {options_.criu,        "restore",        "-D",       kImages, "--tcp-established",
                "--restore-detached", "--network-lock", "nftables", "-o",    "restore.log"};
    }

    Result<> dump_and_restore(nlohmann::json& report) {
        const Transfer ferry = TRY(transfer(false));
        const Transfer criu = options_.criu.empty() ? Transfer{} : TRY(transfer(true));
        display_.print(
            fmt::format("Dump to and restore from tmpfs, one process of {} MiB\n"
                        "{:>10} {:>12} {:>9} {:>12} {:>9}\n",
                        options_.dump_mib, "", "dump", "GiB/s", "restore", "GiB/s"));
        for (const auto& [name, result] : {std::pair("Ferry", ferry), std::pair("CRIU", criu)}) {
            if (std::string_view(name) == "CRIU" && options_.criu.empty()) continue;
            if (!result.error.empty()) {
                display_.print(fmt::format("{:>10} {}\n", name, result.error));
                continue;
            }
            display_.print(fmt::format("{:>10} {:>9.0f} ms {:>9.2f} {:>9.0f} ms {:>9.2f}\n", name,
                                       result.dump_ms, gib_per_second(result.bytes, result.dump_ms),
                                       result.restore_ms,
                                       gib_per_second(result.bytes, result.restore_ms)));
            report["dump"][name] = {{"image_bytes", result.bytes},
                                    {"dump_ms", result.dump_ms},
                                    {"restore_ms", result.restore_ms}};
        }
        return {};
    }

    // Redis without clients, dumped and restored where it was.
    Result<Transfer> transfer(bool with_criu) {
        auto lab = TRY(set_up(options_.dump_mib));
        const Cleanup unwatch = [&] { guard_.watch(nullptr); };
        Platform& platform = lab->platform(0);
        Host& host = platform.host();
        TRY(host.run_checked({"mkdir", "-p", kImages}, kDumpTimeout));
        display_.progress(fmt::format("dump and restore: {}", with_criu ? "CRIU" : "Ferry"));
        const std::vector<std::string> dump =
            with_criu ? criu_dump(lab->service())
                      : platform.ferry({"dump", "-t", fmt::format("{}", lab->service()), "-D",
                                        kImages, "--tcp-established", "-o", "dump.log"});
        const std::vector<std::string> restore =
            with_criu ? criu_restore()
                      : platform.ferry({"restore", "-D", kImages, "--tcp-established",
                                        "--restore-detached", "-o", "restore.log"});
        Transfer result;
        auto start = Clock::now();
        const CommandResult dumped = TRY(host.run(dump, kDumpTimeout));
        result.dump_ms = elapsed_ms(start);
        if (dumped.status != 0) {
            result.error = fmt::format("dump ended with {}: {}", dumped.status, dumped.err);
            return result;
        }
        std::error_code error;
        for (const auto& file : std::filesystem::directory_iterator(host.path(kImages), error)) {
            result.bytes += file.is_regular_file(error) ? file.file_size(error) : 0;
        }
        start = Clock::now();
        const CommandResult restored = TRY(host.run(restore, kDumpTimeout));
        result.restore_ms = elapsed_ms(start);
        if (restored.status != 0) {
            result.error = fmt::format("restore ended with {}: {}", restored.status, restored.err);
        } else if (TRY(lab->copies()) != 1) {
            result.error = "the restored service does not run";
        }
        return result;
    }

    static std::string pause_row(std::uint64_t mib, const Pause& ferry, const Pause& criu) {
        if (!ferry.good) {
            return fmt::format("{:>6} MiB FAILED: {}\n", mib,
                               ferry.error.empty() ? "writes were lost" : ferry.error);
        }
        const migrate::Report& report = ferry.crossing->report;
        const bool paired = criu.longest_ms > 0 && criu.error.empty();
        std::string row = fmt::format("{:>6} MiB {:>9.1f} ms ", mib, ferry.longest_ms);
        row += paired ? fmt::format("{:>9.1f} ms {:>6.1f}x ", criu.longest_ms,
                                    criu.longest_ms / ferry.longest_ms)
                      : fmt::format("{:>12} {:>7} ", criu.error.empty() ? "-" : "failed", "-");
        row += fmt::format("{:>9.0f} ms {:>9.2f} {:>7.1f} ms {:>15}\n", report.total_ms,
                           gib_per_second(mib << 20, report.total_ms), report.frozen_ms,
                           fmt::format("{}/{}", human_bytes(report.worker_memory_peak_source),
                                       human_bytes(report.worker_memory_peak_destination)));
        if (!criu.error.empty()) row += fmt::format("           CRIU: {}\n", criu.error);
        return row;
    }

    static nlohmann::json pause_json(std::uint64_t mib, const Pause& ferry, const Pause& criu) {
        nlohmann::json json = {{"mib", mib}, {"good", ferry.good}};
        json["ferry"] = {{"longest_pause_ms", ferry.longest_ms}, {"error", ferry.error}};
        if (ferry.crossing) json["ferry"]["crossing"] = to_json(*ferry.crossing);
        json["ferry"]["verification"] = to_json(ferry.verification);
        if (criu.longest_ms > 0 || !criu.error.empty()) {
            json["criu"] = {{"longest_pause_ms", criu.longest_ms},
                            {"dump_ms", criu.dump_ms},
                            {"restore_ms", criu.restore_ms},
                            {"error", criu.error}};
        }
        return json;
    }

    const BenchOptions options_;
    Display display_;
    InterruptGuard guard_;
};

}  // namespace

Result<bool> run_bench(const BenchOptions& options) {
    Bench bench(options);
    return bench.run();
}

}  // namespace ferry::lab
