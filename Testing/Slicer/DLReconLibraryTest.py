"""Runs inside Slicer, by ctest: the library as it was built, beside the module."""

import os
import shutil
import subprocess
import sys
import unittest

import slicer


class DLReconLibraryTest(unittest.TestCase):
    def setUp(self):
        self.folder = os.path.dirname(os.path.abspath(slicer.modules.dlrecon.path))
        if self.folder not in sys.path:
            sys.path.insert(0, self.folder)

    def test_library_lies_beside_the_module(self):
        import DLReconLib

        self.assertEqual(os.path.dirname(os.path.dirname(os.path.abspath(DLReconLib.__file__))), self.folder)

    def test_models_came_whole(self):
        from DLReconLib.models import list_cards

        cards = list_cards()
        self.assertTrue(cards)
        for card in cards:
            if card.weights:
                card.checked_weights()  # raises where the file is missing or is not the card's

    def test_importing_loads_neither_torch_nor_SimpleITK(self):
        code = "import sys, DLReconLib; assert not {'torch', 'SimpleITK', 'monai'} & set(sys.modules), sys.modules"
        # Inside Slicer, sys.executable need not be a Python; PythonSlicer is on the path.
        python = shutil.which("PythonSlicer") or sys.executable
        environment = os.environ | {"PYTHONPATH": self.folder}
        subprocess.run([python, "-c", code], check=True, env=environment, cwd=os.path.dirname(self.folder))
