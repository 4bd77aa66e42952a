#include "lab/report_file.h"

#include <fcntl.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "os/fd.h"

namespace ferry::lab {

Result<> write_report(const std::string& path, const nlohmann::json& report) {
    return write_text(path,
                      report.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

Result<> write_text(const std::string& path, std::string_view text) {
    // Where the directory cannot be made, opening the file says why.
    std::error_code ignored;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
    os::UniqueFd file = TRY(os::open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644));
    TRY(os::write_all(file.get(), os::as_bytes(text)));
    return std::move(file).close();
}

}  // namespace ferry::lab
