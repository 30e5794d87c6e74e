"""The parts of the DLRecon module that talk to Slicer. They sit in a folder because Slicer takes every .py file
beside a scripted module for a module of its own."""
