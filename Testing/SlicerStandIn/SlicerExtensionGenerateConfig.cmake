# The file by which another extension finds this one's build tree.
file(WRITE ${CMAKE_BINARY_DIR}/${EXTENSION_NAME}Config.cmake
  "set(${EXTENSION_NAME}_SOURCE_DIR \"${CMAKE_CURRENT_SOURCE_DIR}\")\n")
