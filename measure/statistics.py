"""Means over rounds, their ratios, and the intervals in which the truth lies.

Each round measures every setup within seconds of the others. So setups are compared within rounds, and what drifts
from round to round cancels out.
"""

import math
import random
from collections.abc import Callable, Sequence
from functools import cache
from operator import itemgetter, mul
from statistics import fmean
from typing import Any

CONFIDENCE = 0.95
RESAMPLES = 2000
FEWEST = 4  # rounds: with fewer, a resample is too often one value over and over, which has no spread
SEED = 20260126  # the same rounds give the same interval

Interval = tuple[float, float, float]  # the estimate, and the ends of the interval in which the truth lies


def mean(values: Sequence[float]) -> Interval:
    """Return the mean, and its interval by the studentized bootstrap.

    Rounds are resampled with replacement, and how far each resample's mean lies from the mean of all is counted in its
    own standard errors. That allows for few rounds, as Student's t does, and for skewed ones. Source: Efron and
    Tibshirani, An Introduction to the Bootstrap (1993), section 12.5. Raises ValueError for fewer than four rounds.
    """
    if len(values) < FEWEST:
        raise ValueError(f"{len(values)} rounds are too few for an interval: measure {FEWEST}")
    count, middle = len(values), fmean(values)
    if min(values) == max(values):
        return middle, middle, middle
    around = [value - middle for value in values]
    error = _error(around)
    distances = []
    for choose in _choices(count, RESAMPLES):
        resample = choose(around)
        off, spread = sum(resample) / count, _error(resample)
        distances.append(off / spread if spread else math.copysign(math.inf, off))
    distances.sort()
    tail = round(len(distances) * (1 - CONFIDENCE) / 2)
    return middle, middle - distances[-1 - tail] * error, middle - distances[tail] * error


def ratio(one: Sequence[float], other: Sequence[float]) -> Interval:
    """Return the geometric mean of one/other over rounds, and its interval: how many times as much, in a round."""
    return _through(math.log, math.exp, [a / b for a, b in zip(one, other, strict=True)])


def difference(one: Sequence[float], other: Sequence[float]) -> Interval:
    """Return the mean of one - other over rounds, and its interval."""
    return mean([a - b for a, b in zip(one, other, strict=True)])


def typical(values: Sequence[float]) -> Interval:
    """Return the geometric mean over rounds, and its interval: for values never zero and now and then far too large."""
    return _through(math.log, math.exp, values)


def quantity(
    values: Sequence[float], unit: str, mean: Callable[[Sequence[float]], Interval] = typical
) -> dict[str, Any]:
    """Return what rounds say of a number, with its interval, as pages read it."""
    value, low, high = (float(f"{each:.4g}") for each in mean(values))
    return {"value": value, "low": low, "high": high, "unit": unit}


@cache
def _choices(count: int, times: int) -> list[Callable[[Sequence[float]], tuple[float, ...]]]:
    """Return functions that pick `count` of `count` values, with replacement: the same picks for every metric."""
    draw = random.Random(SEED)  # noqa: S311
    return [itemgetter(*draw.choices(range(count), k=count)) for _ in range(times)]


def _through(into: Callable[[float], float], back: Callable[[float], float], values: Sequence[float]) -> Interval:
    middle, low, high = mean([into(value) for value in values])
    return back(middle), back(low), back(high)


def _error(values: Sequence[float]) -> float:
    """Return the standard error of the mean of values around zero; none where they are all the same."""
    count, total, squares = len(values), sum(values), sum(map(mul, values, values))
    left = squares - total * total / count
    return math.sqrt(left / (count * (count - 1))) if left > 1e-12 * squares else 0.0
