#include "image/store.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "os/directory.h"
#include "os/file_tree.h"

namespace ferry::image {

namespace {

Result<> check_name(const std::string& name) {
    const bool bad = name.empty() || name.size() > 200 || name == "." || name == ".." ||
                     name.find('/') != std::string::npos || name.find('\0') != std::string::npos;
    if (bad) return fail(Error::invalid("\"" + name + "\" is no name of an image file"));
    return {};
}

std::string temporary_name(const std::string& name) {
    return "." + name + ".part";
}

bool is_missing(const Error& error) {
    return error.kind() == Error::Kind::System && error.code() == ENOENT;
}

}  // namespace

Result<> MemoryStore::put(const std::string& name, std::span<const std::byte> content) {
    TRY(check_name(name));
    files_[name].assign(content.begin(), content.end());
    return {};
}

Result<std::optional<model::Bytes>> MemoryStore::get(const std::string& name) const {
    const auto found = files_.find(name);
    if (found == files_.end()) return std::optional<model::Bytes>();
    return std::optional<model::Bytes>(found->second);
}

Result<std::vector<std::string>> MemoryStore::names() const {
    std::vector<std::string> names;
    names.reserve(files_.size());
    for (const auto& file : files_) names.push_back(file.first);
    return names;
}

std::uint64_t MemoryStore::bytes() const {
    std::uint64_t sum = 0;
    for (const auto& file : files_) sum += file.second.size();
    return sum;
}

Result<DirectoryStore> DirectoryStore::open(const std::string& path) {
    os::UniqueFd directory =
        TRY(with_context(os::open(path, O_RDONLY | O_DIRECTORY), "images directory"));
    return DirectoryStore(std::move(directory));
}

DirectoryStore::~DirectoryStore() {
    for (const std::string& name : uncommitted_) {
        // Best effort; a file that cannot be removed has a name that says what it is.
        static_cast<void>(os::unlinkat(directory_.get(), temporary_name(name)));
    }
}

Result<> DirectoryStore::probe_writable() {
    const std::string name = temporary_name("probe");
    TRY(with_context(os::openat(directory_.get(), name, O_WRONLY | O_CREAT | O_NOFOLLOW, 0600),
                     "images directory"));
    return os::unlinkat(directory_.get(), name);
}

Result<os::UniqueFd> DirectoryStore::create(const std::string& name) {
    TRY(check_name(name));
    os::UniqueFd file = TRY(os::openat(directory_.get(), temporary_name(name),
                                       O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
    if (std::find(uncommitted_.begin(), uncommitted_.end(), name) == uncommitted_.end()) {
        uncommitted_.push_back(name);
    }
    return file;
}

Result<> DirectoryStore::link(const std::string& name, const std::string& target) {
    TRY(check_name(name));
    static_cast<void>(os::unlinkat(directory_.get(), temporary_name(name)));
    TRY(os::symlinkat(target, directory_.get(), temporary_name(name)));
    uncommitted_.push_back(name);
    return {};
}

Result<> DirectoryStore::put(const std::string& name, std::span<const std::byte> content) {
    os::UniqueFd file = TRY(create(name));
    TRY(with_context(os::write_all(file.get(), content), "writing " + name));
    return with_context(std::move(file).close(), "writing " + name);
}

Result<std::optional<model::Bytes>> DirectoryStore::get(const std::string& name) const {
    Result<os::UniqueFd> file = open_file(name);
    if (!file) {
        if (is_missing(file.error())) return std::optional<model::Bytes>();
        return fail(std::move(file.error()));
    }
    const struct stat status = TRY(os::fstat(file->get()));
    if (!S_ISREG(status.st_mode)) return fail(Error::corrupt(name + " is not a regular file"));
    const auto size = static_cast<std::uint64_t>(status.st_size);
    if (size > kStoredFileBytesMax) {
        return fail(Error::limit(
            fmt::format("{} has {} bytes, more than {}", name, size, kStoredFileBytesMax)));
    }
    model::Bytes content(size);
    TRY(with_context(os::pread_all(file->get(), content, 0), "reading " + name));
    return std::optional<model::Bytes>(std::move(content));
}

Result<std::vector<std::string>> DirectoryStore::names() const {
    std::vector<std::string> names = TRY(os::list_directory(directory_.get(), "."));
    std::sort(names.begin(), names.end());
    return names;
}

Result<os::UniqueFd> DirectoryStore::open_file(const std::string& name) const {
    TRY(check_name(name));
    return os::openat(directory_.get(), name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
}

Result<> DirectoryStore::commit() {
    for (std::size_t i = 0; i < uncommitted_.size(); ++i) {
        const std::string& name = uncommitted_[i];
        Result<> renamed =
            os::renameat(directory_.get(), temporary_name(name), directory_.get(), name);
        if (renamed) continue;
        for (std::size_t done = 0; done < i; ++done) {
            static_cast<void>(os::unlinkat(directory_.get(), uncommitted_[done]));
        }
        return fail(std::move(renamed.error()));
    }
    uncommitted_.clear();
    return {};
}

}  // namespace ferry::image
