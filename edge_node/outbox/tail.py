"""The rows committed last, in memory: who sends them need not read them back."""

from collections import OrderedDict
from collections.abc import Iterable

from edge_node.outbox.change import Row


class Tail:
    """Every row that waits from ``start`` on, and at most ``most`` bytes of them."""

    def __init__(self, start: int, most: int) -> None:
        self.start, self._most, self._size = start, most, 0
        self._rows: OrderedDict[int, Row] = OrderedDict()

    def extend(self, rows: Iterable[Row]) -> None:
        """Later rows; the earliest leave where there is no room."""
        for row in rows:
            self._rows[row.seq] = row
            self._size += len(row.payload)
        while self._size > self._most:
            self.start = self._pop_first() + 1

    def discard(self, seqs: Iterable[int]) -> None:
        """These wait no more."""
        for seq in seqs:
            if row := self._rows.pop(seq, None):
                self._size -= len(row.payload)

    def discard_below(self, floor: int) -> None:
        """Nor does anything below."""
        while self._rows and next(iter(self._rows)) < floor:
            self._pop_first()

    def read(self, after: int, limit: int, before: int) -> list[Row]:
        """The first rows with ``start - 1 <= after < seq < before``."""
        found: list[Row] = []
        for seq in range(after + 1, before):
            if row := self._rows.get(seq):
                found.append(row)
                if len(found) == limit:
                    break
        return found

    def _pop_first(self) -> int:
        seq, row = self._rows.popitem(last=False)
        self._size -= len(row.payload)
        return seq
