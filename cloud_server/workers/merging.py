"""The figures of all workers and of their supervisor as those of one server.

Workers keep theirs in files, as ``prometheus_client`` does it for many processes: what a worker had
counted outlives it, however it ended, and the one in its place goes on from there.
"""

import resource
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.samples import Sample

from cloud_server.metrics import Meter

_CPU = "process_cpu_seconds"
_ALIKE = {"process_max_fds", "process_start_time_seconds"}
"""Figures of a process that make no sum."""


class Merged:
    """A collector of all that there is."""

    def __init__(self, meter: Meter, folder: Path, workers: Callable[[], Iterable[int]]) -> None:
        self._own, self._workers, self._cpu = meter.registry, workers, 0.0
        self._files = MultiProcessCollector(CollectorRegistry(), str(folder))

    def collect(self) -> Iterator[Metric]:
        """Each figure once, in the order of our own."""
        families = {family.name: family for family in self._own.collect()}
        for family in (*self._files.collect(), *self._processes()):
            known = families.get(family.name)
            families[family.name] = _sum(known, family) if known else family
        yield from map(self._growing, families.values())

    def _processes(self) -> Iterator[Metric]:
        """Of each worker; and what those have used that are no more."""
        for pid in self._workers():
            collector = ProcessCollector(pid=partial(int, pid), registry=None)
            yield from (family for family in collector.collect() if family.name not in _ALIKE)
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = Metric(_CPU, "", "counter")
        cpu.add_sample(f"{_CPU}_total", {}, ended.ru_utime + ended.ru_stime)
        yield cpu

    def _growing(self, family: Metric) -> Metric:
        """CPU time, which is read of one process after the other while they come and go, never shrinks."""
        if family.name == _CPU:
            (used,) = family.samples
            self._cpu = max(self._cpu, used.value)
            family.samples = [used._replace(value=self._cpu)]
        return family


def _sum(one: Metric, other: Metric) -> Metric:
    samples = {_key(sample): sample for sample in one.samples}
    for sample in other.samples:
        known = samples.get(_key(sample))
        samples[_key(sample)] = sample._replace(value=sample.value + (known.value if known else 0.0))
    one.samples = list(samples.values())
    return one


def _key(sample: Sample) -> tuple[str, tuple[tuple[str, str], ...]]:
    return sample.name, tuple(sorted(sample.labels.items()))
