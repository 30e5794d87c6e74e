"""Byte-compile the scripts that a file lists, each to a .pyc beside it. Used by SlicerStandInScripts.cmake."""

import py_compile
import sys
from pathlib import Path

for script in Path(sys.argv[1]).read_text(encoding="utf-8").split("\n"):
    if script:
        try:
            py_compile.compile(script, cfile=script + "c", doraise=True)
        except py_compile.PyCompileError as error:
            print(error.msg)
