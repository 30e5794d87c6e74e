"""What is under way for the panel: begun, asked by a timer how far it is, taken in, cancelled."""

import contextlib
import logging

import slicer
from slicer.i18n import tr as _

from DLReconPanel import choices, sequences, setup, texts


class Work:
    """One thing at a time: a run, an explanation or a preview.

    :param panel: the DLReconWidget. timer: set by the panel, calls onPoll(). run, explanation: handles of runs.py.
    """

    def __init__(self, panel):
        self.panel = panel
        self.timer = self.run = self.explanation = None

    @property
    def current(self):
        """What is under way, or None."""
        works = (self.run, self.explanation, self.panel.trying.gallery)
        return next((work for work in works if work is not None and not work.finished), None)

    def onApply(self, _checked=False):
        panel = self.panel
        if self.current is not None:
            self.cancel()
            return
        panel.trying.close()
        with self.attempt(_("The volume could not be enhanced:")):
            if not self.ready():
                return
            parameters = panel.parameters
            self.run = panel.logic.process(
                parameters.inputVolume,
                None if sequences.sequenceOf(parameters.inputVolume)[0] and parameters.allTimePoints
                else parameters.outputVolume,
                mask=choices.regionOf(parameters),
                sequence=parameters.allTimePoints,
                wait=False,
                **choices.options(parameters, panel.card),
            )  # fmt: skip
            self.begin()

    def ready(self):
        """Whether what the method needs is installed; asks once and installs it. Only here and on Set up."""
        ready, text = setup.ensure(self.panel.card)
        if not ready:
            self.panel.say(text)
        return ready

    def begin(self):
        self.panel.say("")
        self.timer.start()
        self.panel.onParameters()
        self.onPoll()

    def onPoll(self):
        """Called by the timer while something is under way. Must not raise: it would, ten times a second."""
        try:
            work = self.current
            if work is None:
                self.timer.stop()
                return
            if work.poll():
                self._showProgress(work.fraction, work.text, getattr(work, "remaining", None))
                return
            self.timer.stop()
            self._finished(work)
        except Exception as error:
            self.panel.stopEverything()
            slicer.util.errorDisplay(_("DLRecon stopped: {error}").format(error=error))
        self.panel.onParameters()

    def _showProgress(self, fraction, text, remaining):
        ui = self.panel.ui
        ui.progressBar.setValue(round(1000 * fraction))
        ui.progressBar.format = f"{round(100 * fraction)} %"
        self.panel.say(" · ".join(part for part in (text, texts.remainingText(remaining)) if part))
        if ui.logText.visible:
            self.panel.software.showLog()

    def _finished(self, work):
        say = self.panel.say
        if work is self.panel.trying.gallery:
            self.panel.trying.show()
        elif work.state == "done" and work is self.run:
            self.panel.results.deliver(work)
        elif work.state == "done":
            say(_("The coloured map shows what the result at the crosshair depends on."))
        elif work.state == "cancelled":
            say(_("Cancelled: {why}. Nothing was changed.").format(why=work.error) if work.error
                else _("Cancelled. Nothing was changed."))  # fmt: skip
        else:
            self.fail(work.error)
        if work is self.run:
            self.run = None
        elif work is self.explanation:
            self.explanation = None

    @contextlib.contextmanager
    def attempt(self, message):
        """What goes wrong becomes a sentence in the panel. Mistakes of the program itself are left to Slicer."""
        try:
            yield
        except (ValueError, RuntimeError, OSError) as error:
            logging.info(f"DLRecon: {error}", exc_info=True)
            self.fail(str(error), message)

    def fail(self, error, message=""):
        """One sentence in the panel; all of it in the log, and no window in the way."""
        lines, ui = error.strip().splitlines() or ["?"], self.panel.ui
        self.panel.say(f"{message or _('It did not work:')} {lines[0]}")
        if len(lines) > 1:
            self.panel.software.showLog(error)
            ui.logButton.checked = ui.logText.visible = True
            ui.advancedCollapsible.collapsed = False

    def cancel(self):
        self.stop()
        self.panel.trying.cancel()
        self.timer.stop()
        self.panel.say(_("Cancelled. Nothing was changed."))
        self.panel.onParameters()

    def stop(self):
        """Without a word: the scene, the module or the application may be about to go."""
        for work in (self.run, self.explanation):
            if work is not None:
                work.cancel()
        self.run = self.explanation = None
