# Scripts and resources: to the build tree, byte-compiled, installed. After CTK's ctkMacroCompilePythonScript and
# Slicer's slicerMacroBuildScriptedModule.

# NAME lists its files relative to SOURCE_DIR; they keep their folders below DESTINATION_DIR.
function(ctkMacroCompilePythonScript)
  cmake_parse_arguments(MY "NO_INSTALL_SUBDIR;GLOBAL_TARGET" "TARGET_NAME;SOURCE_DIR;DESTINATION_DIR;INSTALL_DIR"
    "SCRIPTS;RESOURCES" ${ARGN})
  foreach(name IN ITEMS TARGET_NAME SCRIPTS DESTINATION_DIR INSTALL_DIR)
    if(NOT DEFINED MY_${name})
      message(FATAL_ERROR "ctkMacroCompilePythonScript: ${name} is mandatory")
    endif()
  endforeach()
  if(NOT DEFINED MY_SOURCE_DIR)
    set(MY_SOURCE_DIR ${CMAKE_CURRENT_SOURCE_DIR})
  endif()

  set(scripts)
  foreach(file IN LISTS MY_SCRIPTS)
    if(NOT file MATCHES "\\.py$")
      string(APPEND file ".py")
    endif()
    list(APPEND scripts ${file})
  endforeach()

  # The files of one kind, copied by a target of its own. A source that is missing has no rule: the build fails.
  foreach(kind IN ITEMS Script Resource)
    set(files ${scripts})
    if(kind STREQUAL "Resource")
      set(files ${MY_RESOURCES})
    endif()
    set(copies)
    foreach(file IN LISTS files)
      set(copy ${MY_DESTINATION_DIR}/${file})
      add_custom_command(OUTPUT ${copy}
        DEPENDS ${MY_SOURCE_DIR}/${file}
        COMMAND ${CMAKE_COMMAND} -E copy ${MY_SOURCE_DIR}/${file} ${copy}
        )
      list(APPEND copies ${copy})
    endforeach()
    if(copies)
      add_custom_target(Copy${MY_TARGET_NAME}Python${kind}Files ALL DEPENDS ${copies})
    endif()
  endforeach()

  # Each script gets a .pyc beside it, not in __pycache__. One that does not compile is told and let pass.
  list(TRANSFORM scripts PREPEND ${MY_DESTINATION_DIR}/)
  string(REPLACE ";" "\n" lines "${scripts}")
  set(list_file ${CMAKE_CURRENT_BINARY_DIR}/compile_${MY_TARGET_NAME}.txt)
  file(WRITE ${list_file} "${lines}\n")
  set(done ${CMAKE_CURRENT_BINARY_DIR}/python_compile_${MY_TARGET_NAME}_complete)
  add_custom_command(OUTPUT ${done}
    DEPENDS Copy${MY_TARGET_NAME}PythonScriptFiles ${scripts} ${list_file}
    COMMAND ${Python3_EXECUTABLE} ${Slicer_STANDIN_DIR}/compile_scripts.py ${list_file}
    COMMAND ${CMAKE_COMMAND} -E touch ${done}
    )
  add_custom_target(Compile${MY_TARGET_NAME}PythonFiles ALL DEPENDS ${done})

  # The whole folder is installed as it then is, whoever wrote into it.
  set(folder ${MY_DESTINATION_DIR})
  if(MY_NO_INSTALL_SUBDIR)
    string(APPEND folder /)
  endif()
  install(DIRECTORY ${folder} DESTINATION ${MY_INSTALL_DIR} COMPONENT RuntimeLibraries USE_SOURCE_PERMISSIONS)
endfunction()

# A macro, as Slicer's is: its variables are seen by the macros it calls.
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY_SLICER "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MY_SLICER_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: unknown keywords: ${MY_SLICER_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT DEFINED MY_SLICER_NAME)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: NAME is mandatory")
  endif()
  if(MY_SLICER_WITH_SUBDIR)
    message(FATAL_ERROR "the stand-in does not know WITH_SUBDIR")
  endif()
  foreach(_file IN LISTS MY_SLICER_SCRIPTS MY_SLICER_RESOURCES)
    get_filename_component(_path ${_file} ABSOLUTE)
    if(NOT EXISTS ${_path} AND NOT EXISTS ${_path}.py)
      message(FATAL_ERROR "slicerMacroBuildScriptedModule: given nonexistent file or directory '${_file}'")
    endif()
  endforeach()

  ctkMacroCompilePythonScript(
    TARGET_NAME ${MY_SLICER_NAME}
    SCRIPTS "${MY_SLICER_SCRIPTS}"
    RESOURCES "${MY_SLICER_RESOURCES}"
    DESTINATION_DIR ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}
    INSTALL_DIR ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}
    NO_INSTALL_SUBDIR
    )

  if(BUILD_TESTING AND MY_SLICER_WITH_GENERIC_TESTS)
    set(MODULENAME ${MY_SLICER_NAME})
    string(TOLOWER ${MODULENAME} MODULENAME_LC)
    configure_file(${Slicer_PYTHON_MODULE_TEST_TEMPLATES_DIR}/qSlicerModuleGenericTest.py.in
      ${CMAKE_CURRENT_BINARY_DIR}/qSlicer${MODULENAME}ModuleGenericTest.py @ONLY)
    slicer_add_python_unittest(
      SCRIPT qSlicer${MODULENAME}ModuleGenericTest.py
      SLICER_ARGS --no-main-window --disable-cli-modules
                  --additional-module-path ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}
      TESTNAME_PREFIX nomainwindow_
      )
  endif()
endmacro()
