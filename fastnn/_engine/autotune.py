"""How long compiled code runs before Python looks up, and with how many threads."""

from __future__ import annotations

#: Seconds that compiled code runs before Python may look up (progress, Ctrl-C).
SLICE = 0.05
#: Epochs that compiled code runs at most before that.
MAX_EPOCHS = 256
#: Seconds of real work by which one thread and many are compared before the faster goes on ...
TRIAL = 0.001
#: ... for so many seconds at first, then for twice as long each time, and for so many in the end.
FIRST_RETRY, LAST_RETRY = 0.05, 0.5


class SliceTuner:
    """How many steps to run before looking up, and with how many threads: both measured on the run itself.

    One thread runs some steps, then all run as many; whoever was faster goes on, and after a while both are
    tried again, for what else the machine does may have changed. Results do not depend on the choice, so it
    may be left to the clock.

    Parameters
    ----------
    n_threads : most threads
    or_one : whether one thread may turn out to be better; False always uses all
    """

    def __init__(self, n_threads: int, *, or_one: bool = True) -> None:
        self._candidates = [1, n_threads] if or_one and n_threads > 1 else [n_threads]
        self._count = 1
        self._each = 0.0  # seconds of a step, lately
        self._patience = FIRST_RETRY
        self._start_trial()

    def _start_trial(self) -> None:
        self._to_try = list(self._candidates)
        self._current = self._to_try.pop(0)
        self._is_warm = False
        self._seconds = dict.fromkeys(self._candidates, 0.0)
        self._steps = dict.fromkeys(self._candidates, 0)
        self._is_trial = len(self._candidates) > 1

    def next(self) -> tuple[int, int]:
        """Threads and steps of the next slice; a short one where it is only there to wake the threads."""
        return self._current, self._count if self._is_warm else max(1, self._count // 8)

    def epochs(self, n_steps: int) -> int:
        """Epochs of so many steps that fit in a slice; at least one."""
        return max(1, min(MAX_EPOCHS, round(SLICE / (self._each * n_steps)))) if self._each > 0.0 else 1

    def learn(self, n_threads: int, steps: int, seconds: float) -> None:
        """Take note of a slice."""
        if steps == 0:
            return
        if not self._is_warm:  # the first slice may have compiled the kernel, or woken the others
            self._is_warm = True
            return
        self._seconds[n_threads] += seconds
        self._steps[n_threads] += steps
        spent, each = self._seconds[n_threads], seconds / steps
        self._each = each
        self._count = max(1, min(self._count * 4, round((TRIAL if self._is_trial else SLICE) / each)))
        if self._is_trial and spent >= TRIAL:
            if self._to_try:
                self._current = self._to_try.pop(0)
                self._is_warm = False
            else:
                self._current = min(self._candidates, key=lambda n: self._seconds[n] / self._steps[n])
                self._is_trial = False
        elif not self._is_trial and len(self._candidates) > 1 and spent > max(self._patience, 200 * each):
            self._patience = min(2 * self._patience, LAST_RETRY)
            self._start_trial()
            self._count = max(1, round(TRIAL / each))  # so that trying the slower one costs little
