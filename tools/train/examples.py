"""One labelled view of a face: drawn in balance, dressed, and seen by a bad camera."""

from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from agent.seams import Pixels
from tools.train.data import Faces, draw_weights
from tools.train.degrade import DegradeSettings, view
from tools.train.dress import Overlays, cover_upper, grow_beard, hold_object, transplant, wear_mask

MASK, BARE, INCORRECT = range(3)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What views are made of. Shares are of all views, the rest are chances a face."""

    share_mask: float = 0.36  # of real faces drawn, before synthesis turns some bare ones into masked ones
    share_incorrect: float = 0.10
    wear: float = 0.16  # bare faces that get a mask of overlays/, from every source alike
    wear_incorrect: float = 0.06  # and that get one under the nose or on the chin
    hold: float = 0.20  # bare faces that get an object before mouth or nose
    beard: float = 0.05
    hidden: float = 2.0  # times as often as others: bare faces with a real hand, cup or medal before them
    swap: float = 0.35  # faces whose upper half is somebody else's, of any source
    cover: float = 0.08  # faces with dark glasses, a brim or a fringe
    favour: tuple[str, ...] = ()  # sources of one's own camera: together they get a share whatever their size
    favour_share: float = 0.3
    degrade: DegradeSettings = field(default_factory=DegradeSettings)


@dataclass(frozen=True, kw_only=True)
class Example:
    """A view, (64, 64, 3) uint8, its label, and the two sources that it shows faces of (twice the same: one face)."""

    view: Pixels
    label: int
    sources: tuple[str, str]


class Examples:
    """Gives one example a call; what it is depends on the generator alone."""

    def __init__(self, faces: Faces, overlays: Overlays, recipe: Recipe) -> None:
        self.faces, self.overlays, self.recipe = faces, overlays, recipe
        self.rows = faces.rows(split="train")
        bare = 1 - recipe.share_mask - recipe.share_incorrect
        weights = draw_weights(faces, self.rows, (recipe.share_mask, bare, recipe.share_incorrect))
        hidden = (faces.label == BARE) & ((faces.source == "mafa") | (np.char.find(faces.flags, "occluder") >= 0))
        # Of fer_hands one in four hides the mouth too, unflagged.
        weights[(hidden | (faces.source == "fer_hands"))[self.rows]] *= recipe.hidden
        favoured = np.isin(faces.source[self.rows], recipe.favour)
        if favoured.any():
            weights[favoured] *= recipe.favour_share / weights[favoured].sum()
            weights[~favoured] *= (1 - recipe.favour_share) / weights[~favoured].sum()
        self._cumulative = np.cumsum(weights)
        # Faces that hide something already and unclear ones stay as they are.
        self._plain = ~hidden & (np.char.find(faces.flags, "diff") < 0)

    def draw(self, rng: Generator) -> Example:
        faces, recipe = self.faces, self.recipe
        row = self._row(rng)
        picture, box, label = faces.picture(row), faces.face_box(row), int(faces.label[row])
        native_px, sources = float(faces.native_px[row]), (str(faces.source[row]),) * 2
        if rng.random() < recipe.swap:
            other = self._row(rng)
            # Above a bare nose there must be no rim of the other one's mask.
            seam = rng.uniform(0.34, 0.48) if faces.label[other] == BARE else rng.uniform(0.32, 0.4)
            upper, upper_box = faces.picture(other), faces.face_box(other)
            picture, box = transplant(upper, upper_box, picture, box, rng, seam=seam), upper_box
            native_px = min(native_px, float(faces.native_px[other]))
            sources = (sources[0], str(faces.source[other]))
        if label == BARE and self._plain[row]:
            fate = rng.random()
            if fate < recipe.wear:
                picture, label = wear_mask(picture, box, self.overlays, rng, incorrect=False), MASK
            elif fate < recipe.wear + recipe.wear_incorrect:
                picture, label = wear_mask(picture, box, self.overlays, rng, incorrect=True), INCORRECT
            elif fate < recipe.wear + recipe.wear_incorrect + recipe.hold:
                picture = hold_object(picture, box, self.overlays, rng)
            elif fate < recipe.wear + recipe.wear_incorrect + recipe.hold + recipe.beard:
                picture = grow_beard(picture, box, rng)
        if rng.random() < recipe.cover:
            picture = cover_upper(picture, box, rng)
        return Example(view=view(picture, box, recipe.degrade, native_px, rng), label=label, sources=sources)

    def _row(self, rng: Generator) -> int:
        place = np.searchsorted(self._cumulative, rng.random() * self._cumulative[-1])
        return int(self.rows[min(int(place), len(self.rows) - 1)])
