"""Models that the user adds: what is taken, what is refused, and that nothing of them is run."""

import hashlib
import json
import os
import stat
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import noisy_phantom

from DLReconLib import reconstruct
from DLReconLib.cli import main
from DLReconLib.models import ModelCard, ModelError, find_card, list_cards
from DLReconLib.shelves import user_folder

torch = pytest.importorskip("torch", reason="added models are networks")
nets = pytest.importorskip("monai.networks.nets", reason="what is imported are networks of MONAI")

from DLReconLib.library import add, remove  # noqa: E402

PLAIN = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": [4, 8], "strides": [2]}
CARD = {"id": "mine", "network": "UNet", "arguments": PLAIN, "predicts": "residual", "modalities": ["MR"]}


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder of our own."""
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", "HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.delenv("DLRECON_MODELS", raising=False)
    return user_folder()


def weights(arguments: dict = PLAIN) -> dict:
    """Of a UNet that takes away little."""
    torch.manual_seed(1)
    return {k: 0.1 * t if t.is_floating_point() else t for k, t in nets.UNet(**arguments).state_dict().items()}


def state_dict(folder: Path, name: str = "model.pt", tensors: object = None) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    torch.save(weights() if tensors is None else tensors, folder / name)
    return folder / name


def bundle(folder: Path, network: object = None, pre: object = None, **metadata: object) -> Path:
    (folder / "configs").mkdir(parents=True)
    state_dict(folder / "models", tensors={"state_dict": weights()})
    steps = [{"_target_": "LoadImaged", "keys": "image"}, {"_target_": "ScaleIntensityRanged", "keys": "image",
             "a_min": 0, "a_max": "@top", "b_min": 0, "b_max": 1, "clip": False}] if pre is None else pre  # fmt: skip
    definition = {"_target_": "monai.networks.nets.UNet", **PLAIN, "channels": "@widths"}
    config = {"top": 2000, "widths": [4, 8], "network_def": network or definition,
              "preprocessing": {"_target_": "Compose", "transforms": steps}}  # fmt: skip
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    image = {"type": "image", "modality": "MR", "num_channels": 1}
    formats = {"inputs": {"image": image}, "outputs": {"pred": image}}
    values = {"name": "A bundle", "version": "0.1", "network_data_format": formats} | metadata
    (folder / "configs" / "metadata.json").write_text(json.dumps(values))
    return folder


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(file, f"top/{file.relative_to(folder).as_posix()}")
    return path


def refused(path: Path, words: str, shelf: Path, given: dict | None = None) -> None:
    with pytest.raises(ModelError, match=words):
        add(path, given)
    assert not shelf.exists() or list(shelf.iterdir()) == []


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_a_state_dict_gives_what_the_network_gives(tmp_path: Path, name: str) -> None:
    path = state_dict(tmp_path / "in")
    if name.endswith("safetensors"):
        from safetensors.torch import save_file

        path = tmp_path / "in" / name
        save_file(weights(), path)
    added = add(path, CARD | {"unit": 1000.0})
    assert {"geometry", "finite", "the same answer twice", "strength 0 is the input"} <= set(added.laws)
    volume = noisy_phantom("MR", shape=(16, 32, 32))
    result = reconstruct(volume, model="mine", precision="float32")
    network = nets.UNet(**PLAIN).eval()
    network.load_state_dict(weights())
    with torch.inference_mode():
        x = torch.from_numpy(volume.array)[None, None] / 1000
        # The piece is extended as the road does it: 16 voxels of halo, then to multiples of 32.
        padded = np.pad(volume.array, ((0, 16), (0, 0), (0, 0)), mode="edge")
        removed = network(torch.from_numpy(padded)[None, None] / 1000)[0, 0, :16].numpy() * 1000
    assert x.shape == (1, 1, 16, 32, 32)
    np.testing.assert_allclose(result.residual.array, removed, atol=0.02)
    assert np.abs(removed).max() > 0.3


def test_a_network_of_slices_sees_slice_by_slice(tmp_path: Path) -> None:
    flat = PLAIN | {"spatial_dims": 2}
    path = state_dict(tmp_path / "in", tensors=weights(flat))
    add(path, CARD | {"arguments": flat})
    volume = noisy_phantom("MR", shape=(6, 32, 32))
    whole = reconstruct(volume, model="mine", precision="float32").volume.array
    other = volume.array.copy()
    other[5] *= 0.5
    changed = reconstruct(volume.with_array(other), model="mine", precision="float32").volume.array
    np.testing.assert_allclose(changed[:4], whole[:4], atol=1e-3)
    assert np.abs(changed[5] - whole[5]).max() > 10


def test_added_is_listed_removed_and_never_chosen_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    before = {c.id for c in list_cards()}
    card = tmp_path / "card.json"
    card.write_text(json.dumps(CARD | {"id": "aaa/mine"}))
    path = state_dict(tmp_path / "in")
    assert main(["add", str(path), "--card", str(card)]) == 0
    assert {c.id for c in list_cards()} - before == {"aaa/mine"}
    assert reconstruct(noisy_phantom("MR"), strength=0).provenance["model"]["id"] != "aaa/mine"
    assert main(["list"]) == 0
    assert "aaa/mine" in capsys.readouterr().out
    assert main(["add", str(path), "--card", str(card)]) == 2
    assert "has the id of the one in" in capsys.readouterr().err
    assert main(["remove", "aaa/mine"]) == 0
    assert {c.id for c in list_cards()} == before
    assert list(user_folder().iterdir()) == []
    assert main(["remove", "mr-denoise"]) == 2


def test_named_folders_are_searched_and_a_clash_names_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(state_dict(tmp_path / "in"), CARD)
    other = tmp_path / "lab" / "copy"
    monkeypatch.setenv("DLRECON_MODELS", os.pathsep.join([str(tmp_path / "none"), str(tmp_path / "lab")]))
    other.mkdir(parents=True)
    for file in (user_folder() / "mine").iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelError) as caught:
        list_cards()
    assert str(other) in str(caught.value)
    assert str(user_folder() / "mine") in str(caught.value)
    remove("mine")
    assert find_card("mine").folder == other.resolve()


def test_a_bundle_is_taken_by_its_plain_values(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "thing")
    (folder / "scripts").mkdir()
    trap = tmp_path / "ran"
    (folder / "scripts" / "__init__.py").write_text(f"open({str(trap)!r}, 'w')")
    added = add(zipped(folder, tmp_path / "thing.zip"), {"predicts": "residual"})
    card = added.card
    assert (card.id, card.title, card.unit, card.modalities) == ("thing", "A bundle", 2000.0, ("MR",))
    assert card.arguments["arguments"] == PLAIN
    assert "scripts" in added.warnings[0]
    assert not trap.exists()
    assert not list(card.folder.rglob("*.py"))


def test_a_model_folder_of_the_zoo_under_another_name(tmp_path: Path) -> None:
    source = find_card("mr-denoise")
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "card.json").write_text(json.dumps(source.to_dict() | {"id": "copy"}))
    (folder / source.weights).write_bytes(source.checked_weights().read_bytes())
    add(folder)
    volume = noisy_phantom("MR", shape=(8, 24, 24))
    copy, original = (reconstruct(volume, model=m, judge=False).volume.array for m in ("copy", "mr-denoise"))
    np.testing.assert_array_equal(copy, original)
    (folder / source.weights).write_bytes(b"\0" * 100)
    with pytest.raises(ModelError, match="SHA-256"):
        add(folder, {"id": "again"})


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return open, (str(self.path), "w")


def test_pickles_and_torchscript_are_refused_unrun(tmp_path: Path, shelf: Path) -> None:
    trap = tmp_path / "ran"
    refused(state_dict(tmp_path / "a", tensors={"x": Trap(trap)}), "more than tensors", shelf, CARD)
    assert not trap.exists()
    script = tmp_path / "script.pt"
    torch.jit.trace(torch.nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 4, 4)).save(script)
    refused(script, "is TorchScript", shelf, CARD)
    masked = tmp_path / "masked.safetensors"
    masked.write_bytes(state_dict(tmp_path / "b").read_bytes())
    refused(masked, "whatever its name says", shelf, CARD)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"network": "os.system"}, "unknown"),
        ({"network": "SwinUNETR"}, "unknown"),
        ({"network": "monai", "arguments": {"network": "FlexibleUNet", "arguments": {}}}, "wanted one of MONAI's"),
        ({"arguments": PLAIN | {"act": "$__import__('os')"}}, "not evaluated"),
        ({"arguments": PLAIN | {"channels": [4, 10**9]}}, "numbers up to"),
        ({"arguments": PLAIN | {"channels": [4, 16]}}, "do not fit"),
        ({"arguments": PLAIN | {"nonsense": 1}}, "does not take"),
        ({"id": "../../evil"}, "letters, digits"),
        ({"tile": "all"}, "tile"),
        ({"modality": "MR"}, "unknown fields"),
        ({"predicts": "image"}, "an image of the same thing"),
        ({"equivariance": "affine"}, "equivariance"),
    ],
)  # fmt: skip
def test_refusals_name_what_was_wanted(tmp_path: Path, shelf: Path, given: dict, words: str) -> None:
    refused(state_dict(tmp_path / "in"), words, shelf, CARD | given)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path, shelf: Path) -> None:
    tensors = weights()
    tensors[next(iter(tensors))][0] = float("nan")
    refused(state_dict(tmp_path / "in", tensors=tensors), "not finite", shelf, CARD)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network": {"_target_": "scripts.net.Evil"}}, "code of a bundle is not run"),
        ({"network": {"_target_": "os.UNet", **PLAIN}}, "code of a bundle is not run"),
        ({"network": {"_target_": "UNet", **PLAIN, "channels": "$[4, 8]"}}, "not evaluated"),
        ({"pre": [{"_target_": "NormalizeIntensityd", "keys": "image"}]}, "offset and unit"),
        ({"network_data_format": {"outputs": {"pred": {"type": "segmentation", "num_channels": 3}}}}, "segmentation"),
    ],
)  # fmt: skip
def test_bundles_that_need_code_are_refused(tmp_path: Path, shelf: Path, change: dict, words: str) -> None:
    refused(bundle(tmp_path / "thing", **change), words, shelf)


def test_archives_that_lead_outside_link_or_swell_are_refused(tmp_path: Path, shelf: Path) -> None:
    good = json.dumps(CARD)

    def archive(name: str, entry: object, data: bytes | str) -> Path:
        path = tmp_path / f"{name}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
            out.writestr("card.json", good)
            out.writestr(entry, data)
        return path

    link = zipfile.ZipInfo("weights.safetensors")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    refused(archive("slip", "../../evil.json", "x"), "leads outside", shelf)
    refused(archive("absolute", "/etc/evil", "x"), "leads outside", shelf)
    refused(archive("drive", "C:evil", "x"), "leads outside", shelf)
    refused(archive("link", link, "/etc/passwd"), "link", shelf)
    refused(archive("bomb", "weights.safetensors", b"\0" * 50_000_000), "swells", shelf)
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = archive("twice", "card.json", good)
    refused(twice, "twice", shelf)
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK\3\4nonsense")
    refused(broken, "ZIP", shelf)
    assert not (tmp_path / "evil.json").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_links_in_folders_are_refused(tmp_path: Path, shelf: Path) -> None:
    (tmp_path / "secret").write_text("{}")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "card.json").symlink_to(tmp_path / "secret")
    refused(tmp_path / "model", "link", shelf)
    refused(tmp_path / "nothing", "no such file", shelf)
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no model", shelf)


def test_weights_of_a_card_lie_beside_it(tmp_path: Path, shelf: Path) -> None:
    state_dict(tmp_path, "outside.pt")
    (tmp_path / "model").mkdir()
    digest = hashlib.sha256((tmp_path / "outside.pt").read_bytes()).hexdigest()
    values = CARD | {"weights": "../outside.pt", "sha256": digest}
    (tmp_path / "model" / "card.json").write_text(json.dumps(values))
    refused(tmp_path / "model", "beside it", shelf)


def test_doctor_looks_at_these_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from DLReconLib.doctor import examine

    add(state_dict(tmp_path / "in"), CARD)
    (user_folder() / "mine" / "weights.safetensors").write_bytes(b"12345678{")
    monkeypatch.setenv("DLRECON_MODELS", str(tmp_path / "none"))
    found = {f["what"]: f for f in examine()}
    assert not found["weights of mine"]["ok"]
    assert "dlrecon remove mine" in found["weights of mine"]["mend"]
    assert any(f["what"] == "models of your own" and not f["ok"] and "none" in f["found"] for f in examine())


def test_removing_needs_no_torch() -> None:
    import subprocess

    program = "import sys; from DLReconLib.library import remove; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_cards_of_the_zoo_count_as_shipped(tmp_path: Path) -> None:
    add(state_dict(tmp_path / "in"), CARD)
    assert not find_card("mine").shipped
    assert find_card("classical/nlm").shipped
    assert isinstance(find_card("mine"), ModelCard)
