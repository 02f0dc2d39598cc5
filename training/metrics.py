"""Word error rate, word start error and spurious words."""

from dataclasses import dataclass, field


def align(truth: list[str], heard: list[str]) -> tuple[int, list[tuple[int, int]]]:
    """Edit distance and the (truth, heard) index pairs of the words that were got right."""
    rows, cols = len(truth) + 1, len(heard) + 1
    cost = [[i + j if not i or not j else 0 for j in range(cols)] for i in range(rows)]
    for i in range(1, rows):
        for j in range(1, cols):
            same = cost[i - 1][j - 1] + (truth[i - 1] != heard[j - 1])
            cost[i][j] = min(same, cost[i - 1][j] + 1, cost[i][j - 1] + 1)
    pairs, i, j = [], rows - 1, cols - 1
    while i and j:
        if truth[i - 1] == heard[j - 1] and cost[i][j] == cost[i - 1][j - 1]:
            pairs.append((i - 1, j - 1))
            i, j = i - 1, j - 1
        elif cost[i][j] == cost[i - 1][j - 1] + 1:
            i, j = i - 1, j - 1
        elif cost[i][j] == cost[i - 1][j] + 1:
            i -= 1
        else:
            j -= 1
    return cost[-1][-1], pairs[::-1]


@dataclass
class Score:
    """Sums over streams; `offsets` are heard minus true word starts in seconds."""

    errors: int = 0
    words: int = 0
    heard: int = 0
    seconds: float = 0.0
    offsets: list[float] = field(default_factory=list)

    def add(self, truth: list[tuple[str, float, float]], heard: list[tuple[str, float]], seconds: float) -> None:
        texts = [(part, at) for text, at in heard for part in text.split()]
        errors, pairs = align([w for w, _, _ in truth], [w for w, _ in texts])
        self.errors += errors
        self.words += len(truth)
        self.heard += len(texts)
        self.seconds += seconds
        self.offsets += [texts[j][1] - truth[i][1] for i, j in pairs]

    @property
    def wer(self) -> float:
        return self.errors / max(1, self.words)

    @property
    def on_time(self) -> float:
        """Share of rightly heard words that start within 120 ms of the truth."""
        return sum(abs(o) <= 0.12 for o in self.offsets) / max(1, len(self.offsets))

    @property
    def spurious_per_minute(self) -> float:
        return self.heard / max(1e-9, self.seconds / 60)

    def line(self, name: str) -> str:
        if not self.words:
            return f"{name:28s} {self.spurious_per_minute:.2f} spurious words a minute ({self.seconds / 60:.1f} min)"
        return f"{name:28s} WER {100 * self.wer:5.1f} %  ({self.words} words)  starts within 120 ms: {100 * self.on_time:.0f} %"
