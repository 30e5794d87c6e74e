"""The section of the panel about a result: its light, its figures, and what can be made from it."""

import json

import slicer
from slicer.i18n import tr as _

from DLReconPanel import choices, dicomExport, plots, runs, sequences, taskOptions, texts, tooltips, views


class Results:
    """:param panel: the DLReconWidget."""

    def __init__(self, panel):
        self.panel = panel

    @property
    def node(self):
        """The result that is spoken about. A parameter is read from a cache, which may still hold a node that was
        removed: that counts as none."""
        node = self.panel.parameters.resultVolume if self.panel.parameters is not None else None
        return node if runs.isIn(node) else None

    def show(self):
        ui, node = self.panel.ui, self.node
        provenance = views.provenanceOf(node)
        ui.resultCollapsible.visible = provenance is not None
        if provenance is None:
            return
        ui.resultCollapsible.text = _("Result: {name}").format(name=node.GetName())
        ui.trustLabel.text, ui.reasonsLabel.text = texts.trustHtml(provenance, ui.reasonsButton.checked)
        ui.figuresLabel.text = texts.figuresHtml(provenance)
        ui.foundLabel.text = texts.foundHtml(provenance)
        for label in (ui.reasonsLabel, ui.figuresLabel, ui.foundLabel):
            label.visible = bool(label.text)
        ui.tableButton.enabled = bool(texts.figureRows(provenance))
        self._showButtons(node, provenance["options"]["task"])
        views.setFade(node, self.panel.parameters.fade)

    def _showButtons(self, node, task):
        """What can be made of this result; what cannot says why in its tooltip."""
        ui = self.panel.ui
        gone = (
            "" if node.GetNodeReference(runs.INPUT_ROLE) is not None else _("The input is not in the scene any more.")
        )
        reasons = {
            "showButton": gone,
            "scriptButton": gone,
            "fadeSlider": gone,
            "flickerButton": gone,
            "residualButton": gone or taskOptions.residualMissing(task),
            "explainButton": gone or taskOptions.explanationMissing(task),
            "plotButton": gone,
            "dicomButton": gone or dicomExport.missing(node),
        }
        ui.residualButton.text = taskOptions.residualWords(task)[0]
        for name, why in reasons.items():
            widget = getattr(ui, name)
            widget.enabled = not why
            widget.toolTip = why or tooltips.RESULT[name]()

    def deliver(self, run):
        """A run is done: its result is shown over its input."""
        panel, node = self.panel, run.outputNode
        shown = node
        source = node.GetNodeReference(runs.INPUT_ROLE)
        if node.IsA("vtkMRMLSequenceNode"):
            browser = sequences.sequenceOf(node)[1]
            shown = browser.GetProxyNode(node) if browser is not None else None
            source = panel.parameters.inputVolume
            if shown is None:
                panel.say(_("Done: sequence {name}.").format(name=node.GetName()))
                return
            runs.remember(shown, source, choices.regionOf(panel.parameters))
            shown.SetAttribute("DLRecon.Provenance", json.dumps(run.provenance))
        with slicer.util.NodeModify(panel.parameters):
            panel.parameters.resultVolume = shown
            panel.parameters.fade = 1.0
        views.showOver(source, shown)
        seconds = run.provenance["seconds"]["total"]
        text = _("Done in {n:.0f} s by {model}.").format(n=seconds, model=run.provenance["model"]["title"])
        uncertainty = node.GetNodeReference(runs.UNCERTAINTY_ROLE)
        if uncertainty is not None:
            text += " " + _("{name} shows where it may be wrong.").format(name=uncertainty.GetName())
        invented = node.GetNodeReference(runs.INVENTED_ROLE)
        if invented is not None:
            text += " " + _("{name} marks the voxels that were invented.").format(name=invented.GetName())
        features = node.GetNodeReference(runs.FEATURES_ROLE)
        if features is not None:
            text += " " + _("{name} is the map of what was lifted.").format(name=features.GetName())
        panel.say(text)

    def onFlickerToggled(self, checked):
        if checked:
            self.panel.flickerTimer.start()
        else:
            self.panel.flickerTimer.stop()
            if self.panel.parameters is not None:
                self.panel.parameters.fade = 1.0

    def onFlicker(self):
        """Input and result in turn: the eye sees what changed."""
        if self.node is None:
            self.panel.ui.flickerButton.checked = False
            self.panel.flickerTimer.stop()
            return
        self.panel.parameters.fade = 0.0 if self.panel.parameters.fade > 0.5 else 1.0

    def onResidual(self, _checked=False):
        with self.panel.work.attempt(_("The difference could not be shown:")):
            node = views.residualNode(self.node)
            slicer.util.setSliceViewerLayers(background=node, foreground=None)
            task = views.provenanceOf(self.node)["options"]["task"]
            self.panel.say(taskOptions.residualWords(task)[1].format(name=node.GetName()))

    def onShow(self, _checked=False):
        """Back from the residual or a map to the result over its input."""
        views.showOver(self.node.GetNodeReference(runs.INPUT_ROLE), self.node, self.panel.parameters.fade)

    def onTable(self, _checked=False):
        table = views.figuresNode(self.node, texts.figureRows(views.provenanceOf(self.node)))
        self.panel.say(_("Table {name} was added.").format(name=table.GetName()))

    def onPlot(self, _checked=False):
        with self.panel.work.attempt(_("Sharpness and noise could not be plotted:")):
            charts = plots.plotNodes(self.node)
            plots.show(charts[0])
            names = ", ".join(chart.GetName() for chart in charts)
            self.panel.say(_("Added to the scene, to be chosen in a plot view: {names}.").format(names=names))

    def onDicom(self, _checked=False):
        import qt

        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder for the new DICOM series"))
        if folder:
            with self.panel.work.attempt(_("The DICOM series could not be written:")):
                files, known = dicomExport.write(self.node, views.provenanceOf(self.node), folder)
                text = _("{n} images written to {folder}.").format(n=len(files), folder=files[0].parent)
                if known:
                    text += " " + _("The DICOM database knows them, in the study of the input.")
                self.panel.say(text)

    def onScript(self, _checked=False):
        with self.panel.work.attempt(_("The script could not be written:")):
            slicer.app.clipboard().setText(texts.scriptOf(self.node, views.provenanceOf(self.node)))
            self.panel.say(_("The lines are on the clipboard; paste them into the Python console."))

    def onExplain(self, _checked=False):
        with self.panel.work.attempt(_("The result could not be explained:")):
            if not self.panel.busy():
                self.panel.work.explanation = self.panel.logic.explain(self.node)
                self.panel.work.begin()

    def onReport(self, _checked=False):
        import qt

        path = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), _("Save report"), f"{self.node.GetName()}.html", _("Web page (*.html)")
        )
        if path:
            with self.panel.work.attempt(_("The report could not be saved:")):
                self.panel.logic.saveReport(self.node, path)
                self.panel.say(_("Report saved as {path}.").format(path=path))
