"""Auto-tuning of slice length (steps per call of compiled code) and number of threads."""

from __future__ import annotations

#: Seconds that compiled code runs before control returns to Python (progress, Ctrl-C).
SLICE = 0.05
#: Maximum number of epochs per slice.
MAX_EPOCHS = 256
#: Seconds of training steps by one thread that are compared with those of all threads; the faster is kept.
TRIAL = 0.001
#: Seconds and steps of all threads after which they count as slower if no slice of them has been faster; of long steps
#: `ENTRY` is a small part after `LAST_TRIAL` seconds, however few they are.
LONGEST_TRIAL, MOST_STEPS, LAST_TRIAL = 0.002, 8, 0.01
#: Seconds by which the slices of a trial of all threads last longer than their steps: threads are woken, and parameters
#: move to the caches of other processors. In later slices, of `SLICE` seconds, this is nothing.
ENTRY = 0.0002
#: Seconds of training steps by one thread before the first comparison: a shorter training is not worth its cost.
FIRST_TRIAL = 0.02
#: Seconds per step below which more than one thread is never faster.
MIN_STEP = 5e-6
#: How many times slower all threads must be for a comparison to end early.
CLEARLY = 1.5
#: Seconds above what that allows after which the slice that starts the threads ends it: their processors are busy.
PATIENCE = 0.002
#: Seconds until the next comparison: the first interval, and the last one, as it doubles each time.
FIRST_RETRY, LAST_RETRY = 0.05, 0.5


class SliceTuner:
    """Choose steps per slice and number of threads by timing the slices of the run itself.

    One thread runs for `TRIAL` seconds (at first `FIRST_TRIAL`), then all threads do, in slices that become twice as
    long until one of them is faster per step, or none has been for `LONGEST_TRIAL` seconds and `MOST_STEPS` steps. The
    faster configuration is kept, and the comparison is repeated, as the load of the machine may have changed. Results
    do not depend on the choice.

    Parameters
    ----------
    n_threads : int
        Maximum number of threads.
    or_one : bool
        Whether one thread is tried, too; False always uses all.
    """

    def __init__(self, n_threads: int, *, or_one: bool = True) -> None:
        self._candidates = [1, n_threads] if or_one and n_threads > 1 else [n_threads]
        self._count = 1
        self._each = 0.0  # seconds per step in the last slice
        self._patience = FIRST_RETRY
        self._serial = FIRST_TRIAL
        self._start_trial()

    def _start_trial(self) -> None:
        self._to_try = list(self._candidates)
        self._current = self._to_try.pop(0)
        self._is_warm = False
        self._seconds = dict.fromkeys(self._candidates, 0.0)
        self._steps = dict.fromkeys(self._candidates, 0)
        self._is_trial = len(self._candidates) > 1

    def _each_alone(self) -> float:
        """Return the seconds per step of one thread in this comparison."""
        return self._seconds[1] / self._steps[1]

    def next(self) -> tuple[int, int]:
        """Return threads and steps of the next slice; a short one where it only starts the threads."""
        if not self._is_warm:
            return self._current, max(1, self._count // 8)
        return self._current, self._count

    def epochs(self, n_steps: int) -> int:
        """Return how many epochs of `n_steps` steps fit in a slice, from 1 to `MAX_EPOCHS`."""
        return max(1, min(MAX_EPOCHS, round(SLICE / (self._each * n_steps)))) if self._each > 0.0 else 1

    def learn(self, n_threads: int, steps: int, seconds: float) -> None:
        """Record the duration of a slice, in seconds, and adapt the next ones."""
        if steps == 0:
            return
        if not self._is_warm:  # the first slice may have compiled the kernel or started the threads
            self._is_warm = True
            if self._is_trial and not self._to_try and seconds > PATIENCE + CLEARLY * steps * self._each_alone():
                self._current, self._is_trial = 1, False
            return
        self._seconds[n_threads] += seconds
        self._steps[n_threads] += steps
        spent, each = self._seconds[n_threads], seconds / steps
        self._each = each
        if self._is_trial and not self._to_try:
            self._compare(n_threads, steps, each)
            return
        self._count = max(1, min(self._count * 4, round((TRIAL if self._is_trial else SLICE) / each)))
        if self._is_trial:
            if spent >= self._serial:
                self._is_trial = spent / self._steps[n_threads] >= MIN_STEP
                if self._is_trial:
                    self._current = self._to_try.pop(0)
                    self._count = max(1, self._count // 4)  # the comparison can end early
                self._is_warm = not self._is_trial
        elif len(self._candidates) > 1 and spent > max(self._patience, 200 * each):
            self._patience = min(2 * self._patience, LAST_RETRY)
            self._serial = TRIAL
            self._start_trial()
            self._count = max(1, round(TRIAL / each))  # bounds the cost of a trial of the slower one

    def _compare(self, n_threads: int, steps: int, each: float) -> None:
        """Decide after a slice of all threads, given its seconds per step, or double the next one."""
        one = self._each_alone()
        spent = self._seconds[n_threads]
        longest = spent >= LAST_TRIAL or (spent >= LONGEST_TRIAL and self._steps[n_threads] >= MOST_STEPS)
        if each < one:
            self._is_trial = False
        elif longest or each > CLEARLY * one + ENTRY / steps:
            self._current, self._is_trial = 1, False
        else:
            self._count *= 2
