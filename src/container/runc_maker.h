// A container that its runtime makes of a bundle of the host's.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "container/console.h"
#include "container/container.h"
#include "container/maker.h"
#include "os/fd.h"
#include "os/launch.h"

namespace ferry::container {

inline constexpr const char* kOutputDirectory = "/var/log/ferry";

class RuncMaker final : public Maker {
  public:
    // The sign that one of its containers is made here or undone (undoing.h).
    static constexpr const char* kAside = "bundle";

    // Invalid, one line: the bundle, its root file system or something that is to be mounted or
    // joined is missing, the bundle's config.json is not the source's, a standard stream cannot be
    // opened.
    static Result<std::unique_ptr<RuncMaker>> make(const Description& description, Runtime runtime,
                                                   const CreationOptions& options);
    ~RuncMaker() override;

    [[nodiscard]] const std::string& bundle() const override { return bundle_; }
    [[nodiscard]] const std::string& config() const override { return config_; }
    Result<Streams> take_streams() override { return std::move(streams_); }
    [[nodiscard]] Result<std::vector<files::TreePlace>> places(const std::vector<FileTree>& trees,
                                                               const Config& config) const override;
    Result<std::string> altered_bundle() override;
    Result<> create(const Runtime::Creation& creation) override;
    Result<> settle() override { return {}; }
    bool commit() override;

  private:
    RuncMaker(const Description& description, Runtime runtime, std::string bundle,
              const CreationOptions& options)
        : console_socket_(options.console_socket),
          give_console_(options.take_console),
          id_(description.id),
          config_(description.config),
          bundle_(std::move(bundle)),
          runtime_(std::move(runtime)) {}
    [[nodiscard]] Result<> check_bundle() const;
    Result<> open_streams(const Description& description, const CreationOptions& options);
    Result<> open_terminal(const std::string& output);
    Result<> take_console();
    void remove_aside();

    [[nodiscard]] std::string own_console_socket() const { return aside_ + "/console"; }

    // Of a container with a terminal: who gets its master; where neither is, we do.
    std::string console_socket_;
    std::function<Result<>(const os::UniqueFd&)> give_console_;
    os::UniqueFd output_;                   // then takes what is written to it
    std::optional<ConsoleSocket> console_;  // until the master has come

    bool has_terminal_ = false;
    std::string id_, config_, bundle_;
    Runtime runtime_;
    Streams streams_;
    std::string aside_;  // the directory of the altered configuration, while it exists
    os::UniqueFd held_;  // by us and by our guardian
    bool made_ = false;
    // Ends without doing anything when we end it.
    os::ChildProcess guardian_;
};

}  // namespace ferry::container
