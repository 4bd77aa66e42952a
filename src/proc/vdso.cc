#include "proc/vdso.h"

#include <unistd.h>
#include <xxhash.h>

#include <array>
#include <cstddef>

#include "os/memory.h"
#include "proc/process_directory.h"

namespace ferry::proc {

VdsoMappings find_vdso(const std::vector<MapsEntry>& maps) {
    VdsoMappings found;
    for (const MapsEntry& entry : maps) {
        if (entry.path == "[vdso]") found.text = entry.range;
        if (entry.path == "[vvar]" || entry.path == "[vvar_vclock]") {
            found.data.push_back(entry.range);
        }
    }
    return found;
}

Result<std::uint64_t> vdso_hash() {
    const Pid self{::getpid()};
    const ProcessDirectory directory = TRY(ProcessDirectory::open(self));
    const AddrRange text = find_vdso(TRY(directory.maps())).text;
    if (text.empty()) return 0;
    std::vector<std::byte> bytes(text.size());
    const std::array local = {iovec{.iov_base = bytes.data(), .iov_len = bytes.size()}};
    const std::array remote = {
        iovec{.iov_base = reinterpret_cast<void*>(text.start.value), .iov_len = text.size()}};
    if (TRY(os::process_vm_readv(self, local, remote)) != bytes.size()) {
        return fail(Error::corrupt("the vdso cannot be read"));
    }
    return XXH3_64bits(bytes.data(), bytes.size());
}

}  // namespace ferry::proc
