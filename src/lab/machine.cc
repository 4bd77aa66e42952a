#include "lab/machine.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <ctime>

#include "lab/command.h"
#include "lab/platform.h"
#include "os/fd.h"
#include "proc/system_tables.h"
#include "proc/tables.h"
#include "proc/text.h"

namespace ferry::lab {
namespace {

constexpr std::chrono::seconds kTimeout{10};

std::string first_line(const std::string& path) {
    const std::string text = os::read_file(path).value_or("");
    return text.substr(0, text.find('\n'));
}

int count_processors(std::string_view cpuinfo) {
    int count = 0;
    while (!cpuinfo.empty()) {
        if (proc::take_until(cpuinfo, '\n').starts_with("processor")) ++count;
    }
    return count;
}

// "model name\t: AMD EPYC": find_field wants the key without its blanks.
std::string processor_model(std::string_view cpuinfo) {
    return std::string(proc::find_field(cpuinfo, "model name\t"));
}

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

}  // namespace

MachineRecord describe_machine() {
    MachineRecord machine;
    machine.kernel = first_line("/proc/sys/kernel/osrelease");
    const std::string cpuinfo = os::read_file("/proc/cpuinfo").value_or("");
    machine.cpu = processor_model(cpuinfo);
    machine.cpus = count_processors(cpuinfo);
    const std::string meminfo = os::read_file("/proc/meminfo").value_or("");
    machine.memory = proc::parse_memory_total(meminfo).value_or(0);
    machine.date = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
    return machine;
}

std::vector<ProgramVersion> program_versions(const std::string& rootfs) {
    const auto ask = [](const std::string& program, std::vector<std::string> command) {
        os::Launch launch;
        launch.arguments = std::move(command);
        return ask_version(program, std::move(launch));
    };
    const std::string ferry = program_directory().value_or("") + "/ferry";
    std::vector<ProgramVersion> versions = {ask("ferry", {ferry, "--version"}),
                                            ask("runc", {"runc", "--version"})};
    for (const char* directory : {"/usr/sbin", "/usr/bin"}) {
        for (const std::string& name : os::list_directory(os::kCwd, rootfs + directory)
                                           .value_or(std::vector<std::string>())) {
            const bool php = name.starts_with("php-fpm");
            if (!php && name != "nginx" && name != "mariadbd" && name != "redis-server") continue;
            // nginx and PHP know -v only.
            const char* option = php || name == "nginx" ? "-v" : "--version";
            versions.push_back(
                ask(php ? "php-fpm" : name, {"chroot", rootfs, directory + ("/" + name), option}));
        }
    }
    return versions;
}

std::string find_version(std::string_view text) {
    for (std::size_t at = 0; at + 2 < text.size(); ++at) {
        const bool begins =
            at == 0 || std::string_view(" \t\n/=v(").find(text[at - 1]) != std::string_view::npos;
        if (!begins || !is_digit(text[at])) continue;
        const std::size_t end = std::min(text.find_first_of(" \t\n,);", at), text.size());
        const std::string_view word = text.substr(at, end - at);
        const std::size_t point = word.find('.');
        if (point != std::string_view::npos && point + 1 < word.size() &&
            is_digit(word[point + 1])) {
            return std::string(word);
        }
    }
    return "";
}

ProgramVersion ask_version(const std::string& program, os::Launch launch) {
    const Result<CommandResult> result = run(std::move(launch), kTimeout);
    if (!result) return {program, "not there"};
    const std::string version = find_version(result->out + "\n" + result->err);
    return {program, version.empty() ? "unknown" : version};
}

}  // namespace ferry::lab
