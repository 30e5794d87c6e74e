"""Observers of nodes that do not keep their widget alive, and fall silent when it is gone."""

import weakref

import shiboken6
import vtk


def observe(subject, event, owner, method: str, calldata: bool = False) -> int:
    """Calls owner.method(caller, event), with the node of the event as a third argument for calldata. The tag."""
    own = weakref.ref(owner)

    def heard(*args):
        alive = own()
        if alive is not None and shiboken6.isValid(alive):
            getattr(alive, method)(*args)

    if not calldata:
        return subject.AddObserver(event, lambda caller, event: heard(caller, event))

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def heard_of(caller, event, node):
        heard(caller, event, node)

    return subject.AddObserver(event, heard_of)
