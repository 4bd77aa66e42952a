// A record for tests of what is made of records. Its figures are invented: nothing measured them.
#pragma once

#include "lab/run_record.h"

namespace ferry::lab {

// A run of scenario 3 with both methods and one of "dirty"; every field is set.
[[nodiscard]] LabRecord sample_record_for_tests();

}  // namespace ferry::lab
