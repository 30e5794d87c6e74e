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


def fillModels(combo, task, wanted, modality, why):
    """All methods of a task, the recommended one first. Gives the card that is chosen, or None."""
    cards = cardsOf(task)
    best = recommended(task, modality, why)
    missing = setup.missingForLearned()
    items = []
    if best is not None:
        items.append(("auto", _("Recommended: {title}").format(title=best.title)))
    for card in cards:
        kinds = ", ".join(card.modalities).replace("*", _("any image"))
        note = _("needs PyTorch") if card.learned and missing else kinds
        items.append((card.id, f"{card.title} ({note})"))
    combos.refill(combo, items)
    if combo.findData(wanted) < 0 and wanted != "auto":
        # A model of one's own, or one that a saved scene knows and this DLRecon does not.
        combo.addItem(wanted, wanted)
    combos.select(combo, wanted)
    if wanted == "auto":
        return best
    return next((card for card in cards if card.id == wanted), None)


@functools.lru_cache(maxsize=64)
def recommended(task, modality, why):
    """What model="auto" will take."""
    cards = cardsOf(task)
    try:
        from DLReconLib.pipeline import Options, choose_model

        return choose_model(Options(task=task), modality, why)[0] if cards else None
    except ImportError:
        return next((c for c in cards if modality in c.modalities), cards[-1] if cards else None)


def modelSentence(card, modality):
    if card is None:
        return _("This method is not installed.")
    text = card.summary
    if modality and modality not in card.modalities and "*" not in card.modalities:
        text += " " + _("It is made for {made}, not for {got}: do not trust the result.").format(
            made=", ".join(card.modalities), got=modality
        )
    return text


def comparable(parameters, logic):
    """The methods that are worth a comparison for this image: the quick ones first."""
    from DLReconLib.models import list_cards

    modality, _why = logic.recognise(parameters.inputVolume, parameters.modality)
    cards = list_cards(parameters.task, modality or None)
    if setup.missingForLearned():
        cards = [card for card in cards if not card.learned]
    return sorted(cards, key=lambda card: (card.learned, card.id))
