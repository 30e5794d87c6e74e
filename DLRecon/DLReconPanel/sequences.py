"""Time series: sequences in, sequences out."""

import slicer


def sequenceOf(node):
    """(sequence node, browser node or None) of a sequence, or of the proxy that a browser shows of it; else
    (None, None)."""
    if node is None or node.GetScene() is None:
        return None, None
    scene = node.GetScene()
    browsers = [scene.GetNthNodeByClass(n, "vtkMRMLSequenceBrowserNode")
                for n in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode"))]  # fmt: skip
    if node.IsA("vtkMRMLSequenceNode"):
        return node, next((b for b in browsers if b.IsSynchronizedSequenceNode(node, True)), None)
    for browser in browsers:
        sequence = browser.GetSequenceNode(node)
        if sequence is not None:
            return sequence, browser
    return None, None


def fill(output, source, volumes, provenances):
    """Put volumes into a sequence node: the index (name, unit, type, values) and what describes each item are the
    source's. The source is not changed."""
    from DLReconLib import mrml

    output.RemoveAllDataNodes()
    output.SetIndexName(source.GetIndexName())
    output.SetIndexUnit(source.GetIndexUnit())
    output.SetIndexType(source.GetIndexType())
    output.SetNumericIndexValueTolerance(source.GetNumericIndexValueTolerance())
    for n, (volume, provenance) in enumerate(zip(volumes, provenances, strict=True)):
        value = source.GetNthIndexValue(n)
        # A copy of the item brings its attributes, unit and kind of vectors along; then only the voxels change.
        output.SetDataNodeAtValue(source.GetNthDataNode(n), value)
        mrml.write_to_node(volume, output.GetDataNodeAtValue(value), provenance=provenance)
    return output


def showBeside(output, browser):
    """Let the browser of the input play the output with it. Returns the proxy that shows it, or None.

    :param output: sequence node in the scene.
    :param browser: the input's browser, or None: a new one is made.
    """
    if browser is None:
        browser = output.GetScene().AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{output.GetName()} browser")
    if not browser.IsSynchronizedSequenceNode(output, True):
        browser.AddSynchronizedSequenceNode(output)
    module = getattr(slicer.modules, "sequences", None) if hasattr(slicer, "modules") else None
    if module is not None:
        module.logic().UpdateProxyNodesFromSequences(browser)
    return browser.GetProxyNode(output)
