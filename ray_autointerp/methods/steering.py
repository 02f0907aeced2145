"""Steering strength: the clamp value that moves the next-token distribution by a KL target.

Methods 16: per latent and sign, bracket upwards from 0.1 x the start activation by factors of
1.5 until the KL target is passed, then bisect to within 5 %; ceiling 20 x the start. Going
upwards finds the smallest such value, since KL is often not monotone in the clamp (27 % of
latents). A pure state machine over many searches at once: it asks for the KL of some values, and
is independent of how KL is measured.
"""

# C curves (latent and sign), K KL targets, N values asked, L latents

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BRACKET, BISECT, REACHED, UNREACHED = range(4)


@dataclass(frozen=True)
class Curve:
    """KL as a function of how far one latent is clamped in one direction.

    `sign` is 1 or -1; `start_activation` is positive and sets the scale of the search.
    """

    latent: int
    sign: int
    start_activation: float


@dataclass(frozen=True)
class Asked:
    """Values whose KL is wanted; `clamp_values_N` carries the curve's sign."""

    curves_N: npt.NDArray[np.int64]
    clamp_values_N: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """The outcome for one curve and KL target.

    Reached: the clamp value (signed) and the KL seen there. Not reached: no value, and the
    largest finite KL seen on the curve (null if none was finite).
    """

    latent: int
    sign: int
    kl_target: float
    start_activation: float
    is_reached: bool
    clamp_value: float | None
    kl_reached: float | None


@dataclass(frozen=True)
class SearchRule:
    """Numbers of the search: multiples of the start activation, and the relative tolerance."""

    first: float = 0.1
    factor: float = 1.5
    ceiling: float = 20.0
    tolerance: float = 0.05
    max_bisections: int = 40


