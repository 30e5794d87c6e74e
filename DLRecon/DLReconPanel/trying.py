"""Try it first: the section of the panel with the preview and the comparison of methods."""

from slicer.i18n import tr as _

from DLReconPanel import choices, gallery, methods, ranking


class Trying:
    """:param panel: the DLReconWidget. gallery: what is shown or under way, or None."""

    def __init__(self, panel):
        self.panel = panel
        self.gallery = None

    @property
    def finished(self):
        return self.gallery is not None and self.gallery.finished

    def onPreview(self, _checked=False):
        self._start([self.panel.card])

    def onCompare(self, _checked=False):
        self._start(methods.comparable(self.panel.parameters, self.panel.logic))

    def _start(self, cards):
        panel = self.panel
        self.close()
        with panel.work.attempt(_("The preview could not be made:")):
            if not panel.work.ready():
                return
            parameters = panel.parameters
            options = choices.options(parameters, panel.card)
            options.pop("uncertainty", None)  # takes too long for a look
            self.gallery = gallery.Gallery(
                panel.logic.client(), parameters.inputVolume, cards, options, choices.regionOf(parameters), self.take
            )
            panel.work.begin()

    def show(self):
        """The answers are there."""
        ui, entries = self.panel.ui, self.gallery.entries
        fillTable(ui.galleryTable, entries, self.gallery.task)
        ui.galleryTable.visible = len(entries) > 1
        failed = [e for e in entries if e.state == "failed"]
        text = ""
        if len(entries) > 1:
            text = ranking.sentence(self.gallery.task, entries)
        if failed:
            text += " " + "; ".join(f"{e.title}: {e.error.splitlines()[0]}" for e in failed)
        ui.galleryLabel.text = text
        ui.galleryLabel.visible = bool(text)
        self.panel.say(_("This is a preview of a few slices. Apply works on the whole volume."))

    def onRow(self, row, _column=0):
        if self.gallery is not None and row < len(self.gallery.entries):
            entry = self.gallery.entries[row]
            if entry.state == "done":
                self.take(entry.model)

    def take(self, model):
        """Take a method of the preview over."""
        self.panel.parameters.model = model
        title = self.panel.card.title
        self.panel.say(_("{method} is chosen. Press Apply for the whole volume.").format(method=title))

    def cancel(self):
        """What is under way; pictures that are there stay."""
        if self.gallery is not None and not self.gallery.finished:
            self.gallery.cancel()
            self.close()

    def close(self, _checked=False):
        self.drop()
        self.panel.ui.galleryTable.visible = False
        self.panel.ui.galleryLabel.visible = False
        if self.panel.parameters is not None:
            self.panel.onParameters()

    def drop(self):
        """The same, where the panel itself may be gone."""
        if self.gallery is not None:
            self.gallery.close()
            self.gallery = None


def fillTable(table, entries, task):
    """One row a method, the best first."""
    import qt

    columns = ranking.columns(task)
    table.setRowCount(len(entries))
    table.setColumnCount(1 + len(columns))
    table.setHorizontalHeaderLabels([_("Method"), *(heading for heading, _text in columns)])
    table.verticalHeader().setVisible(True)
    for row, entry in enumerate(entries):
        cells = [entry.title, *(text(entry) for _heading, text in columns)]
        if entry.state != "done":
            cells[1:] = [_("failed"), *("" for _column in columns[1:])]
        for column, text in enumerate(cells):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(entry.error or _("Compared with the input; nothing is measured against the truth."))
            table.setItem(row, column, item)
    table.resizeColumnsToContents()
    table.setMinimumHeight(30 + 30 * min(len(entries), 7))
