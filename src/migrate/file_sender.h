// The files of a container at the source: sent while it runs, and the last difference in the
// freeze. Internal to migrate/.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "container/container.h"
#include "container/file_trees.h"
#include "files/outgoing.h"
#include "migrate/link.h"
#include "model/checkpoint.h"

namespace ferry::migrate {

// What is open for writing in these trees, and what is mapped so.
[[nodiscard]] std::vector<files::Suspect> suspects_in(const std::vector<container::FileTree>& trees,
                                                      const model::Checkpoint& checkpoint);

class FileSender {
  public:
    // Which files the container lives on; nothing is read yet.
    static Result<FileSender> open(const container::Container& container);
    // For the Hello.
    [[nodiscard]] std::string description() const { return container::to_json(trees_); }
    // Answers the destination's Storage: what it sees as we do is not sent.
    Result<> agree(Link& link);

    // `on_sent` is called after each frame with the bytes so far; an error ends the pass.
    using OnSent = std::function<Result<>(std::uint64_t bytes)>;
    Result<files::Moved> send_all(Link& link, const OnSent& on_sent);
    // Nothing of the container runs; `checkpoint` is of now.
    Result<files::Moved> send_last(Link& link, const model::Checkpoint& checkpoint);

    // Of the trees that are sent.
    [[nodiscard]] const std::vector<files::TreePlace>& places() const { return places_; }
    // Those among them that stay here when the container has gone.
    [[nodiscard]] std::vector<files::TreePlace> left() const {
        return container::left_places(trees_);
    }

  private:
    explicit FileSender(std::vector<container::FileTree> trees) : trees_(std::move(trees)) {}
    std::vector<container::FileTree> trees_;  // after agree(): those that are sent
    std::vector<files::TreePlace> places_;
    std::optional<files::Outgoing> outgoing_;
};

}  // namespace ferry::migrate