class KLSearch:
    """Searches all curves and targets together.

    Ask `next_values`, measure the mean KL at each, hand them to `observe`, until nothing is
    asked. Targets of one curve share its bracketing path. A KL that is not finite counts as
    past every target. A curve that jumps over a target's 5 % band is not reached.
    """

    def __init__(
        self,
        curves: Sequence[Curve],
        kl_targets: Sequence[float],
        rule: SearchRule | None = None,
    ) -> None:
        assert all(curve.start_activation > 0 and curve.sign in (1, -1) for curve in curves)
        assert all(target > 0 for target in kl_targets)
        self._curves = tuple(curves)
        self._rule = rule or SearchRule()
        self._targets_K = np.array(kl_targets, np.float64)
        self._sign_C = np.array([curve.sign for curve in curves], np.float64)
        start_C = np.array([curve.start_activation for curve in curves], np.float64)
        shape = (len(self._curves), len(self._targets_K))
        self._path_C = self._rule.first * start_C
        self._before_C = np.zeros(len(self._curves))
        self._ceiling_C = self._rule.ceiling * start_C
        self._phase_CK = np.full(shape, BRACKET)
        self._low_CK = np.zeros(shape)
        self._high_CK = np.zeros(shape)
        self._bisections_CK = np.zeros(shape, np.int64)
        self._value_CK = np.zeros(shape)
        self._kl_CK = np.zeros(shape)
        self._largest_C = np.full(len(self._curves), -np.inf)
        self._asked = self._ask()

    def next_values(self) -> Asked:
        """The values whose KL is wanted now; none when the search is over.

        One value per curve that still brackets, one per target that bisects, each value once.
        """
        curves_N, magnitudes_N = self._asked
        return Asked(curves_N, self._sign_C[curves_N] * magnitudes_N)

    def observe(self, kl_N: npt.ArrayLike) -> None:
        """Take in the KL of each value of `next_values`, in its order."""
        curves_N, magnitudes_N = self._asked
        kl_N = np.asarray(kl_N, np.float64)
        assert kl_N.shape == curves_N.shape, "one KL per value asked"
        finite = np.isfinite(kl_N)
        np.maximum.at(self._largest_C, curves_N[finite], kl_N[finite])
        seen = dict(zip(zip(curves_N, magnitudes_N, strict=True), kl_N, strict=True))
        for curve, target in np.argwhere(self._phase_CK == BISECT):
            middle = self._middle_CK[curve, target]
            self._bisect(curve, target, middle, seen[curve, middle])
        for curve in np.flatnonzero((self._phase_CK == BRACKET).any(1)):
            self._bracket(curve, seen[curve, self._path_C[curve]])
        self._asked = self._ask()

    def result(self) -> list[Calibration]:
        """One outcome per curve and target, in the order they were given; after the search."""
        assert not len(self._asked[0]), "the search is not over"
        return [
            self._outcome(curve, target)
            for curve in range(len(self._curves))
            for target in range(len(self._targets_K))
        ]

    @property
    def _middle_CK(self) -> npt.NDArray[np.float64]:
        return (self._low_CK + self._high_CK) / 2

    def _ask(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        brackets_C = np.flatnonzero((self._phase_CK == BRACKET).any(1))
        bisects = np.argwhere(self._phase_CK == BISECT)
        curves = np.concatenate([brackets_C, bisects[:, 0]])
        middles = self._middle_CK[bisects[:, 0], bisects[:, 1]]
        pairs = set(zip(curves, np.concatenate([self._path_C[brackets_C], middles]), strict=True))
        ordered = sorted(pairs)
        return (
            np.array([curve for curve, _ in ordered], np.int64),
            np.array([magnitude for _, magnitude in ordered], np.float64),
        )

    def _bracket(self, curve: int, kl: float) -> None:
        value = self._path_C[curve]
        for target in np.flatnonzero(self._phase_CK[curve] == BRACKET):
            if self._accept(curve, target, value, kl):
                continue
            if not kl < self._targets_K[target]:
                self._phase_CK[curve, target] = BISECT
                self._low_CK[curve, target] = self._before_C[curve]
                self._high_CK[curve, target] = value
            elif value >= self._ceiling_C[curve]:
                self._phase_CK[curve, target] = UNREACHED
        self._before_C[curve] = value
        self._path_C[curve] = min(value * self._rule.factor, self._ceiling_C[curve])

    def _bisect(self, curve: int, target: int, middle: float, kl: float) -> None:
        if self._accept(curve, target, middle, kl):
            return
        if kl < self._targets_K[target]:
            self._low_CK[curve, target] = middle
        else:
            self._high_CK[curve, target] = middle
        self._bisections_CK[curve, target] += 1
        if self._bisections_CK[curve, target] >= self._rule.max_bisections:
            self._phase_CK[curve, target] = UNREACHED

    def _accept(self, curve: int, target: int, value: float, kl: float) -> bool:
        wanted = self._targets_K[target]
        if not abs(kl - wanted) <= self._rule.tolerance * wanted:
            return False
        self._phase_CK[curve, target] = REACHED
        self._value_CK[curve, target] = value
        self._kl_CK[curve, target] = kl
        return True

    def _outcome(self, curve: int, target: int) -> Calibration:
        is_reached = bool(self._phase_CK[curve, target] == REACHED)
        largest = float(self._largest_C[curve])
        if is_reached:
            value = float(self._sign_C[curve] * self._value_CK[curve, target])
            kl = float(self._kl_CK[curve, target])
        return Calibration(
            latent=self._curves[curve].latent,
            sign=self._curves[curve].sign,
            kl_target=float(self._targets_K[target]),
            start_activation=self._curves[curve].start_activation,
            is_reached=is_reached,
            clamp_value=value if is_reached else None,
            kl_reached=kl if is_reached else (largest if np.isfinite(largest) else None),
        )


def start_activations(max_activation_L: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Where each latent's search starts: its maximum, or for a silent one (0) the median maximum.

    The median is over the latents of the SAE that fire; an SAE in which none fires starts at 1.
    """
    fires_L = max_activation_L > 0
    median = np.median(max_activation_L[fires_L]) if fires_L.any() else 1.0
    return np.where(fires_L, max_activation_L, np.float32(median)).astype(np.float32)
