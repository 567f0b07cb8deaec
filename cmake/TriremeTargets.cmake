# The ways to declare a target, so that every folder declares them alike.
include(GoogleTest)

# trireme_library(NAME SOURCES a.cc ... [DEPS lib ...] [PRIVATE_DEPS lib ...])
function(trireme_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC trireme_flags ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
endfunction()

# trireme_binary(NAME SOURCES main.cc ... [DEPS lib ...])
function(trireme_binary name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE trireme_flags ${ARG_DEPS})
endfunction()

# trireme_test(NAME LABEL unit|ops|multiproc|e2e|sim|gpu SOURCES a.cc ... [DEPS lib ...] [TIMEOUT s])
# One gtest binary, registered as one ctest entry with one label. TIMEOUT only ends what hangs: no test's passing hangs on it.
function(trireme_test name)
  cmake_parse_arguments(ARG "" "LABEL;TIMEOUT" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE trireme_flags ${ARG_DEPS} GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE
    TRIREME_SOURCE_DIR="${CMAKE_SOURCE_DIR}" TRIREME_BIN_DIR="${CMAKE_BINARY_DIR}/bin")
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 900)
  endif()
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT})
endfunction()
