# weir_library(NAME SOURCES ... [LIBS ...] [PC_LIBS ...]): folder NAME as static library weir_NAME.
# PC_LIBS: what only those who link it from outside have to be told.
function(weir_library name)
  cmake_parse_arguments(A "" "" "SOURCES;LIBS;PC_LIBS" ${ARGN})
  add_library(weir_${name} STATIC ${A_SOURCES})
  target_link_libraries(weir_${name} PUBLIC ${A_LIBS})
  install(TARGETS weir_${name} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(FILES ${CMAKE_SOURCE_DIR}/${name}/${name}.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/weir/${name})

  # pkg-config: weir-NAME requires what NAME links.
  set(pc_requires)
  foreach(lib ${A_LIBS})
    if(lib MATCHES "^weir_(.*)")
      list(APPEND pc_requires weir-${CMAKE_MATCH_1})
    elseif(lib MATCHES "^PkgConfig::(.*)")
      list(APPEND pc_requires ${${CMAKE_MATCH_1}_MODULE_NAME})
    endif()
  endforeach()
  list(JOIN pc_requires ", " pc_requires)
  list(JOIN A_PC_LIBS " " pc_libs)
  # Relative to the file itself, so that DESTDIR and cmake --install --prefix are true as well.
  file(RELATIVE_PATH up_to_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
  configure_file(${CMAKE_SOURCE_DIR}/cmake/weir.pc.in ${CMAKE_BINARY_DIR}/weir-${name}.pc @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/weir-${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endfunction()

# Every tests/unit/DIR/test_X.c is one cmocka executable that links weir_DIR and runs under ctest.
function(weir_unit_tests dir)
  file(GLOB srcs CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/${dir}/test_*.c)
  foreach(src ${srcs})
    get_filename_component(stem ${src} NAME_WE)
    string(REGEX REPLACE "^test_" "" short ${stem})
    set(target test_${dir}_${short})
    add_executable(${target} ${src})
    target_link_libraries(${target} PRIVATE weir_${dir} PkgConfig::CMOCKA)
    if(WEIR_SANITIZE)
      # Of instrumented code the test's own takes longer to optimize than it ever runs.
      target_compile_options(${target} PRIVATE -O0)
    endif()
    set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    add_test(NAME ${dir}/${short} COMMAND ${target} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${dir}/${short} PROPERTIES TIMEOUT 300)
  endforeach()
endfunction()

# Every fuzz/fuzz_DIR_X.c is one libFuzzer driver that links weir_DIR; corpus in fuzz/corpus/DIR_X.
function(weir_fuzzer src)
  get_filename_component(stem ${src} NAME_WE)
  string(REGEX MATCH "^fuzz_([a-z0-9]+)_" _ ${stem})
  add_executable(${stem} ${src})
  target_link_libraries(${stem} PRIVATE weir_${CMAKE_MATCH_1})
  target_link_options(${stem} PRIVATE -fsanitize=fuzzer)
  set_target_properties(${stem} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
endfunction()
