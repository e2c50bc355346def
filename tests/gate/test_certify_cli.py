"""``edge-node prepare certify``, ``plan`` and ``certificate show`` as a user meets them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_node.gate import certificate as contract
from edge_node.gate.certificate import Certificate, verify
from edge_node.gate.confidence import ConfidenceGate
from edge_node.gate.scores import measure_of
from edge_node.model import EdgeModel
from edge_node.prepare.certify.observe import Pair, observe
from edge_node.prepare.data import Samples
from protos import artifact as artifacts
from protos import image
from protos.artifact import Artifact, ArtifactError, ImageInput
from tests.gate import pairs
from tests.nodes import Ended, finished


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return pairs.tensors(tmp_path_factory.mktemp("tensors"))


@pytest.fixture
def folder(workplace: Path, models: Pair) -> Path:
    """A working directory with both artifacts and samples."""
    for made in (models.edge, models.cloud):
        shutil.copytree(made.directory, workplace / made.directory.name)
    save("samples.npz", pairs.samples())
    return workplace


def save(name: str, samples: Samples) -> None:
    assert samples.labels is not None
    np.savez(name, samples=samples.inputs, labels=samples.labels)


def certify(*arguments: str, data: str = "samples.npz") -> Ended:
    return finished("prepare", "certify", "edge", "cloud", data, "-o", "certified", *arguments, stdin=b"")


def said(ended: Ended) -> str:
    """The one line that a refusal is."""
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("INFO")]
    assert len(lines) == 1, ended.stderr
    return lines[0]


def held(directory: str | Path = "certified") -> tuple[Certificate, Artifact]:
    found = artifacts.load(directory)
    certificate = contract.load(found)
    assert certificate
    return certificate, found


def test_the_artifact_carries_the_promise_and_its_gate(folder: Path) -> None:
    ended = certify()
    assert ended.code == 0, ended.stderr
    certificate, found = held()
    assert certificate.verdict in ended.stdout
    assert verify(certificate, found) is None
    gate = found.manifest.gate
    assert gate
    assert (gate.score, gate.temperature, gate.threshold) == (
        certificate.score,
        certificate.temperature,
        certificate.threshold,
    )
    assert found.manifest.cloud is not None
    assert found.manifest.cloud.sha256 == artifacts.load("cloud").sha256
    assert certificate.payload == 32
    assert [point.epsilon for point in certificate.stricter] == [0.005]
    curve = json.loads((folder / "certified.curve.json").read_text())
    assert set(curve["points"]) == {"certified", "naive", "oracle"}
    assert curve["points"]["oracle"]["offload"] < curve["points"]["certified"]["offload"]
    assert curve["points"]["certified"]["offload"] == pytest.approx(certificate.offload)
    assert (folder / "certified.curve.svg").read_bytes().startswith(b"<?xml")


def test_what_it_promises_is_kept_by_the_gate_of_the_device_on_other_samples(folder: Path) -> None:
    assert certify("--epsilon", "0.02").code == 0
    certificate, found = held()
    fresh = pairs.samples(6000, seed=5)
    seen, _ = observe(Pair(found, artifacts.load(folder / "cloud")), fresh)
    gate = ConfidenceGate(certificate.temperature, certificate.threshold, measure_of(certificate.score))
    keeps = np.array([gate.decide(row).accepted for row in seen.logits])
    drop = (seen.gain * keeps).mean()
    assert drop <= 0.02
    assert (~keeps).mean() == pytest.approx(certificate.offload, abs=0.03)
    kept_differ = (seen.differs & keeps).sum() / keeps.sum()
    assert kept_differ <= certificate.q0


def test_no_second_look_at_the_same_samples(folder: Path) -> None:
    assert certify().code == 0
    first = (folder / "certified" / "certificate.json").read_bytes()
    ended = certify("--epsilon", "0.02")
    assert ended.code == 2
    assert "100% of the CERT samples were used on" in said(ended)
    assert "for epsilon 0.01: looking twice breaks the promise" in said(ended)
    assert (folder / "certified" / "certificate.json").read_bytes() == first
    longer = pairs.samples()
    more = pairs.samples(40, seed=8)
    assert longer.labels is not None
    assert more.labels is not None
    save(
        "samples.npz",
        Samples(np.vstack([longer.inputs, more.inputs]), np.hstack([longer.labels, more.labels])),
    )
    assert certify().code == 2, "a few more samples do not make them new"


def test_the_same_question_has_the_same_answer_and_fresh_samples_another(folder: Path) -> None:
    for _ in range(2):
        assert certify().code == 0
    assert len(list(folder.glob("*.certified.jsonl"))) == 1
    save("fresh.npz", pairs.samples(seed=2))
    assert certify("--epsilon", "0.02", data="fresh.npz").code == 0


def test_a_certificate_tells_of_other_models_that_the_same_samples_have_judged(folder: Path) -> None:
    """To choose among them by what they say is to look at them more than once."""
    assert "have judged" not in certify().stdout
    shutil.rmtree(folder / "edge")
    shutil.copytree(pairs.tensors(folder / "other", first=5.1).edge.directory, folder / "edge")
    ended = certify()
    assert ended.code == 0, ended.stderr
    assert "note: these samples have judged another pair of models before" in ended.stdout
    assert "have judged another pair" in held()[0].warnings[-1]
    save("fresh.npz", pairs.samples(seed=2))
    assert "have judged" not in certify(data="fresh.npz").stdout


def test_a_look_that_ended_without_a_certificate_was_a_look(folder: Path) -> None:
    save("few.npz", pairs.samples(300, seed=3))
    ended = certify("--epsilon", "0.001", data="few.npz")
    assert ended.code == 5
    assert said(ended).startswith("edge-node: No certificate: 0.1 % with 95 % confidence takes at least")
    assert not (folder / "certified").exists()
    assert certify("--epsilon", "0.05", data="few.npz").code == 2


def test_a_changed_byte_ends_the_promise(folder: Path) -> None:
    assert certify().code == 0
    certificate, found = held()
    other = pairs.tensors(folder / "other", first=5.1)
    assert (problem := verify(certificate, other.edge))
    assert problem.startswith("the certificate is for edge model")
    model = found.model
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    with pytest.raises(ArtifactError, match=r"model.onnx is not the one packed"):
        artifacts.load("certified")


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("threshold", 0.5, "the artifact's gate is not the certified one"),
        ("cloud", {"name": "cloud", "sha256": 64 * "0"}, "the certificate is for cloud model"),
    ],
)
def test_a_manifest_that_was_changed_does_not_go_with_it(
    folder: Path, field: str, value: object, problem: str
) -> None:
    assert certify().code == 0
    path = folder / "certified" / "manifest.json"
    manifest = json.loads(path.read_text())
    (manifest["gate"] if field == "threshold" else manifest)[field] = value
    path.write_text(json.dumps(manifest))
    ended = finished("certificate", "show", "certified", stdin=b"")
    assert f"valid      no: {problem}" in ended.stdout


@pytest.mark.usefixtures("folder")
def test_show_says_what_is_promised() -> None:
    assert certify().code == 0
    certificate, _ = held()
    ended = finished("certificate", "show", "certified", stdin=b"")
    assert ended.code == 0
    assert ended.stdout.splitlines()[:2] == [certificate.verdict, "valid      yes"]
    without = finished("certificate", "show", "edge", stdin=b"")
    assert without.code == 2
    assert "edge carries no certificate" in said(without)


def test_labels_and_groups_may_come_in_files_of_their_own(folder: Path) -> None:
    samples = pairs.samples()
    assert samples.labels is not None
    np.save("bare.npy", samples.inputs)
    Path("names.txt").write_text("\n".join(pairs.LABELS[label] for label in samples.labels))
    Path("sites.txt").write_text("\n".join(f"site-{row % 30}" for row in range(len(samples))))
    ended = certify("--labels", "names.txt", "--groups", "sites.txt", data="bare.npy")
    assert ended.code == 0, ended.stderr
    certificate, _ = held()
    assert certificate.promise == "drop"
    assert certificate.groups == 24
    assert "note: the promise is for further samples of these 24 groups, not for new ones" in ended.stdout
    unlabelled = certify("--epsilon", "0.05", data="bare.npy")
    assert unlabelled.code == 2, "the labels are no part of what was seen"
    (folder / "sites.txt").write_text("site\n")
    assert "names the groups of 1 samples, there are 3000" in said(
        certify("--groups", "sites.txt", data="bare.npy")
    )


@pytest.mark.usefixtures("folder")
def test_exact_copies_are_refused() -> None:
    samples = pairs.samples(500)
    assert samples.labels is not None
    save("samples.npz", Samples(np.tile(samples.inputs, (4, 1)), np.tile(samples.labels, 4)))
    assert "1500 of 2000 samples are exact copies of others" in said(certify())


def test_models_that_do_not_belong_together_are_refused(folder: Path) -> None:
    ended = finished("prepare", "certify", "edge", "edge-of-nothing", "samples.npz", "-o", "x", stdin=b"")
    assert "no such directory" in said(ended)
    photos = pairs.photos(folder / "p")
    ended = finished(
        "prepare", "certify", "edge", str(photos.cloud.directory), "samples.npz", "-o", "x", stdin=b""
    )
    assert "one artifact takes images, the other tensors: they share no payload" in said(ended)


def test_the_cloud_answers_to_the_photo_as_it_travels(workplace: Path) -> None:
    """JPEG, decoded for each model on its own: not the pixels that the edge saw."""
    pair = pairs.photos(workplace)
    samples = pairs.pictures(700)
    assert samples.labels is not None
    for number, (pixels, label) in enumerate(zip(samples.inputs, samples.labels, strict=True)):
        (folder := workplace / "photos" / pairs.LABELS[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number:04}.jpg", quality=85)
    ended = certify("--epsilon", "0.05", data="photos")
    assert ended.code == 0, ended.stderr
    certificate, _ = held()
    sizes = [path.stat().st_size for path in workplace.glob("photos/*/*.jpg")]
    assert certificate.binding
    assert certificate.binding.codec == "captured"
    assert certificate.payload is not None
    assert min(sizes) <= certificate.payload - 4 <= max(sizes)
    assert certificate.cloud_accuracy is not None
    assert certificate.edge_accuracy is not None
    assert certificate.cloud_accuracy > certificate.edge_accuracy
    photos = np.array([path.read_bytes() for path in sorted(workplace.glob("photos/*/*.jpg"))[:40]], object)
    seen, _ = observe(pair, Samples(photos))
    for model, answers in ((pair.edge, seen.edge), (pair.cloud, seen.cloud)):
        how, running = model.manifest.preprocessing, EdgeModel(model, 1)
        assert isinstance(how, ImageInput)
        assert list(answers) == [running.predict(image.decode(it, how)).argmax() for it in photos]
    assert seen.sizes is not None
    assert list(seen.sizes) == [len(it) + 4 for it in photos], "a BYTES element has its length before it"


def test_plan_counts_before_there_are_samples(folder: Path) -> None:
    ended = finished("prepare", "plan", "--epsilon", "0.01", stdin=b"")
    assert ended.code == 0
    assert ended.stdout.startswith("epsilon 0.01 at 0.95: 299 samples without a failure")
    assert "   5000  38" in ended.stdout
    assert not list(folder.glob("*.jsonl"))


@pytest.mark.usefixtures("folder")
def test_plan_looks_ahead_from_the_samples_that_tune_and_leaves_the_others_unseen() -> None:
    asked = ("--offload", "0.3", "--bytes", "0.3")
    ended = finished("prepare", "plan", "edge", "cloud", "samples.npz", *asked, stdin=b"")
    assert ended.code == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[0] == "from 600 samples; the other 2400 stay unseen for certify"
    assert lines[1].startswith("offload 0.3: threshold")
    assert lines[2].startswith("certifiable there: drop")
    assert lines[3].startswith("bytes 0.3: threshold")
    assert lines[4].startswith("certifiable there: drop")
    assert lines[7].split() == ["300", "0%", "-"]
    assert lines[-1].split()[1] == "100%"
    assert certify().code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--offload", "0.3"), "--offload takes EDGE CLOUD DATA"),
        (("edge",), "give EDGE CLOUD DATA, all three, or none"),
        (("--bytes", "0.3"), "--bytes takes EDGE CLOUD DATA"),
        (("--bytes", "0"), "--bytes 0: a share between 0 and 1"),
        (("--offload", "3"), "--offload 3: a share between 0 and 1"),
        (("--epsilon", "0"), "epsilon 0: a share between 0 and 1"),
    ],
)
def test_a_wrong_plan_is_said_in_a_line(workplace: Path, arguments: tuple[str, ...], words: str) -> None:
    ended = finished("prepare", "plan", *arguments, stdin=b"")
    assert ended.code == 2
    assert words in said(ended)
    assert not list(workplace.iterdir())
