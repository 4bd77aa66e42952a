// Podman (4.3) as a program, and what it keeps around each of its containers: a monitor, conmon(8),
// that holds its standard streams and reaps its first process.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "container/podman_network.h"
#include "os/launch.h"

namespace ferry::container {

// What a monitor's command line says of its container.
struct Monitor {
    Pid pid;
    std::string id, name;
    std::string runtime;       // the path of the runtime's program
    std::string runtime_root;  // where that keeps states
    std::string log;           // a file on this host; empty: it goes elsewhere
    // Podman's program and its options, as it was called when it made the container.
    std::vector<std::string> podman;

    // Of one of these options; empty: it was not given.
    [[nodiscard]] std::string option(std::string_view key) const;
};
// By the container's name, or by its id or the first 12 digits of it at least.
Result<std::optional<Monitor>> find_monitor(std::string_view text);

// The container's configuration as Podman writes it into checkpoints (libpod's ContainerConfig).
struct PodmanConfig {
    std::string id, name;
    std::string image, image_id;         // empty: it was made of a directory (--rootfs)
    std::vector<std::string> volumes;    // the names of those that have one
    std::string runtime;                 // its name
    bool publishes_ports = false;        // at addresses of its host (-p)
    std::vector<std::string> obstacles;  // what of it Ferry does not carry, by name
};
// Corrupt, Limit.
Result<PodmanConfig> parse_podman_config(std::string_view text);

// What another host's Podman has to know to make the same container.
struct PodmanRecord {
    std::string version;                // of Podman
    std::string config, spec, network;  // documents of its own: of a checkpoint's archive
    std::string log;                    // Monitor::log
    std::vector<PodmanNetwork> networks;
    bool operator==(const PodmanRecord&) const = default;
};
std::string to_json(const PodmanRecord& record);
Result<PodmanRecord> podman_record_from_json(std::string_view text);

// "4.3.1". Invalid: there is no Podman here.
Result<std::string> podman_version(const std::vector<std::string>& podman);

// A command line that removes a container until there is none of that id: Podman's first attempt
// fails where its monitor has gone. Volumes without a name go with it. `devices`: device_names() of
// where it is plugged in.
[[nodiscard]] std::vector<std::string> podman_removal(const std::vector<std::string>& podman,
                                                      const std::string& id,
                                                      const std::vector<std::string>& volumes,
                                                      const std::string& devices);

// Those that we stand in for. Empty: Podman calls it itself.
struct RealPrograms {
    std::string runtime;
    std::string network;  // netavark
    std::string monitor;  // conmon
};

// A directory in which Podman finds us in the place of its runtime and of CRIU (podman_stand_in.h).
// It goes with this object; whoever needs it to go after our death, too, removes files() and
// directories().
class StandIns {
  public:
    // Empty.
    static Result<StandIns> make(const std::string& id);
    StandIns(StandIns&& other) noexcept;
    StandIns& operator=(StandIns&&) = delete;
    ~StandIns();

    // For the runtime of this name.
    Result<> fill(const std::string& runtime, const RealPrograms& real) const;

    [[nodiscard]] const std::string& directory() const { return directory_; }
    [[nodiscard]] std::string path(std::string_view name) const;
    // `podman ARGUMENTS...` that sees them.
    [[nodiscard]] std::vector<std::string> command(const std::vector<std::string>& podman,
                                                   std::vector<std::string> arguments) const;
    // Everything that is ever in it, and itself.
    [[nodiscard]] std::vector<std::string> files() const;
    [[nodiscard]] std::vector<std::string> directories() const;

  private:
    explicit StandIns(std::string directory) : directory_(std::move(directory)) {}
    [[nodiscard]] std::string configuration(const std::string& runtime,
                                            const RealPrograms& real) const;
    std::string directory_;
};

}  // namespace ferry::container
