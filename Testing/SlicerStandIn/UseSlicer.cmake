# What include(${Slicer_USE_FILE}) does for an extension of scripted modules.

if(NOT DEFINED EXTENSION_NAME)
  set(EXTENSION_NAME ${PROJECT_NAME})
endif()
if("${EXTENSION_NAME}" MATCHES "^$|^Slicer$|^Project$")
  message(FATAL_ERROR "project(<name of the extension>) must come before include(\${Slicer_USE_FILE})")
endif()

set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR "${Slicer_INSTALL_ROOT}${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")

foreach(name IN ITEMS DEPENDS RECOMMENDS)
  if(NOT DEFINED EXTENSION_${name})
    set(EXTENSION_${name} NA)
  endif()
endforeach()
if(NOT DEFINED EXTENSION_BUILD_SUBDIRECTORY)
  set(EXTENSION_BUILD_SUBDIRECTORY ".")
endif()
if(NOT DEFINED EXTENSION_LICENSE_FILE)
  set(EXTENSION_LICENSE_FILE ${Slicer_LICENSE_FILE})
endif()
if(NOT DEFINED EXTENSION_README_FILE)
  set(EXTENSION_README_FILE ${Slicer_README_FILE})
endif()

set(ExternalData_OBJECT_STORES ${Slicer_ExternalData_OBJECT_STORES})
include(CTest) # defines BUILD_TESTING
include(ExternalData)
include(SlicerStandInScripts)
include(SlicerStandInTesting)
