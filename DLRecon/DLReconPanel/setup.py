"""What must be installed, asked once and only when it is needed."""

import importlib.util

from slicer.i18n import tr as _


def sentence():
    """What is there and what is missing, in one line."""
    from DLReconPanel.choices import missingForLearned

    missing = missingForLearned()
    if not missing:
        return _("Everything is installed.")
    return _("{names} missing: learned methods cannot be used yet, classical ones can.").format(
        names=", ".join(missing)
    )


def ensure(card, everything=False, folder=None):
    """(ready, sentence for the user): install what the card needs, after asking; everything: whatever is missing."""
    from DLReconPanel.choices import missingForLearned

    if importlib.util.find_spec("DLReconLib.dependencies") is None:
        missing = missingForLearned() if everything or (card is not None and card.learned) else []
        if not missing:
            return True, _("Everything is installed.")
        return False, _("{names} missing; install the PyTorch extension, or choose a classical method.").format(
            names=", ".join(missing)
        )
    raise NotImplementedError


def writeReport(resultVolume, provenance, path):
    raise RuntimeError(_("This DLRecon cannot write reports yet."))
