# The parts that a GPU box can build: a machine with a CUDA toolkit, CMake, ninja and a compiler, and no MPI, ZeroMQ, protobuf,
# prometheus-cpp, yaml-cpp, OpenSSL or Boost. Kernels, collectives inside a process and over NCCL, the plan, the worker, their
# tests and the benches of ops and engine need only headers: fmt, spdlog, nlohmann-json, CLI11 and GoogleTest's sources, which
# tools/gpu_deps.sh unpacks into .gpu_deps/ from the distribution's packages. Header-only forms, so that no binary of one
# distribution meets another's C library.

set(TRIREME_GPU_DEPS ${CMAKE_SOURCE_DIR}/.gpu_deps/usr CACHE PATH "Where include/ and src/googletest of the header-only parts are")
if(NOT EXISTS ${TRIREME_GPU_DEPS}/include/fmt/core.h)
  message(FATAL_ERROR "TRIREME_GPU_BOX: ${TRIREME_GPU_DEPS} holds no headers; run tools/gpu_deps.sh where the Debian packages can be fetched")
endif()

# Each part sees its own folder of headers under the build, so that nothing else of .gpu_deps shadows the machine's.
function(trireme_header_part target folders)
  set(root ${CMAKE_BINARY_DIR}/gpu_deps/${target})
  string(REPLACE "::" "_" root ${root})
  file(MAKE_DIRECTORY ${root})
  foreach(folder ${folders})
    file(CREATE_LINK ${TRIREME_GPU_DEPS}/include/${folder} ${root}/${folder} SYMBOLIC)
  endforeach()
  add_library(${target} INTERFACE IMPORTED GLOBAL)
  target_include_directories(${target} SYSTEM INTERFACE ${root})
endfunction()

trireme_header_part(fmt::fmt fmt)
target_compile_definitions(fmt::fmt INTERFACE FMT_HEADER_ONLY)
trireme_header_part(spdlog::spdlog spdlog)
target_compile_definitions(spdlog::spdlog INTERFACE SPDLOG_FMT_EXTERNAL)
target_link_libraries(spdlog::spdlog INTERFACE fmt::fmt)
trireme_header_part(nlohmann_json::nlohmann_json nlohmann)
trireme_header_part(CLI11::CLI11 CLI)

if(TRIREME_BUILD_TESTS)
  set(googletest ${TRIREME_GPU_DEPS}/src/googletest)
  add_library(gtest STATIC ${googletest}/googletest/src/gtest-all.cc)
  target_include_directories(gtest SYSTEM PUBLIC ${googletest}/googletest/include PRIVATE ${googletest}/googletest)
  target_link_libraries(gtest PUBLIC Threads::Threads)
  add_library(gmock STATIC ${googletest}/googlemock/src/gmock-all.cc)
  target_include_directories(gmock SYSTEM PUBLIC ${googletest}/googlemock/include PRIVATE ${googletest}/googlemock)
  target_link_libraries(gmock PUBLIC gtest)
  add_library(gtest_main STATIC ${googletest}/googlemock/src/gmock_main.cc)
  target_link_libraries(gtest_main PUBLIC gmock)
  add_library(GTest::gtest ALIAS gtest)
  add_library(GTest::gmock ALIAS gmock)
  add_library(GTest::gtest_main ALIAS gtest_main)
endif()

message(STATUS "GPU box: left out for want of MPI: comm_mpi, launch; of ZeroMQ and protobuf: wire; of Boost, OpenSSL and PCRE2: text, coordinator, router")
message(STATUS "GPU box: left out with them: the trireme command (its benches of ops and engine are binaries of their own) and metrics")
