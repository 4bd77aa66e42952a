// What describes the dump as a whole: inventory.img, cgroup.img, timens-0.img, ferry.json.
// Private to image/.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/error.h"
#include "image/proto/ferry.pb.h"
#include "image/proto/process.pb.h"
#include "image/store.h"
#include "model/checkpoint.h"

namespace ferry::image {

Result<> put_inventory(const model::Checkpoint& checkpoint, ImageStore& into);
// The namespaces of the dumper: a task with others is in namespaces of its own.
Result<wire::KobjIds> get_inventory(const ImageStore& from);

Result<> put_clocks(const model::Checkpoint& checkpoint, ImageStore& into);
// of: the number of the tree's time namespace; 0 where it has none of its own.
Result<> get_clocks(const ImageStore& from, std::uint32_t of, model::Checkpoint& into);

// The sets of control groups, numbered; processes with equal control groups have the same number.
class CgroupSets {
  public:
    std::uint32_t number_of(const std::vector<model::ControlGroup>& groups);
    Result<> put(ImageStore& into) const;

  private:
    std::vector<std::vector<model::ControlGroup>> sets_;
};
Result<std::map<std::uint32_t, std::vector<model::ControlGroup>>> get_cgroups(
    const ImageStore& from);

Result<> put_extra(const wire::FerryCheckpoint& extra, ImageStore& into);
// Empty where CRIU wrote the dump.
Result<wire::FerryCheckpoint> get_extra(const ImageStore& from);

}  // namespace ferry::image
