"""Files of weights: what is written is read back, and what may be damaged or hostile is refused without running it."""

import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bdray.exceptions import CheckpointError
from bdray.models import weights
from bdray.testing import CONTEXT_LENGTH, TOWERS, Tower, tiny_model, tiny_tokenizer

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b.c": torch.tensor(7), "half": torch.ones(3, dtype=torch.float16)}
VISION = {"image_size": 32, **TOWERS["vit"]}
TEXT = {
    "context_length": CONTEXT_LENGTH,
    "vocab_size": tiny_tokenizer().vocab_size,
    "width": 16,
    "heads": 2,
    "layers": 1,
    "mlp_ratio": 2.0,
}
PICKLE = (
    "is neither safetensors nor a torch zip file. Old pickle files are refused because reading one runs its code; "
    "convert it to safetensors where you trust it."
)
NOT_TENSORS = (
    "holds more than tensors ({}), and reading it would run its code. It is refused; where you trust it, save its "
    "state_dict() as safetensors."
)


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], value) for name, value in second.items())


def test_weights_are_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    model = tiny_model("resnet")
    weights.save(model.state_dict(), path)
    # Every tensor comes back, to the bit, whatever its layout in memory (this model is channels-last).
    assert equal(weights.load(path), dict(model.state_dict()))
    weights.save(TENSORS, path)
    assert equal(weights.load(path), TENSORS)
    weights.check(path)


