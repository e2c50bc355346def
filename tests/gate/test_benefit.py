"""Asking the cloud stops where that is proved to gain nothing, and does not flap."""

import numpy as np
import pytest

from edge_node.gate.benefit import PROBES, Benefit
from tests.gate.certificates import certificate

KEY = b"a key"
CLEAN, NOISY = (0.36, 0.27), (0.60, -0.045)
"""Deferred photos, as measured: share on which the models differ, and mean gain where they do."""


def benefit(gain: float = 0.1) -> Benefit:
    return Benefit(KEY, [], [gain])


def offload(
    one: Benefit, stream: tuple[float, float], count: int, seed: int, *, labelled: float = 1.0
) -> tuple[int, int]:
    """(offloads that were made, changes of mind) among so many deferrals, some of which get labels."""
    rng, (differs, gain) = np.random.default_rng(seed), stream
    made = changes = 0
    stopped = one.bins[0].stopped
    for number in range(count):
        if one.pays(f"{seed}-{number}", 0.2):
            made += 1
            other = bool(rng.random() < differs)
            one.answered(0.2, differs=other)
            if rng.random() < labelled:
                one.labelled(0.2, int(rng.choice([1, -1], p=[0.5 + gain / 2, 0.5 - gain / 2])) * other)
        changes += one.bins[0].stopped is not stopped
        stopped = one.bins[0].stopped
    return made, changes


def test_degraded_photos_are_no_longer_sent_once_labels_have_shown_that_it_is_no_use() -> None:
    shares = []
    for seed in range(10):
        one = benefit()
        _, changes = offload(one, NOISY, 3000, seed)
        assert (one.bins[0].stopped, changes) == (True, 1)
        made, _ = offload(one, NOISY, 2000, 100 + seed)
        shares.append(made / 2000)
    assert np.mean(shares) == pytest.approx(PROBES, abs=0.02)


def test_clean_photos_go_on_being_sent() -> None:
    assert [offload(benefit(), CLEAN, 4000, seed) for seed in range(20)] == [(4000, 0)] * 20


def test_without_labels_a_useless_cloud_that_differs_often_is_not_known_to_be() -> None:
    assert offload(benefit(), NOISY, 5000, 0, labelled=0.0) == (5000, 0)


def test_without_labels_a_cloud_that_says_the_same_is_not_asked() -> None:
    one = benefit()
    made, changes = offload(one, (0.01, 1.0), 3000, 0, labelled=0.0)
    assert made < 600
    assert changes == 1


def test_it_resumes_without_labels_when_the_stream_is_another() -> None:
    one = benefit()
    offload(one, NOISY, 3000, 0)
    assert one.bins[0].stopped
    made, changes = offload(one, CLEAN, 12_000, 1, labelled=0.0)
    assert (one.bins[0].stopped, changes) == (False, 1)
    assert made > 4000


def test_it_resumes_when_labels_show_a_gain() -> None:
    """As many differ as before, yet now the cloud is right: only labels can tell."""
    one = benefit()
    offload(one, NOISY, 3000, 0)
    _, changes = offload(one, (0.60, 0.6), 5000, 1)
    assert (one.bins[0].stopped, changes) == (False, 1)


@pytest.mark.parametrize("gain", [0.0, 0.05, 0.1])
def test_it_does_not_flap_whatever_the_gain(gain: float) -> None:
    """A mean over the last 50 labels changes its mind all the time: the negative control."""
    stream, rng = (0.5, gain / 0.5), np.random.default_rng(1)
    changes = [offload(benefit(), stream, 6000, seed)[1] for seed in range(10)]
    assert np.mean(changes) <= 1.5
    gains = rng.choice([1, -1], size=6000, p=[0.5 + gain, 0.5 - gain]) * (rng.random(6000) < 0.5)
    rolling = np.convolve(gains, np.full(50, 0.02), "valid") < 0.05
    assert np.count_nonzero(rolling[1:] != rolling[:-1]) > 50


def test_probes_are_the_same_for_the_same_ids() -> None:
    one, other = benefit(-0.1), benefit(-0.1)
    ids = [str(number) for number in range(5000)]
    probes = [name for name in ids if one.pays(name, 0.2)]
    assert probes == [name for name in ids if other.pays(name, 0.2)]
    assert len(probes) == pytest.approx(5000 * PROBES, rel=0.2)


def test_scores_fall_into_the_bins_of_the_certificate() -> None:
    one = Benefit.of(KEY, certificate(mean_gain=-0.01))
    low, high = one.bins
    assert (low.stopped, high.stopped) == (True, False)
    assert one.gain(0.29) == one.gain(float("nan")) == -0.01
    assert one.gain(0.3) == 0.02
    one.labelled(0.1, 1)
    assert one.gain(0.1) == 1
    assert Benefit.of(KEY, certificate(mean_gain=None)).gain(0.1) == 1


def test_bins_that_do_not_fit_their_edges_are_refused_in_a_line() -> None:
    with pytest.raises(ValueError, match="1 edges make 2 bins, not 3"):
        Benefit(KEY, [0.5], [0.1, 0.1, 0.1])
