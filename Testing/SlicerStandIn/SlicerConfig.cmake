# What find_package(Slicer) gives to an extension: names, folders and switches. See README.md.

if(NOT CMAKE_SIZEOF_VOID_P)
  message(FATAL_ERROR "Slicer compares the width of pointers: project() must enable C or C++")
endif()
find_package(Python3 REQUIRED COMPONENTS Interpreter)

set(Slicer_STANDIN_DIR ${CMAKE_CURRENT_LIST_DIR})
list(PREPEND CMAKE_MODULE_PATH ${Slicer_STANDIN_DIR})

set(Slicer_MAIN_PROJECT_APPLICATION_NAME Slicer)
set(Slicer_VERSION_MAJOR 5)
set(Slicer_VERSION_MINOR 12)
set(Slicer_REVISION 34045)
set(Slicer_WC_ROOT "https://github.com/Slicer/Slicer.git")
set(Slicer_OS linux)
set(Slicer_ARCHITECTURE amd64)
set(Slicer_USE_PYTHONQT ON)
set(Slicer_LICENSE_FILE ${Slicer_STANDIN_DIR}/README.md)
set(Slicer_README_FILE ${Slicer_STANDIN_DIR}/README.md)

set(Slicer_INSTALL_ROOT "./")
set(Slicer_LIB_DIR "lib/Slicer-${Slicer_VERSION_MAJOR}.${Slicer_VERSION_MINOR}")
set(Slicer_SHARE_DIR "share/Slicer-${Slicer_VERSION_MAJOR}.${Slicer_VERSION_MINOR}")
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR "${Slicer_LIB_DIR}/qt-scripted-modules")
set(Slicer_QTLOADABLEMODULES_LIB_DIR "${Slicer_LIB_DIR}/qt-loadable-modules")
set(Slicer_CLIMODULES_LIB_DIR "${Slicer_LIB_DIR}/cli-modules")

set(Slicer_PYTHON_MODULE_TEST_TEMPLATES_DIR ${Slicer_STANDIN_DIR})
set(Slicer_LAUNCHER_EXECUTABLE ${Python3_EXECUTABLE} ${Slicer_STANDIN_DIR}/launcher.py)
set(Slicer_ExternalData_DATA_MANAGEMENT_TARGET SlicerData)
set(Slicer_ExternalData_OBJECT_STORES ${CMAKE_BINARY_DIR}/ExternalData/Objects)

set(Slicer_USE_FILE ${Slicer_STANDIN_DIR}/UseSlicer.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${Slicer_STANDIN_DIR}/SlicerExtensionGenerateConfig.cmake)
set(Slicer_EXTENSION_CPACK ${Slicer_STANDIN_DIR}/SlicerExtensionCPack.cmake)
