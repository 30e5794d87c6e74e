"""The methods that there are: read from their cards, offered, recommended, compared."""

import functools

from slicer.i18n import tr as _

from DLReconPanel import combos, setup


@functools.lru_cache(maxsize=16)
def cardsOf(task):
    """The cards of a task, read once; see forget()."""
    from DLReconLib.models import list_cards

    return tuple(list_cards(task))


def forget():
    """Read the cards again the next time: models may have been added."""
    cardsOf.cache_clear()
    recommended.cache_clear()


def suits(card, modality):
    return modality in card.modalities or "*" in card.modalities


def wantsSeries(card):
    """Whether it works on all frames of a time series at once."""
    from DLReconLib.networks import SERIES

    return card.network in SERIES


def artifactsOf(modality):
    """The kinds of artifacts that some model removes from such images; all of them where it is unknown which."""
    cards = cardsOf("artifact-reduction")
    kinds = [kind for card in cards if not modality or suits(card, modality) for kind in card.artifacts]
    return list(dict.fromkeys(kinds))


def fillModels(combo, task, wanted, modality, why, artifact="auto"):
    """All methods of a task, the recommended one first. Gives the card that is chosen, or None.

    :param artifact: only methods that remove it are offered.
    """
    cards = [card for card in cardsOf(task) if artifact == "auto" or artifact in card.artifacts]
    best = recommended(task, modality, why, artifact)
    missing = setup.missingForLearned()
    items = [("auto", _("Recommended: {title}").format(title=best.title) if best else _("Choose..."))]
    for card in cards:
        kinds = ", ".join(card.modalities).replace("*", _("any image"))
        note = _("needs PyTorch") if card.learned and missing else kinds
        note = _("time series") if wantsSeries(card) else note
        items.append((card.id, f"{card.title} ({note})"))
    combos.refill(combo, items)
    if combo.findData(wanted) < 0 and wanted != "auto":
        # A model of one's own, or one that a saved scene knows and this DLRecon does not.
        combo.addItem(wanted, wanted)
    combos.select(combo, wanted)
    if wanted == "auto":
        return best
    return next((card for card in cardsOf(task) if card.id == wanted), None)


@functools.lru_cache(maxsize=64)
def recommended(task, modality, why, artifact="auto"):
    """What model="auto" will take, or None: models of one's own are never taken without being asked for, and what was
    made for another kind of image is no recommendation."""
    cards = [c for c in cardsOf(task) if c.shipped and (artifact == "auto" or artifact in c.artifacts)]
    if not cards:
        return None
    try:
        from DLReconLib.pipeline import Options, choose_model

        best = choose_model(Options(task=task, artifact=artifact), modality, why)[0]
    except ImportError:
        best = next((c for c in cards if modality in c.modalities), cards[-1])
    return best if not modality or suits(best, modality) else None


def modelSentence(card, modality, wanted="auto"):
    if card is None:
        return _("Nothing is recommended here.") if wanted == "auto" else _("This method is not installed.")
    text = card.summary
    if modality and not suits(card, modality):
        text += " " + _("It is made for {made}, not for {got}: do not trust the result.").format(
            made=", ".join(card.modalities), got=modality
        )
    return text


def comparable(parameters, logic):
    """The methods that are worth a comparison for this image: the quick ones first."""
    from DLReconLib.models import list_cards

    modality, _why = logic.recognise(parameters.inputVolume, parameters.modality)
    cards = list_cards(parameters.task, modality or None)
    if parameters.task == "artifact-reduction" and parameters.artifact != "auto":
        cards = [card for card in cards if parameters.artifact in card.artifacts]
    if setup.missingForLearned():
        cards = [card for card in cards if not card.learned]
    return sorted((card for card in cards if not wantsSeries(card)), key=lambda card: (card.learned, card.id))
