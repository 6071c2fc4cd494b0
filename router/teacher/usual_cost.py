"""What is normal for a teacher, learnt from its answers: what is late, and what a lost one used."""

from __future__ import annotations

from collections import deque

from costmodel.money.pricing import TokenUsage

CHARS_PER_TOKEN = 4
"""Rule of thumb until the first answer was seen."""
_LEARNING_RATE = 0.05


class Typical:
    """What a teacher's answers normally take and use, by exponential smoothing.

    Attributes:
        seconds: mean duration; 0 until the first answer.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._answers = 0
        self._recent_s: deque[float] = deque(maxlen=100)
        # Smoothed means of characters x, input tokens y, output tokens, x² and xy: the line
        # through them is overhead of the prompt plus tokens per character.
        self._x = self._y = self._xx = self._xy = 0.0
        self._output = 1.0

    def learn(self, text: str, usage: TokenUsage, seconds: float) -> None:
        """Learn from one answer."""
        self._answers += 1
        rate = max(_LEARNING_RATE, 1 / self._answers)
        self.seconds += rate * (seconds - self.seconds)
        self._recent_s.append(seconds)
        if not usage.input_tokens:
            return
        x, y = len(text), usage.input_tokens
        self._x += rate * (x - self._x)
        self._y += rate * (y - self._y)
        self._xx += rate * (x * x - self._xx)
        self._xy += rate * (x * y - self._xy)
        self._output += rate * (usage.output_tokens - self._output)

    @property
    def slow_s(self) -> float | None:
        """Seconds that 95 % of the recent answers stayed within; None while there are too few."""
        if len(self._recent_s) < 20:
            return None
        return sorted(self._recent_s)[int(0.95 * len(self._recent_s))]

    def usage(self, text: str) -> TokenUsage:
        """Return what an answer to a text of this length normally uses."""
        if not self._y:
            return TokenUsage(max(1, len(text) // CHARS_PER_TOKEN), 1)
        variance = self._xx - self._x**2
        slope = (self._xy - self._x * self._y) / variance if variance > 1.0 else 0.0
        return TokenUsage(
            max(1, round(self._y + slope * (len(text) - self._x))), round(self._output)
        )
