"""The buttons about the software itself: the card of the method, what is installed, what the worker said."""

import slicer
from slicer.i18n import tr as _

from DLReconPanel import setup


class Software:
    """:param panel: the DLReconWidget."""

    def __init__(self, panel):
        self.panel = panel

    def onDetails(self, checked):
        self.panel.ui.cardBrowser.visible = checked
        self.panel.onParameters()

    def onSetup(self, _checked=False):
        self._ensure()

    def onWheels(self, _checked=False):
        import qt

        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder with the wheel files"))
        if folder:
            self._ensure(folder)

    def _ensure(self, folder=None):
        with self.panel.work.attempt(_("The software could not be installed:")):
            self.panel.say(setup.ensure(None, everything=True, folder=folder)[1])
            self.panel.onParameters()

    def onLog(self, checked):
        self.panel.ui.logText.visible = checked
        if checked:
            self.showLog()

    def showLog(self, error=""):
        said = (error, self.panel.logic.log)
        self.panel.ui.logText.setPlainText("\n".join(part for part in said if part))