@pytest.mark.parametrize("length", range(64, 64 + 8 * 34, 8))
def test_headers_of_every_length_are_read(length: int, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    weights.save({"x" * length: torch.ones(2)}, path)
    # A header of 128 bytes (mod 256) begins with the byte that a pickle begins with.
    assert list(weights.load(path)) == ["x" * length]


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


def truncated(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def safetensors_file(folder: Path) -> bytes:
    weights.save(TENSORS, folder / "whole")
    return (folder / "whole").read_bytes()


def torch_file(folder: Path, content: object) -> bytes:
    torch.save(content, folder / "whole")
    return (folder / "whole").read_bytes()


def old_torch_file(folder: Path) -> bytes:
    torch.save(TENSORS, folder / "whole", _use_new_zipfile_serialization=False)
    return (folder / "whole").read_bytes()


def torch_script(folder: Path) -> bytes:
    with zipfile.ZipFile(folder / "whole", "w") as archive:
        for name in ("code/__torch__.py", "constants.pkl", "data.pkl", "version"):
            archive.writestr(f"model/{name}", b"")
    return (folder / "whole").read_bytes()


def header(text: bytes, rest: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text + rest


TWO_FLOATS = b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'


@pytest.mark.parametrize(
    ("make", "message"),
    [
        # Not a file of weights at all.
        pytest.param(lambda folder: b"", "holds only 0 bytes, which is no checkpoint. Copy it again.", id="empty"),
        pytest.param(lambda f: b"12345678", "holds only 8 bytes, which is no checkpoint. Copy it again.", id="short"),
        pytest.param(lambda folder: b"<!DOCTYPE html><html>", PICKLE, id="web page"),
        pytest.param(lambda folder: header(b"[1, 2]"), PICKLE, id="no object"),
        pytest.param(
            lambda folder: header(b'{"a": }'), "the safetensors header is damaged. Copy the file again.", id="no JSON"
        ),
        pytest.param(
            lambda folder: header(b'{"a": 1}'), "the safetensors header is damaged. Copy the file again.", id="no entry"
        ),
        pytest.param(
            lambda folder: header(b'{"a": {"data_offsets": [0, "x"]}}'),
            "the safetensors header is damaged. Copy the file again.",
            id="no number",
        ),
        pytest.param(
            lambda folder: header(b'{"\xff": 1}'),
            "the safetensors header is damaged. Copy the file again.",
            id="no UTF-8",
        ),
        pytest.param(
            lambda folder: header(b'{"a":' + b"[" * 100_000),
            "the safetensors header is damaged. Copy the file again.",
            id="too deep",
        ),
        # A download that broke off.
        pytest.param(
            lambda folder: header(TWO_FLOATS, b"1234567"), "is truncated: 76 bytes of 77. Copy it again.", id="cut data"
        ),
        pytest.param(
            lambda folder: header(TWO_FLOATS)[:50],
            "is truncated: 50 bytes of more than 69. Copy it again.",
            id="cut header",
        ),
        pytest.param(
            lambda folder: truncated(torch_file(folder, TENSORS)),
            "the torch file is truncated. Copy it again.",
            id="cut zip",
        ),
        # Files that are read by running them.
        pytest.param(lambda folder: old_torch_file(folder), PICKLE, id="old torch file"),
        pytest.param(lambda folder: pickle.dumps({"a": [1.0]}, 2), PICKLE, id="pickle 2"),
        pytest.param(lambda folder: pickle.dumps({"a": [1.0]}, 5), PICKLE, id="pickle 5"),
        pytest.param(lambda folder: pickle.dumps(Malicious(folder / "EVIL")), PICKLE, id="malicious pickle"),
        pytest.param(
            lambda folder: torch_file(folder, {"a": Malicious(folder / "EVIL")}),
            NOT_TENSORS.format("builtins.getattr, pathlib.Path, pathlib.PosixPath"),
            id="malicious zip",
        ),
        pytest.param(
            lambda folder: torch_file(folder, nn.Linear(2, 2)),
            NOT_TENSORS.format("torch.nn.modules.linear.Linear"),
            id="whole module",
        ),
        pytest.param(
            lambda folder: torch_script(folder),
            "is a TorchScript archive, as OpenAI publishes CLIP, and holds code. For OpenAI's weights give "
            "model.pretrained=openai; otherwise save its state_dict() as safetensors where you trust it.",
            id="TorchScript",
        ),
        # Harmless, but no weights.
        pytest.param(lambda f: torch_file(f, [torch.ones(1)]), "must hold a mapping of names to tensors.", id="list"),
        pytest.param(lambda f: torch_file(f, {"lr": 1.0}), "must hold a mapping of names to tensors.", id="numbers"),
        pytest.param(
            lambda f: torch_file(f, {1: torch.ones(1)}), "must hold a mapping of names to tensors.", id="nameless"
        ),
    ],
)
def test_bad_files_are_refused(make: Callable[[Path], bytes], message: str, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(make(tmp_path))
    for read in (weights.load, weights.header):
        with pytest.raises(CheckpointError, match=f"^{re.escape(f'{path}: {message}')}$"):
            read(path)
    assert not (tmp_path / "EVIL").exists()  # it was not run


def test_the_trap_is_a_trap(tmp_path: Path) -> None:
    # What the test above proves not to happen does happen where pickle is used.
    pickle.loads(pickle.dumps(Malicious(tmp_path / "EVIL")))
    assert (tmp_path / "EVIL").exists()


def test_missing_and_unreadable_files_are_named(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "nowhere", "No such file or directory"), (tmp_path, "Is a directory")):
        message = f"{path}: cannot be read ({reason}). Give the path of a file of weights."
        with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
            weights.check(path)


def test_check_sees_what_can_be_seen_without_loading(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    # Planning a study refuses a broken file before anything is computed; it does not read gigabytes for that.
    for content in (b"", truncated(safetensors_file(tmp_path)), truncated(torch_file(tmp_path, TENSORS))):
        path.write_bytes(content)
        with pytest.raises(CheckpointError):
            weights.check(path)


def test_a_damaged_pickle_inside_a_torch_file_is_refused(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "whole")
    with zipfile.ZipFile(tmp_path / "whole") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (name,) = (name for name in members if name.endswith("data.pkl"))
    path = tmp_path / "weights"
    refusals = []
    for index in range(0, len(members[name]), 3):
        damaged = bytearray(members[name])
        damaged[index] ^= 0xFF
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in members.items():
                archive.writestr(member, bytes(damaged) if member == name else content)
        # Whatever byte is wrong, the outcome is tensors or an error that names the file.
        try:
            loaded = weights.load(path)
        except CheckpointError as error:
            refusals.append(str(error))
        else:
            assert all(isinstance(value, Tensor) for value in loaded.values())
    assert all(refusal.startswith(f"{path}: ") for refusal in refusals)


@pytest.mark.parametrize(
    "content",
    [
        TENSORS,
        OrderedDict(TENSORS),
        # Trained with DataParallel or DDP.
        {f"module.{name}": value for name, value in TENSORS.items()},
        # A whole training state, as CleanCLIP (state_dict) and others (model) write it.
        {"epoch": 3, "name": "run", "state_dict": TENSORS, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}},
        {"model": {f"module.{name}": value for name, value in TENSORS.items()}},
        # Trained by DDP around a compiled model, and the other way round.
        {f"module._orig_mod.{name}": value for name, value in TENSORS.items()},
        {"model_state_dict": {f"_orig_mod.module.{name}": value for name, value in TENSORS.items()}},
        {"state_dict": {"model": TENSORS}},
    ],
)
def test_torch_files_of_tensors_are_read(content: object, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    assert equal(weights.load(path), TENSORS)
    # The header says the same names and shapes, without memory for values.
    found = weights.header(path)
    assert {name: value.shape for name, value in found.items()} == {
        name: value.shape for name, value in TENSORS.items()
    }
    assert all(value.is_meta for value in found.values())


def test_assign_copies_what_fits() -> None:
    source, target = tiny_model("vit", seed=0), tiny_model("vit", seed=1)
    weights.assign(target, source.state_dict(), "x")
    assert equal(dict(target.state_dict()), dict(source.state_dict()))
    # The model keeps its own type and memory.
    weights.assign(target, {name: value.double() for name, value in source.state_dict().items()}, "x")
    assert target.visual.proj.dtype == torch.float32


def as_cleanclip(state: dict[str, Tensor]) -> dict[str, object]:
    """What src/main.py of CleanCLIP's public code saves: names of DataParallel, in the state of a training."""
    named = OrderedDict((f"module.{name}", value) for name, value in state.items())
    optimizer = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-5, "betas": (0.9, 0.999)}]}
    return {"epoch": 64, "name": "run", "state_dict": named, "optimizer": optimizer}


def as_open_clip(state: dict[str, Tensor]) -> dict[str, object]:
    """What open_clip's training saves: with a scaler of mixed precision."""
    return {"epoch": 3, "name": "run", "state_dict": state, "optimizer": {}, "scaler": {"scale": 65536.0}}


def as_openai(state: dict[str, Tensor]) -> dict[str, object]:
    """OpenAI's published models as a state_dict: half precision, and three numbers among the tensors."""
    halves = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    numbers = {name: torch.tensor(224) for name in ("input_resolution", "context_length", "vocab_size")}
    return {**halves, **numbers, "logit_scale": halves["logit_scale"].reshape(1)}


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("convert", [as_cleanclip, as_open_clip, as_openai])
def test_published_formats_are_read(
    convert: Callable[[dict[str, Tensor]], object], tower: Tower, tmp_path: Path
) -> None:
    source, target = tiny_model(tower, seed=0), tiny_model(tower, seed=1)
    torch.save(convert(dict(source.state_dict())), tmp_path / "epoch.best.pt")
    tensors = weights.load(tmp_path / "epoch.best.pt")
    weights.check_fits(target, weights.header(tmp_path / "epoch.best.pt"), "x")
    weights.assign(target, tensors, "x")
    # Every weight arrives, in the model's own type.
    for name, value in source.state_dict().items():
        tolerance = 1e-3 if convert is as_openai else 0.0
        torch.testing.assert_close(target.state_dict()[name], value, rtol=tolerance, atol=tolerance)


def test_a_text_tower_may_be_a_module_of_its_own() -> None:
    import open_clip

    plain, fields = tiny_model("vit"), {"embed_dim": 16, "quick_gelu": True, "vision_cfg": VISION, "text_cfg": TEXT}
    custom = open_clip.CustomTextCLIP(**fields)
    weights.assign(custom, plain.state_dict(), "x")
    tokens = torch.arange(16)[None]
    # As open_clip's EVA models have it: the same captions give the same features.
    assert torch.equal(custom.eval().encode_text(tokens), plain.eval().encode_text(tokens))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda state: state.pop("a"), "missing a"),
        (lambda state: state.update(z=torch.ones(1)), "unknown z"),
        (lambda state: state.update(a=torch.ones(3)), "a is (3,), not (2,)"),
        # The first three of many.
        (lambda state: state.clear(), "missing a; missing b; missing c; and 1 more"),
    ],
)
def test_assign_refuses_what_does_not_fit(change: Callable[[dict[str, Tensor]], object], problem: str) -> None:
    model = nn.ParameterDict({name: nn.Parameter(torch.zeros(2)) for name in "abcd"})
    state = {name: torch.ones(2) for name in "abcd"}
    change(state)
    message = f"victim.pt: does not fit the model: {problem}. Check model.architecture."
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        weights.assign(model, state, "victim.pt")
    # Nothing is copied by halves.
    assert all(not value.any() for value in model.values())
