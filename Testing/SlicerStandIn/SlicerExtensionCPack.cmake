# The description of the extension and its package. After Slicer's SlicerExtensionCPack and
# SlicerFunctionGenerateExtensionDescription.

if(NOT "${EXTENSION_NAME}" STREQUAL "${PROJECT_NAME}")
  message(STATUS "Skipping extension packaging: EXTENSION_NAME is not PROJECT_NAME")
  return()
endif()
foreach(name IN ITEMS EXTENSION_README_FILE EXTENSION_LICENSE_FILE)
  if(NOT EXISTS ${${name}})
    message(FATAL_ERROR "${name} points to an inexistent file: ${${name}}")
  endif()
endforeach()

# A single value each. The real one gets them unquoted: a semicolon cuts the text off.
foreach(name IN ITEMS CATEGORY DESCRIPTION HOMEPAGE ICONURL BUILD_SUBDIRECTORY)
  list(LENGTH EXTENSION_${name} length)
  if(NOT length EQUAL 1)
    message(FATAL_ERROR "EXTENSION_${name} must be one value without a semicolon: '${EXTENSION_${name}}'")
  endif()
  string(TOLOWER ${name} keyword)
  string(APPEND description "${keyword} ${EXTENSION_${name}}\n")
endforeach()
# Lists: contributors are joined by commas, the others by spaces.
foreach(name IN ITEMS CONTRIBUTORS DEPENDS RECOMMENDS SCREENSHOTURLS)
  set(separator " ")
  if(name STREQUAL "CONTRIBUTORS")
    set(separator ", ")
  endif()
  list(JOIN EXTENSION_${name} "${separator}" value)
  string(TOLOWER ${name} keyword)
  string(APPEND description "${keyword} ${value}\n")
endforeach()
file(WRITE ${CMAKE_BINARY_DIR}/${EXTENSION_NAME}.s4ext "${description}")
install(FILES ${CMAKE_BINARY_DIR}/${EXTENSION_NAME}.s4ext
  DESTINATION ${Slicer_INSTALL_ROOT}${Slicer_SHARE_DIR} COMPONENT RuntimeLibraries)

# Each extension that is depended on must have been found: its build tree is a module path of the launcher.
foreach(name IN LISTS EXTENSION_DEPENDS)
  if(NOT name STREQUAL "NA" AND NOT DEFINED ${name}_DIR)
    message(STATUS "EXTENSION_DEPENDS: ${name}_DIR is not set; ${name}'s modules will not be found in the build tree")
  endif()
endforeach()

set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${EXTENSION_DESCRIPTION}")
set(CPACK_MONOLITHIC_INSTALL ON)
set(CPACK_PACKAGE_VENDOR "NA-MIC")
set(CPACK_PACKAGE_DESCRIPTION_FILE ${EXTENSION_README_FILE})
set(CPACK_RESOURCE_FILE_LICENSE ${EXTENSION_LICENSE_FILE})
set(CPACK_PACKAGE_FILE_NAME "${Slicer_REVISION}-${Slicer_OS}-${Slicer_ARCHITECTURE}-${EXTENSION_NAME}")
set(CPACK_GENERATOR TGZ)
include(CPack)
