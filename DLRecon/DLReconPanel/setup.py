"""What must be installed: found out without loading it, asked once, installed only at Apply or on the Set up button."""

import functools

import slicer
from slicer.i18n import tr as _


@functools.lru_cache(maxsize=1)
def missing():
    """What is not as it should be, of all that learned models need: [packages.State]. Asked once; see forget()."""
    from DLReconLib.dependencies.packages import examine

    return tuple(state for state in examine("learned") if not state.ok)


def forget():
    """Look again the next time: something may have been installed."""
    missing.cache_clear()


def missingForLearned():
    return [state for state in missing() if state.package.level == "learned"]


def sentence():
    """What is missing, in one line."""
    names = ", ".join(state.package.name for state in missing())
    if not names:
        return _("Everything is installed.")
    if not missingForLearned():
        return _("{names} missing: some classical methods cannot be used.").format(names=names)
    return _("{names} missing: only classical methods can be used.").format(names=names)


def ensure(card, everything=False, folder=None):
    """(ready, sentence for the user): install what the card needs, after asking; everything: whatever is missing.

    :param folder: of wheel files, to install from without the internet.
    :raises DependencyError: it could not be installed; the message says what to do.
    """
    level = "learned" if everything or (card is not None and card.learned) else "classical"
    steps = _steps(level, folder)
    if not steps:
        bad = [state for state in missing() if level == "learned" or state.package.level == "classical"]
        if bad:
            return level == "classical", "; ".join(f"{state.text}: {state.mend}" for state in bad)
        return True, _("Everything is installed.")
    if not everything and level == "classical" and _declined.get(level):
        return True, ""
    if not _agreed(steps):
        _declined[level] = True
        if level == "classical":
            return True, ""  # some of them need nothing more; the others say what they miss
        return False, _("Nothing was installed. Choose a classical method, or press Set up when you are ready.")
    install(level, folder)
    return True, _("Everything is installed. Restart Slicer if it asks for it.")


_declined = {}


def install(level="learned", folder=None):
    """Without asking, for scripts. Raises DependencyError."""
    from DLReconLib import dependencies

    try:
        dependencies.install(_steps(level, folder), pip=_pip, torch=_torch, uninstall=_uninstall)
    finally:
        forget()


def _steps(level, folder):
    from DLReconLib import dependencies

    forget()
    return dependencies.plan(level, wheels=folder)


def _agreed(steps):
    from DLReconLib import dependencies

    text = _("DLRecon needs more software for this. It is installed into Slicer:") + "\n\n"
    return slicer.util.confirmOkCancelDisplay(text + dependencies.summary(steps), windowTitle=_("Install software?"))


def _pip(requirements, options):
    try:
        from slicer import packaging  # Slicer 5.12 and later; importing slicer alone does not bring it
    except ImportError:
        packaging = None
    if options or packaging is None:
        slicer.util.pip_install([*options, *requirements])
        return
    window = slicer.util.mainWindow() is not None
    packaging.pip_ensure(
        list(requirements),
        prompt_install=False,  # the user has agreed
        requester="DLRecon",
        prompt_restart=window,
        show_progress=window,
    )


def _uninstall(names):
    slicer.util.pip_uninstall(list(names))


def _torch(versions):
    """The PyTorch extension chooses the build that suits the graphics card."""
    from DLReconLib.dependencies import DependencyError

    try:
        import PyTorchUtils
    except ImportError as error:
        raise DependencyError(
            _("PyTorch is installed by Slicer's PyTorch extension, which is missing. Install it with the Extensions "
              "Manager and restart Slicer; without the internet, choose a folder of wheel files instead.")
        ) from error  # fmt: skip
    return PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False, torchVersionRequirement=versions)
