// Trees of files at the destination: takes the steps that their source sends (files/records.h).
// Nothing outside of the trees is touched whatever it sends. Everything is changed in place: a file
// that is there stays the same file, so that descriptors and mappings of it remain good.
//
// One thread.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "files/records.h"
#include "files/tree_root.h"

namespace ferry::files {

class Incoming {
  public:
    // The trees are there.
    static Result<Incoming> open(const std::vector<TreePlace>& places);

    // Makes the nodes, and says of which files the content is not here: a file of the same size and
    // time of modification is taken for the same. Limit: there is not enough room on the disk.
    Result<std::vector<Wanted>> offer(std::span<const std::byte> frame);
    Result<> apply(std::span<const std::byte> frame);
    // All of it to the disks: syncfs(2).
    Result<> flush();

  private:
    struct Tree {
        TreeRoot root;
        std::set<std::string> named;           // what the source has, until Step::Only
        std::map<ino_t, std::string> claimed;  // by which name of several a file is used
        bool is_complete = false;
    };
    explicit Incoming(std::vector<Tree> trees) : trees_(std::move(trees)) {}

    Result<Tree*> tree(const Record& record);
    Result<bool> take_offer(const Record& record, Wanted& wanted);
    Result<bool> take_file(Tree& tree, const Record& record, Wanted& wanted);
    Result<> claim_room(Tree& tree, const Record& record, std::uint64_t has);
    Result<> take(const Record& record);
    Result<> put_node(Tree& tree, const Record& record);
    Result<> link(Tree& tree, const Node& node);
    Result<> move(Tree& tree, const Node& node);
    Result<> remove(Tree& tree, const std::string& path);
    Result<> write(Tree& tree, const Record& record);
    // Of the tree what the source has not named.
    Result<> prune(Tree& tree);
    Result<> prune_directory(Tree& tree, int directory, const std::string& path);

    std::vector<Tree> trees_;
    std::map<dev_t, std::uint64_t> needed_;  // bytes on each disk
    // Of the last write; others follow.
    std::uint32_t open_tree_ = 0;
    std::string open_path_;
    os::UniqueFd open_file_;
};

}  // namespace ferry::files
