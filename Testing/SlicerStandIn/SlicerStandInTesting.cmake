# Tests that run inside Slicer, registered in ctest. After Slicer's SlicerMacroPythonTesting.

function(_slicer_standin_module_paths arguments result)
  set(paths)
  if(NOT "--disable-scripted-loadable-modules" IN_LIST arguments)
    list(APPEND paths ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR})
  endif()
  if(NOT "--disable-cli-modules" IN_LIST arguments)
    list(APPEND paths ${CMAKE_BINARY_DIR}/${Slicer_CLIMODULES_LIB_DIR})
  endif()
  if(NOT "--disable-loadable-modules" IN_LIST arguments)
    list(APPEND paths ${CMAKE_BINARY_DIR}/${Slicer_QTLOADABLEMODULES_LIB_DIR})
  endif()
  if(paths AND NOT "--disable-modules" IN_LIST arguments)
    list(APPEND arguments --additional-module-paths ${paths})
  endif()
  set(${result} ${arguments} PARENT_SCOPE)
endfunction()

function(slicer_add_python_test)
  cmake_parse_arguments(MY "" "TESTNAME_PREFIX;SCRIPT" "SLICER_ARGS;SCRIPT_ARGS" ${ARGN})
  get_filename_component(name ${MY_SCRIPT} NAME_WE)
  get_filename_component(script ${MY_SCRIPT} ABSOLUTE)
  _slicer_standin_module_paths("${MY_SLICER_ARGS}" arguments)
  ExternalData_add_test(${Slicer_ExternalData_DATA_MANAGEMENT_TARGET}
    NAME py_${MY_TESTNAME_PREFIX}${name}
    COMMAND ${Slicer_LAUNCHER_EXECUTABLE} --no-splash --testing ${arguments} --python-script ${script} ${MY_SCRIPT_ARGS}
    )
  set_tests_properties(py_${MY_TESTNAME_PREFIX}${name} PROPERTIES RUN_SERIAL TRUE SKIP_RETURN_CODE 77)
endfunction()

function(slicer_add_python_unittest)
  cmake_parse_arguments(MY "" "TESTNAME_PREFIX;SCRIPT" "SLICER_ARGS" ${ARGN})
  get_filename_component(name ${MY_SCRIPT} NAME_WE)
  get_filename_component(folder ${MY_SCRIPT} PATH)
  if("${folder}" STREQUAL "")
    set(folder ${CMAKE_CURRENT_SOURCE_DIR})
  endif()
  _slicer_standin_module_paths("${MY_SLICER_ARGS}" arguments)
  ExternalData_add_test(${Slicer_ExternalData_DATA_MANAGEMENT_TARGET}
    NAME py_${MY_TESTNAME_PREFIX}${name}
    COMMAND ${Slicer_LAUNCHER_EXECUTABLE} --no-splash --testing ${arguments}
      --python-code "import slicer.testing\\; slicer.testing.runUnitTest(['${CMAKE_CURRENT_BINARY_DIR}', '${folder}'], '${name}')"
    )
  set_tests_properties(py_${MY_TESTNAME_PREFIX}${name} PROPERTIES RUN_SERIAL TRUE SKIP_RETURN_CODE 77)
endfunction()
