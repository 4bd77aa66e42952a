# add_blob(NAME LINKER_SCRIPT src...): a flat, position-independent, freestanding image and a library
# NAME_blob that embeds it between NAME_blob_begin and NAME_blob_end (docs/format/blob_abi.md).
# add_freestanding_program(NAME LINKER_SCRIPT src...): the same for a program that the kernel can execute.
set(FERRY_BLOB_FLAGS -std=c++20 -ffreestanding -fno-exceptions -fno-rtti -fpie -fvisibility=hidden -O2
    -fno-stack-protector -fno-asynchronous-unwind-tables -fno-threadsafe-statics
    -fcf-protection=none -fno-builtin -fno-tree-loop-distribute-patterns -mgeneral-regs-only
    -Wall -Wextra -Werror)

# Compiles and links to ${BLOB}.elf; embeds the file IMAGE, which COMMAND makes of it.
function(embed_freestanding BLOB LDS)
  cmake_parse_arguments(F "" "IMAGE" "SOURCES;COMMAND" ${ARGN})
  add_library(${BLOB}_obj OBJECT ${F_SOURCES})
  set_target_properties(${BLOB}_obj PROPERTIES CXX_EXTENSIONS ON POSITION_INDEPENDENT_CODE OFF
                        CXX_STANDARD 20)
  target_compile_options(${BLOB}_obj PRIVATE ${FERRY_BLOB_FLAGS})
  target_include_directories(${BLOB}_obj PRIVATE ${CMAKE_SOURCE_DIR}/src)
  set(BLOB_BIN ${CMAKE_CURRENT_BINARY_DIR}/${F_IMAGE})
  add_custom_command(OUTPUT ${BLOB_BIN}
    COMMAND ${CMAKE_LINKER} -pie --no-dynamic-linker -z noexecstack -z norelro
            --orphan-handling=error --no-warn-rwx-segments -T ${LDS}
            $<TARGET_OBJECTS:${BLOB}_obj> -o ${BLOB}.elf
    COMMAND ${F_COMMAND}
    DEPENDS ${BLOB}_obj $<TARGET_OBJECTS:${BLOB}_obj> ${LDS} COMMAND_EXPAND_LISTS VERBATIM)
  configure_file(${CMAKE_SOURCE_DIR}/cmake/blob_image.S.in ${BLOB}_image.S @ONLY)
  set_source_files_properties(${CMAKE_CURRENT_BINARY_DIR}/${BLOB}_image.S
    PROPERTIES OBJECT_DEPENDS ${BLOB_BIN})
  add_library(${BLOB}_blob STATIC ${CMAKE_CURRENT_BINARY_DIR}/${BLOB}_image.S)
endfunction()

function(add_blob BLOB LDS)
  embed_freestanding(${BLOB} ${LDS} IMAGE ${BLOB}.bin SOURCES ${ARGN}
    COMMAND ${CMAKE_OBJCOPY} -O binary -j .blob ${BLOB}.elf ${BLOB}.bin)
endfunction()

function(add_freestanding_program PROGRAM LDS)
  embed_freestanding(${PROGRAM} ${LDS} IMAGE ${PROGRAM}.stripped SOURCES ${ARGN}
    COMMAND ${CMAKE_STRIP} -o ${PROGRAM}.stripped ${PROGRAM}.elf)
endfunction()
