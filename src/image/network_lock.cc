#include "image/network_lock.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "base/limits.h"
#include "image/proto/inventory.pb.h"
#include "image/records.h"

namespace ferry::image {

namespace {

constexpr std::uint32_t kLockedByNftables = 1;
constexpr std::size_t kRunIdMax = 128;
// CRIU 4.2 cuts "inet NAME" after 31 characters.
constexpr std::size_t kNameMax = 26;

bool is_plain(const std::string& id) {
    return id.size() <= kRunIdMax && std::all_of(id.begin(), id.end(), [](unsigned char c) {
               return std::isalnum(c) != 0 || c == '-';
           });
}

}  // namespace

std::string network_lock_name(Pid root) {
    return fmt::format("CRIU-{}", root);
}

Result<std::string> read_network_lock(const ImageStore& from) {
    wire::Inventory inventory;
    if (!TRY(get_one(from, "inventory.img", Magic::Inventory, inventory))) {
        return fail(Error::corrupt("not a directory of image files: there is no inventory.img"));
    }
    if (inventory.network_lock_method() != kLockedByNftables) return std::string();
    if (!inventory.dump_criu_run_id().empty()) {
        if (!is_plain(inventory.dump_criu_run_id())) {
            return fail(Error::corrupt("inventory.img: the dump's run id"));
        }
        return ("CRIU-" + inventory.dump_criu_run_id()).substr(0, kNameMax);
    }
    const std::optional<model::Bytes> bytes = TRY(from.get("pstree.img"));
    if (!bytes) return fail(Error::corrupt("there is no pstree.img"));
    RecordReader reader = TRY(RecordReader::open("pstree.img", *bytes, Magic::Pstree));
    wire::PstreeEntry root;
    TRY(reader.next(root));
    if (root.pid() == 0 || root.pid() > limits::kTasksMax) {
        return fail(Error::corrupt("pstree.img: the root's pid"));
    }
    return network_lock_name(Pid{static_cast<pid_t>(root.pid())});
}

}  // namespace ferry::image
