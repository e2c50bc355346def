"""``edge-node prepare qat``: a recipe becomes an artifact, or one clear line."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_node.cli import main
from edge_node.prepare.qat.cli import EXAMPLE
from protos import artifact

RECIPE = """
[code]
model = "recipe_code:model"
batches = "recipe_code:batches"
test = "recipe_code:test"

[train]
epochs = 2
learning_rate = 1e-3

[artifact]
out = "edge"
labels = "labels.txt"
name = "patterns"
"""
CODE = """
import torch
from tests.edge_node.prepare import qat_nets

def model(): return qat_nets.trained(qat_nets.Dense)
def batches(): return qat_nets.batches(qat_nets.Dense)
def test(): return qat_nets.samples(qat_nets.Dense, 1000, seed=9)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a sound recipe and its code in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "recipe_code", raising=False)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "recipe_code.py").write_text(CODE)
    (tmp_path / "labels.txt").write_text("left\nright\nup\n")
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that ``edge-node prepare qat recipe.toml`` ends with."""
    with pytest.raises(SystemExit) as ended:
        main(["prepare", "qat", "recipe.toml"])
    assert ended.value.code in (2, 130)
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("INFO ")]
    assert len(lines) == 1
    return lines[0]


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def with_torch() -> None:
    pytest.importorskip("torch", reason="torch is not installed: pip install 'tidegate[qat]'")


def test_a_recipe_becomes_an_artifact(
    folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with_torch()
    caplog.set_level(logging.INFO)
    main(["prepare", "qat", "recipe.toml"])

    made = artifact.load(folder / "edge")
    assert (made.manifest.name, made.manifest.precision) == ("patterns", "int8")
    report = json.loads((folder / "edge" / "report.json").read_text())
    assert report["top1"]["int8"] >= report["top1"]["fp32"] - 0.01
    assert report["agreement_with_fake_quantised"] >= 0.999
    assert report["int8_layers"] == report["layers"] == 3
    assert "top-1 of 1000 test samples: fp32 " in capsys.readouterr().out
    assert [it.getMessage()[:12] for it in caplog.records] == ["epoch 1 of 2", "epoch 2 of 2"]
    main(["selftest", str(folder / "edge")])
    assert {path.name for path in folder.iterdir()} >= {"edge", "recipe.toml", "labels.txt"}


def test_the_same_recipe_gives_the_same_bytes(folder: Path) -> None:
    with_torch()
    digests = []
    for _ in range(2):
        main(["prepare", "qat", "recipe.toml"])
        digests.append(artifact.digest(folder / "edge" / artifact.MANIFEST))
    assert digests[0] == digests[1]


def test_a_teacher_and_a_step_of_ones_own(folder: Path) -> None:
    with_torch()
    main(["prepare", "qat", "recipe.toml"])
    (folder / "edge").rename(folder / "cloud")
    change(folder / "recipe.toml", "[train]", 'step = "recipe_code:step"\n[train]')
    change(folder / "recipe.toml", 'out = "edge"', 'out = "edge"\ncloud = "cloud"')
    append(folder / "recipe.toml", '[distill]\nteacher = "cloud"\nweight = 0.9\n')
    append(
        folder / "recipe_code.py",
        "def step(model, batch): return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])\n",
    )
    sys.modules.pop("recipe_code")
    main(["prepare", "qat", "recipe.toml"])
    report = json.loads((folder / "edge" / "report.json").read_text())
    cloud = artifact.load(folder / "edge").manifest.cloud
    assert cloud is not None
    assert cloud.sha256 == artifact.load(folder / "cloud").sha256
    assert report["distill"] == {"weight": 0.9, "temperature": 4.0}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('out = "edge"\n', "", "recipe.toml: artifact.out: required, but not given"),
        ("epochs = 2", "epoch = 2", "recipe.toml: train.epoch: unknown key"),
        ("epochs = 2", "epochs = 0", "recipe.toml: train.epochs: expected `int` >= 1"),
        ("recipe_code:model", "recipe_code.model", "recipe.toml: code.model: expected `str` matching regex"),
        ("[train]", '[quantize]\nweights = "int4"\n[train]', "quantize.weights: invalid enum value 'int4'"),
        ('name = "patterns"', 'name = "a b"', "artifact.name: expected `str` matching regex"),
        ("[train]", "[train", "recipe.toml: not TOML"),
    ],
)
def test_a_recipe_with_a_mistake(
    folder: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    change(folder / "recipe.toml", old, new)
    assert message in refused(capsys)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "recipe.toml",
            "recipe_code:model",
            "nowhere:model",
            "code.model: there is no module 'nowhere' here",
        ),
        (
            "recipe.toml",
            "recipe_code:test",
            "recipe_code:tset",
            "code.test: recipe_code has no function 'tset'",
        ),
        (
            "recipe_code.py",
            "import torch",
            "import nothere",
            "recipe_code needs module 'nothere', which is not",
        ),
        (
            "recipe_code.py",
            "import torch",
            "1 / 0",
            "importing recipe_code: ZeroDivisionError: division by z",
        ),
        ("recipe_code.py", "import torch", "def", "importing recipe_code: SyntaxError: invalid syntax"),
        (
            "recipe_code.py",
            "return qat_nets.trained",
            "return ",
            "recipe_code:model gives type, not a torch.nn",
        ),
        (
            "recipe_code.py",
            "def model(): ",
            "def model(): raise OSError('no weights')\n#",
            "recipe_code:model: OSE",
        ),
        (
            "recipe_code.py",
            "def test(): ",
            "def test(): return [[1]]\n#",
            "recipe_code:test: ValueError: not eno",
        ),
        ("recipe_code.py", "seed=9)", "seed=9)[0] * float('nan'), [0]", "1000 of 1000 samples have NaN"),
        ("recipe_code.py", "seed=9)", "seed=9)[0], [0]", "there are 1 labels for 1000 samples"),
        ("labels.txt", "left\n", "", "label 2 of sample"),
    ],
)
def test_code_with_a_mistake(  # noqa: PLR0913, PLR0917 - a table of them
    folder: Path, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str, message: str
) -> None:
    with_torch()
    change(folder / file, old, new)
    assert message in refused(capsys)
    assert not (folder / "edge").exists()


def test_one_label_too_many_is_said_before_the_training(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_torch()
    append(folder / "labels.txt", "down\n")
    change(folder / "recipe_code.py", "def batches(): ", "def batches(): raise SystemExit('trained!')\n#")
    assert "4 labels for 3 classes" in refused(capsys)


def test_missing_labels_and_a_folder_of_other_things(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_torch()
    (folder / "labels.txt").rename(folder / "names.txt")
    assert "labels labels.txt: " in refused(capsys)
    (folder / "edge").mkdir()
    assert "edge exists and is no artifact; choose another or remove it" in refused(capsys)


def test_an_interrupted_training_leaves_the_artifact_as_it_was(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_torch()
    main(["prepare", "qat", "recipe.toml"])
    before = artifact.load(folder / "edge").sha256
    listing = sorted(folder.rglob("*"))
    change(folder / "recipe.toml", "epochs = 2", "epochs = 3")
    change(
        folder / "recipe_code.py",
        "def batches(): ",
        "calls = []\ndef batches():\n"
        "    calls.append(1)\n    if len(calls) > 2: raise KeyboardInterrupt\n    ",
    )
    sys.modules.pop("recipe_code")
    capsys.readouterr()
    assert refused(capsys) == "edge-node: interrupted; nothing was written"
    assert artifact.load(folder / "edge").sha256 == before
    assert sorted(folder.rglob("*")) == listing


def test_without_torch_the_command_says_what_to_install(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [it for it in sys.modules if it.startswith("edge_node.prepare.qat.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "torch is not installed: pip install 'tidegate[qat]'" in refused(capsys)
    assert not (folder / "edge").exists()


def test_the_recipe_that_help_shows_is_sound(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "edge_node.prepare.qat.run", None)  # to get no further than the recipe
    (folder / "recipe.toml").write_text(EXAMPLE)
    assert "edge_node.prepare.qat.run is not installed" in refused(capsys)


def test_other_commands_load_no_torch(tmp_path: Path) -> None:
    code = "import sys, edge_node.prepare.cli, edge_node.prepare.qat.recipe; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "HOME": str(tmp_path)})
