# add_blob(NAME LINKER_SCRIPT src...): a flat, position-independent, freestanding image and a library
# NAME_blob that embeds it between NAME_blob_begin and NAME_blob_end (docs/format/blob_abi.md).
set(FERRY_BLOB_FLAGS -std=c++20 -ffreestanding -fno-exceptions -fno-rtti -fpie -fvisibility=hidden -O2
    -fno-stack-protector -fno-asynchronous-unwind-tables -fno-threadsafe-statics
    -fcf-protection=none -fno-builtin -fno-tree-loop-distribute-patterns -mgeneral-regs-only
    -Wall -Wextra -Werror)
function(add_blob BLOB LDS)
  add_library(${BLOB}_obj OBJECT ${ARGN})
  set_target_properties(${BLOB}_obj PROPERTIES CXX_EXTENSIONS ON POSITION_INDEPENDENT_CODE OFF
                        CXX_STANDARD 20)
  target_compile_options(${BLOB}_obj PRIVATE ${FERRY_BLOB_FLAGS})
  target_include_directories(${BLOB}_obj PRIVATE ${CMAKE_SOURCE_DIR}/src)
  set(BLOB_BIN ${CMAKE_CURRENT_BINARY_DIR}/${BLOB}.bin)
  add_custom_command(OUTPUT ${BLOB_BIN}
    COMMAND ${CMAKE_LINKER} -pie --no-dynamic-linker -z noexecstack -z norelro
            --orphan-handling=error --no-warn-rwx-segments -T ${LDS}
            $<TARGET_OBJECTS:${BLOB}_obj> -o ${BLOB}.elf
    COMMAND ${CMAKE_OBJCOPY} -O binary -j .blob ${BLOB}.elf ${BLOB_BIN}
    DEPENDS ${BLOB}_obj $<TARGET_OBJECTS:${BLOB}_obj> ${LDS} COMMAND_EXPAND_LISTS VERBATIM)
  configure_file(${CMAKE_SOURCE_DIR}/cmake/blob_image.S.in ${BLOB}_image.S @ONLY)
  set_source_files_properties(${CMAKE_CURRENT_BINARY_DIR}/${BLOB}_image.S
    PROPERTIES OBJECT_DEPENDS ${BLOB_BIN})
  add_library(${BLOB}_blob STATIC ${CMAKE_CURRENT_BINARY_DIR}/${BLOB}_image.S)
endfunction()
