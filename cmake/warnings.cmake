# The warning set of the whole tree; generated code (protobuf) is compiled without it.
add_library(ferry_warnings INTERFACE)
target_compile_options(ferry_warnings INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast -Wnon-virtual-dtor
  -Wimplicit-fallthrough -Werror
  # GCC 12 reports false positives inside <expected> and std::variant at -O2.
  $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
