#include "resources/ipc_settings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <string>

#include "os/fd.h"
#include "proc/text.h"

namespace ferry::resources {
namespace {

using model::IpcSettings;

constexpr const char* kSemaphores = "/proc/sys/kernel/sem";

struct Setting {
    const char* file;
    std::uint64_t IpcSettings::* value;
};
constexpr std::array kSettings = {
    Setting{"/proc/sys/kernel/msgmax", &IpcSettings::msgmax},
    Setting{"/proc/sys/kernel/msgmnb", &IpcSettings::msgmnb},
    Setting{"/proc/sys/kernel/msgmni", &IpcSettings::msgmni},
    Setting{"/proc/sys/kernel/shmmax", &IpcSettings::shmmax},
    Setting{"/proc/sys/kernel/shmall", &IpcSettings::shmall},
    Setting{"/proc/sys/kernel/shmmni", &IpcSettings::shmmni},
    Setting{"/proc/sys/kernel/shm_rmid_forced", &IpcSettings::shm_rmid_forced},
    Setting{"/proc/sys/fs/mqueue/queues_max", &IpcSettings::queues_max},
    Setting{"/proc/sys/fs/mqueue/msg_max", &IpcSettings::msg_max},
    Setting{"/proc/sys/fs/mqueue/msgsize_max", &IpcSettings::msgsize_max},
    Setting{"/proc/sys/fs/mqueue/msg_default", &IpcSettings::msg_default},
    Setting{"/proc/sys/fs/mqueue/msgsize_default", &IpcSettings::msgsize_default},
};

Result<std::uint64_t> next_number(std::string_view& text, const char* file) {
    const auto number = proc::to_number<std::uint64_t>(proc::take_word(text));
    if (number) return *number;
    return fail(Error::corrupt(fmt::format("{} is no number", file)));
}

Result<> write(const IpcSettings& wanted) {
    const IpcSettings now = TRY(read_ipc_settings());
    for (const Setting& setting : kSettings) {
        if (now.*setting.value == wanted.*setting.value) continue;
        TRY(os::write_file(os::kCwd, setting.file, fmt::format("{}", wanted.*setting.value)));
    }
    if (now.sem == wanted.sem) return {};
    return os::write_file(os::kCwd, kSemaphores, fmt::format("{}", fmt::join(wanted.sem, " ")));
}

}  // namespace

Result<IpcSettings> read_ipc_settings() {
    IpcSettings settings;
    for (const Setting& setting : kSettings) {
        const std::string text = TRY(os::read_file(setting.file));
        std::string_view line = std::string_view(text).substr(0, text.find('\n'));
        settings.*setting.value = TRY(next_number(line, setting.file));
    }
    const std::string text = TRY(os::read_file(kSemaphores));
    std::string_view line = std::string_view(text).substr(0, text.find('\n'));
    for (std::uint64_t& value : settings.sem) value = TRY(next_number(line, kSemaphores));
    return settings;
}

Result<> loosen_ipc_settings(const IpcSettings& wanted) {
    IpcSettings loose = TRY(read_ipc_settings());
    const std::uint64_t forced = loose.shm_rmid_forced;
    for (const Setting& setting : kSettings) {
        loose.*setting.value = std::max(loose.*setting.value, wanted.*setting.value);
    }
    loose.shm_rmid_forced = forced;
    for (std::size_t i = 0; i < loose.sem.size(); ++i) {
        loose.sem[i] = std::max(loose.sem[i], wanted.sem[i]);
    }
    return write(loose);
}

Result<> settle_ipc_settings(const IpcSettings& wanted) {
    return write(wanted);
}

}  // namespace ferry::resources
