#include "image/inventory_codec.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <set>
#include <string>

#include "image/process_codec.h"
#include "image/proto/inventory.pb.h"
#include "image/records.h"

namespace ferry::image {

namespace {

constexpr const char* kInventoryName = "inventory.img";
constexpr const char* kCgroupName = "cgroup.img";
constexpr const char* kExtraName = "ferry.json";

constexpr std::uint32_t kFormat11 = 2;
constexpr std::uint32_t kExtraVersion = 1;
// With connections, the restorer removes the table that network_lock.h names; else there is none.
constexpr std::uint32_t kNetworkLockNftables = 1, kNetworkLockSkip = 2;
// The dumper's own kernel objects and control groups; the tree's are numbered from here on.
constexpr std::uint32_t kDumperIds = 1, kDumperCgroupSet = 1;
constexpr std::uint64_t kNanosPerSecond = 1'000'000'000;
std::string clocks_name(std::uint32_t of) {
    return fmt::format("timens-{}.img", of);
}

constexpr int kCgroupSetsMax = 1 << 16, kCgroupMembersMax = 256;

}  // namespace

Result<> put_inventory(const model::Checkpoint& checkpoint, ImageStore& into) {
    wire::Inventory inventory;
    inventory.set_img_version(kFormat11);
    inventory.set_fdinfo_per_id(true);
    inventory.set_ns_per_id(true);
    ids_to_wire(kDumperIds, *inventory.mutable_root_ids());
    inventory.set_root_cg_set(kDumperCgroupSet);
    inventory.set_lsmtype(0);
    const bool connected = std::any_of(
        checkpoint.files.begin(), checkpoint.files.end(), [](const model::OpenFile& file) {
            const auto* socket = std::get_if<model::InetSocket>(&file.body);
            return socket != nullptr && socket->tcp.has_value();
        });
    inventory.set_network_lock_method(connected ? kNetworkLockNftables : kNetworkLockSkip);
    inventory.mutable_plugins_entry();
    return put_one(into, kInventoryName, Magic::Inventory, inventory);
}

Result<wire::KobjIds> get_inventory(const ImageStore& from) {
    wire::Inventory inventory;
    if (!TRY(get_one(from, kInventoryName, Magic::Inventory, inventory))) {
        return fail(Error::corrupt(
            fmt::format("not a directory of image files: there is no {}", kInventoryName)));
    }
    if (inventory.img_version() != kFormat11) {
        return fail(Error::unsupported(fmt::format("version {} of the image format (1.1 is {})",
                                                   inventory.img_version(), kFormat11)));
    }
    if (!inventory.fdinfo_per_id() || !inventory.has_root_ids()) {
        return fail(Error::unsupported("images of a CRIU before 2.0"));
    }
    if (inventory.tcp_close()) return fail(Error::unsupported("a dump made with --tcp-close"));
    if (inventory.plugins_entry().plugins_size() != 0) {
        return fail(Error::unsupported("a dump made with the CRIU plugin " +
                                       inventory.plugins_entry().plugins(0)));
    }
    return inventory.root_ids();
}

Result<> put_clocks(const model::Checkpoint& checkpoint, ImageStore& into) {
    wire::Timens clocks;
    const model::ClockTimes& seen = checkpoint.clocks.seen;
    clocks.mutable_monotonic()->set_tv_sec(seen.monotonic_ns / kNanosPerSecond);
    clocks.mutable_monotonic()->set_tv_nsec(seen.monotonic_ns % kNanosPerSecond);
    clocks.mutable_boottime()->set_tv_sec(seen.boottime_ns / kNanosPerSecond);
    clocks.mutable_boottime()->set_tv_nsec(seen.boottime_ns % kNanosPerSecond);
    const std::uint32_t of = checkpoint.clocks.own_namespace ? kOwnTimeNamespace : 0;
    return put_one(into, clocks_name(of), Magic::Timens, clocks);
}

Result<> get_clocks(const ImageStore& from, std::uint32_t of, model::Checkpoint& into) {
    const std::string name = clocks_name(of);
    wire::Timens clocks;
    if (!TRY(get_one(from, name, Magic::Timens, clocks))) return {};
    constexpr std::uint64_t kSecondsMax = std::uint64_t{1} << 33;
    for (const wire::Timespec& time : {clocks.monotonic(), clocks.boottime()}) {
        if (time.tv_sec() > kSecondsMax || time.tv_nsec() >= kNanosPerSecond) {
            return fail(Error::corrupt("a clock in " + name));
        }
    }
    into.clocks.seen = {
        .monotonic_ns =
            clocks.monotonic().tv_sec() * kNanosPerSecond + clocks.monotonic().tv_nsec(),
        .boottime_ns = clocks.boottime().tv_sec() * kNanosPerSecond + clocks.boottime().tv_nsec()};
    return {};
}

std::uint32_t CgroupSets::number_of(const std::vector<model::ControlGroup>& groups) {
    if (groups.empty()) return kDumperCgroupSet;
    auto found = std::find(sets_.begin(), sets_.end(), groups);
    if (found == sets_.end()) found = sets_.insert(sets_.end(), groups);
    return kDumperCgroupSet + 1 + static_cast<std::uint32_t>(found - sets_.begin());
}

Result<> CgroupSets::put(ImageStore& into) const {
    if (sets_.empty()) return {};
    wire::Cgroup cgroup;
    std::map<std::string, std::set<std::string>> directories;
    std::uint32_t number = kDumperCgroupSet;
    for (const std::vector<model::ControlGroup>& groups : sets_) {
        wire::CgroupSet& set = *cgroup.add_sets();
        set.set_id(++number);
        for (const model::ControlGroup& group : groups) {
            wire::CgroupMember& member = *set.add_ctls();
            member.set_name(group.controllers);
            member.set_path(group.path);
            directories[group.controllers].insert(group.path);
        }
    }
    for (const auto& [controllers, paths] : directories) {
        wire::CgroupController& controller = *cgroup.add_controllers();
        std::size_t begin = 0;
        while (begin <= controllers.size()) {
            const std::size_t end = std::min(controllers.find(',', begin), controllers.size());
            controller.add_cnames(controllers.substr(begin, end - begin));
            begin = end + 1;
        }
        for (const std::string& path : paths) controller.add_dirs()->set_dir_name(path);
    }
    return put_one(into, kCgroupName, Magic::Cgroup, cgroup);
}

Result<std::map<std::uint32_t, std::vector<model::ControlGroup>>> get_cgroups(
    const ImageStore& from) {
    std::map<std::uint32_t, std::vector<model::ControlGroup>> sets;
    wire::Cgroup cgroup;
    if (!TRY(get_one(from, kCgroupName, Magic::Cgroup, cgroup))) return sets;
    if (cgroup.sets_size() > kCgroupSetsMax) return fail(Error::limit("too many cgroup sets"));
    for (const wire::CgroupSet& set : cgroup.sets()) {
        if (set.ctls_size() > kCgroupMembersMax) return fail(Error::limit("too many controllers"));
        std::vector<model::ControlGroup>& groups = sets[set.id()];
        groups.clear();
        for (const wire::CgroupMember& member : set.ctls()) {
            groups.push_back({.controllers = member.name(), .path = member.path()});
        }
    }
    return sets;
}

Result<> put_extra(const wire::FerryCheckpoint& extra, ImageStore& into) {
    wire::FerryCheckpoint versioned = extra;
    versioned.set_version(kExtraVersion);
    versioned.set_written_by("ferry");
    google::protobuf::util::JsonPrintOptions options;
    options.add_whitespace = true;
    std::string text;
    const auto status = google::protobuf::util::MessageToJsonString(versioned, &text, options);
    if (!status.ok())
        return fail(Error::invalid(std::string(kExtraName) + ": " + status.ToString()));
    return into.put(kExtraName, os::as_bytes(text));
}

Result<wire::FerryCheckpoint> get_extra(const ImageStore& from) {
    wire::FerryCheckpoint extra;
    const std::optional<model::Bytes> bytes = TRY(from.get(kExtraName));
    if (!bytes) return extra;
    std::string text;
    for (const std::byte byte : *bytes) text.push_back(static_cast<char>(byte));
    google::protobuf::util::JsonParseOptions options;
    options.ignore_unknown_fields = true;
    const auto status = google::protobuf::util::JsonStringToMessage(text, &extra, options);
    if (!status.ok()) return fail(Error::corrupt(std::string(kExtraName) + " is no valid JSON"));
    if (extra.version() != kExtraVersion) {
        return fail(
            Error::unsupported(fmt::format("version {} of {}", extra.version(), kExtraName)));
    }
    return extra;
}

}  // namespace ferry::image
