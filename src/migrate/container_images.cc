#include "migrate/container_images.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "os/fd.h"

namespace ferry::migrate {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kContainerFile = "ferry-container.json";
constexpr const char* kTmpfsFile = "ferry-tmpfs.tar";

std::string text_of(const model::Bytes& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Json encode(const JoinedNetwork& joined) {
    Json services = Json::array();
    for (const handover::HoldTarget& service : joined.services) {
        services.push_back({{"address", service.address.to_string()}, {"port", service.port}});
    }
    return {{"lock", joined.lock}, {"services", services}};
}

Result<JoinedNetwork> decode_joined(const Json& json) {
    JoinedNetwork joined{.lock = json.at("lock").get<std::string>(), .services = {}};
    for (const Json& service : json.at("services")) {
        joined.services.push_back(
            {.address = TRY(handover::IpAddress::parse(service.at("address").get<std::string>())),
             .port = service.at("port").get<std::uint16_t>()});
    }
    return joined;
}

// The two documents are read by those who wrote them.
Result<ContainerImages> parse(const std::string& text) {
    try {
        const Json json = Json::parse(text);
        const int version = json.at("version").get<int>();
        if (version != kContainerImagesVersion) {
            return fail(Error::unsupported(fmt::format("version {}, where this Ferry reads {}",
                                                       version, kContainerImagesVersion)));
        }
        ContainerImages images;
        images.description = TRY(container::description_from_json(json.at("container").dump()));
        if (json.contains("joined_network")) {
            images.joined = TRY(decode_joined(json["joined_network"]));
        } else {
            images.network = TRY(handover::decode_network(json.at("network").dump()));
        }
        if (json.contains("files")) {
            images.trees =
                TRY(container::file_trees_from_json(json["files"].dump(), images.description));
        }
        return images;
    } catch (const Json::exception& error) {
        return fail(Error::corrupt(error.what()));
    }
}

}  // namespace

Result<> write_container(const ContainerImages& images, image::ImageStore& into) {
    Json json = {
        {"version", kContainerImagesVersion},
        {"container", Json::parse(container::to_json(images.description))},
    };
    if (images.joined) {
        json["joined_network"] = encode(*images.joined);
    } else {
        json["network"] = Json::parse(handover::encode_network(images.network));
    }
    if (!images.trees.empty()) json["files"] = Json::parse(container::to_json(images.trees));
    TRY(into.put(kContainerFile,
                 os::as_bytes(json.dump(2, ' ', false, Json::error_handler_t::replace))));
    return into.put(kTmpfsFile, os::as_bytes(images.tmpfs));
}

Result<std::optional<ContainerImages>> read_container(const image::ImageStore& from) {
    const auto text = TRY(from.get(kContainerFile));
    if (!text) return std::optional<ContainerImages>();
    ContainerImages images = TRY(with_context(parse(text_of(*text)), kContainerFile));
    const auto tmpfs = TRY(from.get(kTmpfsFile));
    if (!tmpfs) return fail(Error::corrupt(fmt::format("{} is missing", kTmpfsFile)));
    images.tmpfs = text_of(*tmpfs);
    return std::optional(std::move(images));
}

}  // namespace ferry::migrate
