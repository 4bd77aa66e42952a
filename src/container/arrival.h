// The files of a container at the destination: where they come to, and what becomes of them if it
// does not come after all (docs/decisions/0019).
//
// Beside each tree that is not the container's yet lies a mark, a file PATH.ferry-copy: what is in
// the tree is not current, nobody may count on it, and Ferry may overwrite it. A tree with a mark
// was left by an earlier migration, at the source of one that succeeded or by a host that failed
// in the middle of one. Without a mark nothing is overwritten that has anything in it.
//
//   prepare()  looks; nothing is made but directories for the test of shared_storage
//   begin()    the trees exist, marked
//   hold()     from here on they stay, marked, if we are killed
//   commit()   the marks are gone: these are the container's files
//
// Without commit() the destructor takes away all that begin() made; a process that outlives us does
// so when we are killed before hold(). A tree that had a mark keeps it, whatever is in it by then.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "container/container.h"
#include "container/file_trees.h"
#include "os/launch.h"

namespace ferry::container {

class Arrival {
  public:
    static Result<Arrival> prepare(Description description, std::vector<FileTree> trees,
                                   const std::string& runtime_root);
    Arrival(Arrival&&) noexcept = default;
    Arrival& operator=(Arrival&&) = delete;
    ~Arrival();

    // For each tree a path that exists only here, "" where there is none. Whoever sees it by the
    // same path has the same storage.
    [[nodiscard]] const std::vector<std::string>& probes() const { return probes_; }

    // `shared`: for each tree, whether the source sees its probe. The probes are gone afterwards.
    // Invalid: a tree has content that is not ours, or a container here runs on it.
    Result<> begin(const std::vector<bool>& shared);
    // The numbers of the trees that the source has to send, ascending.
    [[nodiscard]] const std::vector<std::uint32_t>& wanted() const { return wanted_; }

    void hold();
    void commit();

  private:
    enum class Found { Nothing, Empty, Copy, Foreign, Present };
    Arrival(Description description, std::vector<FileTree> trees, std::string runtime_root)
        : description_(std::move(description)),
          trees_(std::move(trees)),
          runtime_root_(std::move(runtime_root)) {}
    static Result<Found> look_at(const FileTree& tree);
    Result<> make_probe(const FileTree& tree);
    void remove_probes();
    Result<> check_unused(const FileTree& tree) const;
    // What begin() will make, before it does.
    Result<> plan();
    Result<> plan_tree(const FileTree& tree, Found found);
    Result<> plan_overlay(const FileTree& tree);
    void plan_directory(const std::string& path);
    Result<> make();
    Result<> make_bundle();
    void undo();

    Description description_;
    std::vector<FileTree> trees_;
    std::string runtime_root_;
    std::vector<Found> found_;
    std::vector<std::string> probes_;
    os::ChildProcess probe_guardian_;
    std::vector<std::uint32_t> wanted_;

    std::vector<std::string> directories_;          // to be made, in this order
    std::vector<std::vector<std::string>> mounts_;  // command lines
    std::vector<std::string> marks_;
    bool makes_config_ = false;
    std::vector<std::string> undoing_;  // command line; empty: nothing has been made
    std::string aside_;                 // the sign that it may have to be undone
    os::ChildProcess guardian_;
};

}  // namespace ferry::container
