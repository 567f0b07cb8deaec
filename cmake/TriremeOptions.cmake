# Language, warnings and build switches. Every option is listed here and nowhere else.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

option(TRIREME_BUILD_TESTS "Build the test suite" ON)
option(TRIREME_BUILD_FUZZERS "Build the libFuzzer targets (clang only)" OFF)
option(TRIREME_GPU_BOX "Build what a machine with a CUDA toolkit and little else can: see cmake/TriremeGpuBox.cmake" OFF)
# No GPU has run the CUDA backend yet; it is built where nvcc is, so that it goes on compiling.
set(TRIREME_CUDA "AUTO" CACHE STRING "Build the CUDA backend: ON, OFF or AUTO (when nvcc is found)")
set_property(CACHE TRIREME_CUDA PROPERTY STRINGS AUTO ON OFF)
set(TRIREME_SANITIZE "" CACHE STRING "Sanitizers, as in -fsanitize=: e.g. address,undefined or thread")

find_program(TRIREME_CCACHE ccache)
if(TRIREME_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${TRIREME_CCACHE})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${TRIREME_CCACHE})
endif()

add_library(trireme_flags INTERFACE)
target_compile_options(trireme_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Werror -Wshadow -Wnon-virtual-dtor -Wno-missing-field-initializers>)
target_compile_options(trireme_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CUDA>:-Werror all-warnings --expt-relaxed-constexpr -Xcompiler=-Wall>)
# GCC 12 at -O3 reports overflows inside std::string and fmt that cannot happen (its bugs 105329 and 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(trireme_flags INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict -Wno-stringop-overflow -Wno-array-bounds>)
endif()
target_include_directories(trireme_flags INTERFACE ${CMAKE_SOURCE_DIR})
if(TRIREME_BUILD_FUZZERS)
  target_compile_options(trireme_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(TRIREME_SANITIZE)
  target_compile_options(trireme_flags INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${TRIREME_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all>)
  # GCC's flow analysis loses itself in the checks that a sanitizer adds.
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    target_compile_options(trireme_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-maybe-uninitialized>)
  endif()
  target_link_options(trireme_flags INTERFACE -fsanitize=${TRIREME_SANITIZE})
  # GCC says of each fence in other people's headers (Asio's) that the thread sanitizer does not follow it.
  if(TRIREME_SANITIZE MATCHES "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(trireme_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-tsan>)
  endif()
endif()
